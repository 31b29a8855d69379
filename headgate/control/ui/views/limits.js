/* Limits: what they count, how often they refused, and forgetting what was counted for one key. */

import { resetLimit } from "../actions.js";
import { h } from "../dom.js";
import { count, span } from "../format.js";
import { badge, button, card, empty, filter, passes, ready, table } from "../parts.js";
import { may, state } from "../state.js";

/** The view. */
export function limits() {
  const columns = [
    { name: "name", title: "Limit", cell: (row) => row.name, sort: (row) => row.name },
    { name: "where", title: "Stands at", cell: (row) => row.scope ?? row.where ?? "–" },
    { name: "type", title: "Counts by", cell: (row) => String(row.type ?? "–").replaceAll("_", " ") },
    { name: "key", title: "For each", cell: (row) => keyParts(row).join(", ") || "all together" },
    { name: "most", title: "Most", number: true, cell: most, sort: (row) => row.requests ?? row.limit },
    { name: "refused", title: "Refused", number: true, cell: (row) => count(row.refused ?? 0), sort: (row) => row.refused },
    { name: "mode", title: "Mode", cell: (row) => (row.shadow ? badge("idle", "shadow") : badge("good", "in force")) },
    { name: "act", title: h("span", { class: "unseen" }, "Actions"), kind: "act", cell: actions },
  ];
  return card("All limits", { id: "limits", flush: true, tools: filter("limits", "Filter limits", "Filter by name") },
    ready(["limits"], () => {
      const rows = state.got.limits.filter((each) => passes("limits", each.name, each.scope));
      const none = state.got.limits.length ? empty("No limit has such a name") : empty("No limits", "limits of the gateway, a service or a route configure some.");
      return table("limits", "Limits", columns, rows, { key: (row) => row.name, none });
    }));
}

function keyParts(row) {
  return [row.key ?? []].flat().map(String);
}

function most(row) {
  const figure = count(row.requests ?? row.limit);
  return row.window ? `${figure} in ${span(row.window)}` : figure;
}

function actions(row) {
  const act = () => resetLimit(row.name, keyParts(row));
  const can = may("operate");
  return h("div", { class: "buttons" }, button("Reset a key", act, { kind: "small", can, why: "Needs a token of the role operate", label: `Reset a key of ${row.name}` }));
}
