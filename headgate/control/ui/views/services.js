/* All services, and everything about one. */

import { chart, spark } from "../chart.js";
import { h } from "../dom.js";
import { count, many, rate, share, span, took } from "../format.js";
import { badge, card, empty, facts, figure, filter, link, passes, ready, table } from "../parts.js";
import { asRate, asTime, now, percentiles } from "../series.js";
import { state } from "../state.js";
import { breakerBadge, breakerButtons, breakerFacts } from "./breakers.js";
import { endpointsTable } from "./endpoints.js";
import { limitsTable } from "./limits.js";
import { requestsTable } from "./requests.js";
import { routesTable } from "./routes.js";

// A share of errors; less is the noise of any large service.
const WORTH_A_COLOUR = 0.01;
const DISCOVERY = { static: "good", current: "good", waiting: "warn", failing: "bad" };

/** The view. */
export function services(id) {
  if (id !== null) return service(id);
  return card(
    "All services",
    { id: "services", flush: true, tools: filter("services", "Filter services", "Filter by name") },
    ready(["discovery"], () => servicesTable("services")),
  );
}

function rows() {
  return state.got.discovery.map(({ service: name }) => {
    const of = state.got.history?.by_service?.[name];
    const own = (state.got.endpoints ?? []).filter((each) => each.service === name);
    const breaker = (state.got.breakers ?? []).find((each) => each.service === name);
    return { name, of, ...now(of), own, well: own.filter((each) => each.state === "healthy").length, breaker };
  });
}

/** How a service is, from its endpoints and its breaker. */
function health({ own, well, breaker }) {
  if (breaker?.state === "open") return ["bad", "Failing"];
  if (own.length === 0) return ["idle", "No endpoints"];
  if (well === 0) return ["bad", "Down"];
  if (well < own.length || breaker?.state === "half_open") return ["warn", "Degraded"];
  return ["good", "Healthy"];
}

/** The table of services; `filtered` names the filter that it obeys. */
export function servicesTable(filtered) {
  const columns = [
    { name: "name", title: "Service", cell: (row) => link("services", row.name, row.name), sort: (row) => row.name },
    { name: "health", title: "Health", cell: (row) => badge(...health(row)), sort: (row) => health(row)[1] },
    { name: "course", title: "Traffic", kind: "course", cell: (row) => spark(row.of?.requests ?? [], "s2xx") },
    {
      name: "rate",
      title: "Requests",
      number: true,
      cell: (row) => figure(rate(row.of ? row.rate ?? 0 : null)),
      sort: (row) => row.rate,
    },
    {
      name: "errors",
      title: "Errors",
      number: true,
      cell: (row) => h(
        "span",
        { class: row.errors >= WORTH_A_COLOUR ? "bad-text" : undefined },
        figure(share(row.errors)),
      ),
      sort: (row) => row.errors,
    },
    { name: "p50", title: "p50", number: true, cell: (row) => figure(took(row.p50)), sort: (row) => row.p50 },
    { name: "p95", title: "p95", number: true, cell: (row) => figure(took(row.p95)), sort: (row) => row.p95 },
    { name: "p99", title: "p99", number: true, cell: (row) => figure(took(row.p99)), sort: (row) => row.p99 },
    {
      name: "endpoints",
      title: "Endpoints",
      number: true,
      cell: (row) => `${row.well} of ${row.own.length}`,
      sort: (row) => row.well,
    },
    {
      name: "breaker",
      title: "Breaker",
      cell: (row) => (row.breaker ? breakerBadge(row.breaker) : h("span", { class: "faint" }, "none")),
      sort: (row) => row.breaker?.state ?? "",
    },
  ];
  const all = rows();
  const none = all.length ? empty("No service has such a name") : empty(
    "No services",
    "Configure one, or let one register.",
  );
  return table(
    "services",
    "Services",
    columns,
    all.filter((row) => !filtered || passes(filtered, row.name)),
    { key: (row) => row.name, none },
  );
}

function service(name) {
  return ready(["discovery", "endpoints", "breakers"], () => {
    const row = rows().find((each) => each.name === name);
    if (!row) return empty(
      "There is no such service",
      "It may have left with a reload. ",
      link("services", null, "All services"),
    );
    return [
      h(
        "div",
        { class: "lead", key: "lead" },
        badge(...health(row)),
        many(row.own.length, "endpoint"),
        link("services", null, "All services"),
      ),
      h("div", { class: "columns", key: "courses" }, ready(["history"], () => courses(name, row.of))),
      card("Endpoints", { id: "endpoints", flush: true }, endpointsTable(row.own, { brief: true })),
      h("div", { class: "columns", key: "two" }, breakerCard(row), discoveryCard(name)),
      card(
        "Limits",
        { id: "limits", flush: true },
        ready(["limits"], () =>
          limitsTable((each) => each.scope === `service ${name}`, empty("This service has none of its own")),
        ),
      ),
      card(
        "Routes",
        { id: "routes", flush: true },
        ready(["routes"], () => routesTable((route) => goesTo(route, name))),
      ),
      card(
        "Recorded requests",
        { id: "requests", flush: true },
        requestsTable(state.requests.filter((each) => each.service === name).slice(0, 20), { brief: true }),
      ),
    ];
  });
}

function goesTo(route, name) {
  return route.service === name || route.destinations.some((each) => each.service_name === name);
}

function courses(name, of) {
  const { at } = state.got.history;
  const gaps = at.map(() => 0);
  const failed = of?.errors ?? gaps;
  const well = (of?.requests ?? gaps).map((all, place) => Math.max(0, all - (failed[place] ?? 0)));
  const series = [{ name: "answered", tone: "s2xx", values: well }, { name: "errors", tone: "s5xx", values: failed }];
  return [
    h(
      "section",
      { class: "card", key: "traffic" },
      chart({ id: "traffic", title: "Requests", at, series, unit: asRate, stacked: true }),
    ),
    h(
      "section",
      { class: "card", key: "latency" },
      chart({ id: "latency", title: "Latency", at, series: percentiles(of ?? {}), unit: asTime }),
    ),
  ];
}

function breakerCard({ name, breaker }) {
  return card("Circuit breaker", { id: "breaker", tools: breaker && breakerButtons(breaker) },
    breaker ? breakerFacts(breaker) : empty("This service has none", "circuit_breaker configures one for ", name, "."));
}

function discoveryCard(name) {
  const {
    source,
    where,
    state: is,
    endpoints,
    age,
    last_error: last,
  } = state.got.discovery.find((each) => each.service === name);
  return card("Discovery", { id: "discovery" }, facts([
    ["Source", source === "static" ? "the configuration" : source],
    where && ["Asked", h("code", null, where)],
    ["State", badge(DISCOVERY[is] ?? "idle", is)],
    ["Endpoints", count(endpoints)],
    age !== null && ["Last said", `${span(age)} ago`],
    last && ["Last failure", `${span(last.age)} ago: ${last.message}`],
  ]));
}
