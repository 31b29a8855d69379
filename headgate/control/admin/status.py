"""How the gateway is: for load balancers, for people, for programs."""

from __future__ import annotations

from collections import Counter

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, RedirectResponse, Response
from pydantic import BaseModel, Field

from headgate import __version__
from headgate.control.admin.access import allowed
from headgate.control.admin.answers import answers
from headgate.control.admin.subject import Subject, TheGateway
from headgate.control.snapshot import is_whole, uptime

router = APIRouter(tags=["status"], dependencies=[allowed("read")])
# Without a word of the gateway: a browser that comes by is led to the dashboard.
front = APIRouter(tags=["status"])


class WorkerShown(BaseModel):
    """One worker process."""

    worker: int = Field(description="Its number, from 1.")
    pid: int = Field(description="Its process id; 0 while there is none.")
    uptime: float = Field(description="Seconds since it came up.")
    alive: bool = Field(description="Whether it was heard of in the last seconds.")


class Ready(BaseModel):
    """Whether the gateway takes traffic."""

    ready: bool
    plan: int = Field(description="The plan in force; 0 before the first.")
    workers: int = Field(description="How many workers are alive.")
    draining: bool


class Live(BaseModel):
    """That this process answers."""

    status: str = Field(examples=["alive"])


class LastReload(BaseModel):
    """The last time that a configuration was loaded."""

    at: float = Field(description="Seconds since 1970.")
    by: str = Field(description="Who, as the audit log names them.")
    cause: str
    ok: bool = Field(description="Whether it is in force.")
    problems: list[str]


class Counts(BaseModel):
    """How many of each there are."""

    services: int
    routes: int
    limits: int
    endpoints: dict[str, int] = Field(description="By state.")
    breakers: dict[str, int] = Field(description="By state.")


class StatusShown(BaseModel):
    """The gateway in one record."""

    status: str = Field(description="healthy, or degraded while a worker is missing.", examples=["healthy"])
    version: str
    uptime: float = Field(description="Seconds since the oldest of its workers came up.")
    control_uptime: float = Field(description="Seconds since the control process came up.")
    plan: int
    draining: bool
    workers: list[WorkerShown]
    listeners: list[str] = Field(description="Where it listens for clients.")
    counts: Counts
    reload: LastReload | None


@front.get("/", responses={**answers(), 307: {"description": "Browsers are led to the dashboard"}}, status_code=200)
async def index(request: Request) -> Response:
    """Say where to look further."""
    if "text/html" in request.headers.get("accept", ""):
        return RedirectResponse("ui/", 307)
    links = {
        "dashboard": "/ui/",
        "api": "/docs",
        "openapi": "/openapi.json",
        "health": "/health",
        "metrics": "/metrics",
    }
    return JSONResponse({"name": "headgate", "links": links})


@router.get("/ready", response_model=Ready, responses={**answers(), 503: {"model": Ready, "description": "Not ready"}})
async def ready(gateway: TheGateway) -> JSONResponse:
    """Tell whether the gateway takes traffic."""
    shown = gateway.snapshot()
    alive = sum(worker["alive"] for worker in shown["workers"])
    is_ready = shown["plan"] > 0 and alive > 0 and not shown["draining"]
    answer = {"ready": is_ready, "plan": shown["plan"], "workers": alive, "draining": shown["draining"]}
    return JSONResponse(answer, status_code=200 if is_ready else 503)


@router.get("/live", responses=answers())
async def live() -> Live:
    """Tell that the control process answers."""
    return Live(status="alive")


@router.get("/status", responses=answers())
@router.get("/api/v1/status", responses=answers())
async def status(gateway: TheGateway) -> StatusShown:
    """Show the gateway in one record."""
    shown = gateway.snapshot()
    config = gateway.parts.configuration.resolved
    return StatusShown(
        status="healthy" if is_whole(shown) else "degraded",
        version=__version__,
        uptime=uptime(shown),
        control_uptime=shown["control_uptime"],
        plan=shown["plan"],
        draining=shown["draining"],
        workers=[WorkerShown(**worker) for worker in shown["workers"]],
        listeners=[listener.address for listener in config.listeners] if config is not None else [],
        counts=_counts(gateway),
        reload=_last_reload(gateway),
    )


def _counts(gateway: Subject) -> Counts:
    parts = gateway.parts
    config = parts.configuration.resolved
    return Counts(
        services=len(config.services) if config is not None else 0,
        routes=len(config.routes) if config is not None else 0,
        limits=len(parts.limits.describe()),
        endpoints=Counter(each["state"] for each in parts.endpoints.describe()),
        breakers=Counter(each["state"] for each in parts.breakers.describe().values()),
    )


def _last_reload(gateway: Subject) -> LastReload | None:
    changes = gateway.parts.configuration.changes
    if not changes:
        return None
    last = changes[0]
    return LastReload(at=round(last.at, 3), by=last.by, cause=last.cause, ok=last.ok, problems=list(last.problems))
