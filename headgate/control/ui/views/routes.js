/* Routes, in the order in which they are tried. */

import { h } from "../dom.js";
import { card, empty, filter, link, passes, ready, table } from "../parts.js";
import { state } from "../state.js";

/** The view. */
export function routes() {
  return card("All routes", { id: "routes", flush: true, note: "in the order in which they are tried", tools: filter("routes", "Filter routes", "Filter by name, path or service") },
    ready(["routes"], () => routesTable((each) => passes("routes", each.name, pathOf(each), each.service, each.host))));
}

/** The table of the routes that `wanted` lets through. */
export function routesTable(wanted) {
  const columns = [
    { name: "name", title: "Route", cell: (row) => row.name },
    { name: "host", title: "Host", cell: (row) => [row.host ?? row.match?.host ?? "any"].flat().join(", ") || "any" },
    { name: "path", title: "Path", cell: (row) => h("code", null, pathOf(row)) },
    { name: "method", title: "Methods", cell: (row) => [row.methods ?? row.match?.method ?? []].flat().join(", ") || "all" },
    { name: "to", title: "Goes to", cell: goesTo },
  ];
  const none = state.got.routes.length ? empty("No route matches") : empty("No routes", "Every request is answered with 404.");
  return table("routes", "Routes", columns, state.got.routes.filter(wanted), { key: (row) => `${row.service} ${row.name}`, none });
}

function pathOf(row) {
  const path = row.path ?? row.pattern ?? row.match?.path ?? "/";
  if (typeof path === "string") return path;
  const [[kind, value]] = Object.entries(path).filter(([, each]) => each).concat([["prefix", "/"]]);
  return kind === "prefix" ? value : `${kind} ${value}`;
}

function goesTo(row) {
  const destinations = row.destinations ?? [];
  if (typeof row.goes_to === "string" && !destinations.length) return row.goes_to;
  if (!destinations.length) return link("services", row.service, row.service);
  return destinations.map((each, place) => {
    const name = each.service ?? each.service_name;
    const weight = destinations.length > 1 ? h("span", { class: "faint" }, ` ${each.weight} `) : null;
    return [place > 0 && " ", link("services", name, name), weight];
  });
}
