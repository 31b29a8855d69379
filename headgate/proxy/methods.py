"""From the settings of `identity` to the methods that judge credentials, in the order in which they are looked for."""

from __future__ import annotations

from collections.abc import Sequence

from headgate.auth.method import Given, Method
from headgate.auth.settings import IdentitySettings
from headgate.catalog import AUTH


def build_methods(identity: IdentitySettings, names: Sequence[str], given: Given) -> list[Method]:
    """Make the methods of these names (all, when there are none), by `identity.order`; kinds it leaves out come last.

    Raises:
        ValueError: with a sentence, when one of them cannot be made.
    """
    methods: list[Method] = []
    for kind in dict.fromkeys((*identity.order, *AUTH)):
        wanted = [each for each in AUTH[kind].configured(identity) if not names or each.name in names]
        if wanted:
            methods += AUTH[kind].build(wanted, given)
    return methods
