"""Where cached answers are kept: what the proxy asks of a store of any kind.

Laws:
- A key is a digest of KEY_BYTES made by policy.cache.key; a head is opaque to the store
  (policy.cache.entry writes and reads it).
- What `get` returns is whole and belongs to that key: an entry that is being written, was cut short, or was overwritten
  while it was read is none.
- What was purged is never returned again, and an answer that was asked for before a purge is not kept after it: who
  asks takes `moment` when it looks for an entry, and hands it in with what came of it.
- Everything here may fail to be there. A store that cannot be reached or has no room is a miss and a line in the log,
  never an error of a request.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, Literal, NamedTuple, Protocol

from headgate.core.steps import Reply

KEY_BYTES: Final = 20
# Who has more of them could not be purged for certain, and is not kept.
MOST_TAGS: Final = 1000

# What a change of state is told to: "failing" or "working", and the reason in words.
OnChange = Callable[[str, str], None]

Scope = Literal["url", "prefix", "tag", "all"]


class Cached(NamedTuple):
    """An entry: its head as policy.cache.entry wrote it, and the whole body."""

    head: bytes
    body: bytes


class Place(NamedTuple):
    """By what an entry is purged: `url` is scheme://authority/path?query in normal form, without its partition."""

    url: str
    tags: Sequence[str]


class Purge(NamedTuple):
    """What is to be forgotten: the entries of one URL, of all that begin so, with this tag, or all (then no value)."""

    scope: Scope
    value: str


class Statistics(NamedTuple):
    """How a store is; None for what it cannot know. Counted from its beginning; `size` is the room for `bytes`.

    `evicted` made room for others, `refused` were not taken: too large, or purged while they were fetched.
    """

    entries: int | None
    bytes: int | None
    size: int | None
    stored: int
    evicted: int | None
    refused: int
    purged: int


class Purgeable(Protocol):
    """What an operator asks of a store."""

    def purge(self, what: Purge) -> int | Reply[int]:
        """Forget all that this names; return how many there were, less than 0 when it is not done."""

    def statistics(self) -> Statistics | Reply[Statistics | None] | None:
        """Tell how the store is; None while it is away."""


class CacheStore(Purgeable, Protocol):
    """A store. What it answers at once is no Reply."""

    @property
    def moment(self) -> int:
        """Now, as purges see it: take it before `get`, and again when a Reply of `get` has come."""

    @property
    def failing(self) -> bool:
        """Tell whether the store is away, so that there is no use in asking it."""

    def get(self, key: bytes) -> Cached | Reply[Cached | None] | None:
        """Look an entry up, and note that it was of use."""

    def put(self, key: bytes, cached: Cached, place: Place, keep: float, since: int) -> None:
        """Keep an entry for `keep` seconds at most; an older one under this key is replaced.

        `since` is the moment before which nothing of it was asked for.
        """

    def renew(self, key: bytes, before: bytes, cached: Cached, place: Place, keep: float, since: int) -> None:
        """Give an entry another head, as when its answer was validated; nothing where its head is no more `before`.

        `cached` is as it will be: the other head, and the body that it had.
        """

    def drop(self, key: bytes) -> None:
        """Forget an entry."""

    def claim(self, key: bytes, seconds: float) -> bool | Reply[bool]:
        """Be the one who fetches an entry, for `seconds` at most; False while somebody else is."""

    def yield_(self, key: bytes) -> None:
        """Fetch it no more, whatever came of it."""

    def purged(self, place: Place, since: int) -> bool:
        """Tell whether something there that was asked for at that moment was purged since; true where that is in doubt.

        For those who wait for what another request is fetching.
        """

    def invalidate(self, url: str) -> None:
        """Forget all entries of a URL, and wait for nothing: for requests that change what is there."""

    def close(self) -> None:
        """Let go of what is held."""
