"""The preset `vocelio`: by which paths its 18 services are reached, and what they and callers are told on the way."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from headgate import __version__
from tests.acceptance.gateway import Answer
from tests.acceptance.stub import Seen, Stub
from tests.acceptance.vocelio import SERVICES, Running, running, token, variable
from tests.control.driver import CEILING

ALIASES = {
    "/agents": "ai-agents",
    "/campaigns": "smart-campaigns",
    "/calls": "call-center",
    "/voices": "voice-lab",
    "/stats": "analytics",
    "/payments": "billing",
    "/leads": "lead-qualification",
    "/appointments": "appointment-booking",
    "/inbound": "inbound-calls",
    "/outbound": "outbound-calls",
    "/kb": "knowledge-base",
    "/team": "team-management",
    "/api/v1/agents": "ai-agents",
    "/api/v1/campaigns": "smart-campaigns",
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running(tmp_path_factory.mktemp("vocelio")) as found:
        yield found


@pytest.fixture
def run(whole: Running) -> Running:
    whole.forget()
    return whole


def reach(run: Running, method: str, path: str, body: object = None) -> tuple[str, Seen, Answer]:
    """Ask with a token; return who was reached, with what, and the answer."""
    answer = run.gateway.ask(method, path, body, bearer=token())
    assert answer.status == 200, (path, answer)
    name = answer.json["stub"]
    return name, run.stubs[name].seen[-1], answer


@pytest.mark.parametrize("service", SERVICES)
def test_each_of_the_18_services_is_reached_with_its_path_unchanged(run: Running, service: str) -> None:
    """S1-03"""
    name, seen, _ = reach(run, "GET", f"/api/v1/{service}/ping?a=1&b=%20x")
    assert (name, seen.method, seen.target) == (service, "GET", f"/api/v1/{service}/ping?a=1&b=%20x")


@pytest.mark.parametrize("service", SERVICES)
def test_each_is_reached_by_its_name_and_version(run: Running, service: str) -> None:
    """S1-04: /{service_name}/v1/{endpoint} is /api/v1/{endpoint} of the service."""
    name, seen, _ = reach(run, "GET", f"/{service}/v1/things/7?q=1")
    assert (name, seen.target) == (service, "/api/v1/things/7?q=1")


@pytest.mark.parametrize(
    ("method", "path", "service", "upstream"),
    [
        ("GET", "/ai-agents/v1/agents", "ai-agents", "/api/v1/agents"),
        ("POST", "/smart-campaigns/v1/campaigns", "smart-campaigns", "/api/v1/campaigns"),
        ("GET", "/analytics/v1/reports", "analytics", "/api/v1/reports"),
        ("GET", "/api/voice-lab/voices/3", "voice-lab", "/api/v1/voices/3"),
    ],
)
def test_the_examples_of_the_description(run: Running, method: str, path: str, service: str, upstream: str) -> None:
    name, seen, _ = reach(run, method, path, {"a": 1} if method == "POST" else None)
    assert (name, seen.method, seen.target) == (service, method, upstream)
    assert seen.body == (b'{"a": 1}' if method == "POST" else b"")


@pytest.mark.parametrize(("alias", "service"), ALIASES.items())
def test_short_names_lead_to_their_services(run: Running, alias: str, service: str) -> None:
    """S1-05 and its kin: the path goes on as it came."""
    name, seen, _ = reach(run, "GET", f"{alias}/7")
    assert (name, seen.target) == (service, f"{alias}/7")


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE"])
def test_every_method_goes_through(run: Running, method: str) -> None:
    _, seen, _ = reach(run, method, "/api/v1/billing/invoices")
    assert seen.method == method


def test_what_services_and_callers_are_told(run: Running) -> None:
    _, seen, answer = reach(run, "GET", "/api/v1/overview/x")
    assert seen.headers["x-forwarded-for"] == "127.0.0.1"
    assert seen.headers["x-forwarded-proto"] == "http"
    assert seen.headers["x-gateway-request-id"] == seen.headers["x-request-id"] == answer.headers["x-request-id"]
    assert seen.headers["x-gateway-version"] == __version__
    assert (seen.headers["x-service-route"], seen.headers["x-attempt"]) == ("overview", "1")
    assert seen.headers["x-user-id"] == "u1"
    assert seen.headers["x-org-id"] == "acme"
    assert answer.headers["x-request-id"].startswith("req_")
    assert float(answer.headers["x-process-time"]) > 0
    assert answer.headers["x-service-response-time"].endswith("ms")
    assert answer.headers["x-powered-by"] == "Vocelio API Gateway"
    assert (answer.headers["x-service-name"], answer.headers["x-service-count"]) == ("overview", "18")
    assert answer.headers["x-attempt-count"] == "1"
    refused = run.gateway.get("/nowhere")
    assert float(refused.headers["x-process-time"]) > 0
    assert refused.headers["x-service-count"] == "18"


def test_a_request_id_that_came_is_kept(run: Running) -> None:
    answer = run.gateway.get("/api/v1/overview/x", {"X-Request-ID": "req_mine"}, bearer=token())
    assert answer.headers["x-request-id"] == answer.json["headers"]["x-request-id"] == "req_mine"


def test_webhooks_need_no_credential_of_ours(run: Running) -> None:
    answer = run.gateway.ask("POST", "/webhooks/call-center/twilio/status?x=1", {"CallSid": "CA1"})
    assert (answer.status, answer.json["stub"]) == (200, "call-center")
    seen = run.stubs["call-center"].seen[-1]
    assert (seen.target, seen.json) == ("/webhooks/twilio/status?x=1", {"CallSid": "CA1"})
    assert (seen.headers["x-webhook-gateway"], seen.headers["x-webhook-service"]) == ("vocelio", "call-center")
    assert answer.headers["x-ratelimit-limit"] == "10000"
    assert (answer.headers["x-service-name"], answer.headers["x-attempt-count"]) == ("call-center", "1")
    assert answer.headers["x-service-response-time"].endswith("ms")
    # Of the service of this name they are management, as of any other.
    assert run.gateway.get("/api/v1/webhooks/x").status == 401
    assert run.gateway.get("/webhooks/v1/x", bearer=token()).json["path"] == "/api/v1/x"
    assert run.gateway.get("/webhooks/nobody/x").status == 404


def test_what_is_no_service_is_404(run: Running) -> None:
    for path in ("/api/v1/nope/x", "/nope/v1/x", "/api/v1/overviewer", "/api/v2/overview/x"):
        assert run.gateway.get(path, bearer=token()).status == 404, path


def read_head(link: socket.socket) -> bytes:
    """Return what was said up to the end of a head, or of the connection."""
    head = b""
    while b"\r\n\r\n" not in head and (said := link.recv(65_536)):
        head += said
    return head


def shouting(server: socket.socket) -> None:
    """Say in capitals what a WebSocket says; checks are told that all is well. End when nobody can come any more."""
    switched = False
    while not switched:
        try:
            link = server.accept()[0]
        except OSError:
            return
        with link:
            head = read_head(link)
            switched = b"websocket" in head.lower()
            if not switched:
                link.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
                continue
            link.sendall(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n")
            while said := link.recv(65_536):
                link.sendall(said.upper())


def tunnel(run: Running, path: str) -> bytes:
    """Ask for a WebSocket and say something; return all that comes back."""
    upgrade = b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: eA==\r\n"
    head = f"GET {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token()}\r\n".encode()
    with run.gateway.connect() as link:
        link.sendall(head + upgrade + b"\r\n")
        found = read_head(link)
        if b" 101 " in found:
            link.sendall(b"a voice")
            while not found.endswith(b"A VOICE") and (said := link.recv(65_536)):
                found += said
        return found


def test_several_instances_and_services_of_ones_own(tmp_path: Path) -> None:
    """S1-07: a list of commas makes instances; a service of one's own gets the same paths as the others; WebSockets."""
    with Stub("one") as one, Stub("two") as two, socket.create_server(("127.0.0.1", 0)) as listening:
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        own: dict[str, Any] = {"services": [{"name": "transcripts", "url": one.url}]}
        own["services"].append({"name": "voices", "url": url})
        env = {variable("overview"): f"{one.url},{two.url}", "LOAD_BALANCER_STRATEGY": "least_connections"}
        thread = threading.Thread(target=shouting, args=(listening,), daemon=True)
        thread.start()
        with running(tmp_path, own, only=(), env=env) as run:
            found = [run.gateway.get("/api/v1/overview/x", bearer=token()).json["stub"] for _ in range(6)]
            assert set(found) == {"one", "two"}
            for path, upstream in {
                "/api/v1/transcripts/1": "/api/v1/transcripts/1",
                "/transcripts/v1/all": "/api/v1/all",
                "/api/transcripts/all": "/api/v1/all",
            }.items():
                answer = run.gateway.get(path, bearer=token())
                assert (answer.status, answer.json["path"]) == (200, upstream)
            assert answer.headers["x-service-count"] == "20"
            assert answer.headers["x-service-name"] == "transcripts"
            told = tunnel(run, "/api/v1/voices/stream")
            assert (told[:13], told[-7:]) == (b"HTTP/1.1 101 ", b"A VOICE")
            thread.join(CEILING)
