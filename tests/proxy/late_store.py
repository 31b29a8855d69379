"""A store of limits that answers later: when a test says so, or out of turn by itself."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import NamedTuple

from headgate.core.steps import Reply
from headgate.stores.memory import MemoryStore
from headgate.stores.store import Ask, Told
from tests.proxy.stage import Rig


class Outstanding(NamedTuple):
    """An answer that is on its way."""

    reply: Reply[list[Told]]
    answers: list[Told]


class LateStore:
    """Counts at once, as a server does, and tells of it later. `delay` draws the seconds; without it a test answers."""

    def __init__(self, delay: Callable[[], float] | None = None) -> None:
        self.counted = MemoryStore(10_000, 1)
        self.outstanding: list[Outstanding] = []
        self.evicted = self.elsewhere = 0
        self.closed = False
        self._delay = delay

    def admit(self, asks: Sequence[Ask], now: int) -> Reply[list[Told]]:
        """Hold a request against all asks."""
        answer = Outstanding(Reply(), self.counted.admit(asks, now))
        self.outstanding.append(answer)
        if self._delay is not None:
            asyncio.get_running_loop().call_later(self._delay(), self._arrive, answer)
        return answer.reply

    def answer(self) -> None:
        """Bring everything that is on its way, the last first."""
        while self.outstanding:
            self._arrive(self.outstanding[-1])

    def _arrive(self, answer: Outstanding) -> None:
        self.outstanding.remove(answer)
        answer.reply.set(answer.answers)

    def settle(self, asks: Sequence[Ask], now: int, *, local: bool = False) -> None:
        """Charge the costs of the asks after the fact."""
        assert not self.closed, "settled in a store that is closed"
        assert not local, "nothing was counted elsewhere"
        self.counted.settle(asks, now)

    def forget(self, keys: Sequence[bytes]) -> int:
        """Begin afresh with these keys."""
        return self.counted.forget(keys)

    def sweep(self, now: int) -> None:
        """Forget some of what has expired."""
        self.counted.sweep(now)

    def close(self) -> None:
        """Let go; what is on its way still comes."""
        self.closed = True


def store_of(rig: Rig, store: LateStore) -> LateStore:
    """Let the limits of a gateway be counted in `store` from now on, until a reload opens another one."""
    rig.gateway.limiter._store = store
    return store
