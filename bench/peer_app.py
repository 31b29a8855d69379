"""The usual Python way of writing a gateway, as a peer: a catch-all FastAPI route that asks with httpx.

Run by the environment of the peers, on uvicorn with uvloop and httptools:
`python peer_app.py PORT UPSTREAM_PORT`.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import uvicorn
from fastapi import FastAPI, Request, Response

_NOT_FORWARDED = {"connection", "keep-alive", "transfer-encoding", "host", "content-length"}


def build(upstream: int) -> FastAPI:
    """Return the application that sends every request to the port `upstream`."""
    limits = httpx.Limits(max_connections=128, max_keepalive_connections=128)
    client = httpx.AsyncClient(base_url=f"http://127.0.0.1:{upstream}", limits=limits)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        async with client:
            yield

    app = FastAPI(lifespan=lifespan)

    @app.api_route("/{path:path}", methods=["GET", "POST", "PUT", "PATCH", "DELETE"])
    async def forward(path: str, request: Request) -> Response:
        headers = {name: value for name, value in request.headers.items() if name not in _NOT_FORWARDED}
        answer = await client.request(
            request.method, f"/{path}", params=request.query_params, headers=headers, content=await request.body()
        )
        kept = {name: value for name, value in answer.headers.items() if name not in _NOT_FORWARDED}
        return Response(answer.content, answer.status_code, kept)

    return app


if __name__ == "__main__":
    uvicorn.run(build(int(sys.argv[2])), host="127.0.0.1", port=int(sys.argv[1]), access_log=False, log_level="warning")
