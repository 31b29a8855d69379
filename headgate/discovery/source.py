"""What every source of endpoints is: one task that goes on until it is cancelled and says whole sets.

Laws: a source says the whole set whenever it knows it, never a change to one; it never says an empty set for what it
could not find out, only for what it was told is empty; it waits longer after each failure, with chance in it, up to a
bound; it keeps nothing but what the next question needs. What was said last stays in force: that is kept by whoever
takes it (control.discovery).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol

from headgate.core.endpoint import Endpoint

# Sets larger than this are refused whole: one service of so many endpoints is a mistake of whoever lists them.
MOST_ENDPOINTS = 10_000


class NotFound(Exception):
    """The endpoints cannot be found out at the moment; the sentence is for the operator and holds no secret."""


class Sink(Protocol):
    """Who takes what a source says. Both may be called at any time, from the source's own task."""

    def take(self, endpoints: tuple[Endpoint, ...]) -> None:
        """Take the whole set, in an order that stays the same while the set does."""

    def failed(self, why: str) -> None:
        """Learn that a look came to nothing; what was said before stays. `why` is a sentence without a secret."""


class Given(NamedTuple):
    """What a source may use besides its settings.

    `service` is the name of the service; `environ` the gateway's environment; `registered` returns the instances of a
    service that registered here, or raises NotFound while they are not known, without a word where they are about to
    be; `on_registered` has a function called when either may have changed, and returns one that ends this; `chance`
    returns numbers from 0 to 1.
    """

    service: str
    environ: Mapping[str, str]
    registered: Callable[[str], tuple[Endpoint, ...]]
    on_registered: Callable[[Callable[[], None]], Callable[[], None]]
    chance: Callable[[], float]


class Source(Protocol):
    """A source, made from its settings."""

    def __init__(self, settings: Any, given: Given) -> None:
        """Take the settings; nothing is asked yet.

        Raises:
            ValueError: with a sentence, when they cannot be used.
        """

    async def run(self, sink: Sink) -> None:
        """Find out and say, until cancelled; what this source reads once may return."""
