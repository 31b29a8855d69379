"""The canary run: a whole gateway with everything on is given secrets that exist nowhere else, good requests, bad ones,
broken files, dying workers and faults of its own; then nothing of them may be found in anything it has said or left.
"""

from __future__ import annotations

import base64
import contextlib
import http.client
import io
import json
import os
import resource
import secrets
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import jwt
import pytest

from headgate.auth.api_key import static_hash
from headgate.auth.basic import hash_password
from headgate.cli.main import main
from tests.control.driver import CEILING, free_port, until
from tests.control.http_server import HttpServer, QuietHandler
from tests.stores.redis.servers import RedisServer
from tests.wire.certificates import Authority

ROOT = Path(__file__).parents[2]
PART = 12

PLUGIN = """
import sys
from headgate.plugin import Deny, Pass, Plugin
from headgate.proxy import guards

class Canary(Plugin):
    def __init__(self, config):
        super().__init__(config)
        self._secret = config["signing"]

    def on_request(self, request):
        shown = request.headers.get("Authorization") or ""
        if request.path == "/plugin-raises":
            raise ValueError(f"{self._secret} {shown} {request.query}")
        if request.path == "/plugin-denies":
            return Deny(403, "No.", "as configured")
        return Pass(set_headers={"X-Signed": self._secret})

_enter = guards.enter

def enter(gateway, exchange, way, cluster):
    if exchange.path == "/fault":
        shown = exchange.stream.head.get(b"authorization")
        def later(_data):
            raise KeyError(shown)
        gateway.loop.call_soon(later, shown)
        raise RuntimeError(shown)
    if exchange.path == "/crash":
        import os, signal
        os.kill(os.getpid(), signal.SIGABRT)
    _enter(gateway, exchange, way, cluster)

guards.enter = enter
"""


class Planted:
    """Secrets by what they are for; each is made here and exists nowhere else."""

    def __init__(self) -> None:
        self.all: dict[str, str] = {}

    def new(self, what: str) -> str:
        return self.add(what, f"{secrets.token_hex(4)}cnry{secrets.token_hex(12)}")

    def add(self, what: str, text: str) -> str:
        self.all[what] = text
        return text

    def found_in(self, said: bytes) -> list[str]:
        """Name the secrets of which the whole, the beginning or the end stands in what was said."""
        parts = {what: {text, text[:PART], text[-PART:], _base64(text)[2:-4]} for what, text in self.all.items()}
        return sorted({what for what, texts in parts.items() for text in texts if text.encode() in said})


def _base64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


class World:
    """All that the gateway asks: the upstream, the server of opaque tokens and the one that authorizes."""

    def __init__(self, opaque: str) -> None:
        seen = self.seen = list[str]()

        class Handler(QuietHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode("latin-1")
                seen.append(f"{self.command} {self.path}\n{self.headers}\n{body}")
                status, answer = 200, {"answer": "fine"}
                if self.path.startswith("/introspect"):
                    answer = {"active": opaque in body, "sub": "opaque-caller"}  # type: ignore[dict-item]
                elif self.path.startswith("/authorize") and "/denied" in (self.headers.get("X-Forwarded-Uri") or ""):
                    status = 403
                written = json.dumps(answer).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(written)))
                self.end_headers()
                self.wfile.write(written)

            def do_POST(self) -> None:
                self.do_GET()

        self._server = HttpServer(Handler)
        self.port = self._server.port

    def close(self) -> None:
        self._server.close()


class Run:
    """One gateway, its commands and its clients; `said` is all that came out of any of them."""

    def __init__(self, folder: Path, planted: Planted) -> None:
        self.folder = folder
        self.planted = planted
        self.said: dict[str, bytes] = {}
        self.file = folder / "config" / "gateway.json"
        self.port, self.tls_port, self.admin_port = free_port(), free_port(), free_port()
        for name in ("config", "state", "runtime", "logs", "home"):
            (folder / name).mkdir()
        self.environ = {
            **{name: value for name, value in os.environ.items() if not name.startswith("HEADGATE")},
            "XDG_RUNTIME_DIR": str(folder / "runtime"),
            "HOME": str(folder / "home"),
            "PYTHONPATH": f"{ROOT}:{folder / 'config'}",
            "HEADGATE_ADMIN_TOKEN": "",
        }
        self.environ.pop("DATABASE_URL", None)
        self.process: subprocess.Popen[bytes] | None = None

    # As an operator

    def write(self, document: dict[str, Any] | str) -> None:
        fresh = self.file.with_suffix(".fresh")
        fresh.write_text(document if isinstance(document, str) else json.dumps(document, indent=1))
        fresh.replace(self.file)

    def start(self) -> None:
        def no_core() -> None:
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))

        logs = self.folder / "logs"
        with (logs / "stdout").open("wb") as out, (logs / "stderr").open("wb") as errors:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "headgate", "run", "--no-watch", str(self.file)],
                stdout=out,
                stderr=errors,
                env=self.environ,
                cwd=self.folder,
                preexec_fn=no_core,
            )
        self.wait_log('"plan 1 is in force"')
        until(self._admin_answers, "the admin address answers")

    def wait_log(self, text: str, count: int = 1) -> None:
        def told() -> bool:
            assert self.process is not None
            said = (self.folder / "logs" / "stderr").read_text()
            assert self.process.poll() is None, said
            return said.count(text) >= count

        until(told, f"{text} is logged:\n{(self.folder / 'logs' / 'stderr').read_text()[-3000:]}")

    def command(self, *words: str, token: str = "", stdin: str = "") -> str:
        """Run a command; return what it printed."""
        environ = {**self.environ, "HEADGATE_ADMIN_TOKEN": token}
        ran = subprocess.run(
            [sys.executable, "-m", "headgate", *words],
            capture_output=True,
            text=True,
            input=stdin,
            check=False,
            timeout=CEILING * 3,
            env=environ,
            cwd=self.folder,
        )
        self.note(f"command {' '.join(words[:3])}", f"{ran.stdout}\n{ran.stderr}".encode())
        return ran.stdout

    def inside(self, *words: str, token: str = "") -> None:
        """Run a command in this process, which is faster."""
        said = io.StringIO()
        with (
            contextlib.redirect_stdout(said),
            contextlib.redirect_stderr(said),
            mock.patch.dict(os.environ, {**self.environ, "HEADGATE_ADMIN_TOKEN": token}),
            contextlib.suppress(SystemExit),
        ):
            main(words)
        self.note(f"command {' '.join(words[:3])}", said.getvalue().encode())

    def stop(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            self.process.wait(CEILING)

    # As a client

    def note(self, what: str, said: bytes) -> None:
        self.said[f"{what} #{len(self.said)}"] = said

    def ask(self, method: str, path: str, headers: dict[str, str] | None = None, body: str = "", port: int = 0) -> int:
        context = ssl._create_unverified_context() if port == self.tls_port else None
        port = port or self.port
        if context is None:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=CEILING)
        else:
            connection = http.client.HTTPSConnection("127.0.0.1", port, timeout=CEILING, context=context)
        try:
            connection.request(method, path, body.encode("latin-1") or None, headers or {})
            answer = connection.getresponse()
            told = f"{answer.status} {answer.reason} {answer.headers}".encode() + answer.read()
            status = answer.status
        except (http.client.HTTPException, OSError) as error:
            told, status = repr(error).encode(), 0
        finally:
            connection.close()
        self.note(f"{method} {path.partition('?')[0]}", told)
        return status

    def raw(self, request: bytes) -> bytes:
        with socket.create_connection(("127.0.0.1", self.port), CEILING) as sock:
            sock.sendall(request)
            sock.shutdown(socket.SHUT_WR)
            answer = b""
            while piece := sock.recv(65536):
                answer += piece
        self.note("raw", answer)
        return answer

    def admin(self, method: str, path: str, token: str = "", body: str = "", **headers: str) -> int:
        shown = {"Authorization": f"Bearer {token}"} if token else {}
        return self.ask(method, path, {**shown, **headers}, body, self.admin_port)

    def _admin_answers(self) -> bool:
        return self.admin("GET", "/ready") == 200

    def pids(self) -> set[int]:
        assert self.process is not None
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text()
        return {int(child) for child in children.split()}

    # At the end

    def leaks(self) -> dict[str, list[str]]:
        """Name what is found, by where it is found; files that hold secrets by design are passed over."""
        everything = dict(self.said)
        for name in ("state", "runtime", "logs", "home"):
            for path in (self.folder / name).rglob("*"):
                if path.is_file():
                    everything[str(path.relative_to(self.folder))] = path.read_bytes()
        found = {where: self.planted.found_in(said) for where, said in everything.items()}
        return {where: what for where, what in found.items() if what}


def document(run: Run, world: World, redis: RedisServer, authority: Authority) -> dict[str, Any]:
    """Turn everything on, each secret a planted one."""
    new, at = run.planted.new, f"http://127.0.0.1:{world.port}"
    cert, key = authority.issue("localhost")
    run.planted.add("TLS key", Path(key).read_text().splitlines()[2])
    password, user = run.planted.all["redis password"], {"name": "ada", "roles": ["staff"]}
    basic = {**user, "hash": hash_password(run.planted.add("password", new("password")), os.urandom(16))}
    static = {"id": "static-key", "hash": static_hash(run.planted.all["static key"].encode()), "tenant": "acme"}
    return {
        "listen": [
            {"address": f"127.0.0.1:{run.port}"},
            {"address": f"127.0.0.1:{run.tls_port}", "tls": {"cert": cert, "key": key}},
        ],
        "admin": {"address": f"127.0.0.1:{run.admin_port}", "token": new("admin token")},
        "workers": 2,
        "state_dir": str(run.folder / "state"),
        "store": {"type": "redis", "url": f"redis://:{password}@127.0.0.1:{redis.port}/0", "timeout": 5},
        "telemetry": {
            "access_log": {"path": "stdout", "format": "json"},
            "audit": {"enabled": True, "path": str(run.folder / "logs" / "audit")},
        },
        "identity": {
            "jwt": {"name": "own", "secret": run.planted.all["JWT secret"], "sources": JWT_SOURCES},
            "introspection": {
                "url": f"{at}/introspect",
                "client_id": "canary",
                "client_secret": new("client secret"),
                "prefix": "opaque-",
            },
            "api_keys": {"static": [static], "pepper": new("pepper")},
            "basic": {"users": [basic]},
            "forward": {"X-Caller": "id", "X-Tenant": "tenant"},
        },
        "cors": {"origins": ["https://app.example.com"], "credentials": True},
        "security_headers": "api",
        "limits": [{"name": "each", "key": "identity", "requests": 40, "window": 3600}],
        "plugins": [{"module": "canary_plugin", "class": "Canary", "config": {"signing": new("plugin secret")}}],
        "headers": {"request": {"set": {"Authorization": f"Bearer {new('provider key')}"}}},
        "services": [
            {
                "name": "api",
                "url": at,
                "circuit_breaker": {"threshold": 50},
                "routes": [
                    {"name": "all", "match": {"path": "/"}, "auth": "required"},
                    {"name": "staff", "match": {"path": "/staff"}, "auth": {"roles": ["admin"]}},
                    {"name": "outside", "match": {"path": "/outside"}, "auth": {"external": f"{at}/authorize"}},
                    {"name": "open", "match": {"path": "/open"}, "auth": "none"},
                ],
            }
        ],
    }


JWT_SOURCES = ["header:Authorization", "cookie:session", "query:access_token"]


@pytest.fixture
def planted() -> Planted:
    made = Planted()
    for what in ("redis password", "JWT secret", "static key", "opaque token"):
        made.new(what)
    made.add("JWT secret", made.all["JWT secret"] + made.new("JWT secret, its end"))
    made.add("static key", f"hg_{made.all['static key']}")
    made.add("opaque token", f"opaque-{made.all['opaque token']}")
    return made


@pytest.fixture
def run(tmp_path: Path, planted: Planted) -> Iterator[Run]:
    made = Run(tmp_path, planted)
    (tmp_path / "config" / "canary_plugin.py").write_text(PLUGIN)
    yield made
    made.stop()


@pytest.fixture
def world(planted: Planted) -> Iterator[World]:
    made = World(planted.all["opaque token"])
    yield made
    made.close()


def token(planted: Planted, what: str, secret: str = "", **claims: Any) -> str:
    said = {"sub": "ada", "tenant": "acme", "exp": time.time() + 600, **claims}
    made = jwt.encode(said, secret or planted.all["JWT secret"], "HS256")
    planted.add(f"{what}, its signature", made.rpartition(".")[2])
    return planted.add(what, made)


def ask_with_good_credentials(run: Run) -> None:
    planted = run.planted
    good = token(planted, "good JWT")
    created = planted.all["created key"]
    basic = planted.add("Basic credential", _base64(f"ada:{planted.all['password']}"))
    ways = [
        {"Authorization": f"Bearer {good}"},
        {"Cookie": f"session={good}; other={planted.new('cookie')}"},
        {"X-API-Key": planted.all["static key"]},
        {"X-API-Key": created},
        {"Authorization": f"Bearer {created}"},
        {"Authorization": f"Basic {basic}"},
        {"Authorization": f"Bearer {planted.all['opaque token']}"},
    ]
    for way in ways:
        for method, path in (("GET", "/"), ("POST", "/outside"), ("GET", "/outside/denied"), ("GET", "/staff")):
            query, body = f"?q={planted.new('query')}", planted.new("body") if method == "POST" else ""
            wanted = {"/outside/denied": 403, "/staff": 403}.get(path, 200)
            assert run.ask(method, path + query, way, body) == wanted, (way, path)
    assert run.ask("GET", f"/?access_token={good}") == 200
    assert run.ask("GET", "/", ways[0], port=run.tls_port) == 200
    preflight = {"Origin": "https://app.example.com", "Access-Control-Request-Method": "GET", **ways[0]}
    assert run.ask("OPTIONS", "/", preflight) in (200, 204)


def ask_with_bad_credentials(run: Run) -> None:
    planted = run.planted
    new = planted.new
    wrong = [
        f"Bearer {token(planted, 'expired JWT', exp=time.time() - 600)}",
        f"Bearer {token(planted, 'forged JWT', secret=new('forger') * 2)}",
        f"Bearer {token(planted, 'for somebody else', aud=new('audience'))}",
        f"Bearer {new('no JWT')}",
        f"Bearer a.{new('malformed JWT')}.b",
        f"Bearer hg_{new('unknown key')}",
        f"Bearer opaque-{new('unknown opaque token')}",
        f"Basic {planted.add('wrong password', _base64('ada:' + new('wrong password, plain')))}",
        f"Basic {new('no base64')}!",
        f"Digest {new('other scheme')}",
        new("no scheme"),
        f"Bearer {new('two')} {new('three')}",
        f"Bearer \xff\xfe{new('bytes')}",
        f"bearer\t{new('tab')}",
    ]
    for shown in wrong:
        for path in ("/", "/outside", "/plugin-raises"):
            assert run.ask("GET", path, {"Authorization": shown}) == 401, shown
        assert run.ask("GET", f"/open?key={new('open query')}", {"Authorization": shown}) == 200
    assert run.ask("GET", "/", {"X-API-Key": new("unknown X-API-Key")}) == 401
    assert run.ask("GET", "/", {"X-API-Key": f"hg_\xff'\"{new('odd X-API-Key')}"}) == 401
    assert run.ask("GET", "/", {"Cookie": f"session={new('bad cookie')}"}) == 401
    assert run.ask("GET", f"/?access_token={new('bad query token')}&x=1") == 401
    assert run.ask("GET", "/nowhere", {"X-API-Key": new("no key")}) == 401
    at = f"GET /?{new('malformed query')} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n".encode()
    for what, rest in {
        "space before colon": b"Authorization : %s\r\n\r\n",
        "control in value": b"Authorization: \x01%s\r\n\r\n",
        "two lengths": b"Content-Length: 3\r\nContent-Length: 5\r\nX-API-Key: %s\r\n\r\n",
        "bad chunk": b"Transfer-Encoding: chunked\r\n\r\n%s\r\n",
        "no colon": b"%s\r\n\r\n",
        "twice": b"Host: b\r\nAuthorization: Bearer %s\r\n\r\n",
        "cut": b"Authorization: Bearer %s",
    }.items():
        run.raw(at + rest.replace(b"%s", new(what).encode()))
    run.raw(b"%s / HTTP/1.1\r\nHost: a\r\n\r\n" % new("method").upper().encode())


def make_it_fail(run: Run) -> None:
    """Let plugins raise, workers crash and faults of the gateway's own happen, each with credentials in hand."""
    planted = run.planted
    for path, status in {"/plugin-raises": 500, "/fault": 500, "/plugin-denies": 403}.items():
        shown = {"Authorization": f"Bearer {token(planted, f'JWT at {path}')}", "Cookie": planted.new(f"cookie {path}")}
        assert run.ask("GET", f"{path}?{planted.new(f'query {path}')}", shown) == status
    log = run.folder / "logs" / "stdout"
    until(lambda: '"error":"internal"' in log.read_text(), "the fault is logged before its worker dies")
    before = run.pids()
    crashing = {"Authorization": f"Bearer {token(planted, 'JWT at a crash')}"}
    assert run.ask("POST", "/crash", crashing, planted.new("body at a crash")) == 0
    until(lambda: len(run.pids()) == len(before) and run.pids() != before, "the worker is replaced")
    run.wait_log("died and is replaced")
    until(lambda: run.ask("GET", "/open") == 200, "it serves again")


def reload_with_broken_files(run: Run, good: dict[str, Any]) -> None:
    assert run.process is not None
    new, text = run.planted.new, json.dumps(good, indent=1)
    admin = good["admin"]["token"]
    broken: list[dict[str, Any] | str] = [
        text[: len(text) // 2],
        text.replace('"token":', '"tokn":'),
        text.replace('"signing":', '"signing" '),
        {**good, "admin": new("admin in a wrong place")},
        {**good, "identity": {**good["identity"], "jwt": {"secret": [new("secret in a list")]}}},
        {**good, "identity": {**good["identity"], "jwt": new("JWT in a wrong place")}},
        {**good, "database": f"postgresql://u:{new('bad database')}@[::1/x"},
        {**good, "database": f"mysql://u:{new('other database')}@127.0.0.1/x"},
        {**good, "store": {"type": "redis", "url": f"redis://u:{new('bad store')}@h:99999"}},
        {**good, "plugins": [{"module": "canary_plugin", "class": "Gone", "config": {"signing": new("gone")}}]},
        {**good, "plugins": [{"module": "canary_plugin", "class": "Canary", "config": {"other": new("other")}}]},
        {**good, "headers": {"request": {"set": {"X-Api-Key": f"a\n{new('header value')}"}}}},
        {**good, "services": [{**good["services"][0], "url": f"http://u:{new('url of a service')}@127.0.0.1"}]},
        f"admin:\n  token: {new('unquoted')}: x\n",
        f"admin:\n  token: *{new('alias')}\n",
        f"admin:\n  token: !{new('tag')} x\n",
    ]
    for number, each in enumerate(broken, 1):
        run.write(each)
        if number % 2:
            assert run.admin("POST", "/api/v1/reload", admin) == 422, each
        else:
            run.process.send_signal(signal.SIGHUP)
        run.wait_log("configuration refused", number)
        run.inside("check", str(run.file))
        run.inside("check", "--explain", "--json", str(run.file))
    run.command("keys", "list", "-c", str(run.file))
    # One that is good, but for a database that is not there.
    run.write({**good, "database": f"postgresql://u:{new('database away')}@127.0.0.1:{free_port()}/keys"})
    run.admin("POST", "/api/v1/reload", admin)
    run.command("keys", "list", "-c", str(run.file))
    run.write(good)
    assert run.admin("POST", "/api/v1/reload", admin) == 200


def use_every_command(run: Run, good: dict[str, Any]) -> None:
    planted, file, admin = run.planted, str(run.file), good["admin"]["token"]
    shown, key = token(planted, "JWT to explain"), planted.new("key to explain")
    path = f"/staff?access_token={planted.new('query to explain')}"
    for header in (f"Authorization: Bearer {shown}", f"X-API-Key: {key}", f"Cookie: session={shown}"):
        run.inside("explain", "GET", path, "-H", header, "-c", file)
        run.inside("explain", "--json", "POST", "/outside", "-H", header, "-c", file)
    for words in ("check", "check --explain", "check --json --explain", "routes", "routes --json"):
        run.inside(*words.split(), file)
    address = ["--admin", f"127.0.0.1:{run.admin_port}"]
    for words in ("status", "breaker list", "breaker reset api", "endpoint list", "reload"):
        run.inside(*words.split(), *address, token=admin)
        run.inside(*words.split(), *address, token=planted.new("wrong token of a command"))
    run.inside("check", "--set", f"admin.token={planted.new('token on the command line')}", "--set", "workers=x", file)
    run.inside("token", file, "--sub", "grace")
    run.command("keys", "hash", stdin=planted.new("key to hash"))
    run.command("keys", "hash", "--password", stdin=planted.new("password to hash"))


def use_the_admin_address(run: Run, admin: str) -> None:
    for path in (
        "/metrics",
        "/health",
        "/ready",
        "/api/v1/endpoints",
        "/api/v1/circuit-breakers",
        f"/nowhere?{run.planted.new('admin query')}",
    ):
        for accept in ("application/json", "text/plain"):
            run.admin("GET", path, Accept=accept)
            run.admin("GET", path, run.planted.new("wrong admin token"), Accept=accept)
    for path in ("status", "config", "config/changes", "config/services", "config/routes", "endpoints", "limits"):
        assert run.admin("GET", f"/api/v1/{path}", admin) == 200, path
    for path in ("requests", "spans", "logs", "errors", "metrics"):
        assert run.admin("GET", f"/api/v1/telemetry/{path}", admin) == 200, path
    for path in ("/api/v1/reload", "/api/v1/circuit-breakers/api/open", "/api/v1/endpoints"):
        for wrong in (run.planted.new("admin token that is wrong"), f"\xff{run.planted.new('admin token, bytes')}"):
            assert run.admin("POST", path, wrong, run.planted.new("admin body")) in (401, 403)
    assert run.admin("POST", "/api/v1/endpoints", admin, run.planted.new("admin body that is none")) == 415
    for action in ("open", "reset"):
        assert run.admin("POST", f"/api/v1/circuit-breakers/api/{action}", admin) == 200


def test_nothing_secret_is_said_or_left_anywhere(tmp_path: Path, run: Run, world: World, planted: Planted) -> None:
    with RedisServer(tmp_path / "redis", "--requirepass", planted.all["redis password"]) as redis:
        (tmp_path / "certificates").mkdir()
        good = document(run, world, redis, Authority(tmp_path / "certificates"))
        run.write(good)
        run.start()
        made = run.command("keys", "create", "--owner", "ada", "--json", "-c", str(run.file))
        key = planted.add("created key", json.loads(made)["key"])
        # By design it is shown once, there.
        run.said = {what: said.replace(key.encode(), b"") for what, said in run.said.items()}
        until(lambda: run.ask("GET", "/", {"X-API-Key": key}) == 200, "the key has reached the workers")
        ask_with_good_credentials(run)
        ask_with_bad_credentials(run)
        make_it_fail(run)
        use_the_admin_address(run, good["admin"]["token"])
        reload_with_broken_files(run, good)
        use_every_command(run, good)
        run.stop()

    assert run.leaks() == {}
    # It was there to be found: secrets have gone through, and the logs have told of all of it.
    went_through = "\n".join(world.seen)
    assert {"provider key", "body", "plugin secret", "opaque token"} <= set(planted.found_in(went_through.encode()))
    assert _base64(f"canary:{planted.all['client secret']}") in went_through
    logs = {name: (run.folder / "logs" / name).read_text() for name in ("stdout", "stderr", "audit")}
    assert {"request.refused", "admin.request", "config.refused", "key.created"} <= {
        json.loads(line)["event"] for line in logs["audit"].splitlines()
    }
    assert logs["stderr"].count("RuntimeError") >= 1
    assert "killed by SIGABRT" in logs["stderr"]
