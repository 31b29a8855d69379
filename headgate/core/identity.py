"""Who asks, as far as the gateway knows: what limits, routes and logs may refer to.

Law: plain data. Whoever verifies a credential makes one of these; everybody else only reads it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

Kind = Literal["anonymous", "user", "api_key", "service"]


class Identity(NamedTuple):
    """A caller. Texts that are not known are empty; `tier` chooses among the tiers of limits.

    `method` is the name of the way by which it was shown (auth.method).
    """

    kind: Kind = "anonymous"
    id: str = ""
    tenant: str = ""
    roles: frozenset[str] = frozenset()
    tier: str = "anonymous"
    scopes: frozenset[str] = frozenset()
    claims: Mapping[str, Any] = {}
    method: str = ""


ANONYMOUS = Identity()
