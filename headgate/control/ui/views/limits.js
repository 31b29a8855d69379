/* Limits: what they count, how often they refused, and beginning afresh with the count of one key. */

import { resetLimit } from "../actions.js";
import { h } from "../dom.js";
import { count, span } from "../format.js";
import { badge, card, deed, deeds, empty, filter, passes, ready, table } from "../parts.js";
import { state } from "../state.js";

/** The view. */
export function limits() {
  return card(
    "All limits",
    { id: "limits", flush: true, tools: filter("limits", "Filter limits", "Filter by name, place or key") },
    ready(["limits"], () => limitsTable((row) => passes("limits", row.limit, row.scope, ...row.key))),
  );
}

/** The table of the limits that `wanted` lets through. */
export function limitsTable(wanted, none = empty("No limit matches")) {
  const columns = [
    { name: "limit", title: "Limit", cell: (row) => row.limit, sort: (row) => row.limit },
    { name: "scope", title: "Stands at", cell: (row) => row.scope, sort: (row) => row.scope },
    {
      name: "key",
      title: "For each",
      cell: (row) => row.key.join(" and ") || h("span", { class: "faint" }, "all together"),
    },
    { name: "most", title: "Most", number: true, cell: most, sort: (row) => row.requests },
    { name: "type", title: "Counted by", cell: (row) => row.type.replaceAll("_", " ") },
    { name: "store", title: "Kept in", cell: (row) => row.store },
    { name: "refused", title: "Refused", number: true, cell: (row) => count(refused(row)), sort: refused },
    { name: "mode", title: "Mode", cell: (row) => (row.shadow ? badge("idle", "shadow") : badge("good", "in force")) },
    deeds((row) => deed("Reset a key", () => resetLimit(row), { label: `Reset a key of ${row.limit}` })),
  ];
  const nowhere = empty("No limits", "limits of the gateway, a service or a route configure some.");
  return table(
    "limits",
    "Limits",
    columns,
    state.got.limits.filter(wanted),
    { key: (row) => `${row.scope} ${row.limit}`, none: state.got.limits.length ? none : nowhere },
  );
}

function most({ requests, window, tiers }) {
  const more = tiers.length ? h("span", { class: "faint" }, `, other for ${tiers.join(", ")}`) : null;
  return [window === null ? `${count(requests)} at once` : `${count(requests)} in ${span(window)}`, more];
}

/** How many requests it has refused since the start; limits of one name are counted together. */
function refused({ counts }) {
  return counts.refused;
}
