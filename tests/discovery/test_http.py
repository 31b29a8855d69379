"""Endpoints that another registry lists over HTTP: both paths, both forms of the list, and its bad days."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

import pytest

from headgate.discovery import asking as asking_over_http
from headgate.discovery.http import HttpSource
from headgate.discovery.places import list_urls
from headgate.discovery.settings import HttpDiscovery
from headgate.discovery.source import MOST_ENDPOINTS
from tests.discovery.stand_in import Answer, Asked, Heard, Reply, StandIn, given, running, serving
from tests.loops import on_plain_loop

OFTEN = HttpDiscovery(interval=0.01)


def instance(host: str, name: str = "chat", **more: Any) -> dict[str, Any]:
    return {"id": f"{name}-{host}", "name": name, "host": host, "port": 80, "status": "healthy", "metadata": {}, **more}


class Registry:
    """Lists instances at one path; `bad` are answers in place of the next ones."""

    def __init__(self, *listed: Any, path: str = "/services") -> None:
        self.listed: Any = list(listed)
        self.path = path
        self.bad: list[tuple[int, Any, dict[str, object]]] = []

    async def __call__(self, asked: Asked, reply: Reply) -> None:
        if asked.path != self.path:
            reply.json({"detail": "Not Found"}, 404)
        elif self.bad:
            status, body, fields = self.bad.pop(0)
            reply.json(body, status, fields)
        else:
            reply.json(self.listed)


@asynccontextmanager
async def asking(answer: Answer, settings: HttpDiscovery = OFTEN) -> AsyncIterator[tuple[StandIn, Heard]]:
    """Let a source ask a stand-in, found by host and port unless the settings have a URL."""
    async with serving(answer) as server:
        parts = urlsplit(server.url)
        settings = replace(settings, host=parts.hostname or "", port=parts.port or 0)
        async with running(HttpSource(settings, given())) as heard:
            yield server, heard


@pytest.mark.parametrize("path", ["/services", "/api/v1/services"])
def test_the_list_is_found_at_either_path_and_asked_for_there_from_then_on(path: str) -> None:
    @on_plain_loop
    async def test() -> None:
        async with asking(Registry(instance("10.0.0.1"), path=path)) as (server, heard):
            await heard.until(lambda: len(heard.sets) >= 3)
            assert heard.names == ["10.0.0.1:80"]
            assert {each.path for each in server.asked[2:]} == {path}

    test()


@on_plain_loop
async def test_a_list_that_moves_is_found_again() -> None:
    registry = Registry(instance("10.0.0.1"))
    async with asking(registry) as (_, heard):
        await heard.until_names("10.0.0.1:80")
        registry.path, registry.listed = "/api/v1/services", [instance("10.0.0.2")]
        await heard.until_names("10.0.0.2:80")
        assert not heard.failures


@on_plain_loop
async def test_only_well_instances_of_the_own_name_are_endpoints() -> None:
    """S0-47: of two instances the unhealthy one gets nothing; one of whom nothing is known gets requests."""
    registry = Registry(
        instance("10.0.0.1"),
        instance("10.0.0.2", status="unhealthy"),
        instance("10.0.0.3", status="unknown"),
        instance("10.0.0.4", status="Error"),
        instance("10.0.0.5", name="shop"),
    )
    async with asking(registry) as (_, heard):
        await heard.until_names("10.0.0.1:80", "10.0.0.3:80")
        registry.listed[1]["status"] = "healthy"
        await heard.until_names("10.0.0.1:80", "10.0.0.2:80", "10.0.0.3:80")
    async with asking(registry, replace(OFTEN, unhealthy=["unknown"], service="chat")) as (_, heard):
        await heard.until_names("10.0.0.1:80", "10.0.0.2:80", "10.0.0.4:80")


@on_plain_loop
async def test_a_list_may_stand_under_services_and_its_items_may_say_more() -> None:
    listed = [
        instance("one.internal", port="8001", metadata={"weight": 3, "zone": "a"}),
        instance("two.internal", port=8002, metadata={"weight": "5"}, protocol="https"),
        instance("fd00::1", metadata=None, protocol="grpc"),
    ]
    registry = Registry()
    registry.listed = {"services": listed, "total": 3}
    async with asking(registry) as (_, heard):
        await heard.until_names("[fd00::1]:80", "one.internal:8001", "two.internal:8002")
        assert [(each.scheme, each.weight, each.zone) for each in heard.sets[-1]] == [
            ("http", 1, ""),
            ("http", 3, "a"),
            ("https", 5, ""),
        ]


@on_plain_loop
async def test_an_instance_that_is_none_does_not_take_the_others_along() -> None:
    wrong = [instance("10.0.0.2", port=0), instance("a/../b"), instance("u:p@host"), {"name": "chat"}]
    async with asking(Registry(instance("10.0.0.1"), *wrong)) as (_, heard):
        await heard.until_names("10.0.0.1:80")


@on_plain_loop
async def test_a_registry_that_lists_others_alone_says_that_nobody_is_there() -> None:
    registry = Registry(instance("10.0.0.1"), instance("10.0.0.9", name="shop"))
    async with asking(registry) as (_, heard):
        await heard.until_names("10.0.0.1:80")
        del registry.listed[0]
        await heard.until_names()


_WRONG: list[tuple[int, Any, str]] = [
    (200, b"{not json", "cannot be read"),
    (200, b"[" * 100_000, "cannot be read"),
    (200, b"", "cannot be read"),
    (200, b"\xff\xfe", "cannot be read"),
    (200, [], "no service at all"),
    (200, {"services": None}, "no list"),
    (200, "chat", "no list"),
    (200, [instance("10.0.0.1"), 7], "no list"),
    (200, [instance("")], "no entry can be used"),
    (200, [instance(f"10.{n >> 16}.{n >> 8 & 255}.{n & 255}") for n in range(MOST_ENDPOINTS + 1)], "the most that"),
    (500, [], "status 500"),
    (401, [], "status 401"),
    (302, [instance("10.6.6.6")], "status 302"),
]


@pytest.mark.parametrize(("status", "body", "words"), _WRONG)
def test_what_is_no_list_changes_nothing(status: int, body: Any, words: str) -> None:
    @on_plain_loop
    async def test() -> None:
        registry = Registry(instance("10.0.0.1"))
        async with asking(registry) as (server, heard):
            await heard.until(lambda: heard.sets)
            registry.bad.append((status, body, {"Location": f"{server.url}/services"}))
            await heard.until_failed(words)
            before = len(heard.sets)
            await heard.until(lambda: len(heard.sets) > before)
            assert set(heard.sets) == {heard.sets[0]}

    test()


@on_plain_loop
async def test_a_list_without_end_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking_over_http.read_body, "__defaults__", (1 << 16,))
    good = json.dumps([instance("10.0.0.1")]).encode()
    endless = asyncio.Event()
    sent = 0

    async def answer(_: Asked, reply: Reply) -> None:
        nonlocal sent
        if not endless.is_set():
            reply.json(good)
            return
        endless.clear()
        reply.begin()
        while sent < 1 << 24:
            reply.piece(b" " * 4096)
            sent += 4096
            await reply._writer.drain()

    async with asking(answer) as (_, heard):
        await heard.until(lambda: heard.sets)
        endless.set()
        await heard.until_failed("more than 65536 bytes")
        assert sent < 1 << 24


@on_plain_loop
async def test_an_answer_that_drips_is_not_waited_for() -> None:
    async def answer(_: Asked, reply: Reply) -> None:
        reply.begin()
        while True:
            reply.piece(b" ")
            await reply._writer.drain()
            await asyncio.sleep(0.01)

    async with asking(answer, replace(OFTEN, timeout=0.1)) as (server, heard):
        await heard.until_failed("in time")
        # Nor given up for ever.
        await server.until_asked(3)


@on_plain_loop
async def test_an_answer_that_is_cut_is_none() -> None:
    registry = Registry(instance("10.0.0.1"))
    cut = False

    async def answer(asked: Asked, reply: Reply) -> None:
        nonlocal cut
        if cut:
            cut = False
            reply.raw(b'HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n[{"name": "chat"}]')
            await reply.cut()
        else:
            await registry(asked, reply)

    async with asking(answer) as (_, heard):
        await heard.until(lambda: heard.sets)
        cut = True
        await heard.until_failed("the connection failed")
        assert len(set(heard.sets)) == 1


@on_plain_loop
async def test_a_registry_that_is_away_is_asked_until_it_is_back() -> None:
    registry = Registry(instance("10.0.0.1"))
    async with asking(registry) as (server, heard):
        await heard.until(lambda: heard.sets)
        await server.stop()
        await heard.until_failed("no connection")
        registry.listed = [instance("10.0.0.2")]
        await server.start()
        await heard.until_names("10.0.0.2:80")


@on_plain_loop
async def test_the_token_is_shown_to_the_registry_and_in_no_sentence() -> None:
    registry = Registry(instance("10.0.0.1"))
    async with asking(registry, replace(OFTEN, token="hunter2")) as (server, heard):
        registry.bad.append((403, {"token": "hunter2"}, {}))
        await heard.until(lambda: heard.sets and heard.failures)
        assert {each.fields["authorization"] for each in server.asked} == {"Bearer hunter2"}
        assert not [each for each in heard.failures if "hunter2" in each]


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (HttpDiscovery(), ["http://service-discovery:8000/services", "http://service-discovery:8000/api/v1/services"]),
        (HttpDiscovery(host="fd00::1", port=1, paths=["/s"]), ["http://[fd00::1]:1/s"]),
        (HttpDiscovery(url="https://registry", paths=["/s"]), ["https://registry/s"]),
        (HttpDiscovery(url="https://registry/", paths=["/s"]), ["https://registry/s"]),
        (HttpDiscovery(url="https://registry/list"), ["https://registry/list"]),
        (HttpDiscovery(url="https://registry/list?all=1"), ["https://registry/list?all=1"]),
    ],
)
def test_where_the_list_is(settings: HttpDiscovery, expected: list[str]) -> None:
    assert list_urls(settings) == expected


@pytest.mark.parametrize(
    "settings",
    [
        HttpDiscovery(url="registry"),
        HttpDiscovery(url="ftp://registry"),
        HttpDiscovery(url="https://user:secret@registry"),
        HttpDiscovery(host="a b"),
        HttpDiscovery(host="a/b"),
        HttpDiscovery(paths=["services"]),
        HttpDiscovery(paths=[]),
        HttpDiscovery(url="unix:/run/registry.sock"),
        HttpDiscovery(paths=["/a b"]),
        HttpDiscovery(token="\r\nX: y"),
    ],
)
def test_what_cannot_be_asked_is_refused(settings: HttpDiscovery) -> None:
    with pytest.raises(ValueError) as refused:
        HttpSource(settings, given())
    assert "secret" not in str(refused.value)
