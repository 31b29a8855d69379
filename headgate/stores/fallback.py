"""Who decides while a store is away: each group says it by its `on_error`.

Laws: the change from working to failing, and back, is told once; nothing here raises or waits.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, Protocol

from headgate.policy.limit.group import PEEK
from headgate.stores.store import Ask, Told

# What a change of state is told to: "failing" or "working", and the reason in words.
OnChange = Callable[[str, str], None]

WORKING: Final = "working"
FAILING: Final = "failing"


class Standby(Protocol):
    """What counts by itself, at once: the memory of a worker, or one that all workers share."""

    def admit(self, asks: Sequence[Ask], now: int) -> list[Told]:
        """Hold a request against all asks."""

    def settle(self, asks: Sequence[Ask], now: int) -> None:
        """Charge the costs of the asks after the fact."""

    def forget(self, keys: Sequence[bytes]) -> int:
        """Begin afresh with these keys; return how many of them there were."""

    def sweep(self, now: int) -> None:
        """Forget what has expired."""

    def close(self) -> None:
        """Let go of what it holds."""


class Fallback:
    """Takes the place of a store. `changes` counts its changes of state, `decided` the asks that it answered."""

    __slots__ = ("_on_change", "changes", "decided", "failing", "local")

    def __init__(self, local: Standby, on_change: OnChange) -> None:
        """`local` counts for groups that enforce their share by themselves."""
        self.local = local
        self.failing = False
        self.changes = 0
        self.decided = 0
        self._on_change = on_change

    def fails(self, reason: str) -> None:
        """Note that the store fails."""
        if not self.failing:
            self.failing = True
            self.changes += 1
            self._on_change(FAILING, reason)

    def works(self) -> None:
        """Note that the store works again."""
        if self.failing:
            self.failing = False
            self.changes += 1
            self._on_change(WORKING, "")

    def admit(self, asks: Sequence[Ask], now: int) -> list[Told]:
        """Decide as the groups want; where one is closed, the others consume nothing."""
        self.decided += len(asks)
        closed = any(group.on_error == "closed" and not group.shadow for group, _, _ in asks)
        counted = []
        for group, key, costs in asks:
            if group.on_error == "local":
                if closed and not group.shadow:
                    costs = (PEEK,) * len(costs)
                counted.append(Ask(group.local, key, costs))
        told = iter(self.local.admit(counted, now)) if counted else iter(())
        return [
            next(told)._replace(source="local")
            if group.on_error == "local"
            else Told(group.on_error == "open", (), group.on_error)
            for group, _, _ in asks
        ]

    def settle(self, asks: Sequence[Ask], now: int) -> None:
        """Charge what was counted here."""
        counted = [Ask(group.local, key, costs) for group, key, costs in asks if group.on_error == "local"]
        self.local.settle(counted, now)

    def __repr__(self) -> str:
        return f"<Fallback {FAILING if self.failing else WORKING}, {self.decided} decided>"
