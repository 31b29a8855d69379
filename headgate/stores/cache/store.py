"""Where cached answers are kept: what the proxy asks of a store of any kind.

Laws:
- A key is a digest made by policy.cache.key; a head is opaque to the store (policy.cache.entry writes and reads it).
- What `get` returns is whole and belongs to that key: an entry that is being written, was cut short, or was overwritten
  while it was read is none.
- Everything here may fail to be there. A store that cannot be reached or has no room is a miss and a line in the log,
  never an error of a request.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from headgate.core.steps import Reply


class Cached(NamedTuple):
    """An entry: its head as policy.cache.entry wrote it, and the whole body."""

    head: bytes
    body: bytes


class Place(NamedTuple):
    """By what an entry is purged: `url` is scheme://authority/path?query in normal form, without its partition."""

    url: str
    tags: Sequence[str]


class CacheStore(Protocol):
    """A store. What it answers at once is no Reply."""

    def get(self, key: bytes) -> Cached | Reply[Cached | None] | None:
        """Look an entry up, and note that it was of use."""

    def put(self, key: bytes, cached: Cached, place: Place, keep: float) -> None:
        """Keep an entry for `keep` seconds at most; an older one under this key is replaced."""

    def renew(self, key: bytes, head: bytes, place: Place, keep: float) -> None:
        """Give an entry another head, as when its answer was validated; nothing where there is none."""

    def drop(self, key: bytes) -> None:
        """Forget an entry."""

    def claim(self, key: bytes, seconds: float) -> bool | Reply[bool]:
        """Be the one who fetches an entry, for `seconds` at most; False while somebody else is."""

    def yield_(self, key: bytes) -> None:
        """Fetch it no more, whatever came of it."""

    def close(self) -> None:
        """Let go of what is held."""
