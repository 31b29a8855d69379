"""The cache over the admin API: what it holds, what requests came to, and what is purged from it."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest

from headgate.control import caching
from headgate.control.caching import Caching
from headgate.control.log import Log
from headgate.core.steps import Reply
from headgate.stores.cache.store import CacheStore, Purge, Statistics
from headgate.telemetry.cells import SlotRegion, SlotWriter
from headgate.telemetry.metrics import Metrics
from tests.control.admin.subject import Subject, as_role, ask
from tests.proxy.stage import resolved, to

PATH = "/api/v1/cache"
HELD = Statistics(entries=3, bytes=4096, size=1 << 20, stored=9, evicted=2, refused=1, purged=4)
NOTHING = dict.fromkeys(("hit", "stale", "revalidated", "collapsed", "miss", "bypass"), 0)


class Store:
    """A store that is told what to say: at once, later or never."""

    def __init__(self, found: int = 2, held: Statistics | None = HELD, when: str = "now") -> None:
        self.purged: list[Purge] = []
        self._found, self._held, self._when = found, held, when

    def purge(self, what: Purge) -> int | Reply[int]:
        self.purged.append(what)
        return cast("int | Reply[int]", self._told(self._found))

    def statistics(self) -> Statistics | Reply[Statistics | None] | None:
        return cast("Statistics | Reply[Statistics | None] | None", self._told(self._held))

    def _told(self, value: Any) -> Any:
        if self._when == "now":
            return value
        reply: Reply[Any] = Reply()
        if self._when == "later":
            asyncio.get_running_loop().call_soon(reply.set, value)
        return reply


def subject(store: Store | None = None, **cache: Any) -> Subject:
    made = Subject(config=to("http://a", route={"cache": cache or {"ttl": 60}}))
    made.parts.caching.store = lambda: cast("CacheStore | None", store)
    return made


def test_without_a_cache_there_is_none() -> None:
    made = Subject()
    shown = ask(made, "GET", PATH, as_role("read")).json()
    assert shown == {"store": None, "results": NOTHING, "hit_rate": None, "response_bytes": 0, "routes": []}
    refused = ask(made, "POST", f"{PATH}/purge", json={"all": True})
    assert (refused.status_code, refused.json()) == (409, {"error": "no route has a cache"})


@pytest.mark.parametrize("when", ["now", "later"])
def test_what_it_holds_and_how_its_routes_are_set_is_shown(when: str) -> None:
    made = subject(Store(when=when), ttl=60, stale_if_error=300, key={"partition": "identity"})
    shown = ask(made, "GET", PATH, as_role("read")).json()
    assert shown["store"] == {"type": "memory", "away": False, **HELD._asdict()}
    (route,) = shown["routes"]
    assert (route["route"], route["ttl"], route["stale_if_error"], route["partition"]) == ("all", 60, 300, "identity")


@pytest.mark.parametrize("store", [Store(held=None), Store(when="never")], ids=["away", "silent"])
def test_a_store_that_is_away_is_said_to_be(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(caching, "PATIENCE", 0.01)
    assert ask(subject(store), "GET", PATH).json()["store"] == {"type": "memory", "away": True}


def test_what_requests_came_to_is_counted_whatever_metrics_are_called(monkeypatch: pytest.MonkeyPatch) -> None:
    made = subject(Store())
    regions = [SlotRegion.create(), SlotRegion.create()]
    for region in regions:
        series = Metrics(SlotWriter(region)).requests("all", "api")
        for result in ("hit", "hit", "stale", "miss", "bypass"):
            series.cached(result, 10)
        Metrics(SlotWriter(region)).requests("gone", "api").cached("miss", 10)
    monkeypatch.setattr(made.parts.caching, "_regions", regions)
    shown = ask(made, "GET", PATH).json()
    assert shown["routes"][0]["results"] == NOTHING | {"hit": 4, "stale": 2, "miss": 2, "bypass": 2}
    assert (shown["routes"][0]["hit_rate"], shown["routes"][0]["response_bytes"]) == (0.75, 60)
    # What was counted for a route that is no more stays in the sum.
    assert (shown["results"]["miss"], shown["hit_rate"]) == (4, 0.6)


@pytest.mark.parametrize("when", ["now", "later"])
@pytest.mark.parametrize(
    ("asked", "purged"),
    [
        ({"tag": "shop"}, Purge("tag", "shop")),
        ({"all": True}, Purge("all", "")),
        ({"url": "HTTP://Shop.example:80/a/../b"}, Purge("url", "http://shop.example/b")),
        ({"prefix": "https://shop.example/img/"}, Purge("prefix", "https://shop.example/img/")),
        ({"prefix": "https://shop.example"}, Purge("prefix", "https://shop.example/")),
    ],
    ids=["tag", "all", "url", "prefix", "host"],
)
def test_what_is_named_is_purged(asked: dict[str, object], purged: Purge, when: str) -> None:
    store = Store(found=7, when=when)
    answer = ask(subject(store), "POST", f"{PATH}/purge", as_role("operate"), json=asked)
    assert (answer.status_code, answer.json()) == (200, {"by": purged.scope, "purged": 7})
    assert store.purged == [purged]


def test_a_url_is_purged_in_each_form_in_which_routes_keep_it() -> None:
    store = Store(found=1)
    made = subject(store, ttl=60, key={"exclude": ["utm_*"]})
    answer = ask(made, "POST", f"{PATH}/purge", json={"url": "http://a.example/x?utm_source=b&c=d"})
    assert answer.json() == {"by": "url", "purged": 2}
    # In full, as before a change of the configuration; and by the parameters that count.
    assert [each.value for each in store.purged] == ["http://a.example/x?c=d&utm_source=b", "http://a.example/x?c=d"]


@pytest.mark.parametrize(
    "asked",
    [
        {},
        [],
        {"all": False},
        {"all": None},
        {"url": ""},
        {"url": None},
        {"url": "/only/a/path"},
        {"url": "ftp://a/"},
        {"url": "https:///x"},
        {"url": "https://a/\u0000"},
        {"url": "https://a/%zz"},
        {"prefix": "a"},
        {"tag": "x" * 5000},
        {"tag": "x", "all": True},
        {"url": "https://a/", "tag": None},
        {"tags": "x"},
    ],
    ids=str,
)
def test_what_names_nothing_is_refused_with_a_sentence_and_purges_nothing(asked: object) -> None:
    store = Store()
    answer = ask(subject(store), "POST", f"{PATH}/purge", json=asked)
    assert (answer.status_code, list(answer.json())) == (422, ["error"])
    assert store.purged == []


def test_whoever_may_only_read_purges_nothing() -> None:
    store = Store()
    assert ask(subject(store), "POST", f"{PATH}/purge", as_role("read"), json={"all": True}).status_code == 403
    assert store.purged == []


@pytest.mark.parametrize("store", [Store(found=-1), Store(when="never"), None], ids=["undone", "silent", "closed"])
def test_what_is_not_done_is_not_said_to_be_done(store: Store | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(caching, "PATIENCE", 0.01)
    answer = ask(subject(store), "POST", f"{PATH}/purge", json={"tag": "shop"})
    assert (answer.status_code, list(answer.json())) == (503, ["error"])


def test_the_store_is_in_the_metrics() -> None:
    part = Caching(Log("control"))
    assert part.samples() == []
    part.follow(resolved(to("http://a", route={"cache": True})))
    part.store = lambda: cast("CacheStore", Store())
    shown = {each.name.family: each.values for each in part.samples()}
    assert shown["headgate_cache_entries"] == [3]
    assert shown["headgate_cache_size_bytes"] == [1 << 20]
    assert shown["headgate_cache_evicted_total"] == [2]
    part.store = lambda: cast("CacheStore", Store(held=HELD._replace(entries=None, size=None)))
    assert "headgate_cache_entries" not in {each.name.family for each in part.samples()}
