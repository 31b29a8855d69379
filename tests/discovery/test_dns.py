"""Endpoints by DNS, asked of a name server on loopback: answers, what they are good for, and its bad days."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import dns.rcode
import pytest

from headgate.discovery.dns import DnsSource
from headgate.discovery.places import server_address
from headgate.discovery.settings import DnsDiscovery
from tests.discovery.name_server import NameServer, name_server
from tests.discovery.stand_in import Heard, given, running
from tests.loops import on_plain_loop


@asynccontextmanager
async def asking(server: NameServer, **more: Any) -> AsyncIterator[Heard]:
    settings = DnsDiscovery(**{"name": "chat.test.", "servers": [server.address], "min_ttl": 0.01, "port": 80, **more})
    async with running(DnsSource(settings, given())) as heard:
        yield heard


@on_plain_loop
async def test_addresses_of_both_families_are_endpoints() -> None:
    async with name_server(A=["10.0.0.2", "10.0.0.1"], AAAA=["fd00::1"]) as server, asking(server, port=8080) as heard:
        await heard.until_names("10.0.0.1:8080", "10.0.0.2:8080", "[fd00::1]:8080")
        assert {kind for _, kind, _ in server.asked} == {"A", "AAAA"}


@on_plain_loop
async def test_the_name_of_the_service_may_be_part_of_the_name() -> None:
    async with name_server(A=["10.0.0.1"]) as server, asking(server, name="{service}.test.", record="a") as heard:
        await heard.until_names("10.0.0.1:80")
        assert server.asked[0][0] == "chat.test."


@on_plain_loop
async def test_only_the_type_that_is_wanted_is_asked_for() -> None:
    async with name_server(A=["10.0.0.1"], AAAA=["fd00::1"]) as server:
        async with asking(server, record="a") as heard:
            await heard.until_names("10.0.0.1:80")
        async with asking(server, record="aaaa", scheme="https") as heard:
            await heard.until_names("[fd00::1]:80")
            assert heard.sets[-1][0].scheme == "https"
        assert [kind for _, kind, _ in server.asked] == ["A", "AAAA"]


@on_plain_loop
async def test_of_services_those_of_the_lowest_priority_number_are_used_by_their_weights() -> None:
    records = ["20 9 8001 far.test.", "10 3 8001 one.test.", "10 0 8002 two.test."]
    async with name_server(SRV=records) as server, asking(server, record="srv", name="_http._tcp.chat.test.") as heard:
        await heard.until_names("one.test:8001", "two.test:8002")
        assert [each.weight for each in heard.sets[-1]] == [3, 1]


@on_plain_loop
async def test_a_service_at_the_root_is_none() -> None:
    async with name_server(SRV=["0 0 0 ."]) as server, asking(server, record="srv") as heard:
        await heard.until(lambda: heard.sets)
        assert heard.sets == [()]


@on_plain_loop
async def test_the_ttl_within_bounds_says_when_it_is_asked_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []
    sleep = asyncio.sleep

    async def noted(seconds: float) -> None:
        waits.append(seconds)
        await sleep(0)

    monkeypatch.setattr(asyncio, "sleep", noted)
    async with name_server(A=["10.0.0.1"]) as server:
        for ttl, expected in ((30, 30.0), (0, 5.0), (86_400, 60.0)):
            server.ttl = ttl
            waits.clear()
            async with asking(server, record="a", min_ttl=5.0, max_ttl=60.0) as heard:
                await heard.until(lambda: waits)
            assert waits[0] == expected


@on_plain_loop
async def test_another_address_is_found_when_the_answer_is_over() -> None:
    async with name_server(A=["10.0.0.1"]) as server, asking(server, record="a") as heard:
        server.ttl = 0
        await heard.until_names("10.0.0.1:80")
        server.records["A"] = ["10.0.0.2"]
        await heard.until_names("10.0.0.2:80")


@on_plain_loop
async def test_a_hundred_addresses_come_over_tcp() -> None:
    addresses = [f"10.0.{number // 256}.{number % 256}" for number in range(100)]
    async with name_server(A=addresses) as server, asking(server, record="a") as heard:
        await heard.until(lambda: heard.sets)
        assert len(heard.sets[0]) == 100
        assert [way for _, _, way in server.asked[:2]] == ["udp", "tcp"]


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (dns.rcode.NXDOMAIN, "no records"),
        (dns.rcode.SERVFAIL, "no name server has an answer"),
        (dns.rcode.REFUSED, "no name server has an answer"),
    ],
)
@pytest.mark.parametrize("record", ["a", "both", "srv"])
def test_a_refusal_is_no_empty_set(code: dns.rcode.Rcode, words: str, record: str) -> None:
    @on_plain_loop
    async def test() -> None:
        records = {"A": ["10.0.0.1"], "SRV": ["0 1 80 10-0-0-1.test."]}
        async with name_server(**records) as server, asking(server, record=record) as heard:
            server.ttl = 0
            await heard.until(lambda: heard.sets)
            server.rcode[""] = code
            await heard.until_failed(words)
            server.rcode.clear()
            before = len(heard.sets)
            await heard.until(lambda: len(heard.sets) > before)
            assert () not in heard.sets

    test()


@on_plain_loop
async def test_a_name_that_has_lost_its_records_is_no_empty_set() -> None:
    async with name_server(A=["10.0.0.1"]) as server, asking(server, record="a") as heard:
        server.ttl = 0
        await heard.until(lambda: heard.sets)
        server.records.clear()
        await heard.until_failed("no records of the type A")
        assert () not in heard.sets


@on_plain_loop
async def test_half_an_answer_is_none() -> None:
    async with name_server(A=["10.0.0.1"], AAAA=["fd00::1"]) as server, asking(server) as heard:
        server.ttl = 0
        await heard.until(lambda: heard.sets)
        server.rcode["AAAA"] = dns.rcode.SERVFAIL
        await heard.until_failed("no name server has an answer")
        assert {len(each) for each in heard.sets} == {2}


@on_plain_loop
async def test_a_server_that_is_silent_is_waited_for_so_long() -> None:
    async with name_server(A=["10.0.0.1"]) as server, asking(server, record="a", timeout=0.05) as heard:
        server.ttl = 0
        await heard.until(lambda: heard.sets)
        server.silent.add("")
        await heard.until_failed("in time")
        server.silent.clear()
        before = len(heard.sets)
        await heard.until(lambda: len(heard.sets) > before)


@on_plain_loop
async def test_garbage_is_no_answer() -> None:
    async with name_server(A=["10.0.0.1"]) as server:
        server.garbage = True
        async with asking(server, record="a", timeout=0.2) as heard:
            await heard.until(lambda: heard.failures)
            server.garbage = False
            await heard.until_names("10.0.0.1:80")


@on_plain_loop
async def test_the_second_server_is_asked_where_the_first_one_refuses() -> None:
    async with name_server() as first, name_server(A=["10.0.0.1"]) as second:
        first.rcode[""] = dns.rcode.REFUSED
        async with asking(first, record="a", servers=[first.address, second.address]) as heard:
            await heard.until_names("10.0.0.1:80")
            assert not heard.failures


@on_plain_loop
async def test_a_cancelled_source_leaves_nothing_behind() -> None:
    async with name_server() as server:
        server.silent.add("")
        source = DnsSource(DnsDiscovery(name="chat.test.", servers=[server.address]), given())
        task = asyncio.get_running_loop().create_task(source.run(Heard()))
        await server.until_asked(2)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        assert asyncio.all_tasks() == {asyncio.current_task()}


@pytest.mark.parametrize("name", ["a..b", "x" * 64 + ".test", "." + "a"])
def test_what_is_no_name_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="no domain name"):
        DnsSource(DnsDiscovery(name=name), given())


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("10.0.0.2", ("10.0.0.2", 53)),
        ("10.0.0.2:5353", ("10.0.0.2", 5353)),
        ("fd00::1", ("fd00::1", 53)),
        ("[fd00::1]", ("fd00::1", 53)),
        ("[fd00::1]:5353", ("fd00::1", 5353)),
    ],
)
def test_name_servers_are_addresses(text: str, expected: tuple[str, int]) -> None:
    assert server_address(text) == expected


@pytest.mark.parametrize("text", ["", "dns.internal", "dns.internal:53", "10.0.0.2:x", "unix:/a", "10.0.0.2:99999"])
def test_what_is_no_name_server_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"^expected the address of a name server"):
        server_address(text)
