"""Who asks in the soak: what is expected of each credential, and that the gateway's settings can be used."""

from __future__ import annotations

import asyncio
import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bench import callers, client, proc
from bench.answer import Answer
from bench.client import Ask, Outcome
from bench.key_churn import Ledger
from bench.upstream import padding
from bench.wallet import Shown, Wallet, bearer, dressed, refused
from headgate.config.loader import load

FIELDS = {"access-control-allow-origin": "https://app.soak.example", "x-content-type-options": "nosniff"}


def served(ask: Ask, caller: str) -> Answer:
    said = {"id": ask.id, "received": 0, "crc": 0, "caller": caller, "size": 5, "pad": padding(ask.id, 5)}
    headers = {"x-request-id": ask.id, "x-soak-id": ask.id, **FIELDS}
    return Answer(200, headers, json.dumps(said).encode(), last=False)


def said_no(ask: Ask, status: int, reason: str) -> Answer:
    headers = {"x-request-id": ask.id, "content-type": "application/problem+json", **FIELDS}
    return Answer(status, headers, json.dumps({"reason": reason}).encode(), last=False)


def test_an_answer_is_good_for_its_own_caller_alone() -> None:
    ask = dressed(client.small(), bearer("token", "ann"))
    assert b"\r\nAuthorization: Bearer token\r\n" in ask.data
    assert client.check(ask, served(ask, "ann")) == (Outcome.GOOD, "")
    for other in ("bob", "", "forged", "ann,forged"):
        assert client.check(ask, served(ask, other))[0] is Outcome.WRONG
    bare = served(ask, "ann")
    assert client.check(ask, replace(bare, headers={"x-request-id": ask.id, "x-soak-id": ask.id}))[0] is Outcome.WRONG


def test_a_wrong_credential_ends_in_its_own_refusal_and_a_right_one_in_none() -> None:
    wrong = dressed(client.small(), refused("X-API-Key: none", "invalid_api_key"))
    assert client.check(wrong, said_no(wrong, 401, "invalid_api_key")) == (Outcome.GOOD, "")
    assert client.check(wrong, said_no(wrong, 401, "expired_token"))[0] is Outcome.WRONG
    assert client.check(wrong, served(wrong, "ann"))[0] is Outcome.WRONG
    assert client.check(wrong, said_no(wrong, 503, "shed")) == (Outcome.ERROR, "503 shed")
    right = dressed(client.small(), bearer("token", "ann"))
    assert client.check(right, said_no(right, 401, "invalid_token")) == (Outcome.ERROR, "401 invalid_token")


def test_what_has_no_route_is_not_found_whoever_asks() -> None:
    ask = dressed(client.missing(), refused("X-API-Key: none", "invalid_api_key"))
    assert (ask.status, ask.reason) == (404, "")


@pytest.fixture(scope="module")
def wallet(tmp_path_factory: pytest.TempPathFactory) -> Wallet:
    return Wallet(tmp_path_factory.mktemp("wallet"))


def test_the_gateway_takes_its_settings_however_they_change(wallet: Wallet, tmp_path: Path) -> None:
    def problems(**changed: Any) -> list[str]:
        service = {"name": "api", "url": "http://127.0.0.1:1", "routes": [{"name": "api"}]}
        file = tmp_path / "gateway.yaml"
        file.write_text(json.dumps({**wallet.settings(), "services": [service], **changed}))
        return [str(problem) for problem in load([file], environ={}).problems]

    assert problems() == []
    for number in range(20):
        assert problems(identity=callers.another_identity(wallet.identity(), number)) == []


def test_right_and_wrong_ones_come_in_turn_and_no_name_is_taken_from_a_client(wallet: Wallet) -> None:
    asks = [wallet.mixed(client.small()) for _ in range(500)]
    assert {ask.status for ask in asks} == {200, 401, 403}
    assert all(ask.caller for ask in asks if ask.status == 200)
    assert all(b"\r\nX-Soak-Caller: forged\r\n" in ask.data for ask in asks)
    assert all(wallet.good(client.small()).status == 200 for _ in range(100))


def test_a_key_must_be_known_in_time_and_stay_so() -> None:
    async def run() -> list[int]:
        failed = []
        for patience, said in ((60.0, ["401", "good", "good"]), (60.0, ["good", "401"]), (-1.0, ["401"])):
            ledger = Ledger(patience)
            ledger.expect("key", "key_1", "good")
            entry = ledger.coming["key"]
            for word in said:
                ledger.hear("key", entry, {word}, everybody=True)
            failed.append(len(ledger.failures))
            ledger.unsettle("key")
            ledger.hear("key", entry, {"401"}, everybody=True)
            assert len(ledger.failures) == failed[-1]
        return failed

    assert asyncio.run(run()) == [0, 1, 1]


def test_what_this_process_holds_is_counted_by_kind(tmp_path: Path) -> None:
    before = proc.held(1 << 30), proc.held(os.getpid())
    with (tmp_path / "file").open("w"):
        now = proc.held(os.getpid())
    assert before[0] == proc.Held(0, 0, 0)
    assert (now.files - before[1].files, now.sockets) == (1, before[1].sockets)
    assert now.threads >= 1
    assert 0 < proc.own(os.getpid()) <= proc.resident(os.getpid())


def test_a_body_goes_along_whole() -> None:
    plain = client.upload()
    ask = dressed(plain, Shown("X-API-Key: k", "ann"))
    head, _, body = ask.data.partition(b"\r\n\r\n")
    assert b"X-API-Key: k" in head.split(b"\r\n")
    assert body == plain.data.partition(b"\r\n\r\n")[2]
