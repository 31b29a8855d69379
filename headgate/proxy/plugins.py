"""Plugins at work in one worker: made once for each entry of the configuration, asked behind all other gates.

    request: first plugin -> ... -> last plugin -> service;  answer: last plugin -> ... -> first plugin -> client

Laws: a hook is called, timed and counted, and whatever comes of it is a verdict that can be obeyed or an error of the
plugin, which its `on_error` decides; an answer passes those plugins that let its request pass, and no others; answers
that the gateway makes of a refusal pass none. Plugins whose entries stay equal live on through reloads.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING

from headgate.config.resolve import ResolvedConfig
from headgate.core.clock import monotonic, wall
from headgate.core.failure import Failure
from headgate.core.message import Fields
from headgate.core.plugin_settings import PluginSetting
from headgate.plugin.loading import key_of
from headgate.plugin.records import Headers, Request, Response
from headgate.plugin.verdicts import (
    Answer,
    BadVerdict,
    Delay,
    Deny,
    Pass,
    Rules,
    check_answer,
    check_delay,
    check_deny,
)
from headgate.proxy.gates import Answered
from headgate.proxy.pause import pause
from headgate.proxy.plugin_hooks import FAULTS, Hook, Worked
from headgate.telemetry.metrics import Metrics
from headgate.wire import http1
from headgate.wire.gather import gather, here

if TYPE_CHECKING:
    from headgate.proxy.exchange import Exchange


class PluginGate:
    """The plugins of a route."""

    name = "plugins"
    __slots__ = ("answer_rules", "edits_answers", "plugins", "request_rules")

    def __init__(self, plugins: Sequence[Worked], request_rules: Rules, answer_rules: Rules) -> None:
        self.plugins = tuple(plugins)
        self.request_rules = request_rules
        self.answer_rules = answer_rules
        self.edits_answers = any(each.on_response is not None for each in plugins)

    def enter(self, exchange: Exchange) -> Awaitable[None] | None:
        """Ask the plugins, one after the other.

        Raises:
            Failure: denied_by_plugin, plugin_failed or payload_too_large; also from the wait.
            Answered: by a plugin; also from the wait.
        """
        visit = Visit(self, exchange)
        if self.edits_answers:
            exchange.visit = visit
        return visit.start()


class Visit:
    """One request among the plugins of its route, and then its answer."""

    __slots__ = ("_at", "_body", "_exchange", "_gate", "_request")

    def __init__(self, gate: PluginGate, exchange: Exchange) -> None:
        self._gate = gate
        self._exchange = exchange
        self._at = 0
        # The whole body, as soon as a plugin needed it.
        self._body: bytes | None = None
        head = exchange.stream.head
        query = head.query
        self._request = Request(
            head.method,
            head.path,
            "" if query is None else query.decode("utf-8", "surrogateescape"),
            Headers(head.fields),
            None,
            MappingProxyType(exchange.params),
            exchange.identity,
            head.scheme,
            head.host,
            exchange.client,
            exchange.request_id,
            exchange.way.name if exchange.way is not None else "",
            exchange.cluster.name if exchange.cluster is not None else "",
            wall(),
        )

    # -- the request -----------------------------------------------------------------------------------------------

    def start(self) -> Awaitable[None] | None:
        """Ask as many as can be asked at once; what is returned, if anything, is to be waited for.

        Raises:
            Failure, Answered: as the verdicts say; also from the wait.
        """
        plugins = self._gate.plugins
        while self._at < len(plugins):
            plugin = plugins[self._at]
            if plugin.needs and self._body is None:
                self._body = here(self._exchange.stream)
                if self._body is None:
                    return self._go_on(0.0)
            seconds = self._ask(plugin)
            if seconds:
                return self._go_on(seconds)
        return None

    async def _go_on(self, seconds: float) -> None:
        """Ask the rest, the first of them after some seconds, waiting for the body where it is needed."""
        exchange, plugins = self._exchange, self._gate.plugins
        if seconds:
            await pause(exchange.gateway.loop, seconds)
        while self._at < len(plugins):
            plugin = plugins[self._at]
            if plugin.needs and self._body is None:
                self._body = await gather(exchange.stream, plugin.needs)
            seconds = self._ask(plugin)
            if seconds:
                await pause(exchange.gateway.loop, seconds)

    def _ask(self, plugin: Worked) -> float:
        """Ask one plugin and obey; returns the seconds that the request has to wait then.

        Raises:
            Failure, Answered: as the verdict says.
        """
        hook = plugin.on_request
        if hook is None:
            self._at += 1
            return 0.0
        request = self._request
        if plugin.needs:
            body = self._body
            if body is None or len(body) > plugin.needs:
                body = None
                if plugin.refuses:
                    raise Failure("payload_too_large", f"{plugin.name}: more than {plugin.needs} bytes")
            request = request._replace(body=body, time=wall())
        began = monotonic()
        try:
            verdict = hook.call(request)
        except FAULTS as error:
            verdict = error
        hook.took(monotonic() - began)
        if verdict is None:
            plugin.count("pass")
            self._at += 1
            return 0.0
        return self._obey(plugin, hook, verdict)

    def _obey(self, plugin: Worked, hook: Hook, verdict: object) -> float:
        seconds = 0.0
        try:
            if isinstance(verdict, Pass):
                if verdict.set_headers or verdict.remove_headers:
                    self._edit(verdict)
                plugin.count("pass")
            elif isinstance(verdict, Delay):
                seconds = check_delay(verdict)
                plugin.count("delay")
            elif isinstance(verdict, Deny):
                check_deny(verdict)
                plugin.count("deny")
                detail = f"{plugin.name}: {verdict.reason}" if verdict.reason else plugin.name
                raise Failure(
                    "denied_by_plugin",
                    detail,
                    status=verdict.status,
                    retry_after=verdict.retry_after,
                    message=verdict.message,
                )
            elif isinstance(verdict, Answer):
                fields, content_type, body = check_answer(verdict, self._gate.answer_rules)
                plugin.count("answer")
                raise Answered(verdict.status, content_type, body, self.leave(verdict.status, fields))
            elif isinstance(verdict, BaseException):
                raise verdict
            else:
                raise BadVerdict(f"expected a verdict or None, got {type(verdict).__name__}")
        except (Failure, Answered):
            raise
        except FAULTS as error:
            plugin.count("error")
            plugin.fails(self._exchange, hook, error)
        self._at += 1
        return seconds

    def _edit(self, verdict: Pass) -> None:
        head = self._exchange.stream.head
        head.fields = self._gate.request_rules.edits(verdict).apply(head.fields)
        self._request = self._request._replace(headers=Headers(head.fields))

    # -- the answer ------------------------------------------------------------------------------------------------

    def leave(self, status: int, fields: Fields) -> Fields:
        """Return the fields of an answer as those plugins edit them that let the request pass, the last one first.

        Raises:
            Failure: plugin_failed.
        """
        for plugin in reversed(self._gate.plugins[: self._at]):
            hook = plugin.on_response
            if hook is None:
                continue
            began = monotonic()
            verdict: object
            try:
                verdict = hook.call(self._request, Response(status, Headers(fields)))
            except FAULTS as error:
                verdict = error
            hook.took(monotonic() - began)
            if verdict is not None:
                fields = self._edited(plugin, hook, verdict, fields)
        return fields

    def _edited(self, plugin: Worked, hook: Hook, verdict: object, fields: Fields) -> Fields:
        try:
            if isinstance(verdict, Pass):
                return self._gate.answer_rules.edits(verdict).apply(fields)
            if isinstance(verdict, BaseException):
                raise verdict
            raise BadVerdict(f"an answer can only pass: expected Pass or None, got {type(verdict).__name__}")
        except FAULTS as error:
            plugin.fails(self._exchange, hook, error)
        return fields


def rules_of(config: ResolvedConfig) -> tuple[Rules, Rules]:
    """Return what plugins may write on requests and on answers; not what this gateway writes itself."""
    ids = config.request_id.headers
    of_requests = http1.request_kinds(ids, "allow", config.identity.forward)
    of_answers = http1.response_kinds(ids)
    return (
        Rules("request", lambda name: name == b"via" or of_requests[name] not in http1.PASSING),
        Rules("response", lambda name: name == b"via" or of_answers[name] not in http1.PASSING),
    )


# -- from plan to plan ----------------------------------------------------------------------------------------------


class Plugins:
    """All plugins of this worker."""

    __slots__ = ("_metrics", "_working")

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._working: list[Worked] = []

    def draft(self, config: ResolvedConfig) -> PluginDraft:
        """Begin with those of a new Plan; nothing of them counts before `swap`."""
        return PluginDraft(config, self._metrics, self._working, self._use)

    def _use(self, working: list[Worked]) -> None:
        self._working = working


class PluginDraft:
    """The plugins of a Plan that is being built."""

    __slots__ = ("_answer_rules", "_gates", "_known", "_metrics", "_request_rules", "_use", "_working")

    def __init__(
        self,
        config: ResolvedConfig,
        metrics: Metrics,
        known: list[Worked],
        use: Callable[[list[Worked]], None],
    ) -> None:
        self._request_rules, self._answer_rules = rules_of(config)
        self._metrics = metrics
        self._known = known
        self._use = use
        self._working: list[Worked] = []
        # By identity: what several routes inherit is one object, and it holds what cannot be a key.
        self._gates: dict[tuple[int, ...], PluginGate] = {}

    def gate(self, settings: Sequence[PluginSetting]) -> PluginGate:
        """Return what asks these plugins.

        Raises:
            ValueError: with a sentence, when one of them cannot be made.
        """
        key = tuple(map(id, settings))
        gate = self._gates.get(key)
        if gate is None:
            plugins = [self._plugin(setting) for setting in settings]
            gate = self._gates[key] = PluginGate(plugins, self._request_rules, self._answer_rules)
        return gate

    def _plugin(self, setting: PluginSetting) -> Worked:
        key = key_of(setting)
        for each in (*self._working, *self._known):
            if each.key == key:
                if each not in self._working:
                    self._working.append(each)
                return each
        made = Worked(setting, self._metrics)
        self._working.append(made)
        return made

    def swap(self) -> None:
        """Let these be the plugins that work."""
        self._use(self._working)
