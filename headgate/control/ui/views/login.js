/* Trading a token for a session. The token is sent once, in a body, and kept nowhere. */

import { signIn } from "../actions.js";
import { h } from "../dom.js";

let busy = false;
let error = "";

/** The view; `again` shows it anew. */
export function login(again) {
  return h(
    "main",
    { class: "login", id: "main", tabindex: "-1" },
    h(
      "form",
      { class: "card", onsubmit: (event) => submit(event, again), "aria-labelledby": "sign-in" },
      h("p", { class: "brand" }, h("img", { src: "icon.svg", alt: "", width: 28, height: 28 }), "Headgate"),
      h("h1", { id: "sign-in" }, "Sign in"),
      h(
        "p",
        { class: "faint" },
        "With the admin token of this gateway: admin.token, one of admin.tokens, or the one made at the first start, " +
          "in the file admin.token of state_dir, where HEADGATE_ADMIN_TOKEN names none.",
      ),
      // Password managers keep a token under a name.
      h(
        "input",
        { type: "text", name: "username", autocomplete: "username", value: "admin", hidden: true, readonly: true },
      ),
      h("label", { for: "token" }, "Token"),
      h(
        "input",
        {
          id: "token",
          name: "token",
          type: "password",
          autocomplete: "current-password",
          required: true,
          autofocus: true,
          "aria-describedby": error ? "refused" : undefined,
          "aria-invalid": error ? "true" : undefined,
        },
      ),
      h("p", { class: "bad-text", id: "refused", role: "alert" }, error),
      h("button", { type: "submit", class: "primary", disabled: busy }, busy ? "Signing in…" : "Sign in"),
    ),
  );
}

async function submit(event, again) {
  event.preventDefault();
  const field = event.currentTarget.elements.token;
  busy = true;
  error = "";
  again();
  try {
    await signIn(field.value);
  } catch (refused) {
    error = refused.status === 401 ? "This token is not known here." : refused.message;
  }
  field.value = "";
  busy = false;
  again();
}
