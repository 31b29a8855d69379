"""explain says of every policy on a request's way which one it is, and with which numbers."""

from __future__ import annotations

import json
from typing import Any

import pytest

from headgate.cli.explain import text
from headgate.cli.explanation import Question, explain
from headgate.config.declarations import Layer
from headgate.config.loader import load
from headgate.config.resolve import ResolvedConfig

CONFIG = """
overload: {max_in_flight: 2000}
limits:
  - {name: early, requests: 60, exempt: [/chat/models]}
  - {name: tiered, requests: 100, window: 1h, tiers: {gold: {requests: 500, window: 1d}, staff: unlimited}}
  - {name: writes, requests: 10, match: {path: /, method: POST}, shadow: true}
services:
  - name: chat
    endpoints: [http://10.0.0.1:8001, http://10.0.0.2:8001]
    balancer: {type: consistent_hash, header: X-User}
    candidates: {slow_start: 30s, zone_preference: true}
    rate_limit: {requests: 5000, window: 60}
    circuit_breaker: {error_rate: 25, window: 20s, minimum_requests: 50, failures: [timeout, 429]}
    health: {path: /health, interval: 10s}
    outlier: {ejection_time: 10s}
    adaptive_concurrency: {min: 4, max: 50}
    retry: {attempts: 1, on: [connect, 503], per_try_timeout: 500ms, hedge: 300ms}
    limits:
      - {name: tokens, key: [header:X-Team, service], type: token_bucket, requests: 600, burst: 50,
         cost: {request: 5, header: X-Tokens-Used}, on_error: closed}
    routes:
      - name: chat
        match: {path: /chat}
        tier: gold
        priority: high
        fault: {delay: {seconds: 3, percent: 10}, abort: {status: 503, percent: 2}, header: X-Chaos}
        limits:
          - {name: even, type: leaky_bucket, requests: 10, window: 1, max_delay: 500ms}
          - {name: at-once, key: [], type: concurrency, requests: 4}
      - {name: staff, match: {path: /staff}, tier: staff}
  - name: plain
    url: http://10.0.0.3:8001
    balancer: {type: consistent_hash, bound: 0, by: path}
    circuit_breaker: {threshold: 20, window_size: 100}
    outlier: {consecutive_failures: 0}
    health: {type: tcp}
    retry: {attempts: 0}
    routes:
      - {name: plain, match: {path: /plain}}
      - {name: moved, match: {path: /moved}, redirect: /plain, limits: [{name: moved, requests: 2}]}
"""


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> ResolvedConfig:
    file = tmp_path_factory.mktemp("explain") / "headgate.yaml"
    file.write_text(CONFIG)
    result = load([file], environ={})
    assert result.config is not None, result.problems
    return result.config


def ask(config: ResolvedConfig, target: str, method: str = "GET") -> dict[str, Any]:
    return explain(config, Question(method, target, None, []))


def test_every_limit_on_the_way_is_told(config: ResolvedConfig) -> None:
    assert ask(config, "/chat/models", "POST")["route"]["limits"] == [
        "early: 60 in 1 min for each address, sliding_window; this path is exempt",
        "tiered: 500 in 1 d for each address, sliding_window",
        "writes: 10 in 1 min for each address, sliding_window, in shadow (never refuses)",
        "tokens: 600 in 1 min for each header:X-Team and service, token_bucket, 50 at once, each costs 5,"
        " then what X-Tokens-Used says, closed when the store fails",
        "even: 10 in 1 s for each address, leaky_bucket, waiting up to 500 ms",
        "at-once: 4 at the same time for all together",
    ]
    staff = ask(config, "/staff")["route"]["limits"]
    assert staff[1:3] == ["tiered: unlimited for this tier", "writes: does not count this request"]


def test_parameters_of_a_path_hide_neither_route_nor_limit(config: ResolvedConfig) -> None:
    limits = [{"name": "chat", "requests": 3, "match": {"path": "/chat"}}]
    layer = Layer("limits", json.dumps({"limits": limits, "services": [{"name": "all", "routes": [{"name": "all"}]}]}))
    limited = load([], environ={}, layers=[layer]).config
    assert limited is not None
    assert ask(limited, "/chat;x=1")["route"]["limits"] == ["chat: 3 in 1 min for each address, sliding_window"]
    assert ask(limited, "/chats;x")["route"]["limits"] == ["chat: does not count this request"]
    assert ask(config, "/moved/a;x")["verdict"].startswith("redirected with 308")
    several = [{"name": "chat", "match": {"path": "/chat"}}, {"name": "all"}]
    layer = Layer("routes", json.dumps({"services": [{"name": "all", "routes": several}]}))
    both = load([], environ={}, layers=[layer]).config
    assert both is not None
    verdict = "refused with 400: without its parameters (;) it is a path of chat"
    assert ask(both, "/chat;x=1")["verdict"] == verdict


def test_a_request_for_nothing_meets_the_limits_before_routing(config: ResolvedConfig) -> None:
    explained = ask(config, "/nowhere")
    assert [limit.partition(":")[0] for limit in explained["limits"]] == ["early", "writes"]
    assert "\n  early: 60 in 1 min for each address" in text(explained)


def test_an_answer_without_a_service_is_limited_too(config: ResolvedConfig) -> None:
    limits = ask(config, "/moved")["limits"]
    assert limits[-1] == "moved: 2 in 1 min for each address, sliding_window"
    assert [limit.partition(":")[0] for limit in limits] == ["early", "tiered", "writes", "moved"]


def test_what_a_service_does_is_told(config: ResolvedConfig) -> None:
    explained = ask(config, "/chat")
    (service,) = explained["services"]
    told = {
        "balancer": "consistent_hash by header X-User, else by address, none above 1.25 times its share",
        "candidates": "those that are well, all enabled ones when fewer than 50% are well, slow start over 30 s,"
        " those of the own zone first",
        "rate_limit": "5000 in 1 min for each service, sliding_window",
        "circuit_breaker": "opens after 25% failures of 50 calls or more in 20 s, for 30 s; counted: timeout, 429",
        "health_check": "GET /health every 10 s; 3 failures take it out",
        "outlier_ejection": "5 failures in a row or a low success rate, for 10 s and longer",
        "adaptive_concurrency": "4 to 50 requests at once in each worker",
    }
    assert {name: service[name] for name in told} == told
    assert f"\n  circuit breaker       {told['circuit_breaker']}\n" in text(explained)


def test_what_a_route_does_is_told(config: ResolvedConfig) -> None:
    route = ask(config, "/chat")["route"]
    told = {
        "retries": "1 besides the first try, on connect, 503, 500 ms for each, hedged after 300 ms",
        "priority": "high",
        "tier": "gold",
        "fault": "10% wait 3 s, 2% get 503, if the request has X-Chaos",
        "overload": "refused when its worker has more than 2000 requests at once or a loop 100 ms late",
    }
    assert {name: route[name] for name in told} == told


def test_what_is_off_is_not_told(config: ResolvedConfig) -> None:
    explained = ask(config, "/plain")
    (service,) = explained["services"]
    assert explained["route"]["retries"] == "none"
    assert (service["balancer"], service["candidates"]) == ("consistent_hash by path", None)
    assert service["circuit_breaker"].startswith("opens after 20 failures among 100 calls, for 30 s")
    assert service["health_check"] == "a connection every 30 s; 3 failures take it out"
    assert service["outlier_ejection"] == "a low success rate, for 10 s and longer"
