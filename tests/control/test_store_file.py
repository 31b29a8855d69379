"""The files that workers share: when they are made, how long they stay, and that nothing of them is left."""

from __future__ import annotations

import os
import signal
from dataclasses import replace
from pathlib import Path

import pytest

from headgate.config.resolve import ResolvedConfig, resolve
from headgate.config.schema import Config, Listen, Route, Service
from headgate.control.store_file import StoreFile, StoreFiles
from headgate.policy.cache.settings import Cache
from headgate.policy.limit.settings import Limit, ServiceRateLimit
from headgate.stores.cache.settings import MemoryCacheSettings
from headgate.stores.settings import MemoryStoreSettings, SharedStoreSettings
from tests.control.driver import Rig, state_of, until

SIZE = 1 << 20


def takes(rig: Rig, tries: int) -> int:
    """Count how many of so many requests, each on a connection of its own, the limit lets pass."""
    return sum(rig.get("/take").status == 200 for _ in range(tries))


def folder_of(rig: Rig) -> Path:
    return Path(rig.get("/store").text)


def limited(rig: Rig, requests: int = 100, **store: object) -> Rig:
    return rig.start(requests=requests, store={"size": SIZE, **store})


# -- a whole gateway --------------------------------------------------------------------------------------------------


def test_all_workers_count_in_one_file_in_the_runtime_folder(rig: Rig) -> None:
    limited(rig, 10)
    assert takes(rig, 30) == 10
    assert folder_of(rig).parent.parent == rig.folder / "runtime"
    assert (folder_of(rig) / "data.mdb").stat().st_size == SIZE
    rig.signal(signal.SIGTERM)
    assert rig.wait() == 0
    assert rig.runtime_is_clean()


def test_the_limit_of_a_service_needs_a_file_as_any_other(tmp_path: Path) -> None:
    service = Service(name="a", url="http://a", rate_limit=ServiceRateLimit(enabled=True, requests=1, window=60))
    config = resolve(Config(services=[service]))
    files = StoreFiles(tmp_path, {})
    assert files.prepare(config)["store"].path is not None
    files.conclude(taken=False)


def test_without_limits_there_is_no_file(rig: Rig) -> None:
    rig.start()
    assert rig.get("/store").text == "None"
    assert not list((rig.folder / "runtime").glob("*/limits-*"))


def test_reloads_and_workers_come_and_go_and_the_counts_stay(rig: Rig) -> None:
    limited(rig, 20)
    assert takes(rig, 8) == 8
    before = folder_of(rig)
    rig.write(text="two")
    rig.signal(signal.SIGHUP)
    rig.wait_log("plan 2 is in force")
    os.kill(rig.connect_to(1)[1].pid, signal.SIGKILL)
    rig.wait_log("worker-1 died and is replaced")
    assert rig.texts() == {"two"}
    assert folder_of(rig) == before
    assert takes(rig, 30) == 12


def test_a_restart_of_control_keeps_the_file(rig: Rig) -> None:
    limited(rig, 20)
    assert takes(rig, 8) == 8
    before = folder_of(rig)
    os.kill(rig.control_pid, signal.SIGKILL)
    rig.wait_log("plan 2 is in force")
    assert folder_of(rig) == before
    assert takes(rig, 30) == 12


def test_other_settings_of_the_store_make_another_file_and_remove_the_old(rig: Rig) -> None:
    limited(rig, 20)
    before = folder_of(rig)
    rig.write(store={"size": 2 * SIZE})
    rig.signal(signal.SIGHUP)
    rig.wait_log("plan 2 is in force")
    assert folder_of(rig) != before
    assert not before.exists()
    assert takes(rig, 30) == 20


def test_a_refused_plan_leaves_the_file_as_it_was(rig: Rig) -> None:
    limited(rig, 20)
    before = folder_of(rig)
    rig.write(store={"size": 2 * SIZE}, refused_by=[1, 2])
    rig.signal(signal.SIGHUP)
    rig.wait_log("configuration refused, plan 1 stays in force")
    assert folder_of(rig) == before
    assert list(before.parent.glob("limits-*")) == [before]
    assert takes(rig, 30) == 20


def test_a_folder_that_is_named_holds_the_file_while_the_gateway_lives(rig: Rig) -> None:
    named = rig.folder / "named"
    named.mkdir()
    limited(rig, 20, path=str(named))
    assert folder_of(rig).parent.parent == named
    assert takes(rig, 8) == 8
    os.kill(rig.control_pid, signal.SIGKILL)
    rig.wait_log("plan 2 is in force")
    assert takes(rig, 30) == 12
    rig.signal(signal.SIGTERM)
    assert rig.wait() == 0
    assert list(named.iterdir()) == []
    assert rig.runtime_is_clean()


def test_a_folder_that_cannot_be_used_ends_the_start_with_a_sentence(rig: Rig) -> None:
    rig.launch(requests=10, store={"size": SIZE, "path": str(rig.folder / "missing")})
    assert rig.wait() == 1
    assert "missing cannot hold the store of limits: No such file or directory" in rig.stderr()
    assert "headgate did not start." in rig.stderr()
    assert "Traceback" not in rig.stderr()


def test_what_a_gateway_that_was_killed_whole_leaves_the_next_one_removes(rig: Rig) -> None:
    named = rig.folder / "named"
    named.mkdir()
    limited(rig, 20, path=str(named))
    left, runtime = folder_of(rig), list((rig.folder / "runtime").iterdir())
    everybody = [rig.control_pid, *rig.children(), rig.pid]
    for pid in everybody:
        os.kill(pid, signal.SIGSTOP)
    for pid in everybody:
        os.kill(pid, signal.SIGKILL)
    rig.wait()
    until(rig.everybody_gone, "all processes are gone")
    assert left.exists()
    rig.launch()
    rig.wait_log("plan 1 is in force")
    assert not left.exists()
    assert not runtime[0].exists()
    assert folder_of(rig).parent.parent == named


def test_who_only_waits_for_the_lock_of_a_stuck_worker_is_not_killed_with_it(rig: Rig) -> None:
    rig.start(limit=1.0, requests=100, store={"size": SIZE})
    waits, before = rig.connect_to(1)
    stops, victim = rig.connect_to(2)
    stops.send("/stop")
    until(lambda: state_of(victim.pid) == "T", "worker 2 stands still")
    assert waits.get("/take").pid == before.pid
    assert rig.wait_log("worker-2 does not answer and is killed")["pid"] == victim.pid
    rig.wait_log("worker-2 died and is replaced")
    assert rig.texts() == {"one"}
    assert waits.get("/take").pid == before.pid
    assert "worker-1" not in "".join(line["message"] for line in rig.log())


# -- its books --------------------------------------------------------------------------------------------------------


def config(store: object, *, limits: bool = True) -> ResolvedConfig:
    limit = [Limit(name="all", key=[], requests=5)] if limits else []
    return resolve(Config(listen=[Listen(address=":1")], limits=limit, store=store))


def test_a_store_that_needs_no_file_gets_none(tmp_path: Path) -> None:
    files = StoreFiles(tmp_path, {})
    memory = MemoryStoreSettings()
    assert files.prepare(config(memory))["store"] is memory
    shared = SharedStoreSettings(size=SIZE)
    assert files.prepare(config(shared, limits=False))["store"] is shared
    assert list(tmp_path.iterdir()) == []


def test_limits_that_go_take_the_file_along(tmp_path: Path) -> None:
    files = StoreFiles(tmp_path, {})
    shared = SharedStoreSettings(size=SIZE)
    folder = Path(files.prepare(config(shared))["store"].path)
    files.conclude(taken=True)
    assert files.current == {"store": StoreFile(shared, folder)}
    files.prepare(config(shared, limits=False))
    files.conclude(taken=True)
    assert not folder.exists()
    assert files.current == {}


def test_what_a_predecessor_began_and_did_not_finish_goes(tmp_path: Path) -> None:
    shared = SharedStoreSettings(size=SIZE)
    unfinished = Path(StoreFiles(tmp_path, {}).prepare(config(shared))["store"].path)
    files = StoreFiles(tmp_path, {"store": StoreFile(shared, tmp_path / "limits-gone")})
    folder = Path(files.prepare(config(shared))["store"].path)
    files.conclude(taken=True)
    assert [each for each in tmp_path.iterdir() if each.is_dir()] == [folder]
    assert not unfinished.exists()


def test_where_the_runtime_folder_has_no_room_another_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runtime, spare = tmp_path / "runtime", tmp_path / "spare"
    runtime.mkdir()
    spare.mkdir()
    monkeypatch.setattr("headgate.control.store_file.spare_folders", lambda _: [spare])
    allocate = os.posix_fallocate

    def full(file: int, offset: int, length: int) -> None:
        if Path(f"/proc/self/fd/{file}").readlink().is_relative_to(runtime):
            raise OSError(28, "No space left on device")
        allocate(file, offset, length)

    monkeypatch.setattr(os, "posix_fallocate", full)
    folder = Path(StoreFiles(runtime, {}).prepare(config(SharedStoreSettings(size=SIZE)))["store"].path)
    assert folder.parent.parent == spare


# -- cached answers ---------------------------------------------------------------------------------------------------


def caching(size: int = SIZE, *, cache: bool = True) -> ResolvedConfig:
    service = Service(name="a", url="http://a", routes=[Route(name="all", cache=Cache() if cache else None)])
    return resolve(Config(services=[service], cache_store=MemoryCacheSettings(size=size)))


def test_cached_answers_have_a_file_where_a_route_caches(tmp_path: Path) -> None:
    files = StoreFiles(tmp_path, {})
    stores = files.prepare(caching(cache=False))
    assert stores["cache_store"].path is None
    files.conclude(taken=True)
    assert list(tmp_path.iterdir()) == []
    folder = Path(files.prepare(caching())["cache_store"].path)
    files.conclude(taken=True)
    assert files.current == {"cache_store": StoreFile(MemoryCacheSettings(size=SIZE), folder)}
    assert sum(each.stat().st_size for each in folder.iterdir()) == SIZE


def test_a_reload_keeps_what_is_cached_as_long_as_the_store_stays_the_same(tmp_path: Path) -> None:
    files = StoreFiles(tmp_path, {})
    folder = Path(files.prepare(caching())["cache_store"].path)
    files.conclude(taken=True)
    successor = StoreFiles(tmp_path, files.current)
    assert Path(successor.prepare(caching())["cache_store"].path) == folder
    successor.conclude(taken=True)
    other = Path(successor.prepare(caching(2 * SIZE))["cache_store"].path)
    successor.conclude(taken=False)
    assert (folder.is_dir(), other.is_dir()) == (True, False)
    other = Path(successor.prepare(caching(2 * SIZE))["cache_store"].path)
    successor.conclude(taken=True)
    assert (folder.is_dir(), other.is_dir()) == (False, True)


def test_where_one_of_two_files_finds_no_room_the_other_is_not_left_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("headgate.control.store_file.spare_folders", lambda _: [])
    limited = replace(caching(2 * SIZE), limits=config(SharedStoreSettings(size=SIZE)).limits)
    limited = replace(limited, store=SharedStoreSettings(size=SIZE))
    allocate = os.posix_fallocate

    def full(file: int, offset: int, length: int) -> None:
        if length > SIZE:
            raise OSError(28, "No space left on device")
        allocate(file, offset, length)

    monkeypatch.setattr(os, "posix_fallocate", full)
    files = StoreFiles(tmp_path, {})
    with pytest.raises(ValueError, match=r"cached answers finds no place for its 2 MiB .*cache_store\.size"):
        files.prepare(limited)
    assert list(tmp_path.iterdir()) == []
