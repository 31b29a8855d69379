"""A way that lets everybody in who shows anything: for tests of what stands behind the gateway, without an issuer."""

from __future__ import annotations

import math

from headgate.auth.method import Known
from headgate.auth.settings import StandIn
from headgate.core.identity import Identity
from headgate.core.message import RequestHead

_NAME = b"authorization"


class StandInMethod:
    """One caller, whoever asks."""

    kind = "stand_in"
    challenge = "Bearer"
    in_headers = True

    __slots__ = ("_known", "name")

    def __init__(self, settings: StandIn) -> None:
        self.name = settings.name
        identity = Identity(
            kind="user",
            id=settings.id,
            tenant=settings.tenant,
            roles=frozenset(settings.roles),
            tier=settings.tier,
            scopes=frozenset(settings.scopes),
            method=self.name,
        )
        self._known = Known(identity, math.inf)

    def find(self, head: RequestHead) -> bytes | None:
        """Return what stands in Authorization, whatever its scheme; None where nothing does."""
        values = [value for name, value in head.fields if len(name) == len(_NAME) and name.lower() == _NAME]
        return b", ".join(values) or None

    def judge(self, credential: bytes, now: float) -> Known:
        """Return the caller."""
        return self._known

    def hide(self, head: RequestHead) -> None:
        """Take Authorization off."""
        if self.find(head) is not None:
            head.fields = [field for field in head.fields if field[0].lower() != _NAME]
