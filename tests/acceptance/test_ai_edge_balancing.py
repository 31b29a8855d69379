"""How the preset ai-edge spreads requests over the instances of a service, leaves out those that are ill, and stops."""

from __future__ import annotations

import signal
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
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
    with ExitStack() as held:
        yield [held.enter_context(Stub(name)) for name in ("a", "b", "c")]


@pytest.fixture(autouse=True)
def fresh(stubs: list[Stub]) -> None:
    for stub in stubs:
        stub.forget()


def ask(gateway: Gateway, service: str = "chat") -> Answer:
    return gateway.get(f"/v1/{service}/x", bearer=token())


def who(gateway: Gateway, times: int, service: str = "chat") -> Counter[str]:
    """Ask one after another; return who answered how often."""
    return Counter(ask(gateway, service).json["stub"] for _ in range(times))


def held(crowd: ThreadPoolExecutor, gateway: Gateway, stub: Stub, service: str = "chat") -> Future[Answer]:
    """Ask one after another until one waits at an instance that answers nobody; return that one."""
    before = len(stub.seen)

    def tried() -> Future[Answer] | None:
        asking = crowd.submit(ask, gateway, service)
        until(lambda: asking.done() or len(stub.seen) > before, "it is answered, or waits")
        return asking if len(stub.seen) > before else None

    return until(tried, f"one waits at {stub.name}")


@pytest.fixture(scope="module")
def least(tmp_path_factory: pytest.TempPathFactory, stubs: list[Stub]) -> Iterator[Gateway]:
    """A gateway that looks at its instances often, and gives none up because this machine is slow."""
    checks = {"PATH": "/health", "INTERVAL": "100ms", "TIMEOUT": "60s"}
    env = OFF | upstreams("chat", *stubs) | {f"UPSTREAM_CHAT_HEALTH_{name}": value for name, value in checks.items()}
    env |= {"PROXY_LOAD_BALANCER": "least_connections"}
    with edge(tmp_path_factory.mktemp("edge"), None, env=env, options=ONE_WORKER) as gateway:
        yield gateway


@pytest.fixture(scope="module")
def turns(tmp_path_factory: pytest.TempPathFactory, stubs: list[Stub]) -> Iterator[Gateway]:
    """A gateway as it is where nobody says how to spread, but for services of a file that do."""
    env = OFF | upstreams("chat", *stubs) | upstreams("heavy", *stubs[:2]) | {"UPSTREAM_HEAVY_WEIGHTS": "3,1"}
    env |= {"UPSTREAM_HALF_URLS": f"http://127.0.0.1:1,{stubs[0].url}"}
    weighted = [{"url": stubs[0].url, "weight": 1}, {"url": stubs[2].url, "weight": 4}]
    services = [
        {"name": "file", "endpoints": weighted, "balancer": "weighted"},
        # What PROXY_LOAD_BALANCER calls adaptive.
        {"name": "adaptive", "endpoints": [stub.url for stub in stubs[:2]], "balancer": "peak_ewma"},
    ]
    folder = tmp_path_factory.mktemp("edge")
    with edge(folder, None, {"services": services}, env=env, options=ONE_WORKER) as gateway:
        yield gateway


def test_round_robin_and_weighted(turns: Gateway) -> None:
    """S4-30, S4-32: evenly; and 3 to 1, by the environment and by a file"""
    assert who(turns, 9) == {"a": 3, "b": 3, "c": 3}
    assert who(turns, 8, "heavy") == {"a": 6, "b": 2}
    assert who(turns, 10, "file") == {"a": 2, "c": 8}


def test_another_instance_is_asked_where_one_cannot_be_reached(turns: Gateway) -> None:
    assert who(turns, 6, "half") == {"a": 6}


def test_adaptive_prefers_whoever_is_quick(turns: Gateway, stubs: list[Stub]) -> None:
    with ThreadPoolExecutor() as crowd, stubs[0].holding():
        waiting = held(crowd, turns, stubs[0], "adaptive")
        assert who(turns, 8, "adaptive") == {"b": 8}
    assert waiting.result().status == 200


def test_least_connections(least: Gateway, stubs: list[Stub]) -> None:
    """S4-31: none goes to the busy one while others have less to do; and it is one of them again afterwards"""
    with ThreadPoolExecutor() as crowd, stubs[0].holding():
        waiting = held(crowd, least, stubs[0])
        assert who(least, 10) == {"b": 5, "c": 5}
        stubs[0].released.set()
        assert waiting.result().status == 200
    until(lambda: "a" in who(least, 3), "a is one of them again")


def test_a_client_that_leaves_counts_no_longer(least: Gateway, stubs: list[Stub]) -> None:
    """S4-31: on abort, too"""
    with ThreadPoolExecutor() as crowd, stubs[0].holding():
        with least.connect() as client:
            request = f"GET /v1/chat/x HTTP/1.1\r\nHost: x\r\nAuthorization: {token()}\r\n\r\n".encode()

            def sent() -> bool:
                before = sum(len(stub.seen) for stub in stubs)
                client.sendall(request)
                until(lambda: sum(len(stub.seen) for stub in stubs) > before, "it came")
                return bool(stubs[0].seen)

            until(sent, "it waits at a")
            assert who(least, 4) == {"b": 2, "c": 2}, "only a has something to do"
        # What a is still at counts no more, so it is soon asked again.
        held(crowd, least, stubs[0])


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


def refuses(gateway: Gateway) -> bool:
    try:
        gateway.connect().close()
    except ConnectionRefusedError:
        return True
    return False


def test_it_stops_when_what_is_under_way_has_ended(tmp_path: Path, stubs: list[Stub]) -> None:
    """S4-47: the answer is whole, and then it is gone"""
    env = OFF | upstreams("chat", stubs[0])
    with edge(tmp_path, None, env=env, options=ONE_WORKER) as gateway:
        with ThreadPoolExecutor() as crowd, stubs[0].holding():
            waiting = held(crowd, gateway, stubs[0])
            gateway.process.terminate()
            until(lambda: refuses(gateway), "nobody else is let in")
        assert waiting.result().status == 200
        assert gateway.ended() == 0


def test_it_is_not_ready_while_it_stops(tmp_path: Path, stubs: list[Stub]) -> None:
    """S4-47: load balancers see it for as long as they need, and it goes on serving; a second signal ends it at once"""
    env = OFF | upstreams("chat", stubs[0])
    options = ("--set", "shutdown.grace=3600", "--set", "workers=1")
    with edge(tmp_path, None, env=env, options=options) as gateway:
        assert gateway.get("/ready").status == 200
        gateway.process.terminate()
        until(lambda: gateway.get("/ready").status == 503, "it is not ready")
        assert gateway.get("/ready").json["status"] == "not_ready"
        assert ask(gateway).status == 200
        gateway.process.terminate()
        assert gateway.ended() == 128 + signal.SIGTERM
