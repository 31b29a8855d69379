"""Keys of issuers over hours: fetched, changed, missed, used on, given up. Time is the loop's and takes none."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import pytest

from headgate.auth.settings import IdentitySettings, JwtIssuer, KeySetSource
from headgate.config.resolve import ResolvedConfig, resolve
from headgate.config.schema import Config
from headgate.control import issuers as module
from headgate.control.issuers import Issuers, KeptKeys
from headgate.control.key_fetch import FetchedKeys, NotFetched
from headgate.control.log import Log
from headgate.control.messages import KeySets
from tests.control.clock import timeless


class Told(Log):
    """Keeps what is logged."""

    __slots__ = ("lines",)

    def __init__(self) -> None:
        super().__init__("control")
        self.lines: list[tuple[str, str]] = []

    def __call__(self, level: str, message: str, **fields: object) -> None:
        self.lines.append((level, message))


class Scene:
    """Issuers whose answers are set by hand: bytes are keys, a text is why there are none."""

    def __init__(self, kept: tuple[KeptKeys, ...] = ()) -> None:
        self.answers: dict[str, bytes | str] = {}
        self.fetches: list[tuple[str, float]] = []
        self.told: list[KeySets] = []
        self.log = Told()
        self.max_age: float | None = None
        self.hold: asyncio.Event | None = None
        self.changes = 0
        self.issuers = Issuers(self.log, self._spawn, self.told.append, kept, self._fetch, lambda: 0.0)
        self.issuers.on_change = self._changed

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        return asyncio.get_running_loop().create_task(work)

    def _changed(self) -> None:
        self.changes += 1

    async def _fetch(self, issuer: JwtIssuer) -> FetchedKeys:
        self.fetches.append((issuer.name, now()))
        if self.hold is not None:
            await self.hold.wait()
        answer = self.answers.get(issuer.name, "status 500")
        if isinstance(answer, str):
            raise NotFetched(answer)
        return FetchedKeys(answer, len(answer), self.max_age)

    def follow(self, *settings: JwtIssuer) -> None:
        self.issuers.follow(config(*settings))

    def ask(self, name: str = "idp") -> None:
        self.issuers.on_said(1, {"type": "unknown_key", "issuer": name})

    @property
    def sets(self) -> dict[str, bytes]:
        return dict(self.told[-1].sets) if self.told else {}

    def messages(self) -> list[str]:
        return [message for _, message in self.log.lines]

    def samples(self) -> dict[tuple[str, ...], int]:
        return {(each.name.family, *each.name.labels): each.values[0] for each in self.issuers.samples()}


def now() -> float:
    return asyncio.get_running_loop().time()


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "monotonic", now)


def issuer(name: str = "idp", url: str = "https://idp.example/keys", skew: float = 30.0, **source: float) -> JwtIssuer:
    return JwtIssuer(name=name, key_set=KeySetSource(url=url, **source), skew=skew)  # type: ignore[arg-type]


def config(*settings: JwtIssuer) -> ResolvedConfig:
    return resolve(Config(services=[], identity=IdentitySettings(jwt=list(settings))))


Scenario = Callable[[Scene], Awaitable[None]]


def played(scenario: Scenario) -> Callable[[], None]:
    def run() -> None:
        async def play() -> None:
            await scenario(Scene())

        timeless(play)

    run.__name__ = scenario.__name__
    return run


@played
async def test_keys_come_and_are_fetched_again_and_again(scene: Scene) -> None:
    scene.answers["idp"] = b"one"
    scene.follow(issuer())
    await asyncio.sleep(1000)
    assert scene.fetches == [("idp", 1000 + each) for each in (0, 300, 600, 900)]
    assert [dict(each.sets) for each in scene.told] == [{"idp": b"one"}]
    assert scene.messages() == ["the keys of the issuer idp have come"]


@played
async def test_new_keys_are_told_once(scene: Scene) -> None:
    scene.answers["idp"] = b"one"
    scene.follow(issuer())
    await asyncio.sleep(10)
    scene.answers["idp"] = b"two"
    await asyncio.sleep(2000)
    assert [dict(each.sets) for each in scene.told] == [{"idp": b"one"}, {"idp": b"two"}]
    assert scene.told[1].version > scene.told[0].version
    assert scene.messages()[1:] == ["the keys of the issuer idp have changed"]


@played
async def test_what_the_issuer_says_of_their_age_shortens_the_wait(scene: Scene) -> None:
    scene.answers["idp"], scene.max_age = b"one", 60
    scene.follow(issuer())
    await asyncio.sleep(200)
    assert [at for _, at in scene.fetches] == [1000, 1060, 1120, 1180]


@played
async def test_an_unknown_key_is_looked_for_at_once(scene: Scene) -> None:
    scene.answers["idp"] = b"one"
    scene.follow(issuer())
    await asyncio.sleep(10)
    scene.answers["idp"] = b"two"
    scene.ask()
    await asyncio.sleep(1)
    assert [at for _, at in scene.fetches] == [1000, 1010]
    assert scene.sets == {"idp": b"two"}
    assert scene.told[-1].answers == ("idp",)


@played
async def test_ten_thousand_unknown_keys_are_worth_two_fetches(scene: Scene) -> None:
    scene.answers["idp"] = b"one"
    scene.follow(issuer())
    for _ in range(10_000):
        scene.ask()
        await asyncio.sleep(0.002)
    assert len(scene.fetches) == 2
    # Each of them is answered, most with: nothing newer.
    assert len(scene.told) > 9_000
    assert {each.answers for each in scene.told[1:]} == {("idp",)}
    await asyncio.sleep(15)
    scene.ask()
    await asyncio.sleep(1)
    assert len(scene.fetches) == 3


@played
async def test_questions_during_a_fetch_wait_for_that_one(scene: Scene) -> None:
    scene.answers["idp"], scene.hold = b"one", asyncio.Event()
    scene.follow(issuer())
    await asyncio.sleep(1)
    for _ in range(100):
        scene.ask()
    await asyncio.sleep(1)
    assert scene.told == []
    scene.hold.set()
    await asyncio.sleep(1)
    assert len(scene.fetches) == 1
    assert [each.answers for each in scene.told] == [("idp",)]


@played
async def test_a_question_that_finds_nothing_is_answered_too(scene: Scene) -> None:
    scene.follow(issuer())
    await asyncio.sleep(0.5)
    scene.ask()
    await asyncio.sleep(0.1)
    assert scene.told[-1] == KeySets(1, {}, ("idp",))


@played
async def test_a_question_before_the_plan_is_in_force_everywhere_is_answered(scene: Scene) -> None:
    scene.answers["idp"] = b"one"
    scene.ask()
    scene.follow(issuer())
    await asyncio.sleep(1)
    assert scene.told == [KeySets(1, {"idp": b"one"}, ("idp",))]


@played
async def test_questions_about_nobody_are_borne(scene: Scene) -> None:
    scene.answers["idp"] = b"one"
    scene.follow(issuer())
    for number in range(1000):
        scene.ask(f"stranger-{number}")
    scene.issuers.on_said(1, {"type": "unknown_key"})
    scene.issuers.on_said(1, {"type": "unknown_key", "issuer": ["idp"]})
    scene.issuers.on_said(1, {"type": "something else", "issuer": "idp"})
    await asyncio.sleep(1)
    assert len(scene.fetches) == 1
    assert len(scene.issuers._early) == 100


@played
async def test_an_outage_of_ten_minutes_changes_nothing(scene: Scene) -> None:
    scene.answers["idp"] = b"one"
    scene.follow(issuer())
    await asyncio.sleep(1)
    scene.answers["idp"] = "no answer within 5 s"
    await asyncio.sleep(900)
    scene.answers["idp"] = b"one"
    await asyncio.sleep(60)
    assert [dict(each.sets) for each in scene.told] == [{"idp": b"one"}]
    assert scene.messages()[1:] == [
        "the keys of the issuer idp cannot be fetched: no answer within 5 s; those from before are used on",
        "the keys of the issuer idp can be fetched again",
    ]


@played
async def test_keys_that_are_too_old_are_withdrawn_until_new_ones_come(scene: Scene) -> None:
    scene.answers["idp"] = b"one"
    scene.follow(issuer(refresh=300, max_stale=600))
    await asyncio.sleep(1)
    scene.answers["idp"] = "status 500"
    await asyncio.sleep(898)
    assert scene.sets == {"idp": b"one"}
    await asyncio.sleep(2)
    assert scene.sets == {"idp": b""}
    assert scene.log.lines[-1][0] == "error"
    assert scene.samples()["headgate_issuer_keys", "idp"] == 0
    await asyncio.sleep(3600)
    assert len(scene.told) == 2
    assert len(scene.messages()) == 3
    scene.answers["idp"] = b"one"
    await asyncio.sleep(60)
    assert scene.sets == {"idp": b"one"}
    assert scene.messages()[-1] == "the keys of the issuer idp have come"


@played
async def test_without_any_patience_one_failure_is_the_end(scene: Scene) -> None:
    scene.answers["idp"] = b"one"
    scene.follow(issuer(refresh=300, max_stale=0))
    await asyncio.sleep(1)
    scene.answers["idp"] = "status 500"
    await asyncio.sleep(302)
    assert scene.sets == {"idp": b""}


@played
async def test_an_issuer_that_is_down_at_the_start_is_tried_until_it_is_up(scene: Scene) -> None:
    scene.follow(issuer())
    await asyncio.sleep(60)
    assert scene.told == []
    assert scene.messages() == [
        "the keys of the issuer idp cannot be fetched: status 500; its tokens cannot be checked until they come"
    ]
    scene.answers["idp"] = b"one"
    await asyncio.sleep(31)
    assert scene.sets == {"idp": b"one"}


@played
async def test_a_fault_of_whatever_kind_is_a_failure(scene: Scene) -> None:
    async def broken(_: JwtIssuer) -> FetchedKeys:
        raise RecursionError

    scene.issuers._fetch = broken
    scene.follow(issuer())
    await asyncio.sleep(60)
    assert "RecursionError" in scene.messages()[0]


@played
async def test_a_reload_keeps_keys_whose_source_stays(scene: Scene) -> None:
    scene.answers |= {"idp": b"one", "other": b"two"}
    scene.follow(issuer(), issuer("other"))
    await asyncio.sleep(1)
    scene.follow(issuer(skew=10.0), issuer("other"))
    await asyncio.sleep(1)
    assert len(scene.fetches) == 2
    assert len(scene.told) == 2
    assert scene.sets == {"idp": b"one", "other": b"two"}


@played
async def test_keys_of_another_source_are_not_used_on(scene: Scene) -> None:
    scene.answers["idp"] = b"one"
    scene.follow(issuer())
    await asyncio.sleep(1)
    scene.answers["idp"] = "status 500"
    scene.follow(issuer(url="https://elsewhere.example/keys"))
    assert scene.sets == {"idp": b""}
    await asyncio.sleep(1)
    assert len(scene.fetches) == 2
    scene.answers["idp"] = b"three"
    await asyncio.sleep(30)
    assert scene.sets == {"idp": b"three"}


@played
async def test_an_issuer_that_is_gone_is_asked_no_more(scene: Scene) -> None:
    scene.answers |= {"idp": b"one", "other": b"two"}
    scene.follow(issuer(), issuer("other"))
    await asyncio.sleep(1)
    scene.follow(issuer("other"))
    await asyncio.sleep(1000)
    assert [at for name, at in scene.fetches if name == "idp"] == [1000]
    assert scene.sets == {"other": b"two"}
    assert not any("idp" in labels for labels in scene.samples())
    # Workers forget them too: under the same name there may be another issuer one day.
    scene.follow()
    assert scene.sets == {}


@played
async def test_a_successor_knows_what_was_known(scene: Scene) -> None:
    scene.answers["idp"] = b"one"
    scene.follow(issuer(max_stale=600))
    await asyncio.sleep(1)
    assert scene.changes == 1
    heir = Scene(scene.issuers.kept())
    heir.answers["idp"] = "status 500"
    heir.follow(issuer(max_stale=600))
    assert heir.sets == {"idp": b"one"}
    await asyncio.sleep(890)
    assert heir.sets == {"idp": b"one"}
    await asyncio.sleep(10)
    assert heir.sets == {"idp": b""}
    stranger = Scene(scene.issuers.kept())
    stranger.follow(issuer(url="https://elsewhere.example/keys"))
    assert stranger.told == []


@played
async def test_a_successor_that_knows_nothing_ends_what_workers_may_still_have(scene: Scene) -> None:
    scene.follow(issuer(refresh=300, max_stale=0))
    await asyncio.sleep(299)
    assert scene.told == []
    await asyncio.sleep(2)
    assert scene.sets == {"idp": b""}


@played
async def test_what_is_counted(scene: Scene) -> None:
    scene.answers["idp"] = b"abc"
    scene.follow(issuer(), issuer("other"))
    await asyncio.sleep(10)
    found = scene.samples()
    assert found["headgate_issuer_keys", "idp"] == 3
    assert found["headgate_issuer_keys_age_seconds", "idp"] == 10_000_000
    assert found["headgate_issuer_fetches_total", "idp", "well"] == 1
    assert found["headgate_issuer_keys", "other"] == 0
    assert ("headgate_issuer_keys_age_seconds", "other") not in found
    assert found["headgate_issuer_fetches_total", "other", "failed"] == 4
