"""`headgate keys`, as an operator types it."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from headgate.auth.api_key import static_hash
from headgate.auth.basic import read_hash
from headgate.cli.main import main

CONFIG = """
state_dir: {folder}/state
identity: {{api_keys: {{prefix: voc_}}}}
services: [{{name: api, url: "http://127.0.0.1:9", routes: [{{name: all}}]}}]
"""
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run a command in a folder with a configuration; return its status and what it printed."""
    (tmp_path / "headgate.yaml").write_text(CONFIG.format(folder=tmp_path))
    monkeypatch.chdir(tmp_path)
    for name in ("DATABASE_URL", "HEADGATE_STATE_DIR", "HEADGATE_KEY_PEPPER"):
        monkeypatch.delenv(name, raising=False)

    def run_it(*words: str) -> tuple[int, str, str]:
        try:
            status = main(["keys", *words])
        except SystemExit as left:
            status = int(left.code or 0)
        printed = capsys.readouterr()
        return status, printed.out, printed.err

    return run_it


def listed(run: Run, *words: str) -> list[dict[str, Any]]:
    status, out, _ = run("list", "--json", *words)
    assert status == 0
    keys: list[dict[str, Any]] = json.loads(out)
    return keys


def created(run: Run, *words: str) -> dict[str, Any]:
    status, out, err = run("create", "--json", *words)
    assert (status, err) == (0, "")
    key: dict[str, Any] = json.loads(out)
    return key


def test_a_key_is_printed_once_alone_on_standard_output(run: Run) -> None:
    status, out, err = run("create", "--owner", "ann")
    key = out.removesuffix("\n")
    assert status == 0
    assert key.startswith("voc_")
    assert len(key) == 47
    (stored,) = listed(run)
    assert err == f"This is the only time it is shown; its id is {stored['id']}.\n"
    assert key not in str(stored)
    assert key not in run("list")[1]


def test_everything_that_belongs_to_a_key(run: Run) -> None:
    key = created(
        run, "--name", "mobile", "--owner", "ann", "--tenant", "acme", "--role", "a", "--role", "b", "--role", "a",
        "--tier", "gold", "--scope", "route:calls", "--address", "10.0.0.1/8", "--expires", "2100-01-31",
    )  # fmt: skip
    assert key.pop("key").startswith("voc_")
    assert key.pop("hint").startswith("voc_")
    assert key.pop("id").startswith("key_")
    assert key.pop("created_at")
    assert key == {
        "name": "mobile",
        "owner": "ann",
        "tenant": "acme",
        "roles": ["a", "b"],
        "tier": "gold",
        "scopes": ["route:calls"],
        "addresses": ["10.0.0.0/8"],
        "expires_at": "2100-01-31T00:00:00Z",
        "revoked_at": None,
        "last_used_at": None,
        "replaced_by": None,
        "state": "active",
    }


def test_the_list_is_a_table(run: Run) -> None:
    assert run("list") == (0, "There are no keys. `headgate keys create` makes one.\n", "")
    key = created(run, "--owner", "ann", "--role", "admin", "--expires", "90d")
    head, row = run("list")[1].splitlines()
    assert head.split() == [
        "ID",
        "HINT",
        "NAME",
        "OWNER",
        "TENANT",
        "ROLES",
        "TIER",
        "EXPIRES",
        "LAST",
        "USED",
        "STATE",
    ]
    # One word for each column, so that awk finds them.
    cells = [key["id"], key["hint"], "-", "ann", "-", "admin", "-", key["expires_at"], "never", "active"]
    assert row.split() == cells


def test_revoked_keys_are_listed_on_demand(run: Run) -> None:
    key, other = created(run), created(run)
    status, out, _ = run("revoke", key["id"])
    assert (status, out) == (0, f"{key['id']} ({key['hint']}) is revoked; running gateways refuse it within seconds\n")
    assert [each["id"] for each in listed(run)] == [other["id"]]
    assert [each["state"] for each in listed(run, "--all")] == ["revoked", "active"]


def test_of_several_keys_all_are_revoked_or_none(run: Run) -> None:
    key = created(run)
    status, out, err = run("revoke", key["id"], "key_nobody")
    assert (status, out) == (1, "")
    assert err == "There is no key with the id key_nobody. See `headgate keys list`.\n"
    assert [each["state"] for each in listed(run)] == ["active"]


def test_rotating_makes_a_new_key_and_lets_the_old_one_go_on_for_a_while(run: Run) -> None:
    old = created(run, "--owner", "ann")
    status, out, err = run("rotate", old["id"], "--grace", "10m")
    assert (status, out[:4]) == (0, "voc_")
    assert f"{old['id']} ends 2" in err
    before, after = listed(run)
    assert (before["state"], before["replaced_by"]) == ("rotated", after["id"])
    assert (after["owner"], after["state"]) == ("ann", "active")
    assert "rotated: " + after["id"] in run("list")[1]
    assert run("rotate", old["id"])[0] == 1
    assert run("rotate", after["id"], "--grace", "0")[2].endswith(f"{after['id']} ends now.\n")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ((), "headgate keys: an action is missing: create, list, revoke, rotate, hash"),
        (("crate",), 'headgate keys: there is no action "crate"; did you mean "create"?'),
        (("please",), 'there is no action "please": create, list, revoke, rotate, hash'),
        (("create", "--expires", "1999-01-01"), '"1999-01-01" is over already'),
        (("create", "--expires", "soon"), "expected 90d, 12h"),
        (("create", "--address", "nowhere"), "expected a network"),
        (("create", "--role", ""), "expected a name"),
        (("create", "--owner", "a\x1b[2Jb"), "printable characters"),
        (("create", "--owner", "x" * 201), "at most 200"),
        (("revoke",), "the following arguments are required: ID"),
        (("rotate", "key_1", "--grace", "long"), "expected seconds"),
        (("list", "--owner", "x"), 'headgate keys list: there is no option "--owner" here'),
        (("create", "--ownr=x"), 'headgate keys create: there is no option "--ownr" here; did you mean "--owner"?'),
    ],
)
def test_a_wrong_command_line_is_told(run: Run, words: tuple[str, ...], says: str) -> None:
    status, out, err = run(*words)
    assert (status, out) == (2, "")
    assert says in err


def test_without_a_configuration_nothing_is_done(run: Run, tmp_path: Path) -> None:
    (tmp_path / "headgate.yaml").unlink()
    assert run("create")[0] == 1
    assert list(tmp_path.iterdir()) == []


def test_keys_that_no_gateway_would_take_are_made_with_a_word(run: Run, tmp_path: Path) -> None:
    (tmp_path / "headgate.yaml").write_text(f"state_dir: {tmp_path}/state")
    status, out, err = run("create")
    assert (status, out[:3]) == (0, "hg_")
    assert "this gateway accepts none" in err


def test_a_database_that_is_away_is_a_sentence_without_its_password(run: Run, tmp_path: Path) -> None:
    status, out, err = run("create", "--set", "database.url=postgresql://u:pass-word@127.0.0.1:1/n")
    assert (status, out) == (1, "")
    assert "Connection refused" in err
    assert "pass-word" not in err
    assert len(err.splitlines()) == 1


def test_acts_are_written_down(run: Run, tmp_path: Path) -> None:
    (tmp_path / "headgate.yaml").write_text(
        CONFIG.format(folder=tmp_path) + f"telemetry: {{audit: {{enabled: true, path: {tmp_path}/audit.log}}}}"
    )
    key = created(run)
    run("rotate", key["id"])
    run("revoke", key["id"])
    lines = [json.loads(line) for line in (tmp_path / "audit.log").read_text().splitlines()]
    assert [line["event"] for line in lines] == ["key.created", "key.rotated", "key.revoked"]
    assert {line["target"]["key"] for line in lines} == {key["id"]}
    assert key["key"] not in str(lines)


# -- hashes --------------------------------------------------------------------------------------------------------


def give(monkeypatch: pytest.MonkeyPatch, data: bytes) -> None:
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(data), isatty=lambda: False))


def test_the_hash_of_a_key_is_what_a_configuration_takes(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    give(monkeypatch, b"my-key\n")
    assert run("hash") == (0, static_hash(b"my-key") + "\n", "")


def test_the_hash_of_a_password_is_what_a_configuration_takes(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    give(monkeypatch, "pass w\u00f6rd".encode())
    status, out, _ = run("hash", "--password")
    assert status == 0
    assert read_hash(out.strip()).fits("pass w\u00f6rd")


@pytest.mark.parametrize(
    ("words", "data"),
    [
        (("hash",), b""),
        (("hash",), b"two words"),
        (("hash",), b"x" * 513),
        (("hash",), b"\xff"),
        (("hash", "--password"), b""),
        (("hash", "--password"), b"\xff"),
        (("hash", "--password"), b"a\x00b"),
    ],
)
def test_what_cannot_be_hashed_is_told_and_not_repeated(
    run: Run, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], data: bytes
) -> None:
    give(monkeypatch, data)
    status, out, err = run(*words)
    assert (status, out) == (1, "")
    assert "two words" not in err


def test_on_a_terminal_a_password_is_asked_for_twice(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = ["one", "other", "same", "same"]
    monkeypatch.setattr("getpass.getpass", lambda _: answers.pop(0))
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(isatty=lambda: True))
    assert run("hash", "--password") == (1, "", "These were two different passwords.\n")
    assert run("hash", "--password")[0] == 0
