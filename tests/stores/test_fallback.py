"""Who decides while a store is away."""

from __future__ import annotations

from headgate.policy.limit.group import Group
from headgate.stores.fallback import Fallback
from headgate.stores.memory import MemoryStore
from tests.stores.contract import START, ask, group, left, limit


def fallback() -> tuple[Fallback, list[tuple[str, str]]]:
    said: list[tuple[str, str]] = []
    return Fallback(MemoryStore(1000, 1), lambda state, detail: said.append((state, detail))), said


def memory(away: Fallback) -> MemoryStore:
    assert isinstance(away.local, MemoryStore)
    return away.local


def test_each_group_says_what_happens() -> None:
    away, _ = fallback()
    asks = [ask(group(limit("fixed_window", 5), on_error=kind), kind) for kind in ("local", "open")]
    told = away.admit(asks, START)
    assert [(each.allowed, each.source, len(each.raws)) for each in told] == [(True, "local", 1), (True, "open", 0)]
    closed = away.admit([ask(group(limit("fixed_window", 5), on_error="closed"))], START)
    assert [(each.allowed, each.source, each.raws) for each in closed] == [(False, "closed", ())]
    assert away.decided == 3


def test_a_worker_enforces_its_share() -> None:
    away, _ = fallback()
    share = group(limit("fixed_window", 2))
    whole = Group(["limit"], [limit("fixed_window", 8)], b"contract", local=share)
    assert sum(away.admit([ask(whole)], START)[0].allowed for _ in range(9)) == 2


def test_where_one_is_closed_the_others_consume_nothing() -> None:
    away, _ = fallback()
    local, closed = group(limit("fixed_window", 5)), group(limit("fixed_window", 5), on_error="closed")
    shadow = group(limit("fixed_window", 5), shadow=True)
    told = away.admit([ask(local, "local"), ask(closed, "closed"), ask(shadow, "shadow")], START)
    assert [each.allowed for each in told] == [True, False, True]
    assert left(memory(away), local, name="local") == [5]
    assert left(memory(away), shadow, name="shadow") == [4]


def test_a_shadow_that_is_closed_closes_nothing() -> None:
    away, _ = fallback()
    local = group(limit("fixed_window", 5))
    away.admit([ask(local, "local"), ask(group(limit("fixed_window", 5), shadow=True, on_error="closed"))], START)
    assert left(memory(away), local, name="local") == [4]


def test_what_was_counted_here_is_settled_here() -> None:
    away, _ = fallback()
    local, free = group(limit("fixed_window", 5)), group(limit("fixed_window", 5), on_error="open")
    away.settle([ask(local, "local", 3), ask(free, "free", 3)], START)
    assert left(memory(away), local, name="local") == [2]
    assert memory(away).keys == 1


def test_each_change_of_state_is_told_once() -> None:
    away, said = fallback()
    away.works()
    away.fails("no answer")
    away.fails("no answer")
    assert repr(away) == "<Fallback failing, 0 decided>"
    away.works()
    away.works()
    assert said == [("failing", "no answer"), ("working", "")]
    assert away.changes == 2
    assert repr(away) == "<Fallback working, 0 decided>"
