"""The answer made of an entry: conditions and ranges of the client (RFC 9110 sections 13 and 14), and Age.

Law: what a client asks about is the entry as it is kept, so its ranges count bytes as the upstream sent them.
"""

from __future__ import annotations

from typing import NamedTuple

from headgate.core.message import Fields
from headgate.policy.cache.entry import Entry
from headgate.policy.cache.reuse import Asked


class Answer(NamedTuple):
    """The head of an answer, and the part [start, stop) of the body that belongs to it, HEAD or not.

    For a 304 and a 416 that part is empty.
    """

    status: int
    fields: Fields
    start: int
    stop: int


def answer(entry: Entry, asked: Asked, age: int) -> Answer:
    """Answer a request from an entry; the fields are the caller's own to add to."""
    raise NotImplementedError
