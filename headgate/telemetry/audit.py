"""One act that matters for security as one line of JSON: who did what to what, how it ended, and why.

The record, in this order (those marked ? are absent without a value):
    timestamp   str, wall clock, ISO 8601, UTC, milliseconds: 2025-11-27T10:30:00.123Z
    event       str: request.refused | admin.request | config.applied | config.refused | key.created | key.revoked |
                key.rotated, and what else begins with key.
    actor       object, who:
        kind        str: anonymous, user, api_key or service (of a request); operator (the admin address, a command),
                    signal, file (a configuration that changed), gateway (its own start)
        id          str?, the caller's id as its credential names it; the name of a token of the admin API; a command's
                    user; a signal's name
        tenant      str?
        method      str?, how that was shown: the name of a way in `identity`; token, session, command
        address     str?, where from
    action      str, what was asked for: METHOD PATH, the path without its query; or the name of the act
    target      object of str to str?, what it was about: route, service, endpoint, breaker, plan, key
    outcome     str: refused (not allowed), done, failed (allowed, and did not work)
    reason      str?, a key of REASONS
    detail      str?, a sentence for the operator, never with a secret in it
    status      int?, what was answered
    request_id  str?, as in the access log

A refused credential names nobody: who shows one that is not accepted is anonymous. What is known of it (the id of an
expired key, the issuer that did not sign) stands in the detail.

Laws: those of the access log: a line is one line of printable ASCII, whatever anybody sends; the path is cut at 2048
characters, the detail at 1024, every other text at 256.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from functools import lru_cache
from json.encoder import encode_basestring_ascii as quoted
from typing import Literal, NamedTuple

from headgate.telemetry.access_log import MAX_PATH, MAX_TEXT, clipped

MAX_DETAIL = 1024

# What of REASONS is written down: gates that refused somebody for what he showed, is, may do, sent or has used up, and
# gates that refuse because they cannot tell. Not: what is malformed or leads nowhere (the access log has it), and what
# protects a service that is down or busy, which says nothing of the caller.
REFUSALS = frozenset(
    {
        *("missing_credentials", "invalid_credentials", "invalid_token", "expired_token", "invalid_api_key"),
        *("forbidden", "tenant_forbidden", "address_forbidden", "origin_forbidden", "rate_limited"),
        *("untrusted_host", "header_refused", "denied_externally", "denied_by_plugin"),
        *("identity_unavailable", "authorization_unavailable", "limits_unavailable", "plugin_failed"),
    }
)

Outcome = Literal["refused", "done", "failed"]
ActorKind = Literal["anonymous", "user", "api_key", "service", "operator", "signal", "file", "gateway"]


class Actor(NamedTuple):
    """Who did it; the fields are described at the top of this file."""

    kind: ActorKind
    id: str = ""
    tenant: str = ""
    method: str = ""
    address: str = ""


class Act(NamedTuple):
    """One act; the fields are described at the top of this file. `wall` in seconds.

    `event`, `outcome` and the names in `target` are the gateway's own words.
    """

    wall: float
    event: str
    actor: Actor
    action: str
    outcome: Outcome
    target: Mapping[str, str] = {}
    reason: str = ""
    detail: str = ""
    status: int = 0
    request_id: str = ""


def audit_line(act: Act) -> bytes:
    """Return the act as one line, line feed included."""
    second, millisecond = divmod(int(act.wall * 1000), 1000)
    actor, status = act.actor, act.status
    who = (
        f'"kind":"{actor.kind}"{_optional("id", actor.id)}{_optional("tenant", actor.tenant)}'
        f"{_optional('method', actor.method)}{_optional('address', actor.address)}"
    )
    target = "".join(_optional(name, text) for name, text in act.target.items() if text)
    answered = f',"status":{status}' if status else ""
    about = f',"target":{{{target[1:]}}}' if target else ""
    return (
        f'{{"timestamp":"{_to_the_second(second)}.{millisecond:03d}Z","event":"{act.event}","actor":{{{who}}}'
        f"{_optional('action', act.action, MAX_PATH)}{about}"
        f',"outcome":"{act.outcome}"{_optional("reason", act.reason)}{_optional("detail", act.detail, MAX_DETAIL)}'
        f"{answered}{_optional('request_id', act.request_id)}}}\n"
    ).encode("ascii")


@lru_cache(maxsize=2)
def _to_the_second(second: int) -> str:
    return f"{datetime.fromtimestamp(second, UTC):%Y-%m-%dT%H:%M:%S}"


def _optional(name: str, text: str, longest: int = MAX_TEXT) -> str:
    return f',"{name}":{quoted(clipped(text, longest))}' if text else ""
