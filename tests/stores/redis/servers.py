"""Real Redis servers for tests: each started on a free port of loopback, in a folder of its own, and ended by its pid.

with RedisServer(tmp_path) as server:
    assert server.call("PING") == b"PONG"
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import pytest
from hiredis import Reader, ReplyError

from headgate.stores.redis.connection import packed
from tests.proxy.peers import free_port

CEILING = 60.0
HOST = "127.0.0.1"


def program(name: str) -> str:
    """Return where a program of Redis's is; without it the test fails."""
    found = shutil.which(name)
    if found is None:
        pytest.fail(f"{name} is not installed: apt-get install redis-server redis-sentinel redis-tools")
    return found


class RedisServer:
    """A process; `flags` are those of its configuration."""

    def __init__(self, folder: Path, *flags: str, port: int | None = None, sentinel: str = "") -> None:
        """With `sentinel` (a configuration) it is a Sentinel."""
        self.port = free_port() if port is None else port
        self.bus = 0
        """The port that servers of a cluster talk to each other at."""
        self.folder = folder / f"redis-{self.port}"
        self.folder.mkdir(parents=True, exist_ok=True)
        self.flags = flags
        self._sentinel = sentinel
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://{HOST}:{self.port}"

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Start, and wait until it answers."""
        own = ["--port", str(self.port), "--bind", HOST, "--dir", str(self.folder)]
        if self._sentinel:
            file = self.folder / "sentinel.conf"
            file.write_text(self._sentinel)
            command = [program("redis-sentinel"), str(file), *own]
        else:
            command = [program("redis-server"), *own, "--save", "", "--repl-diskless-sync-delay", "0", *self.flags]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        end = time.monotonic() + CEILING
        while True:
            assert self._process.poll() is None, (self.folder / "log").read_text()
            try:
                with socket.create_connection((HOST, self.port), CEILING):
                    return
            except ConnectionRefusedError:
                assert time.monotonic() < end, "it never listened"
                time.sleep(0.005)

    def kill(self) -> None:
        """End it at once, as a crash does."""
        if self._process is not None:
            os.kill(self._process.pid, signal.SIGCONT)
            self._process.kill()
            self._process.wait(CEILING)
            self._process = None

    def pause(self) -> None:
        """Let it stand still, its sockets open."""
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    def call(self, *words: str | bytes | int, user: Sequence[str] = ()) -> Any:
        """Send one command over a connection of its own; an error reply is raised."""
        with Client(self.port) as client:
            if user:
                client.call("AUTH", *user)
            return client.call(*words)

    def clients(self) -> int:
        """Return how many connections of gateways it has."""
        return sum(b"name=headgate" in line for line in self.call("CLIENT", "LIST").splitlines())

    def __enter__(self) -> RedisServer:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.kill()


class Client:
    """A blocking connection, for tests."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection((HOST, port), CEILING)
        self._reader = Reader(notEnoughData=self)

    def call(self, *words: str | bytes | int) -> Any:
        return self.send(packed(*words))

    def send(self, frame: bytes) -> Any:
        """Send one packed command; an error reply is raised."""
        self._socket.sendall(frame)
        while (reply := self._reader.gets()) is self:
            data = self._socket.recv(65536)
            if not data:
                raise ConnectionResetError("the server closed the connection")
            self._reader.feed(data)
        if isinstance(reply, ReplyError):
            raise reply
        return reply

    def close(self) -> None:
        self._socket.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()
