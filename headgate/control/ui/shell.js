/* What stands around every view: the way to the others, how the gateway is, whether the page is live, and questions. */

import { accept, dismiss, signOut } from "./actions.js";
import { h } from "./dom.js";
import { span } from "./format.js";
import { address, badge, button, choice } from "./parts.js";
import { reload } from "./resources.js";
import { know, state } from "./state.js";
import { troubles } from "./troubles.js";

/** All views: name, title, and the group of the navigation that it stands in. */
export const VIEWS = [
  ["overview", "Overview", "Traffic"],
  ["requests", "Requests", "Traffic"],
  ["routes", "Routes", "Traffic"],
  ["services", "Services", "Services"],
  ["endpoints", "Endpoints", "Services"],
  ["breakers", "Breakers", "Services"],
  ["limits", "Limits", "Services"],
  ["cache", "Cache", "Services"],
  ["log", "Log", "Gateway"],
  ["configuration", "Configuration", "Gateway"],
];
const RANGES = [[60, "1 min"], [300, "5 min"], [900, "15 min"], [3600, "1 h"]];
const WITH_CHARTS = new Set(["overview", "services", "cache"]);
const STREAM = {
  live: ["good", "Live"],
  connecting: ["idle", "Connecting"],
  lost: ["warn", "Reconnecting"],
  paused: ["idle", "Paused"],
};

/** The page around a view. */
export function shell(content) {
  return [
    h("a", { class: "skip", href: "#main", onclick: skip, key: "skip" }, "Skip to content"),
    side(),
    h(
      "div",
      { class: "page", key: "page" },
      top(),
      h("main", { id: "main", tabindex: "-1", key: `main ${state.view.name} ${state.view.id}` }, content),
    ),
    state.notice && h("div", { class: "notice", key: "notice" }, state.notice),
    state.dialog && question(state.dialog),
  ];
}

function skip(event) {
  // The address names the view, and must not become #main.
  event.preventDefault();
  document.getElementById("main").focus();
}

function side() {
  const groups = [...new Set(VIEWS.map(([, , group]) => group))];
  const waiting = troubles().length;
  return h(
    "aside",
    { class: state.menu ? "side shown" : "side", key: "side" },
    h(
      "div",
      { class: "brand" },
      h("img", { src: "icon.svg", alt: "", width: 26, height: 26 }),
      h("span", null, "Headgate"),
      h(
        "button",
        {
          type: "button",
          class: "menu",
          "aria-expanded": String(state.menu),
          "aria-controls": "ways",
          onclick: () => know({ menu: !state.menu }),
        },
        state.menu ? "Close" : "Menu",
      ),
    ),
    h(
      "nav",
      { id: "ways", "aria-label": "Views" },
      groups.map(
        (group) => h(
          "div",
          { class: "group", key: group },
          h("h2", null, group),
          h(
            "ul",
            null,
            VIEWS.filter(([, , of]) => of === group).map(
              ([name, title]) => h(
                "li",
                { key: name },
                h(
                  "a",
                  { href: address(name), "aria-current": state.view.name === name ? "page" : undefined },
                  title,
                  name === "overview" && waiting > 0 && h(
                    "span",
                    { class: "count" },
                    waiting,
                    h("span", { class: "unseen" }, " need attention"),
                  ),
                ),
              ),
            ),
          ),
        ),
      ),
      h(
        "div",
        { class: "who" },
        h(
          "p",
          null,
          h("b", null, state.session.name ?? "Operator"),
          h("span", { class: "faint" }, `role ${state.session.role}`),
        ),
        button("Sign out", signOut, { kind: "small" }),
      ),
    ),
  );
}

function top() {
  const { name, id } = state.view;
  const title = VIEWS.find(([view]) => view === name)?.[1] ?? "Nothing here";
  const { status } = state.got;
  return h(
    "header",
    { class: "top", key: "top" },
    h("h1", null, id === null ? title : id),
    status && h("p", { class: "faint about" }, `plan ${status.plan}, up for ${span(status.uptime)}`),
    h(
      "div",
      { class: "tools" },
      WITH_CHARTS.has(name) && choice("Range of the charts", RANGES, state.range, setRange),
      h("span", { class: `stream ${state.stream}` }, badge(...STREAM[state.stream])),
    ),
  );
}

function setRange(range) {
  const { history, ...got } = state.got;
  know({ range, got, pointed: null });
  reload("history");
}

/** The question before an act: a modal dialog, so the rest of the page waits. */
function question({ title, text, yes, kind, fields, busy, error }) {
  return h(
    "dialog",
    { key: "question", class: "question", "aria-labelledby": "question", onclose: dismiss, "data-modal": "" },
    h(
      "form",
      { method: "dialog", onsubmit: (event) => answer(event, fields) },
      h("h2", { id: "question" }, title),
      h("p", null, text),
      fields.map(
        ({ name, label, hint }) => h(
          "p",
          { class: "field", key: name },
          h("label", { for: `field-${name}` }, label),
          h("input", { id: `field-${name}`, name, placeholder: hint, autocomplete: "off", spellcheck: "false" }),
        ),
      ),
      h("p", { class: "bad-text", role: "alert" }, error),
      h(
        "div",
        { class: "buttons" },
        button("Cancel", dismiss, { label: "Cancel" }),
        h("button", { type: "submit", class: kind, disabled: busy }, busy ? "Working…" : yes),
      ),
    ),
  );
}

function answer(event, fields) {
  event.preventDefault();
  const { elements } = event.currentTarget;
  accept(Object.fromEntries(fields.map(({ name }) => [name, elements[name].value])));
}
