"""Trailer fields: those on the list pass, behind chunks, in both directions; all others are dropped."""

from __future__ import annotations

import pytest

from tests.proxy.peers import Upstream, get
from tests.proxy.stage import gateway, on_loop, to

CHUNKED = "Transfer-Encoding: chunked"
ENDS = b"0\r\nX-Sum: 9\r\nX-Other: 1\r\n\r\n"
PIECES = {
    "in one read": [b"2\r\nhi\r\n" + ENDS],
    "in pieces": [b"2\r\nhi\r\n", b"0\r\nX-Sum:", b" 9\r\nX-Other: 1\r\n\r\n"],
}


@pytest.mark.parametrize("pieces", PIECES.values(), ids=PIECES)
@pytest.mark.parametrize(("listed", "passed"), [(["x-sum"], [("x-sum", "9")]), ([], [])], ids=["listed", "not listed"])
@on_loop
async def test_trailers_of_a_request(pieces: list[bytes], listed: list[str], passed: list[tuple[str, str]]) -> None:
    async with Upstream() as upstream, gateway({**to(upstream), "http": {"trailers": listed}}) as rig:
        client = await rig.client()
        await client.send(get("/", CHUNKED, method="POST"))
        for piece in pieces:
            await client.send(piece)
        link = await upstream.accepted()
        request = await link.message()
        assert (request.body, request.trailers) == (b"hi", passed)
        await link.send(b"HTTP/1.1 204 No Content\r\n\r\n")
        assert (await client.answer()).status == 204


@pytest.mark.parametrize("pieces", PIECES.values(), ids=PIECES)
@pytest.mark.parametrize(("listed", "passed"), [(["x-sum"], [("x-sum", "9")]), ([], [])], ids=["listed", "not listed"])
@on_loop
async def test_trailers_of_an_answer(pieces: list[bytes], listed: list[str], passed: list[tuple[str, str]]) -> None:
    async with Upstream() as upstream, gateway({**to(upstream), "http": {"trailers": listed}}) as rig:
        client = await rig.client()
        await client.send(get("/"))
        link = await upstream.accepted()
        await link.message()
        head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
        for piece in (head + pieces[0], *pieces[1:]):
            await link.send(piece)
        answer = await client.answer()
        assert (answer.status, answer.body, answer.trailers) == (200, b"hi", passed)
