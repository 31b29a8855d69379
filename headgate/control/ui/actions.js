/* What an operator does: asked back first, done by the API, and its refusal shown where it was asked for. */

import { ask } from "./api.js";
import { forget, reload } from "./resources.js";
import { know, say, state } from "./state.js";
import { open, stop } from "./live.js";

/** Ask back before `act` is done. `fields` are {name, label, value, hint} that `act` gets the values of. */
export function confirm({ title, text, yes, kind = "", fields = [], act }) {
  know({ dialog: { title, text, yes, kind, fields, act, busy: false, error: "" } });
}

/** Close the question. */
export function dismiss() {
  know({ dialog: null });
}

/** Do what was asked back; its refusal stays in the question. */
export async function accept(values) {
  const { dialog } = state;
  if (dialog.busy) return;
  know({ dialog: { ...dialog, busy: true, error: "" } });
  try {
    const done = await dialog.act(values);
    know({ dialog: null });
    notice(done);
  } catch (error) {
    if (error.status === 401) know({ session: null, dialog: null });
    else know({ dialog: { ...dialog, busy: false, error: error.message } });
  }
}

let fades = null;

function notice(sentence) {
  window.clearTimeout(fades);
  know({ notice: sentence });
  say(sentence);
  fades = window.setTimeout(() => know({ notice: null }), 6000);
}

const BREAKER = {
  reset: [
    "Reset the breaker",
    "It is closed and forgets what was counted. Calls decide again.",
    "is closed, and calls decide",
  ],
  open: [
    "Open the breaker",
    "Every request is refused until somebody resets it.",
    "refuses every request until a reset",
  ],
  close: [
    "Close the breaker",
    "Every request is let through, whatever becomes of it, until somebody resets it.",
    "lets every request through until a reset",
  ],
};

/** Reset, open or close a breaker. */
export function steerBreaker(service, action) {
  const [title, text, done] = BREAKER[action];
  confirm({
    title: `${title} of ${service}?`,
    text,
    yes: action === "reset" ? "Reset" : action === "open" ? "Force open" : "Force closed",
    kind: action === "reset" ? "primary" : "danger",
    act: async () => {
      await ask("POST", `api/v1/circuit-breakers/${encodeURIComponent(service)}/${action}`);
      reload("breakers");
      return `The breaker of ${service} ${done}.`;
    },
  });
}

const ENDPOINT = {
  enabled: ["Enable", "It gets requests again.", "gets requests again"],
  draining: ["Drain", "It gets no new requests; those in flight are finished.", "gets no new requests"],
  disabled: ["Disable", "It gets no new requests.", "gets no new requests"],
};

/** Enable, drain or disable an endpoint. */
export function setEndpoint(service, endpoint, wanted) {
  const [verb, text, done] = ENDPOINT[wanted];
  confirm({
    title: `${verb} ${endpoint} of ${service}?`,
    text,
    yes: verb,
    kind: wanted === "enabled" ? "primary" : "danger",
    act: async () => {
      await ask("POST", "api/v1/endpoints", { service, endpoint, state: wanted });
      reload("endpoints");
      return `${endpoint} of ${service} ${done}.`;
    },
  });
}

/** Load the configuration anew. */
export function reloadConfiguration() {
  confirm({
    title: "Reload the configuration?",
    text: "The files are read and checked. With any mistake in them nothing changes, and the plan in force stays.",
    yes: "Reload",
    kind: "primary",
    act: async () => {
      const said = await ask("POST", "api/v1/reload");
      reload("status", "config", "changes", "routes", "discovery", "endpoints", "breakers", "limits", "cache");
      return said?.plan ? `Plan ${said.plan} is in force.` : "The configuration is in force.";
    },
  });
}

const HINTS = {
  address: "such as 192.0.2.10",
  identity: "such as user:ada or api_key:ci",
};

/** Begin afresh with what a limit counted for one key. */
export function resetLimit({ limit, scope, key }) {
  confirm({
    title: `Reset a key of ${limit}?`,
    text: key.length
      ? "What was counted for this key is forgotten, in all workers."
      : "It counts all requests together, and begins afresh for all of them.",
    yes: "Reset",
    kind: "primary",
    fields: key.map((name) => ({ name, label: name, hint: HINTS[name] ?? "" })),
    act: async (typed) => {
      const given = Object.fromEntries(Object.entries(typed).filter(([, value]) => value));
      const { found } = await ask("POST", "api/v1/limits/reset", { limit, scope, key: given });
      return found ? `The count of ${limit} for this key begins afresh.` : `${limit} had counted nothing for this key.`;
    },
  });
}

const PURGE = {
  url: ["Purge a URL", "All cached answers of this URL are forgotten.", "URL", "such as https://HOST/a?b=c"],
  prefix: ["Purge a prefix", "All answers of URLs that begin so are forgotten.", "Prefix", "such as https://HOST/img/"],
  tag: ["Purge a tag", "All cached answers that the service gave this tag are forgotten.", "Tag", "such as product-17"],
  all: ["Purge all", "All cached answers are forgotten, and services are asked for everything anew."],
};

/** Have cached answers forgotten, by url, prefix, tag or all. */
export function purge(by) {
  const [title, text, label, hint] = PURGE[by];
  confirm({
    title: by === "all" ? "Purge all of the cache?" : `${title}?`,
    text,
    yes: "Purge",
    kind: "danger",
    fields: label ? [{ name: by, label, hint }] : [],
    act: async (typed) => {
      const { purged } = await ask("POST", "api/v1/cache/purge", by === "all" ? { all: true } : { [by]: typed[by] });
      reload("cache");
      return purged === 1 ? "1 answer is purged." : `${purged} answers are purged.`;
    },
  });
}

/** Trade a token for the session's cookie. Throws Refused. */
export async function signIn(token) {
  const session = await ask("POST", "ui/session", { token });
  forget();
  know({ session });
  reload();
  open();
}

/** Give the session back. */
export async function signOut() {
  stop("paused");
  try {
    await ask("DELETE", "ui/session");
  } finally {
    forget();
    know({ session: null, dialog: null, menu: false });
  }
}
