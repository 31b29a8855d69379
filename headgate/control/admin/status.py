"""How the gateway is: for load balancers, for people, for programs."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field

from headgate.control.admin.access import allowed
from headgate.control.admin.answers import answers
from headgate.control.admin.subject import TheGateway

router = APIRouter(tags=["status"], dependencies=[allowed("read")])


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


@router.get("/health", responses=answers())
async def health(gateway: TheGateway) -> dict[str, Any]:
    """Show plan, workers and drain; `degraded` when something is missing."""
    shown = gateway.snapshot()
    well = shown["plan"] > 0 and all(worker["alive"] for worker in shown["workers"])
    return {"status": "healthy" if well else "degraded", **shown}


@router.get("/ready", response_model=Ready, responses={**answers(), 503: {"model": Ready, "description": "Not ready"}})
async def ready(gateway: TheGateway) -> JSONResponse:
    """Tell whether the gateway takes traffic."""
    shown = gateway.snapshot()
    alive = sum(worker["alive"] for worker in shown["workers"])
    is_ready = shown["plan"] > 0 and alive > 0 and not shown["draining"]
    answer = {"ready": is_ready, "plan": shown["plan"], "workers": alive, "draining": shown["draining"]}
    return JSONResponse(answer, status_code=200 if is_ready else 503)
