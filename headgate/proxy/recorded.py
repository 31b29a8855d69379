"""The record of a finished request (telemetry.record): what its exchange knows, and what was noted of it on the way.

Laws: what a client sent is clipped, lists are cut; no query, no header value and no credential is in it. Of a request
that was not chosen before its gates their verdicts are told from its end, without times.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from headgate.core.identity import ANONYMOUS, Identity
from headgate.policy.breaker import NOT_CLOSED
from headgate.policy.limit.headers import Told
from headgate.proxy.notes import Notes, candidates_of
from headgate.proxy.overload import BUSY
from headgate.telemetry.access_log import MAX_PATH, clipped
from headgate.telemetry.metrics import FROM_CACHE
from headgate.telemetry.record import MOST_LIMITS, MOST_ROLES, MOST_STATE, Attempt, Caller, Gate, Limit, Record, Verdict
from headgate.telemetry.redaction import Redaction, Taken
from headgate.telemetry.trace import Trace

if TYPE_CHECKING:
    from headgate.proxy.exchange import Exchange

_MICROSECONDS: Final = 1_000_000
_MICRO: Final = 6
# Who refuses for a reason, where only one gate of a route does.
_REFUSES: Final = {
    "invalid_credentials": "identity",
    "invalid_token": "identity",
    "expired_token": "identity",
    "invalid_api_key": "identity",
    "identity_unavailable": "identity",
    "forbidden": "access",
    "tenant_forbidden": "access",
    "rate_limited": "limits",
    "limits_unavailable": "limits",
    "denied_externally": "external",
    "authorization_unavailable": "external",
    "denied_by_plugin": "plugins",
    "plugin_failed": "plugins",
    "fault_injected": "fault",
}


def record_of(exchange: Exchange, notes: Notes, trace: Trace, worker: int, started: float, now: float) -> Record:
    """Make the record of a request that ended at `now` (monotonic seconds) and began at `started` (wall clock)."""
    head = exchange.stream.head
    plan, way, cluster = exchange.plan, exchange.way, exchange.cluster
    record: Record = {
        "request_id": exchange.request_id,
        "trace_id": trace.trace_id,
        "span_id": trace.span_id,
        "traced": exchange.trace is not None and not (trace.parent.sampled is False and plan.follows),
        "sampled": notes.sampled,
        "worker": worker,
        "plan": notes.plan,
        "started": round(started, _MICRO),
        "duration": round(exchange.duration, _MICRO),
        "scheme": head.scheme,
        "method": clipped(exchange.method),
        "host": clipped(exchange.host),
        "path": clipped(exchange.path, MAX_PATH),
        "client": clipped(exchange.client),
        "version": head.version,
        "status": exchange.status,
        "bytes_in": exchange.bytes_in,
        "bytes_out": exchange.bytes_out,
        "gates": _gates(exchange, notes),
        "limits": _limits(exchange.told or ()),
        "candidates": [],
        "attempts": _attempts(exchange, notes, now),
    }
    if exchange.correlation_id != exchange.request_id:
        record["correlation_id"] = exchange.correlation_id
    if trace.parent.span_id:
        record["parent_id"] = trace.parent.span_id
    if trace.parent.state and len(trace.parent.state) <= MOST_STATE:
        record["trace_state"] = trace.parent.state
    if way is not None:
        record["route"] = way.name
        record["pattern"] = way.pattern
    if cluster is not None:
        record["service"] = cluster.name
        record["balancer"] = plan.balancers[cluster.name]
        record["candidates"] = notes.candidates if notes.candidates is not None else candidates_of(cluster)
        if cluster.breaker is not None and (state := _breaker(exchange)):
            record["breaker"] = state
    if exchange.identity is not ANONYMOUS:
        record["identity"] = _caller(exchange.identity)
    _tell_of_end(record, exchange)
    return record


def _tell_of_end(record: Record, exchange: Exchange) -> None:
    if exchange.cache:
        record["cache"] = exchange.cache
    if exchange.grpc_status >= 0:
        record["grpc_status"] = exchange.grpc_status
    if exchange.error:
        record["error"] = exchange.error
    if exchange.detail:
        record["detail"] = clipped(exchange.detail)


def redact(record: Record, exchange: Exchange, redaction: Redaction, taken: Sequence[Taken]) -> None:
    """Take out of a record what was taken out of its exchange."""
    record["host"], record["client"] = clipped(exchange.host), clipped(exchange.client)
    record["path"] = clipped(exchange.path, MAX_PATH)
    if "identity" in record:
        record["identity"] = _caller(exchange.identity)
    if "detail" in record:
        record["detail"] = clipped(exchange.detail)
    for gate in record["gates"]:
        if "detail" in gate:
            gate["detail"] = redaction.words(gate["detail"], taken)


# -- gates ---------------------------------------------------------------------------------------------------------


def _gates(exchange: Exchange, notes: Notes) -> list[Gate]:
    """List what every gate decided, in the order in which the request came to them."""
    plan, way, error, cluster = exchange.plan, exchange.way, exchange.error, exchange.cluster
    gates: list[Gate] = []
    if exchange.peer is None:
        # The wire refused it.
        return gates
    if plan.entry is not None:
        gates.append(_verdict("entry", exchange, way is None and error in ("untrusted_host", "origin_forbidden")))
    if plan.limits is not None and exchange.path not in exchange.gateway.own and not _stopped(gates):
        gates.append(_verdict("limits", exchange, way is None and _REFUSES.get(error) == "limits"))
    if way is None or _stopped(gates):
        return gates
    if error == "shed" and exchange.detail == BUSY:
        return [*gates, _verdict("overload", exchange, True)]
    behind = notes.gates or _told(exchange)
    _tell_of_limits(behind, exchange.told or ())
    gates += behind
    if _stopped(gates) or cluster is None:
        return gates
    if exchange.cache:
        gates.append(_cached(exchange.cache, notes))
    if cluster.breaker is not None and (exchange.ticket >= 0 or error == "breaker_open"):
        gates.append(_verdict("breaker", exchange, error == "breaker_open") | {"detail": _breaker(exchange)})
    if cluster.adaptive is not None and (exchange.attempts or error == "shed"):
        gates.append(_verdict("overload", exchange, error == "shed"))
    return gates


def _verdict(name: str, exchange: Exchange, denied: bool) -> Gate:
    if not denied:
        return {"gate": name, "verdict": "pass"}
    said = exchange.detail or exchange.error
    return {"gate": name, "verdict": "deny", "detail": clipped(said)}


def _cached(result: str, notes: Notes) -> Gate:
    """Tell what the cache made of the request, and why as far as that was noted."""
    verdict: Verdict = "answer" if result in FROM_CACHE else "pass"
    why = f": {notes.cache}" if notes.cache else ""
    unkept = f", not kept: {notes.unkept}" if notes.unkept else ""
    return {"gate": "cache", "verdict": verdict, "detail": f"{result}{why}{unkept}"}


def _stopped(gates: Sequence[Gate]) -> bool:
    return bool(gates) and gates[-1]["verdict"] in ("deny", "answer")


def _told(exchange: Exchange) -> list[Gate]:
    """Tell from the end what the gates of the route decided; nothing where that can't be told."""
    way, error = exchange.way, exchange.error
    assert way is not None
    refuser = _refuser(exchange)
    gates: list[Gate] = []
    for gate in way.gates:
        gates.append(_verdict(gate.name, exchange, gate.name == refuser))
        if gate.name == refuser:
            return gates
    if exchange.cluster is None:
        return gates if not error else []
    through = exchange.attempts or exchange.ticket >= 0 or error in ("breaker_open", "no_endpoint", "shed")
    return gates if through else []


def _refuser(exchange: Exchange) -> str:
    """Name the gate of the route that refused; empty for none."""
    error = exchange.error
    if error == "missing_credentials":
        # The gate of identity has nothing to add to it; what is missing for access is said.
        return "access" if exchange.detail else "identity"
    if error == "address_forbidden":
        # A key's own addresses come after the key.
        return "access" if exchange.identity.kind == "api_key" else "addresses"
    return _REFUSES.get(error, "")


def _tell_of_limits(gates: Sequence[Gate], told: Sequence[Told]) -> None:
    """Say of the gate of limits what it did besides letting pass."""
    for gate in gates:
        if gate["gate"] == "limits" and gate["verdict"] == "pass":
            if any(reading.delay for _, _, _, reading in told):
                gate["verdict"] = "delay"
            elif any(reading.wait for _, _, _, reading in told):
                gate["verdict"] = "shadow"
        elif gate["gate"] == "fault" and gate["verdict"] == "pass" and "seconds" in gate:
            gate["verdict"] = "delay"


def _limits(told: Sequence[Told]) -> list[Limit]:
    return [
        {
            "name": name,
            "limit": reading.limit,
            "remaining": reading.remaining,
            "reset": round(reading.reset / _MICROSECONDS, 3),
            "window": window,
            "type": type_,
            "allowed": not reading.wait,
        }
        for name, window, type_, reading in told[:MOST_LIMITS]
    ]


def _breaker(exchange: Exchange) -> str:
    """Tell in which state the breaker was as the request came to it; empty when it did not come so far."""
    if exchange.error == "breaker_open":
        return "open"
    if exchange.ticket < 0:
        return ""
    return "half_open" if exchange.ticket & NOT_CLOSED else "closed"


# -- who asked, and what was tried ---------------------------------------------------------------------------------


def _caller(identity: Identity) -> Caller:
    caller: Caller = {"kind": identity.kind, "id": clipped(identity.id)}
    if identity.tenant:
        caller["tenant"] = clipped(identity.tenant)
    if identity.tier:
        caller["tier"] = clipped(identity.tier)
    if identity.roles:
        caller["roles"] = [clipped(role) for role in sorted(identity.roles)[:MOST_ROLES]]
    if identity.method:
        caller["method"] = identity.method
    return caller


def _attempts(exchange: Exchange, notes: Notes, now: float) -> list[Attempt]:
    """List the tries; what became of the one that was in hand last is known from the request's end."""
    attempts = notes.attempts
    if not attempts and exchange.attempts:
        attempts = [notes.attempt(json.loads(f'"{exchange.endpoint}"'), exchange.tried_at)]
    for attempt in attempts:
        if attempt["end"] >= 0.0:
            continue
        attempt["end"] = notes.after(now)
        if exchange.upstream:
            attempt["head"] = round(attempt["at"] + exchange.upstream, _MICRO)
            # Where its client left, the status is that of its leaving.
            if exchange.error != "client_closed":
                attempt["status"] = exchange.status
        if exchange.error:
            attempt["error"] = exchange.error
    return attempts
