"""Several upstreams that follow one script: the first request, wherever it arrives, meets the first act, and so on."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, NamedTuple

from tests.proxy.peers import Message, Upstream, Wire, ok
from tests.proxy.stage import Rig

Act = Callable[[Wire], Awaitable[bool]]
"""Plays the answer to a request that was read; tells whether the connection goes on."""


class Seen(NamedTuple):
    """A request that an upstream read."""

    upstream: Upstream
    link: Wire
    request: Message


class Script:
    """What happened, and what is still to come."""

    def __init__(self, acts: tuple[Act, ...]) -> None:
        self.acts = list(acts)
        self.seen: list[Seen] = []
        self.upstreams: list[Upstream] = []

    @property
    def endpoints(self) -> list[int]:
        """The places of the upstreams that were asked, in order."""
        return [self.upstreams.index(each.upstream) for each in self.seen]


def answer(body: bytes = b"", *lines: str, status: int = 200) -> Act:
    """Answer, and stay open."""

    async def act(link: Wire) -> bool:
        await link.send(ok(body, *lines, status=status))
        return True

    return act


def part(data: bytes) -> Act:
    """Send so much of an answer, and nothing more."""

    async def act(link: Wire) -> bool:
        await link.send(data)
        await link.rest()
        return False

    return act


async def reset(link: Wire) -> bool:
    """Break the connection."""
    link.cut()
    return False


async def silence(link: Wire) -> bool:
    """Never answer; ends when the gateway closes."""
    await link.rest()
    return False


class HeldHedges:
    """The loop of a gateway, in which a second endpoint is asked when a test says so."""

    def __init__(self, loop: Any) -> None:
        self._loop = loop
        self._hedge: Any = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loop, name)

    def call_later(self, delay: float, callback: Any, *args: Any) -> Any:
        """Take what would hedge, to be called by `begin`; leave all else to the loop."""
        if callback.__name__ == "_hedge":
            self._hedge = callback
        return self._loop.call_later(delay, callback, *args)

    def begin(self) -> None:
        """Hedge the last request for which that was planned."""
        self._hedge()


def held_hedges(rig: Rig) -> HeldHedges:
    """Take the hedges of a rig in hand; those that are configured for later than any test never come by themselves."""
    held = rig.gateway.loop = HeldHedges(rig.gateway.loop)  # type: ignore[assignment]
    return held


@asynccontextmanager
async def scripted(*acts: Act, endpoints: int = 2) -> AsyncIterator[Script]:
    """Run so many upstreams; when the script is over everything is answered with 200 and its own body."""
    script = Script(acts)

    async def serve(upstream: Upstream, link: Wire) -> None:
        while True:
            request = await link.message()
            script.seen.append(Seen(upstream, link, request))
            act = script.acts.pop(0) if script.acts else answer(request.body)
            if not await act(link):
                return

    async with AsyncExitStack() as stack:
        for _ in range(endpoints):

            async def play(link: Wire, place: int = len(script.upstreams)) -> None:
                await serve(script.upstreams[place], link)

            script.upstreams.append(await stack.enter_async_context(Upstream(play)))
        yield script
