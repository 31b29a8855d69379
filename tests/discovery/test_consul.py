"""Consul as its documents have it: blocking queries, and its bad days."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given as drawn
from hypothesis import strategies as st

from headgate.discovery import consul
from headgate.discovery.consul import ConsulSource
from headgate.discovery.endpoint_set import usable
from headgate.discovery.settings import ConsulDiscovery
from headgate.discovery.source import MOST_ENDPOINTS, NotFound
from tests.discovery.stand_in import Answer, Asked, Heard, Reply, StandIn, given, running, serving
from tests.loops import on_plain_loop


def entry(address: str, port: int = 80, node: str = "10.9.9.9", **service: Any) -> dict[str, Any]:
    """One element of an answer of /v1/health/service/:service."""
    return {
        "Node": {"ID": "40e4a748", "Node": "foobar", "Address": node, "Datacenter": "dc1"},
        "Service": {"ID": "chat", "Service": "chat", "Address": address, "Port": port, "Tags": ["v1"], **service},
        "Checks": [{"CheckID": "serfHealth", "Status": "passing"}],
    }


@asynccontextmanager
async def asking(answer: Answer, settings: ConsulDiscovery | None = None) -> AsyncIterator[tuple[StandIn, Heard]]:
    """Let a source ask a stand-in."""
    async with serving(answer) as server:
        source = ConsulSource(replace(settings or ConsulDiscovery(), url=server.url), given())
        async with running(source) as heard:
            yield server, heard


class Consul:
    """A server with one service; `change` moves its index on and lets those who wait go."""

    def __init__(self, *entries: Any) -> None:
        self.entries: Any = list(entries)
        self.index = 10
        self.bad: list[tuple[int, dict[str, object]]] = []
        self.fields: dict[str, object] = {}
        self.cut_next = 0
        self._changed = asyncio.Event()

    async def __call__(self, asked: Asked, reply: Reply) -> None:
        if self.bad:
            status, fields = self.bad.pop(0)
            reply.json({"no": "way"}, status, fields)
            return
        while asked.query.get("index") == str(self.index):
            await self._changed.wait()
            if self.cut_next:
                self.cut_next -= 1
                await reply.cut()
                return
        reply.json(self.entries, fields={"X-Consul-Index": self.index, **self.fields})

    def change(self, *entries: Any, index: int | None = None) -> None:
        self.entries = list(entries)
        self.index = self.index + 1 if index is None else index
        self.wake()

    def wake(self) -> None:
        self._changed.set()
        self._changed.clear()


@on_plain_loop
async def test_a_change_comes_by_the_question_that_waited() -> None:
    registry = Consul(entry("10.0.0.1"), entry("10.0.0.2", 8080))
    async with asking(registry, ConsulDiscovery(wait=30)) as (server, heard):
        await heard.until_names("10.0.0.1:80", "10.0.0.2:8080")
        await server.until_asked(2)
        registry.change(entry("10.0.0.3"))
        await heard.until_names("10.0.0.3:80")
        assert heard.failures == []
    assert [each.path for each in server.asked[:2]] == ["/v1/health/service/chat"] * 2
    assert server.asked[0].query == {"passing": "1"}
    assert server.asked[1].query == {"passing": "1", "index": "10", "wait": "30s"}
    assert "x-consul-token" not in server.asked[0].fields


@on_plain_loop
async def test_what_is_asked_for_is_in_the_question() -> None:
    settings = ConsulDiscovery(service="a b/c", token="s3cr3t", datacenter="dc2", tag="v1", scheme="https")
    async with asking(Consul(entry("10.0.0.1")), settings) as (server, heard):
        await heard.until_names("10.0.0.1:80")
        assert heard.sets[-1][0].scheme == "https"
    assert server.asked[0].path == "/v1/health/service/a b/c"
    assert server.asked[0].query == {"passing": "1", "dc": "dc2", "tag": "v1"}
    assert server.asked[0].fields["x-consul-token"] == "s3cr3t"


@on_plain_loop
async def test_addresses_weights_and_zones() -> None:
    registry = Consul(
        entry("", 81, node="10.0.0.9"),
        entry("fd00::1", 82, Weights={"Passing": 7, "Warning": 1}),
        entry("web.internal", 83, Weights={"Passing": "many"}, Meta={"zone": "a"}),
        entry("10.0.0.4", 84, Locality={"Region": "eu", "Zone": "b"}),
        # A service without a port, and one that would bring a path with it, are no endpoints.
        entry("10.0.0.5", 0),
        entry("evil/path", 80),
    )
    async with asking(registry) as (_server, heard):
        await heard.until(lambda: heard.sets)
        found = {each.name: (each.host, each.weight, each.zone) for each in heard.sets[-1]}
    assert found == {
        "10.0.0.9:81": ("10.0.0.9", 1, ""),
        "[fd00::1]:82": ("[fd00::1]", 7, ""),
        "web.internal:83": ("web.internal", 1, "a"),
        "10.0.0.4:84": ("10.0.0.4", 1, "b"),
    }


@pytest.mark.parametrize("index", [3, 0])
@on_plain_loop
async def test_an_index_that_goes_back_is_begun_anew(index: int) -> None:
    registry = Consul(entry("10.0.0.1"))
    async with asking(registry) as (server, heard):
        await heard.until_names("10.0.0.1:80")
        await server.until_asked(2)
        registry.change(entry("10.0.0.2"), index=index)
        await heard.until_names("10.0.0.2:80")
        await server.until_asked(3)
        assert "index" not in server.asked[2].query


@on_plain_loop
async def test_a_server_that_lets_nobody_wait_is_not_asked_all_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    assert consul.AT_LEAST >= 0.5
    # However long the turns take in which nothing must happen.
    monkeypatch.setattr(consul, "AT_LEAST", 3600.0)
    monkeypatch.setattr(consul, "BETWEEN", 0.0)

    async def answer(_: Asked, reply: Reply) -> None:
        reply.json([entry("10.0.0.1")], fields={"X-Consul-Index": "none"})

    async with asking(answer) as (server, heard):
        await heard.until_names("10.0.0.1:80")
        for _ in range(100):
            await asyncio.sleep(0.001)
        assert len(server.asked) == 1


@on_plain_loop
async def test_a_question_that_is_cut_while_it_waits_is_asked_anew() -> None:
    registry = Consul(entry("10.0.0.1"))
    async with asking(registry) as (server, heard):
        await heard.until_names("10.0.0.1:80")
        await server.until_asked(2)
        registry.cut_next = 1
        registry.wake()
        await heard.until_failed("connection failed")
        registry.change(entry("10.0.0.2"))
        await heard.until_names("10.0.0.2:80")
    # Whatever index the server has after its restart: the first question does not wait for another.
    assert "index" not in server.asked[2].query


@on_plain_loop
async def test_refusals_change_nothing_and_are_told_without_the_token() -> None:
    registry = Consul(entry("10.0.0.1"))
    registry.bad = [(500, {}), (429, {"Retry-After": 0}), (403, {}), (404, {}), (301, {"Location": "/elsewhere"})]
    async with asking(registry, ConsulDiscovery(token="s3cr3t")) as (server, heard):
        await heard.until_names("10.0.0.1:80")
    assert [each.split(":")[0] for each in heard.failures] == [f"status {each}" for each in (500, 429, 403, 404, 301)]
    assert len(heard.sets) == 1
    assert not any("s3cr3t" in each for each in heard.failures)
    assert {each.path for each in server.asked} == {"/v1/health/service/chat"}


@pytest.mark.parametrize("field", ["X-Consul-KnownLeader=false", "X-Consul-Results-Filtered-By-ACLs=true"])
@on_plain_loop
async def test_an_empty_answer_that_means_nothing_is_no_empty_set(field: str) -> None:
    registry = Consul()
    name, value = field.split("=")
    registry.fields = {name: value}
    async with asking(registry) as (_server, heard):
        await heard.until(lambda: heard.failures)
        assert heard.sets == []
        registry.fields = {}
        await heard.until(lambda: heard.sets)
        assert heard.sets[0] == ()


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"<html>", "cannot be read"),
        (b'{"no": "list"}', "no list"),
        (b'[{"Service": {"Port": "80"}}]', "no entry can be used"),
        (b'["text"]', "no entry can be used"),
    ],
)
@on_plain_loop
async def test_what_is_no_answer_is_no_empty_set(body: bytes, words: str) -> None:
    async def answer(_: Asked, reply: Reply) -> None:
        reply.json(body, fields={"X-Consul-Index": 7})

    async with asking(answer) as (_server, heard):
        await heard.until_failed(words)
        assert heard.sets == []


@on_plain_loop
async def test_a_set_that_is_too_large_is_refused_whole() -> None:
    many = [entry(f"10.{n >> 16}.{n >> 8 & 255}.{n & 255}") for n in range(MOST_ENDPOINTS + 1)]
    registry = Consul(*many)
    async with asking(registry) as (_server, heard):
        await heard.until_failed(str(MOST_ENDPOINTS))
        assert heard.sets == []
        registry.change(*many[1:])
        await heard.until(lambda: heard.sets)
        assert len(heard.sets[0]) == MOST_ENDPOINTS


@on_plain_loop
async def test_a_server_that_is_away_is_waited_for() -> None:
    registry = Consul(entry("10.0.0.1"))
    async with serving(registry) as server:
        await server.stop()
        async with running(ConsulSource(ConsulDiscovery(url=server.url), given())) as heard:
            await heard.until_failed("no connection")
            await server.start()
            await heard.until_names("10.0.0.1:80")


def test_what_cannot_be_used_is_told_without_the_token() -> None:
    for settings in (ConsulDiscovery(token="bad\nt0ken"), ConsulDiscovery(url="http://u:t0ken@h")):
        with pytest.raises(ValueError) as raised:
            ConsulSource(settings, given())
        assert "t0ken" not in str(raised.value)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["Node", "Service", "Address", "Port", "Weights", "Passing", "Meta", "zone", "Locality"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@drawn(st.lists(json_values, max_size=4))
def test_whatever_a_server_lists_no_fault_comes_of_it(listed: list[Any]) -> None:
    source = ConsulSource(ConsulDiscovery(), given())
    try:
        found = usable(listed, source._made)
    except NotFound:
        return
    assert all(each.host and 1 <= each.port <= 65535 for each in found)


def test_the_time_that_a_question_may_take_is_longer_than_the_server_lets_it_wait() -> None:
    assert ConsulSource(ConsulDiscovery(wait=60), given())._longest > 60 * (1 + 1 / 16)
