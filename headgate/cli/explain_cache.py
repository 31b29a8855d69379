"""What `headgate explain` says of the cache: whether it has a part in the request, who shares its answer, how long.

Nothing is decided here: policy.cache is asked as a worker asks it.
"""

from __future__ import annotations

from collections.abc import Iterator

from headgate.cli.explain_traffic import Asked, time
from headgate.config.resolve import ResolvedRoute
from headgate.core.identity import Identity
from headgate.core.message import RequestHead
from headgate.policy.cache.key import Keys
from headgate.policy.cache.reuse import Rules
from headgate.policy.cache.settings import Cache

_WHY = {
    "method": "only GET and HEAD are answered from it",
    "bypass": "its bypass names something of the request, or the request has a body",
    "request": "the request asks for nothing that was kept",
}
_SHARED = {
    "auto": "whoever shows a credential shares with its tenant, or with nobody",
    "identity": "whoever shows a credential shares with nobody",
    "shared": "shared by everybody, whatever credential they show",
}


def cache_of(route: ResolvedRoute, asked: Asked, caller: Identity | None) -> list[str] | None:
    """Say what the cache of a route makes of a request; None where it has none. `caller` None: it is not known here."""
    settings = route.cache
    if settings is None:
        return None
    head = _head(asked)
    keys = Keys(settings.key, route.name)
    bypass = Rules(settings).read(head).bypass
    if bypass:
        return [f"no part in it: {_WHY.get(bypass, bypass)}"]
    return [
        f"looked up by {keys.url(head)}",
        _shared(settings, keys, caller, head),
        *_kept(settings),
    ]


def _head(asked: Asked) -> RequestHead:
    scheme, usual = ("https", True) if asked.port == 443 else ("http", asked.port == 80)
    head = RequestHead(asked.method, b"", scheme)
    head.host, head.port, head.path, head.query, head.fields = (
        asked.host,
        asked.port,
        asked.path,
        asked.query,
        asked.fields,
    )
    head.authority = (asked.host if usual else f"{asked.host}:{asked.port}").encode()
    return head


def _shared(settings: Cache, keys: Keys, caller: Identity | None, head: RequestHead) -> str:
    partition = settings.key.partition
    if caller is None or partition == "shared":
        return _SHARED[partition]
    if not keys.partition(caller):
        # Nobody here judges it, so the service may.
        shown = head.get(b"authorization") is not None
        return "shared by all who show the same Authorization" if shown else "shared by all who show no credential"
    if caller.tenant and partition == "auto":
        return f"shared within the tenant {caller.tenant}"
    return f"kept for {caller.kind} {caller.id} alone"


def _kept(settings: Cache) -> Iterator[str]:
    if settings.ttl is not None:
        yield f"fresh for {time(settings.ttl)} whatever answers say, but for no-store and private"
    else:
        silent = (
            f"{time(settings.default_ttl)} if they say nothing" if settings.default_ttl else "not if they say nothing"
        )
        yield f"fresh as long as answers say, {time(settings.max_ttl)} at most; {silent}"
    if settings.stale_while_revalidate:
        yield f"stale for {time(settings.stale_while_revalidate)} while a new one is fetched"
    if settings.stale_if_error:
        yield f"stale for {time(settings.stale_if_error)} where there is none to get"
    if settings.negative is not None:
        statuses = ", ".join(map(str, settings.negative.statuses))
        yield f"{statuses} for {time(settings.negative.ttl)} where they say nothing"
    if settings.collapse:
        yield "requests for what is being fetched wait for it"


def cached_for(settings: Cache | None) -> str:
    """Say in a word or two how long answers of a route are fresh; empty where it has no cache."""
    if settings is None:
        return ""
    return "as answers say" if settings.ttl is None else time(settings.ttl)
