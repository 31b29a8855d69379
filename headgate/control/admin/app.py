"""The application of the admin listener: its routers, behind one door.

A router is a file of this package with a `router`; it is served by standing in ROUTERS. Its routes say who may use
them (access.allowed) and which errors they give (answers.answers), so that the OpenAPI document lists exactly what is
answered.
"""

from __future__ import annotations

import socket
from typing import Final

from fastapi import FastAPI
from starlette.types import ASGIApp

from headgate import __version__
from headgate.control.admin import (
    breakers,
    cache,
    config,
    discovery,
    docs,
    endpoints,
    keys,
    limits,
    metrics,
    registrations,
    reload,
    services,
    session,
    status,
    telemetry,
    ui,
)
from headgate.control.admin.answers import answer_errors
from headgate.control.admin.door import Door
from headgate.control.admin.subject import Subject
from headgate.control.serving import serve_app

ROUTERS = (
    status.front,
    status.router,
    services.router,
    docs.router,
    metrics.router,
    reload.router,
    config.router,
    endpoints.router,
    discovery.router,
    breakers.router,
    limits.router,
    cache.router,
    keys.router,
    registrations.router,
    telemetry.router,
    session.router,
    # Last: its files stand below /ui/, where others have paths, too.
    ui.router,
)

# Whoever watches, looks or scrapes; beyond it those go who ask nothing.
MOST_CONNECTIONS: Final = 256


async def serve(subject: Subject, sockets: list[socket.socket]) -> None:
    """Serve the admin application on listening `sockets` until cancelled."""
    await serve_app(make_app(subject), sockets, MOST_CONNECTIONS)


def make_app(subject: Subject) -> ASGIApp:
    """Build the application as it is served."""
    return Door(make_api(subject), subject)


def make_api(subject: Subject) -> FastAPI:
    """Build the application without its door."""
    app = FastAPI(
        title="Headgate admin API",
        version=__version__,
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        redirect_slashes=False,
    )
    app.state.subject = subject
    answer_errors(app)
    for router in ROUTERS:
        app.include_router(router)
    return app
