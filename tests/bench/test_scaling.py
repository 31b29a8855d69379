"""The bench of several machines: its client, its network, and the page that it writes."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import subprocess
from typing import Any

import pytest

from bench.scaling import BUSY, GATEWAYS, KINDS, RATES, broken, network, page
from bench.scaling_peer import Client, Service
from tests.control.driver import CEILING
from tests.docs.test_examples import ROOT

FOUND: dict[str, Any] = {
    "exact": {kind: {"statuses": {"200": 1000, "429": 2000}, "cut": 0} for kind in KINDS},
    "killed": {"statuses": {"200": 5996, "429": 11_990, "502": 3}, "cut": 11},
    "away": {"statuses": {"200": 600, "429": 900}, "cut": 0},
    "cost": {number: {"gateway": 60e-6, "redis": 12e-6, "rate": 9000.0} for number in range(1, GATEWAYS + 1)},
}


def rows(text: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line]


def test_the_page_says_what_was_found_and_what_follows() -> None:
    told = rows(page(FOUND))
    assert ["`sliding_window`", "1,000", "2,000"] in told
    assert ["cut with the gateway", "11"] in told
    assert ["anything else", "3"] in told
    assert ["3", "60.0", "12.0"] in told
    # 1,000,000 x 60 us are 60 processors, 100 when each is to be 60 % busy.
    assert ["1,000,000", "100", "20"] in told
    assert ["10,000", "1", "1"] in told
    assert [row[0] for row in told[-len(RATES) :]] == [f"{rate:,}" for rate in RATES]
    assert BUSY == 0.6


@pytest.mark.parametrize(
    ("part", "told", "sentence"),
    [
        ("exact", {**FOUND["exact"], "token": {"statuses": {"200": 1001, "429": 1999}}}, "token: not exactly 1000"),
        ("killed", {"statuses": {"200": 6001, "429": 11_990}, "cut": 9}, "6001 passed of 6000"),
        ("killed", {"statuses": {"200": 5990, "429": 12_002}, "cut": 8}, "5990 passed of 6000"),
        ("killed", {"statuses": {"200": 5995, "429": 11_990, "502": 5}, "cut": 10}, "'502': 5"),
        ("away", {"statuses": {"200": 601, "429": 899}, "cut": 0}, "let not twice 300 pass"),
    ],
)
def test_a_limit_that_is_not_kept_is_a_fault(part: str, told: dict[str, Any], sentence: str) -> None:
    kept = FOUND | {"killed": {"statuses": {"200": 5995, "429": 11_996}, "cut": 9}}
    assert broken(kept) == []
    (said,) = broken(kept | {part: told})
    assert sentence in said


def test_the_page_has_a_place_for_it() -> None:
    text = (ROOT / "docs" / "scaling.md").read_text()
    assert re.search(r"<!-- scaling:begin -->\n.*[|] .*<!-- scaling:end -->", text, re.DOTALL)


def test_the_client_goes_on_elsewhere_when_it_is_cut() -> None:
    class Cutting(Service):
        def data_received(self, data: bytes) -> None:
            self._transport.abort()

    async def run() -> Client:
        loop = asyncio.get_running_loop()
        servers = [await loop.create_server(each, "127.0.0.1", 0) for each in (Service, Cutting)]
        client = Client("x", 200, 200, [server.sockets[0].getsockname() for server in servers])
        await client.run()
        for server in servers:
            server.close()
        return client

    client = asyncio.run(run())
    assert client.cut >= 8
    assert client.statuses["200"] + client.cut == 200


def test_machines_reach_each_other_and_are_gone_afterwards() -> None:
    if os.geteuid() != 0 or shutil.which("ip") is None:
        pytest.skip("namespaces need root and ip (iproute2)")
    with network(["one", "two"]) as machines:
        place = (machines["two"].address, 9)
        listens = f"import socket; s = socket.create_server({place}); print('on', flush=True); print(s.accept())"
        listening = machines["two"].start(["python3", "-c", listens], stdout=subprocess.PIPE)
        assert listening.stdout is not None
        assert listening.stdout.readline() == b"on\n"
        connects = f"import socket; socket.create_connection({place}, {CEILING})"
        assert machines["one"].start(["python3", "-c", connects]).wait(CEILING) == 0
        said, _ = listening.communicate(timeout=CEILING)
        assert machines["one"].address.encode() in said
        names = {machine.namespace for machine in machines.values()}
    left = subprocess.run(["ip", "netns", "list"], capture_output=True, text=True, check=True).stdout
    assert not [name for name in names if name in left]
