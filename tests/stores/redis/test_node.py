"""How servers are named, and how often they are tried."""

from __future__ import annotations

from itertools import accumulate
from random import Random

import pytest

from headgate.stores.redis.address import Server, parse
from headgate.stores.redis.node import LONGEST_PAUSE, Pause


def test_tries_are_few_come_ever_more_seldom_and_not_in_step() -> None:
    for seed in range(100):
        pause = Pause(Random(seed))
        pauses = [pause.next() for _ in range(12)]
        moments = list(accumulate(pauses))
        assert sum(moment < 1 for moment in moments) <= 10
        assert all(LONGEST_PAUSE / 2 <= each <= LONGEST_PAUSE for each in pauses[4:])
        pause.reset()
        assert pause.next() <= 0.2
    assert Pause(Random(1)).next() != Pause(Random(2)).next()


@pytest.mark.parametrize(
    ("url", "server"),
    [
        ("redis://cache", Server("cache", 6379, "given")),
        ("redis://cache:7000/3", Server("cache", 7000, "given", database=3)),
        ("rediss://user:p%40ss@[::1]:7000/", Server("::1", 7000, "user", "p@ss", tls=True)),
        ("redis://:secret@cache", Server("cache", 6379, "given", "secret")),
    ],
)
def test_what_a_url_says(url: str, server: Server) -> None:
    assert parse(url, "given") == server


@pytest.mark.parametrize(
    "url",
    ["http://cache", "redis://", "redis://:secret@", "redis://cache/x", "redis://cache:99999", "redis://cache/0?x=1"],
)
def test_a_url_that_cannot_be_is_refused_without_its_secrets(url: str) -> None:
    with pytest.raises(ValueError, match=r"\w+") as raised:
        parse(url)
    assert "secret" not in str(raised.value)


def test_a_server_shows_no_password() -> None:
    assert "secret" not in repr(parse("redis://user:secret@cache:1"))
    assert parse("redis://[::1]:1").name == "[::1]:1"
