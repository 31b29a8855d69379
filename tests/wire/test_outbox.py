"""Short messages of one turn of the loop, sent together."""

from __future__ import annotations

import asyncio

from headgate.wire.outbox import Outbox


class Held:
    """A connection that notes when it was uncorked."""

    def __init__(self, name: str, sent: list[str]) -> None:
        self.name = name
        self.sent = sent

    def uncork(self) -> None:
        self.sent.append(self.name)


def test_upstreams_come_before_clients_each_in_order_and_nothing_before_the_turn_ends() -> None:
    sent: list[str] = []

    async def turn() -> None:
        outbox = Outbox(asyncio.get_running_loop())
        outbox.for_client(Held("client 1", sent))
        outbox.for_upstream(Held("upstream 1", sent))
        outbox.for_client(Held("client 2", sent))
        outbox.for_upstream(Held("upstream 2", sent))
        assert sent == []
        await asyncio.sleep(0)
        assert sent == ["upstream 1", "upstream 2", "client 1", "client 2"]
        outbox.for_client(Held("client 3", sent))
        await asyncio.sleep(0)
        assert sent[4:] == ["client 3"]

    asyncio.run(turn())


def test_what_is_corked_while_sending_goes_with_the_next_turn() -> None:
    sent: list[str] = []

    class Again(Held):
        def uncork(self) -> None:
            super().uncork()
            if len(sent) == 1:
                outboxes[0].for_upstream(self)

    async def turns() -> None:
        outboxes.append(Outbox(asyncio.get_running_loop()))
        outboxes[0].for_upstream(Again("again", sent))
        await asyncio.sleep(0)
        assert sent == ["again"]
        await asyncio.sleep(0)
        assert sent == ["again", "again"]

    outboxes: list[Outbox] = []
    asyncio.run(turns())
