"""What a service manager hands to the master, and what it is told: sd_listen_fds(3) and sd_notify(3).

Sockets that systemd listens on already are taken for the addresses of the configuration that they are bound to. So a
gateway without privileges has port 443, and connections wait in the manager's queue while one gateway ends and the next
begins. All workers share such a socket, as they share a Unix socket.

Laws: the variables are taken away once they are read, so that no child believes them to be its own; what cannot be
told at once is lost. Standard library only: the master lives with it.
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterable, Iterator, MutableMapping

from headgate.control.listeners import Listener, ListenError, name_of, resolve_listen
from headgate.control.log import Log
from headgate.core.address import parse_listen

# SD_LISTEN_FDS_START of sd-daemon.h: after standard input, output and error.
_FIRST = 3
_MOST = 1024


class ServiceManager:
    """The service manager that started this process, or nobody.

    The sockets that it passed stay open here, through every reload.

    Args:
        address: Where it wants to be told, as NOTIFY_SOCKET says it; empty: nowhere.
        sockets: The listening sockets that it passed.
    """

    __slots__ = ("_address", "_sockets", "_unused")

    def __init__(self, address: str = "", sockets: Iterable[socket.socket] = ()) -> None:
        # A name in the abstract namespace begins with a zero byte, which no variable can hold.
        self._address = f"\0{address[1:]}" if address.startswith("@") else address
        self._sockets = list(sockets)
        self._unused = list(self._sockets)

    @classmethod
    def of(cls, environ: MutableMapping[str, str]) -> ServiceManager:
        """Take what the environment says of it, and the sockets that it passed."""
        address = environ.pop("NOTIFY_SOCKET", "")
        count, process = environ.pop("LISTEN_FDS", ""), environ.pop("LISTEN_PID", "")
        environ.pop("LISTEN_FDNAMES", None)
        if process != str(os.getpid()) or not (count.isascii() and count.isdigit()):
            return cls(address)
        return cls(address, _opened(range(_FIRST, _FIRST + min(int(count), _MOST))))

    def listener(self, address: str) -> Listener | None:
        """Return what listens on an address of the configuration already, or None: then it is yet to be opened."""
        found = [each for each in self._sockets if _is_bound_to(each, address)]
        if not found:
            return None
        self._unused = [each for each in self._unused if each not in found]
        return Listener(address, [[each.dup() for each in found]], shared=True)

    def ready(self, log: Log) -> None:
        """Tell that the gateway serves, and warn of sockets that no address asked for."""
        self._tell("READY=1")
        unused, self._unused = self._unused, []
        for each in unused:
            log("warning", f"a socket was passed for {name_of(each)}, which no `listen` names: nobody answers there")

    def stopping(self) -> None:
        """Tell that the gateway drains."""
        self._tell("STOPPING=1")

    def alive(self) -> None:
        """Tell that the master looks after its children."""
        self._tell("WATCHDOG=1")

    def close(self) -> None:
        """Close this process's copies of the sockets; the manager's own go on listening."""
        for each in self._sockets:
            each.close()
        self._sockets, self._unused = [], []

    def _tell(self, state: str) -> None:
        if not self._address:
            return
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.setblocking(False)
            sender.sendto(state.encode(), self._address)


def _opened(descriptors: Iterable[int]) -> Iterator[socket.socket]:
    for each in descriptors:
        with contextlib.suppress(OSError):
            os.set_inheritable(each, False)
            opened = socket.socket(fileno=each)
            opened.setblocking(False)
            if opened.type == socket.SOCK_STREAM and opened.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
                yield opened
            else:
                opened.close()


def _is_bound_to(each: socket.socket, address: str) -> bool:
    try:
        host, port, unix = parse_listen(address)
    except ValueError:
        return False
    if each.family == socket.AF_UNIX:
        return bool(unix) and each.getsockname() == unix
    bound = each.getsockname()[:2]
    if unix or bound[1] != port:
        return False
    # `ListenStream=443` is [::]:443 for both families; who wrote 0.0.0.0:443 means that socket.
    if bound[0] == "::" and host == "0.0.0.0":
        return True
    try:
        return bound in [name[:2] for _, name in resolve_listen(address, host, port)]
    except ListenError:
        return False
