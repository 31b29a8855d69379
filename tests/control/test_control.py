"""How a configuration comes into force, or does not: reload, refusal, listeners, and the death of control."""

from __future__ import annotations

import os
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.control.driver import Client, Rig, free_port, until


@contextmanager
def traffic(rig: Rig) -> Iterator[list[str]]:
    """Ask on new and on kept connections all the while; yield the texts that came, none may fail."""
    texts: list[str] = []
    failures: list[Exception] = []
    over = threading.Event()

    def ask() -> None:
        kept = Client(rig.port)
        try:
            while not over.is_set():
                texts.append(kept.get().text)
                fresh = Client(rig.port)
                texts.append(fresh.get().text)
                fresh.close()
        except Exception as error:
            failures.append(error)
        finally:
            kept.close()

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        until(lambda: len(texts) > 10 or failures, "traffic flows")
        yield texts
        enough = len(texts) + 10
        until(lambda: len(texts) > enough or failures, "traffic still flows")
    finally:
        over.set()
        asking.join()
    assert failures == []


def test_sighup_brings_a_good_configuration_to_every_worker_without_a_failed_request(rig: Rig) -> None:
    rig.start()
    with traffic(rig) as texts:
        for number, text in enumerate(("two", "three", "four"), 2):
            rig.write(text=text)
            rig.signal(signal.SIGHUP)
            line = rig.wait_log(f"plan {number} is in force")
            assert line["workers"] == "2 of 2"
            assert rig.texts() == {text}
    assert list(dict.fromkeys(texts)) == ["one", "two", "three", "four"]


def test_reloads_leave_no_descriptor_behind(rig: Rig) -> None:
    rig.start()
    rig.texts()
    other = free_port()
    one, both = [f"127.0.0.1:{rig.port}"], [f"127.0.0.1:{rig.port}", f"127.0.0.1:{other}"]

    def cycle(number: int) -> None:
        """Open an address and close it again, then have it opened by a plan that is taken back."""
        version = 3 * number - 1
        for listen, refused_by, message, count in (
            (both, [], f"plan {version} is in force", 1),
            (one, [], f"plan {version + 1} is in force", 1),
            (both, [2], "configuration refused", number),
        ):
            rig.write(listen=listen, refused_by=refused_by)
            rig.signal(signal.SIGHUP)
            rig.wait_log(message, count)
        until(lambda: rig.refuses(other), "the address of the refused plan is closed")

    def descriptors() -> dict[int, int]:
        return {pid: len(list(Path(f"/proc/{pid}/fd").iterdir())) for pid in (rig.pid, *rig.children())}

    cycle(1)
    # The admin listener answers: nobody is importing or opening anything for the first time any more.
    admin = rig.connect(rig.folder / "admin.sock")
    admin.socket.sendall(b"GET /health HTTP/1.1\r\nHost: rig\r\nConnection: close\r\n\r\n")
    assert admin.socket.recv(12) == b"HTTP/1.1 200"
    settled = descriptors()
    for number in range(2, 6):
        cycle(number)
    until(lambda: all(count <= settled[pid] for pid, count in descriptors().items()), "no more descriptors than before")


def test_a_bad_configuration_changes_nothing_and_says_why(rig: Rig) -> None:
    rig.start()
    rig.write_text("{not json")
    rig.signal(signal.SIGHUP)
    line = rig.wait_log("configuration refused, plan 1 stays in force")
    assert "gateway.json:1:1: error: bad file" in line["problems"][0]
    assert rig.stderr().count("bad file") == 1
    assert rig.texts() == {"one"}
    rig.write(text="two")
    rig.signal(signal.SIGHUP)
    rig.wait_log("plan 2 is in force")
    assert rig.texts() == {"two"}


def test_a_plan_refused_by_the_first_worker_reaches_no_other(rig: Rig) -> None:
    rig.start()
    rig.texts()
    with traffic(rig) as texts:
        rig.write(text="two", refused_by=[1])
        rig.signal(signal.SIGHUP)
        line = rig.wait_log("configuration refused, plan 1 stays in force")
    assert line["problems"] == ["worker 1 cannot build two"]
    assert rig.stderr().count("cannot build two") == 1
    assert set(texts) == {"one"}


def test_a_plan_refused_by_a_later_worker_is_taken_back_from_all(rig: Rig) -> None:
    rig.start()
    rig.texts()
    rig.write(text="two", refused_by=[2])
    rig.signal(signal.SIGHUP)
    rig.wait_log("configuration refused, plan 1 stays in force")
    assert rig.texts() == {"one"}


def test_a_worker_that_is_replaced_gets_the_plan_in_force(rig: Rig) -> None:
    rig.start()
    rig.write(text="two")
    rig.signal(signal.SIGHUP)
    rig.wait_log("plan 2 is in force")
    os.kill(rig.connect_to(1)[1].pid, signal.SIGKILL)
    assert rig.texts() == {"two"}


def test_a_changed_file_is_enough(rig: Rig) -> None:
    rig.start(poll=0.1)
    rig.write(text="two")
    assert "gateway.json changed" in rig.wait_log("plan 2 is in force")["reason"]
    assert rig.texts() == {"two"}


def test_listeners_come_and_go_with_the_configuration(rig: Rig) -> None:
    rig.start()
    other = free_port()
    with traffic(rig):
        rig.write(listen=[f"127.0.0.1:{rig.port}", f"127.0.0.1:{other}"])
        rig.signal(signal.SIGHUP)
        rig.wait_log("plan 2 is in force")
        answers = {rig.get(port=other).worker for _ in range(40)}
        assert answers == {1, 2}
        kept = rig.connect(other)
        assert kept.get().status == 200
        rig.write(listen=[f"127.0.0.1:{rig.port}"])
        rig.signal(signal.SIGHUP)
        rig.wait_log(f"no longer listening on 127.0.0.1:{other}")
        until(lambda: rig.refuses(other), "the removed address refuses")
        # Who was connected stays connected.
        assert kept.get().status == 200


def test_an_address_that_cannot_be_opened_refuses_the_reload(rig: Rig) -> None:
    rig.start()
    other = Rig(rig.folder)
    taken = rig.connect().socket.getsockname()[1]
    rig.write(listen=[f"127.0.0.1:{other.port}", f"127.0.0.1:{taken}"], text="two")
    rig.signal(signal.SIGHUP)
    line = rig.wait_log("configuration refused, plan 1 stays in force")
    assert "address already in use" in line["problems"][0]
    assert rig.texts() == {"one"}
    assert rig.refuses(other.port)


def test_an_address_that_was_left_may_be_listened_on_at_once_again(rig: Rig) -> None:
    """A worker that had not let go of it yet had the plan refused: it was in use, by the gateway itself."""
    other = free_port()
    one, both = [f"127.0.0.1:{rig.port}"], [f"127.0.0.1:{rig.port}", f"127.0.0.1:{other}"]
    rig.start(listen=both)
    rig.write(listen=one)
    rig.signal(signal.SIGHUP)
    rig.wait_log("plan 2 is in force")
    until(lambda: rig.refuses(other), "the address is left")
    # In the place of the worker.
    with socket.create_server(("127.0.0.1", other)):
        rig.write(listen=both)
        rig.signal(signal.SIGHUP)
        rig.wait_log("an address that was left a moment ago is in use yet")
    rig.wait_log("plan 3 is in force")
    until(lambda: {rig.get(port=other).worker for _ in range(20)} == {1, 2}, "all workers serve it")


def test_addresses_of_a_refused_plan_are_closed_again(rig: Rig) -> None:
    rig.start()
    rig.texts()
    other = free_port()
    rig.write(listen=[f"127.0.0.1:{rig.port}", f"127.0.0.1:{other}"], refused_by=[2])
    rig.signal(signal.SIGHUP)
    rig.wait_log(f"no longer listening on 127.0.0.1:{other}")
    until(lambda: rig.refuses(other), "the address refuses again")
    assert rig.texts() == {"one"}


def test_a_plan_that_moves_to_another_address_can_be_taken_back(rig: Rig) -> None:
    rig.start()
    rig.texts()
    other = free_port()
    rig.write(listen=[f"127.0.0.1:{other}"], refused_by=[2])
    rig.signal(signal.SIGHUP)
    rig.wait_log(f"no longer listening on 127.0.0.1:{other}")
    assert rig.texts() == {"one"}


def test_another_number_of_workers_is_said_to_need_a_restart(rig: Rig) -> None:
    rig.start()
    rig.write(workers=3, text="two")
    rig.signal(signal.SIGHUP)
    line = rig.wait_log("another number of workers needs a restart")
    assert (line["running"], line["configured"]) == (2, 3)
    rig.wait_log("plan 2 is in force")
    assert rig.texts() == {"two"}


def test_control_may_die_and_come_back_while_traffic_goes_on(rig: Rig) -> None:
    rig.start()
    with traffic(rig) as texts:
        os.kill(rig.control_pid, signal.SIGKILL)
        rig.wait_log("control died and is replaced")
        rig.wait_log("plan 2 is in force")
        rig.write(text="two")
        rig.signal(signal.SIGHUP)
        rig.wait_log("plan 3 is in force")
        assert rig.texts() == {"two"}
    assert set(texts) == {"one", "two"}


def test_control_comes_back_to_a_broken_file_and_still_knows_the_plan(rig: Rig) -> None:
    rig.start(token="secret", poll=0.1)
    rig.write_text("{broken")
    os.kill(rig.control_pid, signal.SIGKILL)
    rig.wait_log("configuration refused, plan 1 stays in force")
    os.kill(rig.connect_to(1)[1].pid, signal.SIGKILL)
    assert rig.texts() == {"one"}
    rig.write(text="mended")
    rig.wait_log("is in force", count=2)
    assert rig.texts() == {"mended"}


def test_control_that_can_read_nothing_of_its_predecessor_counts_on(rig: Rig) -> None:
    """Its first plan was number 1, as the one that all workers ran: the newer of two plans could have the lower one."""
    rig.start()
    for version in (2, 3):
        rig.signal(signal.SIGHUP)
        rig.wait_log(f"plan {version} is in force")
    os.kill(rig.control_pid, signal.SIGSTOP)
    assert rig.process is not None
    (memory,) = (
        each
        for each in Path(f"/proc/{rig.process.pid}/fd").iterdir()
        if str(each.readlink()).startswith("/memfd:headgate-plan")
    )
    with memory.open("r+b") as opened:
        opened.seek(8)
        opened.write(b"what another version understands")
    rig.write(text="two")
    os.kill(rig.control_pid, signal.SIGKILL)
    rig.wait_log("plan 4 is in force")
    assert rig.texts() == {"two"}


def test_a_frozen_control_holds_up_neither_traffic_nor_the_end(rig: Rig) -> None:
    rig.start()
    rig.texts()
    rig.children()
    os.kill(rig.control_pid, signal.SIGSTOP)
    assert rig.texts() == {"one"}
    rig.signal(signal.SIGTERM)
    assert rig.wait() == 0
    assert rig.everybody_gone()


def test_a_frozen_control_is_replaced(rig: Rig) -> None:
    rig.start(limit=1.5)
    frozen = rig.control_pid
    os.kill(frozen, signal.SIGSTOP)
    rig.wait_log("control does not answer and is killed")
    rig.wait_log("plan 2 is in force")
    assert rig.control_pid != frozen
