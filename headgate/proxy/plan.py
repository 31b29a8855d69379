"""What a worker runs: the whole configuration, built and looked up, ready to be swapped in by one assignment.

Law: built completely before anything of it is used; never changed afterwards but for its caches, which are bounded.
A request keeps the Plan it began with.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

from headgate.auth.access import AddressRules
from headgate.auth.settings import Addresses
from headgate.config.resolve import ResolvedConfig, ResolvedRoute, ResolvedService
from headgate.core.failure import Failure
from headgate.core.message import Fields, RequestHead
from headgate.policy.answer import Redirection, fixed_answer
from headgate.policy.deadline import Deadline, DeadlineHeader
from headgate.policy.edits import HeaderEditor, PathRewriter, QueryEditor
from headgate.policy.fault import FaultInjector
from headgate.policy.hosts import TrustedHosts
from headgate.policy.limit.headers import LimitHeaderWriter
from headgate.policy.mirror import MirrorSampler
from headgate.policy.overload_settings import PRIORITIES
from headgate.policy.pattern import pattern_text
from headgate.policy.retry import Retry
from headgate.policy.route import Matched, MethodNotAllowed, NotFound, RouteRule, RouteTable, has_parameters
from headgate.policy.split import Split
from headgate.proxy.authentication import Ways
from headgate.proxy.cached_route import CachedRoute
from headgate.proxy.cluster import Cluster
from headgate.proxy.dress import Dress, Entrance, dress_for
from headgate.proxy.errors import ErrorShapes
from headgate.proxy.external import ExternalDraft
from headgate.proxy.faults import FaultGate
from headgate.proxy.gates import Entry, Gate, IdentityGate
from headgate.proxy.limit_stage import Stages
from headgate.proxy.limiting import LimitGate
from headgate.proxy.own import exposed
from headgate.proxy.own_routes import Compiled, own_service, own_table, without_slash
from headgate.proxy.permission import AccessGate, AddressGate
from headgate.proxy.plugins import PluginDraft
from headgate.proxy.request_id import RequestIds
from headgate.telemetry.access_log import json_fragment
from headgate.telemetry.metrics import Metrics, RequestSeries
from headgate.telemetry.redaction import redaction
from headgate.telemetry.sampling import ASK, Sampler
from headgate.telemetry.trace import Ids, Tracer
from headgate.wire.as_json import AsJson
from headgate.wire.compression import Compressor
from headgate.wire.forwarded import NAMES, ForwardedRules, TrustPolicy

_CACHED = 16_384
_CACHED_LENGTH = 512
_LONGEST_METHOD = 32


class Parts(NamedTuple):
    """What all routes of a plan are made with; `shared` holds what is equal on many, to save memory."""

    sampler: Sampler
    metrics: Metrics
    stages: Stages
    ways: Ways
    external: ExternalDraft
    plugins: PluginDraft
    shared: dict[Any, Any]


class RouteRuntime:
    """One route, compiled."""

    __slots__ = (
        "_split",
        "cache",
        "careful",
        "choice",
        "clusters",
        "compressor",
        "deadlines",
        "dress",
        "edit_query",
        "edit_request",
        "edits_origin",
        "errors",
        "fixed",
        "gate",
        "gates",
        "host",
        "kept",
        "label",
        "max_body",
        "mirror",
        "mirror_cluster",
        "name",
        "only",
        "only_series",
        "pattern",
        "rank",
        "redirect",
        "retry",
        "rewrite",
        "series",
        "share",
        "tier",
        "timeouts",
        "upgrades",
    )

    def __init__(self, route: ResolvedRoute, clusters: Mapping[str, Cluster], parts: Parts) -> None:
        """Compile."""
        shared, metrics = parts.shared, parts.metrics
        self.name = route.name
        label = json_fragment(route.name)
        self.label = route.name if label == route.name else label
        settings = route.settings
        timeouts = route.timeout
        if 0.0 < timeouts.head < timeouts.response:
            timeouts = replace(timeouts, response=timeouts.head)
        self.timeouts = shared.setdefault(timeouts, timeouts)
        self.max_body: int = shared.setdefault(route.max_body, route.max_body)
        # By identity: what several routes inherit is one object, and it holds lists.
        self.retry: Retry = shared.setdefault(("retry", id(route.retry)), Retry(route.retry))
        self._bound(route)
        upgrades = frozenset(name.lower().encode() for name in settings.upgrade)
        self.upgrades: frozenset[bytes] = shared.setdefault(upgrades, upgrades)
        self.cache = CachedRoute(route, route.cache) if route.cache is not None else None
        compressor = Compressor(route.compression) if route.compression is not None else None
        self.compressor = AsJson(compressor) if route.as_json else compressor
        self.fixed = fixed_answer(settings.respond) if settings.respond is not None else None
        self.redirect = Redirection(settings.redirect) if settings.redirect is not None else None
        rewrite = settings.rewrite
        self.rewrite = PathRewriter(rewrite).rewrite if rewrite is not None else None
        self.host = rewrite.host if rewrite is not None else None
        headers = route.headers
        self.edit_request = HeaderEditor(headers.request) if headers is not None else None
        self.dress = dress_for(headers, route.security_headers, route.cors, shared)
        # Whether an edit may change what tells the upstream of the client: then its lines can't go as they are.
        self.edits_origin = self.edit_request is not None and bool(self.edit_request.touched & NAMES)
        self.edit_query = QueryEditor(settings.query) if settings.query is not None else None
        self.mirror = MirrorSampler(settings.mirror, random.random) if settings.mirror is not None else None
        self.mirror_cluster = clusters[self.mirror.service_name] if self.mirror is not None else None
        live = [each for each in route.destinations if each.weight > 0]
        self.clusters = {each.service_name: clusters[each.service_name] for each in live}
        self.only = clusters[live[0].service_name] if len(live) == 1 else None
        self._split = Split(route.destinations, settings.sticky, random.random)
        self.series: dict[str, RequestSeries] = {
            name: metrics.requests(route.name, name) for name in [*self.clusters, ""]
        }
        self.tier = settings.tier
        # Where it answers errors otherwise than the gateway does.
        self.errors: ErrorShapes | None = None
        self.pattern = pattern_text(settings.match.path)
        self.choice = parts.sampler.of(route.name, frozenset(self.clusters))
        self.share = self.choice.only or ASK
        self._guard(route, parts)
        self.only_series = self.series[self.only.name] if self.only is not None else self.series[""]

    def _bound(self, route: ResolvedRoute) -> None:
        """Compile what bounds a request in time and number."""
        retry, settings = self.retry, route.settings
        deadline = route.timeout.deadline_header
        self.deadlines: tuple[Deadline, ...] = (DeadlineHeader(deadline),) if deadline is not None else ()
        # Whether even a first try needs more than the exchange does for a plain one (proxy.tries).
        self.careful = bool(self.deadlines) or retry.per_try_timeout > 0.0 or retry.hedge_after > 0.0
        # Bytes of a body that are kept while it streams.
        self.kept = retry.buffer if route.retry.attempts else 0
        self.rank = PRIORITIES.index(settings.priority)

    def _guard(self, route: ResolvedRoute, parts: Parts) -> None:
        """Make the gates, in the order in which a request comes to them.

        Raises:
            ValueError: with a sentence, when one cannot be made.
        """
        auth, ways, fault = route.auth, parts.ways, route.settings.fault
        identity = ways.identity
        gates: list[Gate] = []
        if route.addresses is not None and (route.addresses.allow or route.addresses.deny):
            gates.append(_address_gate(route.addresses, parts.shared))
        # Who is refused here is told by it how to ask.
        self.gate: IdentityGate | None = None
        if auth.mode != "none":
            counted = ways.of(auth.methods)
            self.gate = IdentityGate(auth, counted, identity, parts.metrics)
            gates.append(self.gate)
        if auth.mode != "none" or (ways.rules.header and identity.tenant.anonymous):
            gates.append(AccessGate(route, ways))
        if fault is not None:
            gates.append(FaultGate(FaultInjector(fault, random.random), route.name))
        limits = {name: parts.stages.of(route, name) for name in [*self.clusters, ""]}
        if any(limits.values()):
            gates.append(LimitGate(limits, self.only.name if self.only is not None else ""))
        if auth.external is not None:
            gates.append(parts.external.gate(auth.external))
        if route.plugins:
            gates.append(parts.plugins.gate(route.plugins))
        self.gates = tuple(gates)

    def choose(self, fields: Fields) -> Cluster:
        """Choose the service for a request with these fields.

        Raises:
            Failure: no_destination, when none has weight.
        """
        if self.only is not None:
            return self.only
        name = self._split.pick(fields)
        if name is None:
            raise Failure("no_destination", self.name)
        return self.clusters[name]


def _address_gate(addresses: Addresses, shared: dict[Any, Any]) -> AddressGate:
    key = "addresses", id(addresses)
    if key not in shared:
        shared[key] = AddressGate(AddressRules(addresses.allow, addresses.deny))
    gate: AddressGate = shared[key]
    return gate


def _stranger_gate(config: ResolvedConfig, ways: Ways, metrics: Metrics) -> IdentityGate | None:
    """Make what asks who a request without a route is from, if anything does."""
    auth = config.unrouted
    if auth is None or auth.mode == "none":
        return None
    return IdentityGate(auth, ways.of(auth.methods), ways.identity, metrics)


def _entry(config: ResolvedConfig, dresses: Iterable[Dress]) -> Entry | None:
    hosts = TrustedHosts(config.trusted_hosts) if config.trusted_hosts else None
    preflights = any(dress.cors is not None for dress in dresses)
    return Entrance(hosts, preflights) if hosts is not None or preflights else None


class Plan:
    """A configuration at work."""

    __slots__ = (
        "_cache",
        "_method_mismatch",
        "_own",
        "_table",
        "balancers",
        "clusters",
        "config",
        "dress",
        "entry",
        "errors",
        "follows",
        "forwarding",
        "ids",
        "limit_headers",
        "limits",
        "limits_edited",
        "limits_refused",
        "limits_shown",
        "looks_from",
        "own_series",
        "redaction",
        "sampler",
        "stranger_gate",
        "tracer",
        "unrouted",
        "vias",
    )

    def __init__(
        self,
        config: ResolvedConfig,
        metrics: Metrics,
        make_cluster: Callable[[ResolvedService], Cluster],
        ways: Ways,
        external: ExternalDraft,
        plugins: PluginDraft,
    ) -> None:
        """Build all of it.

        Raises:
            ValueError: with a sentence, when something cannot be built.
        """
        self.config = config
        metrics.follow(config.telemetry.metrics)
        self.errors = ErrorShapes(config.errors)
        self.ids = RequestIds(config.request_id)
        forwarding = config.forwarding
        trust = TrustPolicy(forwarding.trust, forwarding.hops)
        self.forwarding = ForwardedRules(trust, forwarding.forwarded, forwarding.via)
        self.vias = self.forwarding.via_pairs()
        own = own_service(config)
        services = config.services if own is None else (*config.services, own)
        self.clusters = {service.name: make_cluster(service) for service in services}
        self.unrouted = metrics.requests("", "")
        self._method_mismatch = config.method_mismatch
        self.stranger_gate = _stranger_gate(config, ways, metrics)
        # Of own endpoints, most of which workers answer without a route.
        paths = [*exposed(config), *(item.path for item in config.surface)]
        self.own_series = {path: metrics.requests(f"own {path}", "") for path in paths}
        stages = Stages(config)
        self.limits, self.limits_refused, self.limits_shown = stages.early, stages.refused, stages.shown(paths)
        self.limit_headers = LimitHeaderWriter(config.limit_headers)
        self._tell_of_requests(config)
        self.balancers = {service.name: service.balancer.type for service in services}
        parts = Parts(self.sampler, metrics, stages, ways, external, plugins, {})
        # Of answers without a route.
        self.dress = dress_for(config.headers, config.security_headers, config.cors, parts.shared)
        compiled = [Compiled(route, RouteRuntime(route, self.clusters, parts)) for route in config.routes]
        _let_answer_otherwise(compiled, config)
        rules = [RouteRule(route.name, route.settings.match, way, route.order) for route, way in compiled]
        self._table = RouteTable(rules, "file" if config.route_order == "file" else "specific")
        self._own = own_table(config, compiled, self.clusters, lambda route: RouteRuntime(route, self.clusters, parts))
        self._cache: dict[tuple[str, str, str], Matched[RouteRuntime]] = {}
        all_rules = [*rules, *(self._own.rules if self._own is not None else ())]
        dresses = {dress for dress in (self.dress, *(rule.payload.dress for rule in all_rules)) if dress is not None}
        self.entry = _entry(config, dresses)
        # Whether an edit may change what is told of limits: then its lines can't go as they are.
        self.limits_edited = any(self.limit_headers.edited_by(dress.touched) for dress in dresses)

    def _tell_of_requests(self, config: ResolvedConfig) -> None:
        """Make what chooses, traces and redacts."""
        telemetry = config.telemetry
        tracing = telemetry.tracing
        self.tracer = Tracer(tracing, Ids(os.urandom)) if tracing.enabled else None
        # Whether what a caller wants recorded of its trace is.
        self.follows = tracing.enabled and tracing.follow
        workers = config.workers if isinstance(config.workers, int) else 1
        self.sampler = Sampler(telemetry.sampling, workers, random.random)
        self.redaction = redaction(telemetry.redact, telemetry.redact_key)
        # Seconds from which on the recorder looks at a request that ended well: all of them, where it redacts.
        self.looks_from = self.sampler.slow if self.redaction is None else 0.0

    def read_own(self, head: RequestHead) -> None:
        """Take the slash off a path that is an own endpoint's without it."""
        head.path = without_slash(head.path, head.host, head.method, self.own_series, self._own)

    def route(self, head: RequestHead) -> Matched[RouteRuntime]:
        """Find the route of a request.

        Raises:
            Failure: route_not_found, method_not_allowed or bad_path.
        """
        key = (head.host, head.path, head.method)
        found = self._cache.get(key)
        return found if found is not None else self._look_up(head, key)

    def route_by(self, head: RequestHead, method: bytes) -> RouteRuntime | None:
        """Return the route that a request takes when it comes with that method, None if there is none."""
        if len(method) > _LONGEST_METHOD or not method.isascii():
            return None
        key = (head.host, head.path, method.decode())
        try:
            return (self._cache.get(key) or self._look_up(head, key)).payload
        except Failure:
            return None

    def _look_up(self, head: RequestHead, key: tuple[str, str, str]) -> Matched[RouteRuntime]:
        """Look in the table.

        Raises:
            Failure: route_not_found or method_not_allowed; bad_path for one that an upstream may take for another's.
        """
        found: Matched[RouteRuntime] | NotFound | MethodNotAllowed = NotFound(True)
        if self._own is not None:
            found = self._own.match(head.host, head.path, key[2], head.fields, head.query or b"")
        own = not isinstance(found, NotFound)
        if not own:
            found = self._table.match(head.host, head.path, key[2], head.fields, head.query or b"")
        if isinstance(found, NotFound):
            raise Failure("route_not_found")
        if isinstance(found, MethodNotAllowed):
            reason = "method_not_allowed" if own else self._method_mismatch
            raise Failure(reason, ", ".join(found.allow))
        if has_parameters(head.path) and not own:
            other = self._table.bare(found, head.host, head.path, key[2], head.fields, head.query or b"")
            if other is not None:
                raise Failure("bad_path", f"without its parameters (;) it is a path of the route {other.route}")
            return found
        if found.cacheable and len(head.path) <= _CACHED_LENGTH:
            if len(self._cache) >= _CACHED:
                self._cache.clear()
            self._cache[key] = found
        return found


def _let_answer_otherwise(compiled: Iterable[Compiled], config: ResolvedConfig) -> None:
    """Give those routes shapes of errors of their own that say something of them."""
    for route, way in compiled:
        if route.settings.errors:
            way.errors = ErrorShapes(config.errors, route.settings.errors)
