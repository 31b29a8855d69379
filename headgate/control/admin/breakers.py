"""The circuit breakers of all services, shown and steered."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Path, Request
from pydantic import BaseModel, Field

from headgate.config.admin_settings import BreakerAction
from headgate.control.admin.access import about, allowed
from headgate.control.admin.answers import Refused, answers
from headgate.control.admin.subject import TheGateway
from headgate.control.surface import records

router = APIRouter(tags=["circuit breakers"], prefix="/api/v1/circuit-breakers")


class BreakerShown(BaseModel):
    """One circuit breaker; moments are seconds since 1970, durations seconds."""

    state: Literal["closed", "open", "half_open"]
    forced: Literal["open", "closed"] | None = Field(description="What a hand holds it at until a reset.")
    failure_count: int = Field(description="Failures that count towards opening it.")
    threshold: int | None = Field(description="Failures that open it; null where a rate of errors does.")
    error_rate: float | None = Field(default=None, description="Percent of errors that opens it.")
    window: float | None = Field(default=None, description="Over so many seconds the rate is taken.")
    minimum_requests: int | None = Field(default=None, description="Fewer requests in the window open nothing.")
    window_size: int | None = Field(default=None, description="How many calls are looked at.")
    success_count: int = Field(description="Tries that succeeded since it let some through.")
    success_threshold: int = Field(description="Tries that must succeed to close it.")
    timeout: float = Field(description="How long it stays open.")
    last_failure_time: float | None
    last_success_time: float | None = Field(description="To a second; null where nobody looked.")
    opened_at: float | None
    open_until: float | None = Field(description="When it lets some requests try again.")
    trials_in_flight: int
    trials: int = Field(description="How many requests may try at once.")


class BreakerTold(BreakerShown):
    """A circuit breaker after it was told something."""

    service: str


@router.get("", dependencies=[allowed("read")], responses=answers(), response_model_exclude_unset=True)
async def breakers(gateway: TheGateway) -> dict[str, BreakerShown]:
    """Show all circuit breakers, by service."""
    return {service: BreakerShown(**each) for service, each in gateway.parts.breakers.describe().items()}


@router.post(
    "/{service:path}/{action}",
    dependencies=[allowed("operate")],
    responses=answers(404),
    response_model_exclude_unset=True,
)
async def steer(
    service: Annotated[str, Path(description="Whose breaker.")],
    action: BreakerAction,
    request: Request,
    gateway: TheGateway,
) -> BreakerTold:
    """Close a breaker and forget what it counted (reset), or force it open or closed until a reset."""
    about(request, {"breaker": service})
    # What a reset forgets, too.
    await records.latest_numbers(gateway)
    found = gateway.parts.breakers.steer(service, action)
    if found is None:
        raise Refused(404, "there is no circuit breaker of a service of that name")
    return BreakerTold(service=service, **found)
