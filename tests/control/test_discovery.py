"""Sources at work: what of what they say reaches workers and when, what is kept, and what is shown of them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import dataclass, field
from typing import Any

import pytest

from headgate.control import discovery, endpoint_records
from headgate.control.discovery import GATHER, SWEEP, Discovery
from headgate.control.endpoint_records import GRACE
from headgate.control.messages import Beside, EndpointSets
from headgate.control.sources import KeptSource
from headgate.core.address import parse_endpoint
from headgate.core.endpoint import Endpoint
from headgate.discovery.source import MOST_ENDPOINTS, Given, NotFound, Sink, Source
from headgate.policy.endpoint_record import WELL_SINCE
from headgate.stores.board import Board
from tests.control.clock import timeless
from tests.control.test_probes import Lines
from tests.proxy.stage import resolved


def endpoints(*names: str, weight: int = 1) -> tuple[Endpoint, ...]:
    return tuple(parse_endpoint(f"http://{name}", weight) for name in names)


def config(*services: str, **more: Any) -> Any:
    """A configuration of services whose endpoints are found out, and of a static one."""
    found = [{"name": name, "discovery": {"type": "registry"}, "routes": [{"name": name}]} for name in services]
    return resolved({"services": [*found, {"name": "static", "url": "http://10.9.9.9:80"}], **more})


@dataclass
class Played:
    """A source that a test plays."""

    settings: Any
    given: Given
    sink: Sink | None = None
    ended: bool = False
    over: asyncio.Future[None] = field(default_factory=lambda: asyncio.get_running_loop().create_future())

    async def run(self, sink: Sink) -> None:
        self.sink = sink
        try:
            await self.over
        finally:
            self.ended = True

    def say(self, *names: str, weight: int = 1) -> None:
        assert self.sink is not None
        self.sink.take(endpoints(*names, weight=weight))

    def fail(self, why: str = "no connection") -> None:
        assert self.sink is not None
        self.sink.failed(why)


class Rig:
    """Discovery whose sources a test plays, over a board, with everything it told."""

    def __init__(self, kept: Iterable[KeptSource] = (), board: Board | None = None) -> None:
        self.board = board or Board.create(2)
        self.log = Lines()
        self.told: list[tuple[EndpointSets, EndpointSets | None]] = []
        self.sources: list[Played] = []
        self.changes = 0
        self.refused: Exception | None = None
        self.discovery = Discovery(
            self.board, self.log, self._spawn, self._publish, kept, environ={}, build=self._build, chance=lambda: 0.0
        )
        self.discovery.on_change = self._changed

    async def _build(self, settings: Any, given: Given) -> Source:
        if self.refused is not None:
            raise self.refused
        self.sources.append(Played(settings, given))
        return self.sources[-1]

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        return asyncio.get_running_loop().create_task(work)

    def _publish(self, message: Beside, news: Beside | None = None) -> None:
        assert isinstance(message, EndpointSets)
        assert news is None or isinstance(news, EndpointSets)
        self.told.append((message, news))

    def _changed(self) -> None:
        self.changes += 1

    async def follow(self, config: Any) -> None:
        """Take a configuration without waiting for its first sets."""
        self.discovery.follow(config)
        await turns()

    def shown(self, service: str = "chat") -> dict[str, Any]:
        return next(each for each in self.discovery.describe() if each["service"] == service)

    def names(self, service: str = "chat") -> list[str]:
        """The endpoints that the effective configuration has."""
        found = next(each for each in self.discovery.effective().services if each.name == service)
        return [each.name for each in found.endpoints]


async def turns(count: int = 5) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


def on_its_own_time(test: Callable[[], Coroutine[Any, Any, None]]) -> Callable[[pytest.MonkeyPatch], None]:
    """Run a test on a loop whose time passes when nothing is left to do, and whose time is all there is."""

    def run(monkeypatch: pytest.MonkeyPatch) -> None:
        def now() -> float:
            return asyncio.get_running_loop().time()

        monkeypatch.setattr(discovery, "monotonic", now)
        monkeypatch.setattr(endpoint_records, "monotonic", now)
        timeless(test)

    return run


@on_its_own_time
async def test_a_set_reaches_the_workers_and_the_effective_configuration() -> None:
    rig = Rig()
    followed = config("chat")
    await rig.follow(followed)
    assert rig.names() == []
    assert rig.names("static") == ["10.9.9.9:80"]
    rig.sources[0].say("b:80", "a:80")
    await asyncio.sleep(GATHER)
    whole, news = rig.told[-1]
    source = followed.services[0].source
    assert whole.whole
    assert news is not None
    assert not news.whole
    assert whole.sets == news.sets == {source: endpoints("a:80", "b:80")}
    assert rig.names() == ["a:80", "b:80"]
    assert rig.changes == 1


@on_its_own_time
async def test_a_set_that_is_equal_in_whatever_order_changes_nothing() -> None:
    rig = Rig()
    await rig.follow(config("chat"))
    rig.sources[0].say("a:80", "b:80")
    await asyncio.sleep(1)
    told, board = len(rig.told), rig.board.version
    for _ in range(10):
        rig.sources[0].say("b:80", "a:80", "b:80")
        await asyncio.sleep(1)
    assert len(rig.told) == told
    assert rig.board.version == board
    assert rig.changes == 1
    assert rig.shown()["age"] == 1


@on_its_own_time
async def test_other_weights_are_news() -> None:
    rig = Rig()
    await rig.follow(config("chat"))
    rig.sources[0].say("a:80")
    await asyncio.sleep(1)
    rig.sources[0].say("a:80", weight=3)
    await asyncio.sleep(1)
    assert rig.changes == 2
    assert rig.discovery.effective().services[0].endpoints[0].weight == 3


@on_its_own_time
async def test_however_often_a_source_speaks_workers_are_told_at_most_so_often() -> None:
    rig = Rig()
    await rig.follow(config("chat"))
    began, before = asyncio.get_running_loop().time(), len(rig.told)
    for number in range(1000):
        rig.sources[0].say(f"a{number}:80")
        await asyncio.sleep(0.001)
    await asyncio.sleep(GATHER)
    passed = asyncio.get_running_loop().time() - began
    assert len(rig.told) - before <= passed / GATHER + 1
    assert rig.names() == ["a999:80"]


@on_its_own_time
async def test_the_first_news_after_a_pause_is_told_at_once() -> None:
    rig = Rig()
    await rig.follow(config("chat"))
    await asyncio.sleep(1)
    rig.sources[0].say("a:80")
    await turns()
    assert rig.names() == ["a:80"]


@on_its_own_time
async def test_what_fails_leaves_the_set_before_and_is_told_once() -> None:
    rig = Rig()
    await rig.follow(config("chat"))
    rig.sources[0].say("a:80")
    await asyncio.sleep(1)
    told = len(rig.told)
    for _ in range(3):
        rig.sources[0].fail("no connection: http://u:hunter2@registry")
        await asyncio.sleep(10)
    assert len(rig.told) == told
    assert rig.names() == ["a:80"]
    shown = rig.shown()
    assert (shown["source"], shown["state"], shown["endpoints"], shown["age"]) == ("registry", "failing", 1, 31)
    assert shown["last_error"] == {"message": "no connection: http://***@registry", "age": 10}
    rig.sources[0].say("a:80")
    shown = rig.shown()
    assert (shown["state"], shown["age"]) == ("current", 0)
    # It did fail, and when; that it no longer does, the state says.
    assert shown["last_error"]["age"] == 10
    assert [line for line in rig.log.lines if "found out" in line] == [
        "warning: the endpoints of chat cannot be found out (registry): no connection: http://***@registry;"
        " those from before stay",
        "info: the endpoints of chat can be found out again",
    ]


@on_its_own_time
async def test_before_any_set_it_waits_or_fails_and_says_so() -> None:
    rig = Rig()
    await rig.follow(config("chat"))
    assert rig.shown() | {"where": ""} == {
        "service": "chat",
        "source": "registry",
        "where": "",
        "state": "waiting",
        "endpoints": 0,
        "age": None,
        "last_error": None,
    }
    rig.sources[0].fail()
    assert rig.shown()["state"] == "failing"
    assert rig.shown("static")["state"] == "static"
    assert rig.log.lines[-1].endswith("it answers 503 until they are")


@on_its_own_time
async def test_an_empty_set_is_a_set() -> None:
    rig = Rig()
    await rig.follow(config("chat"))
    rig.sources[0].say("a:80")
    await asyncio.sleep(1)
    rig.sources[0].say()
    await asyncio.sleep(1)
    assert rig.names() == []
    assert rig.shown()["state"] == "current"
    assert list(rig.told[-1][0].sets.values()) == [()]


@on_its_own_time
async def test_a_set_that_is_too_large_is_refused_whole() -> None:
    rig = Rig()
    await rig.follow(config("chat"))
    rig.sources[0].say("a:80")
    rig.sources[0].say(*(f"a{number}:80" for number in range(MOST_ENDPOINTS + 1)))
    await asyncio.sleep(1)
    assert rig.names() == ["a:80"]
    assert rig.shown()["state"] == "failing"


@on_its_own_time
async def test_a_set_that_the_board_has_no_room_for_is_refused_whole() -> None:
    rig = Rig(board=Board.create(2, records=3))
    await rig.follow(config("chat"))
    rig.sources[0].say("a:80")
    rig.sources[0].say("a:80", "b:80", "c:80", "d:80")
    await asyncio.sleep(1)
    assert rig.names() == ["a:80"]
    assert "no room" in rig.shown()["last_error"]["message"]


@on_its_own_time
async def test_records_are_there_before_the_workers_know_and_for_a_while_after() -> None:
    rig = Rig()
    await rig.follow(config("chat"))
    rig.sources[0].say("a:80")
    assert [name for name, _ in rig.board.entries()] == ["endpoint chat a:80"]
    await asyncio.sleep(1)
    rig.sources[0].say("b:80")
    await asyncio.sleep(1)
    assert rig.board.find("endpoint chat a:80") is not None
    await asyncio.sleep(GRACE + 2 * SWEEP)
    assert [name for name, _ in rig.board.entries()] == ["endpoint chat b:80"]
    # The first of all are equals; whoever joins them begins slowly.
    assert rig.board.cells[rig.board.claim("endpoint chat b:80") + WELL_SINCE] > 0


@on_its_own_time
async def test_churning_endpoints_never_fill_the_board() -> None:
    rig = Rig(board=Board.create(2, records=200))
    await rig.follow(config("chat"))
    for number in range(1000):
        rig.sources[0].say(*(f"pod-{each}:80" for each in range(number * 10, number * 10 + 20)))
        await asyncio.sleep(3)
    assert rig.shown()["state"] == "current"
    assert rig.shown()["last_error"] is None


@on_its_own_time
async def test_endpoints_of_a_service_that_is_gone_are_given_back() -> None:
    rig = Rig()
    await rig.follow(config("chat", "shop"))
    for each in rig.sources:
        each.say("a:80")
    await asyncio.sleep(1)
    await rig.follow(config("chat"))
    assert [each.ended for each in rig.sources] == [False, True]
    await asyncio.sleep(GRACE + 2 * SWEEP)
    assert [name for name, _ in rig.board.entries()] == ["endpoint chat a:80"]


@on_its_own_time
async def test_a_source_goes_on_through_a_reload_that_leaves_it_alone() -> None:
    rig = Rig()
    await rig.follow(config("chat"))
    rig.sources[0].say("a:80")
    await asyncio.sleep(1)
    await rig.follow(config("chat", "shop"))
    assert [each.given.service for each in rig.sources] == ["chat", "shop"]
    assert rig.names() == ["a:80"]
    whole, news = rig.told[-1]
    assert news is None
    assert len(whole.sets) == 1


@on_its_own_time
async def test_who_is_asked_for_another_thing_is_another_source_and_in_another_way_the_same() -> None:
    def document(**more: Any) -> Any:
        found = {"type": "http", "url": "http://registry/list", **more}
        return resolved({"services": [{"name": "chat", "discovery": found}]})

    rig = Rig()
    await rig.follow(document(token="one"))
    rig.sources[0].say("a:80")
    await asyncio.sleep(1)
    await rig.follow(document(token="two", interval=7))
    assert [each.settings.token for each in rig.sources] == ["one", "two"]
    assert rig.sources[1].settings.interval == 7
    assert rig.sources[0].ended
    assert rig.names() == ["a:80"]
    await rig.follow(document(token="two", service="other"))
    assert len(rig.sources) == 3
    assert rig.names() == []


@on_its_own_time
async def test_a_source_that_ends_by_a_fault_begins_anew() -> None:
    rig = Rig()
    await rig.follow(config("chat"))
    rig.sources[0].say("a:80")
    await asyncio.sleep(1)
    rig.sources[0].over.set_exception(RuntimeError("hunter2"))
    await turns()
    assert rig.shown()["last_error"]["message"] == "its source failed: RuntimeError"
    assert not any("hunter2" in line for line in rig.log.lines)
    await asyncio.sleep(60)
    rig.sources[1].over.set_exception(NotFound("a sentence"))
    await asyncio.sleep(60)
    assert rig.shown()["last_error"]["message"] == "a sentence"
    rig.sources[2].say("b:80")
    await asyncio.sleep(1)
    assert rig.names() == ["b:80"]


@on_its_own_time
async def test_a_source_that_cannot_be_made_is_tried_again() -> None:
    rig = Rig()
    rig.refused = ValueError("the file is gone")
    await rig.follow(config("chat"))
    assert rig.shown()["last_error"]["message"] == "the file is gone"
    rig.refused = None
    await asyncio.sleep(60)
    rig.sources[0].say("a:80")
    assert rig.shown()["state"] == "current"


@on_its_own_time
async def test_a_source_that_has_read_everything_may_end() -> None:
    rig = Rig()
    await rig.follow(config("chat"))
    rig.sources[0].say("a:80")
    rig.sources[0].over.set_result(None)
    await asyncio.sleep(600)
    assert len(rig.sources) == 1
    assert rig.names() == ["a:80"]


# -- plans ----------------------------------------------------------------------------------------------------------


@on_its_own_time
async def test_a_plan_waits_until_the_workers_have_its_first_sets() -> None:
    rig = Rig()
    loop = asyncio.get_running_loop()
    began = loop.time()
    loop.call_later(2, lambda: rig.sources[0].say("a:80"))
    loop.call_later(3, lambda: rig.sources[1].fail())
    await rig.discovery.prepare(config("chat", "shop"))
    # A failure is an answer, too.
    assert loop.time() - began == 3
    assert list(rig.told[-1][0].sets.values()) == [endpoints("a:80")]
    rig.discovery.conclude(taken=True)
    rig.discovery.follow(config("chat", "shop"))
    assert rig.names() == ["a:80"]
    assert len(rig.sources) == 2


@on_its_own_time
async def test_a_plan_does_not_wait_for_ever_and_not_for_what_is_known() -> None:
    rig = Rig()
    loop = asyncio.get_running_loop()
    began = loop.time()
    await rig.discovery.prepare(config("chat"), patience=5)
    assert loop.time() - began == 5
    rig.discovery.conclude(taken=True)
    await rig.follow(config("chat"))
    began = loop.time()
    await rig.discovery.prepare(config("chat"), patience=5)
    assert loop.time() == began


@on_its_own_time
async def test_what_was_begun_for_a_plan_that_is_refused_ends() -> None:
    rig = Rig()
    await rig.follow(config("chat"))
    rig.sources[0].say("a:80")
    await asyncio.sleep(1)
    await rig.discovery.prepare(config("shop"), patience=1)
    rig.discovery.conclude(taken=False)
    await turns()
    assert [each.ended for each in rig.sources] == [False, True]
    assert rig.names() == ["a:80"]
    assert [each["service"] for each in rig.discovery.describe()] == ["chat", "static"]
    assert len(rig.discovery.kept()) == 1


# -- a successor ----------------------------------------------------------------------------------------------------


@on_its_own_time
async def test_a_successor_goes_on_with_what_was_known() -> None:
    rig = Rig()
    await rig.follow(config("chat", "shop"))
    rig.sources[0].say("a:80")
    await asyncio.sleep(7)
    successor = Rig(rig.discovery.kept(), rig.board)
    await successor.follow(config("chat", "shop"))
    assert successor.names() == ["a:80"]
    assert list(successor.told[-1][0].sets.values()) == [endpoints("a:80")]
    assert successor.shown()["age"] == 7
    assert not successor.log.lines
    # It is asked again, as it should be.
    assert len(successor.sources) == 2
    successor.sources[0].fail()
    assert successor.names() == ["a:80"]


# -- metrics --------------------------------------------------------------------------------------------------------


@on_its_own_time
async def test_metrics_say_who_fails_and_how_old_it_is() -> None:
    rig = Rig()
    await rig.follow(config("chat", "shop"))
    rig.sources[0].say("a:80")
    rig.sources[1].fail()
    await asyncio.sleep(3)
    found = {(each.name.family, *each.name.labels): each.values for each in rig.discovery.samples()}
    assert found == {
        ("headgate_discovery_updates_total", "chat", "well"): [1],
        ("headgate_discovery_updates_total", "shop", "failed"): [1],
        ("headgate_discovery_failing", "chat"): [0],
        ("headgate_discovery_failing", "shop"): [1],
        ("headgate_discovery_age_seconds", "chat"): [3_000_000],
    }
    await rig.follow(config("chat"))
    assert {each.name.labels[0] for each in rig.discovery.samples()} == {"chat"}
