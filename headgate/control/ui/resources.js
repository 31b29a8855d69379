/* What the dashboard asks of the API: which resource is where, how often it is asked for while it is shown, and what
 * becomes of the answer.
 */

import { ask } from "./api.js";
import { moment } from "./format.js";
import { know, state } from "./state.js";

const MOST_REQUESTS = 300;
const MOST_LINES = 500;
const SECOND = 1000;

/** By name: the path, seconds between two looks, and what becomes of the answer. */
const RESOURCES = {
  status: { path: () => "api/v1/status", every: 5, read: (said) => said },
  history: { path: historyPath, every: 30, read: readHistory },
  endpoints: { path: () => "api/v1/endpoints", every: 3, read: (said) => said.endpoints },
  breakers: { path: () => "api/v1/circuit-breakers", every: 3, read: readBreakers },
  limits: { path: () => "api/v1/limits", every: 5, read: (said) => said.limits },
  cache: { path: () => "api/v1/cache", every: 5, read: (said) => said },
  discovery: { path: () => "api/v1/discovery", every: 5, read: (said) => said.services },
  routes: { path: () => "api/v1/config/routes", every: 30, read: (said) => said },
  config: { path: () => "api/v1/config", every: 30, read: (said) => said },
  changes: { path: () => "api/v1/config/changes", every: 10, read: (said) => said.items },
  errors: { path: () => "api/v1/telemetry/errors?limit=50", every: 5, read: (said) => said.items },
  requests: { path: () => "api/v1/telemetry/requests?limit=200", every: 30, read: readRequests },
  log: { path: () => "api/v1/telemetry/logs?source=gateway&limit=300", every: 30, read: readLog },
};

/** What each view shows; `status` is shown by all. */
const SHOWN = {
  overview: ["history", "endpoints", "breakers", "errors", "requests", "discovery"],
  services: ["history", "endpoints", "breakers", "discovery", "limits", "routes"],
  endpoints: ["endpoints", "discovery"],
  breakers: ["breakers"],
  limits: ["limits"],
  cache: ["cache", "history"],
  routes: ["routes"],
  requests: ["requests"],
  log: ["log", "errors"],
  configuration: ["config", "changes"],
};

const asked = new Map();

/** Ask for what the view needs and is not fresh any more. */
export function refresh() {
  if (!state.session || document.hidden) return;
  const now = Date.now();
  for (const name of ["status", ...(SHOWN[state.view.name] ?? [])]) {
    if (now - (asked.get(name) ?? 0) >= every(name)) load(name);
  }
}

function every(name) {
  // Where points are further apart than those of the stream, the API joins them: percentiles have no mean.
  if (name === "history" && stepOf(state.range) > 1) return stepOf(state.range) * SECOND;
  return RESOURCES[name].every * SECOND;
}

/** Ask for these at once. */
export function reload(...names) {
  for (const name of names) asked.delete(name);
  refresh();
}

/** Forget everything that was answered, as when somebody else signs in. */
export function forget() {
  asked.clear();
  know({ got: {}, failed: {}, requests: [], log: [] });
}

async function load(name) {
  const { path, read } = RESOURCES[name];
  asked.set(name, Date.now());
  const from = path();
  try {
    const said = read(await ask("GET", from));
    if (from === path()) know({ got: { ...state.got, [name]: said }, failed: { ...state.failed, [name]: undefined } });
  } catch (error) {
    if (error.status === 401) know({ session: null });
    else know(
      {
        failed: {
          ...state.failed,
          [name]: error.status === undefined ? "The answer could not be read." : error.message,
        },
      },
    );
  }
}

/** Take what the stream said. */
export function take(name, said) {
  if (name === "tick") takeTick(said);
  if (name === "request") readRequests({ items: [said] });
  if (name === "log") readLog([said]);
  if (name === "change") reload(
    "status",
    "endpoints",
    "breakers",
    "limits",
    "cache",
    "discovery",
    "routes",
    "config",
    "changes",
  );
}

function takeTick(said) {
  know({ now: Date.now() / SECOND });
  const { history } = state.got;
  if (!history || history.step !== 1 || !(moment(said.at) > (history.at.at(-1) ?? 0))) return;
  know({ got: { ...state.got, history: appended(history, said) } });
}

// The history

/** Seconds of one point: a hundred points show a course, more of them show its noise. */
function stepOf(range) {
  return Math.max(1, Math.round(range / 100));
}

function historyPath() {
  return `api/v1/telemetry/history?seconds=${state.range}&step=${stepOf(state.range)}`;
}

function readHistory(said) {
  return { ...said, at: said.at.map(moment) };
}

/** One more point at the end of every series, and none more than the range at their beginning. */
function appended(history, point) {
  const at = [...history.at, moment(point.at)];
  const drop = Math.max(0, at.findIndex((each) => each >= at.at(-1) - state.range));
  const { step, at: before, ...series } = history;
  // The stream says more than what has a course.
  const values = Object.fromEntries(Object.keys(series).map((name) => [name, point[name]]));
  return { ...grown(series, values, before.length, drop), step, at: at.slice(drop) };
}

function grown(series, point, length, drop) {
  const names = new Set([...Object.keys(series), ...Object.keys(point)]);
  const more = {};
  for (const name of names) {
    const before = series[name];
    const value = point[name];
    if (Array.isArray(before) || (before === undefined && (typeof value !== "object" || value === null))) {
      // Who was asked nothing is left out: that is a rate of nought, and no percentile.
      const nothing = name.startsWith("p") ? null : 0;
      more[name] = [...(before ?? Array(length).fill(nothing)), value ?? nothing].slice(drop);
    } else {
      more[name] = grown(before ?? {}, value ?? {}, length, drop);
    }
  }
  return more;
}

// Lists

function readBreakers(said) {
  return Object.entries(said).map(([service, each]) => ({ service, ...each }));
}

function readRequests({ items }) {
  const fresh = new Map(items.map((each) => [`${each.request_id} ${each.started}`, each]));
  const old = state.requests.filter((each) => !fresh.has(`${each.request_id} ${each.started}`));
  const all = [...fresh.values(), ...old].sort((a, b) => b.started - a.started);
  if (!state.held) know({ requests: all.slice(0, MOST_REQUESTS) });
  return true;
}

function readLog(said) {
  const name = (each) => `${each.timestamp} ${each.message}`;
  const items = (said.items ?? said).map((each) => ({ ...each, level: each.level.toLowerCase() }));
  const fresh = new Map(items.map((each) => [name(each), each]));
  const all = [...fresh.values(), ...state.log.filter((each) => !fresh.has(name(each)))];
  const newest = all.map((each) => [moment(each.timestamp) ?? 0, each]).sort(([a], [b]) => b - a);
  know({ log: newest.slice(0, MOST_LINES).map(([, each]) => each) });
  return true;
}
