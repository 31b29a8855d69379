"""The log sink: nothing waits for it, nothing is half written, what is lost is counted."""

from __future__ import annotations

import os
import select
import threading
from pathlib import Path

import pytest

from headgate.proxy import log_sink
from headgate.proxy.log_sink import LogSink


def test_lines_reach_the_file_in_their_order(tmp_path: Path) -> None:
    sink = LogSink(str(tmp_path / "log"))
    for number in range(1000):
        sink.add(b"%d\n" % number)
        if number % 100 == 0:
            assert sink.flush() == 0
    sink.close()
    assert (tmp_path / "log").read_bytes() == b"".join(b"%d\n" % number for number in range(1000))


def test_a_file_is_appended_to_and_let_go_of(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"before\n")
    before = len(list(Path("/proc/self/fd").iterdir()))
    sink = LogSink(str(path))
    sink.add(b"after\n")
    sink.close()
    assert path.read_bytes() == b"before\nafter\n"
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_a_file_that_cannot_be_opened_is_an_error_at_once(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No such file"):
        LogSink(str(tmp_path / "nowhere" / "log"))


def test_reopening_begins_a_new_file(tmp_path: Path) -> None:
    path = tmp_path / "log"
    sink = LogSink(str(path))
    sink.add(b"old\n")
    sink.flush()
    path.rename(tmp_path / "old")
    sink.reopen()
    sink.add(b"new\n")
    sink.close()
    written = [(tmp_path / name).read_bytes() if (tmp_path / name).exists() else b"" for name in ("old", "log")]
    # A line handed over just before may stand in either; none is lost.
    assert b"".join(written) == b"old\nnew\n"
    assert written[1].endswith(b"new\n")


def test_pieces_for_a_pipe_are_atomic_and_end_at_line_ends() -> None:
    lines = [b"%04d" % number + b"x" * (number * 7 % 900) + b"\n" for number in range(300)]
    lines.insert(100, b"y" * (select.PIPE_BUF + 100) + b"\n")
    pieces = log_sink._pieces(b"".join(lines))
    assert b"".join(pieces) == b"".join(lines)
    assert all(piece.endswith(b"\n") for piece in pieces)
    assert [len(piece) for piece in pieces if len(piece) > select.PIPE_BUF] == [select.PIPE_BUF + 101]


def test_a_full_pipe_stops_nobody_and_the_loss_is_counted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(log_sink, "_MAX_WAITING", 100_000)
    path = tmp_path / "pipe"
    os.mkfifo(path)
    end = os.open(path, os.O_RDWR)
    line = b"z" * 999 + b"\n"
    sink = LogSink(str(path))
    lost = 0
    for _ in range(1000):
        sink.add(line)
        lost += sink.flush()
    # 1 MB into a pipe of 64 KiB and a queue of 100 kB.
    assert 700 < lost < 1000
    read: list[bytes] = []
    reader = threading.Thread(target=lambda: _read(end, (1000 - lost) * 1000, read))
    reader.start()
    sink.close(10)
    reader.join(10)
    os.close(end)
    data = b"".join(read)
    assert data == line * (1000 - lost)


def _read(end: int, size: int, into: list[bytes]) -> None:
    while size:
        piece = os.read(end, min(size, 65536))
        into.append(piece)
        size -= len(piece)


def test_a_reader_that_left_is_survived_and_counted(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    end = os.open(path, os.O_RDWR)
    sink = LogSink(str(path))
    other = os.open(path, os.O_RDONLY)
    os.close(end)
    os.close(other)
    sink.add(b"to nobody\n")
    lost = sink.flush()
    for _ in range(2000):
        if lost:
            break
        threading.Event().wait(0.005)
        lost += sink.flush()
    assert lost == 1
    sink.close()
