"""The Python client: where it finds a gateway, what it returns, and how it says that something was refused."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from headgate.client import Client, Refused, Unreachable, find_token
from headgate.control.keys.sync import KeyPlace
from tests.control.admin.subject import TOKEN, as_role
from tests.control.admin.test_config import Filed
from tests.control.admin.test_schema import Running
from tests.ports import free_port


@pytest.fixture
def subject(tmp_path: Path) -> Filed:
    return Filed(tmp_path)


@pytest.fixture
def address(subject: Filed) -> Iterator[str]:
    server = Running(subject)
    yield server.url.removeprefix("http://")
    server.close()


@pytest.fixture
def client(address: str) -> Iterator[Client]:
    with Client(address, TOKEN) as made:
        yield made


def test_it_looks_and_tells(client: Client, subject: Filed) -> None:
    assert client.is_ready()
    assert client.status()["plan"] == 4
    assert [each["endpoint"] for each in client.endpoints()] == ["a:80"]
    assert client.set_endpoint("api", "a:80", "draining")["state"] == "draining"
    assert (client.breakers(), client.limits()) == ({}, [])
    assert client.reload()["ok"]
    assert subject.reloads == ["POST /api/v1/reload"]
    assert client.telemetry("requests", limit="5") == []


def test_it_puts_a_configuration(client: Client, subject: Filed) -> None:
    tag, shown = client.config(origins=True)
    assert shown["origins"]
    text = subject.path.read_text().replace("/chat", "/talk")
    assert client.put_config(text, tag, dry_run=True)["diff"]
    assert client.put_config(text, tag)["ok"]
    assert subject.path.read_text() == text
    assert len(client.config_changes()) == 2
    with pytest.raises(Refused) as told:
        client.put_config(text, tag)
    assert told.value.status == 412


def test_it_makes_replaces_and_ends_keys(client: Client, subject: Filed, tmp_path: Path) -> None:
    subject.parts.keys.current = KeyPlace(f"sqlite:///{tmp_path}/keys.db", b"p" * 32, tmp_path, 1 << 20, 1.0)
    old = client.create_key(owner="ann", roles=["analyst"])
    new = client.rotate_key(old["id"], grace=60)
    assert (old["owner"], old["roles"]) == (new["owner"], new["roles"]) == ("ann", ["analyst"])
    assert old["key"] != new["key"]
    assert client.revoke_key(new["id"])["state"] == "revoked"
    (working,) = client.keys()
    assert working["id"] == old["id"]
    assert {each["id"]: each["state"] for each in client.keys(revoked=True)} == {
        old["id"]: "rotated",
        new["id"]: "revoked",
    }


@pytest.mark.parametrize(
    ("path", "status", "sentence"),
    [
        ("set_endpoint", 404, "no such endpoint"),
        ("steer_breaker", 404, "no circuit breaker"),
        ("revoke_key", 409, "takes no keys"),
    ],
)
def test_a_refusal_has_the_status_and_the_sentence(client: Client, path: str, status: int, sentence: str) -> None:
    arguments = {
        "set_endpoint": ("no", "none", "disabled"),
        "steer_breaker": ("a/b", "reset"),
        "revoke_key": ("key_00",),
    }
    with pytest.raises(Refused, match=sentence) as told:
        getattr(client, path)(*arguments[path])
    assert told.value.status == status
    assert list(told.value.body) == ["error"]


def test_a_role_is_told_what_it_may_not(address: str) -> None:
    token = as_role("read")["authorization"].removeprefix("Bearer ")
    with Client(address, token) as client, pytest.raises(Refused, match="operate"):
        client.reload()


def test_nobody_there_is_said_in_a_sentence() -> None:
    with Client(f"127.0.0.1:{free_port()}", "x") as client, pytest.raises(Unreachable, match="refused"):
        client.status()


def test_the_gateway_of_this_machine_is_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / "admin.token"
    file.write_text("the-token-of-the-file\n")
    file.chmod(0o600)
    environ = {"HEADGATE_STATE_DIR": str(tmp_path)}
    assert find_token(environ) == "the-token-of-the-file"
    assert find_token({**environ, "HEADGATE_ADMIN_TOKEN": "named"}) == "named"
    assert find_token({"HEADGATE_STATE_DIR": str(tmp_path / "none")}) == ""
    assert find_token({}) == ""
    file.chmod(0o644)
    with pytest.raises(ValueError, match="chmod 600"):
        find_token(environ)
    monkeypatch.setenv("HEADGATE_ADMIN", "10.0.0.7:1")
    with Client(token="x") as client:
        assert client.address == "10.0.0.7:1"
    assert "x" not in repr(client).replace("headgate", "")


def test_no_proxy_of_the_environment_is_shown_the_token(
    client: Client, monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:1")
    with Client(address, TOKEN) as fresh:
        assert fresh.is_ready()
