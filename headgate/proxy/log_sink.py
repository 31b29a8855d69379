"""Where lines of a log go: a file or a standard stream, in batches, by a thread of its own.

Laws: a request never waits for the log; lines that the sink cannot take in time are dropped and counted, never half
written. A pipe shared by several workers gets pieces of at most PIPE_BUF bytes, cut at line ends, because only those
are atomic (POSIX write); a file is opened for appending, where each write is one piece.
"""

from __future__ import annotations

import os
import select
import stat
import threading
from collections.abc import Callable

FLUSH_SECONDS = 0.1
_MAX_WAITING = 16 * 1024 * 1024
STREAMS = {"stdout": 1, "stderr": 2}


class LogSink:
    """Take lines in the event loop; a thread writes them."""

    __slots__ = ("_closed", "_fd", "_lock", "_lost", "_path", "_reopen", "_thread", "_waiting", "_wake", "add", "lines")

    def __init__(self, path: str) -> None:
        """Open `path`: a file name, stdout or stderr.

        Raises:
            OSError: when the file cannot be opened.
        """
        self._path = path
        self._fd = STREAMS[path] if path in STREAMS else opened(path)
        self.lines: list[bytes] = []
        self.add: Callable[[bytes], None] = self.lines.append
        self._waiting = b""
        self._lost = 0
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._reopen = False
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="log", daemon=True)
        self._thread.start()

    @property
    def is_terminal(self) -> bool:
        """Tell whether a person is likely to read along."""
        return os.isatty(self._fd)

    def flush(self) -> int:
        """Hand what has gathered to the thread; call every FLUSH_SECONDS. Returns lines lost since the last call."""
        lines = self.lines
        if lines:
            batch = b"".join(lines)
            with self._lock:
                if len(self._waiting) + len(batch) > _MAX_WAITING:
                    self._lost += len(lines)
                else:
                    self._waiting += batch
            lines.clear()
            self._wake.set()
        if not self._lost:
            return 0
        with self._lock:
            lost, self._lost = self._lost, 0
        return lost

    def reopen(self) -> None:
        """Open the file anew under its name (log rotation)."""
        self._reopen = True
        self._wake.set()

    def close(self, timeout: float = 2.0) -> None:
        """Write what is left, for at most `timeout` seconds."""
        self.flush()
        self._closed = True
        self._wake.set()
        self._thread.join(timeout)

    def _run(self) -> None:
        while True:
            self._wake.wait()
            self._wake.clear()
            if self._reopen:
                self._reopen = False
                self._open_again()
            with self._lock:
                batch, self._waiting = self._waiting, b""
            if batch:
                self._write(batch)
            if self._closed and not self._waiting:
                if self._path not in STREAMS:
                    os.close(self._fd)
                return

    def _open_again(self) -> None:
        if self._path in STREAMS:
            return
        try:
            fresh = opened(self._path)
        except OSError:
            return
        self._fd, old = fresh, self._fd
        os.close(old)

    def _write(self, batch: bytes) -> None:
        try:
            piecewise = not stat.S_ISREG(os.fstat(self._fd).st_mode)
            for piece in _pieces(batch) if piecewise else (batch,):
                self._write_whole(piece)
        except OSError:
            # A full disk or a reader that left: serving goes on, the loss is counted.
            with self._lock:
                self._lost += batch.count(b"\n")

    def _write_whole(self, piece: bytes) -> None:
        view = memoryview(piece)
        while view:
            try:
                view = view[os.write(self._fd, view) :]
            except BlockingIOError:
                # Somebody else made the shared stream non-blocking.
                select.select([], [self._fd], [], 1.0)


def _pieces(batch: bytes) -> list[bytes]:
    pieces: list[bytes] = []
    at = 0
    while at < len(batch):
        end = batch.rfind(b"\n", at, at + select.PIPE_BUF) + 1 or batch.find(b"\n", at) + 1
        pieces.append(batch[at:end])
        at = end
    return pieces


def opened(path: str) -> int:
    """Open a log file for appending.

    Raises:
        OSError: when it cannot be opened.
    """
    return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640)
