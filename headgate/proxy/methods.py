"""From the settings of `identity` to the methods that judge credentials.

Law: what a configuration does not name is not imported: a worker without signed tokens loads no cryptography.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from headgate.auth.method import Method
from headgate.auth.settings import IdentitySettings

if TYPE_CHECKING:
    from headgate.auth.key_ring import KeyRing


class Given(NamedTuple):
    """What methods are handed: key rings by issuer, and the look-up of API keys by digest with what it is keyed by.

    Each may be what a running gateway has, or what a command finds by itself. `look_up` as in auth.api_key.
    """

    rings: Mapping[str, KeyRing]
    look_up: Callable[[bytes], bytes | None]
    pepper: bytes


def names_of(identity: IdentitySettings) -> list[str]:
    """List the names of all configured ways."""
    names = [each.name for each in identity.jwt]
    names += [each.name for each in identity.introspection]
    names += [identity.api_keys.name] if identity.api_keys is not None and identity.api_keys.enabled else []
    names += [identity.basic.name] if identity.basic is not None else []
    return names + ([identity.certificates.name] if identity.certificates is not None else [])


def build_methods(identity: IdentitySettings, names: Sequence[str], given: Given) -> list[Method]:
    """Make the methods of these names (all, when there are none), in the order of `identity.order`.

    Raises:
        ValueError: with a sentence, when one of them cannot be made.
    """
    wanted = frozenset(names or names_of(identity))
    places = {kind: place for place, kind in enumerate(identity.order)}
    return sorted(_made(identity, wanted, given), key=lambda method: places.get(method.kind, len(places)))


def _made(identity: IdentitySettings, wanted: frozenset[str], given: Given) -> Iterator[Method]:
    issuers = [issuer for issuer in identity.jwt if issuer.name in wanted]
    if issuers:
        from headgate.auth.jwt import JwtMethod

        # One for all issuers: which of them made a token is in the token. It bears the name of the kind if there are
        # several, and each caller that of its issuer.
        yield JwtMethod(issuers[0].name if len(issuers) == 1 else "jwt", issuers, given.rings)
    if identity.api_keys is not None and identity.api_keys.enabled and identity.api_keys.name in wanted:
        from headgate.auth.api_key import ApiKeyMethod

        yield ApiKeyMethod(identity.api_keys, given.pepper, given.look_up)
    if identity.basic is not None and identity.basic.name in wanted:
        from headgate.auth.basic import BasicMethod

        yield BasicMethod(identity.basic)
    if identity.certificates is not None and identity.certificates.name in wanted:
        from headgate.auth.certificate import CertificateMethod

        yield CertificateMethod(identity.certificates)
    for settings in identity.introspection:
        if settings.name in wanted:
            from headgate.auth.introspection import IntrospectionMethod

            yield IntrospectionMethod(settings)
