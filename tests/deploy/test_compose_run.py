"""The compose file's own programs, issuer and sample, before and behind a gateway with the variables of the file."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.acceptance.gateway import Gateway
from tests.control.driver import CEILING, free_port, until
from tests.deploy.installed import ROOT
from tests.deploy.test_containers import COMPOSE, compose


def start(*words: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, *words], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=CEILING).status_code == 200
    except httpx.TransportError:
        return False


@pytest.fixture(scope="module")
def issuer() -> Iterator[str]:
    url = f"http://localhost:{free_port()}"
    process = start(
        str(ROOT / "deploy/compose/issuer.py"), url.removeprefix("http://").replace("localhost", "127.0.0.1"), url
    )
    try:
        until(lambda: answers(f"{url}/health"), "the issuer answers")
        yield url
    finally:
        process.kill()
        process.wait()


@pytest.fixture(scope="module")
def sample() -> Iterator[str]:
    address = f"127.0.0.1:{free_port()}"
    process = start("-m", "headgate.cli.samples", "chat-1", address)
    try:
        until(lambda: answers(f"http://{address}/"), "the sample answers")
        yield f"http://{address}"
        process.send_signal(signal.SIGTERM)
        # As the first process of a container it has to end by itself, for nobody else is told to.
        assert process.wait(CEILING) == 0
    finally:
        process.kill()
        process.wait()


@pytest.fixture(scope="module")
def gateway(issuer: str, sample: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    said = compose(COMPOSE[0])["services"]["gateway"]["environment"]
    environ = {name: text for name, text in said.items() if not name.startswith("HEADGATE_")}
    environ |= {"OIDC_ISSUER": issuer, "UPSTREAM_CHAT_URLS": sample, "JAEGER_ENDPOINT": f"{issuer}/v1/traces"}
    # Limits are tried out elsewhere, with a Redis.
    environ |= {"RATELIMIT_ENABLED": "false"}
    folder = tmp_path_factory.mktemp("compose")
    with Gateway(folder, said["HEADGATE_PRESET"], env=environ, port_variable="SERVER_PORT") as made:
        yield made


def test_a_token_of_the_issuer_opens_the_way_to_the_sample(gateway: Gateway, issuer: str) -> None:
    form = {"sub": "ada", "roles": "user admin", "email": "ada@example.com"}
    token = httpx.post(f"{issuer}/token", data=form, timeout=CEILING).json()["access_token"]

    def answered() -> bool:
        # Keys of the issuer may still be on their way.
        return gateway.get("/v1/chat/models/7?limit=5", bearer=token).status == 200

    until(answered, "the token is taken")
    seen = gateway.get("/v1/chat/models/7?limit=5", bearer=token).json
    assert (seen["service"], seen["path"]) == ("chat-1", "/models/7?limit=5")
    assert gateway.get("/v1/chat/models/7").status == 401
    assert gateway.get("/v1/chat/models/7", bearer=f"{token}x").status == 401


def test_the_command_that_the_file_shows_answers(gateway: Gateway) -> None:
    assert gateway.get("/health").status == 200


def test_the_issuer_says_of_nothing_else_that_it_is_there(issuer: str) -> None:
    with httpx.Client(base_url=issuer, timeout=CEILING) as client:
        assert client.get("/nothing").status_code == 404
        assert client.post("/nothing").status_code == 404
        told = client.get("/.well-known/openid-configuration").json()
        assert told["issuer"] == issuer
        assert client.get(told["jwks_uri"]).json()["keys"][0]["kty"] == "RSA"


def test_the_programs_are_those_of_the_file() -> None:
    for file in COMPOSE:
        services = compose(file)["services"]
        for name, service in services.items():
            if "headgate.cli.samples" in service.get("entrypoint", []):
                assert service["command"][0] == name
        mounted = services["issuer"]["volumes"][0].split(":")
        assert (ROOT / Path(mounted[0])).samefile(ROOT / "deploy/compose/issuer.py")
        assert services["issuer"]["entrypoint"] == ["python", mounted[1]]
