"""An admin API that answers what a test wants, behind the dashboard as it is really served."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import uvicorn
from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse, StreamingResponse

from headgate.control.admin import ui
from headgate.control.admin.answers import answer_errors
from tests.control.driver import free_port, until
from tests.control.ui import sample

TOKENS = {"token-of-an-operator": "operate", "token-of-a-reader": "read"}
COOKIE = "headgate_session"


class FakeAdmin:
    """Serves at `url` until it is closed.

    `answers` are by path (what is answered, or a function that makes it), `refused` the paths that are refused with a
    status, `told` what was changed, and `streams` how often the stream was opened. `beat` is the time between ticks.
    """

    def __init__(self, beat: float = 0.05) -> None:
        now = time.time()
        self.beat = beat
        self.told: list[tuple[str, str, Any]] = []
        self.refused: dict[str, tuple[int, str]] = {}
        self.streams = 0
        self.watching = 0
        self.cut = threading.Event()
        self.events: list[tuple[str, Any]] = []
        self.breakers = sample.breakers(now)
        self.endpoints = sample.endpoints()
        self.answers: dict[str, Any] = {
            "status": lambda: sample.status(time.time()),
            "endpoints": lambda: {"endpoints": self.endpoints},
            "circuit-breakers": lambda: self.breakers,
            "discovery": {"services": sample.discovery()},
            "limits": {"limits": [sample.LIMIT]},
            "cache": sample.CACHE,
            "config/routes": sample.ROUTES,
            "config": {
                "files": [],
                "writable": True,
                "config": {"listen": ["0.0.0.0:8080"], "admin": {"token": "***"}},
            },
            "config/changes": lambda: {"items": sample.changes(time.time())},
            "telemetry/errors": lambda: {"items": sample.errors(time.time()), "next": None},
            "telemetry/requests": lambda: {"items": sample.records(time.time()), "next": None},
            "telemetry/logs": [],
        }
        self._port = free_port()
        self.address = f"127.0.0.1:{self._port}"
        self.url = f"http://{self.address}/ui/"
        config = uvicorn.Config(self._app(), host="127.0.0.1", port=self._port, log_level="error", ws="none")
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run)
        self._thread.start()
        until(lambda: self._server.started, "the fake answers")

    def close(self) -> None:
        self._server.should_exit = True
        self.cut.set()
        self._thread.join()

    def _app(self) -> FastAPI:
        app = FastAPI()
        answer_errors(app)
        self._serve_sessions(app)
        app.include_router(ui.router)

        @app.get("/api/v1/telemetry/stream")
        async def stream(request: Request) -> Response:
            return self._signed_in(request) or StreamingResponse(self._stream(), media_type="text/event-stream")

        @app.api_route("/api/v1/{path:path}", methods=["GET", "POST"])
        async def anything(path: str, request: Request) -> Response:
            return self._signed_in(request) or await self._answer(path, request)

        return app

    def _serve_sessions(self, app: FastAPI) -> None:
        @app.post("/ui/session")
        async def begin(request: Request) -> Response:
            token = (await request.json())["token"]
            if token not in TOKENS:
                return JSONResponse({"error": "this token is not known"}, status_code=401)
            answer: Response = JSONResponse({"name": "tester", "role": TOKENS[token]})
            answer.set_cookie(COOKIE, TOKENS[token], httponly=True, samesite="strict")
            return answer

        @app.get("/ui/session")
        async def show(request: Request) -> Response:
            role = request.cookies.get(COOKIE)
            return JSONResponse({"name": "tester" if role else None, "role": role})

        @app.delete("/ui/session")
        async def end() -> Response:
            answer = Response(status_code=204)
            answer.delete_cookie(COOKIE)
            return answer

    def _signed_in(self, request: Request) -> Response | None:
        if request.cookies.get(COOKIE) or request.headers.get("authorization", "").removeprefix("Bearer ") in TOKENS:
            return None
        return JSONResponse({"error": "this needs a token"}, status_code=401)

    async def _answer(self, path: str, request: Request) -> Response:
        if path in self.refused:
            status, sentence = self.refused[path]
            return JSONResponse({"error": sentence}, status_code=status)
        if request.method == "POST":
            body = await request.body()
            self.told.append((request.method, path, json.loads(body) if body else None))
            self._act(path)
            return JSONResponse({"ok": True, "plan": 4, "problems": [], "purged": 3})
        if path == "telemetry/history":
            seconds, step = (float(request.query_params[name]) for name in ("seconds", "step"))
            return JSONResponse(sample.history(time.time(), seconds, step))
        found: Any | Callable[[], Any] = self.answers.get(path)
        if found is None:
            return JSONResponse({"error": "there is no such thing"}, status_code=404)
        return JSONResponse(found() if callable(found) else found)

    def _act(self, path: str) -> None:
        parts = path.split("/")
        if parts[0] == "circuit-breakers" and parts[2] == "reset":
            self.breakers[parts[1]] |= {"state": "closed", "failure_count": 0, "open_until": None}

    async def _stream(self) -> AsyncIterator[str]:
        self.streams += 1
        self.watching += 1
        try:
            sent = len(self.events)
            while not self.cut.is_set():
                for kind, data in [*self.events[sent:], ("tick", sample.point(time.time()))]:
                    yield f"event: {kind}\ndata: {json.dumps(data)}\n\n"
                sent = len(self.events)
                await asyncio.sleep(self.beat)
        finally:
            self.watching -= 1
