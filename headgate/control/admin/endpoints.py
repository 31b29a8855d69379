"""The endpoints of all services: how they are, taken out by hand and put back."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field

from headgate.control.admin.access import about, allowed
from headgate.control.admin.answers import Refused, answers
from headgate.control.admin.subject import TheGateway

router = APIRouter(tags=["endpoints"], prefix="/api/v1/endpoints")

_Name = Annotated[str, Field(min_length=1, max_length=1000)]


class LastCheck(BaseModel):
    """The last active check of an endpoint."""

    age: float = Field(description="Seconds since then.")
    status: int = Field(description="Status code of its answer; 0 when there was none.")
    seconds: float = Field(description="How long it took.")
    well: int = Field(description="How many checks went well.")
    failed: int = Field(description="How many did not.")


class EndpointShown(BaseModel):
    """One endpoint of a service."""

    service: str
    endpoint: str = Field(description="HOST:PORT, or the path of a Unix socket.")
    state: Literal["healthy", "unhealthy", "ejected", "disabled", "draining"]
    enabled: bool = Field(description="Whether no hand has taken it out.")
    healthy: bool = Field(description="What active checks say.")
    ejected: float | None = Field(description="Seconds until it is tried again; null when it is not ejected.")
    checked: LastCheck | None = Field(description="The last active check; null without one.")
    failures: int = Field(description="Failures in a row, of checks or of requests.")
    in_flight: int | None = Field(description="Requests there now, over all workers; null where nobody counts them.")


class EndpointsShown(BaseModel):
    """All endpoints."""

    endpoints: list[EndpointShown]


class EndpointState(BaseModel):
    """What is to become of an endpoint."""

    model_config = ConfigDict(extra="forbid")

    service: _Name
    endpoint: _Name
    state: Literal["enabled", "disabled", "draining"] = Field(
        description="disabled: no new requests; draining: the same, shown as draining; those in flight finish."
    )


@router.get("", dependencies=[allowed("read")], responses=answers())
async def endpoints(gateway: TheGateway) -> EndpointsShown:
    """List all endpoints."""
    return EndpointsShown(endpoints=[EndpointShown(**each) for each in gateway.parts.endpoints.describe()])


@router.post("", dependencies=[allowed("operate")], responses=answers(404, 507))
async def set_state(asked: EndpointState, request: Request, gateway: TheGateway) -> EndpointShown:
    """Take an endpoint out, whatever its health, or let it in again."""
    known = gateway.parts.endpoints
    about(request, {"service": asked.service, "endpoint": asked.endpoint}, asked.state)
    if not known.has(asked.service, asked.endpoint):
        raise Refused(404, "there is no such endpoint of a service of that name; GET /api/v1/endpoints lists them")
    try:
        return EndpointShown(**known.set_state(asked.service, asked.endpoint, asked.state))
    except ValueError as error:
        raise Refused(507, str(error)) from None
