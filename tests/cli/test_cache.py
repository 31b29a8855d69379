"""`headgate cache` and the client before a real admin listener: what is shown, and what is purged."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator

import pytest

from headgate.cli.main import main
from headgate.client import Client, Refused
from headgate.stores.cache.store import Purge
from headgate.telemetry.cells import SlotRegion, SlotWriter
from headgate.telemetry.metrics import Metrics
from tests.control.admin.subject import TOKEN, Subject
from tests.control.admin.test_cache import HELD, Store, subject
from tests.control.admin.test_schema import Running

Serve = Callable[[Subject], str]


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Iterator[Serve]:
    monkeypatch.setenv("HEADGATE_ADMIN_TOKEN", TOKEN)
    running: list[Running] = []

    def served(what: Subject) -> str:
        running.append(Running(what))
        return running[-1].url.removeprefix("http://")

    yield served
    for each in running:
        each.close()


def test_what_it_holds_and_answers_is_shown(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    made = subject(Store())
    region = SlotRegion.create()
    series = Metrics(SlotWriter(region)).requests("all", "api")
    for result in ("hit", "hit", "stale", "miss", "bypass"):
        series.cached(result, 600)
    monkeypatch.setattr(made.parts.caching, "_regions", [region])
    admin = serve(made)
    assert main(["cache", "--admin", admin]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "Store     memory, 3 answers, 4.0KiB of 1.0MiB, 9 stored, 2 evicted, 1 refused, 4 purged",
        "Answered  75.0 % of what came to it, 1.8KiB",
        "",
        "ROUTE  ANSWERED  HIT  STALE  REVALIDATED  COLLAPSED  MISS  BYPASS  BYTES",
        "all    75.0 %    2    1      0            0          1     1       1.8KiB",
    ]
    assert main(["cache", "status", "--json", "--admin", admin]) == 0
    assert json.loads(capsys.readouterr().out)["store"]["entries"] == 3


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (Subject, "No route has a cache.\n"),
        (lambda: subject(Store(held=None)), "memory, AWAY: services are asked\n"),
        (lambda: subject(Store(held=HELD._replace(entries=None, bytes=None, size=None))), "memory, 9 stored"),
    ],
    ids=["none", "away", "unknown"],
)
def test_what_is_not_known_is_said(
    made: Callable[[], Subject], said: str, serve: Serve, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["cache", "--admin", serve(made())]) == 0
    assert said in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "purged", "said"),
    [
        (["--tag", "shop"], Purge("tag", "shop"), "purged 1,200 answers with that tag\n"),
        (["--all"], Purge("all", ""), "purged 1,200 answers of all routes\n"),
        (["--url", "http://a.example"], Purge("url", "http://a.example/"), "purged 1,200 answers of that URL\n"),
        (["--prefix", "http://a.example/x"], Purge("prefix", "http://a.example/x"), "of URLs that begin so\n"),
    ],
    ids=["tag", "all", "url", "prefix"],
)
def test_it_purges(
    words: list[str], purged: Purge, said: str, serve: Serve, capsys: pytest.CaptureFixture[str]
) -> None:
    store = Store(found=1200)
    admin = serve(subject(store))
    assert main(["cache", "purge", *words, "--admin", admin]) == 0
    assert capsys.readouterr().out.endswith(said)
    assert main(["cache", "purge", *words, "--json", "--admin", admin]) == 0
    assert json.loads(capsys.readouterr().out) == {"by": purged.scope, "purged": 1200}
    assert store.purged == [purged, purged]


@pytest.mark.parametrize(
    "words",
    [["purge"], ["status", "--all"], ["--tag", "x"], ["purge", "--all", "--tag", "x"], ["purge", "x"], ["flush"]],
    ids=" ".join,
)
def test_a_wrong_command_line_is_said_and_purges_nothing(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    try:
        status = main(["cache", *words, "--admin", "127.0.0.1:1"])
    except SystemExit as ended:
        status = int(ended.code or 0)
    assert status == 2
    assert capsys.readouterr().err


def test_what_is_refused_is_said(serve: Serve, capsys: pytest.CaptureFixture[str]) -> None:
    admin = serve(Subject())
    assert main(["cache", "purge", "--all", "--admin", admin]) == 1
    assert capsys.readouterr().err == "no route has a cache\n"


def test_the_client_shows_and_purges(serve: Serve) -> None:
    store = Store(found=4)
    with Client(serve(subject(store)), TOKEN) as client:
        assert client.cache()["store"]["entries"] == 3
        assert client.purge_cache("tag", "shop") == 4
        assert client.purge_cache("all") == 4
        with pytest.raises(Refused, match="at least 1 character") as told:
            client.purge_cache("url")
        assert told.value.status == 422
    assert store.purged == [Purge("tag", "shop"), Purge("all", "")]
