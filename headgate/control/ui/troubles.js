/* What needs an operator's attention, the worst first, each with the view where something can be done about it. */

import { ago, span, word } from "./format.js";
import { state } from "./state.js";

/** Return it as {key, tone, what, title, more, view, id}. */
export function troubles() {
  return [...ofGateway(), ...ofBreakers(), ...ofServices(), ...ofEndpoints(), ...ofDiscovery()].sort(
    (a, b) => (a.tone === "bad" ? 0 : 1) - (b.tone === "bad" ? 0 : 1),
  );
}

function* ofGateway() {
  const { status } = state.got;
  if (!status) return;
  const gone = (status.workers ?? []).filter((each) => !each.alive);
  for (const each of gone) {
    yield {
      key: `worker ${each.worker}`,
      tone: "bad",
      what: "not alive",
      title: `Worker ${each.worker}`,
      view: "configuration",
    };
  }
  if (status.draining) yield {
    key: "draining",
    tone: "warn",
    what: "draining",
    title: "The gateway is stopping",
    view: "configuration",
  };
  const last = status.reload;
  if (last && last.ok === false) {
    const more = `${ago(last.at, state.now)}; plan ${status.plan} stays in force`;
    yield {
      key: "reload",
      tone: "bad",
      what: "refused",
      title: "The last configuration was refused",
      more,
      view: "configuration",
    };
  }
}

function* ofBreakers() {
  for (const each of state.got.breakers ?? []) {
    if (each.state === "closed" && !each.forced) continue;
    const wait = each.open_until - state.now;
    const left = each.open_until ? `tries again ${wait > 0.5 ? `in ${span(wait)}` : "with the next request"}` : "";
    const more = each.forced ? "held by hand until a reset" : left;
    yield {
      key: `breaker ${each.service}`,
      tone: each.state === "open" ? "bad" : "warn",
      what: word(each.state),
      title: `Breaker of ${each.service}`,
      more,
      view: "services",
      id: each.service,
    };
  }
}

function* ofServices() {
  const counts = new Map();
  for (const { service, state: is } of state.got.endpoints ?? []) {
    const [well, all] = counts.get(service) ?? [0, 0];
    counts.set(service, [well + (is === "healthy" ? 1 : 0), all + 1]);
  }
  for (const [service, [well, all]] of counts) {
    if (well > 0) continue;
    const more = all === 1 ? "its only endpoint is out" : `all ${all} endpoints are out`;
    yield {
      key: `service ${service}`,
      tone: "bad",
      what: "no endpoint",
      title: service,
      more,
      view: "services",
      id: service,
    };
  }
}

function* ofEndpoints() {
  for (const { service, endpoint, state: is } of state.got.endpoints ?? []) {
    if (is === "healthy") continue;
    yield {
      key: `endpoint ${service} ${endpoint}`,
      tone: "warn",
      what: word(is),
      title: endpoint,
      more: service,
      view: "services",
      id: service,
    };
  }
}

function* ofDiscovery() {
  for (const each of state.got.discovery ?? []) {
    if (each.state !== "failing" && each.state !== "waiting") continue;
    const more = each.last_error?.message ?? `no word from ${each.source} yet`;
    yield {
      key: `discovery ${each.service}`,
      tone: "warn",
      what: "discovery",
      title: each.service,
      more,
      view: "services",
      id: each.service,
    };
  }
}
