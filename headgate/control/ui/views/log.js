/* What the gateway says of itself, and the kinds of errors that were. */

import { h } from "../dom.js";
import { clock, moment } from "../format.js";
import { badge, card, choice, empty, filter, passes, ready, table } from "../parts.js";
import { know, state } from "../state.js";
import { errorItem } from "./overview.js";

const TONES = { debug: "idle", info: "idle", warning: "warn", error: "bad" };
const ORDER = ["debug", "info", "warning", "error"];
const LEVELS = [["debug", "All"], ["info", "Info"], ["warning", "Warnings"], ["error", "Errors"]];

/** The view. */
export function log() {
  return h("div", { class: "columns two-one" }, lines(), errors());
}

function lines() {
  const least = state.filters.level ?? "info";
  const shown = state.log.filter(
    (each) => ORDER.indexOf(each.level) >= ORDER.indexOf(least) && passes(
      "log",
      each.message,
      JSON.stringify(each.metadata ?? {}),
    ),
  );
  const columns = [
    { name: "time", title: "Time", kind: "time", cell: (row) => h("time", null, clock(moment(row.timestamp) ?? 0)) },
    { name: "level", title: "Level", cell: (row) => badge(TONES[row.level] ?? "idle", row.level) },
    { name: "message", title: "Message", kind: "message", cell: message },
  ];
  return card(
    "Log of the gateway",
    {
      id: "log",
      flush: true,
      tools: [
        choice("Least level", LEVELS, least, (value) => know({ filters: { ...state.filters, level: value } })),
        filter("log", "Filter the log", "Filter by text"),
      ],
    },
    ready(
      ["log"],
      () => table(
        "log",
        "Log, newest first",
        columns,
        shown,
        { key: (row) => `${row.timestamp} ${row.message}`, none: empty("No such lines") },
      ),
    ),
  );
}

function message(row) {
  const more = Object.entries(row.metadata ?? {}).filter(([, value]) => value !== null && value !== "");
  return [
    h("p", null, row.message),
    more.length > 0 && h(
      "p",
      { class: "faint" },
      more.map(([name, value]) => `${name}=${typeof value === "string" ? value : JSON.stringify(value)}`).join(" "),
    ),
  ];
}

function errors() {
  return card(
    "Kinds of errors",
    { id: "errors" },
    ready(
      ["errors"],
      () => state.got.errors.length ? h(
        "ul",
        { class: "errors" },
        state.got.errors.map((each) => errorItem(each)),
      ) : empty("No errors"),
    ),
  );
}
