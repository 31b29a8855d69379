"""What may tell of a person, taken out of a finished request before anything is written of it.

Laws: pure; it works on the request itself, once, as the last that happens to it, so no writer can forget it. The words
of a detail are searched for what was taken out elsewhere. A hash is keyed and short: it tells equal ones from others,
and nothing else without the key.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from hashlib import blake2b, sha256
from typing import Final, Protocol

from headgate.core.identity import ANONYMOUS, Identity

REDACTABLE: Final = ("client", "identity", "tenant", "host", "path", "detail")
MASK: Final = "***"
# Characters of a text that is searched for in a detail: a shorter one is a part of too many words.
_SHORTEST: Final = 4

# A text, and what was put in its place.
Taken = tuple[str, str]


class Redactable(Protocol):
    """What a finished request has that may tell of a person."""

    client: str
    host: str
    path: str
    identity: Identity
    detail: str


class Redaction:
    """How fields are written."""

    __slots__ = ("_by_field", "_of_identity")

    def __init__(self, fields: Mapping[str, str], key: str) -> None:
        """Take `telemetry.redact` and its key; fields are among REDACTABLE."""
        ways: Mapping[str, Callable[[str], str]] = {"omit": _nothing, "mask": _masked, "hash": _hasher(key)}
        found = {name: ways[how] for name, how in fields.items()}
        self._by_field = tuple((name, way) for name, way in found.items() if name in ("client", "host", "path"))
        self._of_identity = found.get("identity"), found.get("tenant"), found.get("detail")

    def apply(self, request: Redactable) -> list[Taken]:
        """Change a request that is over; return what was taken out of it."""
        taken: list[Taken] = []
        for name, way in self._by_field:
            text: str = getattr(request, name)
            if text:
                put = way(text)
                taken.append((text, put))
                setattr(request, name, put)
        of_id, of_tenant, _ = self._of_identity
        identity = request.identity
        if identity is not ANONYMOUS:
            if of_id is not None and identity.id:
                taken.append((identity.id, of_id(identity.id)))
                identity = identity._replace(id=taken[-1][1])
            if of_tenant is not None and identity.tenant:
                taken.append((identity.tenant, of_tenant(identity.tenant)))
                identity = identity._replace(tenant=taken[-1][1])
            request.identity = identity
        if request.detail:
            request.detail = self.words(request.detail, taken)
        return taken

    def words(self, detail: str, taken: Sequence[Taken]) -> str:
        """Return a detail of a request of which this was taken out (`apply`)."""
        of_detail = self._of_identity[2]
        if of_detail is not None:
            return of_detail(detail)
        for text, put in taken:
            if len(text) >= _SHORTEST:
                detail = detail.replace(text, put or MASK)
        return detail


def redaction(fields: Mapping[str, str], key: str) -> Redaction | None:
    """Return what redacts as configured; None for nothing."""
    return Redaction(fields, key) if fields else None


def _nothing(_: str) -> str:
    return ""


def _masked(_: str) -> str:
    return MASK


def _hasher(key: str) -> Callable[[str], str]:
    secret = sha256(key.encode()).digest()

    def hashed(text: str) -> str:
        return blake2b(text.encode("utf-8", "surrogateescape"), digest_size=8, key=secret).hexdigest()

    return hashed
