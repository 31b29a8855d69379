"""The record of one request: all that was decided on its way, and when.

It is made in the worker for requests that are sampled (telemetry.sampling), travels to control as JSON, and is the one
source of what `headgate explain --request`, the query API, the dashboard and exported spans say of a request.

Laws: bounded, whatever a client sends: texts are clipped as in the access log, lists are cut; no query, no header
value, no credential stands in it; times are seconds, `started` on the wall clock, all others from there.
"""

from __future__ import annotations

from typing import Final, Literal, NotRequired, TypedDict

MOST_ATTEMPTS: Final = 16
MOST_CANDIDATES: Final = 16
MOST_LIMITS: Final = 16
MOST_ROLES: Final = 16
# Characters of a tracestate; a longer one is passed on, but not recorded.
MOST_STATE: Final = 512

Verdict = Literal["pass", "deny", "answer", "delay", "shadow"]


class Gate(TypedDict):
    """What one gate decided: entry, addresses, identity, access, fault, limits, external, plugins, cache, breaker,
    overload. The cache tells what it made of the request, and why in words of RFC 9211.

    At an own endpoint of the gateway own and proxy, too. Limits that need no route are a gate of their own, before it.
    `at` and `seconds` say when it was entered and how long it waited; both are absent where nothing waited.
    """

    gate: str
    verdict: Verdict
    detail: NotRequired[str]
    at: NotRequired[float]
    seconds: NotRequired[float]


class Limit(TypedDict):
    """One limit that counted the request; `reset` in seconds from then."""

    name: str
    limit: int
    remaining: int
    reset: float
    window: float
    type: str
    allowed: bool


class Caller(TypedDict):
    """Who asked, as core.identity has it; absent for nobody."""

    kind: str
    id: str
    tenant: NotRequired[str]
    tier: NotRequired[str]
    roles: NotRequired[list[str]]
    method: NotRequired[str]


class Candidate(TypedDict):
    """One endpoint that could have been chosen; weight 0 = not at present. `in_flight` where the balancer counts."""

    endpoint: str
    weight: float
    in_flight: NotRequired[int]


class Attempt(TypedDict):
    """One try at an endpoint. `at`, `head` and `end` are seconds after `started`; `head` is absent without an answer.

    `error` is a key of REASONS; `retried` why there was another one: a key of REASONS, "status" or "hedge".
    """

    endpoint: str
    span_id: str
    at: float
    end: float
    reused: NotRequired[bool]
    head: NotRequired[float]
    status: NotRequired[int]
    error: NotRequired[str]
    retried: NotRequired[str]


class Record(TypedDict):
    """One request. What is absent was not known or did not happen.

    `sampled` says why it was recorded: ratio, reserve (so many per second), rule, parent, error, slow or refused. One
    that was recorded only at its end (error, slow, refused) has no times of its gates, and of its tries those only that
    were followed by others. `parent_id` is the span of the caller; `traced`: its spans are to be exported. `status` is
    499 for a client that left before; `cache` is what the cache made of it (telemetry.metrics), `grpc_status` how a
    call of gRPC ended.
    """

    request_id: str
    correlation_id: NotRequired[str]
    trace_id: str
    span_id: str
    parent_id: NotRequired[str]
    trace_state: NotRequired[str]
    traced: bool
    sampled: str
    worker: int
    plan: int
    started: float
    duration: float
    scheme: str
    method: str
    host: str
    path: str
    client: str
    version: str
    status: int
    cache: NotRequired[str]
    grpc_status: NotRequired[int]
    bytes_in: int
    bytes_out: int
    route: NotRequired[str]
    pattern: NotRequired[str]
    service: NotRequired[str]
    identity: NotRequired[Caller]
    gates: list[Gate]
    limits: list[Limit]
    breaker: NotRequired[str]
    balancer: NotRequired[str]
    candidates: list[Candidate]
    attempts: list[Attempt]
    error: NotRequired[str]
    detail: NotRequired[str]
