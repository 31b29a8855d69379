"""A service that is asked whether requests may pass: every answer it can give, and none."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from headgate.core.clock import monotonic
from headgate.proxy import external as module
from headgate.proxy.external import Verdict, Verdicts
from tests.proxy.callers import keys, static, with_key
from tests.proxy.peers import Message, Upstream, answering, eventually, free_port, get, ok
from tests.proxy.stage import gateway, on_loop, to
from tests.wire.certificates import Authority


def asking(service: Upstream | str, **more: Any) -> dict[str, Any]:
    url = service if isinstance(service, str) else f"{service.url}/check?from=gateway"
    return {"auth": {"mode": "none", "external": {"url": url, "timeout": 10, **more}}}


def served(seen: list[Message] | None = None) -> Upstream:
    return Upstream(answering(lambda _: ok(b"served"), seen))


@on_loop
async def test_it_is_told_what_is_asked_and_its_headers_go_upstream() -> None:
    asked: list[Message] = []
    seen: list[Message] = []
    answer = ok(b"ignored", "X-User: ada", "X-Other: no", "x-groups: a", "X-Groups: b")
    async with Upstream(answering(lambda _: answer, asked)) as service, served(seen) as upstream:
        settings = asking(service, send=["Authorization", "X-Trace"], take=["X-User", "X-Groups", "X-Plan"])
        async with gateway(to(upstream, **settings)) as rig:
            lines = ["Authorization: Basic YTpi", "X-User: root", "X-Plan: gold", "X-Kept: yes", "Cookie: a=b"]
            request = get(
                "/a%2db/./c?x=%41", *lines, "X-Forwarded-Uri: /other", "X-Request-ID: abc", method="PUT", body=b"body"
            )
            assert (await rig.ask(request)).body == b"served"
            port = service.port
    question, passed = asked[0], seen[0]
    assert (question.method, question.target, question.body) == ("GET", "/check?from=gateway", b"")
    assert question.get("host") == f"127.0.0.1:{port}"
    assert question.get("authorization") == "Basic YTpi"
    assert question.get("x-forwarded-method") == "PUT"
    assert question.get("x-forwarded-uri") == "/a-b/c?x=%41"
    assert question.get("x-forwarded-for") == "127.0.0.1"
    assert question.get("x-forwarded-proto") == "http"
    assert question.get("x-forwarded-host") == "example.test"
    assert question.get("x-request-id") == "abc"
    assert question.get("cookie") is question.get("x-kept") is question.get("via") is None
    assert passed.body == b"body"
    assert passed.get("x-user") == "ada"
    assert passed.all("x-groups") == ["a", "b"]
    assert passed.get("x-plan") is passed.get("x-other") is None
    assert (passed.get("x-kept"), passed.get("cookie")) == ("yes", "a=b")


@on_loop
async def test_each_route_waits_as_long_as_it_says() -> None:
    async with Upstream() as service, served() as upstream:
        routes = [
            {
                "name": name,
                "match": {"path": f"/{name}"},
                "auth": {"mode": "none", "external": {"url": service.url, "timeout": seconds}},
            }
            for name, seconds in (("slow", 20), ("quick", 0.05))
        ]
        async with gateway(to(upstream, service={"routes": routes})) as rig:
            waiting = asyncio.ensure_future(rig.ask(get("/slow")))
            link = await service.accepted()
            await link.message()
            assert (await rig.ask(get("/quick"))).status == 503
            assert not waiting.done()
            await link.send(ok())
            assert (await waiting).status == 200


def test_the_service_shows_who_it_is(tmp_path: Path) -> None:
    authority, stranger = Authority(tmp_path), Authority(tmp_path, "Stranger")
    context = authority.server_context("127.0.0.1")

    @on_loop
    async def scenario() -> None:
        async with Upstream(answering(lambda _: ok()), tls=context) as service, served() as upstream:
            for ca, status in ((authority.path, 200), (stranger.path, 503), (None, 503)):
                async with gateway(to(upstream, **asking(service, ca=ca))) as rig:
                    assert (await rig.ask(get())).status == status

    scenario()


@on_loop
async def test_no_other_spelling_of_what_it_says_goes_upstream() -> None:
    seen: list[Message] = []
    async with Upstream(answering(lambda _: ok(b"", "X-User: ada"))) as service, served(seen) as upstream:
        document = to(upstream, http={"underscores": "allow"}, **asking(service, take=["X-User"]))
        async with gateway(document) as rig:
            assert (await rig.ask(get("/", "X_User: root", "x_user: root", "X_Kept: yes"))).status == 200
    assert (seen[0].get("x-user"), seen[0].get("x_user"), seen[0].get("x_kept")) == ("ada", None, "yes")


@on_loop
@pytest.mark.parametrize(
    ("answered", "status", "reason"),
    [
        (200, 200, None),
        (204, 200, None),
        (401, 401, "denied_externally"),
        (403, 403, "denied_externally"),
        (302, 403, "denied_externally"),
        (404, 403, "denied_externally"),
        (500, 503, "authorization_unavailable"),
        (503, 503, "authorization_unavailable"),
    ],
)
async def test_what_its_answer_means(answered: int, status: int, reason: str | None) -> None:
    lines = ["WWW-Authenticate: Bearer realm=x", "WWW-Authenticate: Basic", "Location: /login", "Set-Cookie: a=b"]
    said = ok(b"" if answered == 204 else b"a secret of the service", *lines, status=answered)
    seen: list[Message] = []
    if answered == 204:
        said = b"HTTP/1.1 204 Fine\r\n\r\n"
    async with (
        Upstream(answering(lambda _: said)) as service,
        served(seen) as upstream,
        gateway(to(upstream, **asking(service))) as rig,
    ):
        answer = await rig.ask(get("/"))
        line = (await rig.logged())[0]
        port = service.port
    assert (answer.status, line.get("error")) == (status, reason)
    assert len(seen) == (reason is None)
    assert b"secret" not in answer.body
    assert answer.get("set-cookie") is answer.get("location") is None
    assert answer.all("www-authenticate") == (["Bearer realm=x", "Basic"] if status == 401 else [])
    if reason is not None:
        assert line["detail"] == f"127.0.0.1:{port} answered {answered}"
        assert answer.json()["status"] == status


@on_loop
@pytest.mark.parametrize("on_error", ["closed", "open"])
@pytest.mark.parametrize("ill", ["away", "silent", "cut", "garbage", "failing"])
async def test_without_an_answer_it_is_as_configured(on_error: str, ill: str) -> None:
    silent = [0]

    async def play(link: Any) -> None:
        await link.message()
        if ill == "cut":
            link.cut()
        elif ill == "garbage":
            await link.send(b"200 OK\r\n\r\n")
        elif ill == "failing":
            await link.send(ok(b"", status=502))
            await play(link)
        else:
            silent[0] += 1
            await link.rest()

    seen: list[Message] = []
    async with Upstream(play) as service, served(seen) as upstream:
        url = f"http://127.0.0.1:{free_port()}" if ill == "away" else service.url
        settings = asking(url, on_error=on_error, timeout=10, take=["X-User"], cache=60)
        async with gateway(to(upstream, **settings)) as rig:
            for number in (1, 2):
                waiting = asyncio.ensure_future(rig.ask(get("/", "X-User: root")))
                if ill == "silent":
                    await eventually(lambda number=number: silent[0] == number)  # type: ignore[misc]
                    rig.pass_time(10)
                answer = await waiting
                assert answer.status == (200 if on_error == "open" else 503)
            if on_error == "closed":
                assert {line["error"] for line in rig.log} == {"authorization_unavailable"}
                assert int(answer.get("retry-after") or 0) >= 1
            # What was no verdict is not remembered.
            assert len(service.links) == {"away": 0, "failing": 1}.get(ill, 2)
    # Nobody becomes somebody because nobody could be asked.
    assert [each.get("x-user") for each in seen] == ([None, None] if on_error == "open" else [])


@on_loop
async def test_equal_questions_are_asked_once_while_the_verdict_is_good() -> None:
    asked: list[Message] = []

    def judge(request: Message) -> bytes:
        good = request.get("authorization") == "Bearer good"
        return ok(b"", f"X-Count: {len(asked)}", status=200 if good else 403)

    seen: list[Message] = []
    async with Upstream(answering(judge, asked)) as service, served(seen) as upstream:
        document = to(upstream, **asking(service, cache=600, take=["X-Count"]))
        async with gateway(document) as rig:
            good, bad = "Authorization: Bearer good", "Authorization: Bearer bad"
            for _ in range(3):
                assert (await rig.ask(get("/", good, "X-Count: 0"))).status == 200
                assert (await rig.ask(get("/", bad))).status == 403
            assert len(asked) == 2
            assert (await rig.ask(get("/", good, "Cookie: a=b"))).status == 200
            assert (await rig.ask(get("/x", good))).status == 200
            assert (await rig.ask(get("/?x", good))).status == 200
            assert (await rig.ask(get("/", good, method="DELETE"))).status == 200
            assert len(asked) == 6
            rig.apply(document)
            assert (await rig.ask(get("/", good))).status == 200
            assert len(asked) == 6
            rig.apply(to(upstream, **asking(service, cache=601, take=["X-Count"])))
            assert (await rig.ask(get("/", good))).status == 200
            assert len(asked) == 7
    assert [each.get("x-count") for each in seen[:3]] == ["1", "1", "1"]


@on_loop
async def test_a_verdict_is_good_for_so_long_and_no_longer() -> None:
    asked: list[Message] = []
    now = [monotonic()]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "monotonic", lambda: now[0])
        async with (
            Upstream(answering(lambda _: ok(), asked)) as service,
            served() as upstream,
            gateway(to(upstream, **asking(service, cache=60))) as rig,
        ):
            for seconds, times in ((0.0, 1), (59.9, 1), (0.2, 2), (59.9, 2)):
                now[0] += seconds
                assert (await rig.ask(get("/"))).status == 200
                assert len(asked) == times


@on_loop
async def test_many_wait_for_one_question_and_none_of_them_ends_it() -> None:
    async with (
        Upstream() as service,
        served() as upstream,
        gateway(to(upstream, **asking(service, cache=600))) as rig,
    ):
        clients = [await rig.client() for _ in range(4)]
        await clients[0].send(get("/"))
        link = await service.accepted()
        await link.message()
        for client in clients[1:]:
            await client.send(get("/"))
        await eventually(lambda: rig.gateway.in_flight == 4)
        # The first, for whom it was asked, leaves.
        clients[0].cut()
        await eventually(lambda: rig.gateway.in_flight == 3)
        await link.send(ok())
        for client in clients[1:]:
            assert (await client.answer()).body == b"served"
        assert len(service.links) == 1


@on_loop
async def test_who_leaves_takes_an_own_question_along() -> None:
    async with Upstream() as service, served() as upstream, gateway(to(upstream, **asking(service))) as rig:
        client = await rig.client()
        await client.send(get("/"))
        link = await service.accepted()
        await link.message()
        client.cut()
        assert await link.rest() == b""
        assert (await rig.logged())[0]["error"] == "client_closed"


@on_loop
async def test_it_is_asked_behind_roles_and_limits_and_told_who_asks() -> None:
    asked: list[Message] = []
    identity = keys(static("boss", roles=["boss"]), static("clerk"), forward={"X-User": "id"})
    limit = {"name": "one", "key": "identity", "requests": 1, "window": 3600}
    async with Upstream(answering(lambda _: ok(), asked)) as service, served() as upstream:
        auth = {"roles": "boss", "external": {"url": service.url, "method": "POST", "send": ["X-User"]}}
        async with gateway(to(upstream, identity=identity, auth=auth, limits=[limit])) as rig:
            assert (await rig.ask(get("/", with_key("clerk")))).status == 403
            assert (await rig.ask(get("/", with_key("boss"), "X-User: root"))).status == 200
            assert (await rig.ask(get("/", with_key("boss")))).status == 429
    assert [(each.method, each.get("x-user"), each.body) for each in asked] == [("POST", "boss", b"")]


@on_loop
async def test_a_401_of_our_own_keeps_our_challenge() -> None:
    async with Upstream(answering(lambda _: ok(status=401))) as service, served() as upstream:
        auth = {"mode": "optional", "external": service.url}
        async with gateway(to(upstream, identity=keys(), auth=auth)) as rig:
            answer = await rig.ask(get("/"))
            assert answer.status == 401
            assert answer.all("www-authenticate")


@on_loop
async def test_a_challenge_of_the_service_stands_alone() -> None:
    said = ok(b"", "WWW-Authenticate: Negotiate", status=401)
    async with Upstream(answering(lambda _: said)) as service, served() as upstream:
        auth = {"mode": "optional", "external": service.url}
        async with gateway(to(upstream, identity=keys(), auth=auth)) as rig:
            assert (await rig.ask(get("/"))).all("www-authenticate") == ["Negotiate"]


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MOST_VERDICTS", 3)
    verdicts = Verdicts()
    for number in range(5):
        verdicts.keep(b"%d" % number, Verdict(0, [], ""))
    verdicts.keep(b"3", Verdict(403, [], ""))
    assert list(verdicts.known) == [b"2", b"4", b"3"]


def test_no_two_questions_have_one_digest() -> None:
    # A name holds no colon, and nothing of a field a line break.
    lists = [[(b"a", b"b"), (b"c", b"d")], [(b"a", b"b:c"), (b"d", b"")], [(b"a", b"bc:d")], [(b"a", b"b")], []]
    assert len({module._digest(fields) for fields in lists}) == len(lists)
