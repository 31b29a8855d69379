/* The cache: how much it answers, what it holds, and purging from it. */

import { purge } from "../actions.js";
import { chart } from "../chart.js";
import { h } from "../dom.js";
import { bytes, count, share, span } from "../format.js";
import { badge, bar, card, deed, empty, facts, figure, ready, table } from "../parts.js";
import { asShare, hitRate, hitRates } from "../series.js";
import { state } from "../state.js";

const BY = [["url", "Purge a URL"], ["prefix", "Purge a prefix"], ["tag", "Purge a tag"], ["all", "Purge all"]];
const WORDS = { away: ["bad", "Away"], here: ["good", "In use"] };

/** The view. */
export function cache() {
  return ready(["cache"], () => {
    const { store } = state.got.cache;
    if (!store) return empty("No route has a cache", "cache of the gateway, a service or a route configures one.");
    return [
      h("div", { class: "columns", key: "columns" }, course(), held(state.got.cache)),
      card("Routes with a cache", { id: "cached", flush: true }, routesTable()),
    ];
  });
}

function course() {
  return h(
    "section",
    { class: "card", key: "course" },
    ready(["history"], () => hitRateChart(state.got.history)),
  );
}

/** The course of how much is answered from the cache. */
export function hitRateChart(history) {
  const series = [{ name: "hit rate", tone: "s2xx", values: hitRates(history) }];
  return chart({ id: "cache", title: "Answered from the cache", at: history.at, series, unit: asShare, most: 1 });
}

function held({ store, hit_rate: since, response_bytes: answered }) {
  const now = state.got.history ? hitRate(state.got.history) : null;
  const purges = BY.map(
    ([by, title]) => deed(title, () => purge(by), { kind: by === "all" ? "small danger" : "small", label: title }),
  );
  return card(
    "What it holds",
    { id: "held" },
    facts([
      ["Store", [badge(...WORDS[store.away ? "away" : "here"]), ` ${store.type}`]],
      [
        "Hit rate",
        [figure(share(now ?? since)), h("span", { class: "faint" }, now === null ? " since the start" : "")],
      ],
      ["Answered", `${bytes(answered)} since the start`],
      !store.away && store.entries !== null && ["Answers", count(store.entries)],
      !store.away && store.bytes !== null && ["Bytes", [
        store.size ? `${bytes(store.bytes)} of ${bytes(store.size)}` : bytes(store.bytes),
        store.size && bar(store.bytes / store.size),
      ]],
      !store.away && ["Evicted", `${count(store.evicted)} of ${count(store.stored)} stored`],
      !store.away && ["Not taken", count(store.refused)],
      !store.away && ["Purged", count(store.purged)],
    ]),
    h("div", { class: "buttons purges" }, purges),
  );
}

function routesTable() {
  const result = (name, title) => ({
    name,
    title,
    number: true,
    cell: (row) => count(row.results[name]),
    sort: (row) => row.results[name],
  });
  const columns = [
    { name: "route", title: "Route", cell: (row) => row.route, sort: (row) => row.route },
    {
      name: "rate",
      title: "Hit rate",
      number: true,
      cell: (row) => figure(share(row.hit_rate)),
      sort: (row) => row.hit_rate,
    },
    result("hit", "Hits"),
    result("stale", "Stale"),
    result("revalidated", "Revalidated"),
    result("collapsed", "Collapsed"),
    result("miss", "Misses"),
    result("bypass", "Bypassed"),
    {
      name: "bytes",
      title: "Answered",
      number: true,
      cell: (row) => bytes(row.response_bytes),
      sort: (row) => row.response_bytes,
    },
    { name: "fresh", title: "Fresh", cell: (row) => (row.ttl === null ? "as answers say" : span(row.ttl)) },
    { name: "who", title: "Shared by", cell: ({ partition }) => SHARED[partition] ?? partition },
  ];
  return table("cache", "Routes with a cache", columns, state.got.cache.routes, {
    key: (row) => row.route,
    none: empty("No routes"),
  });
}

const SHARED = { auto: "tenants, callers", identity: "callers", shared: "everybody" };
