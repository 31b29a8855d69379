"""A configuration put over the admin API of `headgate run`: written, brought into force, or nothing of it."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from headgate.client import Client, Refused
from tests.control.whole import Gateway, Service
from tests.wire.certificates import Authority

# Its plugins are made in control, which checks a configuration, and not in workers.
REFUSED_BY_WORKERS = """
import sys

from headgate.plugin import Pass, Plugin, Request, Verdict


class Nowhere(Plugin):
    def __init__(self, config: object = None) -> None:
        if "headgate.control.worker" in sys.modules:
            raise ValueError("not in a worker")

    def on_request(self, request: Request) -> Verdict:
        return Pass()
"""


class Running:
    """`headgate run` on one file, as an operator's program steers it."""

    def __init__(self, folder: Path, service: Service, kind: type[Gateway] = Gateway) -> None:
        # A file that is looked at together with the configuration.
        self.authority = Path(Authority(folder.parent).path)
        self.gateway = kind(folder, 2, {"url": f"http://{service.name}", "tls": {"ca": str(self.authority)}})
        self.client = Client(self.gateway.admin, os.environ["HEADGATE_ADMIN_TOKEN"])
        self.file = folder / kind.file_name
        self.before = self.file.read_bytes()

    def document(self, **service: Any) -> str:
        document = json.loads(self.before)
        document["services"][0] |= service
        return json.dumps(document)

    @property
    def tag(self) -> str:
        return self.client.config().tag

    @property
    def plan(self) -> int:
        plan: int = self.client.status()["plan"]
        return plan

    def put(self, text: str, tag: str | None = None) -> Refused:
        """Put one that is refused."""
        with pytest.raises(Refused) as refused:
            self.client.put_config(text, tag or self.tag)
        return refused.value

    def untouched(self) -> None:
        """Nothing has changed, nor does anything on the next look at the files."""
        assert self.file.read_bytes() == self.before
        assert self.plan == 1
        assert self.gateway.ask()[0] == 200

    def close(self) -> None:
        self.client.close()
        self.gateway.close()


@pytest.fixture
def running(tmp_path: Path, service: Service, monkeypatch: pytest.MonkeyPatch) -> Iterator[Running]:
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{os.environ.get('PYTHONPATH', '')}")
    made = Running(tmp_path / "run", service)
    yield made
    made.close()


def test_it_is_written_with_the_one_before_beside_it_and_is_in_force_once(running: Running) -> None:
    other = Service()
    tag = running.tag
    text = running.document(url=f"http://{other.name}")
    draft = running.client.put_config(text, tag, dry_run=True)
    assert (draft["ok"], [each["path"] for each in draft["diff"]]) == (True, ["services[api].url"])
    running.untouched()
    assert list(running.file.parent.glob("*.bak")) == []
    done = running.client.put_config(text, tag)
    try:
        assert (done["ok"], done["plan"], running.file.read_text()) == (True, 2, text)
        assert running.file.with_name("gateway.yaml.bak").read_bytes() == running.before
        # In every worker.
        assert {running.gateway.ask()[1] for _ in range(8)} == {other.name.encode()}
        # Of two who looked at the same one, the second has to look again.
        assert running.put(running.document(), tag).status == 412
        assert running.tag != tag
    finally:
        other.close()
    # What is changed by hand is seen at the next look at the files: all before it has been acted upon by then.
    running.gateway.write({"url": "http://127.0.0.1:9"})
    running.gateway.wait_log("plan 3 is in force")
    messages = [each for each in running.gateway.log() if "is in force" in each]
    assert messages == [f"plan {number} is in force" for number in (1, 2, 3)]
    changes = [(each["cause"], each["plan"]) for each in running.client.config_changes()]
    assert [cause.partition(" ")[0] for cause, _ in changes[1:]] == ["PUT", "start"]


def test_what_is_put_over_a_file_that_was_changed_by_hand_meanwhile_is_not_written(running: Running) -> None:
    tag = running.tag
    other = running.document(url="http://127.0.0.1:9")
    running.gateway.write({"url": "http://127.0.0.1:10"})
    # Before or after the change is loaded: the file is the newer one.
    assert running.put(other, tag).status == 412
    assert b"127.0.0.1:10" in running.file.read_bytes()


def test_what_does_not_load_or_cannot_be_brought_into_force_leaves_the_file_as_it_was(
    running: Running, tmp_path: Path
) -> None:
    broken = running.put(running.document(url="nowhere"))
    assert (broken.status, broken.body["problems"][0]["path"]) == (422, "services[api].url")
    (tmp_path / "nowhere_to_be.py").write_text(REFUSED_BY_WORKERS)
    plugin = {"name": "gate", "module": "nowhere_to_be", "class": "Nowhere"}
    refused = running.put(running.document(plugins=[plugin]))
    assert refused.status == 422
    assert "gate" in refused.body["problems"][0]["message"]
    running.gateway.wait_log("configuration refused, plan 1 stays in force")
    running.untouched()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        listen = [*json.loads(running.before)["listen"], f"127.0.0.1:{taken.getsockname()[1]}"]
        assert running.put(json.dumps(json.loads(running.before) | {"listen": listen})).status == 422
    running.untouched()
    # All files are looked at at once: what is seen next is this one alone, for the other is in force already.
    running.authority.touch()
    running.gateway.wait_log("is in force", 2)
    causes = [each["cause"] for each in running.client.config_changes()]
    assert causes == [f"{running.authority} changed", *["PUT /api/v1/config"] * 2, "start"]


def test_of_several_files_none_is_written(tmp_path: Path, service: Service) -> None:
    second = tmp_path / "second.yaml"
    second.write_text("telemetry: {level: debug}")

    class OfTwo(Gateway):
        arguments = (str(second),)

    running = Running(tmp_path / "run", service, OfTwo)
    try:
        assert running.client.config().record["writable"] is False
        refused = running.put(running.document(url="http://127.0.0.1:9"))
        assert (refused.status, "reload" in str(refused)) == (409, True)
        running.untouched()
    finally:
        running.close()


def test_a_file_that_cannot_be_written_stays(tmp_path: Path, service: Service) -> None:
    class LongNamed(Gateway):
        # That a folder may not be written stops no root, and tests are run by it: but no further name fits beside this.
        file_name = f"{'g' * 245}.yaml"

    running = Running(tmp_path / "run", service, LongNamed)
    try:
        refused = running.put(running.document(url="http://127.0.0.1:9"))
        assert (refused.status, "cannot be written" in str(refused)) == (409, True)
        running.untouched()
        assert [each.name for each in running.file.parent.glob("*.bak")] == []
    finally:
        running.close()
