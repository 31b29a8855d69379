/* Routes: what they match, and where they lead. */

import { h } from "../dom.js";
import { card, empty, filter, link, passes, ready, table } from "../parts.js";
import { state } from "../state.js";

/** The view. */
export function routes() {
  return card(
    "All routes",
    {
      id: "routes",
      flush: true,
      note: "in the order of the file; headgate routes tells which wins",
      tools: filter("routes", "Filter routes", "Filter by name, path or service"),
    },
    ready(
      ["routes"],
      () => routesTable((each) => passes("routes", each.name, pathOf(each), each.service, ...each.match.host)),
    ),
  );
}

/** The table of the routes that `wanted` lets through. */
export function routesTable(wanted) {
  const columns = [
    { name: "name", title: "Route", cell: (row) => row.name, sort: (row) => row.name },
    { name: "host", title: "Host", cell: ({ match }) => match.host.join(", ") || h("span", { class: "faint" }, "any") },
    { name: "path", title: "Path", cell: (row) => h("code", null, pathOf(row)), sort: pathOf },
    {
      name: "method",
      title: "Methods",
      cell: ({ match }) => match.method.join(", ") || h("span", { class: "faint" }, "all"),
    },
    { name: "more", title: "Conditions", cell: conditions },
    { name: "to", title: "Goes to", cell: goesTo },
  ];
  const none = state.got.routes.length ? empty("No route matches") : empty(
    "No routes",
    "Every request is answered with 404.",
  );
  return table(
    "routes",
    "Routes",
    columns,
    state.got.routes.filter(wanted),
    { key: (row) => `${row.service} ${row.name}`, none },
  );
}

function pathOf({ match: { path } }) {
  if (path === null) return "/";
  if (typeof path === "string") return path;
  return Object.entries(path).map(([kind, value]) => (value === true ? kind : `${kind} ${value}`)).join(" ");
}

function conditions({ match: { headers, query } }) {
  const names = [
    ...Object.keys(headers).map((name) => `header ${name}`),
    ...Object.keys(query).map((name) => `query ${name}`),
  ];
  return names.join(", ") || h("span", { class: "faint" }, "none");
}

function goesTo({ destinations }) {
  return destinations.map(({ service_name: name, weight }, place) => [
    place > 0 && ", ",
    link("services", name, name),
    destinations.length > 1 && h("span", { class: "faint" }, ` ${weight}`),
  ]);
}
