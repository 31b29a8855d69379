"""EndpointSlices of a server that speaks the documented protocol, on good days and bad ones."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given as drawn
from hypothesis import strategies as st

from headgate.discovery import kubernetes as module
from headgate.discovery.kubernetes import KubernetesSource, _places, chosen
from headgate.discovery.settings import KubernetesDiscovery
from headgate.discovery.source import MOST_ENDPOINTS, NotFound
from tests.discovery.stand_in import Asked, Heard, Reply, StandIn, given, running, serving
from tests.loops import on_plain_loop
from tests.wire.certificates import Authority

PATH = "/apis/discovery.k8s.io/v1/namespaces/shop/endpointslices"


def endpoint(address: str, uid: str = "", zone: str | None = None, **conditions: bool | None) -> dict[str, Any]:
    made: dict[str, Any] = {"addresses": [address], "conditions": conditions or {"ready": True}}
    if uid:
        made["targetRef"] = {"kind": "Pod", "name": f"pod-{uid}", "uid": uid}
    return made | ({"zone": zone} if zone is not None else {})


def slice_(
    *endpoints: Any, name: str = "chat-abc", version: str = "1", family: str = "IPv4", ports: Any = None
) -> dict[str, Any]:
    return {
        "metadata": {"name": name, "resourceVersion": version, "labels": {"kubernetes.io/service-name": "chat"}},
        "addressType": family,
        "ports": [{"name": "http", "protocol": "TCP", "port": 80}] if ports is None else ports,
        "endpoints": list(endpoints),
    }


def event(kind: str, thing: Any) -> dict[str, Any]:
    return {"type": kind, "object": thing}


def bookmark(version: str) -> dict[str, Any]:
    return event("BOOKMARK", {"kind": "EndpointSlice", "metadata": {"resourceVersion": version}})


def status(code: int, **details: Any) -> dict[str, Any]:
    return {"kind": "Status", "status": "Failure", "code": code, "message": "no", "details": details}


Play = Callable[[Reply], Awaitable[None]]


class ApiServer:
    """Lists `items` at `version`; each watch is played by the next of `plays`, or lasts for ever."""

    def __init__(self, *items: Any) -> None:
        self.items = list(items)
        self.version = "100"
        self.plays: list[Play] = []
        self.lists: list[Any] = []
        self.refused: list[int] = []
        self.for_ever = asyncio.Event()

    async def __call__(self, asked: Asked, reply: Reply) -> None:
        assert asked.path == PATH
        assert asked.query["labelSelector"] == "kubernetes.io/service-name=chat"
        if self.refused:
            reply.json(status(401), self.refused.pop(0))
        elif "watch" in asked.query:
            play = self.plays.pop(0) if self.plays else self._stay
            await play(reply)
        elif self.lists:
            listed = self.lists.pop(0)
            reply.json(listed, 410 if listed.get("code") == 410 else 200)
        else:
            reply.json({"metadata": {"resourceVersion": self.version}, "items": self.items})

    async def _stay(self, reply: Reply) -> None:
        reply.begin()
        await reply.line(bookmark("101"))
        await self.for_ever.wait()

    def then(self, *events: Any, ends: str = "stay") -> None:
        """Have one more watch say these; then it may stay, end or be cut."""

        async def play(reply: Reply) -> None:
            reply.begin()
            for each in events:
                await reply.line(each)
            if ends == "end":
                reply.end()
            elif ends == "cut":
                await reply.cut()
            else:
                await self.for_ever.wait()

        self.plays.append(play)


@asynccontextmanager
async def asking(
    server: ApiServer, settings: KubernetesDiscovery | None = None
) -> AsyncIterator[tuple[StandIn, Heard]]:
    settings = settings or KubernetesDiscovery(token_path="/nonexistent/token")
    async with serving(server) as stand_in:
        if settings.namespace is None:
            settings = replace(settings, namespace="shop")
        source = KubernetesSource(replace(settings, server=stand_in.url), given())
        async with running(source) as heard:
            yield stand_in, heard


def watches(server: StandIn) -> list[dict[str, str]]:
    return [each.query for each in server.asked if "watch" in each.query]


def lists(server: StandIn) -> int:
    return sum("watch" not in each.query for each in server.asked)


# -- good days -----------------------------------------------------------------------------------------------------


@on_plain_loop
async def test_slices_are_listed_then_watched() -> None:
    api = ApiServer(slice_(endpoint("10.0.0.1", zone="a"), endpoint("10.0.0.2")))
    api.then(
        event("ADDED", slice_(endpoint("10.0.1.1"), name="chat-def", version="101")),
        event("MODIFIED", slice_(endpoint("10.0.0.2"), version="102")),
        event("DELETED", slice_(name="chat-def", version="103")),
    )
    async with asking(api) as (server, heard):
        await heard.until_names("10.0.0.2:80")
        assert heard.failures == []
    told = [[each.host for each in found] for found in heard.sets]
    assert told[0] == told[1] == ["10.0.0.1", "10.0.0.2"]
    assert told[2:] == [["10.0.0.1", "10.0.0.2", "10.0.1.1"], ["10.0.0.2", "10.0.1.1"], ["10.0.0.2"]]
    assert [each.zone for each in heard.sets[0]] == ["a", ""]
    assert server.asked[0].query["limit"] == "500"
    assert watches(server)[0].items() >= {"resourceVersion": "100", "allowWatchBookmarks": "true"}.items()


@on_plain_loop
async def test_a_list_of_many_pages_is_one_set() -> None:
    api = ApiServer()
    api.lists = [
        {"metadata": {"resourceVersion": "7", "continue": "next/1"}, "items": [slice_(endpoint("10.0.0.1"))]},
        {"metadata": {"resourceVersion": "7"}, "items": [slice_(endpoint("10.0.0.2"), name="other")]},
    ]
    async with asking(api) as (server, heard):
        await heard.until_names("10.0.0.1:80", "10.0.0.2:80")
        await server.until_asked(3)
        assert server.asked[1].query["continue"] == "next/1"
        assert watches(server)[0]["resourceVersion"] == "7"


@on_plain_loop
async def test_a_watch_that_ends_in_time_goes_on_from_the_last_bookmark() -> None:
    api = ApiServer(slice_(endpoint("10.0.0.1")))
    api.then(bookmark("150"), ends="end")
    api.then(event("MODIFIED", slice_(endpoint("10.0.0.2"), version="151")), ends="end")
    async with asking(api) as (server, heard):
        await heard.until_names("10.0.0.2:80")
        await server.until_asked(4)
        assert heard.failures == []
        assert [each["resourceVersion"] for each in watches(server)] == ["100", "150", "151"]
        assert lists(server) == 1


@on_plain_loop
async def test_a_service_of_nobody_is_an_empty_set() -> None:
    async with asking(ApiServer()) as (_, heard):
        await heard.until(lambda: heard.sets)
        assert heard.sets[0] == ()


# -- bad days ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["status", "event"])
@on_plain_loop
async def test_what_is_gone_is_listed_anew(how: str) -> None:
    api = ApiServer(slice_(endpoint("10.0.0.1")))
    api.then(bookmark("150"), ends="end")

    async def gone(reply: Reply) -> None:
        api.items = [slice_(endpoint("10.0.0.9"), name="new")]
        api.version = "900"
        if how == "status":
            reply.json(status(410), 410)
        else:
            reply.begin()
            await reply.line(event("ERROR", status(410)))
            reply.end()

    api.plays.append(gone)
    async with asking(api) as (server, heard):
        # The slice from before is gone with it, though nobody said that it was deleted.
        await heard.until_names("10.0.0.9:80")
        await server.until_asked(5)
        assert heard.failures == []
        assert watches(server)[-1]["resourceVersion"] == "900"


@on_plain_loop
async def test_a_server_that_never_goes_on_is_not_asked_all_the_time() -> None:
    api = ApiServer(slice_(endpoint("10.0.0.1")))
    for _ in range(3):
        api.then(event("ERROR", status(410)), ends="end")
    async with asking(api) as (_, heard):
        await heard.until(lambda: len(heard.failures) == 3)
        assert set(heard.failures) == {"the server does not go on from the version that it gave itself"}


@on_plain_loop
async def test_a_list_that_expires_between_its_pages_is_begun_anew() -> None:
    api = ApiServer(slice_(endpoint("10.0.0.2")))
    first = {"metadata": {"resourceVersion": "7", "continue": "next"}, "items": [slice_(endpoint("10.0.0.1"))]}
    api.lists = [first, status(410)]
    async with asking(api) as (_, heard):
        await heard.until_names("10.0.0.2:80")
        assert [len(each) for each in heard.sets][:1] == [1]


@on_plain_loop
async def test_lines_may_come_in_any_pieces() -> None:
    api = ApiServer(slice_(endpoint("10.0.0.1")))

    async def in_pieces(reply: Reply) -> None:
        reply.begin()
        events = [event("MODIFIED", slice_(endpoint("10.0.0.2"), version="101")), bookmark("102")]
        text = b"\n".join(json.dumps(each).encode() for each in events) + b"\n"
        for at in range(0, len(text), 11):
            reply.piece(text[at : at + 11])
            await asyncio.sleep(0)
        await reply.cut()

    api.plays.append(in_pieces)
    async with asking(api) as (server, heard):
        await heard.until_names("10.0.0.2:80")
        await server.until_asked(3)
        assert watches(server)[1]["resourceVersion"] == "102"


@on_plain_loop
async def test_a_cut_in_mid_event_loses_nothing_and_counts_for_nothing() -> None:
    api = ApiServer(slice_(endpoint("10.0.0.1")))
    change = event("MODIFIED", slice_(endpoint("10.0.0.2"), version="101"))

    async def cut(reply: Reply) -> None:
        reply.begin()
        reply.piece(json.dumps(change).encode()[:-3])
        await reply.cut()

    api.plays.append(cut)
    api.then(change)
    async with asking(api) as (server, heard):
        await heard.until_names("10.0.0.2:80")
        assert heard.failures == ["the connection failed: RemoteProtocolError"]
        assert [each["resourceVersion"] for each in watches(server)] == ["100", "100"]
        assert lists(server) == 1


@on_plain_loop
async def test_a_server_that_is_away_is_not_taken_for_one_that_has_said_it_again() -> None:
    api = ApiServer(slice_(endpoint("10.0.0.1")))
    api.then(bookmark("150"), ends="cut")
    async with asking(api) as (server, heard):
        await heard.until_names("10.0.0.1:80")
        await heard.until(lambda: heard.failures)
        await server.stop()
        await heard.until_failed("no connection")
        said = len(heard.sets)
        await heard.until(lambda: len(heard.failures) >= 5)
        assert len(heard.sets) == said
        await server.start()
        await heard.until(lambda: len(heard.sets) > said)


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (event("ERROR", status(500)), "status 500"),
        (event("ERROR", status(429, retryAfterSeconds=0)), "status 429"),
        (event("ERROR", {}), "with an error"),
        (event("RENAMED", slice_(version="9")), "no event"),
        (event("ADDED", {"metadata": {}}), "no event"),
        (event("ADDED", {"metadata": {"resourceVersion": "9"}}), "without a name"),
        ({"type": 7}, "no event"),
        ([], "no event"),
    ],
)
@on_plain_loop
async def test_whatever_a_watch_says_that_is_no_event(said: Any, words: str) -> None:
    api = ApiServer(slice_(endpoint("10.0.0.1")))
    api.then(said)
    async with asking(api) as (server, heard):
        await heard.until_failed(words)
        await heard.until(lambda: len(watches(server)) == 2)
        assert heard.names == ["10.0.0.1:80"]


@on_plain_loop
async def test_the_token_is_read_anew_for_each_question(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("first-t0ken\n")
    (tmp_path / "namespace").write_text("shop")
    api = ApiServer(slice_(endpoint("10.0.0.1")))

    async def rotates(reply: Reply) -> None:
        token.write_text("second-t0ken")
        api.refused = [401]
        reply.begin()
        reply.end()

    api.plays.append(rotates)
    async with serving(api) as server:
        settings = KubernetesDiscovery(server=server.url, token_path=str(token))
        async with running(KubernetesSource(settings, given())) as heard:
            await heard.until_names("10.0.0.1:80")
            await server.until_asked(4)
            tokens = [each.fields["authorization"] for each in server.asked[:4]]
            assert tokens == ["Bearer first-t0ken"] * 2 + ["Bearer second-t0ken"] * 2
            assert heard.failures == ["status 401: the token is not taken"]


@on_plain_loop
async def test_the_server_is_the_one_that_the_authority_of_the_cluster_knows(tmp_path: Path) -> None:
    authority, stranger = Authority(tmp_path), Authority(tmp_path, "Another Authority")
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(*authority.issue("127.0.0.1"))
    (tmp_path / "token").write_text("t0ken")
    async with serving(ApiServer(slice_(endpoint("10.0.0.1"))), tls) as server:
        settings = KubernetesDiscovery(
            server=server.url, namespace="shop", token_path=str(tmp_path / "token"), ca=stranger.path
        )
        async with running(KubernetesSource(settings, given())) as heard:
            await heard.until_failed("certificate verify failed")
            assert server.asked == []
        async with running(KubernetesSource(replace(settings, ca=authority.path), given())) as heard:
            await heard.until_names("10.0.0.1:80")


@on_plain_loop
async def test_a_namespace_that_nobody_says_is_told(tmp_path: Path) -> None:
    async with serving(ApiServer()) as server:
        settings = KubernetesDiscovery(server=server.url, token_path=str(tmp_path / "token"))
        async with running(KubernetesSource(settings, given())) as heard:
            await heard.until_failed("set discovery.namespace")
    assert server.asked == []


@on_plain_loop
async def test_a_token_that_no_field_can_hold_is_not_told(tmp_path: Path) -> None:
    (tmp_path / "token").write_bytes(b"t0ken\nX-Evil: 1")
    async with asking(ApiServer(), KubernetesDiscovery(token_path=str(tmp_path / "token"))) as (server, heard):
        await heard.until(lambda: heard.failures)
        assert not any("t0ken" in each for each in heard.failures)
        assert server.asked == []


@on_plain_loop
async def test_a_set_that_is_too_large_is_refused_whole_until_it_is_not() -> None:
    many = [endpoint(f"10.{n >> 16}.{n >> 8 & 255}.{n & 255}") for n in range(MOST_ENDPOINTS + 1)]
    api = ApiServer(slice_(*many))
    async with asking(api) as (_, heard):
        await heard.until_failed(str(MOST_ENDPOINTS))
        assert heard.sets == []
        api.items = [slice_(*many[1:])]
        await heard.until(lambda: heard.sets)
        assert len(heard.sets[0]) == MOST_ENDPOINTS


@on_plain_loop
async def test_a_list_without_an_end_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MOST_PAGES", 3)
    api = ApiServer()
    api.lists = [{"metadata": {"resourceVersion": "7", "continue": f"{n}"}, "items": []} for n in range(4)]
    async with asking(api) as (_, heard):
        await heard.until_failed("more than 3 pages")
        assert len(api.lists) == 1


@on_plain_loop
async def test_slices_without_endpoints_are_counted_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_ENDPOINTS", 3)
    api = ApiServer(slice_(endpoint("10.0.0.1")))
    api.then(*(event("ADDED", slice_(name=f"empty-{n}", version=f"{101 + n}")) for n in range(3)))
    async with asking(api) as (_, heard):
        await heard.until_failed("the slices have more")


@on_plain_loop
async def test_of_long_texts_nothing_is_kept() -> None:
    long = "a" * 1_000_000
    api = ApiServer(
        slice_(endpoint(long), endpoint("10.0.0.1", uid=long, zone=long), endpoint("10.0.0.2", zone="a\x1b"))
    )
    async with asking(api) as (_, heard):
        await heard.until_names("10.0.0.1:80", "10.0.0.2:80")
        assert [each.zone for each in heard.sets[-1]] == ["", ""]


# -- slices --------------------------------------------------------------------------------------------------------


def hosts(*slices: dict[str, Any], port: str | int | None = None) -> list[str]:
    found = chosen({each["metadata"]["name"]: tuple(_places(each, port)) for each in slices})
    return [f"{place.address}:{place.port}" for place in found]


def test_who_is_not_ready_or_leaves_gets_no_traffic() -> None:
    ready, unknown = endpoint("10.0.0.1", ready=True), endpoint("10.0.0.2", ready=None)
    not_ready = endpoint("10.0.0.3", ready=False, serving=False, terminating=False)
    leaving = endpoint("10.0.0.4", ready=False, serving=True, terminating=True)
    gone = endpoint("10.0.0.5", ready=False, serving=False, terminating=True)
    published = endpoint("10.0.0.6", ready=True, serving=True, terminating=True)
    assert hosts(slice_(ready, unknown, not_ready, leaving, gone, published)) == ["10.0.0.1:80", "10.0.0.2:80"]
    assert hosts(slice_(not_ready, leaving, gone, published)) == ["10.0.0.4:80", "10.0.0.6:80"]
    assert hosts(slice_(not_ready, gone)) == []


def test_an_endpoint_that_moves_between_slices_stands_once() -> None:
    source = KubernetesSource(KubernetesDiscovery(server="http://h"), given())
    one, other = slice_(endpoint("10.0.0.1", ready=False)), slice_(endpoint("10.0.0.1"), name="chat-def")
    source._slices = {each["metadata"]["name"]: tuple(_places(each, None)) for each in (one, other, other)}
    assert [each.name for each in source._set()] == ["10.0.0.1:80"]


def test_a_pod_of_both_families_is_one_endpoint_and_ipv6_alone_is_enough() -> None:
    four = slice_(endpoint("10.0.0.1", "a"))
    six = slice_(endpoint("fd00::1", "a"), endpoint("fd00::2", "b"), name="chat-six", family="IPv6")
    assert hosts(four, six) == ["10.0.0.1:80", "fd00::2:80"]
    source = KubernetesSource(KubernetesDiscovery(server="http://h", scheme="https"), given())
    source._slices = {"six": tuple(_places(six, None))}
    assert [(each.name, each.scheme) for each in source._set()] == [
        ("[fd00::1]:80", "https"),
        ("[fd00::2]:80", "https"),
    ]


TWO_PORTS = [
    {"name": "dns", "protocol": "UDP", "port": 53},
    {"name": "http", "protocol": "TCP", "port": 8080},
    {"name": "admin", "port": 9000},
]


@pytest.mark.parametrize(
    ("ports", "wanted", "expected"),
    [
        (TWO_PORTS, None, ["10.0.0.1:8080"]),
        (TWO_PORTS, "admin", ["10.0.0.1:9000"]),
        (TWO_PORTS, 9000, ["10.0.0.1:9000"]),
        (TWO_PORTS, "dns", []),
        (TWO_PORTS, "other", []),
        ([{"name": "", "port": None}], 7000, ["10.0.0.1:7000"]),
        ([{"name": ""}], None, []),
        (None, None, ["10.0.0.1:80"]),
        ([], None, []),
    ],
)
def test_ports_by_name_or_number(ports: Any, wanted: str | int | None, expected: list[str]) -> None:
    assert hosts(slice_(endpoint("10.0.0.1"), ports=ports), port=wanted) == expected


junk = st.recursive(
    st.none() | st.booleans() | st.integers() | st.sampled_from(["IPv4", "TCP", "10.0.0.1", "", "x/y"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["addresses", "conditions", "ready", "port", "name", "protocol", "targetRef", "uid"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=10,
)


@drawn(junk, junk, st.sampled_from(["IPv4", "IPv6", "FQDN", None]))
def test_whatever_a_slice_holds_no_fault_comes_of_it(endpoints: Any, ports: Any, family: Any) -> None:
    source = KubernetesSource(KubernetesDiscovery(server="http://h"), given())
    listed = {"metadata": {"name": "a"}, "addressType": family, "ports": ports, "endpoints": endpoints}
    try:
        source._put(source._slices, listed)
        source._set()
    except NotFound:
        pass


def test_the_server_of_the_own_cluster() -> None:
    environ = {"KUBERNETES_SERVICE_HOST": "fd00::1", "KUBERNETES_SERVICE_PORT": "6443"}
    made = KubernetesSource(KubernetesDiscovery(), given(environ=environ))
    assert made._server == "https://[fd00::1]:6443"
    with pytest.raises(ValueError, match=r"set discovery\.server"):
        KubernetesSource(KubernetesDiscovery(), given())


@pytest.mark.parametrize("settings", [{"service": "Chat"}, {"service": "a/b"}, {"namespace": "../x"}, {"server": "h"}])
def test_settings_that_cannot_be_used(settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        KubernetesSource(KubernetesDiscovery(**({"server": "http://h"} | settings)), given())


def test_a_watch_is_ended_by_the_server_before_we_give_it_up() -> None:
    assert module._SLACK_SECONDS > 0 and module.WATCH >= 30
