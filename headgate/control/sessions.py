"""Sessions of browsers: what stands in their cookie in place of a token.

Laws: an id is 256 random bits and is kept as a digest; a session ends after LIFETIME, with the token that it was made
from, and holds only at the address it was made at, for cookies know no ports: another server on the same host is shown
them too. There are at most MOST, and MOST_OF_TOKEN of one token, so that whoever may only read cannot end those of
everybody else by beginning his own; the oldest goes first. None outlives control.
"""

from __future__ import annotations

import hashlib
import secrets
from collections import OrderedDict
from typing import Final, NamedTuple

# Seconds.
LIFETIME: Final = 12 * 3600.0
MOST: Final = 256
MOST_OF_TOKEN: Final = 32
# Of what a client shows no more than this is looked at.
_LONGEST: Final = 128
_ID_BYTES: Final = 32


class _Session(NamedTuple):
    token: bytes
    address: str
    ends: float


class Sessions:
    """All of them, by the digest of their ids. `now` is in seconds of a clock that never jumps."""

    __slots__ = ("_sessions",)

    def __init__(self) -> None:
        self._sessions: OrderedDict[bytes, _Session] = OrderedDict()

    def begin(self, token: bytes, address: str, now: float) -> str:
        """Begin one for whoever showed the token of this digest; return its id."""
        own = [digest for digest, each in self._sessions.items() if each.token == token]
        if len(own) >= MOST_OF_TOKEN:
            del self._sessions[own[0]]
        id_ = secrets.token_urlsafe(_ID_BYTES)
        self._sessions[_digest(id_)] = _Session(token, address, now + LIFETIME)
        if len(self._sessions) > MOST:
            self._sessions.popitem(last=False)
        return id_

    def token_of(self, id_: str, address: str, now: float) -> bytes | None:
        """Return the digest of the token behind a session; None when it is none, or none for this address."""
        if len(id_) > _LONGEST:
            return None
        digest = _digest(id_)
        found = self._sessions.get(digest)
        if found is None:
            return None
        if now >= found.ends:
            del self._sessions[digest]
            return None
        return found.token if found.address == address else None

    def end(self, id_: str) -> None:
        """End it, if there is one."""
        if len(id_) <= _LONGEST:
            self._sessions.pop(_digest(id_), None)

    def __len__(self) -> int:
        return len(self._sessions)


def _digest(id_: str) -> bytes:
    return hashlib.sha256(id_.encode("utf-8", "replace")).digest()
