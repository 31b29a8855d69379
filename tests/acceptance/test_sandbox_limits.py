"""The limits of the preset sandbox: one sliding window in Redis, for each user, key or address, over all replicas.

The numbers in docstrings are those of the cases of the description.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from headgate.catalog import LIMITS
from headgate.policy.limit.quota import Quota
from headgate.stores.memory import MemoryStore
from tests.acceptance.gateway import Answer, Gateway
from tests.acceptance.sandbox import SECRET, Scene, caller, resolved, scene
from tests.control.driver import until
from tests.stores.contract import SECOND, START, group, passed
from tests.stores.redis.servers import RedisServer

PATH = "/api/v1/auth/x"
# Of a minute by default, which a slow machine might see the end of.
WINDOW = 3600
HOUR = {"RATE_LIMIT_WINDOW": str(WINDOW)}


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory, redis: RedisServer) -> Iterator[Scene]:
    """100 requests, as by default; two workers."""
    env = {"WORKERS": "2", "TRUSTED_PROXIES": "127.0.0.1", **HOUR}
    with scene(tmp_path_factory.mktemp("gateway"), redis, env=env) as made:
        yield made


def statuses(gateway: Gateway, times: int, token: str | None, headers: dict[str, str] | None = None) -> list[int]:
    return [gateway.get(PATH, headers or {}, bearer=token).status for _ in range(times)]


def is_refused(answer: Answer, requests: int = 100) -> None:
    message = f"Maximum {requests} requests per {WINDOW} seconds"
    assert (answer.status, answer.json) == (429, {"error": "Rate limit exceeded", "message": message})
    assert answer.headers["x-ratelimit-limit"] == str(requests)
    assert answer.headers["x-ratelimit-window"] == str(WINDOW)
    assert 1 <= int(answer.headers["retry-after"]) <= WINDOW


def test_the_hundred_and_first_request_of_a_user_is_refused(running: Scene) -> None:
    """S3-20, S3-22, S3-23: a burst within one second counts whole; the headers are on every answer."""
    token = caller()
    before = time.time()
    for left in range(99, -1, -1):
        answer = running.gateway.get(PATH, bearer=token)
        assert answer.status == 200
        assert answer.headers["x-ratelimit-limit"] == "100"
        assert answer.headers["x-ratelimit-remaining"] == str(left)
        assert answer.headers["x-ratelimit-window"] == str(WINDOW)
    assert before < int(answer.headers["x-ratelimit-reset"]) <= time.time() + WINDOW + 1, "seconds since 1970"
    refused = running.gateway.get(PATH, {"Origin": "https://a.example"}, bearer=token)
    is_refused(refused)
    assert refused.headers["x-ratelimit-remaining"] == "0"
    # S3-51: CORS, a metric and a line in the log are there for it, too.
    assert refused.headers["access-control-allow-origin"] == "*"
    shown = refused.headers["access-control-expose-headers"].split(", ")
    assert {"Retry-After", "X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Window"} <= set(shown)
    running.until_counted("api_gateway_requests_total", status_code="429")
    request_id = refused.headers["x-request-id"]
    until(lambda: request_id in running.gateway.stdout, "its line")


def test_a_burst_of_several_connections_counts_whole(running: Scene) -> None:
    """Two requests in the same second are two, whichever worker has them."""
    token = caller()
    found = statuses(running.gateway, 120, token)
    assert (found.count(200), found.count(429)) == (100, 20)


def test_a_window_slides() -> None:
    """S3-21: 100 at the beginning, then 429 at 59.9 s and 200 at 60.1 s; no reset at the full minute."""
    (limit,) = resolved().limits
    assert (limit.type, limit.requests, limit.window) == ("sliding_window", 100, 60)
    made = LIMITS[limit.type](Quota(limit.requests, int(limit.window * SECOND), limit.requests, 0, True))
    store, of = MemoryStore(1000, 1), group(made)
    assert passed(store, of, 100) == 100
    assert passed(store, of, 1, START + int(59.9 * SECOND)) == 0
    assert passed(store, of, 100, START + int(60.1 * SECOND)) == 100
    assert passed(store, of, 1, START + int(119.9 * SECOND)) == 0


def test_users_keys_and_addresses_are_counted_apart(running: Scene) -> None:
    """S3-24: a user by the token, else the key, else the address."""
    gateway, here = running.gateway, {"X-Forwarded-For": "198.51.100.7"}
    token = caller()
    assert set(statuses(gateway, 100, token, here)) == {200}
    is_refused(gateway.get(PATH, here, bearer=token))
    assert gateway.get(PATH, here, bearer=caller()).status == 200, "another user at the same address"
    key = gateway.command("keys", "create", "--preset", "sandbox").stdout.strip()
    elsewhere = {"X-Forwarded-For": "198.51.100.9", "X-API-Key": key}
    until(lambda: gateway.get(PATH, elsewhere).status == 200, "the key is known")
    assert gateway.get(PATH, {**here, "X-API-Key": key}).headers["x-ratelimit-remaining"] == "98"
    # Who has no credential is his address, refused or let in.
    login = "/api/v1/auth/login"
    found = [gateway.ask("POST", login, {}, here) for _ in range(101)]
    assert [each.status for each in found] == [200] * 100 + [429]
    is_refused(found[-1])
    assert gateway.ask("POST", login, {}, {"X-Forwarded-For": "198.51.100.8"}).status == 200


def test_who_has_no_credential_cannot_ask_for_ever(running: Scene) -> None:
    """README: the limit stands before authentication; 401 as long as the address has requests left, then 429."""
    here = {"X-Forwarded-For": "203.0.113.77"}
    found = statuses(running.gateway, 101, None, here)
    assert found == [401] * 100 + [429]
    assert running.gateway.get(PATH, here, bearer=caller()).status == 200, "a user has a budget of his own"
    # Who looks after services by and by, from an address that has no request left, is told all the same.
    for path in ("health", "status", "auth/health", "auth/metrics"):
        assert running.gateway.get(f"/api/v1/services/{path}", here).status == 200


def test_refusals_are_counted_by_the_class_of_who_asked(running: Scene) -> None:
    """S3-44: `client_type` is user, api_key or ip, never whose."""
    here, token = {"X-Forwarded-For": "203.0.113.99"}, caller()
    statuses(running.gateway, 101, token, here)
    statuses(running.gateway, 101, None, here)
    running.until_counted("api_gateway_rate_limit_hits_total", client_type="user")
    running.until_counted("api_gateway_rate_limit_hits_total", client_type="ip")
    kinds = {
        found["client_type"] for found, _ in running.gateway.metrics(public=True)["api_gateway_rate_limit_hits_total"]
    }
    assert kinds <= {"user", "api_key", "ip"}


def test_replicas_share_one_budget(running: Scene, tmp_path: Path, redis: RedisServer) -> None:
    """S3-27: three of them and one Redis, which holds keys that end by themselves and name nobody."""
    token = caller(sub="shared-by-replicas")
    with scene(tmp_path / "two", redis, env=HOUR) as two, scene(tmp_path / "three", redis, env=HOUR) as three:
        found = [each.gateway.get(PATH, bearer=token).status for _ in range(35) for each in (running, two, three)]
        assert (found.count(200), found.count(429)) == (100, 5)
    keys = redis.call("KEYS", "headgate:*")
    assert keys
    assert all(redis.call("PTTL", key) > 0 for key in keys)
    assert not any(b"shared-by-replicas" in key for key in keys)


def test_without_redis_each_replica_counts_by_itself(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    """S3-25, S3-26: Redis away at the start and later; one line says so, and one that it is back.

    Without TRUSTED_PROXIES, an address is that of the connection, whatever a field says. Breakers know of their calls
    without metrics, too.
    """
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    with scene(tmp_path, server, env={"RATE_LIMIT_REQUESTS": "10", "METRICS_ENABLED": "false", **HOUR}) as made:
        gateway = made.gateway
        forged = [{"X-Forwarded-For": f"198.51.100.{number}"} for number in range(12)]
        found = [gateway.ask("POST", "/api/v1/auth/login", {}, each) for each in forged]
        assert [each.status for each in found] == [200] * 10 + [429] * 2
        is_refused(found[-1], 10)
        counted = {"failure_count": 0, "success_count": 10, "total_requests": 10, "failure_rate": 0.0}
        until(lambda: made.breaker("auth") == {"state": "closed", **counted}, "the calls are counted")
        gateway.wait_log("the store of the limits fails")
        server.start()
        try:
            gateway.wait_log("the store of the limits works again")
            assert statuses(gateway, 11, caller()) == [200] * 10 + [429]
            assert server.call("KEYS", "headgate:*")
        finally:
            server.kill()
        assert statuses(gateway, 11, caller()) == [200] * 10 + [429]


def test_a_secret_is_in_no_line(running: Scene) -> None:
    assert SECRET not in running.gateway.stderr + running.gateway.stdout
