"""An ASGI application on sockets that are listened on already, until it is cancelled."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from functools import partial
from typing import Any

import uvicorn

from headgate.control.connection import Connection

_SHUTDOWN_SECONDS = 1


class _Server(uvicorn.Server):
    """uvicorn without its own idea of signals: they belong to the master."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the handlers of this process alone."""
        yield


async def serve_app(app: Any, sockets: list[socket.socket], most: int | None = None) -> None:
    """Serve it, over `most` connections at once (None: any number).

    It gets no lifespan, no WebSocket, and the addresses of its peers as they are.
    """
    config = uvicorn.Config(
        app,
        http=partial(Connection, most=most),  # type: ignore[arg-type]
        log_config=None,
        # What it warns of, such as requests that are none, is what any client can have it say.
        log_level="error",
        access_log=False,
        lifespan="off",
        ws="none",
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=_SHUTDOWN_SECONDS,
    )
    await _Server(config).serve(sockets)
