"""What an ASGI server calls: a gateway as one object, made before there is a loop or a process that serves.

Law: making it costs nothing and reads nothing, since a server may make it in a process that only watches over others
(gunicorn --preload). The process that serves joins with the server's lifespan; where a server or a framework that
mounts the application tells none, with the first request.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from headgate.asgi.guest import Guest

CONFIG_VARIABLE = "HEADGATE_CONFIG"

Scope = dict[str, Any]
Message = dict[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


def gateway(*config: str | os.PathLike[str], preset: str | None = None, set: Iterable[str] = ()) -> Application:  # noqa: A002
    """Return the gateway of this configuration as an ASGI application.

    Args:
        config: Files, or folders of files, as `headgate run` takes them; without any, those that HEADGATE_CONFIG names,
            separated by `:`, else headgate.yaml of the working directory, if there is one.
        preset: The preset below them; without one that of HEADGATE_PRESET.
        set: KEY=VALUE texts over them, as `--set` takes them.
    """
    return Application([os.fspath(each) for each in config], preset, list(set))


class Application:
    """A gateway for one process of a server."""

    def __init__(self, config: list[str], preset: str | None, values: list[str]) -> None:
        self._config = config
        self._preset = preset
        self._values = values
        self._guest: Guest | None = None
        self._joining: asyncio.Lock | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request, or begin and end with the server."""
        kind = scope["type"]
        if kind == "lifespan":
            await self._live(receive, send)
            return
        guest = self._guest or await self._joined()
        from headgate.asgi.serving import serve, serve_socket

        if kind == "http":
            if guest.is_alone:
                await guest.company_for(scope)
            await serve(guest.gateway, scope, receive, send)
        elif kind == "websocket":
            await serve_socket(guest.gateway, scope, receive, send)
        else:
            raise ValueError(f"this is no gateway for {kind!r}")

    async def _live(self, receive: Receive, send: Send) -> None:
        from headgate.asgi.joining import NotJoined

        await receive()
        try:
            await self._joined()
        except NotJoined as error:
            await send({"type": "lifespan.startup.failed", "message": f"headgate: {error}"})
            return
        await send({"type": "lifespan.startup.complete"})
        await receive()
        guest, self._guest = self._guest, None
        if guest is not None:
            await guest.stop()
        await send({"type": "lifespan.shutdown.complete"})

    async def _joined(self) -> Guest:
        if self._joining is None:
            self._joining = asyncio.Lock()
        async with self._joining:
            if self._guest is None:
                from headgate.asgi.guest import Guest
                from headgate.asgi.joining import Joining

                guest = Guest(Joining(self._arguments(), self._values))
                await guest.start()
                self._guest = guest
        return self._guest

    def _arguments(self) -> list[str]:
        """Return what `headgate run` is told, but for the values that are set."""
        files = self._config or [each for each in os.environ.get(CONFIG_VARIABLE, "").split(os.pathsep) if each]
        options = [f"--preset={self._preset}"] if self._preset else []
        return [*options, "--", *files]
