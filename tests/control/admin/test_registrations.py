"""Instances that register over the admin API, say that they live, and leave; all of it on a database of its own."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from headgate.control.admin.app import make_app
from headgate.control.registrations.registrations import TICK, Registrations
from tests.control.admin.subject import HOST, OWNER, Subject, as_role
from tests.loops import on_plain_loop
from tests.proxy.stage import resolved, to

CHAT = {"name": "chat", "host": "10.0.0.1", "port": 8001}


class Scene:
    """The admin API of a gateway with a state_dir; `audited` are the acts that were written down."""

    def __init__(self, folder: Path, **registrations: Any) -> None:
        self.tasks: list[asyncio.Task[Any]] = []
        self.subject = Subject()
        self.now = 1000.0
        config = {**to("http://a"), "state_dir": str(folder), "registrations": registrations}
        made = Registrations(self.subject.log, self._spawn, environ={}, clock=lambda: self.now, chance=lambda: 0.5)
        made.follow(resolved(config))
        self.subject.parts.registrations = self.registrations = made
        self.audited: list[tuple[str, str, dict[str, str]]] = []
        self.subject.audit = self._write_down  # type: ignore[assignment]
        transport = httpx.ASGITransport(make_app(self.subject), client=("127.0.0.1", 40000), raise_app_exceptions=False)
        self.client = httpx.AsyncClient(transport=transport, base_url=f"http://{HOST}", headers=OWNER)

    def _spawn(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        self.tasks.append(asyncio.get_running_loop().create_task(work))
        return self.tasks[-1]

    def _write_down(self, event: str, actor: Any, action: str, outcome: str, target: Any, *_: Any) -> None:
        self.audited.append((action, outcome, target))

    def wait(self, seconds: float) -> None:
        """Let time pass as a process that runs sees it: one that stood still would give everybody more of it."""
        for _ in range(round(seconds / TICK)):
            self.now += TICK
            self.registrations.tick()

    async def ask(self, method: str, path: str, body: Any = None, role: str = "") -> httpx.Response:
        headers = as_role(role) if role else {}
        content = None if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        if content is not None:
            headers["content-type"] = "application/json"
        return await self.client.request(method, path, headers=headers, content=content)

    async def close(self) -> None:
        await self.client.aclose()
        self.registrations.close()
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)


@asynccontextmanager
async def scene(folder: Path, **registrations: Any) -> AsyncIterator[Scene]:
    made = Scene(folder, **registrations)
    try:
        yield made
    finally:
        await made.close()


@on_plain_loop
async def test_the_life_of_an_instance(tmp_path: Path) -> None:
    async with scene(tmp_path, health_check="", ttl=30) as api:
        made = await api.ask("POST", "/services", CHAT)
        shown = made.json()
        assert made.status_code == 201
        assert made.headers["location"] == f"/services/{shown['id']}"
        assert shown | {"id": "", "registered_at": 0} == {
            **CHAT,
            "id": "",
            "protocol": "http",
            "status": "unknown",
            "metadata": {},
            "health_check": "",
            "ttl": 30,
            "registered_at": 0,
            "age": 0,
            "expires_in": 30,
        }
        id_ = shown["id"]
        again = await api.ask("POST", "/services", {**CHAT, "metadata": {"zone": "a", "weight": 3, "v": [1]}})
        assert (again.status_code, again.json()["id"]) == (200, id_)
        api.wait(10)
        assert (await api.ask("GET", f"/services/{id_}")).json()["expires_in"] == 20
        beat = await api.ask("PUT", f"/services/{id_}/heartbeat", {"status": "healthy"})
        assert (beat.status_code, beat.json()["status"], beat.json()["expires_in"]) == (200, "healthy", 30)
        assert (await api.ask("PUT", f"/services/{id_}/heartbeat")).json()["status"] == "healthy"
        for path in ("/services", "/api/v1/services", "/services?name=chat"):
            (listed,) = (await api.ask("GET", path)).json()
            assert {**CHAT, "id": id_, "status": "healthy"}.items() <= listed.items()
            assert listed["metadata"] == {"zone": "a", "weight": 3, "v": [1]}
        assert (await api.ask("GET", "/services?name=other")).json() == []
        health = (await api.ask("GET", f"/services/{id_}/health")).json()
        assert health == {
            "id": id_,
            "name": "chat",
            "status": "healthy",
            "said": "healthy",
            "checked": None,
            "age": 0,
            "expires_in": 30,
        }
        changed = await api.ask("PUT", f"/services/{id_}", {**CHAT, "port": 8002, "protocol": "https"})
        assert (changed.status_code, changed.json()["port"], changed.json()["protocol"]) == (200, 8002, "https")
        (endpoint,) = api.registrations.endpoints("chat")
        assert (endpoint.name, endpoint.scheme) == ("10.0.0.1:8002", "https")
        gone = await api.ask("DELETE", f"/services/{id_}")
        assert (gone.status_code, gone.content) == (204, b"")
        assert (await api.ask("GET", f"/services/{id_}")).status_code == 404
        assert api.registrations.endpoints("chat") == ()


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/services/nobody"),
        ("PUT", "/services/nobody"),
        ("DELETE", "/services/nobody"),
        ("GET", "/services/nobody/health"),
        ("PUT", "/services/nobody/heartbeat"),
    ],
)
@on_plain_loop
async def test_of_nobody_there_is_nothing(method: str, path: str, tmp_path: Path) -> None:
    async with scene(tmp_path) as api:
        answer = await api.ask(method, path, CHAT if path.endswith("nobody") and method == "PUT" else None)
        assert (answer.status_code, answer.json()) == (404, {"error": "there is no instance of this id"})


WRONG: list[dict[str, Any]] = [
    {"id": "../x"},
    {"id": "x" * 129},
    {"id": ""},
    {"id": "a\n"},
    {"name": ""},
    {"name": " "},
    {"name": "a\nb"},
    {"name": "x" * 201},
    {"name": "\ud800"},
    {"host": "http://10.0.0.1"},
    {"host": "10.0.0.1/x"},
    {"host": "user@10.0.0.1"},
    {"host": "10.0.0.1:80"},
    {"host": "10.0.0.1\r\nX: y"},
    {"host": "fe80::1"},
    {"host": "169.254.169.254"},
    {"host": "::ffff:169.254.169.254"},
    {"host": "fd00:ec2::254"},
    {"host": "[FD00:EC2:0::254]"},
    {"host": "::ffff:100.100.100.200"},
    {"host": "Metadata.Google.Internal."},
    {"host": "0xa9fea9fe"},
    {"host": "2852039166"},
    {"host": "0.0.0.0"},
    {"host": "[::]"},
    {"host": "224.0.0.1"},
    {"host": "255.255.255.255"},
    {"host": ""},
    {"port": 0},
    {"port": 65536},
    {"port": "80"},
    {"port": True},
    {"port": None},
    {"protocol": "file"},
    {"health_check": "health"},
    {"health_check": "/a b"},
    {"health_check": "/a\r\nX: y"},
    {"health_check": "/#"},
    {"health_check": "/" + "x" * 1000},
    {"metadata": [1]},
    {"metadata": {"a": "x" * 20_000}},
    {"metadata": {"a": "\ud800"}},
    {"weight": -1},
    {"weight": 1_000_001},
    {"zone": "a\0"},
    {"ttl": 0.5},
    {"ttl": 1e9},
    {"status": "well"},
    {"unknown": 1},
]


@on_plain_loop
async def test_what_an_instance_may_not_say(tmp_path: Path) -> None:
    async with scene(tmp_path) as api:
        before = (await api.ask("POST", "/services", {**CHAT, "id": "known", "port": 9})).json()
        for change in WRONG:
            for method, path in (("POST", "/services"), ("PUT", "/services/known")):
                answer = await api.ask(method, path, {**CHAT, **change})
                assert answer.status_code == 422, (change, answer.text)
                assert list(answer.json()) == ["error"], change
        assert (await api.ask("GET", "/services")).json() == [before]


@on_plain_loop
async def test_what_is_no_registration_at_all(tmp_path: Path) -> None:
    async with scene(tmp_path) as api:
        nan = b'{"name": "a", "host": "h", "port": 80, "metadata": {"a": NaN}}'
        for body in (b"", b"[]", b"{", nan, b"\xff", b"null"):
            assert (await api.ask("POST", "/services", body)).status_code in (400, 422), body


@on_plain_loop
async def test_only_who_is_from_the_networks_is_taken(tmp_path: Path) -> None:
    async with scene(tmp_path, networks=["10.0.0.0/8", "fd00::/8"]) as api:
        for host, status in [
            ("10.1.2.3", 201),
            ("::ffff:10.1.2.4", 201),
            ("[fd00::1]", 201),
            ("fd00::2", 201),
            ("11.0.0.1", 422),
            ("127.0.0.1", 422),
            ("chat.internal", 422),
        ]:
            answer = await api.ask("POST", "/services", {**CHAT, "host": host})
            assert answer.status_code == status, host


@on_plain_loop
async def test_the_admin_listener_is_no_service(tmp_path: Path) -> None:
    async with scene(tmp_path) as api:
        for host, port, status in [
            ("127.0.0.1", 8081, 422),
            ("127.9.9.9", 8081, 422),
            ("localhost", 8081, 422),
            ("[::1]", 8081, 422),
            ("::ffff:127.0.0.1", 8081, 422),
            ("127.0.0.1", 8082, 201),
            ("10.0.0.1", 8081, 201),
        ]:
            answer = await api.ask("POST", "/services", {**CHAT, "host": host, "port": port})
            assert answer.status_code == status, host


@on_plain_loop
async def test_there_is_room_for_so_many_and_no_more(tmp_path: Path) -> None:
    async with scene(tmp_path, max_instances=2) as api:
        for port in (1, 2):
            assert (await api.ask("POST", "/services", {**CHAT, "port": port})).status_code == 201
        refused = await api.ask("POST", "/services", {**CHAT, "port": 3})
        assert (refused.status_code, list(refused.json())) == (409, ["error"])
        assert (await api.ask("POST", "/services", {**CHAT, "port": 2})).status_code == 200


@pytest.mark.parametrize(
    ("role", "reads", "changes"), [("read", 200, 403), ("register", 200, 201), ("operate", 200, 201)]
)
@on_plain_loop
async def test_roles(role: str, reads: int, changes: int, tmp_path: Path) -> None:
    async with scene(tmp_path) as api:
        assert (await api.ask("GET", "/services", role=role)).status_code == reads
        assert (await api.ask("POST", "/services", CHAT, role=role)).status_code == changes
        assert (await api.client.get("/services", headers={"authorization": ""})).status_code == 401


@on_plain_loop
async def test_what_is_written_down(tmp_path: Path) -> None:
    async with scene(tmp_path) as api:
        id_ = (await api.ask("POST", "/services", {**CHAT, "id": "chat-1"})).json()["id"]
        await api.ask("PUT", f"/services/{id_}/heartbeat")
        await api.ask("PUT", "/services/nobody/heartbeat")
        await api.ask("DELETE", f"/services/{id_}")
    assert api.audited == [
        ("POST /services", "done", {"service": "chat", "instance": "chat-1"}),
        ("PUT /services/nobody/heartbeat", "failed", {"instance": "nobody"}),
        ("DELETE /services/chat-1", "done", {"instance": "chat-1"}),
    ]


@on_plain_loop
async def test_without_a_database_known_instances_live_on_and_new_ones_are_refused(tmp_path: Path) -> None:
    async with scene(tmp_path) as api:
        id_ = (await api.ask("POST", "/services", CHAT)).json()["id"]
        break_database(tmp_path)
        refused = await api.ask("POST", "/services", {**CHAT, "port": 9})
        assert (refused.status_code, list(refused.json())) == (503, ["error"])
        assert (await api.ask("PUT", f"/services/{id_}/heartbeat")).status_code == 200
        assert len((await api.ask("GET", "/services")).json()) == 1
        assert (await api.ask("GET", "/services/nobody")).status_code == 503
        assert (await api.ask("DELETE", f"/services/{id_}")).status_code == 204
        assert api.registrations.endpoints("chat") == ()


def break_database(folder: Path) -> None:
    """Put a folder where the file of the database was."""
    for file in folder.glob("keys.db*"):
        file.unlink()
    (folder / "keys.db").mkdir()


@on_plain_loop
async def test_where_no_state_can_be_kept_a_sentence_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    async with scene(tmp_path / "file") as api:
        for method, path in (("GET", "/services"), ("POST", "/services")):
            answer = await api.ask(method, path, CHAT if method == "POST" else None)
            assert answer.status_code == 503
            assert "state_dir" in answer.json()["error"]
