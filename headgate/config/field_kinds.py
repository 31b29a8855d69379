"""Which header fields get past the wire, as the configuration has it: one answer for workers, check and explain.

Law: the standard library and the wire's tables only, since a worker asks it.
"""

from __future__ import annotations

from headgate.config.resolve import ResolvedConfig
from headgate.config.schema import Config
from headgate.policy.hygiene_settings import HeaderLists
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
    )


def answer_field_kinds(config: Config | ResolvedConfig) -> http1.FieldKinds:
    """Make the table that judges what upstreams answer."""
    lists = config.header_filter.response
    return http1.response_kinds(config.request_id.headers, _filter(lists, KEPT_OF_ANSWERS))


def _filter(lists: HeaderLists, kept: frozenset[bytes], refuse: bool = False) -> FieldFilter | None:
    return FieldFilter(lists.allow, lists.deny, kept, refuse) if lists.allow or lists.deny else None
