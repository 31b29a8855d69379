/* The decision record of one request: what each gate said, who could have been asked, who was, and when. */

import { ask } from "../api.js";
import { h } from "../dom.js";
import { bytes, count, date, span, text, took } from "../format.js";
import { badge, bar, card, empty, facts, link, problem } from "../parts.js";
import { know, state } from "../state.js";
import { statusTone } from "./requests.js";

const VERDICTS = { pass: "good", shadow: "idle", delay: "warn", answer: "idle", deny: "bad" };
const GATES = {
  entry: "Entry",
  addresses: "Address limits",
  identity: "Identity",
  access: "Access",
  fault: "Injected fault",
  limits: "Limits",
  external: "External authorization",
  plugins: "Plugins",
  cache: "Cache",
  breaker: "Circuit breaker",
  overload: "Overload",
  own: "Own endpoint",
  proxy: "Proxy by name",
};
const SAMPLED = {
  ratio: "in the share that is recorded",
  reserve: "one of so many each second",
  rule: "a rule says so",
  parent: "its caller's trace is recorded",
  error: "it failed",
  slow: "it was slow",
};

/** The view of one request. */
export function record(id) {
  const found = state.requests.find((each) => each.request_id === id) ?? state.got[`request ${id}`];
  if (!found) {
    const failed = state.failed[`request ${id}`];
    if (failed) return [problem(failed), link("requests", null, "All requests")];
    fetchRecord(id);
    return h("div", { class: "loading", role: "status" }, h("span", { class: "unseen" }, "Loading"));
  }
  return [
    lead(found),
    card("Timeline", { id: "timeline", note: `${text(took(found.duration))} in all` }, timeline(found)),
    h("div", { class: "columns", key: "facts" }, about(found), whose(found)),
    found.limits.length > 0 && limits(found),
    candidates(found),
  ];
}

const asked = new Set();

async function fetchRecord(id) {
  if (asked.has(id)) return;
  asked.add(id);
  try {
    const said = await ask("GET", `api/v1/telemetry/requests/${encodeURIComponent(id)}`);
    know({ got: { ...state.got, [`request ${id}`]: said.record ?? said } });
  } catch (error) {
    if (error.status === 401) know({ session: null });
    else know({ failed: { ...state.failed, [`request ${id}`]: error.message } });
  } finally {
    asked.delete(id);
  }
}

function lead(found) {
  return h(
    "div",
    { class: "lead", key: "lead" },
    badge(statusTone(found.status), String(found.status)),
    h("code", null, `${found.method} ${found.path}`),
    found.error && h("span", { class: "bad-text" }, found.error),
    found.detail && h("span", { class: "faint" }, found.detail),
    link("requests", null, "All requests"),
  );
}

/** Rows of {name, from, to, tone, said, marks}; times in seconds after the beginning. */
function rows(found) {
  const gates = found.gates.map((gate, place) => ({
    key: `gate ${place}`,
    name: GATES[gate.gate] ?? gate.gate,
    said: [badge(VERDICTS[gate.verdict] ?? "idle", gate.verdict), gate.detail && h("span", null, gate.detail)],
    from: gate.at,
    to: gate.at === undefined ? undefined : gate.at + (gate.seconds ?? 0),
    tone: "gate",
  }));
  const attempts = found.attempts.map((each, place) => ({
    key: `attempt ${place}`,
    name: found.attempts.length > 1 ? `Attempt ${place + 1}` : "Attempt",
    said: [
      each.status === undefined
        ? badge("bad", each.error ?? "failed")
        : badge(statusTone(each.status), String(each.status)),
      h("code", null, each.endpoint),
      h("span", { class: "faint" }, attemptWords(each)),
    ],
    from: each.at,
    head: each.head,
    to: each.end,
    tone: each.error || each.status >= 500 ? "failed" : "attempt",
  }));
  return [...gates, ...attempts];
}

function attemptWords(each) {
  return [
    each.reused === true ? "connection reused" : each.reused === false ? "new connection" : "",
    each.head === undefined ? "" : `head after ${text(took(each.head - each.at))}`,
    `${text(took(each.end - each.at))} in all`,
    each.retried ? `tried again: ${each.retried}` : "",
  ]
    .filter(Boolean)
    .join(", ");
}

function timeline(found) {
  const all = Math.max(found.duration, ...found.attempts.map((each) => each.end), 1e-6);
  const part = (seconds) => `${((100 * Math.min(all, Math.max(0, seconds))) / all).toFixed(2)}%`;
  const wide = (from, to) => `${Math.max(0.4, (100 * (to - from)) / all).toFixed(2)}%`;
  return [
    h(
      "ol",
      { class: "timeline" },
      h(
        "li",
        { class: "ruler", key: "ruler", "aria-hidden": "true" },
        h("span"),
        h("span"),
        h("span", { class: "ticks" }, [0, 0.25, 0.5, 0.75, 1].map((share) => h("span", null, text(took(all * share))))),
      ),
      rows(found).map((row) =>
        h(
          "li",
          { key: row.key },
          h("span", { class: "step" }, row.name),
          h("span", { class: "said" }, row.said),
          h(
            "svg",
            { class: `track ${row.tone}`, "aria-hidden": "true" },
            h("line", { class: "grid", x1: 0, x2: "100%", y1: "50%", y2: "50%" }),
            row.from === undefined
              ? null
              : row.head === undefined
                ? h(
                  "rect",
                  { class: "wait", x: part(row.from), width: wide(row.from, row.to), y: 5, height: 10, rx: 2 },
                )
                : [
                    h(
                      "rect",
                      { class: "wait", x: part(row.from), width: wide(row.from, row.head), y: 5, height: 10, rx: 2 },
                    ),
                    h(
                      "rect",
                      { class: "body", x: part(row.head), width: wide(row.head, row.to), y: 5, height: 10, rx: 2 },
                    ),
                  ],
          ),
        ),
      ),
    ),
    h(
      "p",
      { class: "key faint" },
      h("i", { class: "swatch wait" }),
      "until the head of the answer ",
      h("i", { class: "swatch body" }),
      "its body",
      found.gates.some((gate) => gate.at === undefined) && ". Gates without a bar made nobody wait.",
    ),
  ];
}

function about(found) {
  return card("Request", { id: "about" }, facts([
    ["Route", found.route ?? "no route matched"],
    ["Pattern", found.pattern && h("code", null, found.pattern)],
    ["Service", found.service && link("services", found.service, found.service)],
    ["Begun", date(found.started)],
    ["Took", text(took(found.duration))],
    ["Bodies", `${bytes(found.bytes_in)} in, ${bytes(found.bytes_out)} out`],
    ["Host", `${found.scheme}://${found.host}`],
    ["Protocol", `HTTP/${found.version}`],
    found.cache && ["Cache", found.cache],
    found.grpc_status !== undefined && ["gRPC status", String(found.grpc_status)],
    ["Worker, plan", `${found.worker}, ${found.plan}`],
  ]));
}

function whose(found) {
  const { identity } = found;
  return card("Caller and trace", { id: "caller" }, facts([
    ["Caller", identity ? `${identity.kind} ${identity.id}` : "nobody known"],
    identity?.method && ["Known by", identity.method],
    identity?.tenant && ["Tenant", identity.tenant],
    identity?.tier && ["Tier", identity.tier],
    identity?.roles?.length > 0 && ["Roles", identity.roles.join(", ")],
    ["Address", found.client],
    ["Request id", h("code", null, found.request_id)],
    found.correlation_id && ["Correlation id", h("code", null, found.correlation_id)],
    ["Trace id", h("code", null, found.trace_id)],
    ["Recorded", SAMPLED[found.sampled] ?? found.sampled],
  ]));
}

function limits(found) {
  return card(
    "Limits",
    { id: "limits" },
    h(
      "ul",
      { class: "meters" },
      found.limits.map(
        (each, place) => h(
          "li",
          { key: place },
          h(
            "p",
            null,
            h("b", null, each.name),
            badge(each.allowed ? "good" : "bad", each.allowed ? "allowed" : "refused"),
          ),
          bar(each.limit ? 1 - each.remaining / each.limit : 1, each.allowed ? "" : "bad"),
          h(
            "p",
            { class: "faint" },
            `${count(each.remaining)} of ${count(each.limit)} left in ${span(each.window)}, ` +
              `full again in ${span(each.reset)}; ${each.type.replaceAll("_", " ")}`,
          ),
        ),
      ),
    ),
  );
}

function candidates(found) {
  const chosen = new Set(found.attempts.map((each) => each.endpoint));
  const note = [
    found.balancer?.replaceAll("_", " "),
    found.breaker && `breaker ${found.breaker.replaceAll("_", "-")}`,
  ].filter(Boolean).join(", ");
  return card(
    "Who could be asked",
    { id: "candidates", note },
    found.candidates.length ? h(
      "ul",
      { class: "candidates" },
      found.candidates.map(
        (each) => h(
          "li",
          { key: each.endpoint },
          h("code", null, each.endpoint),
          chosen.has(each.endpoint) && badge("good", "asked"),
          h(
            "span",
            { class: "faint" },
            [
              each.weight ? `weight ${each.weight}` : "not at present",
              each.in_flight !== undefined && `${count(each.in_flight)} in flight`,
            ].filter(Boolean).join(", "),
          ),
        ),
      ),
    ) : empty("Nobody", "The request ended before an endpoint was chosen."),
  );
}
