"""The life of the processes: start, crash, stop, and what a client sees of each."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
from pathlib import Path

from tests.control.driver import Rig, until


def test_starts_and_every_worker_answers(rig: Rig) -> None:
    rig.start()
    assert rig.texts() == {"one"}
    assert rig.get("/ready").status == 200
    assert len(rig.children()) == 3
    assert "Z" not in rig.children().values()


def test_a_unix_socket_is_served_by_all_workers(rig: Rig) -> None:
    path = rig.folder / "public.sock"
    rig.start(listen=[f"unix:{path}"])
    client = rig.connect(path)
    assert client.get().text == "one"
    rig.signal(signal.SIGTERM)
    client.close()
    assert rig.wait() == 0
    assert not path.exists()


def test_configuration_that_cannot_be_used_ends_the_start_with_a_sentence(rig: Rig) -> None:
    del rig.settings["text"]
    rig.launch()
    assert rig.wait() == 1
    assert "gateway.json:1:1: error: bad file: 'text'" in rig.stderr()
    assert "headgate did not start." in rig.stderr()
    assert "Traceback" not in rig.stderr()
    assert rig.runtime_is_clean()


def test_an_address_in_use_ends_the_start_with_a_sentence(rig: Rig) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        rig.launch(listen=[f"127.0.0.1:{other.getsockname()[1]}"])
        assert rig.wait() == 1
    assert "address already in use; stop the program that has it" in rig.stderr()
    assert "Traceback" not in rig.stderr()


def test_an_admin_address_in_use_is_said_once(rig: Rig) -> None:
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(rig.folder / "admin.sock"))
        other.listen()
        rig.launch()
        assert rig.wait() == 1
    assert rig.stderr().count("admin.sock") == 1


def test_a_plan_no_worker_can_build_ends_the_start(rig: Rig) -> None:
    rig.launch(refused_by=[1, 2])
    assert rig.wait() == 1
    said = rig.stderr()
    assert said.count("cannot build one") == 1
    assert said.endswith("headgate did not start.\n")


def test_sigterm_in_the_middle_of_the_start_is_a_clean_end(rig: Rig) -> None:
    rig.launch()
    until((rig.folder / "control.pid").exists, "control is forked")
    rig.signal(signal.SIGTERM)
    assert rig.wait() == 0
    assert "Traceback" not in rig.stderr()
    assert rig.runtime_is_clean()


def test_a_killed_worker_is_replaced_and_the_other_does_not_notice(rig: Rig) -> None:
    rig.start()
    stays, before = rig.connect_to(2)
    lost, victim = rig.connect_to(1)
    os.kill(victim.pid, signal.SIGKILL)
    assert lost.ended()
    successor = rig.connect_to(1)[1]
    assert successor.pid != victim.pid
    assert stays.get().pid == before.pid
    assert rig.wait_log("worker-1 died and is replaced")["status"] == "killed by SIGKILL"
    assert "Z" not in rig.children().values()


def test_what_waits_in_the_queue_of_a_dead_worker_is_served_by_its_successor(rig: Rig) -> None:
    rig.start(workers=1)
    victim = rig.get()
    os.kill(victim.pid, signal.SIGSTOP)
    waiting = [rig.connect() for _ in range(5)]
    for client in waiting:
        client.send("/")
    os.kill(victim.pid, signal.SIGKILL)
    answers = [client.receive() for client in waiting]
    assert {answer.pid for answer in answers} != {victim.pid}
    assert {answer.text for answer in answers} == {"one"}


def test_a_stuck_worker_is_killed_and_replaced(rig: Rig) -> None:
    rig.start(limit=1.0)
    _, victim = rig.connect_to(1)
    os.kill(victim.pid, signal.SIGSTOP)
    rig.wait_log("worker-1 does not answer and is killed")
    assert rig.connect_to(1)[1].pid != victim.pid


def texts_beside_a_loop(rig: Rig, worker: int) -> set[str]:
    """Return what a worker answers while another one keeps dying: who waits for that one when it dies is reset."""

    def answered() -> set[str]:
        with contextlib.suppress(ConnectionError):
            return rig.texts([worker])
        return set()

    return until(answered, f"worker {worker} answers")


def test_a_crash_loop_backs_off_and_leaves_the_others_alone(rig: Rig) -> None:
    rig.start()
    _, victim = rig.connect_to(1)
    (rig.folder / "crash-1").touch()
    os.kill(victim.pid, signal.SIGKILL)
    line = rig.wait_log("worker-1 keeps dying")
    assert line["level"] == "ERROR"
    assert 1.0 <= line["restart_in"] <= 30.0
    assert texts_beside_a_loop(rig, 2) == {"one"}
    (rig.folder / "crash-1").unlink()
    assert texts_beside_a_loop(rig, 1) == {"one"}


def test_a_successor_that_cannot_build_the_plan_does_not_keep_a_share_of_the_clients(rig: Rig) -> None:
    rig.start()
    _, victim = rig.connect_to(1)
    rig.texts()
    (rig.folder / "refuse-1").touch()
    os.kill(victim.pid, signal.SIGKILL)
    rig.wait_log("worker-1 keeps dying")
    assert "worker-1 cannot run plan 1: a file is gone" in rig.stderr()
    answered: list[int] = []
    while len(answered) < 20:
        with contextlib.suppress(ConnectionError):
            answered.append(rig.get().worker)
    assert set(answered) == {2}
    (rig.folder / "refuse-1").unlink()
    assert texts_beside_a_loop(rig, 1) == {"one"}


def test_strangers_are_reaped_and_not_taken_for_workers(rig: Rig) -> None:
    rig.start()
    client, before = rig.connect_to(1)
    usual = set(rig.children())
    client.get("/orphan")
    until(lambda: set(rig.children()) == usual and "Z" not in rig.children().values(), "the orphan is reaped")
    assert client.get().pid == before.pid
    assert "died" not in rig.stderr()


def test_sigterm_drains_what_is_in_flight_finishes_and_the_exit_is_0(rig: Rig) -> None:
    rig.start()
    rig.children()
    client = rig.connect()
    client.send("/hold/release")
    rig.signal(signal.SIGTERM)
    until(rig.refuses, "new connections are refused")
    (rig.folder / "release").touch()
    answer = client.receive()
    assert (answer.status, answer.closes) == (200, True)
    assert rig.wait() == 0
    assert rig.everybody_gone()
    assert rig.runtime_is_clean()


def test_connections_queued_at_sigterm_are_still_served(rig: Rig) -> None:
    rig.start(workers=1)
    pid = rig.get().pid
    os.kill(pid, signal.SIGSTOP)
    waiting = [rig.connect() for _ in range(5)]
    for client in waiting:
        client.send("/")
    rig.signal(signal.SIGTERM)
    rig.wait_log("draining")
    os.kill(pid, signal.SIGCONT)
    assert [client.receive().status for client in waiting] == [200] * 5
    assert rig.wait() == 0


def test_readiness_goes_first_and_the_grace_goes_on_accepting(rig: Rig) -> None:
    rig.start(shutdown={"grace": 600, "timeout": 600})
    rig.signal(signal.SIGTERM)
    until(lambda: rig.get("/ready").status == 503, "readiness is off")
    assert rig.get().status == 200
    rig.signal(signal.SIGTERM)
    assert rig.wait() == 128 + signal.SIGTERM


def test_a_second_signal_ends_it_at_once(rig: Rig) -> None:
    rig.start(shutdown={"timeout": 600})
    rig.children()
    client = rig.connect()
    client.send("/hold/never")
    rig.signal(signal.SIGINT)
    until(rig.refuses, "new connections are refused")
    rig.signal(signal.SIGINT)
    assert rig.wait() == 128 + signal.SIGINT
    assert client.ended()
    assert rig.everybody_gone()


def test_the_deadline_cuts_what_is_left_and_the_exit_is_still_0(rig: Rig) -> None:
    rig.start(shutdown={"timeout": 0.2})
    client = rig.connect()
    client.send("/hold/never")
    rig.signal(signal.SIGTERM)
    assert rig.wait() == 0
    assert client.ended()
    assert "still in flight at the end of the drain" in rig.stderr()


def test_a_stopped_worker_does_not_hold_up_the_end(rig: Rig) -> None:
    rig.start(shutdown={"timeout": 0.1})
    rig.children()
    os.kill(rig.get().pid, signal.SIGSTOP)
    rig.signal(signal.SIGTERM)
    assert rig.wait() == 0
    assert "did not end in time and is killed" in rig.stderr()
    assert rig.everybody_gone()


def test_signals_to_the_whole_group_are_left_to_the_master(rig: Rig) -> None:
    rig.start()
    _, before = rig.connect_to(1)
    for pid in (before.pid, rig.control_pid):
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1):
            os.kill(pid, number)
    assert rig.connect_to(1)[1].pid == before.pid
    assert "died" not in rig.stderr()


def test_sigusr1_reopens_the_logs_of_every_worker(rig: Rig) -> None:
    rig.start()
    assert rig.texts() == {"one"}
    rig.signal(signal.SIGUSR1)
    for worker in (1, 2):
        until((rig.folder / f"reopened-{worker}").exists, f"worker {worker} reopened")


def test_no_orphan_when_the_master_is_killed(rig: Rig) -> None:
    rig.start()
    assert rig.texts() == {"one"}
    rig.children()
    rig.signal(signal.SIGKILL)
    rig.wait()
    until(rig.everybody_gone, "all children end by themselves")
    until(rig.runtime_is_clean, "control cleans up behind the master")
    assert rig.refuses()


def test_children_hold_no_listening_socket_of_another_slot(rig: Rig) -> None:
    rig.start()
    rig.texts()
    listening = {
        line.split()[9]
        for line in Path("/proc/net/tcp").read_text().splitlines()[1:]
        if line.split()[1].endswith(f":{rig.port:04X}") and line.split()[3] == "0A"
    }
    assert len(listening) == 2

    def held(pid: int) -> set[str]:
        names = []
        for each in Path(f"/proc/{pid}/fd").iterdir():
            # One that is closed meanwhile is none of these.
            with contextlib.suppress(FileNotFoundError):
                names.append(str(each.readlink()))
        return {name[8:-1] for name in names if name.startswith("socket:")} & listening

    workers = [rig.connect_to(number)[1].pid for number in (1, 2)]
    assert [len(held(pid)) for pid in workers] == [1, 1]
    assert held(workers[0]) | held(workers[1]) == listening
    assert held(rig.control_pid) == set()
