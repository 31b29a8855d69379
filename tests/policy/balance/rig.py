"""Candidates for balancers, and a client that keeps a number of requests in flight."""

from __future__ import annotations

import random
from collections import Counter, deque
from collections.abc import Sequence
from typing import Any

from headgate.catalog import BALANCERS
from headgate.core.endpoint import Endpoint
from headgate.policy.balance.balancer import Balancer, Candidate


def endpoint(number: int, weight: int = 1, zone: str = "") -> Endpoint:
    return Endpoint(f"e{number}", "http", "127.0.0.1", 8000 + number, weight=weight, zone=zone)


def candidates(*weights: int) -> list[Candidate]:
    return [Candidate(endpoint(number, weight)) for number, weight in enumerate(weights)]


def build(kind: str, seed: int = 0, **settings: Any) -> Balancer[Candidate]:
    entry = BALANCERS[kind]
    balancer: Balancer[Candidate] = entry.build(entry.settings(**settings), random.Random(seed).random)
    return balancer


def name(candidate: Candidate | None) -> str | None:
    return candidate.endpoint.name if candidate is not None else None


class Client:
    """Sends requests with keys of chance, each of which takes `seconds` at any endpoint, `abreast` at a time."""

    def __init__(self, balancer: Balancer[Candidate], abreast: int = 1, seconds: float = 0.01) -> None:
        self.balancer = balancer
        self.now = 0.0
        self._abreast = abreast
        self._seconds = seconds
        self._keys = random.Random(1)
        self._flying: deque[Candidate] = deque()

    def take(self, candidates: Sequence[Candidate]) -> None:
        self.balancer.take(candidates)

    def send(self, times: int) -> Counter[str | None]:
        """Count who was picked."""
        picked: Counter[str | None] = Counter()
        for _ in range(times):
            self.now += self._seconds / self._abreast
            one = self.balancer.pick(self.now, self._keys.getrandbits(64))
            picked[name(one)] += 1
            if one is not None:
                self.balancer.begin(one)
                self._flying.append(one)
            if len(self._flying) >= self._abreast:
                self.balancer.end(self._flying.popleft(), self.now, self._seconds, True)
        return picked

    def finish(self) -> None:
        while self._flying:
            self.balancer.end(self._flying.popleft(), self.now, self._seconds, True)
