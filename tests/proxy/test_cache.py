"""Requests through the cache: what is answered from it, and what the client is told."""

from __future__ import annotations

import gzip

import pytest

from tests.proxy.caches import caching, counting
from tests.proxy.peers import Message, Upstream, answering, eventually, get, ok
from tests.proxy.stage import on_loop


@on_loop
async def test_the_second_request_is_answered_from_the_cache() -> None:
    seen: list[Message] = []
    async with Upstream(answering(counting(), seen)) as upstream, caching(upstream) as rig:
        first = await rig.ask(get("/a"))
        second = await rig.ask(get("/a"))
        assert (first.status, first.body) == (second.status, second.body) == (200, b"1")
        assert len(seen) == 1
        said = (first.get("cache-status") or "", second.get("cache-status") or "")
        assert said[0].startswith("headgate; fwd=uri-miss; ttl=")
        assert said[0].endswith("; stored")
        assert said[1].startswith("headgate; hit; ttl=")
        assert (first.get("age"), second.get("age")) == (None, "0")
        assert [line["cache"] for line in await rig.logged(2)] == ["miss", "hit"]
        assert rig.counted("cache_requests_total", route="all", result="hit") == 1


@on_loop
async def test_the_cache_says_nothing_of_itself_where_that_is_not_wanted() -> None:
    async with Upstream(answering(counting())) as upstream, caching(upstream, {"status_header": False}) as rig:
        assert (await rig.ask(get("/a"))).get("cache-status") is None
        assert (await rig.ask(get("/a"))).get("cache-status") is None


@on_loop
async def test_what_differs_in_path_query_or_host_is_another_answer() -> None:
    async with Upstream(answering(counting())) as upstream, caching(upstream) as rig:
        bodies = [(await rig.ask(get(target))).body for target in ("/a", "/b", "/a?x=1", "/a?x=1&y=2", "/a?y=2&x=1")]
        assert bodies == [b"1", b"2", b"3", b"4", b"4"]
        other = get("/a").replace(b"example.test", b"example.org")
        assert (await rig.ask(other)).body == b"5"


@on_loop
async def test_head_is_answered_from_what_get_brought_and_brings_nothing_itself() -> None:
    seen: list[Message] = []
    async with Upstream(answering(counting(), seen)) as upstream, caching(upstream) as rig:
        client = await rig.client()
        await client.send(get("/a", method="HEAD"))
        assert (await client.answer("HEAD")).status == 200
        assert (await rig.ask(get("/a"))).body == b"2"
        await client.send(get("/a", method="HEAD"))
        answer = await client.answer("HEAD")
        assert (answer.get("content-length"), answer.body) == ("1", b"")
        assert "hit" in (answer.get("cache-status") or "")
        assert [each.method for each in seen] == ["HEAD", "GET"]


@on_loop
async def test_a_client_that_has_it_is_told_so() -> None:
    play = counting("Cache-Control: max-age=60", 'ETag: "v1"')
    seen: list[Message] = []
    async with Upstream(answering(play, seen)) as upstream, caching(upstream) as rig:
        # Its condition is not the service's business: what comes back shall be whole, for everybody.
        for result in ("miss", "hit"):
            answer = await rig.ask(get("/a", 'If-None-Match: "v1"'))
            assert (answer.status, answer.body, answer.get("etag")) == (304, b"", '"v1"')
            assert answer.get("content-length") is None
            assert rig.log[-1]["cache"] == result
        assert (await rig.ask(get("/a"))).body == b"1"
        assert [each.get("if-none-match") for each in seen] == [None]


@on_loop
async def test_parts_are_cut_from_the_whole() -> None:
    seen: list[Message] = []
    play = counting("Cache-Control: max-age=60", body=lambda _: b"0123456789")
    async with Upstream(answering(play, seen)) as upstream, caching(upstream) as rig:
        first = await rig.ask(get("/a", "Range: bytes=2-4"))
        assert (first.status, first.body, first.get("content-range")) == (206, b"234", "bytes 2-4/10")
        last = await rig.ask(get("/a", "Range: bytes=-3"))
        assert (last.status, last.body) == (206, b"789")
        beyond = await rig.ask(get("/a", "Range: bytes=10-"))
        assert (beyond.status, beyond.get("content-range")) == (416, "bytes */10")
        assert (await rig.ask(get("/a"))).body == b"0123456789"
        assert [each.get("range") for each in seen] == [None]


@on_loop
async def test_a_part_of_what_cannot_be_kept_is_the_services_to_cut() -> None:
    seen: list[Message] = []

    def answer(request: Message) -> bytes:
        if request.get("range"):
            return ok(b"part", "Content-Range: bytes 0-3/100", "Cache-Control: no-store", status=206)
        return ok(b"x" * 100, "Cache-Control: no-store")

    async with Upstream(answering(answer, seen)) as upstream, caching(upstream) as rig:
        for _ in range(2):
            part = await rig.ask(get("/a", "Range: bytes=0-3"))
            assert (part.status, part.body) == (206, b"part")
        # The second time it is known that nothing is to be kept here.
        assert [each.get("range") for each in seen] == [None, "bytes=0-3", "bytes=0-3"]


@on_loop
async def test_answers_that_vary_are_kept_beside_each_other() -> None:
    seen: list[Message] = []

    def answer(request: Message) -> bytes:
        language = request.get("accept-language") or ""
        return ok(language.encode(), "Cache-Control: max-age=60", "Vary: Accept-Language")

    async with Upstream(answering(answer, seen)) as upstream, caching(upstream) as rig:
        for language in ("de", "fr", "de", "fr"):
            assert (await rig.ask(get("/a", f"Accept-Language: {language}"))).body == language.encode()
        assert len(seen) == 2
        assert [line["cache"] for line in rig.log] == ["miss", "miss", "hit", "hit"]


@on_loop
async def test_an_answer_is_validated_when_its_time_is_over() -> None:
    seen: list[Message] = []

    def answer(request: Message) -> bytes:
        if request.get("if-none-match") == '"v1"':
            return b'HTTP/1.1 304 Same\r\nETag: "v1"\r\nCache-Control: max-age=60\r\nX-New: yes\r\n\r\n'
        return ok(b"body", 'ETag: "v1"', "Cache-Control: max-age=60", "Age: 100", "X-Old: yes")

    async with Upstream(answering(answer, seen)) as upstream, caching(upstream) as rig:
        assert (await rig.ask(get("/a"))).body == b"body"
        for result in ("revalidated", "hit"):
            found = await rig.ask(get("/a"))
            assert (found.status, found.body, found.get("x-new")) == (200, b"body", "yes")
            assert rig.log[-1]["cache"] == result
            assert found.get("age") == "0"
        assert len(seen) == 2
        assert rig.counted("upstream_requests_total", service="api") == 2


@on_loop
async def test_an_answer_without_an_end_of_its_own_is_kept_when_its_connection_ends_well() -> None:
    async def play(link: object) -> None:
        await link.message()  # type: ignore[attr-defined]
        await link.send(b"HTTP/1.1 200 Fine\r\nCache-Control: max-age=60\r\n\r\nabc")  # type: ignore[attr-defined]
        link.close()  # type: ignore[attr-defined]

    async with Upstream(play) as upstream, caching(upstream) as rig:
        assert [(await rig.ask(get("/a"))).body for _ in range(3)] == [b"abc"] * 3
        assert len(upstream.links) == 1


@pytest.mark.parametrize("size", [0, 1, 65_536, 65_537, 150_000])
@on_loop
async def test_bodies_of_any_size_come_back_as_they_were(size: int) -> None:
    body = bytes(at * 7 % 256 for at in range(1000)) * (size // 1000 + 1)
    play = counting("Cache-Control: max-age=60", body=lambda _: body[:size])
    async with Upstream(answering(play)) as upstream, caching(upstream) as rig:
        client = await rig.client()
        for _ in range(3):
            await client.send(get("/a"))
            answer = await client.answer()
            assert answer.body == body[:size]
            assert answer.get("content-length") == str(size)
        await eventually(lambda: len(rig.log) == 3)
        assert [line["cache"] for line in rig.log] == ["miss", "hit", "hit"]
        await client.send(get("/a", "Range: bytes=10-"))
        assert (await client.answer()).body == (body[10:size] if size > 10 else b"")
        assert len(upstream.links) == 1


@on_loop
async def test_what_is_larger_than_an_entry_may_be_goes_through() -> None:
    seen: list[Message] = []
    play = counting("Cache-Control: max-age=60", body=lambda _: b"x" * 20_000)
    async with Upstream(answering(play, seen)) as upstream, caching(upstream, {"max_entry": 10_000}) as rig:
        assert [len((await rig.ask(get("/a"))).body) for _ in range(2)] == [20_000] * 2
        assert len(seen) == 2


@on_loop
async def test_requests_with_a_body_or_another_method_pass_by() -> None:
    seen: list[Message] = []
    async with Upstream(answering(counting(), seen)) as upstream, caching(upstream) as rig:
        assert (await rig.ask(get("/a"))).body == b"1"
        assert (await rig.ask(get("/a", method="OPTIONS"))).body == b"2"
        assert (await rig.ask(get("/a", body=b"question"))).body == b"3"
        assert (await rig.ask(get("/a"))).body == b"1"
        assert [line.get("cache") for line in rig.log] == ["miss", "bypass", "bypass", "hit"]


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
@on_loop
async def test_a_request_that_changes_what_is_there_makes_it_be_forgotten(method: str) -> None:
    async with Upstream(answering(counting())) as upstream, caching(upstream) as rig:
        assert [(await rig.ask(get("/a"))).body for _ in range(2)] == [b"1", b"1"]
        assert (await rig.ask(get("/a", method=method, body=b"new"))).body == b"2"
        assert (await rig.ask(get("/a"))).body == b"3"


@on_loop
async def test_a_client_can_ask_for_the_cache_alone() -> None:
    seen: list[Message] = []
    async with Upstream(answering(counting(), seen)) as upstream, caching(upstream) as rig:
        answer = await rig.ask(get("/a", "Cache-Control: only-if-cached"))
        assert answer.status == 504
        assert not seen
        await rig.ask(get("/a"))
        assert (await rig.ask(get("/a", "Cache-Control: only-if-cached"))).body == b"1"


@on_loop
async def test_a_client_can_ask_past_the_cache_and_what_it_gets_is_everybodys() -> None:
    async with Upstream(answering(counting())) as upstream, caching(upstream) as rig:
        assert (await rig.ask(get("/a"))).body == b"1"
        assert (await rig.ask(get("/a", "Cache-Control: no-cache"))).body == b"2"
        assert (await rig.ask(get("/a"))).body == b"2"
        # What it forbids to keep is not kept.
        assert (await rig.ask(get("/a", "Cache-Control: no-store"))).body == b"3"
        assert (await rig.ask(get("/a"))).body == b"2"


@on_loop
async def test_what_belongs_to_each_answer_is_put_on_each() -> None:
    more = {
        "cors": {"origins": ["https://one.test", "https://two.test"]},
        "security_headers": {"content_type_options": True},
        "compression": {"enabled": True, "min_size": 1, "algorithms": ["gzip"]},
        "limits": [{"name": "all", "requests": 10, "window": 60}],
    }
    text = b"some text that is worth a compression " * 20
    lines = ("Cache-Control: max-age=60", "Content-Type: text/plain", 'ETag: "v1"', "Access-Control-Allow-Origin: *")
    play = counting(*lines, "X-RateLimit-Remaining: 99", body=lambda _: text)
    async with Upstream(answering(play)) as upstream, caching(upstream, **more) as rig:
        ids, left = set(), []
        for origin, coding in (("one", "gzip"), ("two", "identity"), ("one", "gzip"), ("two", "gzip")):
            answer = await rig.ask(get("/a", f"Origin: https://{origin}.test", f"Accept-Encoding: {coding}"))
            assert answer.get("access-control-allow-origin") == f"https://{origin}.test"
            assert answer.get("x-content-type-options") == "nosniff"
            assert "Accept-Encoding" in ",".join(answer.all("vary"))
            assert answer.get("content-encoding") == ("gzip" if coding == "gzip" else None)
            assert (gzip.decompress(answer.body) if coding == "gzip" else answer.body) == text
            ids.add(answer.get("x-request-id"))
            left.append(answer.get("x-ratelimit-remaining") or answer.get("ratelimit-remaining"))
        assert len(ids) == 4
        assert len(set(left)) == 4
        assert [line["cache"] for line in rig.log] == ["miss", "hit", "hit", "hit"]


@on_loop
async def test_a_hit_counts_against_limits() -> None:
    limits = [{"name": "all", "requests": 2, "window": 60}]
    async with Upstream(answering(counting())) as upstream, caching(upstream, limits=limits) as rig:
        assert [(await rig.ask(get("/a"))).status for _ in range(3)] == [200, 200, 429]


@on_loop
async def test_hits_go_on_when_the_service_is_gone_and_its_breaker_open() -> None:
    breaker = {"enabled": True, "threshold": 1, "timeout": 60}
    service = {"circuit_breaker": breaker, "retry": {"attempts": 0}}
    async with Upstream(answering(counting())) as upstream, caching(upstream, service=service) as rig:
        assert (await rig.ask(get("/a"))).body == b"1"
        upstream.stop()
        for link in upstream.links:
            link.cut()
        await eventually(lambda: rig.counted("pool_connections", state="idle") == 0)
        assert (await rig.ask(get("/b"))).status == 502
        assert (await rig.ask(get("/b"))).status == 503
        assert (await rig.ask(get("/a"))).body == b"1"
        line = rig.log[-1]
        assert (line["status_code"], line["cache"], line.get("error")) == (200, "hit", None)


@on_loop
async def test_a_service_that_is_named_in_the_path_is_cached_as_its_route_says() -> None:
    seen: list[Message] = []
    surface = [{"path": "/call/{service}/{path}", "view": "proxy"}]
    async with Upstream(answering(counting(), seen)) as upstream, caching(upstream, surface=surface) as rig:
        assert [(await rig.ask(get(target))).body for target in ("/call/api/a", "/a", "/call/api/b")] == [
            b"1",
            b"1",
            b"2",
        ]
        assert [each.target for each in seen] == ["/a", "/b"]


@on_loop
async def test_an_upgrade_passes_by() -> None:
    async with Upstream() as upstream, caching(upstream, route={"upgrade": ["websocket"]}) as rig:
        client = await rig.client()
        await client.send(get("/a", "Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Key: abc"))
        link = await upstream.accepted()
        await link.message()
        await link.send(b"HTTP/1.1 101 Switching\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
        assert (await client.answer()).status == 101
        await client.send(b"there")
        assert await link.read(5) == b"there"
        await link.send(b"back")
        assert await client.read(4) == b"back"


@on_loop
async def test_trailers_go_to_those_who_get_the_answer_as_it_arrives() -> None:
    async with Upstream() as upstream, caching(upstream, http={"trailers": ["X-Sum"]}) as rig:
        client = await rig.client()
        await client.send(get("/a"))
        link = await upstream.accepted()
        await link.message()
        head = b"HTTP/1.1 200 Fine\r\nTransfer-Encoding: chunked\r\nCache-Control: max-age=60\r\n\r\n"
        await link.send(head + b"3\r\nabc\r\n0\r\nX-Sum: 6\r\n\r\n")
        answer = await client.answer()
        assert (answer.body, answer.trailers) == (b"abc", [("x-sum", "6")])
        again = await rig.ask(get("/a"))
        assert (again.body, again.trailers) == (b"abc", [])


@on_loop
async def test_an_error_of_the_service_is_counted_as_a_miss() -> None:
    async with caching("http://127.0.0.1:1", service={"retry": {"attempts": 0}}) as rig:
        assert (await rig.ask(get("/a"))).status == 502
        assert rig.log[-1]["cache"] == "miss"
