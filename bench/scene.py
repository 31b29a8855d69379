"""What every check of the soak has: the stage it runs on, and the words of its verdict."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from bench import client
from bench.client import Ending, Outcome
from bench.gate import Gate
from bench.stage import Cores, Stage
from bench.wallet import Wallet

STEADY = {client.small: 70, client.missing: 10, client.upload: 10, client.streamed: 5, client.slow: 5}
CLIENTS = 32
# For checks that are about who asks, on whatever machine: nobody is refused because there is too much to do.
NEVER_TOO_MUCH = MappingProxyType({"overload": {"enabled": False}})


@dataclass(frozen=True, slots=True)
class Scene:
    """What a check runs on: a stage of its own, the cores, who asks, and the seconds after which it ends early."""

    stage: Stage
    cores: Cores
    wallet: Wallet
    seconds: float

    def gate(
        self,
        upstream: int,
        workers: int = 1,
        service: Mapping[str, object] = MappingProxyType({}),
        settings: Mapping[str, object] = MappingProxyType({}),
        beside: Sequence[Mapping[str, object]] = (),
        environ: Mapping[str, str] = MappingProxyType({}),
    ) -> Gate:
        """Return a gateway in front of that port, which knows the callers of the wallet."""
        return Gate(self.stage, self.cores, upstream, self.wallet, workers, service, settings, beside, environ)

    def deadline(self) -> float:
        """Return the loop time at which the check ends, counted from now."""
        return asyncio.get_running_loop().time() + self.seconds


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether the check held, and the figures in words."""

    held: bool
    words: str


def strictly(ending: Ending) -> str:
    """Judge a request of a time when nothing may fail."""
    return "" if ending.outcome is Outcome.GOOD else ending.words or ending.outcome


def strictly_called(_name: str, _code: str, words: str) -> str:
    """Judge a call of gRPC of a time when nothing may fail."""
    return words


def shown(failures: list[str]) -> str:
    """Return the first few failures, as the end of a sentence; nothing when there are none."""
    return f"; FAILED: {'; '.join(failures[:3])}" if failures else ""


async def ask_all(connections: list[client.Connection]) -> list[str]:
    """Ask on all of these connections at once; return what was not good."""
    ends = await asyncio.gather(*(connection.ask(client.small()) for connection in connections))
    return [f"an idle connection: {words}" for outcome, words, _ in ends if outcome is not Outcome.GOOD]
