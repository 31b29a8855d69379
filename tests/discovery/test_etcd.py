"""etcd: a real one, and a stand-in for the days on which a real one cannot be made to fail at will."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given as drawn
from hypothesis import strategies as st

from headgate.discovery import etcd as module
from headgate.discovery.etcd import EtcdSource, _behind, _made
from headgate.discovery.settings import EtcdDiscovery
from headgate.discovery.source import MOST_ENDPOINTS
from tests.discovery.etcd_server import Etcd
from tests.discovery.stand_in import Answer, Asked, Heard, Reply, StandIn, given, running, serving
from tests.loops import on_plain_loop
from tests.wire.certificates import Authority


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Etcd]:
    with Etcd(tmp_path_factory.mktemp("etcd")) as member:
        yield member


@pytest.fixture
def etcd(tmp_path: Path) -> Iterator[Etcd]:
    with Etcd(tmp_path) as member:
        yield member


def source(*urls: str, service: str = "chat", **settings: Any) -> EtcdSource:
    return EtcdSource(EtcdDiscovery(url=list(urls), **settings), given(service))


# -- a real etcd ---------------------------------------------------------------------------------------------------


@on_plain_loop
async def test_keys_come_change_and_go(shared: Etcd) -> None:
    shared.put("/services/chat/1", "http://10.0.0.1:8001")
    shared.put("/services/chat0", "http://10.0.0.99:8001")
    shared.put("/services/chat/2", json.dumps({"host": "fd00::2", "port": 8002, "weight": 5, "zone": "a"}))
    async with running(source(shared.url)) as heard:
        await heard.until_names("10.0.0.1:8001", "[fd00::2]:8002")
        assert [(each.weight, each.zone) for each in heard.sets[-1]] == [(1, ""), (5, "a")]
        shared.put("/services/chat/3", json.dumps({"url": "https://api.internal/base", "weight": 0}))
        await heard.until_names("10.0.0.1:8001", "[fd00::2]:8002", "api.internal:443")
        assert heard.sets[-1][2].prefix == "/base"
        shared.delete("/services/chat/1")
        await heard.until_names("[fd00::2]:8002", "api.internal:443")
        shared.put("/services/chat/2", "http://10.0.0.2:8002")
        await heard.until_names("10.0.0.2:8002", "api.internal:443")
        shared.delete("/services/chat/2")
        shared.delete("/services/chat/3")
        await heard.until(lambda: heard.names == [])
        assert heard.failures == []


@on_plain_loop
async def test_a_lease_that_is_revoked_takes_its_keys_along(shared: Etcd) -> None:
    lease = shared.ask("lease/grant", TTL="600")["ID"]
    shared.put("/services/leased/1", "http://10.0.0.1:8001", lease)
    async with running(source(shared.url, service="leased")) as heard:
        await heard.until_names("10.0.0.1:8001")
        shared.ask("lease/revoke", ID=lease)
        await heard.until(lambda: heard.names == [])


@on_plain_loop
async def test_a_compaction_while_we_watch_and_a_silent_watch_lose_nothing(
    shared: Etcd, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SILENCE", 0.05)
    shared.put("/services/quiet/1", "http://10.0.0.1:8001")
    async with running(source(shared.url, service="quiet")) as heard:
        await heard.until(lambda: len(heard.sets) >= 3)
        shared.compact(shared.put("/services/quiet/2", "http://10.0.0.2:8001"))
        await heard.until_names("10.0.0.1:8001", "10.0.0.2:8001")
        assert heard.failures == []


@on_plain_loop
async def test_an_etcd_that_was_killed_is_waited_for(etcd: Etcd) -> None:
    etcd.put("/services/chat/1", "http://10.0.0.1:8001")
    async with running(source(etcd.url)) as heard:
        await heard.until_names("10.0.0.1:8001")
        await asyncio.to_thread(etcd.kill)
        await heard.until_failed("no connection")
        assert heard.names == ["10.0.0.1:8001"]
        await asyncio.to_thread(etcd.start)
        etcd.put("/services/chat/2", "http://10.0.0.2:8001")
        await heard.until_names("10.0.0.1:8001", "10.0.0.2:8001")


@on_plain_loop
async def test_one_member_is_enough(shared: Etcd) -> None:
    shared.put("/services/members/1", "http://10.0.0.1:8001")
    async with running(source("http://127.0.0.1:1", shared.url, service="members")) as heard:
        await heard.until_names("10.0.0.1:8001")
        assert len(heard.failures) == 1


@on_plain_loop
async def test_users_passwords_and_a_token_that_is_forgotten(etcd: Etcd) -> None:
    etcd.put("/services/chat/1", "http://10.0.0.1:8001")
    etcd.want_passwords("pa55word")
    async with running(source(etcd.url)) as heard:
        await heard.until_failed("user name is empty")
    async with running(source(etcd.url, username="reader", password="wr0ng")) as heard:
        await heard.until_failed("authentication failed")
        assert not any("wr0ng" in each for each in heard.failures)
    async with running(source(etcd.url, username="reader", password="pa55word", prefix="/other/")) as heard:
        await heard.until_failed("permission denied")
    async with running(source(etcd.url, username="reader", password="pa55word")) as heard:
        await heard.until_names("10.0.0.1:8001")
        # etcd forgets simple tokens when it ends.
        await asyncio.to_thread(etcd.kill)
        await asyncio.to_thread(etcd.start)
        etcd.token = etcd.ask("auth/authenticate", name="root", password="pa55word")["token"]
        etcd.put("/services/chat/2", "http://10.0.0.2:8001")
        await heard.until_names("10.0.0.1:8001", "10.0.0.2:8001")


@on_plain_loop
async def test_certificates_of_both_sides(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    member = Etcd(tmp_path, authority)
    await asyncio.to_thread(member.start)
    try:
        await asyncio.to_thread(member.put, "/services/chat/1", "http://10.0.0.1:8001")
        cert, key = authority.issue("headgate")
        async with running(source(member.url, ca=authority.path, cert=cert, key=key)) as heard:
            await heard.until_names("10.0.0.1:8001")
        async with running(source(member.url, ca=authority.path)) as heard:
            await heard.until(lambda: heard.failures)
        stranger = Authority(tmp_path, "Another Authority")
        async with running(source(member.url, ca=stranger.path, cert=cert, key=key)) as heard:
            await heard.until_failed("certificate verify failed")
        async with running(source(member.url, ca=str(tmp_path / "none"))) as heard:
            await heard.until_failed("none")
    finally:
        member.kill()


# -- bad days ------------------------------------------------------------------------------------------------------


def encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def kv(number: int) -> dict[str, str]:
    return {"key": encoded(f"/services/chat/{number}"), "value": encoded(f"http://10.0.0.{number}:80")}


class StandInEtcd:
    """Answers ranges with `keys`; each watch is played by `watch`, the next of the list, the last for ever."""

    def __init__(self, *numbers: int) -> None:
        self.keys = [kv(number) for number in numbers]
        self.revision = 7
        self.watches: list[Any] = []
        self.token = ""
        self.tokens = 0
        self.for_ever = asyncio.Event()

    async def __call__(self, asked: Asked, reply: Reply) -> None:
        if asked.path == "/v3/auth/authenticate":
            self.tokens += 1
            self.token = f"token.{self.tokens}"
            reply.json({"header": {}, "token": self.token})
        elif asked.fields.get("authorization", "") != self.token:
            error = "etcdserver: invalid auth token"
            reply.json({"error": error, "message": error, "code": 16}, 401)
        elif asked.path == "/v3/kv/range":
            reply.json({"header": {"revision": str(self.revision)}, "kvs": self.keys, "count": str(len(self.keys))})
        else:
            assert asked.path == "/v3/watch"
            reply.begin()
            await reply.line({"result": {"header": {"revision": str(self.revision)}, "created": True}})
            if self.watches:
                await self.watches.pop(0)(reply)
            else:
                await self.for_ever.wait()


@asynccontextmanager
async def asking(answer: Answer, settings: EtcdDiscovery | None = None) -> AsyncIterator[tuple[StandIn, Heard]]:
    async with serving(answer) as server:
        made = EtcdSource(replace(settings or EtcdDiscovery(), url=[server.url]), given())
        async with running(made) as heard:
            yield server, heard


def result(*events: Any, **more: Any) -> dict[str, Any]:
    return {"result": {"header": {"revision": "9"}, "events": list(events), **more}}


@on_plain_loop
async def test_the_watch_begins_behind_what_was_read() -> None:
    async with asking(StandInEtcd(1)) as (server, heard):
        await heard.until_names("10.0.0.1:80")
        watch = await server.until_asked(2)
    read = server.asked[0].body
    assert (read["key"], read["range_end"]) == (encoded("/services/chat/"), encoded("/services/chat0"))
    create = watch.body["create_request"]
    assert create == {"key": read["key"], "range_end": read["range_end"], "start_revision": "8"}


@on_plain_loop
async def test_what_was_compacted_away_is_read_anew_and_is_no_failure() -> None:
    etcd = StandInEtcd(1)

    async def compacted(reply: Reply) -> None:
        etcd.keys = [kv(2)]
        await reply.line(result(canceled=True, compact_revision="42"))
        reply.end()

    etcd.watches = [compacted]
    async with asking(etcd) as (_, heard):
        await heard.until_names("10.0.0.2:80")
        assert heard.failures == []


@on_plain_loop
async def test_a_cut_in_the_middle_of_an_event_counts_for_nothing() -> None:
    etcd = StandInEtcd(1)

    async def cut(reply: Reply) -> None:
        whole = json.dumps(result({"type": "DELETE", "kv": {"key": kv(1)["key"]}})).encode() + b"\n"
        reply.piece(json.dumps(result({"kv": kv(2)})).encode() + b"\n")
        reply.piece(whole[:-20])
        await reply.cut()

    etcd.watches = [cut]
    async with asking(etcd) as (_, heard):
        await heard.until_failed("connection failed")
        await heard.until(lambda: len(heard.sets) == 3)
    assert [[each.host for each in found] for found in heard.sets] == [
        ["10.0.0.1"],
        ["10.0.0.1", "10.0.0.2"],
        ["10.0.0.1"],
    ]


@on_plain_loop
async def test_events_may_come_in_any_pieces() -> None:
    etcd = StandInEtcd(1)

    async def in_pieces(reply: Reply) -> None:
        events = [result({"kv": kv(2)}), result(), result({"type": "PUT", "kv": kv(3)})]
        text = b"".join(json.dumps(each).encode() + b"\n" for each in events)
        for at in range(0, len(text), 7):
            reply.piece(text[at : at + 7])
            await asyncio.sleep(0)
        await etcd.for_ever.wait()

    etcd.watches = [in_pieces]
    async with asking(etcd) as (_, heard):
        await heard.until_names("10.0.0.1:80", "10.0.0.2:80", "10.0.0.3:80")
        assert heard.failures == []


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (b'{"error": {"grpc_code": 14, "http_code": 503, "message": "no leader"}}', "no leader"),
        (b'{"result": {"canceled": true, "cancel_reason": "etcdserver: permission denied"}}', "permission denied"),
        (b'{"result": {"canceled": true}}', "cancelled"),
        (b'{"result": {"events": {"kv": 1}}}', "none of etcd's"),
        (b'{"result": {"events": [7]}}', "none of etcd's"),
        (b'{"result": {"events": [{"kv": {"key": "???", "value": "!"}}]}}', "none of etcd's"),
        (b"[]", "none of etcd's"),
        (b"<html>", "cannot be read"),
    ],
)
@on_plain_loop
async def test_whatever_a_watch_says_that_is_none_it_is_begun_anew(line: bytes, words: str) -> None:
    etcd = StandInEtcd(1)

    async def odd(reply: Reply) -> None:
        reply.piece(line + b"\n")
        await etcd.for_ever.wait()

    etcd.watches = [odd]
    async with asking(etcd) as (server, heard):
        await heard.until_failed(words)
        await server.until_asked(4)
        assert heard.names == ["10.0.0.1:80"]


@on_plain_loop
async def test_a_token_that_expires_is_asked_for_anew_and_is_no_failure() -> None:
    etcd = StandInEtcd(1)
    etcd.token = "none yet"

    async def expires(reply: Reply) -> None:
        etcd.token, etcd.keys = "another", [kv(2)]
        reply.end()

    etcd.watches = [expires]
    async with asking(etcd, EtcdDiscovery(username="reader", password="pa55word")) as (server, heard):
        await heard.until_names("10.0.0.2:80")
        assert heard.failures == []
    assert etcd.tokens == 2
    assert server.asked[0].body == {"name": "reader", "password": "pa55word"}


@on_plain_loop
async def test_members_are_asked_in_turn() -> None:
    async def broken(_: Asked, reply: Reply) -> None:
        reply.json({"error": "etcdserver: request timed out", "code": 14}, 503)

    async with (
        serving(broken) as first,
        serving(StandInEtcd(1)) as second,
        running(source(first.url, second.url)) as heard,
    ):
        await heard.until_names("10.0.0.1:80")
        assert heard.failures == ["status 503: etcdserver: request timed out"]
        # With the second one gone, and the first one still broken, it is asked again when it is back.
        await second.stop()
        await heard.until(lambda: len(heard.failures) >= 4)
        await second.start()
        await heard.until(lambda: len(heard.sets) == 2)


@on_plain_loop
async def test_a_set_that_is_too_large_is_refused_whole() -> None:
    etcd = StandInEtcd()
    etcd.keys = [
        {"key": encoded(f"/services/chat/{n}"), "value": encoded(f"http://h{n}:80")} for n in range(MOST_ENDPOINTS + 1)
    ]
    async with asking(etcd) as (_, heard):
        await heard.until_failed(str(MOST_ENDPOINTS))
        assert heard.sets == []
        etcd.keys.pop()
        await heard.until(lambda: heard.sets)
        assert len(heard.sets[0]) == MOST_ENDPOINTS


@on_plain_loop
async def test_keys_none_of_which_is_an_endpoint_are_no_empty_set() -> None:
    etcd = StandInEtcd()
    etcd.keys = [{"key": encoded("/services/chat/1"), "value": encoded("ftp://10.0.0.1")}, {"key": encoded("x")}]
    async with asking(etcd) as (_, heard):
        await heard.until_failed("no entry can be used")
        etcd.keys.append(kv(1))
        await heard.until_names("10.0.0.1:80")


@on_plain_loop
async def test_of_what_is_too_long_nothing_is_kept() -> None:
    etcd = StandInEtcd()
    large = json.dumps({"url": "http://10.0.0.9", "more": "a" * module.LONGEST_VALUE})
    etcd.keys = [kv(1), {"key": encoded("/services/chat/large"), "value": encoded(large)}]
    async with asking(etcd) as (_, heard):
        await heard.until_names("10.0.0.1:80")
        etcd.keys.append({"key": encoded("/services/chat/" + "a" * 10_000), "value": encoded("http://10.0.0.2")})
    async with asking(etcd) as (_, heard):
        await heard.until_failed("a key of more than")


# -- values --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "value",
    [
        "unix:/run/docker.sock",
        '{"url": "unix:/run/docker.sock"}',
        "http://u:p@h:80",
        '{"host": "h/x", "port": 80}',
        '{"host": "h", "port": "80"}',
        '{"host": "h", "port": true}',
        '{"host": "h", "port": 0}',
        '{"host": "h", "port": 80, "scheme": "file"}',
        '{"host": "h\\r\\nX: y", "port": 80}',
        '{"host": "::1%eth0", "port": 80}',
        "",
        "{",
        "[]",
    ],
)
def test_what_is_no_endpoint_is_not_made_one(value: str) -> None:
    with pytest.raises(ValueError):
        _made(value.encode())


@drawn(
    st.binary()
    | st.dictionaries(
        st.sampled_from(["url", "host", "port", "weight", "zone", "scheme"]), st.text() | st.integers() | st.none()
    ).map(lambda each: json.dumps(each).encode())
)
def test_whatever_a_value_is_no_fault_comes_of_it(value: bytes) -> None:
    try:
        found = _made(value)
    except ValueError:
        return
    assert found.scheme in ("http", "https") and 1 <= found.port <= 65535 and not found.unix


@drawn(st.binary(min_size=1), st.binary())
def test_the_range_of_a_prefix_is_what_begins_with_it(prefix: bytes, key: bytes) -> None:
    end = _behind(prefix)
    inside = prefix <= key and (end == b"\0" or key < end)
    assert inside == key.startswith(prefix)


@pytest.mark.parametrize("settings", [{"url": []}, {"prefix": ""}, {"url": ["ftp://h"]}, {"url": ["http://u:p4ss@h"]}])
def test_settings_that_cannot_be_used(settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError) as raised:
        EtcdSource(EtcdDiscovery(**settings), given())
    assert "p4ss" not in str(raised.value)
