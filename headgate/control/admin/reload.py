"""The configuration, loaded anew."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, Field

from headgate.control.admin.access import actor_of, allowed
from headgate.control.admin.answers import Problem, Refused, answers
from headgate.control.admin.subject import TheGateway
from headgate.control.audit import Cause

router = APIRouter(tags=["configuration"])


class Reloaded(BaseModel):
    """What became of it."""

    ok: bool = Field(description="Whether the new configuration is in force; else the one before is.")
    plan: int = Field(description="Number of the plan that was made, or stays.")
    workers: int = Field(description="How many workers run it.")
    problems: list[str] = Field(description="What is wrong with the new configuration.")


@router.post(
    "/api/v1/reload",
    dependencies=[allowed("operate")],
    responses={
        **answers(409),
        422: {"model": Reloaded | Problem, "description": "The new configuration is not usable"},
    },
)
async def reload(request: Request, response: Response, gateway: TheGateway) -> Reloaded:
    """Load the configuration files anew and bring them into force, or change nothing and say why."""
    if gateway.draining:
        raise Refused(409, "the gateway is stopping")
    outcome = await gateway.reload(Cause("POST /api/v1/reload", actor_of(request)))
    response.status_code = 200 if outcome.ok else 422
    return Reloaded(ok=outcome.ok, plan=outcome.version, workers=outcome.workers, problems=list(outcome.problems))
