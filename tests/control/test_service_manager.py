"""A gateway under a service manager: sockets that it is passed, and what it tells."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from headgate.control import service_manager
from headgate.control.listeners import Listener
from headgate.control.log import Log
from headgate.control.service_manager import ServiceManager
from tests.control.driver import CEILING, Rig, free_port


@pytest.fixture
def passed() -> Iterator[socket.socket]:
    """One socket that listens, as a manager holds it: for longer than any gateway."""
    with socket.create_server(("127.0.0.1", 0)) as made:
        yield made


def listener_of(manager: ServiceManager, address: str) -> Listener | None:
    found = manager.listener(address)
    if found is not None:
        found.close()
    return found


@pytest.mark.parametrize(
    ("bound", "taken", "left"),
    [
        (("127.0.0.1", 0), ["127.0.0.1:{port}", "localhost:{port}"], ["0.0.0.0:{port}", "127.0.0.2:{port}", "unix:/x"]),
        (("0.0.0.0", 0), ["0.0.0.0:{port}", ":{port}"], ["127.0.0.1:{port}", "[::]:{port}", "nonsense"]),
    ],
)
def test_a_passed_socket_serves_the_addresses_that_mean_it(
    bound: tuple[str, int], taken: list[str], left: list[str]
) -> None:
    with socket.create_server(bound) as given:
        port = given.getsockname()[1]
        manager = ServiceManager("", [given.dup()])
        try:
            for address in taken:
                found = listener_of(manager, address.format(port=port))
                assert found is not None
                assert found.bound == [f"{bound[0]}:{port}"]
                assert found.ports == {port}
            for address in (*left, f"{bound[0]}:{port + 1 if port < 65535 else 1}"):
                assert listener_of(manager, address.format(port=port)) is None
        finally:
            manager.close()


def test_a_passed_socket_for_both_families_serves_each() -> None:
    if not socket.has_dualstack_ipv6():
        pytest.skip("this machine has no IPv6")
    with socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True) as given:
        manager = ServiceManager("", [given.dup()])
        for host in ("0.0.0.0", "[::]", ""):
            assert listener_of(manager, f"{host}:{given.getsockname()[1]}") is not None
        manager.close()


def test_a_passed_unix_socket_is_known_by_its_path_and_left_in_its_folder(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as given:
        given.bind(str(tmp_path / "gateway.sock"))
        given.listen()
        manager = ServiceManager("", [given.dup()])
        assert listener_of(manager, f"unix:{tmp_path}/other.sock") is None
        found = listener_of(manager, f"unix:{tmp_path}/gateway.sock")
        assert found is not None
        assert found.ports == set()
        assert (tmp_path / "gateway.sock").exists()
        manager.close()


def test_a_shared_socket_stays_open_while_one_worker_is_away(passed: socket.socket) -> None:
    manager = ServiceManager("", [passed.dup()])
    found = manager.listener(f"127.0.0.1:{passed.getsockname()[1]}")
    assert found is not None
    (one,), (other,) = found.of_slot(0), found.of_slot(1)
    assert one is other
    found.close_slot(0)
    found.reopen_slot(0)
    assert one.fileno() > 0
    found.close()
    manager.close()


@pytest.mark.parametrize("mine", [True, False])
def test_variables_are_taken_away_and_obeyed_where_they_are_meant_for_this_process(
    passed: socket.socket, mine: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    with passed.dup() as handed:
        monkeypatch.setattr(service_manager, "_FIRST", handed.fileno())
        process = os.getpid() if mine else os.getppid()
        environ = {"LISTEN_PID": str(process), "LISTEN_FDS": "1", "LISTEN_FDNAMES": "http", "PATH": "/bin"}
        manager = ServiceManager.of(environ)
        if mine:
            # It belongs to the manager now.
            handed.detach()
        found = listener_of(manager, f"127.0.0.1:{passed.getsockname()[1]}")
        assert (found is not None) is mine
        assert environ == {"PATH": "/bin"}
        manager.close()


def test_what_nobody_asked_for_is_warned_of_once(passed: socket.socket) -> None:
    manager = ServiceManager("", [passed.dup()])
    said: list[str] = []

    class Kept(Log):
        def __call__(self, level: Any, message: str, **fields: Any) -> None:
            said.append(message)

    manager.ready(Kept("master"))
    manager.ready(Kept("master"))
    port = passed.getsockname()[1]
    assert said == [f"a socket was passed for 127.0.0.1:{port}, which no `listen` names: nobody answers there"]
    manager.close()


@pytest.mark.parametrize("abstract", [False, True])
def test_the_manager_is_told_when_the_gateway_serves_and_when_it_stops(
    rig: Rig, tmp_path: Path, abstract: bool
) -> None:
    name = f"@headgate-test-{os.getpid()}" if abstract else str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.settimeout(CEILING)
        manager.bind(name.replace("@", "\0"))
        rig.environ["NOTIFY_SOCKET"] = name
        rig.start()
        told = [manager.recv(100)]
        while told[-1] != b"READY=1":
            told.append(manager.recv(100))
        # Before it serves it is said to live already.
        assert set(told) <= {b"WATCHDOG=1", b"READY=1"}
        rig.signal(signal.SIGTERM)
        while told[-1] != b"STOPPING=1":
            told.append(manager.recv(100))
        assert rig.wait() == 0


def test_nobody_listening_to_what_is_told_is_no_matter(rig: Rig, tmp_path: Path) -> None:
    rig.environ["NOTIFY_SOCKET"] = str(tmp_path / "nobody")
    rig.start()
    assert rig.get().text == "one"


def test_clients_wait_in_the_passed_socket_while_one_gateway_ends_and_the_next_begins(rig: Rig) -> None:
    with socket.create_server(("127.0.0.1", rig.port)) as held, socket.create_server(("127.0.0.1", 0)) as other:
        rig.passed = [held, other]
        rig.start()
        assert {rig.get().text for _ in range(20)} == {"one"}
        rig.wait_log(f"a socket was passed for 127.0.0.1:{other.getsockname()[1]}, which no `listen` names")
        rig.signal(signal.SIGTERM)
        assert rig.wait() == 0
        # Nobody serves now, and nobody is refused.
        early = rig.connect()
        early.send("/")
        rig.start(text="two")
        assert early.receive().text == "two"


def test_a_reload_may_leave_a_passed_socket_and_come_back_to_it(rig: Rig) -> None:
    elsewhere = free_port()
    with socket.create_server(("127.0.0.1", rig.port)) as held:
        rig.passed = [held]
        rig.start()
        for number, address in enumerate((elsewhere, rig.port), 2):
            rig.write(listen=[f"127.0.0.1:{address}"], text=f"text-{number}")
            rig.signal(signal.SIGHUP)
            rig.wait_log(f"plan {number} is in force")
            assert rig.get(port=address).text == f"text-{number}"


def test_a_worker_that_dies_is_replaced_on_the_same_socket(rig: Rig) -> None:
    with socket.create_server(("127.0.0.1", rig.port)) as held:
        rig.passed = [held]
        rig.start(workers=1)
        os.kill(rig.get().pid, signal.SIGKILL)
        rig.wait_log("died and is replaced")
        assert rig.get().text == "one"
