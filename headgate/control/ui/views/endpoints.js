/* Where requests are sent: each endpoint's state, and taking one out. */

import { setEndpoint } from "../actions.js";
import { h } from "../dom.js";
import { count, span, word } from "../format.js";
import { SERVICE, badge, card, deed, deeds, empty, filter, passes, ready, table } from "../parts.js";
import { state } from "../state.js";

const TONES = { healthy: "good", unhealthy: "bad", ejected: "warn", disabled: "idle", draining: "idle" };

/** The view. */
export function endpoints() {
  return card(
    "All endpoints",
    {
      id: "endpoints",
      flush: true,
      tools: filter("endpoints", "Filter endpoints", "Filter by address, service or state"),
    },
    ready(
      ["endpoints"],
      () => endpointsTable(
        state.got.endpoints.filter((each) => passes("endpoints", each.service, each.endpoint, each.state)),
        {},
      ),
    ),
  );
}

/** A table of endpoints; `brief` leaves the service out. */
export function endpointsTable(rows, { brief }) {
  const columns = [
    { name: "endpoint", title: "Endpoint", cell: (row) => h("code", null, row.endpoint), sort: (row) => row.endpoint },
    !brief && SERVICE,
    { name: "state", title: "State", cell: stateOf, sort: (row) => row.state },
    {
      name: "flight",
      title: "In flight",
      number: true,
      cell: (row) => (row.in_flight === null ? "–" : count(row.in_flight)),
      sort: (row) => row.in_flight,
    },
    { name: "checked", title: "Last check", cell: checked },
    deeds(actions),
  ].filter(Boolean);
  const none = state.filters.endpoints && !brief ? empty("No endpoint matches") : empty(
    "No endpoints",
    "Requests for the service are answered with 503 until there is one.",
  );
  return table(
    `endpoints${brief ? "-brief" : ""}`,
    "Endpoints",
    columns,
    rows,
    { key: (row) => `${row.service} ${row.endpoint}`, none },
  );
}

function stateOf(row) {
  const left = row.state === "ejected" && row.ejected ? `for ${span(row.ejected)} more` : "";
  return [badge(TONES[row.state] ?? "idle", word(row.state)), left && h("span", { class: "faint" }, ` ${left}`)];
}

function checked({ checked: last }) {
  if (!last) return h("span", { class: "faint" }, "not checked");
  return `${last.status || "no answer"}, ${span(last.age)} ago`;
}

function actions(row) {
  const tell = (wanted, text) =>
    deed(
      text,
      () => setEndpoint(row.service, row.endpoint, wanted),
      { label: `${text} ${row.endpoint} of ${row.service}` },
    );
  const out = row.state === "disabled" || row.state === "draining" || row.enabled === false;
  return h(
    "div",
    { class: "buttons" },
    out ? tell("enabled", "Enable") : [tell("draining", "Drain"), tell("disabled", "Disable")],
  );
}
