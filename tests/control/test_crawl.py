"""Nothing that the admin listener answers is reached through the data plane: all of its paths, on all listeners, with
all the ways to write a path that somebody may read in another way: as nobody, with a low role, and with its own token.
"""

from __future__ import annotations

import http.client
import itertools
import json
import os
import socket
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import pytest

from tests.control.driver import CEILING, free_port, until
from tests.control.http_server import HttpServer, QuietHandler
from tests.control.surface.running import running
from tests.control.test_threats_admin import ROUTES
from tests.proxy.callers import keys, static, with_key

PATHS = sorted({route.path for route in ROUTES} | {"/redoc", "/ui/main.js", "/docs/docs.js", "/reload", "/breakers"})
METHODS = sorted({(route.method, route.path) for route in ROUTES if route.method != "GET"})
# Admin answers have it, and nothing else that is asked here.
MARK = "cross-origin-resource-policy"
WAYS = {
    "as it is": "{path}",
    "a slash behind": "{path}/",
    "two slashes": "/{path}",
    "slashes in the middle": "{doubled}",
    "an encoded slash": "/x%2f..{path}",
    "encoded dots": "/x/%2e%2e{path}",
    "dots": "/x/..{path}",
    "a dot": "/.{path}",
    "a backslash": "/x\\..{path}",
    "an encoded letter": "{encoded}",
    "twice encoded": "{twice}",
    "a parameter": "{path};x",
    "a parameter before": "/;x{path}",
    "dots with a parameter": "/x/..;{path}",
    "capitals": "{upper}",
    "a zero byte": "{path}%00",
    "a query": "{path}?x=/",
    "a fragment": "{path}%23",
    "the address before": "http://{admin}{path}",
}


class Answer(NamedTuple):
    status: int
    fields: dict[str, str]
    body: bytes

    def is_of_admin(self) -> bool:
        return MARK in self.fields


class Scene(NamedTuple):
    """A gateway with a route for all paths; `listeners` are TCP ports and the path of a socket."""

    listeners: list[int | str]
    admin: str

    def ask(self, method: str, target: str, at: int | str | None = None, **fields: str) -> Answer:
        where = self.listeners[0] if at is None else at
        connection = http.client.HTTPConnection("127.0.0.1", where if isinstance(where, int) else 80, timeout=CEILING)
        if isinstance(where, str):
            connection.sock = socket.socket(socket.AF_UNIX)
            connection.sock.settimeout(CEILING)
            connection.sock.connect(where)
        try:
            body = fields.pop("body", None)
            connection.putrequest(method, target, skip_host="Host" in fields, skip_accept_encoding=True)
            for name, value in fields.items():
                connection.putheader(name.replace("_", "-"), value)
            raw = body.encode() if body is not None else b""
            connection.putheader("Content-Length", str(len(raw)))
            connection.endheaders(raw)
            answer = connection.getresponse()
            found = {name.lower(): value for name, value in answer.getheaders()}
            return Answer(answer.status, found, answer.read())
        finally:
            connection.close()


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    class Everything(QuietHandler):
        def __getattr__(self, name: str) -> Callable[[], None]:
            if not name.startswith("do_"):
                raise AttributeError(name)
            return self._answer

        def _answer(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            self.send_response(200)
            self.send_header("X-From", "service")
            self.send_header("Content-Length", "0")
            self.end_headers()

    folder = tmp_path_factory.mktemp("crawl")
    service, ports, admin = HttpServer(Everything), [free_port(), free_port()], free_port()
    document: dict[str, Any] = {
        "listen": [*(f"127.0.0.1:{port}" for port in ports), f"unix:{folder}/public.sock"],
        "admin": {"address": f"127.0.0.1:{admin}", "expose": []},
        "surface": [
            {"path": "/proxy-to", "view": "proxy"},
            {"path": "/proxy-to/{service}/{path}", "view": "proxy"},
        ],
        "identity": keys(static("clerk", roles=["clerk"])),
        "auth": "optional",
        "services": [{"name": "all", "url": f"http://127.0.0.1:{service.port}", "routes": [{"name": "everything"}]}],
    }
    try:
        with running(folder, document):
            found = Scene([*ports, f"{folder}/public.sock"], f"127.0.0.1:{admin}")
            until(lambda: found.ask("GET", "/live", admin).is_of_admin(), "the admin listener answers")
            yield found
    finally:
        service.close()


def callers() -> dict[str, dict[str, str]]:
    token = {"Authorization": f"Bearer {os.environ['HEADGATE_ADMIN_TOKEN']}"}
    return {"nobody": {}, "a low role": {"X_API_Key": with_key("clerk").partition(": ")[2]}, "the owner": token}


def test_the_mark_is_that_of_the_admin_listener(scene: Scene) -> None:
    admin = int(scene.admin.partition(":")[2])
    for path in PATHS:
        if not path.endswith("/stream"):
            assert scene.ask("GET", path, admin).is_of_admin(), path
    assert scene.ask("GET", "/x").fields["x-from"] == "service"


@pytest.mark.parametrize("way", WAYS)
def test_no_spelling_of_a_path_leads_there(scene: Scene, way: str) -> None:
    for path, who in itertools.product(PATHS, callers().values()):
        written = {
            "doubled": path.replace("/", "//"),
            "encoded": "".join(f"%{ord(char):02x}" if char.isalpha() else char for char in path),
            "twice": path.replace("i", "%2569"),
            "upper": path.upper(),
        }
        target = WAYS[way].format(path=path, admin=scene.admin, **written)
        answer = scene.ask("GET", target, **who)
        assert not answer.is_of_admin(), (target, answer)
        assert answer.fields.get("x-from") == "service" or answer.status in (400, 401, 403, 421), (target, answer)


@pytest.mark.parametrize("who", callers())
def test_no_listener_and_no_method_leads_there(scene: Scene, who: str) -> None:
    every = [*(("GET", path) for path in PATHS), *METHODS]
    for at, (method, path) in itertools.product(scene.listeners, every):
        answer = scene.ask(method, path, at, **callers()[who], body="{}")
        assert not answer.is_of_admin(), (at, method, path)
    for method in ("OPTIONS", "TRACE", "HEAD", "CONNECT", "PROPFIND"):
        for target in ("/api/v1/config", "*", scene.admin):
            assert not scene.ask(method, target, **callers()[who]).is_of_admin(), (method, target)


@pytest.mark.parametrize("who", callers())
def test_no_field_leads_there(scene: Scene, who: str) -> None:
    path = "/api/v1/config"
    fields: list[dict[str, str]] = [
        {"Host": scene.admin},
        {"Host": "localhost"},
        *({name: scene.admin} for name in ("X_Forwarded_Host", "X_Host", "X_Forwarded_Server", "X_HTTP_Host_Override")),
        {"Forwarded": f"for=127.0.0.1;host={scene.admin}", "X_Forwarded_For": "127.0.0.1", "X_Real_IP": "127.0.0.1"},
        *({name: path} for name in ("X_Original_URL", "X_Rewrite_URL", "X_Forwarded_Prefix", "X_Headgate_Path")),
        {"X_Headgate_Caller": json.dumps({"kind": "operator", "id": "admin"})},
        {"Connection": "Upgrade, HTTP2-Settings", "Upgrade": "h2c", "HTTP2_Settings": "AAMAAABkAARAAAAAAAIAAAAA"},
    ]
    for each in fields:
        for target in (path, "/"):
            assert not scene.ask("GET", target, **each, **callers()[who]).is_of_admin(), (target, each)


NAMES = (
    "{admin}",
    "http://{admin}",
    "headgate:own",
    "admin",
    "control",
    "localhost",
    "..",
    "unix:/x",
    "all@{admin}",
    "",
)


@pytest.mark.parametrize("who", callers())
def test_no_name_of_a_service_leads_there(scene: Scene, who: str) -> None:
    for name in (each.format(admin=scene.admin) for each in NAMES):
        for path in ("/api/v1/config", "//api/v1/config", f"http://{scene.admin}/api/v1/config", f"@{scene.admin}/"):
            body = json.dumps({"service_name": name, "path": path, "method": "GET"})
            answer = scene.ask("POST", "/proxy-to", **callers()[who], body=body)
            assert not answer.is_of_admin()
            assert answer.status in (400, 401, 404, 422), (name, path, answer)
        quoted = name.replace("/", "%2f").replace(":", "%3a")
        assert not scene.ask("GET", f"/proxy-to/{quoted}/api/v1/config", **callers()[who]).is_of_admin(), name
    for path in ("//api/v1/config", f"http://{scene.admin}/api/v1/config", f"//{scene.admin}/", "/../api/v1/config"):
        body = json.dumps({"service_name": "all", "path": path, "method": "GET", "headers": {"host": scene.admin}})
        assert not scene.ask("POST", "/proxy-to", **callers()[who], body=body).is_of_admin(), path


def test_nobody_registers_it_as_a_service(scene: Scene) -> None:
    host, _, port = scene.admin.partition(":")
    owner = callers()["the owner"]
    for name in (
        host,
        "localhost",
        "LOCALHOST.",
        "127.1.2.3",
        "[::1]",
        "::ffff:127.0.0.1",
        "2130706433",
        "0x7f.1",
        "0.0.0.0",
    ):
        said = json.dumps({"name": "all", "host": name, "port": int(port)})
        answer = scene.ask("POST", "/services", int(port), **owner, Content_Type="application/json", body=said)
        assert answer.is_of_admin()
        assert answer.status == 422, (name, answer)
