"""Reads larger than a slice, held back behind an upgrade or a full queue, come later, whole and in order; the end."""

from __future__ import annotations

import pytest

from headgate.wire.settings import HttpLimits
from tests.wire.fake import FakeClient

COUNT = 1500
FLOOD = b"".join(b"GET /%d HTTP/1.1\r\nHost: a\r\n\r\n" % n for n in range(COUNT))
PATHS = [f"/{n}" for n in range(COUNT)]


@pytest.mark.parametrize("before", [b"", b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n" * 3], ids=["first", "fourth"])
@pytest.mark.parametrize("body", [b"", b"hi"], ids=["bare", "with a body"])
@pytest.mark.parametrize("most", [1, 8])
@pytest.mark.parametrize("quick", [True, False])
def test_what_is_behind_an_upgrade_is_read_later_and_whole(before: bytes, body: bytes, most: int, quick: bool) -> None:
    length = b"Content-Length: %d\r\n" % len(body) if body else b""
    upgrade = b"GET /u HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n" + length + b"\r\n" + body
    client = FakeClient(HttpLimits(max_pipelined=most), answers=quick).feed(before + upgrade + FLOOD).answer()
    paths = ["/a"] * before.count(b"GET") + ["/u", *PATHS]
    assert [path for _, path, _ in client.complete] == paths
    assert client.refusals == []


@pytest.mark.parametrize("most", [1, 8])
def test_a_read_of_many_requests_is_served_in_order(most: int) -> None:
    client = FakeClient(HttpLimits(max_pipelined=most)).feed(FLOOD)
    assert [path for _, path, _ in client.complete] == PATHS


REQUEST = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


@pytest.mark.parametrize(
    ("sent", "answered", "cut"),
    [
        (b"", True, False),
        (REQUEST, True, False),
        (REQUEST, False, True),
        (REQUEST + REQUEST[:9], True, True),
    ],
    ids=["new", "answered", "not answered yet", "half sent"],
)
def test_at_the_end_only_who_is_owed_an_answer_is_cut(sent: bytes, answered: bool, cut: bool) -> None:
    client = FakeClient(answers=answered)
    if sent:
        client.feed(sent)
    client.connection.end()
    assert (client.transport.closed, client.transport.aborted) == (True, cut)
