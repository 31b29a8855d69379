"""What the tests of the fault table share: an upstream that vouches for its answers, and clients that check them."""

from __future__ import annotations

import asyncio
import socket
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager

from bench import client
from bench.client import Ask, Outcome
from bench.upstream import Upstream
from tests.proxy.peers import within
from tests.proxy.stage import Rig


@asynccontextmanager
async def upstream(name: str = "one") -> AsyncIterator[Upstream]:
    """Run an upstream; what it does is asked for in the query (bench.upstream)."""
    server = Upstream(name)
    await server.start()
    try:
        yield server
    finally:
        await server.close()


@contextmanager
def full_listener() -> Iterator[int]:
    """Give the port of a listener that takes nobody any more: whoever connects gets no answer."""
    with socket.socket() as full, ExitStack() as fillers:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        for _ in range(3):
            filler = fillers.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(full.getsockname())
        yield full.getsockname()[1]


class Tally:
    """How requests ended, by outcome, and what was said of those that were not good."""

    def __init__(self) -> None:
        self.outcomes: Counter[Outcome] = Counter()
        self.words: Counter[str] = Counter()

    def __getitem__(self, outcome: Outcome) -> int:
        return self.outcomes[outcome]

    @property
    def total(self) -> int:
        """How many there were."""
        return self.outcomes.total()

    def add(self, outcome: Outcome, words: str) -> None:
        """Take one. The law of the whole table: no answer is ever wrong, and none stays out."""
        assert outcome not in (Outcome.WRONG, Outcome.HUNG), words
        self.outcomes[outcome] += 1
        if outcome is not Outcome.GOOD:
            self.words[words] += 1


async def ask(rig: Rig, request: Ask, tally: Tally | None = None) -> tuple[Outcome, str]:
    """Send one request on a connection of its own; return how it ended and what was said."""
    connection = await within(client.connect(rig.port()))
    outcome, words, _ = await connection.ask(request)
    connection.close()
    (tally or Tally()).add(outcome, words)
    return outcome, words


async def ask_all(rig: Rig, requests: Iterable[Ask]) -> Tally:
    """Send these at once, each on a connection of its own; return how they ended."""
    tally = Tally()
    await asyncio.gather(*(ask(rig, request, tally) for request in requests))
    return tally
