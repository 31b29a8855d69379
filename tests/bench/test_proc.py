"""Accounting: what is read out of /proc, from texts and from this very process."""

from __future__ import annotations

import os
import socket

import pytest

from bench import proc
from bench.proc import Stat

# Fields 3 to 22 of proc(5): state, ppid, ..., utime=100 stime=20 cutime=3 cstime=4, ..., starttime=777.
TAIL = "S 41 1 1 0 -1 4194304 10 0 0 0 100 20 3 4 20 0 1 0 777 1000 50"


@pytest.mark.parametrize("command", ["nginx", "nginx: worker", "odd) S 9 (name"])
def test_stat_is_read_past_any_command_name(command: str) -> None:
    assert proc.parse_stat(f"42 ({command}) {TAIL}\n") == Stat(
        pid=42, parent=41, ticks=127, started=777, user_ticks=103
    )


def test_cpu_counts_own_and_waited_for_time_of_the_whole_tree() -> None:
    processes = [Stat(1, 0, 9999, 1), Stat(10, 1, 50, 1), Stat(12, 11, 7, 1), Stat(11, 10, 43, 1), Stat(20, 1, 500, 1)]
    found = proc.descendants(10, processes)
    assert [process.pid for process in found] == [10, 11, 12]
    assert proc.cpu_seconds(found) == pytest.approx(100 / proc.TICKS_PER_SECOND)


def test_a_tree_that_has_gone_is_empty() -> None:
    assert proc.descendants(10, [Stat(1, 0, 5, 1)]) == []


def test_this_process_is_found_with_its_memory() -> None:
    assert proc.tree(os.getpid())[0].pid == os.getpid()
    assert 1_000_000 < proc.resident(os.getpid()) <= proc.peak(os.getpid())


def test_sizes_of_status_are_bytes() -> None:
    text = "Name:\tx\nVmHWM:\t    2048 kB\nVmRSS:\t    1024 kB\n"
    assert proc.parse_status(text, "VmRSS") == 1024 * 1024
    assert proc.parse_status(text, "VmHWM") == 2048 * 1024
    assert proc.parse_status("Name:\tzombie\n", "VmRSS") == 0


def test_connections_are_found_by_local_port_and_only_when_established() -> None:
    text = (
        "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"
        "   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000  0 0 111 1\n"
        "   1: 0100007F:1F90 0100007F:C350 01 00000000:00000000 00:00000000 00000000  0 0 222 1\n"
        "   2: 0100007F:C350 0100007F:1F90 01 00000000:00000000 00:00000000 00000000  0 0 333 1\n"
        "   3: 0100007F:1F90 0100007F:C351 06 00000000:00000000 00:00000000 00000000  0 0 0 3\n"
    )
    assert proc.parse_connections(text, 8080) == {"222": 50000}


def test_the_holder_of_a_connection_is_told_by_its_client_port() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)) as client:
            accepted, _ = server.accept()
            with accepted:
                found = proc.connections([os.getpid()], port)
                assert found == {os.getpid(): {client.getsockname()[1]}}
