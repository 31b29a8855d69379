"""The counters of the whole gateway, for Prometheus or as JSON."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request, Response

from headgate.control.admin.access import allowed
from headgate.control.admin.answers import Refused, answers
from headgate.control.admin.subject import TheGateway

router = APIRouter(tags=["telemetry"])

_POINT = {
    "type": "object",
    "required": ["name", "value", "timestamp", "labels"],
    "properties": {
        "name": {"type": "string"},
        "value": {"type": "number"},
        "timestamp": {"type": "number"},
        "labels": {"type": "object", "additionalProperties": {"type": "string"}},
    },
}
_SHOWN: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The metrics, in the form that Accept asks for; text by default",
        "content": {
            "text/plain": {"schema": {"type": "string"}},
            "application/openmetrics-text": {"schema": {"type": "string"}},
            "application/vnd.google.protobuf": {"schema": {"type": "string", "format": "binary"}},
            "application/json": {"schema": {"type": "array", "items": _POINT}},
        },
    }
}


@router.get("/metrics", dependencies=[allowed("read")], responses={**answers(404), **_SHOWN}, response_class=Response)
async def metrics(request: Request, gateway: TheGateway) -> Response:
    """Show what all workers have counted."""
    exposition = gateway.parts.exposition
    if not exposition.enabled:
        raise Refused(404, "metrics are not enabled")
    scrape = await exposition.scrape(request.headers.get("accept", ""))
    return Response(scrape.body, headers={"Content-Type": scrape.content_type})
