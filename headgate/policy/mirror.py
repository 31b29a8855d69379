"""Which requests are copied to another service."""

from __future__ import annotations

from collections.abc import Callable

from headgate.policy.rewrite import Mirror


class MirrorSampler:
    """Choose requests at random, in the configured share. `random` gives numbers from 0 up to, not including, 1."""

    __slots__ = ("_random", "_share", "service_name")

    def __init__(self, mirror: Mirror, random: Callable[[], float]) -> None:
        self.service_name = mirror.service_name
        self._share = mirror.percent / 100
        self._random = random

    def chosen(self) -> bool:
        """Tell whether this request is copied."""
        return self._share >= 1 or self._random() < self._share
