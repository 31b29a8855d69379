"""A way to show who one is: what each of them has, and what it may answer.

    find (is there a credential of this kind?) -> judge -> Known | Refused | a Need, and after that judged again

Laws: `judge` is pure: `now` is the wall clock in seconds, given; the same credential, keys and moment give the same
verdict. What it needs of the world it returns. A verdict may be remembered, under a hash of the whole credential, until
`Known.until`; a Refused for some seconds; a Need never.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, NamedTuple, Protocol

from headgate.core.identity import Identity
from headgate.core.message import Fields, RequestHead

if TYPE_CHECKING:
    from headgate.auth.key_ring import KeyRing


class Given(NamedTuple):
    """What methods are made with: key rings by issuer, and the look-up of API keys by digest with what it is keyed by.

    Each may be what a running gateway has, or what a command finds by itself. `look_up` as in auth.api_key.
    """

    rings: Mapping[str, KeyRing]
    look_up: Callable[[bytes], bytes | None]
    pepper: bytes


class Known(NamedTuple):
    """Who asks. `until`: the moment (wall clock, seconds) at which this ends, never before the one it was judged at;
    math.inf = no end known.

    While whoever could say it anew is away, it may be used until `stale_until`.
    """

    identity: Identity
    until: float
    stale_until: float = 0.0


class Refused(NamedTuple):
    """A credential that is not accepted: a key of REASONS, and a sentence for the operator without any secret."""

    reason: str
    detail: str


class NeedKeys(NamedTuple):
    """The key set of this issuer (JwtIssuer.name) may have changed, or has not come yet: get it, then judge again."""

    issuer: str


class NeedCall(NamedTuple):
    """Another server knows: send this, then `read(status, body, now)` is the verdict.

    `body` and `fields` hold the credential: neither may be logged.
    """

    fields: Fields
    body: bytes
    read: Callable[[int, bytes, float], Known | Refused]


class NeedWork(NamedTuple):
    """Too slow for the event loop (a password hash): run `work` in a thread, its result is the verdict."""

    work: Callable[[], Known | Refused]


Judged = Known | Refused | NeedKeys | NeedCall | NeedWork


class Method(Protocol):
    """One configured way. `kind` is its key in catalog.AUTH; `challenge` the scheme in WWW-Authenticate, or empty.

    `in_headers`: what `find` says depends on the header fields alone that may hold a credential of any way.
    """

    name: str
    kind: str
    challenge: str
    in_headers: bool

    def find(self, head: RequestHead) -> bytes | None:
        """Return the credential of this kind that a request shows, as it came, or None when it shows none."""

    def judge(self, credential: bytes, now: float) -> Judged:
        """Return who shows this credential, or why it is refused, or what is needed to say."""

    def hide(self, head: RequestHead) -> None:
        """Take the credential off the request (identity.hide_credentials)."""
