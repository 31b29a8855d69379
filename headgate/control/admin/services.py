"""How services are, and how calls of them went: the same records that own endpoints show (control.surface)."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Path
from fastapi.responses import JSONResponse

from headgate.control.admin.access import allowed
from headgate.control.admin.answers import Refused, answers
from headgate.control.admin.subject import TheGateway
from headgate.control.surface import records

router = APIRouter(tags=["services"], dependencies=[allowed("read")])

_Service = Annotated[str, Path(min_length=1, max_length=1000, description="Its name.")]


@router.get("/health", responses={**answers(), 503: {"description": "By health.statuses, unhealthy"}})
@router.get("/api/v1/health", responses={**answers(), 503: {"description": "By health.statuses, unhealthy"}})
async def health(gateway: TheGateway) -> JSONResponse:
    """Show how the gateway is, what it depends on, and a summary of its services, from the last look at each."""
    await records.numbers_of(gateway)
    record = records.health(gateway)
    status: str = record["status"]
    statuses = gateway.parts.own_health.settings.statuses
    return JSONResponse(record, status_code=statuses.get(status, 200))  # type: ignore[call-overload]


@router.get("/api/v1/services/health", responses=answers())
async def services_health(gateway: TheGateway) -> dict[str, Any]:
    """Show how all services are, with their endpoints."""
    record = records.services_health(gateway)
    return {name: record[name] for name in ("overall_status", "services", "last_check")}


@router.get("/api/v1/services/status", responses=answers())
async def services_status(gateway: TheGateway) -> dict[str, Any]:
    """Show all services with their endpoints, and a summary."""
    record = records.status(gateway)
    return {name: record[name] for name in ("services", "summary")}


@router.get("/api/v1/services/{service:path}/health", responses=answers(404))
async def service_health(service: _Service, gateway: TheGateway) -> dict[str, Any]:
    """Show how one service is."""
    found = records.services_of(gateway).get(service)
    if found is None:
        raise _missing()
    return found


@router.get("/api/v1/services/{service:path}/metrics", responses=answers(404))
async def service_metrics(service: _Service, gateway: TheGateway) -> dict[str, Any]:
    """Show how calls of one service went, each with all its tries; times are milliseconds."""
    config = gateway.parts.configuration.resolved
    if config is None or service not in {each.name for each in config.services}:
        raise _missing()
    numbers = await records.numbers_of(gateway)
    return {"service": service, **numbers.calls(service)}


def _missing() -> Refused:
    return Refused(404, "there is no service of that name")
