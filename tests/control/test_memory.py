"""The plan in force outlives a control process, and a half-written one is none."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from headgate.control.memory import keep, recall
from headgate.control.messages import Plan
from tests.control.rig import load


@pytest.fixture
def memory() -> Iterator[int]:
    descriptor = os.memfd_create("test")
    yield descriptor
    os.close(descriptor)


def plan(folder: Path, version: int, text: str) -> Plan:
    path = folder / "gateway.json"
    path.write_text(json.dumps({"listen": ["127.0.0.1:0"], "workers": 1, "text": text}))
    config = load(path).config
    assert config is not None
    return Plan(version, config)


def test_the_last_plan_is_recalled_however_long_the_one_before_was(memory: int, tmp_path: Path) -> None:
    assert recall(memory) is None
    for kept in (plan(tmp_path, 1, "long" * 10_000), plan(tmp_path, 2, "short")):
        keep(memory, kept)
        assert recall(memory) == kept


def test_a_writer_that_died_half_way_leaves_none(memory: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keep(memory, plan(tmp_path, 1, "one"))

    def die(*_: object) -> int:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(os, "pwrite", die)
        with pytest.raises(KeyboardInterrupt):
            keep(memory, plan(tmp_path, 2, "two"))
    assert recall(memory) is None
