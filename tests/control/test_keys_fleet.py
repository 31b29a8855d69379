"""Keys in a real gateway: made and revoked while it runs, in all of its workers, whatever becomes of the database."""

from __future__ import annotations

import http.client
import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.control.driver import CEILING, until
from tests.control.postgres import Postgres
from tests.control.whole import Gateway, Service

# So many connections reach all of four workers, but for one time in ten million.
CONNECTIONS = 64
REFUSED = {"status": 401, "reason": "invalid_api_key"}


class Keys:
    """A gateway that asks for keys, and the command that makes them."""

    def __init__(self, folder: Path, service: Service, workers: int, database: str | None = None) -> None:
        self.file = folder / "gateway.yaml"
        self.gateway = Gateway(
            folder,
            workers,
            {"url": f"http://{service.name}"},
            state_dir=str(folder / "state"),
            identity={"api_keys": {"prefix": "voc_"}},
            # However long the commands between two questions take.
            http={"keepalive_timeout": 3600},
            **({"database": {"url": database, "poll": 0.2}} if database else {}),
        )
        self.connections = [
            http.client.HTTPConnection("127.0.0.1", self.gateway.port, timeout=CEILING) for _ in range(CONNECTIONS)
        ]

    def run(self, *words: str) -> str:
        command = [sys.executable, "-m", "headgate", "keys", *words]
        ran = subprocess.run(command, capture_output=True, text=True, check=False, timeout=CEILING)
        assert ran.returncode == 0, ran.stderr
        return ran.stdout

    def tell(self, action: str, *words: str) -> Any:
        return json.loads(self.run(action, *words, "-c", str(self.file), "--json"))

    def statuses(self, key: str) -> set[int]:
        """Ask each worker, by some connection or other, on connections that stay."""
        found = set()
        for connection in self.connections:
            connection.request("GET", "/", headers={"X-API-Key": key})
            answer = connection.getresponse()
            answer.read()
            found.add(answer.status)
        return found

    def passes(self, key: str) -> bool:
        return self.statuses(key) == {200}

    def refuses(self, key: str) -> bool:
        return self.statuses(key) == {401}

    def close(self) -> None:
        for connection in self.connections:
            connection.close()
        self.gateway.close()


def test_a_key_lives_from_its_making_to_its_end_in_all_workers(tmp_path: Path, service: Service) -> None:
    keys = Keys(tmp_path, service, 4)
    try:
        until(lambda: keys.refuses("voc_unknown"), "the keys have come, and this is none")
        made = keys.tell("create", "--owner", "ann")
        until(lambda: keys.passes(made["key"]), "it is known to all workers")
        assert "\nheadgate_api_keys 1\n" in keys.gateway.metrics()
        assert "\nheadgate_key_database_failing 0\n" in keys.gateway.metrics()
        until(lambda: keys.tell("list")[0]["last_used_at"], "its use is noted")
        keys.gateway.kill_control()
        assert keys.passes(made["key"])
        new = keys.tell("rotate", made["id"], "--grace", "1h")
        until(lambda: keys.passes(new["key"]), "the new one is known")
        assert keys.passes(made["key"])
        keys.tell("revoke", made["id"])
        until(lambda: keys.refuses(made["key"]), "no worker takes it any more")
        assert keys.passes(new["key"])
    finally:
        keys.close()


def test_known_keys_go_on_without_the_database_and_over_a_restart(
    tmp_path: Path, service: Service, postgres: Postgres
) -> None:
    url = postgres.fresh("fleet")
    keys = Keys(tmp_path, service, 2, url)
    try:
        made, gone = keys.tell("create"), keys.tell("create")
        until(lambda: keys.passes(made["key"]) and keys.passes(gone["key"]), "they are known")
        keys.tell("revoke", gone["id"])
        until(lambda: keys.refuses(gone["key"]), "it is revoked")
        postgres.kill()
        keys.gateway.wait_log("keys cannot be brought up to date")
        assert keys.passes(made["key"])
        keys.close()
        keys = Keys(tmp_path, service, 2, url)
        keys.gateway.wait_log("keys cannot be brought up to date")
        until(lambda: keys.passes(made["key"]), "it is known without the database")
        assert keys.refuses(gone["key"])
        postgres.start()
        keys.gateway.wait_log("the database of keys answers again")
        keys.tell("revoke", made["id"])
        until(lambda: keys.refuses(made["key"]), "it is revoked")
        assert postgres.password not in (tmp_path / "stderr").read_text()
    finally:
        keys.close()


def test_what_a_start_cannot_use_is_said(tmp_path: Path, service: Service) -> None:
    (tmp_path / "file").write_text("")
    document = {
        "listen": ["127.0.0.1:0"],
        "state_dir": str(tmp_path / "file" / "state"),
        "identity": {"api_keys": {}},
        "services": [{"name": "api", "url": f"http://{service.name}", "routes": [{"name": "all"}]}],
    }
    (tmp_path / "gateway.yaml").write_text(json.dumps(document))
    ran = subprocess.run(
        [sys.executable, "-m", "headgate", "run", str(tmp_path / "gateway.yaml"), "--admin", "127.0.0.1:0"],
        capture_output=True,
        text=True,
        check=False,
        timeout=CEILING,
    )
    assert ran.returncode == 1
    assert "cannot be made: Not a directory" in ran.stderr


ODD = {
    "quotes": b"voc_' OR '1'='1' --",
    "double quotes": b'voc_"; DROP TABLE headgate_keys; --',
    "a template": b"voc_{{7*7}}${jndi:ldap://127.0.0.1/a}%n%s",
    "markup": b"voc_<script>alert(1)</script>",
    "UTF-8": "voc_\u00e9\u4e2d\U0001f511".encode(),
    "overlong UTF-8": b"voc_\xc0\xaf\xe0\x80\xaf",
    "not UTF-8": b"voc_\xff\xfe\x80",
    "a direction": "voc_\u202etxt".encode(),
    "a tab": b"voc_a\tb",
    "path": b"voc_../../etc/passwd",
    "only the prefix": b"voc_",
    "long": b"voc_" + b"A" * 4000,
}


def raw(port: int, field: bytes, value: bytes) -> bytes:
    """Send a head with these very bytes; return all of the answer."""
    with socket.create_connection(("127.0.0.1", port), timeout=CEILING) as client:
        head = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n" + field + b": " + value + b"\r\n\r\n"
        client.sendall(head)
        answer = b""
        while chunk := client.recv(65536):
            answer += chunk
    return answer


@pytest.fixture(scope="module")
def answering(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Keys]:
    service = Service()
    keys = Keys(tmp_path_factory.mktemp("odd"), service, 1)
    until(lambda: keys.refuses("voc_unknown"), "the keys have come")
    yield keys
    keys.close()
    service.close()


@pytest.mark.parametrize("shown", ODD.values(), ids=ODD)
@pytest.mark.parametrize("field", [b"X-API-Key", b"Authorization"])
def test_any_bytes_are_refused_alike_and_nothing_of_them_comes_back(
    answering: Keys, field: bytes, shown: bytes
) -> None:
    answer = raw(answering.gateway.port, field, b"Bearer " + shown if field == b"Authorization" else shown)
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 401 ")
    assert b"\r\nWWW-Authenticate: ApiKey realm=" in head
    said = json.loads(body)
    assert {"status": said["status"], "reason": said["reason"]} == REFUSED
    assert said["detail"] == "The API key is not valid."
    assert shown == b"voc_" or shown[4:] not in answer
    assert (shown == b"voc_") or shown[4:] not in (answering.file.parent / "stderr").read_bytes()


@pytest.mark.parametrize("shown", [b"voc_\0", b"voc_" + b"A" * (1 << 20)], ids=["NUL", "a megabyte"])
def test_what_is_no_field_value_never_becomes_a_key(answering: Keys, shown: bytes) -> None:
    # RFC 9110 section 5.5: NUL is invalid; a head has its own bound. Neither comes as far as being looked up.
    try:
        answer = raw(answering.gateway.port, b"X-API-Key", shown)
    except (ConnectionResetError, BrokenPipeError):
        # The gateway answered and closed while the rest was still on its way.
        return
    assert answer.split(b" ")[1] in (b"400", b"431")
    assert shown[:8] not in answer
