"""How bytes of a body go from one connection to another without a task in between.

A Source reads from its socket and pushes into its Sink; a Sink whose socket is full pauses its Source. Request
bodies go client -> upstream, response bodies upstream -> client, tunnels both ways, all through these two words.

Laws: a Source pushes `write*` and then exactly one of `finish` or `source_failed`; nothing is buffered here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from headgate.core.failure import Failure
from headgate.core.message import Field


class Source(Protocol):
    """Where a body comes from."""

    def pause(self) -> None:
        """Stop reading: the sink is full."""

    def resume(self) -> None:
        """Read again."""


class Sink(Protocol):
    """Where a body goes."""

    def write(self, data: bytes) -> None:
        """Take one piece, never empty."""

    def finish(self, trailers: Sequence[Field] = ()) -> None:
        """Take the end, and the trailer fields that came with it; a sink without chunks has no place for them."""

    def source_failed(self, failure: Failure) -> None:
        """Learn that the rest will never come: the message must not look complete."""
