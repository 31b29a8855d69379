"""Addresses of upstream names: looked up off the loop, kept for a while, and kept longer when the resolver fails.

Laws: one lookup in flight for a name; an answer is used for TTL seconds and, when a later lookup fails, for STALE
more; addresses of one name take turns; the table is bounded.
"""

from __future__ import annotations

import asyncio
import socket
from ipaddress import ip_address

from headgate.core.clock import monotonic

# getaddrinfo tells no TTL. Precedent: nginx and Envoy re-resolve every 5-30 s by default.
TTL = 10.0
STALE = 3600.0
_MAX_NAMES = 4096


class _Answer:
    __slots__ = ("addresses", "at", "fresh_until", "turn")

    def __init__(self, addresses: list[str], at: float) -> None:
        self.addresses = addresses
        self.at = at
        self.fresh_until = at + TTL
        self.turn = 0

    def next(self) -> str:
        self.turn = (self.turn + 1) % len(self.addresses)
        return self.addresses[self.turn]


class Resolver:
    """Turn host names into addresses."""

    __slots__ = ("_answers", "_flights")

    def __init__(self) -> None:
        self._answers: dict[str, _Answer] = {}
        self._flights: dict[str, asyncio.Task[_Answer]] = {}

    async def resolve(self, host: str) -> str:
        """Return one address of `host`.

        Raises:
            socket.gaierror: when the name cannot be resolved and never could, or too long ago.
        """
        bare = host[1:-1] if host[:1] == "[" else host
        answer = self._answers.get(bare)
        if answer is not None and monotonic() < answer.fresh_until:
            return answer.next()
        if _is_address(bare):
            return bare
        flight = self._flights.get(bare)
        if flight is None:
            flight = self._flights[bare] = asyncio.get_running_loop().create_task(self._look_up(bare))
            flight.add_done_callback(lambda flight: self._landed(bare, flight))
        return (await asyncio.shield(flight)).next()

    def _landed(self, host: str, flight: asyncio.Task[_Answer]) -> None:
        del self._flights[host]
        if not flight.cancelled():
            # Everybody who waited may have left; looked at here, a failure is not reported as forgotten.
            flight.exception()

    async def _look_up(self, host: str) -> _Answer:
        loop = asyncio.get_running_loop()
        try:
            found = await loop.getaddrinfo(host, None, type=socket.SOCK_STREAM)
        except socket.gaierror:
            known, now = self._answers.get(host), monotonic()
            if known is not None and now - known.at < STALE:
                # A failing resolver may take seconds: not every request shall wait for it.
                known.fresh_until = now + TTL
                return known
            raise
        addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
        if len(self._answers) >= _MAX_NAMES:
            self._answers.pop(next(iter(self._answers)))
        answer = self._answers[host] = _Answer(addresses, monotonic())
        return answer


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True
