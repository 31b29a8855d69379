"""Tokens of operators, where they come from, and what wrong ones cost."""

from __future__ import annotations

import os
import stat
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from headgate.config.admin_settings import AdminToken
from headgate.control.admin_token import FILE, find_token, read_token
from headgate.control.log import Log
from headgate.control.operators import MAY, Operators, TooManyTries
from headgate.control.sessions import LIFETIME, MOST, MOST_OF_TOKEN, Sessions
from headgate.control.throttle import MOST_ADDRESSES, TRIES, Throttle
from tests.proxy.stage import resolved, to

LONG = "a token of sixteen and more"
EVE = AdminToken(name="eve", token="eve's own token", role="operate")


def operators(environ: dict[str, str] | None = None, **admin: Any) -> Operators:
    config = resolved(to("http://a"))
    made = Operators(Log("control"), environ if environ is not None else {})
    made.follow(replace(config, admin=replace(config.admin, **{"token": LONG, **admin})))
    return made


# -- where the token comes from ------------------------------------------------------------------------------------


def test_the_first_start_makes_a_token_for_its_owner_alone_and_later_ones_find_it(tmp_path: Path) -> None:
    environ = {"HEADGATE_STATE_DIR": str(tmp_path / "state")}
    made = find_token("", environ, None)
    assert len(made) >= 43
    file = tmp_path / "state" / FILE
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert find_token("", environ, None) == read_token(file) == made
    assert [each.name for each in file.parent.iterdir()] == [FILE]


def test_gateways_that_start_together_agree_on_one(tmp_path: Path) -> None:
    found: set[str] = set()
    together = threading.Barrier(8)

    def start() -> None:
        together.wait()
        found.add(find_token("", {}, str(tmp_path / "state")))

    threads = [threading.Thread(target=start) for _ in range(8)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert len(found) == 1


def test_the_setting_counts_before_the_variable_and_the_variable_before_the_file(tmp_path: Path) -> None:
    state = str(tmp_path / "state")
    environ = {"HEADGATE_ADMIN_TOKEN": "of the variable"}
    assert find_token("configured", environ, state) == "configured"
    assert find_token("", environ, state) == "of the variable"
    assert not (tmp_path / "state").exists()


@pytest.mark.parametrize(("content", "mode"), [("x" * 20, 0o640), ("x" * 20, 0o604), ("", 0o600), ("a b" * 9, 0o600)])
def test_a_file_that_others_may_read_or_that_holds_no_token_is_not_used(
    tmp_path: Path, content: str, mode: int
) -> None:
    file = tmp_path / FILE
    file.write_text(content)
    file.chmod(mode)
    with pytest.raises(ValueError, match=FILE) as told:
        find_token("", {}, str(tmp_path))
    assert "xxx" not in str(told.value)


def test_without_a_place_for_it_nobody_gets_in_and_the_gateway_goes_on(capfd: pytest.CaptureFixture[str]) -> None:
    made = operators({}, token="")
    assert made.of_token("anything", "10.0.0.1") is None
    assert made.of_token("", "10.0.0.1") is None
    assert "HEADGATE_STATE_DIR" in capfd.readouterr().err


# -- whose it is ---------------------------------------------------------------------------------------------------


def test_each_token_has_its_name_and_role() -> None:
    made = operators(tokens=[EVE, AdminToken(name="none", token="")])
    found = made.of_token("eve's own token", "10.0.0.1")
    assert found is not None
    assert (found.name, found.role, found.method) == ("eve", "operate", "token")
    assert (found.may("operate"), found.may("admin"), found.may("admin", "read")) == (True, False, True)
    owner = made.of_token(LONG, "10.0.0.1")
    assert owner is not None
    assert (owner.name, owner.role) == ("admin", "admin")
    assert made.of_token("", "10.0.0.1") is None
    assert LONG not in repr(made)


def test_a_role_may_what_it_says_and_no_more() -> None:
    assert {role: sorted(may) for role, may in MAY.items()} == {
        "read": ["read"],
        "register": ["register"],
        "operate": ["operate", "read", "register"],
        "admin": ["admin", "operate", "read", "register"],
    }


def test_wrong_tokens_are_looked_at_so_often_and_right_ones_of_others_always() -> None:
    made = operators()
    for number in range(TRIES):
        assert made.of_token(f"wrong {number}", "10.0.0.1") is None
    with pytest.raises(TooManyTries) as told:
        made.of_token(LONG, "10.0.0.1")
    assert 0 < told.value.wait <= 1
    with pytest.raises(TooManyTries):
        made.begin_session(LONG, "10.0.0.1")
    assert made.of_token(LONG, "10.0.0.2") is not None


def test_nobody_who_shows_wrong_ones_keeps_those_out_whose_tokens_cannot_be_tried_out() -> None:
    long = "0123456789abcdef" * 2
    made = operators(token=long)
    for number in range(TRIES):
        made.of_token(f"wrong {number}", "10.0.0.1")
    found = made.of_token(long, "10.0.0.1")
    assert found is not None
    assert found.name == "admin"
    assert made.begin_session(long, "10.0.0.1") is not None
    for wrong in (long.upper(), long * 1000, long[:-1]):
        with pytest.raises(TooManyTries):
            made.of_token(wrong, "10.0.0.1")


def test_right_ones_cost_no_try() -> None:
    made = operators()
    assert all(made.of_token(LONG, "10.0.0.1") for _ in range(3 * TRIES))


def test_it_is_told_when_a_token_is_good_for_less() -> None:
    config = resolved(to("http://a"))

    def follow(made: Operators, **admin: Any) -> bool:
        return made.follow(replace(config, admin=replace(config.admin, **admin)))

    made = operators()
    assert not follow(made, token=LONG)
    assert not follow(made, token=LONG, tokens=[EVE])
    assert follow(made, token=LONG, tokens=[replace(EVE, role="read")])
    assert follow(made, token=LONG)
    assert follow(made, token=LONG * 2)


def test_a_session_ends_with_its_token_and_takes_its_role_from_it() -> None:
    config = resolved(to("http://a"))
    made = operators()
    begun = made.begin_session(LONG, "10.0.0.1")
    assert begun is not None
    _, id_ = begun
    found = made.of_session(id_, "10.0.0.1")
    assert found is not None
    assert (found.name, found.method) == ("admin", "session")
    assert made.of_session(id_, "10.0.0.2") is None
    lesser = [AdminToken(name="late", token=LONG, role="read")]
    made.follow(replace(config, admin=replace(config.admin, token="another", tokens=lesser)))
    found = made.of_session(id_, "10.0.0.1")
    assert found is not None
    assert (found.name, found.role) == ("late", "read")
    made.follow(replace(config, admin=replace(config.admin, token="another")))
    assert made.of_session(id_, "10.0.0.1") is None


@pytest.mark.parametrize(
    ("address", "host", "expected"),
    [
        ("127.0.0.1:1", "localhost", True),
        ("127.0.0.1:1", "admin.example", True),
        ("127.0.0.1:1", "other.example", False),
        ("[::1]:1", "[::1]", True),
        ("127.0.0.1:1", "", False),
        ("0.0.0.0:1", "other.example", True),
        ("unix:/tmp/x", "anything", True),
    ],
)
def test_on_loopback_only_names_of_its_own_are_answered(address: str, host: str, expected: bool) -> None:
    assert operators(address=address, hosts=["Admin.example"]).is_asked_as(host) is expected


# -- sessions and tries, by the clock ------------------------------------------------------------------------------


def test_a_session_ends_after_its_time_or_by_hand() -> None:
    sessions = Sessions()
    first, second = (sessions.begin(token, "a", 100.0) for token in (b"1", b"2"))
    assert sessions.token_of(first, "a", 100.0 + LIFETIME - 1) == b"1"
    assert sessions.token_of(first, "a", 100.0 + LIFETIME) is None
    sessions.end(second)
    sessions.end("never begun")
    assert sessions.token_of(second, "a", 101.0) is None
    assert len(sessions) == 0


def test_sessions_are_bounded_and_the_oldest_goes_first() -> None:
    sessions = Sessions()
    tokens = [b"%d" % (number // MOST_OF_TOKEN) for number in range(MOST + 1)]
    ids = [sessions.begin(token, "a", 0.0) for token in tokens]
    assert len(sessions) == MOST == len(set(ids)) - 1
    assert sessions.token_of(ids[0], "a", 1.0) is None
    assert sessions.token_of(ids[1], "a", 1.0) == b"0"
    assert sessions.token_of("x" * 100_000, "a", 1.0) is None


def test_nobody_ends_the_sessions_of_others_by_beginning_his_own() -> None:
    sessions = Sessions()
    owner = sessions.begin(b"owner", "a", 0.0)
    ids = [sessions.begin(b"reader", "b", 0.0) for _ in range(2 * MOST)]
    assert len(sessions) == MOST_OF_TOKEN + 1
    assert sessions.token_of(owner, "a", 1.0) == b"owner"
    assert sessions.token_of(ids[-MOST_OF_TOKEN], "b", 1.0) == b"reader"
    assert sessions.token_of(ids[-MOST_OF_TOKEN - 1], "b", 1.0) is None


def test_tries_come_back_with_time_and_never_more_than_there_were() -> None:
    throttle = Throttle()
    for _ in range(TRIES):
        assert throttle.wait("a", 0.0) == 0
        throttle.wrong("a", 0.0)
    assert throttle.wait("a", 0.25) == 0.75
    assert throttle.wait("a", 1.0) == 0
    for _ in range(TRIES):
        throttle.wrong("a", 10_000.0)
    assert throttle.wait("a", 10_000.0) == 1


def test_an_ipv6_network_is_one_and_addresses_are_bounded() -> None:
    throttle = Throttle()
    for number in range(TRIES):
        throttle.wrong(f"2001:db8::{number:x}", 0.0)
    assert throttle.wait("2001:db8::ffff", 0.0) == 1
    assert throttle.wait("2001:db8:0:1::1", 0.0) == 0
    for number in range(MOST_ADDRESSES):
        throttle.wrong(f"10.0.{number >> 8}.{number & 255}", 0.0)
    assert throttle.wait("2001:db8::ffff", 0.0) == 0
    assert os.environ["HEADGATE_ADMIN_TOKEN"] not in repr(throttle)
