"""Which header fields get past the wire, as the configuration has it: one answer for workers, check and explain.

Law: the standard library and the wire's tables only, since a worker asks it.
"""

from __future__ import annotations

from headgate.auth.settings import IdentitySettings
from headgate.config.resolve import ResolvedConfig
from headgate.config.schema import Config
from headgate.policy.hygiene_settings import HeaderLists
from headgate.wire import http1
from headgate.wire.field_filter import KEPT_OF_ANSWERS, KEPT_OF_REQUESTS, FieldFilter

_HEADER = "header:"


def request_field_kinds(config: Config | ResolvedConfig) -> http1.FieldKinds:
    """Make the table that judges what clients send."""
    lists = config.header_filter.request
    return http1.request_kinds(
        config.request_id.headers,
        config.http.underscores,
        config.identity.forward,
        _filter(lists, KEPT_OF_REQUESTS, config.header_filter.refuse),
        credential_fields(config.identity),
    )


def credential_fields(identity: IdentitySettings) -> frozenset[bytes]:
    """Return the names of the header fields, in lower case, that may hold a credential."""
    sources = [source for issuer in identity.jwt for source in issuer.sources]
    sources += [source for server in identity.introspection for source in server.sources]
    names = {source.removeprefix(_HEADER) for source in sources if source.startswith(_HEADER)}
    if identity.api_keys is not None:
        names.update(identity.api_keys.headers)
    if identity.basic is not None or (identity.api_keys is not None and identity.api_keys.bearer):
        names.add("Authorization")
    return frozenset(name.lower().encode() for name in names)


def answer_field_kinds(config: Config | ResolvedConfig) -> http1.FieldKinds:
    """Make the table that judges what upstreams answer."""
    lists = config.header_filter.response
    return http1.response_kinds(config.request_id.headers, _filter(lists, KEPT_OF_ANSWERS))


def _filter(lists: HeaderLists, kept: frozenset[bytes], refuse: bool = False) -> FieldFilter | None:
    return FieldFilter(lists.allow, lists.deny, kept, refuse) if lists.allow or lists.deny else None
