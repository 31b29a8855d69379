"""Ports that a test hands to programs which open them later: until then nobody else must be given one.

A port that the kernel chose and that was closed again may be chosen for anybody a moment later. These lie below those
that it chooses from, and each is one test process's, which holds a lock on a byte of a file as long as it lives.
"""

from __future__ import annotations

import fcntl
import os
import socket
import tempfile
from collections.abc import Iterator
from itertools import cycle
from pathlib import Path

_FIRST = 10_000
_CHOSEN = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
_PORTS = range(_FIRST, max(_CHOSEN, 2 * _FIRST))
# Where no other process of a run is likely to look first.
_BEGIN = os.getpid() * 97 % len(_PORTS)
_left: Iterator[int] = cycle([*_PORTS[_BEGIN:], *_PORTS[:_BEGIN]])
_file = os.open(Path(tempfile.gettempdir()) / f"headgate-test-ports-{os.getuid()}", os.O_RDWR | os.O_CREAT, 0o600)


def free_port() -> int:
    """Return a port of loopback that is nobody's and refuses connections until somebody opens it."""
    for port in _left:
        try:
            fcntl.lockf(_file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, port)
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", port))
        except OSError:
            # Another process's, or somebody listens there.
            continue
        return port
    raise AssertionError("a cycle has no end")
