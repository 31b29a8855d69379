"""A gateway that does nothing but be shown by the admin application, and requests to it without a socket."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from dataclasses import replace
from functools import cache
from typing import Any, cast

import httpx
from fastapi import FastAPI

from headgate.config.admin_settings import AdminToken
from headgate.config.loader import LoadResult
from headgate.control.admin.app import make_api
from headgate.control.admin.door import Door
from headgate.control.audit import Audit, Cause
from headgate.control.fleet import Fleet, Outcome
from headgate.control.log import Log
from headgate.control.parts import Parts
from headgate.control.snapshot import Snapshot
from headgate.stores.board import Board
from tests.proxy.stage import resolved, to

HOST = "127.0.0.1:8081"
TOKEN = "the token of the operator"
# What whoever may do everything sends.
OWNER = {"host": HOST, "authorization": f"Bearer {TOKEN}"}
ROLES = ("read", "register", "operate", "admin")


def as_role(role: str) -> dict[str, str]:
    """Return what an operator of this role sends."""
    return {"host": HOST, "authorization": f"Bearer the token of role {role}"}


def spawn(work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
    """Start something that ends with the loop of the request that began it."""
    return asyncio.get_running_loop().create_task(work)


class Subject:
    """A gateway with an operator for each role, besides the one with TOKEN; `config` is what its parts follow."""

    def __init__(self, board: Board | None = None, config: dict[str, Any] | None = None, **snapshot: Any) -> None:
        self.reloads: list[str] = []
        self.outcome = Outcome(5, 2)
        worker = {"worker": 1, "pid": 11, "uptime": 3.0, "alive": True}
        shown = {"plan": 4, "draining": False, "workers": [worker], "control_uptime": 3.0, **snapshot}
        self._snapshot = cast("Snapshot", shown)
        self.log = Log("control")
        self.parts = Parts(board or Board.create(), self.log, spawn, Fleet(self.log), None)
        self.audit = Audit(self.log)
        found = resolved(config if config is not None else to("http://a"))
        tokens = [AdminToken(name=role, token=f"the token of role {role}", role=role) for role in ROLES]  # type: ignore[arg-type]
        admin = replace(found.admin, token=TOKEN, tokens=tokens)
        # Nothing outlives it: who wants a database brings his own.
        self.config = replace(found, admin=admin, state_dir="/dev/null/none")
        self.parts.configuration.follow(self.config)
        self.parts.limits.follow(self.config)
        self.parts.caching.follow(self.config)
        self.parts.operators.follow(self.config)
        self.parts.endpoints.follow(self.config)
        self.parts.breakers.follow(self.config)

    @property
    def draining(self) -> bool:
        return bool(self._snapshot["draining"])

    def snapshot(self) -> Snapshot:
        return self._snapshot

    async def reload(
        self, cause: Cause, load: Callable[[], LoadResult] | None = None, undo: Callable[[], None] | None = None
    ) -> Outcome:
        if load is not None:
            loaded = load()
            if loaded.config is None:
                return Outcome(4, problems=tuple(str(each) for each in loaded.problems))
            self.parts.configuration.applied(loaded, cause, 5)
        self.reloads.append(cause.reason)
        return self.outcome


@cache
def api() -> FastAPI:
    """Return the application, which is made once and shows whatever gateway it is given."""
    return make_api(Subject())


def ask(
    subject: Subject,
    method: str,
    path: str,
    headers: Mapping[str, str] = OWNER,
    peer: str = "127.0.0.1",
    body: bytes | AsyncIterator[bytes] = b"",
    json: object = None,
) -> httpx.Response:
    """Send one request, as the operator with TOKEN unless `headers` say otherwise."""

    async def asked() -> httpx.Response:
        api().state.subject = subject
        transport = httpx.ASGITransport(Door(api(), subject), client=(peer, 40000), raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url=f"http://{HOST}") as client:
            if json is not None:
                return await client.request(method, path, headers=dict(headers), json=json)
            return await client.request(method, path, headers=dict(headers), content=body)

    return asyncio.run(asked())
