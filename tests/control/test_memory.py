"""The plan in force outlives a control process, and a half-written one is none."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from headgate.config.admin_settings import Admin
from headgate.control.memory import Handover, keep, recall
from headgate.control.messages import PackedPlan
from headgate.control.withheld import Withheld


@pytest.fixture
def memory() -> Iterator[int]:
    descriptor = os.memfd_create("test")
    yield descriptor
    os.close(descriptor)


@pytest.mark.parametrize("sizes", [(40_000, 5), (5, 40_000)])
def test_the_last_plan_is_recalled_however_long_the_one_before_was(memory: int, sizes: tuple[int, int]) -> None:
    assert recall(memory) is None
    for version, size in enumerate(sizes, 1):
        kept = Handover(PackedPlan(version, b"x" * size), Withheld(Admin(token="token")))
        keep(memory, kept)
        assert recall(memory) == kept


def test_a_writer_that_died_half_way_leaves_none(memory: int, monkeypatch: pytest.MonkeyPatch) -> None:
    keep(memory, Handover(PackedPlan(1, b"one"), Withheld(Admin())))

    def die(*_: object) -> int:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(os, "pwrite", die)
        with pytest.raises(KeyboardInterrupt):
            keep(memory, Handover(PackedPlan(2, b"two"), Withheld(Admin())))
    assert recall(memory) is None


def test_what_another_version_kept_is_nothing(memory: int) -> None:
    keep(memory, Handover(PackedPlan(1, b"one"), Withheld(Admin())))
    whole = os.pread(memory, 1 << 20, 0)
    assert b"Withheld" in whole
    os.pwrite(memory, whole.replace(b"Withheld", b"Notthere"), 0)
    assert recall(memory) is None
