"""Instances of services register themselves here, say that they are alive, and leave.

The list is of the form that registries have: a Headgate elsewhere takes it as its discovery of type http.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from headgate.control.admin.access import about, allowed
from headgate.control.admin.answers import Refused, answers
from headgate.control.admin.subject import Subject, TheGateway
from headgate.control.registrations.instance import (
    ID,
    LONGEST_HOST,
    LONGEST_NAME,
    LONGEST_PATH,
    LONGEST_TTL,
    SHORTEST_TTL,
    Instance,
    TooMany,
)
from headgate.control.registrations.known import Known
from headgate.control.registrations.ledger import Unavailable
from headgate.discovery.endpoint_set import LONGEST_ZONE, MOST_WEIGHT, weight_in

router = APIRouter(tags=["registrations"])

_LOOK = allowed("read", "register")
_CHANGE = allowed("register")
_ID = Annotated[str, Path(pattern=f"^{ID}$", description="The instance.")]
_Name = Annotated[str, Field(min_length=1, max_length=LONGEST_NAME)]
Health = Literal["healthy", "unhealthy", "unknown"]


class Registration(BaseModel):
    """What an instance says of itself."""

    model_config = ConfigDict(extra="forbid")

    id: Annotated[str, Field(pattern=f"^{ID}$")] | None = Field(
        default=None, description="Without one, that of the same name, host and port is taken, or one is made."
    )
    name: _Name = Field(description="The service that it is an instance of.")
    host: Annotated[str, Field(min_length=1, max_length=LONGEST_HOST)] = Field(description="A name or an address.")
    port: Annotated[int, Field(ge=1, le=65535, strict=True)]
    protocol: Literal["http", "https"] = "http"
    health_check: Annotated[str, Field(max_length=LONGEST_PATH)] | None = Field(
        default=None,
        description="Path that it is asked at; empty for no checks, registrations.health_check by default.",
    )
    metadata: dict[str, Any] = Field(
        default_factory=dict, description="Whatever belongs to it; weight and zone stand here or beside."
    )
    weight: Annotated[int, Field(ge=0, le=MOST_WEIGHT, strict=True)] | None = None
    zone: Annotated[str, Field(max_length=LONGEST_ZONE)] | None = None
    ttl: Annotated[float, Field(ge=SHORTEST_TTL, le=LONGEST_TTL)] | None = Field(
        default=None,
        description="Seconds until it is dropped when nothing is heard of it; registrations.ttl by default.",
    )
    status: Health = Field(default="unknown", description="What it says of its health; unknown: nothing.")


class Heartbeat(BaseModel):
    """What an instance says of itself when it says that it is alive."""

    model_config = ConfigDict(extra="forbid")

    status: Health | None = Field(default=None, description="Its health; what it said before by default.")


class InstanceShown(BaseModel):
    """One instance that registered."""

    id: str
    name: str
    host: str
    port: int
    protocol: Literal["http", "https"]
    status: Health = Field(description="unhealthy ones get no requests.")
    metadata: dict[str, Any]
    health_check: str = Field(description="Path that it is asked at; empty for no checks.")
    ttl: float
    registered_at: float = Field(description="Seconds since 1970.")
    age: float = Field(description="Seconds since something was heard of it: a heartbeat, or a check that went well.")
    expires_in: float = Field(description="Seconds until it is dropped when nothing more is heard of it.")


class LastCheck(BaseModel):
    """How the last check went."""

    age: float = Field(description="Seconds since then.")
    well: bool
    reason: str = Field(description="Why it did not go well.")


class InstanceHealth(BaseModel):
    """How an instance is."""

    id: str
    name: str
    status: Health
    said: Health = Field(description="What it says itself.")
    checked: LastCheck | None = Field(description="The last check; null before the first, or without checks.")
    age: float
    expires_in: float


@router.get("/services", dependencies=[_LOOK], responses=answers(503))
@router.get("/api/v1/services", dependencies=[_LOOK], responses=answers(503))
async def instances(
    gateway: TheGateway, name: Annotated[_Name | None, Query(description="Only instances of this service.")] = None
) -> list[InstanceShown]:
    """List the instances that registered."""
    try:
        found = await gateway.parts.registrations.every(name)
    except Unavailable as error:
        raise Refused(503, str(error)) from None
    return [_shown(gateway, each) for each in found]


@router.post(
    "/services",
    dependencies=[_CHANGE],
    status_code=201,
    responses={
        **answers(409, 503),
        200: {"model": InstanceShown, "description": "It was registered, and is as it says now"},
    },
)
async def register(asked: Registration, request: Request, response: Response, gateway: TheGateway) -> InstanceShown:
    """Register an instance, or anew one that is registered."""
    known, is_new = await _register(asked, asked.id or "", request, gateway)
    if not is_new:
        response.status_code = 200
    response.headers["Location"] = f"/services/{known.instance.id}"
    return _shown(gateway, known)


@router.get("/services/{id}", dependencies=[_LOOK], responses=answers(404, 503))
async def instance(id: _ID, gateway: TheGateway) -> InstanceShown:  # noqa: A002
    """Show one instance."""
    return _shown(gateway, await _find(id, gateway))


@router.put("/services/{id}", dependencies=[_CHANGE], responses=answers(404, 409, 503))
async def update(id: _ID, asked: Registration, request: Request, gateway: TheGateway) -> InstanceShown:  # noqa: A002
    """Register an instance anew that is registered."""
    about(request, {"instance": id})
    if asked.id not in (None, id):
        raise Refused(422, "body.id: expected the id in the path, or none")
    await _find(id, gateway)
    known, _ = await _register(asked, id, request, gateway)
    return _shown(gateway, known)


@router.delete("/services/{id}", dependencies=[_CHANGE], status_code=204, responses=answers(404, 503))
async def remove(id: _ID, request: Request, gateway: TheGateway) -> None:  # noqa: A002
    """Let an instance go: it gets no more requests."""
    about(request, {"instance": id})
    try:
        was_there = await gateway.parts.registrations.remove(id)
    except Unavailable as error:
        raise Refused(503, str(error)) from None
    if not was_there:
        raise _no_such()


@router.get("/services/{id}/health", dependencies=[_LOOK], responses=answers(404, 503))
async def health(id: _ID, gateway: TheGateway) -> InstanceHealth:  # noqa: A002
    """Show how an instance is, from the last look at it."""
    known = await _find(id, gateway)
    checked = known.health
    last = None
    if known.instance.health_check and checked.checked_at is not None:
        age = gateway.parts.registrations.age(checked.checked_at)
        last = LastCheck(age=round(age, 3), well=not checked.why, reason=checked.why)
    return InstanceHealth(
        id=known.instance.id,
        name=known.instance.name,
        status=known.status,
        said=known.instance.said,
        checked=last,
        **_ages(gateway, known),
    )


@router.put("/services/{id}/heartbeat", dependencies=[_CHANGE], responses=answers(404, 503))
async def heartbeat(
    id: _ID,  # noqa: A002
    request: Request,
    gateway: TheGateway,
    said: Heartbeat | None = None,
) -> InstanceShown:
    """Hear of an instance that it is alive, and perhaps how it is."""
    about(request, {"instance": id})
    try:
        known = await gateway.parts.registrations.renew(id, said.status if said is not None else None)
    except Unavailable as error:
        raise Refused(503, str(error)) from None
    if known is None:
        raise _no_such()
    # A thousand instances that say every ten seconds that they live would be all that the audit log is full of.
    request.state.is_routine = True
    return _shown(gateway, known)


async def _register(asked: Registration, id_: str, request: Request, gateway: Subject) -> tuple[Known, bool]:
    about(request, {"service": asked.name, "instance": id_})
    settings = gateway.parts.registrations.settings
    weight, zone = asked.metadata.get("weight"), asked.metadata.get("zone")
    said = Instance(
        id=id_,
        name=asked.name,
        host=asked.host,
        port=asked.port,
        scheme=asked.protocol,
        weight=asked.weight if asked.weight is not None else weight_in(weight),
        zone=asked.zone if asked.zone is not None else zone if isinstance(zone, str) else "",
        health_check=asked.health_check if asked.health_check is not None else settings.health_check,
        metadata=asked.metadata,
        ttl=asked.ttl if asked.ttl is not None else settings.ttl,
        said=asked.status,
    )
    try:
        known, is_new = await gateway.parts.registrations.register(said)
    except TooMany as error:
        raise Refused(409, str(error)) from None
    except ValueError as error:
        raise Refused(422, f"body.{error}") from None
    except Unavailable as error:
        raise Refused(503, str(error)) from None
    about(request, {"service": known.instance.name, "instance": known.instance.id}, "new" if is_new else "known")
    return known, is_new


async def _find(id_: str, gateway: Subject) -> Known:
    try:
        known = await gateway.parts.registrations.find(id_)
    except Unavailable as error:
        raise Refused(503, str(error)) from None
    if known is None:
        raise _no_such()
    return known


def _no_such() -> Refused:
    return Refused(404, "there is no instance of this id")


def _shown(gateway: Subject, known: Known) -> InstanceShown:
    said = known.instance
    placed: dict[str, Any] = {"weight": said.weight} if said.weight != 1 else {}
    if said.zone:
        placed["zone"] = said.zone
    return InstanceShown(
        id=said.id,
        name=said.name,
        host=said.host,
        port=said.port,
        protocol=said.scheme,
        status=known.status,
        metadata={**said.metadata, **placed},
        health_check=said.health_check,
        ttl=said.ttl,
        registered_at=known.registered_at,
        **_ages(gateway, known),
    )


def _ages(gateway: Subject, known: Known) -> dict[str, float]:
    age = gateway.parts.registrations.age
    return {"age": round(age(known.heard_at), 3), "expires_in": round(max(0.0, -age(known.due)), 3)}
