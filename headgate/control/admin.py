"""The admin listener: what the gateway says of itself, and the few things an operator may tell it.

Reading is open to whoever reaches the address, which is loopback unless configured otherwise. Who may change something
(POST) is decided in admin_access.
"""

from __future__ import annotations

import contextlib
import json
import socket
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, Literal, Protocol

import uvicorn
from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse

from headgate.control.admin_access import actor_of, denied
from headgate.control.audit import Audit, Cause
from headgate.control.breakers import ACTIONS
from headgate.control.fleet import Outcome
from headgate.control.parts import Parts
from headgate.telemetry import prometheus
from headgate.telemetry.cells import Sample

_SHUTDOWN_SECONDS = 1
_READING = ("GET", "HEAD")


class Subject(Protocol):
    """What the admin application shows and steers."""

    @property
    def token(self) -> str:
        """The admin token in force; empty when none is configured."""

    @property
    def draining(self) -> bool:
        """Whether the gateway is stopping."""

    @property
    def parts(self) -> Parts:
        """What control knows of the gateway."""

    @property
    def audit(self) -> Audit:
        """Where acts are written down."""

    def snapshot(self) -> dict[str, Any]:
        """Plan, workers and drain now."""

    def samples(self) -> list[Sample]:
        """What all worker slots have counted."""

    async def reload(self, cause: Cause) -> Outcome:
        """Load the configuration anew and bring it into force."""


class _Server(uvicorn.Server):
    """uvicorn without its own idea of signals: they belong to the master."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the handlers of this process alone."""
        yield


async def serve(subject: Subject, sockets: list[socket.socket]) -> None:
    """Serve the admin application on listening `sockets` until cancelled."""
    config = uvicorn.Config(
        make_app(subject),
        log_config=None,
        access_log=False,
        lifespan="off",
        ws="none",
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=_SHUTDOWN_SECONDS,
    )
    await _Server(config).serve(sockets)


def make_app(subject: Subject) -> FastAPI:
    """Build the application: /metrics, /health, /ready, /endpoints, /breakers; POST /reload and to the last two."""
    app = FastAPI(title="Headgate", docs_url=None, redoc_url=None, openapi_url=None)

    @app.get("/metrics")
    async def metrics(request: Request) -> Response:
        if _prefers_json(request.headers.get("accept", "")):
            return JSONResponse(prometheus.points(subject.samples(), time.time()))
        return Response(prometheus.render(subject.samples()), media_type=prometheus.CONTENT_TYPE)

    @app.get("/health")
    async def health() -> dict[str, Any]:
        shown = subject.snapshot()
        well = shown["plan"] > 0 and all(worker["alive"] for worker in shown["workers"])
        return {"status": "healthy" if well else "degraded", **shown}

    @app.get("/ready")
    async def ready() -> JSONResponse:
        shown = subject.snapshot()
        alive = sum(worker["alive"] for worker in shown["workers"])
        is_ready = shown["plan"] > 0 and alive > 0 and not shown["draining"]
        answer = {"ready": is_ready, "plan": shown["plan"], "workers": alive, "draining": shown["draining"]}
        return JSONResponse(answer, status_code=200 if is_ready else 503)

    _write_down(app, subject)
    _serve_endpoints(app, subject)
    _serve_breakers(app, subject)

    @app.post("/reload")
    async def reload(request: Request) -> JSONResponse:
        refusal = denied(request, subject.token)
        if refusal is not None:
            return refusal
        if subject.draining:
            return JSONResponse({"ok": False, "problems": ["the gateway is stopping"]}, status_code=409)
        outcome = await subject.reload(Cause("POST /reload", actor_of(request)))
        answer = {"ok": outcome.ok, "plan": outcome.version, "workers": outcome.workers}
        return JSONResponse({**answer, "problems": list(outcome.problems)}, status_code=200 if outcome.ok else 422)

    return app


def _write_down(app: FastAPI, subject: Subject) -> None:
    """Put whatever is more than reading into the audit log, those too who were not let."""

    @app.middleware("http")
    async def audited(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
        if request.method in _READING:
            return await call_next(request)
        status = 500
        try:
            answer = await call_next(request)
            status = answer.status_code
            return answer
        finally:
            outcome: Literal["done", "refused", "failed"] = "failed"
            if status < 400:
                outcome = "done"
            elif status in (401, 403):
                outcome = "refused"
            target, detail = getattr(request.state, "target", {}), getattr(request.state, "detail", "")
            action = f"{request.method} {request.scope['path']}"
            subject.audit("admin.request", actor_of(request), action, outcome, target, detail, status)


def _serve_endpoints(app: FastAPI, subject: Subject) -> None:
    @app.get("/endpoints")
    async def endpoints() -> dict[str, Any]:
        return {"endpoints": subject.parts.endpoints.describe()}

    @app.post("/endpoints")
    async def set_enabled(request: Request) -> JSONResponse:
        refusal = denied(request, subject.token)
        if refusal is not None:
            return refusal
        try:
            asked = json.loads(await request.body())
        except ValueError:
            asked = None
        match asked:
            case {"service": str(service), "endpoint": str(endpoint), "enabled": bool(enabled)}:
                request.state.target = {"service": service, "endpoint": endpoint}
                request.state.detail = "enable" if enabled else "disable"
                try:
                    found = subject.parts.endpoints.set_enabled(service, endpoint, enabled)
                except ValueError as error:
                    return JSONResponse({"error": str(error)}, status_code=507)
            case _:
                text = 'expected {"service": NAME, "endpoint": "HOST:PORT", "enabled": true or false}'
                return JSONResponse({"error": text}, status_code=400)
        if found is None:
            return JSONResponse({"error": f"there is no endpoint {endpoint} of {service}"}, status_code=404)
        return JSONResponse(found)


def _serve_breakers(app: FastAPI, subject: Subject) -> None:
    @app.get("/breakers")
    async def breakers() -> dict[str, Any]:
        return subject.parts.breakers.describe()

    @app.post("/breakers/{service:path}/{action}")
    async def steer(request: Request, service: str, action: str) -> JSONResponse:
        refusal = denied(request, subject.token)
        if refusal is not None:
            return refusal
        wanted = next((each for each in ACTIONS if each == action), None)
        if wanted is None:
            text = f"a breaker can be told {', '.join(ACTIONS[:-1])} or {ACTIONS[-1]}, not {action}"
            return JSONResponse({"error": text}, status_code=404)
        request.state.target = {"breaker": service}
        found = subject.parts.breakers.steer(service, wanted)
        if found is None:
            return JSONResponse({"error": f"there is no circuit breaker of a service {service}"}, status_code=404)
        return JSONResponse({"service": service, **found})


def _prefers_json(accept: str) -> bool:
    """Tell whether JSON is named before, or without, the text form; no Accept at all means text."""
    kinds = [part.partition(";")[0].strip().lower() for part in accept.split(",")]
    json_at = kinds.index("application/json") if "application/json" in kinds else len(kinds)
    text = {"text/plain", "text/*", "*/*", "application/openmetrics-text"}
    return json_at < next((place for place, kind in enumerate(kinds) if kind in text), len(kinds))
