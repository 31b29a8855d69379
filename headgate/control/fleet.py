"""The workers as control sees them: who is connected, which plan they run, and how all get a new one.

A new plan goes to one worker first. If that one cannot build it, nothing has changed anywhere else, and nothing does.
Then it becomes the current plan and goes to all others; a worker that connects gets the current plan at once. Should
one of the others still refuse it, the previous plan is sent again to those that took it: all workers run the same.

A control process may have died between one worker's plan and the next one's: what a worker runs beyond the plan that
was in force nobody knows, and it is given the one in force whatever its number is. One that can read nothing of its
predecessor counts from what the workers say they run, for their numbers are those of plans that it does not know.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import pickle
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from headgate.control.frames import LONGEST_SAID, read_frame, write_frame
from headgate.control.log import Log
from headgate.control.messages import Beside, Forget, PackedPlan, TellRecords
from headgate.core.trace import places_of

# A worker that hangs is killed by the master's watchdog long before; this ends the wait for one that lives.
ANSWER_PATIENCE = 30.0
JOIN_PATIENCE = 60.0
# Much longer than a worker waits at most before it looks for control again: the number of the plan of one that is
# missed may be given to another plan.
MEETING_PATIENCE = 5.0
# Whoever asks what is in force waits as long for a plan that is on its way: some workers serve by it already.
SETTLING_PATIENCE = 3.0
# There is not time for so many plans in the life of a gateway.
_HIGHEST_VERSION = 2**31
# Characters.
_LONGEST_REASON = 16 * 1024


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a plan: how many workers run it, or why none does."""

    version: int
    workers: int = 0
    problems: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Tell whether the plan is in force."""
        return not self.problems


class _Member:
    """One connected worker. An answer is None (took it) or what is wrong."""

    __slots__ = ("_answer", "_writer", "asked", "name", "number", "version")

    def __init__(self, hello: dict[str, Any], writer: asyncio.StreamWriter) -> None:
        self.number: int = hello["worker"]
        self.version: int = hello["version"]
        if type(self.number) is not int or type(self.version) is not int:
            raise TypeError
        if not 0 <= self.version < _HIGHEST_VERSION:
            raise ValueError
        self.name = f"worker-{self.number}"
        self._writer = writer
        self.asked = False
        self._answer: asyncio.Future[str | None] | None = None

    def send(self, plan: PackedPlan) -> asyncio.Future[str | None]:
        self.version = plan.version
        self._answer = asyncio.get_running_loop().create_future()
        write_frame(self._writer, plan.body)
        return self._answer

    def tell(self, body: bytes) -> None:
        write_frame(self._writer, body)

    def on_answer(self, version: object, error: str | None) -> None:
        # An answer to an older plan than the one sent last decides nothing any more.
        if version == self.version and self._answer is not None and not self._answer.done():
            self._answer.set_result(error)

    def lost(self) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(ConnectionError(f"{self.name} died while taking the configuration"))
            # Nobody may be waiting for it: the plan a worker gets as it connects is not waited for.
            self._answer.exception()
        self._writer.close()


class Publish(Protocol):
    """How something is handed to all workers: `Fleet.publish_beside`."""

    def __call__(self, message: Beside, news: Beside | None = None) -> None:
        """Hand it over."""


class Fleet:
    """All connected workers and the plan in force."""

    def __init__(self, log: Log, current: PackedPlan | None = None, *, strangers: bool = False) -> None:
        """Begin with the plan in force; with `strangers` there are workers that may run one that nobody knows."""
        self._log = log
        self._strangers = strangers
        self._known = current.version if current else 0
        self._met: set[int] = set()
        self._members: dict[int, _Member] = {}
        self._meetings: set[asyncio.Task[None]] = set()
        self._joined = asyncio.Event()
        self._settled = asyncio.Event()
        self._settled.set()
        self._attempts = current.version if current else 0
        # What holds beside the plan: the last message of each kind.
        self._standing: dict[type, bytes] = {}
        self.current = current
        # Told what workers say besides their answers to plans: the worker's number and its message.
        self.on_said: list[Callable[[int, dict[str, Any]], None]] = []

    async def listen(self, path: Path) -> asyncio.Server:
        """Meet the workers at a Unix socket of this path."""

        def on_connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.get_running_loop().create_task(self._meet(reader, writer))
            self._meetings.add(task)
            task.add_done_callback(self._meetings.discard)

        return await asyncio.start_unix_server(on_connection, str(path))

    async def meet(self, number: int) -> None:
        """Wait until so many workers are connected, MEETING_PATIENCE at most."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(MEETING_PATIENCE):
                while len(self._members) < number:
                    self._joined.clear()
                    await self._joined.wait()

    @property
    def next_version(self) -> int:
        """Return a number no plan has had."""
        self._attempts += 1
        return self._attempts

    def publish_beside(self, message: Beside, news: Beside | None = None) -> None:
        """Give what holds beside the plan to every worker, now and, before any plan, as it comes up.

        With `news`, which holds what has changed since the last message of its kind, those that are up get only that.
        """
        body = self._standing[type(message)] = pickle.dumps(message, pickle.HIGHEST_PROTOCOL)
        if news is not None:
            body = pickle.dumps(news, pickle.HIGHEST_PROTOCOL)
        for member in self._members.values():
            member.tell(body)

    def tell_once(self, message: Forget | TellRecords, among: int | None = None) -> tuple[int, ...]:
        """Tell the first `among` workers (None: all) something that holds at this moment only; return their numbers."""
        told = tuple(sorted(self._members))[:among]
        body = pickle.dumps(message, pickle.HIGHEST_PROTOCOL)
        for number in told:
            self._members[number].tell(body)
        return told

    async def publish(self, plan: PackedPlan) -> Outcome:
        """Bring `plan` into force in every worker, or leave the previous one in force in every worker."""
        self._settled.clear()
        try:
            return await self._publish(plan)
        finally:
            self._settled.set()

    async def settled(self) -> None:
        """Wait while a plan is on its way to the workers, SETTLING_PATIENCE at most."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(SETTLING_PATIENCE):
                await self._settled.wait()

    async def _publish(self, plan: PackedPlan) -> Outcome:
        problem = await self._try_on_one(plan)
        if problem is not None:
            return Outcome(plan.version, problems=(problem,))
        previous, self.current = self.current, plan
        others = [member for member in self._members.values() if member.version != plan.version]
        answers = await asyncio.gather(*(self._ask(member, plan) for member in others), return_exceptions=True)
        # A worker lost on the way does not count against the plan; its successor is given it.
        refusals = [answer for answer in answers if isinstance(answer, str)]
        if refusals and previous is not None:
            self.current = previous
            back = [asyncio.wait_for(member.send(previous), ANSWER_PATIENCE) for member in self._members.values()]
            await asyncio.gather(*back, return_exceptions=True)
        if refusals:
            return Outcome(plan.version, problems=tuple(dict.fromkeys(refusals)))
        return Outcome(plan.version, sum(member.version == plan.version for member in self._members.values()))

    async def _try_on_one(self, plan: PackedPlan) -> str | None:
        """Have the first worker build the plan. One that dies meanwhile may have died of something else: try twice."""
        problem: str | None = None
        for _ in range(2):
            try:
                async with asyncio.timeout(JOIN_PATIENCE):
                    while not self._members:
                        self._joined.clear()
                        await self._joined.wait()
            except TimeoutError:
                return f"no worker has come up within {JOIN_PATIENCE:.0f} s to take it"
            first = self._members[min(self._members)]
            try:
                return await self._ask(first, plan)
            except ConnectionError as error:
                problem = str(error)
        return problem

    async def _ask(self, member: _Member, plan: PackedPlan) -> str | None:
        """Return what the worker says against the plan; whoever asks reports it."""
        member.asked = True
        try:
            return await asyncio.wait_for(member.send(plan), ANSWER_PATIENCE)
        except TimeoutError:
            return f"{member.name} has not answered within {ANSWER_PATIENCE:.0f} s"
        finally:
            member.asked = False

    async def _meet(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        member: _Member | None = None
        try:
            member = self._join(json.loads(await read_frame(reader, LONGEST_SAID)), writer)
            while True:
                self._hear(member, json.loads(await read_frame(reader, LONGEST_SAID)))
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError, RecursionError) as error:
            # Strangers talk to workers: one that talks nonsense in turn is worth a line, and nothing else.
            name = member.name if member is not None else "a worker"
            self._log("error", f"what {name} says cannot be understood", traceback=places_of(error))
        writer.close()
        if member is not None:
            member.lost()
            if self._members.get(member.number) is member:
                del self._members[member.number]

    def _hear(self, member: _Member, message: dict[str, Any]) -> None:
        if message["type"] not in ("took", "rejected"):
            for listener in self.on_said:
                listener(member.number, message)
            return
        error = None
        if message["type"] == "rejected":
            error = message["error"][:_LONGEST_REASON]
            if type(error) is not str:
                raise TypeError
            if not member.asked:
                self._log("error", f"{member.name} cannot run plan {int(message['version'])}: {error}")
        member.on_answer(message["version"], error)

    def _join(self, hello: dict[str, Any], writer: asyncio.StreamWriter) -> _Member:
        member = _Member(hello, writer)
        predecessor = self._members.get(member.number)
        if predecessor is not None:
            predecessor.lost()
        self._members[member.number] = member
        if member.number not in self._met and member.version > self._known:
            if self._strangers:
                self._attempts = max(self._attempts, member.version)
            member.version = 0
        self._met.add(member.number)
        for body in self._standing.values():
            member.tell(body)
        if self.current is not None and member.version != self.current.version:
            member.send(self.current)
        self._joined.set()
        return member

    def __repr__(self) -> str:
        version = self.current.version if self.current else 0
        return f"<Fleet plan {version}, {len(self._members)} workers>"
