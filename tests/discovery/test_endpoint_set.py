"""Endpoints and whole sets of what registries say."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.core.endpoint import Endpoint
from headgate.discovery.endpoint_set import endpoint_at, endpoint_of, usable, weight_in, whole_set
from headgate.discovery.source import MOST_ENDPOINTS, NotFound


@pytest.mark.parametrize(
    ("host", "name"),
    [
        ("10.0.0.1", "10.0.0.1:80"),
        ("fd00:0::1", "[fd00::1]:80"),
        ("[fd00::1]", "[fd00::1]:80"),
        ("Chat.Internal.", "chat.internal:80"),
    ],
)
def test_hosts(host: str, name: str) -> None:
    assert endpoint_at(host, 80, "http").name == name


@pytest.mark.parametrize(
    ("host", "port"),
    [
        ("", 80),
        ("a/b", 80),
        ("u@a", 80),
        ("a:1", 80),
        ("a?b", 80),
        ("fe80::1%eth0", 80),
        ("a\0", 80),
        ("1.2.3", 80),
        (None, 80),
        (b"a", 80),
        ("a", 0),
        ("a", 65536),
        ("a", True),
        ("a", "80"),
        ("a", None),
    ],
)
def test_what_is_no_place(host: object, port: object) -> None:
    with pytest.raises(ValueError):
        endpoint_at(host, port, "http")


def test_a_url_brings_a_path_and_no_socket_of_this_machine() -> None:
    assert endpoint_of("https://a/b", 3, "z") == Endpoint("a:443", "https", "a", 443, "", "/b", 3, "z")
    for url in ("unix:/run/docker.sock", 7, "http://u:p@a"):
        with pytest.raises(ValueError):
            endpoint_of(url)


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 3)), max_size=40), st.randoms())
def test_a_set_depends_on_what_is_in_it_alone(drawn: list[tuple[int, int]], chance: random.Random) -> None:
    endpoints = [endpoint_at(f"10.0.0.{host}", 80, "http", weight) for host, weight in drawn]
    found = whole_set(endpoints)
    chance.shuffle(endpoints)
    assert whole_set([*endpoints, *endpoints]) == found
    assert sorted({each.name for each in endpoints}) == sorted(each.name for each in found)


def test_a_set_that_is_too_large_is_refused_whole() -> None:
    many = [Endpoint(f"h{n}:80", "http", f"h{n}", 80) for n in range(MOST_ENDPOINTS + 1)]
    assert len(whole_set(many[1:])) == MOST_ENDPOINTS
    with pytest.raises(NotFound, match=str(MOST_ENDPOINTS)):
        whole_set(many)


def test_entries_none_of_which_can_be_used_are_no_empty_set() -> None:
    def made(port: int) -> Endpoint:
        return endpoint_at("a", port, "http")

    assert [each.port for each in usable([0, 80, -1], made)] == [80]
    assert usable([], made) == ()
    with pytest.raises(NotFound, match="no entry can be used"):
        usable([0, -1], made)


@pytest.mark.parametrize(
    ("said", "weight"), [(0, 0), (7, 7), (-1, 1), (1_000_001, 1), (True, 1), ("7", 1), (7.0, 1), (None, 1)]
)
def test_weights(said: object, weight: int) -> None:
    assert weight_in(said) == weight
