"""What `headgate explain` says of preflights, hosts, refused fields, and of what browsers are told.

Law: as in explanation.py, the worker's own parts decide, and this writes down what they said.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from headgate.cli.explain_own import is_local
from headgate.cli.explain_traffic import Asked
from headgate.config.field_kinds import request_field_kinds
from headgate.config.resolve import ResolvedConfig, ResolvedRoute
from headgate.core.failure import Failure
from headgate.core.message import RequestHead
from headgate.policy.cors import ANY, CorsPolicy, preflighted
from headgate.policy.hosts import TrustedHosts
from headgate.policy.hygiene_settings import Cors, SecurityHeaders
from headgate.policy.route import Matched, RouteTable
from headgate.policy.security_headers import security_fields
from headgate.wire import http1

_MOST_ORIGINS = 3


class Door(NamedTuple):
    """What happens to a request before anything else is looked at: a reason of core.failure, or empty (answered)."""

    reason: str
    why: str
    route: ResolvedRoute | None = None


def at_the_door(
    config: ResolvedConfig, table: RouteTable[ResolvedRoute], asked: Asked, fields: list[tuple[str, str]]
) -> Door | None:
    """Return what ends the request at the door, None if it goes on; `fields` are all it came with."""
    kinds = request_field_kinds(config)
    for name, _ in fields:
        if kinds[name.encode()] == http1.DENIED:
            return Door("header_refused", f"header_filter does not let {name} pass")
    own = is_local(config, asked.path)
    head = _head(asked)
    announced = preflighted(head)
    if announced is not None:
        method = announced[1].decode("latin-1")
        found = table.match(asked.host, asked.path, method, asked.fields, asked.query or b"")
        route = found.payload if isinstance(found, Matched) and not own else None
        door = _preflight(route.cors if route is not None else config.cors, head, route)
        if door is not None:
            return door
    if config.trusted_hosts and not own and not TrustedHosts(config.trusted_hosts).trusts(asked.host):
        return Door("untrusted_host", f"trusted_hosts does not name {asked.host}")
    return None


def _preflight(cors: Cors | None, head: RequestHead, route: ResolvedRoute | None) -> Door | None:
    if cors is None or not cors.enabled:
        return None
    whose = f"of route {route.name}" if route is not None else "of the gateway"
    try:
        told = CorsPolicy(cors).preflight(head)
    except Failure as failure:
        return Door(failure.reason, f"the cors {whose} does not name {failure.detail}", route)
    fields = ", ".join(f"{name.decode()}: {value.decode()}" for name, value in told or () if name != b"Vary")
    return Door("", f"a preflight, answered with 204 by the cors {whose}: {fields}", route)


def _head(asked: Asked) -> RequestHead:
    head = RequestHead(asked.method, asked.path.encode(), "http")
    head.fields = list(asked.fields)
    return head


def browsers_told(level: ResolvedConfig | ResolvedRoute, asked: Asked) -> dict[str, Any]:
    """Say what answers of a route, or of the gateway where there is none, tell browsers."""
    return {
        "cors": _cors(level.cors, _head(asked).get(b"origin")),
        "security_headers": _security(level.security_headers),
    }


def _cors(cors: Cors | None, origin: bytes | None) -> str | None:
    if cors is None:
        return None
    if not cors.enabled:
        return "off: what the upstream says of it passes"
    if origin is None:
        shown = ", ".join(cors.origins[:_MOST_ORIGINS]) or "no origin"
        more = f" and {len(cors.origins) - _MOST_ORIGINS} more" if len(cors.origins) > _MOST_ORIGINS else ""
        return f"pages of {'any origin' if ANY in cors.origins else shown + more} may read the answer"
    told = dict(CorsPolicy(cors).fields(origin))
    if b"Access-Control-Allow-Origin" not in told:
        return f"pages of {origin.decode('latin-1')} may not read the answer"
    credentials = "with" if b"Access-Control-Allow-Credentials" in told else "without"
    return f"pages of {origin.decode('latin-1')} may read the answer, {credentials} credentials"


def _security(settings: SecurityHeaders | None) -> list[str]:
    if settings is None:
        return []
    always = security_fields(settings, secure=False)
    lines = [
        f"{name.decode()}: {value.decode()}{'' if (name, value) in always else ' (over HTTPS)'}"
        for name, value in security_fields(settings, secure=True)
    ]
    return lines if settings.override else [f"{line} (where the upstream has none)" for line in lines]
