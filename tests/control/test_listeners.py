"""Opening listening sockets: slots, stale and foreign Unix sockets, and the sentences for what goes wrong."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from headgate.control.listeners import Listener, ListenError, open_listener


@pytest.fixture
def opened() -> Iterator[list[Listener]]:
    listeners: list[Listener] = []
    yield listeners
    for each in listeners:
        each.close()


def test_every_slot_has_its_own_socket_on_one_port(opened: list[Listener]) -> None:
    listener = open_listener("127.0.0.1:0", 3)
    opened.append(listener)
    slots = [listener.of_slot(slot) for slot in range(3)]
    assert len({sockets[0].fileno() for sockets in slots}) == 3
    names = {sockets[0].getsockname() for sockets in slots}
    assert len(names) == 1
    (name,) = names
    assert listener.bound == [f"127.0.0.1:{name[1]}"]
    assert listener.ports == {name[1]}


def test_an_address_in_use_is_refused_even_by_a_socket_that_shares_its_port(opened: list[Listener]) -> None:
    first = open_listener("127.0.0.1:0", 1)
    opened.append(first)
    with pytest.raises(ListenError, match=r"already in use; stop the program .* \(--port, --admin, admin.address\)"):
        open_listener(first.bound[0], 1)


def test_a_closed_slot_gets_no_connections_until_it_is_opened_again(opened: list[Listener]) -> None:
    listener = open_listener("127.0.0.1:0", 2)
    opened.append(listener)
    (port,) = listener.ports
    listener.close_slot(0)
    assert listener.of_slot(0) == []
    (left,) = listener.of_slot(1)
    left.settimeout(10)
    for _ in range(20):
        with socket.create_connection(("127.0.0.1", port)):
            left.accept()[0].close()
    listener.reopen_slot(0)
    assert listener.of_slot(0)[0].getsockname() == left.getsockname()
    listener.close_slot(1)
    again = listener.of_slot(0)[0]
    again.settimeout(10)
    with socket.create_connection(("127.0.0.1", port)):
        again.accept()[0].close()


def test_own_port_under_another_address_is_no_conflict(opened: list[Listener]) -> None:
    wide = open_listener("0.0.0.0:0", 2)
    opened.append(wide)
    (port,) = wide.ports
    opened.append(open_listener(f"127.0.0.1:{port}", 2, own_ports={port}))


def test_a_port_is_free_again_after_close() -> None:
    first = open_listener("127.0.0.1:0", 2)
    address = first.bound[0]
    first.close()
    open_listener(address, 2).close()


def test_ipv6_beside_ipv4_on_one_port(opened: list[Listener]) -> None:
    if not socket.has_ipv6 or not Path("/proc/net/if_inet6").exists():
        pytest.skip("this machine has no IPv6")
    four = open_listener("0.0.0.0:0", 1)
    opened.append(four)
    (port,) = four.ports
    six = open_listener(f"[::]:{port}", 1)
    opened.append(six)
    assert six.bound == [f"[::]:{port}"]


def test_unix_socket_is_shared_by_the_slots_and_removed(tmp_path: Path) -> None:
    path = tmp_path / "gate.sock"
    listener = open_listener(f"unix:{path}", 2)
    assert listener.of_slot(0) == listener.of_slot(1)
    assert listener.bound == [f"unix:{path}"]
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
    listener.close()
    assert not path.exists()


def test_a_stale_unix_socket_is_replaced_a_living_one_is_not(tmp_path: Path) -> None:
    path = tmp_path / "gate.sock"
    left_behind = socket.socket(socket.AF_UNIX)
    left_behind.bind(str(path))
    left_behind.close()
    listener = open_listener(f"unix:{path}", 1)
    with pytest.raises(ListenError, match="address already in use"):
        open_listener(f"unix:{path}", 1)
    listener.close()


def test_a_file_that_is_not_a_socket_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("keep me")
    with pytest.raises(ListenError, match="a file that is not a socket has this name"):
        open_listener(f"unix:{path}", 1)
    assert path.read_text() == "keep me"


@pytest.mark.parametrize(
    ("address", "sentence"),
    [
        ("8080", "expected HOST:PORT"),
        ("127.0.0.1:http", "expected HOST:PORT"),
        ("127.0.0.1:65536", "the port 65536 does not exist"),
        ("::1:80", r"write an IPv6 address in brackets: \[::1\]:80"),
        ("192.0.2.1:0", "this machine has no such address"),
        ("unix:/does/not/exist/gate.sock", "the folder does not exist"),
    ],
)
def test_what_is_wrong_is_said_in_a_sentence(address: str, sentence: str) -> None:
    with pytest.raises(ListenError, match=sentence) as raised:
        open_listener(address, 1)
    assert str(raised.value).startswith("cannot listen on ")


def test_a_privileged_port_without_the_right() -> None:
    floor = int(Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text())
    if os.geteuid() == 0 or floor <= 1:
        pytest.skip("this user may open every port")
    with pytest.raises(ListenError, match="CAP_NET_BIND_SERVICE"):
        open_listener("127.0.0.1:1", 1)
