/* Circuit breakers: their state, and steering them by hand. */

import { steerBreaker } from "../actions.js";
import { h } from "../dom.js";
import { ago, count, span, word } from "../format.js";
import { SERVICE, badge, bar, card, deed, deeds, empty, facts, ready, table } from "../parts.js";
import { state } from "../state.js";

const TONES = { closed: "good", open: "bad", half_open: "warn" };

/** The view. */
export function breakers() {
  const columns = [
    SERVICE,
    { name: "state", title: "State", cell: breakerBadge, sort: (row) => row.state },
    {
      name: "failures",
      title: "Failures",
      cell: (row) => [
        failures(row),
        row.threshold && bar(row.failure_count / row.threshold, row.state === "closed" ? "" : "bad"),
      ],
      sort: (row) => row.failure_count,
    },
    { name: "next", title: "Tries again", cell: next },
    {
      name: "last",
      title: "Last failure",
      cell: (row) => ago(row.last_failure_time, state.now),
      sort: (row) => row.last_failure_time,
    },
    deeds(breakerButtons),
  ];
  return card("All circuit breakers", { id: "breakers", flush: true },
    ready(["breakers"], () =>
      table("breakers", "Circuit breakers", columns, state.got.breakers, {
        key: (row) => row.service,
        none: empty("No service has a circuit breaker", "circuit_breaker of a service configures one."),
      })));
}

/** The state in a word. */
export function breakerBadge(row) {
  return badge(TONES[row.state] ?? "idle", row.forced ? `${word(row.state)}, by hand` : word(row.state));
}

/** What can be done about it. */
export function breakerButtons(row) {
  const tell = (action, text, kind) =>
    deed(text, () => steerBreaker(row.service, action), { kind, label: `${text} the breaker of ${row.service}` });
  return h(
    "div",
    { class: "buttons" },
    tell("reset", "Reset", row.state === "closed" && !row.forced ? "small" : "small primary"),
    tell("open", "Open"),
    tell("close", "Close"),
  );
}

/** Everything about one. */
export function breakerFacts(row) {
  return facts(
    [
      ["State", breakerBadge(row)],
      ["Failures", failures(row)],
      row.state === "half_open" && [
        "Trials",
        `${count(row.success_count)} of ${count(row.success_threshold)} succeeded, ` +
          `${count(row.trials_in_flight)} in flight`,
      ],
      row.state === "open" && ["Tries again", next(row)],
      ["Stays open", `for ${span(row.timeout)}`],
      ["Last failure", ago(row.last_failure_time, state.now)],
    ],
  );
}

function failures(row) {
  if (row.error_rate !== null && row.error_rate !== undefined) {
    return `${count(row.failure_count)}, opens at ${row.error_rate} % in ${span(row.window)}`;
  }
  const among = row.window_size ? ` in ${count(row.window_size)} calls` : "";
  return `${count(row.failure_count)} of ${count(row.threshold)}${among}`;
}

function next(row) {
  if (row.forced) return "after a reset";
  if (row.state === "half_open") return "now, by trials";
  const wait = row.open_until - state.now;
  if (!row.open_until) return "–";
  return wait > 0.5 ? `in ${span(wait)}` : "with the next request";
}
