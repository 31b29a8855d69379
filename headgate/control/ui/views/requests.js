/* Recorded requests as they come, and the whole record of one. */

import { h } from "../dom.js";
import { clock, count, text, took } from "../format.js";
import { badge, button, card, choice, empty, filter, link, passes, ready, table } from "../parts.js";
import { know, state } from "../state.js";
import { reload } from "../resources.js";
import { record } from "./record.js";

const CLASSES = [["", "All"], ["2", "2xx"], ["3", "3xx"], ["4", "4xx"], ["5", "5xx"]];

/** The view. */
export function requests(id) {
  if (id !== null) return record(id);
  const chosen = state.filters.status ?? "";
  const shown = state.requests.filter(
    (each) =>
      (!chosen || String(each.status)[0] === chosen) &&
      passes(
        "requests",
        each.path,
        each.method,
        each.service,
        each.route,
        each.request_id,
        each.identity?.id,
        each.error,
      ),
  );
  return card(
    "Recorded requests",
    {
      id: "requests",
      flush: true,
      note: `${count(shown.length)} shown`,
      tools: [
        choice("Status", CLASSES, chosen, (value) => know({ filters: { ...state.filters, status: value } })),
        filter("requests", "Filter requests", "Filter by path, service, id, error"),
        button(
          state.held ? "Go on" : "Hold",
          hold,
          { kind: "small", label: state.held ? "Go on with new requests" : "Hold the list still" },
        ),
      ],
    },
    ready(["requests"], () => requestsTable(shown, {})),
  );
}

function hold() {
  know({ held: !state.held });
  if (!state.held) reload("requests");
}

/** The tone of a status. */
export function statusTone(status) {
  if (status >= 500) return "bad";
  if (status >= 400) return "warn";
  return status >= 300 ? "idle" : "good";
}

/** A table of records; `brief` has fewer columns. */
export function requestsTable(rows, { brief }) {
  const columns = [
    { name: "time", title: "Time", kind: "time", cell: (row) => h("time", null, clock(row.started)) },
    { name: "status", title: "Status", cell: (row) => badge(statusTone(row.status), String(row.status), row.error) },
    {
      name: "request",
      title: "Request",
      kind: "request",
      cell: (row) => link(
        "requests",
        row.request_id,
        { title: row.path },
        h("span", { class: "method" }, row.method),
        h("code", null, row.path),
      ),
    },
    { name: "service", title: "Service", cell: (row) => row.service ?? h("span", { class: "faint" }, "none") },
    !brief && {
      name: "endpoint",
      title: "Endpoint",
      cell: (row) => h("code", null, row.attempts.at(-1)?.endpoint ?? "–"),
    },
    !brief && {
      name: "who",
      title: "Caller",
      cell: (row) => row.identity?.id ?? h("span", { class: "faint" }, row.client || "–"),
    },
    { name: "why", title: "Outcome", kind: "outcome", cell: (row) => outcome(row) },
    { name: "took", title: "Took", number: true, cell: (row) => text(took(row.duration)) },
  ].filter(Boolean);
  const none = state.requests.length && !brief
    ? empty("No recorded request matches")
    : empty(
      "No recorded requests yet",
      "telemetry.sampling says which ones are recorded: a share of all, those that fail, those that are slow.",
    );
  return table(
    brief ? "requests-brief" : "requests",
    "Recorded requests, newest first",
    columns,
    rows,
    { key: (row) => `${row.request_id} ${row.started}`, none },
  );
}

function outcome(row) {
  if (row.error) return row.error;
  // A call of gRPC that failed was answered with 200.
  if (row.grpc_status) return `gRPC status ${row.grpc_status}`;
  const tries = row.attempts.length;
  if (tries > 1) return `after ${tries} attempts`;
  const stopped = row.gates.find((gate) => gate.verdict === "deny" || gate.verdict === "answer");
  if (!stopped) return h("span", { class: "faint" }, "answered");
  return `${stopped.gate}: ${stopped.gate === "cache" ? row.cache : stopped.verdict}`;
}
