/* The configuration in force, what it last became by what, the processes that run it, and reloading it. */

import { reloadConfiguration } from "../actions.js";
import { h } from "../dom.js";
import { ago, date, span } from "../format.js";
import { badge, card, deed, empty, facts, ready, table } from "../parts.js";
import { state } from "../state.js";
import { yaml } from "../yaml.js";

/** The view. */
export function configuration() {
  return [
    h("div", { class: "columns", key: "top" }, ready(["status"], inForce), ready(["status"], workers)),
    card("Changes", { id: "changes", flush: true }, ready(["changes"], changes)),
    card(
      "Effective configuration",
      { id: "effective", note: "with defaults; secrets are masked" },
      ready(["config"], effective),
    ),
  ];
}

function inForce() {
  const { status } = state.got;
  const last = status.reload;
  const tools = deed("Reload", reloadConfiguration, { kind: "small primary" });
  return card("In force", { id: "in-force", tools }, facts([
    ["Plan", String(status.plan)],
    ["Version", status.version],
    ["Up for", span(status.uptime)],
    last && [
      "Last reload",
      [
        badge(last.ok ? "good" : "bad", last.ok ? "in force" : "refused"),
        ` ${ago(last.at, state.now)}: ${last.cause}, by ${last.by}`,
      ],
    ],
    last?.problems?.length > 0 && [
      "Problems",
      h("ul", { class: "problems" }, last.problems.map((each) => h("li", { key: String(each) }, String(each)))),
    ],
    ["Listens at", (status.listeners ?? []).map((each) => (typeof each === "string" ? each : each.address)).join(", ")],
  ]));
}

function workers() {
  const columns = [
    { name: "worker", title: "Worker", cell: (row) => String(row.worker) },
    { name: "alive", title: "State", cell: (row) => (row.alive ? badge("good", "alive") : badge("bad", "not alive")) },
    { name: "pid", title: "Process", number: true, cell: (row) => String(row.pid) },
    { name: "up", title: "Up for", number: true, cell: (row) => span(row.uptime) },
  ];
  return card(
    "Workers",
    { id: "workers", flush: true },
    table(
      "workers",
      "Workers",
      columns,
      state.got.status.workers ?? [],
      { key: (row) => row.worker, none: empty("No workers") },
    ),
  );
}

function changes() {
  const columns = [
    { name: "at", title: "When", cell: (row) => h("time", { title: date(row.at) }, ago(row.at, state.now)) },
    {
      name: "ok",
      title: "Outcome",
      cell: (row) => (row.ok ? badge("good", `plan ${row.plan}`) : badge("bad", "refused")),
    },
    { name: "by", title: "By", cell: (row) => row.by },
    { name: "cause", title: "Cause", cell: (row) => row.cause },
    { name: "what", title: "What changed", kind: "message", cell: difference },
  ];
  return table(
    "changes",
    "Changes of the configuration, newest first",
    columns,
    state.got.changes,
    { key: (row) => `${row.at} ${row.plan}`, none: empty("No changes since the start") },
  );
}

function difference({ diff, more, problems }) {
  if (problems.length) return h("ul", { class: "problems" }, problems.map((each) => h("li", { key: each }, each)));
  if (!diff.length) return h("span", { class: "faint" }, "nothing");
  const rows = diff.map(({ path, before, after }) =>
    h(
      "li",
      { key: path },
      `${path}: `,
      h("del", null, JSON.stringify(before)),
      " → ",
      h("ins", null, JSON.stringify(after)),
    ),
  );
  return h("ul", { class: "diff" }, rows, more && h("li", { class: "faint" }, "and more"));
}

function effective() {
  const whole = state.got.config.config;
  return h("div", { class: "tree" }, Object.entries(whole).map(([name, value]) =>
    h("details", { key: name },
      h("summary", null, h("code", null, name), h("span", { class: "faint" }, about(value))),
      h("pre", { tabindex: "0", "aria-label": `Configuration of ${name}` }, yaml(value)))));
}

function about(value) {
  if (Array.isArray(value)) return value.length === 1 ? "1 item" : `${value.length} items`;
  if (value !== null && typeof value === "object") return Object.keys(value).slice(0, 5).join(", ");
  return String(value ?? "not set");
}
