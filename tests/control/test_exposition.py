"""How metrics are shown: the form by Accept, facts of the configuration, and a loop that goes on meanwhile."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from threading import Event, get_ident
from typing import Any

import pytest
import yaml

from headgate.config.declarations import Layer
from headgate.config.loader import load
from headgate.config.resolve import ResolvedConfig
from headgate.control.exposition import Exposition, facts_of, preferred
from headgate.telemetry.cells import Sample, SeriesName, SlotRegion, SlotWriter
from headgate.telemetry.metrics import Metrics
from headgate.telemetry.naming import Exemplar

PROTOBUF = "application/vnd.google.protobuf"
DELIMITED = f"{PROTOBUF};proto=io.prometheus.client.MetricFamily;encoding=delimited"
OPENMETRICS = "application/openmetrics-text"


def config(**telemetry: Any) -> ResolvedConfig:
    document = {
        "limits": [{"name": "few", "requests": 5}, {"name": "all", "key": [], "requests": 9, "window": "1h"}],
        "services": [
            {
                "name": "llm",
                "url": "http://127.0.0.1:9001",
                "rate_limit": {"requests": 3},
                "limits": [{"name": "pairs", "key": ["user", "route"], "type": "token_bucket", "requests": 5}],
                "routes": [
                    {"name": "chat", "match": {"path": {"template": "/v1/chat/{path}"}, "host": ["a.example", "b.c"]}},
                    {"name": "exact", "match": {"path": {"exact": "/v1"}}},
                    {"name": "regex", "match": {"path": {"regex": "/r[0-9]+"}}},
                    {"name": "prefix", "match": {"path": "/p"}},
                    {"name": "rest"},
                ],
            }
        ],
        "telemetry": {"metrics": telemetry},
    }
    result = load([], environ={}, layers=[Layer("gw.yaml", yaml.safe_dump(document, sort_keys=False))])
    assert result.config is not None, result.problems
    return result.config


def made(region: SlotRegion, elsewhere: list[Sample] | None = None) -> Exposition:
    exposition = Exposition(lambda: list(elsewhere or []))
    exposition.regions = lambda: [region]
    return exposition


def counting(chosen: ResolvedConfig, *routes: str) -> SlotRegion:
    region = SlotRegion.create(1 << 18, 1 << 15)
    metrics = Metrics(SlotWriter(region), "1")
    metrics.follow(chosen.telemetry.metrics)
    for route in routes:
        metrics.begin()
        metrics.requests(route, "llm").finish("GET", 200, 0.003, 1, 2)
    return region


@pytest.mark.parametrize(
    ("accept", "native", "form"),
    [
        ("", True, "text/plain"),
        ("*/*", True, "text/plain"),
        ("text/html, image/png", True, "text/plain"),
        ("application/json", True, "application/json"),
        ("application/json, text/plain", True, "application/json"),
        ("text/plain, application/json", True, "text/plain"),
        ("text/plain;q=0.5, application/json", True, "application/json"),
        ("application/json;q=0", True, "text/plain"),
        ("application/json;q=none", True, "text/plain"),
        (f"{OPENMETRICS};version=1.0.0,{OPENMETRICS};version=0.0.1;q=0.75,text/plain;q=0.5", True, OPENMETRICS),
        (f"{DELIMITED},{OPENMETRICS};version=1.0.0;q=0.8,text/plain;q=0.5,*/*;q=0.1", True, PROTOBUF),
        (f"{DELIMITED},{OPENMETRICS};version=1.0.0;q=0.8,text/plain;q=0.5,*/*;q=0.1", False, OPENMETRICS),
        (f"{PROTOBUF};proto=other;encoding=delimited, text/plain;q=0.1", True, "text/plain"),
        (f"{PROTOBUF}, {OPENMETRICS}", True, OPENMETRICS),
        (";;;q,,=", True, "text/plain"),
    ],
)
def test_the_form_that_is_preferred(accept: str, native: bool, form: str) -> None:
    assert preferred(accept, native) == form


def test_facts_are_what_is_written() -> None:
    facts = facts_of(config())
    assert {name: known["pattern"] for name, known in facts["route"].items()} == {
        "chat": "/v1/chat/{path}",
        "exact": "/v1",
        "regex": "/r[0-9]+",
        "prefix": "/p",
        "rest": "/",
        "own /health": "/health",
        "own /ready": "/ready",
    }
    assert facts["route"]["chat"]["host"] == "a.example,b.c"
    assert facts["limit"] == {
        "few": {"key": "address", "algorithm": "sliding_window", "window": "60s"},
        "all": {"key": "all", "algorithm": "sliding_window", "window": "3600s"},
        "pairs": {"key": "user+route", "algorithm": "token_bucket", "window": "60s"},
        "llm": {"key": "service", "algorithm": "sliding_window", "window": "60s"},
    }


def test_a_service_reached_by_its_name_has_the_pattern_of_that_endpoint() -> None:
    document = {
        "surface": [
            {"path": "/proxy", "view": "proxy", "auth": "none"},
            {"path": "/proxy/{service}/{path}", "view": "proxy", "auth": "none"},
        ],
        "services": [{"name": "llm", "url": "http://127.0.0.1:9001"}],
    }
    result = load([], environ={}, layers=[Layer("gw.yaml", yaml.safe_dump(document))])
    assert result.config is not None, result.problems
    assert facts_of(result.config)["route"]["proxy llm"]["pattern"] == "/proxy/{service}/{path}"


def test_each_form_holds_what_was_counted() -> None:
    chosen = config(native=True)

    async def run() -> None:
        exposition = made(counting(chosen, "chat"), [Sample(SeriesName("headgate_api_keys", "gauge", ()), [7])])
        exposition.follow(chosen)
        text = await exposition.scrape("")
        assert text.content_type == "text/plain; version=0.0.4; charset=utf-8"
        line = b'headgate_requests_total{route="chat",service="llm",method="GET",status="200"} 1\n'
        assert line in text.body
        assert b"headgate_api_keys 7\n" in text.body
        assert b'headgate_process_resident_memory_bytes{process="control"}' in text.body
        openmetrics = await exposition.scrape(OPENMETRICS)
        assert line in openmetrics.body
        assert openmetrics.body.endswith(b"# EOF\n")
        protobuf = await exposition.scrape(DELIMITED)
        assert protobuf.content_type.startswith(PROTOBUF)
        assert b"headgate_requests_total" in protobuf.body
        listed = json.loads((await exposition.scrape("application/json")).body)
        assert {"headgate_api_keys": 7}.items() <= {each["name"]: each["value"] for each in listed}.items()
        assert [each["name"] for each in await exposition.points(5.0)] == [each["name"] for each in listed]

    asyncio.run(run())


def test_who_asks_for_metrics_is_no_request_that_is_going_on() -> None:
    chosen = config()

    async def run() -> list[bytes]:
        region = SlotRegion.create(1 << 18, 1 << 15)
        metrics = Metrics(SlotWriter(region), "1")
        metrics.begin()
        metrics.begin()
        exposition = made(region)
        exposition.follow(chosen)
        found: list[bytes] = []
        # One that has left is waited for by nobody, and here it still is.
        for scrapers in (0, 1, 3):
            exposition.scrapers = scrapers
            lines = (await exposition.scrape("")).body.splitlines()
            found += [each for each in lines if each.startswith(b"headgate_requests_in_flight ")]
        return found

    assert asyncio.run(run()) == [b"headgate_requests_in_flight %d" % number for number in (2, 1, 0)]


def test_nothing_is_shown_where_metrics_are_off() -> None:
    chosen = config(enabled=False)

    async def run() -> None:
        exposition = made(counting(chosen, "chat"))
        exposition.follow(chosen)
        assert not exposition.enabled
        assert (await exposition.scrape("")).body == b""
        assert await exposition.points(5.0) == []

    asyncio.run(run())


def test_a_route_that_is_no_more_keeps_its_pattern() -> None:
    form = {"labels": {"path": "pattern"}}
    chosen = config(names={"headgate_requests_total": form})

    async def run() -> None:
        exposition = made(counting(chosen, "chat", "exact", "never-seen"))
        exposition.follow(chosen)
        before = (await exposition.scrape("")).body
        fewer = config(names={"headgate_requests_total": form})
        exposition.follow(without(fewer, "chat"))
        shown = b'headgate_requests_total{path="/v1/chat/{path}"} 1\n'
        assert shown in before
        assert shown in (await exposition.scrape("")).body
        # Of a route that no configuration had, nobody knows a pattern.
        assert before.count(b"headgate_requests_total{") == 2

    asyncio.run(run())


def without(chosen: ResolvedConfig, route: str) -> ResolvedConfig:
    return replace(chosen, routes=tuple(each for each in chosen.routes if each.name != route))


def test_reading_and_writing_happen_beside_the_loop_one_at_a_time() -> None:
    chosen = config()
    region = counting(chosen, "chat")
    threads: list[int] = []
    under_way = most = 0

    async def run() -> None:
        nonlocal under_way, most
        exposition = made(region)

        def regions() -> list[SlotRegion]:
            nonlocal under_way, most
            threads.append(get_ident())
            under_way += 1
            most = max(most, under_way)
            return [region]

        def exemplars(family: str) -> list[Exemplar]:
            # Asked for once, late, on each way through.
            nonlocal under_way
            under_way -= family == "headgate_loop_lag_seconds"
            return []

        exposition.regions, exposition.exemplars = regions, exemplars
        forms = ("text/plain", "application/json", "application/openmetrics-text")
        scrapes = await asyncio.gather(*(exposition.scrape(form) for form in forms))
        assert all(b"headgate_requests_total" in scrape.body for scrape in scrapes)

    asyncio.run(run())
    assert len(threads) == 3
    assert get_ident() not in threads
    assert (most, under_way) == (1, 0)


def test_however_many_ask_no_work_piles_up() -> None:
    chosen = config()
    region = counting(chosen, "chat")
    begun, go_on = Event(), Event()
    times = 0

    async def run() -> None:
        exposition = made(region)

        def regions() -> list[SlotRegion]:
            nonlocal times
            times += 1
            begun.set()
            go_on.wait(60)
            return [region]

        exposition.regions = regions
        first = asyncio.ensure_future(exposition.scrape(""))
        await asyncio.to_thread(begun.wait, 60)
        # None of these is given what was read before it came.
        others = [asyncio.ensure_future(exposition.scrape("")) for _ in range(1000)]
        await asyncio.sleep(0)
        for each in others[::2]:
            each.cancel()
        go_on.set()
        body = (await first).body
        shared = await asyncio.gather(*others[1::2])
        assert {scrape.body for scrape in shared} == {shared[0].body}
        assert shared[0].body is not body

    asyncio.run(run())
    assert times == 2
