"""Who tells where services run, over the admin API."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from headgate.catalog import DISCOVERY
from headgate.control.admin.discovery import SourceShown
from tests.control.admin.subject import OWNER, Subject, as_role, ask

FOUND = {"name": "chat", "discovery": {"type": "http", "url": "http://registry/list?token=hunter2"}}
STATIC = {"name": "shop", "url": "http://10.0.0.1"}


def test_every_service_is_shown_with_its_source() -> None:
    subject = Subject(config={"services": [FOUND, STATIC]})

    async def follow() -> None:
        # Nothing is asked here.
        subject.parts.discovery._spawn = _at_rest
        subject.parts.discovery.follow(subject.config)
        subject.parts.discovery.failed(next(iter(subject.parts.discovery._followed.values())), "no connection")
        subject.parts.discovery.close()

    asyncio.run(follow())
    answer = ask(subject, "GET", "/api/v1/discovery", OWNER)
    assert answer.status_code == 200
    chat, shop = answer.json()["services"]
    assert chat["last_error"].pop("age") >= 0
    assert chat == {
        "service": "chat",
        "source": "http",
        "where": "chat at http://registry/list",
        "state": "failing",
        "endpoints": 0,
        "age": None,
        "last_error": {"message": "no connection"},
    }
    assert (shop["source"], shop["state"], shop["endpoints"], shop["last_error"]) == ("static", "static", 1, None)


def _at_rest(work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
    work.close()
    return asyncio.get_running_loop().create_task(asyncio.sleep(0))


def test_who_may_only_register_sees_nothing_of_it() -> None:
    subject = Subject(config={"services": [STATIC]})
    assert ask(subject, "GET", "/api/v1/discovery", as_role("register")).status_code == 403


def test_every_source_there_is_can_be_shown() -> None:
    shown = SourceShown.model_fields["source"].annotation
    assert set(shown.__args__) == {"static", *DISCOVERY}  # type: ignore[union-attr]
