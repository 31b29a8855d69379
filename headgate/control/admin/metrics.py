"""The counters of the whole gateway, for Prometheus or as JSON."""

from __future__ import annotations

import time

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse

from headgate.control.admin.access import allowed
from headgate.control.admin.answers import answers
from headgate.control.admin.subject import TheGateway
from headgate.telemetry import prometheus

router = APIRouter(tags=["telemetry"])


@router.get("/metrics", dependencies=[allowed("read")], responses=answers())
async def metrics(request: Request, gateway: TheGateway) -> Response:
    """Show what all workers have counted."""
    if _prefers_json(request.headers.get("accept", "")):
        return JSONResponse(prometheus.points(gateway.samples(), time.time()))
    return Response(prometheus.render(gateway.samples()), media_type=prometheus.CONTENT_TYPE)


def _prefers_json(accept: str) -> bool:
    """Tell whether JSON is named before, or without, the text form; no Accept at all means text."""
    kinds = [part.partition(";")[0].strip().lower() for part in accept.split(",")]
    json_at = kinds.index("application/json") if "application/json" in kinds else len(kinds)
    text = {"text/plain", "text/*", "*/*", "application/openmetrics-text"}
    return json_at < next((place for place, kind in enumerate(kinds) if kind in text), len(kinds))
