"""The listening sockets of the gateway, opened by the master alone.

A TCP address gets one SO_REUSEPORT socket per worker slot. The master keeps every one of them open, so what waits
in the accept queue of a worker that died is served by its successor. A Unix socket has no such thing as
SO_REUSEPORT: all workers share one, as they share a socket that a service manager opened.

Doubt: SO_REUSEPORT also lets a second gateway of the same user bind the same port without an error, and the kernel
would deal clients to both. So a plain bind is tried first; it fails when anybody else has the port.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import stat
from collections.abc import Container
from pathlib import Path

from headgate.core.address import parse_listen

# The kernel cuts it to net.core.somaxconn, 4096 on current systems.
BACKLOG = 4096


class ListenError(Exception):
    """An address that cannot be listened on; the text is a sentence for people."""


class Listener:
    """One address, as it is written in the configuration, and its sockets."""

    __slots__ = ("_names", "_path", "_shared", "_sockets", "address", "bound")

    def __init__(
        self, address: str, sockets: list[list[socket.socket]], path: Path | None = None, *, shared: bool = False
    ) -> None:
        self.address = address
        self._sockets = sockets
        # Of a Unix socket that was opened here, and whose file goes with it.
        self._path = path
        self._shared = shared or path is not None
        self._names = [(each.family, each.getsockname()) for each in sockets[0]]
        self.bound = [name_of(each) for each in sockets[0]]

    @property
    def ports(self) -> set[int]:
        """Return the TCP ports it listens on."""
        return {name[1] for family, name in self._names if family != socket.AF_UNIX}

    def of_slot(self, slot: int) -> list[socket.socket]:
        """Return the sockets of one worker slot."""
        return self._sockets[slot % len(self._sockets)]

    def close_slot(self, slot: int) -> None:
        """Stop listening for one slot, whose worker will be away for a while.

        The kernel deals connections to every open socket of a port, whether anybody accepts there or not: clients
        would hang in the queue of an empty slot. What is queued already is reset. A shared socket stays.
        """
        if not self._shared:
            for each in self._sockets[slot]:
                each.close()
            self._sockets[slot] = []

    def reopen_slot(self, slot: int) -> None:
        """Listen again for a slot closed before. Raises ListenError."""
        if not self._shared and not self._sockets[slot]:
            self._sockets[slot] = [_bind(self.address, family, name, shared=True) for family, name in self._names]
            for each in self._sockets[slot]:
                each.listen(BACKLOG)

    def close(self, *, unlink: bool = True) -> None:
        """Close this process's copies; copies in workers live on. `unlink` also removes a Unix socket's file."""
        if self._path is not None and unlink:
            self._path.unlink(missing_ok=True)
        for sockets in self._sockets:
            for each in sockets:
                each.close()


def open_listener(address: str, slots: int, own_ports: Container[int] = (), *, private: bool = False) -> Listener:
    """Listen on HOST:PORT, [IPv6]:PORT or unix:/path for `slots` workers. Raises ListenError.

    `own_ports` are those this gateway listens on already under other addresses. `private` lets only this user
    connect to a Unix socket.
    """
    try:
        host, port, unix = parse_listen(address)
    except ValueError as error:
        raise ListenError(f"cannot listen on {address!r}: {error}") from None
    if unix:
        path = Path(unix)
        return Listener(address, [[_open_unix(address, path, private)]], path)
    opened: list[list[socket.socket]] = [[] for _ in range(slots)]
    try:
        for family, name in resolve_listen(address, host, port):
            if name[1] not in own_ports:
                _bind(address, family, name, shared=False).close()
            for sockets in opened:
                sockets.append(_bind(address, family, name, shared=True))
                # Port 0: the first socket draws a free port, and all others join it there.
                name = (name[0], sockets[-1].getsockname()[1], *name[2:])
        for sockets in opened:
            for each in sockets:
                each.listen(BACKLOG)
    except BaseException:
        for sockets in opened:
            for each in sockets:
                each.close()
        raise
    return Listener(address, opened)


def resolve_listen(address: str, host: str, port: int) -> list[tuple[int, tuple[str, int]]]:
    """Return the families and names of sockets that an address asks for. Raises ListenError."""
    try:
        found = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (socket.gaierror, UnicodeError) as error:
        raise ListenError(
            f"cannot listen on {address}: the host name {host!r} is not known ({error}); "
            "use an address of this machine, or 0.0.0.0 for all"
        ) from None
    return [(family, name) for family, _, _, _, name in found]  # type: ignore[misc]


def _bind(address: str, family: int, name: tuple[str, int], *, shared: bool) -> socket.socket:
    made = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        made.bind(name)
    except OSError as error:
        made.close()
        raise ListenError(_explain(address, error)) from None
    return made


def _open_unix(address: str, path: Path, private: bool) -> socket.socket:
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        _remove_stale(path)
        made.bind(str(path))
        if private:
            # Nobody can connect before listen, so nobody gets in between.
            path.chmod(0o600)
        made.listen(BACKLOG)
    except OSError as error:
        made.close()
        raise ListenError(_explain(address, error)) from None
    return made


def _remove_stale(path: Path) -> None:
    """Remove the file a killed gateway left behind; a socket that somebody answers on stays."""
    with contextlib.suppress(FileNotFoundError):
        if not stat.S_ISSOCK(path.lstat().st_mode):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            probe.settimeout(1.0)
            try:
                probe.connect(str(path))
            except ConnectionRefusedError:
                path.unlink()


def _explain(address: str, error: OSError) -> str:
    cannot = f"cannot listen on {address}"
    match error.errno:
        case errno.EADDRINUSE:
            other = "stop the program that has it, or choose another address (--port, --admin, admin.address)"
            return f"{cannot}: address already in use; {other}"
        case errno.EACCES | errno.EPERM:
            return (
                f"{cannot}: not allowed; TCP ports below 1024 need the CAP_NET_BIND_SERVICE capability, "
                "a Unix socket a folder this user may write"
            )
        case errno.EADDRNOTAVAIL:
            return f"{cannot}: this machine has no such address; use one of its own, or 0.0.0.0 for all"
        case errno.EEXIST:
            return f"{cannot}: a file that is not a socket has this name; remove it or choose another path"
        case errno.ENOENT:
            return f"{cannot}: the folder does not exist"
    return f"{cannot}: {error.strerror or error}"


def name_of(listening: socket.socket) -> str:
    """Return where a socket listens, as an operator writes it."""
    name = listening.getsockname()
    if isinstance(name, str):
        return f"unix:{name}"
    return f"[{name[0]}]:{name[1]}" if listening.family == socket.AF_INET6 else f"{name[0]}:{name[1]}"
