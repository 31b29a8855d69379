"""The gateway as an ASGI application, for servers such as uvicorn, hypercorn and gunicorn with a worker of theirs.

    uvicorn headgate.asgi:app                       # configured by HEADGATE_PRESET and HEADGATE_CONFIG

    from headgate.asgi import gateway
    app = gateway("services.yaml", preset="sandbox")

The server has the listeners: `listen` of the configuration is not opened. Its processes are the workers of one
gateway: one breaker, one limit, one set of metrics over all of them (headgate.control.companion). The gateway's own
listeners are faster and do more (docs/asgi.md); this is for where a server is a given.

Reading order: application (what a server calls), serving (one request), head, stream; guest (how a process becomes a
worker), joining, server_process.
"""

from __future__ import annotations

from headgate.asgi.application import Application, gateway

__all__ = ["Application", "app", "gateway"]

app = gateway()
