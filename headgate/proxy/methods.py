"""From the settings of `identity` to the methods that judge credentials.

Law: what a configuration does not name is not imported: a worker without signed tokens loads no cryptography.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from headgate.auth.method import Method
from headgate.auth.settings import IdentitySettings


class Given(NamedTuple):
    """What methods are handed: key rings by issuer, the look-up of API keys by digest, and what those are hashed with.

    Each may be what a running gateway has, or what a command finds by itself.
    """

    rings: Mapping[str, Any]
    look_up: Callable[[bytes], bytes | None]
    pepper: bytes


def names_of(identity: IdentitySettings) -> list[str]:
    """List the names of all configured ways."""
    names = [each.name for each in identity.jwt]
    names += [each.name for each in identity.introspection]
    names += [identity.api_keys.name] if identity.api_keys is not None else []
    names += [identity.basic.name] if identity.basic is not None else []
    return names + ([identity.certificates.name] if identity.certificates is not None else [])


def build_methods(identity: IdentitySettings, names: Sequence[str], given: Given) -> list[Method]:
    """Make the methods of these names (all, when there are none), in the order of `identity.order`.

    Raises:
        ValueError: with a sentence, when one of them cannot be made.
    """
    wanted = frozenset(names or names_of(identity))
    made: list[tuple[int, Method]] = []
    for method in _made(identity, wanted, given):
        place = identity.order.index(method.kind) if method.kind in identity.order else len(identity.order)
        made.append((place, method))
    made.sort(key=lambda each: each[0])
    return [method for _, method in made]


def _made(identity: IdentitySettings, wanted: frozenset[str], given: Given) -> Iterator[Method]:
    if identity.basic is not None and identity.basic.name in wanted:
        from headgate.auth.basic import BasicMethod

        yield BasicMethod(identity.basic)
    if identity.certificates is not None and identity.certificates.name in wanted:
        from headgate.auth.certificate import CertificateMethod

        yield CertificateMethod(identity.certificates)
