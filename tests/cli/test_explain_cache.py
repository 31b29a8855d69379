"""explain says what the cache makes of a request, who shares its answer, and what a service is spoken to in."""

from __future__ import annotations

import json
from typing import Any

import pytest

from headgate.cli.explain import text
from headgate.cli.explain_cache import cache_of, cached_for
from headgate.cli.explain_traffic import Asked
from headgate.cli.explanation import Question, explain
from headgate.config.declarations import Layer
from headgate.config.loader import load
from headgate.core.identity import Identity


def explained(cache: object, target: str = "/x?b=2&a=1", method: str = "GET", **more: Any) -> dict[str, Any]:
    service = {"name": "shop", "url": "http://10.0.0.1:80", "routes": [{"name": "all", "cache": cache}], **more}
    config = load([], environ={}, layers=[Layer("test", json.dumps({"services": [service]}))]).config
    assert config is not None
    return explain(config, Question(method, target, "shop.example", [("Cookie", "sid=1")]))


def test_a_route_without_a_cache_says_nothing_of_it() -> None:
    assert explained(None)["route"]["cache"] is None
    assert "cache" not in text(explained(None))


def test_what_a_request_is_looked_up_by_and_for_how_long_is_told() -> None:
    said = {"ttl": "1h", "stale_while_revalidate": 30, "stale_if_error": "1d", "negative": {"ttl": 10}}
    found = explained(said)
    assert found["route"]["cache"] == [
        "looked up by http://shop.example/x?a=1&b=2",
        "shared by all who show no credential",
        "fresh for 1 h whatever answers say, but for no-store and private",
        "stale for 30 s while a new one is fetched",
        "stale for 1 d where there is none to get",
        "404, 410 for 10 s where they say nothing",
        "requests for what is being fetched wait for it",
    ]
    assert "\n  cache " in text(found)


@pytest.mark.parametrize(
    ("cache", "said"),
    [
        (True, "fresh as long as answers say, 1 d at most; not if they say nothing"),
        ({"default_ttl": 60, "max_ttl": "1h"}, "fresh as long as answers say, 1 h at most; 1 min if they say nothing"),
    ],
    ids=["plain", "silent"],
)
def test_without_an_override_answers_say_how_long(cache: object, said: str) -> None:
    assert explained(cache)["route"]["cache"][2] == said


@pytest.mark.parametrize(
    ("cache", "method", "said"),
    [
        (True, "POST", "no part in it: only GET and HEAD are answered from it"),
        ({"bypass": {"cookies": "sid"}}, "GET", "no part in it: its bypass names something of the request"),
        ({"bypass": {"query": "b"}}, "GET", "no part in it: its bypass names something of the request"),
    ],
    ids=["method", "cookie", "query"],
)
def test_where_the_cache_has_no_part_the_reason_is_told(cache: object, method: str, said: str) -> None:
    (line,) = explained(cache, method=method)["route"]["cache"]
    assert line.startswith(said)


def test_what_only_the_service_can_judge_keeps_answers_apart() -> None:
    service = {"name": "a", "url": "http://b", "routes": [{"name": "all", "cache": True}]}
    config = load([], environ={}, layers=[Layer("test", json.dumps({"services": [service]}))]).config
    assert config is not None
    found = explain(config, Question("GET", "/x", "shop.example", [("Authorization", "Bearer x")]))
    assert found["route"]["cache"][1] == "shared by all who show the same Authorization"


@pytest.mark.parametrize(
    ("partition", "caller", "said"),
    [
        ("auto", Identity("user", "ada", "acme"), "shared within the tenant acme"),
        ("auto", Identity("user", "ada"), "kept for user ada alone"),
        ("identity", Identity("user", "ada", "acme"), "kept for user ada alone"),
        ("shared", Identity("user", "ada", "acme"), "shared by everybody, whatever credential they show"),
        ("shared", Identity(), "shared by everybody, whatever credential they show"),
        ("auto", None, "whoever shows a credential shares with its tenant, or with nobody"),
        ("identity", None, "whoever shows a credential shares with nobody"),
    ],
)
def test_who_shares_an_answer_is_told(partition: str, caller: Identity | None, said: str) -> None:
    service = {"name": "a", "url": "http://b", "routes": [{"name": "all", "cache": {"key": {"partition": partition}}}]}
    config = load([], environ={}, layers=[Layer("test", json.dumps({"services": [service]}))]).config
    assert config is not None
    lines = cache_of(config.routes[0], Asked("GET", "a", 443, "/", None, []), caller)
    assert lines is not None
    assert lines[:2] == ["looked up by https://a/", said]


@pytest.mark.parametrize(
    ("protocol", "said"),
    [("http1", "HTTP/1.1"), ("http2", "HTTP/2"), ("auto", "HTTP/2 where its TLS agrees to it, else HTTP/1.1")],
)
def test_what_a_service_is_spoken_to_in_is_told(protocol: str, said: str) -> None:
    assert explained(None, protocol=protocol)["services"][0]["protocol"] == said


def test_a_word_for_the_list_of_routes() -> None:
    assert cached_for(None) == ""
