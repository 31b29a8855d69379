"""The clients of the soak and of the fault table: they check every answer over raw connections to its last byte.

How one request ends (Outcome):

- good        a complete answer, and the one that was asked for
- error       a complete answer in which the gateway says what failed: its status, a reason, the id of this request
- refused     no connection: nothing was sent
- unanswered  the connection ended before a byte of an answer: a client may send the request elsewhere
- cut         an answer began, and its connection ended before it did: a client sees that it is not whole
- hung        no whole answer came in time
- wrong       anything else: the answer to another request, a body that is not what was sent, bytes that are no answer

`wrong` is never right. Whether the others are failures is the judgement of a check; `unanswered` is one when the
upstream saw the request.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import random
import zlib
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import partial
from typing import Protocol, cast

from bench.answer import Answer, AnswerReader, BrokenAnswerError
from bench.upstream import padding

PATIENCE_SECONDS = 30.0
# A credential is put behind this line (bench.wallet).
HOST = b"Host: soak\r\n"


class Outcome(StrEnum):
    """How a request ended."""

    GOOD = "good"
    ERROR = "error"
    REFUSED = "refused"
    UNANSWERED = "unanswered"
    CUT = "cut"
    HUNG = "hung"
    WRONG = "wrong"


@dataclass(frozen=True, slots=True)
class Ask:
    """One request: its id, its bytes, and what its answer must be; `abort` leaves in the middle of it instead.

    `caller` is who the upstream must have been told of, `reason` what the gateway must say in an answer of its own,
    `fields` (names in lower case) must be in the head. A `public` one is for anybody, whatever is shown with it.
    `told` is the name of an answer that others may have been given, too; without one it is this request's own.
    """

    id: str
    data: bytes
    status: int = 200
    received: int | None = 0
    crc: int = 0
    abort: bool = False
    caller: str = ""
    reason: str = ""
    fields: tuple[tuple[str, str], ...] = ()
    public: bool = False
    told: str = ""


@dataclass(frozen=True, slots=True)
class Ending:
    """What became of one request: over which connection (its local port), when it was opened, and how long it took.

    `words` say what was not good about it; of an error they are its status and reason.
    """

    ask: Ask
    outcome: Outcome
    words: str
    local_port: int
    opened: float
    began: float
    ended: float
    server: str = ""


def check(ask: Ask, answer: Answer) -> tuple[Outcome, str]:
    """Judge a complete answer; return what is not good about it, too."""
    if answer.headers.get("x-request-id") != ask.id:
        return Outcome.WRONG, f"X-Request-ID {answer.headers.get('x-request-id')!r} instead of {ask.id!r}"
    if answer.status != ask.status:
        reason = _reason(answer)
        if reason:
            return Outcome.ERROR, f"{answer.status} {reason}"
        return Outcome.WRONG, f"status {answer.status} instead of {ask.status}: {answer.body[:120]!r}"
    if ask.reason and ask.reason != (reason := _reason(answer)):
        return Outcome.WRONG, f"{answer.status} for {reason!r} instead of {ask.reason!r}"
    for name, value in ask.fields:
        if answer.headers.get(name) != value:
            return Outcome.WRONG, f"{answer.status} with {name}: {answer.headers.get(name)!r} instead of {value!r}"
    wrong = _check_body(ask, answer) if ask.received is not None else ""
    return Outcome.WRONG if wrong else Outcome.GOOD, wrong


def _reason(answer: Answer) -> str:
    """Return the reason of an answer that the gateway gave by itself, nothing for any other."""
    if answer.status < 400 or answer.headers.get("content-type") != "application/problem+json":
        return ""
    try:
        return str(json.loads(answer.body)["reason"])
    except (ValueError, KeyError):
        return ""


def _check_body(ask: Ask, answer: Answer) -> str:
    name = ask.told or ask.id
    if answer.headers.get("x-soak-id") != name:
        return f"the answer to {answer.headers.get('x-soak-id')!r} instead of {name!r}"
    try:
        said = json.loads(answer.body)
    except ValueError:
        return f"a body that is no JSON: {answer.body[:120]!r}"
    if said.get("caller", "") != ask.caller:
        return f"the upstream was told of {said.get('caller')!r} instead of {ask.caller!r}"
    if (said["id"], said["received"], said["crc"]) != (name, ask.received, ask.crc):
        return f"the upstream got {said['received']} bytes with CRC {said['crc']} instead of {ask.received}, {ask.crc}"
    if said["pad"] != padding(name, said["size"]):
        return f"a body whose padding is not the {said['size']} bytes that were sent"
    return ""


_numbers = itertools.count(1)


def _head(method: str, target: str, more: str = "") -> tuple[str, bytes]:
    number = f"soak-{next(_numbers)}"
    head = f"{method} {target} HTTP/1.1\r\n{HOST.decode()}X-Soak-Id: {number}\r\nX-Request-ID: {number}\r\n{more}\r\n"
    return number, head.encode()


def small(target: str = "/api/things?page=2", method: str = "GET") -> Ask:
    """Return a request without a body, for the small answer unless the target asks for another."""
    number, data = _head(method, target)
    return Ask(number, data)


def missing() -> Ask:
    """Return a request that no route matches: the gateway itself answers 404."""
    number, data = _head("GET", "/nowhere/at/all")
    return Ask(number, data, status=404, received=None)


def failing(target: str, status: int) -> Ask:
    """Return a request that goes wrong upstream, and which the gateway then answers itself."""
    number, data = _head("GET", target)
    return Ask(number, data, status=status, received=None)


def own(path: str, *, public: bool = False) -> Ask:
    """Return a request for an endpoint of the gateway itself."""
    number, data = _head("GET", path)
    return Ask(number, data, received=None, public=public)


def named(name: str, size: int) -> Ask:
    """Return a request for an answer that is the same for all requests of this caller for this name."""
    return replace(small(f"/api/named/{name}?name={name}&size={size}"), told=name)


def streamed() -> Ask:
    """Return a request for an answer in chunks, which lasts about 50 ms."""
    number, data = _head("GET", "/api/stream?pieces=10&size=5000")
    return Ask(number, data)


def slow() -> Ask:
    """Return a request that is in flight for 100 ms."""
    number, data = _head("GET", "/api/slow?delay=0.1")
    return Ask(number, data)


def upload() -> Ask:
    """Return an upload of about 10 KB in three chunks."""
    number, data = _head("POST", "/api/upload", "Transfer-Encoding: chunked\r\n")
    body = random.randbytes(random.randint(3, 20_000))
    third = -(-len(body) // 3)
    for first in range(0, len(body), third):
        piece = body[first : first + third]
        data += f"{len(piece):x}\r\n".encode() + piece + b"\r\n"
    return Ask(number, data + b"0\r\n\r\n", received=len(body), crc=zlib.crc32(body))


def aborted() -> Ask:
    """Return a request whose client leaves: in the head, before the answer, or in the middle of it."""
    whole = random.choice((small, streamed, slow, upload))()
    data = whole.data[: random.choice((20, len(whole.data) - 4, len(whole.data)))]
    return Ask(whole.id, data, abort=True)


Dress = Callable[[Ask], Ask]


def _as_it_is(ask: Ask) -> Ask:
    return ask


class Connection(asyncio.Protocol):
    """One connection, one request at a time."""

    __slots__ = ("_dress", "_ended", "_reader", "_transport", "_waiter", "local_port", "opened", "usable")

    def __init__(self, dress: Dress) -> None:
        self._dress = dress
        self._reader: AnswerReader | None = None
        self._waiter: asyncio.Future[Answer | None] | None = None
        self.local_port = 0
        self.opened = asyncio.get_running_loop().time()
        self.usable = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # A cast and no check: the transports of uvloop are no subclasses of asyncio's.
        self._transport = cast(asyncio.Transport, transport)
        self.local_port = transport.get_extra_info("sockname")[1]
        self.usable = True

    def data_received(self, data: bytes) -> None:
        if self._reader is None:
            # Bytes nobody asked for: the next request finds the connection unusable and says so.
            self.close()
            return
        try:
            answer = self._reader.feed(data)
        except BrokenAnswerError as error:
            self._finish(error)
            return
        if answer is not None:
            self.usable = not answer.last
            self._finish(answer)

    def connection_lost(self, _error: Exception | None) -> None:
        self.usable = False
        self._finish(self._reader.end() if self._reader else None)

    def _finish(self, result: Answer | BrokenAnswerError | None) -> None:
        waiter, self._waiter = self._waiter, None
        if waiter is None or waiter.done():
            return
        if isinstance(result, BrokenAnswerError):
            waiter.set_exception(result)
        else:
            waiter.set_result(result)

    def close(self) -> None:
        """Leave at once."""
        self.usable = False
        self._transport.abort()

    async def ask(self, ask: Ask) -> tuple[Outcome, str, Answer | None]:
        """Send the request and return how it ended, and what was wrong."""
        ask = self._dress(ask)
        if not self.usable:
            return Outcome.UNANSWERED, "the connection had ended", None
        self._reader = reader = AnswerReader()
        self._waiter = waiter = asyncio.get_running_loop().create_future()
        self._transport.write(ask.data)
        try:
            # Not wait_for: in Python 3.11 it loses a cancellation that comes with the result (bpo-37658).
            async with asyncio.timeout(random.random() * 0.06 if ask.abort else PATIENCE_SECONDS):
                answer = await waiter
        except BrokenAnswerError as error:
            self.close()
            return Outcome.WRONG, str(error), None
        except TimeoutError:
            self.close()
            if ask.abort:
                return Outcome.GOOD, "", None
            return Outcome.HUNG, f"no whole answer in {PATIENCE_SECONDS:g} s", None
        finally:
            self._reader = None
        if answer is None:
            if reader.begun:
                return Outcome.CUT, "the connection ended in the middle of the answer", None
            return Outcome.UNANSWERED, "the connection ended before an answer", None
        outcome, words = (Outcome.GOOD, "") if ask.abort else check(ask, answer)
        return outcome, words, answer


class Asking(Protocol):
    """What a crowd asks on: a connection, or a part of one that is as good."""

    @property
    def usable(self) -> bool:
        """Tell whether another request may be sent."""

    @property
    def opened(self) -> float:
        """Return the loop time at which its connection began."""

    @property
    def local_port(self) -> int:
        """Return the port of its connection at this end."""

    async def ask(self, ask: Ask) -> tuple[Outcome, str, Answer | None]:
        """Send the request and return how it ended, and what was wrong."""

    def close(self) -> None:
        """Leave at once."""


Connect = Callable[[int], Awaitable[Asking]]


async def connect(port: int, dress: Dress = _as_it_is) -> Connection:
    """Open a connection to 127.0.0.1:`port`, whose requests are dressed like this; raises OSError."""
    make = partial(Connection, dress)
    _, connection = await asyncio.get_running_loop().create_connection(make, "127.0.0.1", port)
    return connection


class Crowd:
    """Closed loops of clients on one port. Every ending goes to `judge`, which returns what is wrong with it."""

    def __init__(
        self,
        port: int,
        kinds: dict[Callable[[], Ask], int],
        judge: Callable[[Ending], str],
        dress: Dress = _as_it_is,
        ways: Sequence[Connect] = (connect,),
    ) -> None:
        """`kinds` are the requests and how often each comes; `dress` lets them show who asks.

        The clients take turns with the `ways` to connect.
        """
        self._port = port
        self._ways = itertools.cycle(ways)
        self._dress = dress
        self._kinds = list(kinds)
        self._weights = list(itertools.accumulate(kinds.values()))
        self._judge = judge
        self._tasks: list[asyncio.Task[None]] = []
        self._stopping = False
        self.in_flight = 0
        self.done: Counter[Outcome] = Counter()
        self.failures: list[str] = []

    @property
    def total(self) -> int:
        """Return the requests that ended."""
        return self.done.total()

    def start(self, clients: int) -> None:
        """Let so many clients begin."""
        loop = asyncio.get_running_loop()
        self._tasks += [loop.create_task(self._client()) for _ in range(clients)]

    async def stop(self) -> None:
        """Let every client end its present request, then end."""
        self._stopping = True
        await asyncio.gather(*self._tasks)

    async def _client(self) -> None:
        loop = asyncio.get_running_loop()
        connection: Asking | None = None
        way = next(self._ways)
        while not self._stopping:
            ask = self._dress(random.choices(self._kinds, cum_weights=self._weights)[0]())
            began = loop.time()
            if connection is None or not connection.usable:
                try:
                    connection = await way(self._port)
                except OSError as error:
                    self._end(Ending(ask, Outcome.REFUSED, str(error), 0, began, began, loop.time()))
                    await asyncio.sleep(0.01)
                    continue
            self.in_flight += 1
            outcome, words, answer = await connection.ask(ask)
            self.in_flight -= 1
            server = _server(answer)
            opened, port = connection.opened, connection.local_port
            self._end(Ending(ask, outcome, words, port, opened, began, loop.time(), server))
            if outcome is not Outcome.GOOD or ask.abort:
                connection.close()
        if connection:
            connection.close()

    def _end(self, ending: Ending) -> None:
        self.done[ending.outcome] += 1
        wrong = self._judge(ending)
        if wrong:
            self.failures.append(f"{ending.ask.id} ({ending.outcome}): {wrong}")


def _server(answer: Answer | None) -> str:
    if answer is None or answer.status != 200:
        return ""
    return answer.body.partition(b'"server":"')[2].partition(b'"')[0].decode()
