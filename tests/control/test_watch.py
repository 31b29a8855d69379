"""Polling for changed files: what counts as a change, and when it is stable enough to act on. No clock, no sleep."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from headgate.control.watch import Watch


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "gateway.yaml"
    path.write_text("one")
    return path


def test_nothing_changed_is_never_reported(config: Path) -> None:
    watch = Watch([config])
    assert [watch.poll() for _ in range(3)] == [[], [], []]


def test_a_change_is_reported_once_when_two_polls_agree(config: Path) -> None:
    watch = Watch([config])
    config.write_text("longer")
    assert [watch.poll() for _ in range(4)] == [[], [config], [], []]


def test_what_is_written_while_it_is_read_for_the_first_time_is_a_change(config: Path, tmp_path: Path) -> None:
    os.utime(config, (1000.0, 1000.0))
    os.utime(tmp_path, (1000.0, 1000.0))
    for since, changed in ((1000.1, []), (1000.0, [config, tmp_path]), (999.0, [config, tmp_path])):
        watch = Watch()
        watch.follow([config, tmp_path], since)
        assert [watch.poll() for _ in range(3)] == [[], changed, []]


def test_content_still_being_written_is_waited_for(config: Path) -> None:
    watch = Watch([config])
    for length in range(1, 5):
        config.write_text("x" * (10 + length))
        assert watch.poll() == []
    assert watch.poll() == [config]


def test_a_change_taken_back_is_no_change(config: Path) -> None:
    watch = Watch([config])
    before = config.stat()
    config.write_text("two")
    assert watch.poll() == []
    config.write_text("one")
    os.utime(config, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert [watch.poll(), watch.poll()] == [[], []]


def test_same_size_and_time_but_another_file_is_a_change(config: Path) -> None:
    watch = Watch([config])
    times = config.stat().st_atime_ns, config.stat().st_mtime_ns
    other = config.with_name("other")
    other.write_text("two")
    os.utime(other, ns=times)
    other.replace(config)
    assert [watch.poll(), watch.poll()] == [[], [config]]


def test_removed_and_created_files_are_changes(config: Path, tmp_path: Path) -> None:
    late = tmp_path / "late.pem"
    watch = Watch([config, late])
    late.write_text("key")
    assert [watch.poll(), watch.poll()] == [[], [late]]
    config.unlink()
    assert [watch.poll(), watch.poll()] == [[], [config]]


def test_configmap_swap_of_the_data_link_is_followed(tmp_path: Path) -> None:
    volume = tmp_path / "volume"
    for version in ("..2026_1", "..2026_2"):
        (volume / version).mkdir(parents=True)
        (volume / version / "gateway.yaml").write_text("same length")
        os.utime(volume / version / "gateway.yaml", ns=(1, 1))
    (volume / "..data").symlink_to("..2026_1")
    (volume / "gateway.yaml").symlink_to("..data/gateway.yaml")
    file, folder = Watch([volume / "gateway.yaml"]), Watch([volume])

    (volume / "..data_tmp").symlink_to("..2026_2")
    (volume / "..data_tmp").replace(volume / "..data")

    assert [file.poll(), file.poll(), file.poll()] == [[], [volume / "gateway.yaml"], []]
    assert [folder.poll(), folder.poll(), folder.poll()] == [[], [volume], []]


def test_a_folder_counts_by_its_visible_members(tmp_path: Path) -> None:
    folder = tmp_path / "conf.d"
    folder.mkdir()
    watch = Watch([folder])
    (folder / ".gateway.yaml.swp").write_text("editor")
    assert [watch.poll(), watch.poll()] == [[], []]
    (folder / "a.yaml").write_text("a")
    assert [watch.poll(), watch.poll()] == [[], [folder]]
    (folder / "a.yaml").write_text("changed")
    assert [watch.poll(), watch.poll()] == [[], [folder]]


def test_follow_keeps_a_change_that_came_during_the_reload(config: Path, tmp_path: Path) -> None:
    certificate = tmp_path / "cert.pem"
    certificate.write_text("c")
    watch = Watch([config])
    config.write_text("changed while the old text was being loaded")
    watch.follow([config, certificate])
    assert [watch.poll(), watch.poll()] == [[], [config]]


def test_mark_takes_the_present_state_as_acted_upon(config: Path) -> None:
    watch = Watch([config])
    config.write_text("reloaded by a signal")
    watch.mark()
    assert [watch.poll(), watch.poll()] == [[], []]
