"""Instances that registered here: who there is, how they are, and who is dropped for nothing was heard of him.

    register -> the database, then memory -> whoever follows the service
    heard of (a heartbeat, a check that went well) -> due later -> counted in the database with the next turn
    not heard of for its ttl -> out at once -> out of the database, unless another gateway has heard of it

Laws: memory says what is in force, the database what outlives us. A registration is answered when it is written down;
being heard of and leaving count at once and are written down later, so a database that is away costs new instances
only. Time is monotonic and begins anew with each process: whatever the clocks did and however long nobody was there to
listen, after a restart each instance has its whole ttl to be heard of. Instances of one database are those of all its
gateways.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Final

from headgate.config.resolve import ResolvedConfig, ResolvedService
from headgate.control.log import Log
from headgate.control.registrations.checks import Checks
from headgate.control.registrations.instance import Instance, News, Row, Status, checked, refuse_own
from headgate.control.registrations.known import Known
from headgate.control.registrations.ledger import Ledger, Place, Unavailable
from headgate.control.spawn import Spawn
from headgate.core.address import ListenAddress, parse_listen
from headgate.core.clock import monotonic
from headgate.core.endpoint import Endpoint
from headgate.core.networks import Networks
from headgate.discovery.settings import Registering, RegistryDiscovery
from headgate.discovery.source import NotFound
from headgate.telemetry.cells import Sample, SeriesName
from headgate.wire.patience import within
from headgate.wire.settings import UpstreamTls

# Seconds between two looks for who is due.
TICK: Final = 0.5
LATE: Final = 1.0
# Seconds that a new configuration waits for the database.
PATIENCE: Final = 3.0

_NEVER: Final = -1


class Registrations:
    """All of them. Make it inside the running loop."""

    def __init__(
        self,
        log: Log,
        spawn: Spawn,
        *,
        environ: Mapping[str, str] = os.environ,
        clock: Callable[[], float] = monotonic,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._log = log
        self._spawn = spawn
        self._ledger = Ledger(log, environ, self._tell)
        self._clock = clock
        self._checks = Checks(chance)
        self._in_turn = asyncio.Lock()
        self._wake = asyncio.Event()
        self._listeners: dict[object, Callable[[], None]] = {}
        self.settings = Registering()
        self._networks = Networks(())
        # How the services of these names are spoken to: their TLS, and whether by HTTP/2.
        self._spoken: dict[str, tuple[UpstreamTls, str]] = {}
        self._poll = 1.0
        self._admin = ListenAddress("", 0)
        self._tasks: list[asyncio.Task[None]] = []
        self._counts: Counter[str] = Counter()
        self._generation = 0
        self._follows = False
        self._ticked_at = clock()
        self._begin_anew()

    def _begin_anew(self) -> None:
        self._generation += 1
        self._revision = _NEVER
        self._known: dict[str, Known] = {}
        self._renewed: dict[str, Status | None] = {}
        self._dropped: dict[str, int | None] = {}

    # -- configurations --------------------------------------------------------------------------------------------

    async def prepare(self, config: ResolvedConfig) -> None:
        """Have the instances known that this configuration asks for, but do not wait long for them.

        It is not in force yet, so of its settings only those of a gateway that starts are taken.
        """
        if not self._follows:
            self.follow(config)
        if any(isinstance(each.discovery, RegistryDiscovery) for each in config.services):
            # Whoever asks for instances is told, and turns go on trying.
            with contextlib.suppress(Unavailable, TimeoutError):
                async with within(PATIENCE):
                    await self._ready()

    def follow(self, config: ResolvedConfig) -> None:
        """Take registrations as this configuration says."""
        self._follows = True
        self.settings = config.registrations
        self._networks = Networks(config.registrations.networks)
        self._spoken = {_name_of(each): (each.tls, each.protocol) for each in config.services}
        self._poll = config.database.poll
        self._admin = parse_listen(config.admin.address)
        if self._ledger.follow(Place(config.state_dir, config.database.url)):
            self._begin_anew()
            self._tell()
        if any(isinstance(each.discovery, RegistryDiscovery) for each in config.services):
            self._begin()

    def _begin(self) -> None:
        if not self._tasks:
            self._tasks = [self._spawn(self._turns()), self._spawn(self._ticks())]

    # -- what there is to do ---------------------------------------------------------------------------------------

    async def register(self, instance: Instance) -> tuple[Known, bool]:
        """Register an instance, or register it anew as it says; tell whether it is a new one.

        Raises:
            ValueError: with a sentence about what it says of itself.
            TooMany: there is no room for one more.
            Unavailable: with a sentence, when it cannot be written down.
        """
        taken = checked(instance, self._networks)
        refuse_own(taken, self._admin)
        await self._ready()
        async with self._in_turn:
            if self._dropped:
                # What left must not be removed behind the back of what comes under the same id.
                await self._exchange()
            row, is_new = await self._ledger.put(taken, self.settings.max_instances)
            self._dropped.pop(row.instance.id, None)
        known = self._keep(row)
        self._counts["registered" if is_new else "updated"] += 1
        self._tell()
        return known, is_new

    async def renew(self, id_: str, said: Status | None = None) -> Known | None:
        """Hear of an instance, and perhaps what it says of its health; None when there is none of this id.

        Raises:
            Unavailable: with a sentence, when it is not known and nobody can be asked.
        """
        known = await self.find(id_)
        if known is None:
            return None
        self._hear(known)
        if said is not None and said != known.instance.said:
            known.instance = known.instance._replace(said=said)
            self._renewed[id_] = said
            self._tell()
        return known

    async def remove(self, id_: str) -> bool:
        """Let an instance go; tell whether there was one.

        Raises:
            Unavailable: with a sentence, when it is not known and nobody can be asked.
        """
        if await self.find(id_) is None:
            return False
        self._drop(id_, None)
        self._counts["removed"] += 1
        self._tell()
        return True

    async def find(self, id_: str) -> Known | None:
        """Return the instance of this id, one too that another gateway has just been told of.

        Raises:
            Unavailable: with a sentence, when it is not known and nobody can be asked.
        """
        if id_ not in self._known:
            await self._ready()
            if id_ not in self._known:
                await self._turn()
        return self._known.get(id_)

    async def every(self, name: str | None = None) -> list[Known]:
        """List the instances, of one name or of all, by name and id.

        Raises:
            Unavailable: with a sentence, when the database was never read.
        """
        await self._ready()
        found = [each for each in self._known.values() if name is None or each.instance.name == name]
        return sorted(found, key=lambda each: (each.instance.name, each.instance.id))

    def age(self, moment: float) -> float:
        """Return how long ago a moment of this clock was, in seconds."""
        return self._clock() - moment

    # -- what sources ask (discovery.source.Given) -----------------------------------------------------------------

    def endpoints(self, name: str) -> tuple[Endpoint, ...]:
        """Return where the instances of a name run, without those that are unhealthy.

        Raises:
            NotFound: the database has not been read yet; with why, or without a word while it is about to be.
        """
        if self._revision == _NEVER:
            raise NotFound(self._ledger.failing)
        found = (each for each in self._known.values() if each.instance.name == name and each.status != "unhealthy")
        return tuple(each.endpoint for each in found)

    def listen(self, listener: Callable[[], None]) -> Callable[[], None]:
        """Call `listener` when endpoints may have changed, until the function that is returned is called."""
        key = object()
        self._listeners[key] = listener

        def stop() -> None:
            self._listeners.pop(key, None)

        return stop

    def samples(self) -> list[Sample]:
        """Return how many instances there are by their status, and what became of them since control began."""
        if self._revision == _NEVER:
            return []
        by_status = Counter({"healthy": 0, "unhealthy": 0, "unknown": 0})
        by_status.update(each.status for each in self._known.values())
        found = [
            Sample(SeriesName("headgate_registered_instances", "gauge", (status,)), [count])
            for status, count in by_status.items()
        ]
        return found + [
            Sample(SeriesName("headgate_registrations_total", "counter", (what,)), [count])
            for what, count in self._counts.items()
        ]

    def close(self) -> None:
        """Write down what was heard, if that is quick, and let go."""
        for task in self._tasks:
            task.cancel()
        self._ledger.close(self._renewed, self._dropped)

    # -- memory ----------------------------------------------------------------------------------------------------

    def _keep(self, row: Row) -> Known:
        before = self._known.get(row.instance.id)
        if before is not None and before.is_asked_as(row.instance):
            health = before.health
        else:
            health = self._checks.begin(self._clock(), self.settings.check_interval)
        self._known[row.instance.id] = known = Known(row, self._clock(), health)
        return known

    def _hear(self, known: Known) -> None:
        known.hear(self._clock())
        self._renewed.setdefault(known.instance.id, None)

    def _drop(self, id_: str, renewals: int | None) -> None:
        del self._known[id_]
        self._renewed.pop(id_, None)
        self._dropped[id_] = renewals
        self._wake.set()

    def _tell(self) -> None:
        for listener in list(self._listeners.values()):
            listener()

    # -- time ------------------------------------------------------------------------------------------------------

    async def _ticks(self) -> None:
        while True:
            await asyncio.sleep(TICK)
            self.tick()

    def tick(self) -> None:
        """Drop who was not heard of, and begin the checks that are due."""
        now = self._clock()
        late = now - self._ticked_at - TICK
        self._ticked_at = now
        if late > LATE:
            # This process stood still: nobody could be heard meanwhile, and that is nobody's fault.
            for each in self._known.values():
                each.due += late
        lapsed = [each for each in self._known.values() if each.due <= now]
        for each in lapsed:
            name, id_ = each.instance.name, each.instance.id
            self._log("warning", f"nothing was heard of an instance of {name}, and it is dropped", instance=id_)
            self._drop(id_, each.renewals)
            self._counts["lapsed"] += 1
        if lapsed:
            self._tell()
        for each in self._known.values():
            health = each.health
            if each.instance.health_check and health.due <= now and not health.in_flight:
                health.in_flight = True
                self._spawn(self._check(each))

    async def _check(self, known: Known) -> None:
        instance, health, settings = known.instance, known.health, self.settings
        tls, speaks = self._spoken.get(instance.name, (UpstreamTls(), "http1"))
        try:
            why = await self._checks.ask(instance, tls, settings.check_timeout, speaks)
        finally:
            health.in_flight = False
            health.due = self._clock() + self._checks.later(settings.check_interval)
        known = self._known.get(instance.id, known)
        if known.health is not health:
            # Of an instance that has left, or has moved meanwhile.
            return
        if not why:
            self._hear(known)
        if health.note(why, self._clock()):
            how = f"unhealthy: {why}" if why else "healthy"
            self._log("warning" if why else "info", f"the instance {instance.id} of {instance.name} is {how}")
            self._tell()

    # -- the database ----------------------------------------------------------------------------------------------

    async def _turns(self) -> None:
        while True:
            self._wake.clear()
            # What goes wrong was told, and what could not be written waits.
            with contextlib.suppress(Unavailable):
                await self._turn()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._poll):
                    await self._wake.wait()

    async def _ready(self) -> None:
        """Read the database, unless that was done."""
        self._begin()
        if self._revision == _NEVER:
            await self._turn(once=True)

    async def _turn(self, once: bool = False) -> None:
        """Write down what happened, and take what others have changed; `once`: unless that was done before.

        Raises:
            Unavailable: with a sentence.
        """
        async with self._in_turn:
            if not once or self._revision == _NEVER:
                await self._exchange()

    async def _exchange(self) -> None:
        renewed, self._renewed = self._renewed, {}
        dropped, self._dropped = self._dropped, {}
        generation = self._generation
        try:
            news = await self._ledger.turn(self._revision, renewed, dropped)
        except BaseException:
            if generation == self._generation:
                self._put_back(renewed, dropped)
            raise
        for id_ in renewed:
            if id_ in self._known:
                self._known[id_].renewals += 1
        self._take(news)

    def _put_back(self, renewed: Mapping[str, Status | None], dropped: Mapping[str, int | None]) -> None:
        """Keep for the next turn what could not be written."""
        self._dropped = {**dropped, **self._dropped}
        for id_, said in renewed.items():
            if id_ in self._known:
                self._renewed[id_] = self._renewed.get(id_) or said

    def _take(self, news: News) -> None:
        told = self._take_rows(news.heard)
        first = self._revision == _NEVER
        if news.ids is not None:
            gone = [id_ for id_, each in self._known.items() if id_ not in news.ids and each.revision <= news.revision]
            for id_ in gone:
                del self._known[id_]
                self._renewed.pop(id_, None)
            told = self._take_rows(news.rows) or told or bool(gone)
        self._revision = news.revision
        if told or first:
            self._tell()

    def _take_rows(self, rows: Iterable[Row]) -> bool:
        """Take what is new of these; tell whether anything was."""
        told = False
        for row in rows:
            id_ = row.instance.id
            known = self._known.get(id_)
            if id_ not in self._dropped and (known is None or known.revision < row.revision):
                # What it said since then is not written down yet.
                said = self._renewed.get(id_) or row.instance.said
                self._keep(row._replace(instance=row.instance._replace(said=said)))
                told = True
        return told


def _name_of(service: ResolvedService) -> str:
    """Return the name under which instances of a service register."""
    found = service.discovery
    return found.service or service.name if isinstance(found, RegistryDiscovery) else service.name
