/* How the gateway is: figures, courses, what needs attention, services, and the newest requests. */

import { chart, spark } from "../chart.js";
import { h } from "../dom.js";
import { ago, clock, count, many, rate, share, took } from "../format.js";
import { badge, card, empty, figure, link, ready } from "../parts.js";
import { asRate, asShare, asTime, byProtocol, byStatus, mean, now, percentiles, shares } from "../series.js";
import { state } from "../state.js";
import { hitRateChart } from "./cache.js";
import { servicesTable } from "./services.js";
import { requestsTable } from "./requests.js";
import { troubles } from "../troubles.js";

const MOST_REQUESTS = 8;
const MOST_ERRORS = 6;

/** The view. */
export function overview() {
  return [
    ready(["history"], figures),
    h("div", { class: "columns" }, ready(["history"], courses)),
    h("div", { class: "columns two-one" },
      h("div", { class: "stack" }, services(), requests()),
      h("div", { class: "stack aside" }, attention(), errors())),
    ready(["history"], () => h("div", { class: "columns", key: "more" }, spoken(), cached())),
  ];
}

function figures() {
  const { history } = state.got;
  const seen = now(history);
  const failed = shares(history);
  const tiles = [
    ["Requests", rate(seen.rate), history.requests, "s2xx", `peak ${asRate(Math.max(0, ...history.requests))}`],
    [
      "Errors",
      share(seen.errors ?? (history.requests.length ? 0 : null)),
      failed,
      "s5xx",
      `peak ${asShare(Math.max(0, ...failed))}`,
    ],
    ["Latency p50", took(seen.p50), history.p50, "p50", "half are faster"],
    ["Latency p95", took(seen.p95), history.p95, "p95", "1 in 20 is slower"],
    ["Latency p99", took(seen.p99), history.p99, "p99", "1 in 100 is slower"],
    [
      "In flight",
      [count(mean(history.in_flight) === null ? null : Math.round(mean(history.in_flight))), ""],
      history.in_flight ?? [],
      "s3xx",
      "requests now",
    ],
  ];
  return h(
    "section",
    { class: "tiles", "aria-label": "Figures now" },
    tiles.map(([name, value, values, tone, note]) =>
      h(
        "div",
        { class: "tile", key: name },
        h("h2", null, name),
        h("p", { class: "big" }, figure(value)),
        h("p", { class: "faint" }, note),
        spark(values, tone),
      ),
    ),
  );
}

function courses() {
  const { history } = state.got;
  return [
    h(
      "section",
      { class: "card", key: "traffic" },
      chart(
        {
          id: "traffic",
          title: "Requests by status",
          at: history.at,
          series: byStatus(history),
          unit: asRate,
          stacked: true,
        },
      ),
    ),
    h(
      "section",
      { class: "card", key: "latency" },
      chart({ id: "latency", title: "Latency", at: history.at, series: percentiles(history), unit: asTime }),
    ),
  ];
}

function spoken() {
  const { history } = state.got;
  return h(
    "section",
    { class: "card", key: "protocols" },
    chart(
      {
        id: "protocols",
        title: "Requests by protocol",
        at: history.at,
        series: byProtocol(history),
        unit: asRate,
        stacked: true,
      },
    ),
  );
}

function cached() {
  return h("section", { class: "card", key: "cache" }, hitRateChart(state.got.history));
}

function services() {
  return card("Services", { id: "services", flush: true, tools: link("services", null, "All services") },
    ready(["discovery"], () => servicesTable()));
}

function requests() {
  return card(
    "Live requests",
    { id: "live", flush: true, note: "those that are recorded", tools: link("requests", null, "All requests") },
    ready(["requests"], () => requestsTable(state.requests.slice(0, MOST_REQUESTS), { brief: true })),
  );
}

function attention() {
  const found = troubles();
  const known = state.got.endpoints && state.got.breakers && state.got.status;
  return card("Needs attention", { id: "attention", note: found.length ? count(found.length) : undefined },
    !known && !found.length
      ? h("div", { class: "loading", role: "status" }, h("span", { class: "unseen" }, "Loading"))
      : found.length
        ? h("ul", { class: "troubles" }, found.map((each) =>
            h("li", { key: each.key, class: each.tone },
              badge(each.tone, each.what),
              h("p", null, link(each.view, each.id, each.title)),
              each.more && h("p", { class: "faint" }, each.more))))
        : allWell());
}

function allWell() {
  const endpoints = state.got.endpoints.length;
  const breakers = state.got.breakers.length;
  return h(
    "div",
    { class: "well" },
    badge("good", "All well"),
    h(
      "p",
      { class: "faint" },
      `${many(endpoints, "endpoint")} healthy, ${breakers ? `${many(breakers, "breaker")} closed` : "no breakers"}, ` +
        "every worker alive.",
    ),
  );
}

function errors() {
  return card("Recent errors", { id: "errors", tools: link("log", null, "Log") },
    ready(["errors"], () => {
      const list = state.got.errors.slice(0, MOST_ERRORS);
      if (!list.length) return empty("No errors", "What fails stands here: once for each kind, counted.");
      return h("ul", { class: "errors" }, list.map((each) => errorItem(each)));
    }));
}

/** One kind of error. */
export function errorItem({ id, reason, message, route, service, count: times, last_seen: seen, last }) {
  const where = [service, route && `route ${route}`, last?.endpoint, last?.detail].filter(Boolean).join(" · ");
  const title = reason || message;
  return h("li", { key: id },
    h(
      "p",
      null,
      last?.request_id ? link("requests", last.request_id, { class: "plain" }, title) : h("b", null, title),
      h("span", { class: "times-met" }, ` ${count(times)} ×`),
    ),
    where && h("p", { class: "faint" }, where),
    h("p", { class: "faint when", title: clock(seen) }, ago(seen, state.now)));
}
