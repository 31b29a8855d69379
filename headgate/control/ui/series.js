/* What is read out of the history: rates, shares and the series that charts show. */

import { rate, share, text, took } from "./format.js";
import { latest } from "./chart.js";
import { state } from "./state.js";

const CLASSES = ["2xx", "3xx", "4xx", "5xx"];
// Single seconds jump; what stands as "now" is the mean of so many of them.
const NOW = 10;

/** The series of statuses, from bottom to top. */
export function byStatus(history) {
  return CLASSES.map(
    (name) => ({ name, tone: `s${name}`, values: history.by_status?.[name] ?? history.at.map(() => 0) }),
  );
}

const PROTOCOLS = [["HTTP/1.0", "p50"], ["HTTP/1.1", "p50"], ["HTTP/2", "p95"], ["gRPC", "p99"]];

/** The series of what clients spoke, from bottom to top; HTTP/1.0 stands there where somebody spoke it. */
export function byProtocol(history) {
  const of = history.by_protocol ?? {};
  return PROTOCOLS.filter(([name]) => name !== "HTTP/1.0" || of[name]?.some((value) => value > 0)).map(
    ([name, tone]) => ({ name, tone, values: of[name] ?? history.at.map(() => 0) }),
  );
}

/** The share of requests answered from the cache in each point, null where none came to it. */
export function hitRates({ cache }) {
  return (cache?.requests ?? []).map((all, place) => (all > 0 ? cache.answered[place] / all : null));
}

/** The share of requests answered from the cache now; null where none came to it. */
export function hitRate({ cache }) {
  const all = mean(cache?.requests);
  return all > 0 ? mean(cache.answered) / all : null;
}

/** The percentiles of the whole gateway or of one service. */
export function percentiles(of) {
  return ["p50", "p95", "p99"].map((name) => ({ name, tone: name, values: of[name] ?? [] }));
}

/** The mean of the newest values of a series. */
export function mean(values) {
  const places = Math.max(1, Math.round(NOW / (state.got.history?.step || 1)));
  const known = (values ?? []).slice(-places).filter((value) => value !== null && value !== undefined);
  return known.length ? known.reduce((sum, value) => sum + value, 0) / known.length : null;
}

/** The share of errors in each point, null where nothing was asked. */
export function shares(of) {
  return (of.requests ?? []).map((all, place) => (all > 0 ? (of.errors?.[place] ?? 0) / all : null));
}

/** What stands for a service, or the gateway, now. */
export function now(of) {
  const all = mean(of?.requests);
  const failed = mean(of?.errors);
  return {
    rate: all,
    errors: all > 0 ? failed / all : null,
    p50: latest((of?.p50 ?? []).slice(-NOW)),
    p95: latest((of?.p95 ?? []).slice(-NOW)),
    p99: latest((of?.p99 ?? []).slice(-NOW)),
  };
}

export const asRate = (value) => text(rate(value));
export const asTime = (value) => text(took(value));
export const asShare = (value) => text(share(value));
