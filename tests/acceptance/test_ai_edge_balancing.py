"""How the preset ai-edge spreads requests over the instances of a service, leaves out those that are ill, and stops."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.acceptance.edge import edge, refused, token, upstreams
from tests.acceptance.gateway import Answer, Gateway
from tests.acceptance.stub import Stub
from tests.control.driver import until

OFF = {"RATELIMIT_ENABLED": "false"}
ONE_WORKER = ("--set", "shutdown.grace=0", "--set", "workers=1")


@pytest.fixture(scope="module")
def stubs() -> Iterator[list[Stub]]:
    made = [Stub(name) for name in ("a", "b", "c")]
    yield made
    for stub in made:
        stub.close()


@pytest.fixture(autouse=True)
def fresh(stubs: list[Stub]) -> None:
    for stub in stubs:
        stub.forget()


def ask(gateway: Gateway, path: str = "/v1/chat/x", **headers: str) -> Answer:
    return gateway.get(path, {name.replace("_", "-"): value for name, value in headers.items()}, bearer=token())


def who(gateway: Gateway, times: int) -> Counter[str]:
    """Ask one after another; return who answered how often."""
    return Counter(ask(gateway).json["stub"] for _ in range(times))


@pytest.fixture(scope="module")
def least(tmp_path_factory: pytest.TempPathFactory, stubs: list[Stub]) -> Iterator[Gateway]:
    checks = {"UPSTREAM_CHAT_HEALTH_PATH": "/health", "UPSTREAM_CHAT_HEALTH_INTERVAL": "100ms"}
    env = OFF | checks | upstreams("chat", *stubs) | {"PROXY_LOAD_BALANCER": "least_connections"}
    with edge(tmp_path_factory.mktemp("edge"), None, env=env, options=ONE_WORKER) as gateway:
        yield gateway


def test_round_robin_and_weighted(tmp_path: Path, stubs: list[Stub]) -> None:
    """S4-30, S4-32: evenly; and 3 to 1, by the environment and by a file"""
    env = OFF | upstreams("chat", *stubs) | upstreams("heavy", *stubs[:2]) | {"UPSTREAM_HEAVY_WEIGHTS": "3,1"}
    endpoints = [{"url": stubs[0].url, "weight": 1}, {"url": stubs[2].url, "weight": 4}]
    own = {"services": [{"name": "file", "endpoints": endpoints, "balancer": "weighted"}]}
    with edge(tmp_path, None, own, env=env, options=ONE_WORKER) as gateway:
        assert who(gateway, 9) == {"a": 3, "b": 3, "c": 3}
        heavy = Counter(ask(gateway, "/v1/heavy/x").json["stub"] for _ in range(8))
        assert heavy == {"a": 6, "b": 2}
        weighted = Counter(ask(gateway, "/v1/file/x").json["stub"] for _ in range(10))
        assert weighted == {"a": 2, "c": 8}


def test_least_connections(least: Gateway, stubs: list[Stub]) -> None:
    """S4-31: none goes to the busy one while others have less to do; and it is one of them again afterwards"""
    stubs[0].released.clear()
    with ThreadPoolExecutor(30) as pool:
        # Three at once are spread; two of them are answered.
        first = [pool.submit(ask, least) for _ in range(3)]
        until(lambda: len(stubs[0].seen) == 1, "one waits at a")
        until(lambda: sum(each.done() for each in first) == 2, "the others are answered")
        assert who(least, 10) == {"b": 5, "c": 5}
        stubs[0].released.set()
        assert [each.result().status for each in first] == [200] * 3
    until(lambda: "a" in who(least, 3), "a is one of them again")


def test_a_client_that_leaves_counts_no_longer(least: Gateway, stubs: list[Stub]) -> None:
    """S4-31: on abort, too"""
    for stub in stubs:
        stub.released.clear()
    clients = []
    for count in range(1, 7):
        client = least.connect()
        client.sendall(f"GET /v1/chat/x HTTP/1.1\r\nHost: x\r\nAuthorization: {token()}\r\n\r\n".encode())
        clients.append(client)
        until(lambda count=count: sum(len(stub.seen) for stub in stubs) == count, "it came")  # type: ignore[misc]
    # Two wait at each; those at b and c are answered, those at a leave.
    for stub in stubs[1:]:
        stub.released.set()
    until(lambda: who(least, 4) == {"b": 2, "c": 2}, "only a has something to do")
    for client in clients:
        client.close()
    until(lambda: least.metrics(public=True)["headgate_requests_in_flight"][0][1] <= 1, "they have left")
    for stub in stubs[1:]:
        stub.released.clear()
    with ThreadPoolExecutor(3) as pool:
        asked = [pool.submit(ask, least) for _ in range(3)]
        until(lambda: len(stubs[0].seen) == 3, "a has one of three")
        for stub in stubs:
            stub.released.set()
        assert [each.result().status for each in asked] == [200] * 3


def test_one_that_is_ill_is_left_out(least: Gateway, stubs: list[Stub]) -> None:
    """S4-33: at the first check that fails; all ill: 503; and back when they are well"""
    until(lambda: stubs[0].checks, "it is checked")
    stubs[0].health = 500
    until(lambda: set(who(least, 3)) == {"b", "c"}, "a is out")
    assert who(least, 8) == {"b": 4, "c": 4}
    for stub in stubs:
        stub.health = 500
    until(lambda: ask(least).status == 503, "all are out")
    refused(ask(least), 503, "Service Unavailable", "No endpoint of the service is available.")
    for stub in stubs:
        stub.health = 200
    until(lambda: ask(least).status == 200 and set(who(least, 3)) == {"a", "b", "c"}, "all are back")


def test_adaptive_prefers_whoever_is_quick(tmp_path: Path, stubs: list[Stub]) -> None:
    # Far slower than a busy machine makes the other one.
    stubs[0].answer.delay = 0.4
    env = OFF | upstreams("chat", *stubs[:2]) | {"PROXY_LOAD_BALANCER": "adaptive"}
    with edge(tmp_path, None, env=env, options=ONE_WORKER) as gateway:
        found = who(gateway, 16)
        assert found["b"] > found["a"]


def test_another_instance_is_asked_where_one_cannot_be_reached(tmp_path: Path, stubs: list[Stub]) -> None:
    env = OFF | {"UPSTREAM_CHAT_URLS": f"http://127.0.0.1:1,{stubs[0].url}"}
    with edge(tmp_path, None, env=env, options=ONE_WORKER) as gateway:
        assert who(gateway, 6) == {"a": 6}


def test_it_stops_when_what_is_under_way_has_ended(tmp_path: Path, stubs: list[Stub]) -> None:
    """S4-47: not ready meanwhile, which load balancers see, and the answer is whole"""
    options = ("--set", "shutdown.grace=2", "--set", "workers=1")
    with edge(tmp_path, None, env=OFF | upstreams("chat", stubs[0]), options=options) as gateway:
        assert gateway.get("/ready").status == 200
        stubs[0].released.clear()
        answers: list[Answer] = []
        asking = threading.Thread(target=lambda: answers.append(ask(gateway)))
        asking.start()
        until(lambda: stubs[0].seen, "it waits there")
        gateway.process.terminate()
        until(lambda: gateway.get("/ready").status == 503, "it is not ready")
        assert gateway.get("/ready").json["status"] == "not_ready"
        stubs[0].released.set()
        asking.join()
        assert answers[0].status == 200
        assert gateway.ended() == 0
