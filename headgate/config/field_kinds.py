"""Which header fields get past the wire, as the configuration has it: one answer for workers, check and explain.

Law: the standard library and the wire's tables only, since a worker asks it.
"""

from __future__ import annotations

from headgate.auth.settings import IdentitySettings
from headgate.auth.token_sources import Place
from headgate.config.resolve import ResolvedConfig
from headgate.config.schema import Config
from headgate.policy.hygiene_settings import HeaderLists
from headgate.policy.limit.headers import names_written
from headgate.telemetry.trace import names_of
from headgate.wire import http1
from headgate.wire.field_filter import KEPT_OF_ANSWERS, KEPT_OF_REQUESTS, FieldFilter


def request_field_kinds(config: Config | ResolvedConfig) -> http1.FieldKinds:
    """Make the table that judges what clients send."""
    lists = config.header_filter.request
    return http1.request_kinds(
        config.request_id.headers,
        config.http.underscores,
        config.identity.forward,
        _filter(lists, KEPT_OF_REQUESTS, config.header_filter.refuse),
        credential_fields(config.identity),
        names_of(config.telemetry.tracing),
    )


def credential_fields(identity: IdentitySettings) -> frozenset[bytes]:
    """Return the names of the header fields, in lower case, that may hold a credential."""
    names = token_names(identity, "header")
    if identity.api_keys is not None:
        names.update(identity.api_keys.headers)
    bearer = identity.api_keys is not None and identity.api_keys.bearer
    # Where it is strict, what stands there counts even if no way reads it.
    if identity.basic is not None or identity.stand_in is not None or bearer or identity.strict:
        names.add("Authorization")
    return frozenset(name.lower().encode() for name in names)


def token_names(identity: IdentitySettings, place: Place) -> set[str]:
    """Return the names, as they are written, under which tokens are looked for in one kind of place."""
    listed = [each.sources for each in identity.jwt] + [each.sources for each in identity.introspection]
    places = [source.partition(":") for sources in listed for source in sources]
    return {name for kind, _, name in places if kind == place}


def answer_field_kinds(config: Config | ResolvedConfig) -> http1.FieldKinds:
    """Make the table that judges what upstreams answer."""
    lists = config.header_filter.response
    limits = names_written(config.limit_headers)
    return http1.response_kinds(config.request_id.headers, _filter(lists, KEPT_OF_ANSWERS), limits)


def _filter(lists: HeaderLists, kept: frozenset[bytes], refuse: bool = False) -> FieldFilter | None:
    return FieldFilter(lists.allow, lists.deny, kept, refuse) if lists.allow or lists.deny else None
