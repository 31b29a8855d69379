"""One plugin at work, with the books of its hooks: calls, time, errors, verdicts.

Laws: of an error the log has the plugin, the hook and the kind; where it happened is told with the request's id, once a
second at most for each hook; its words, which may hold what a client sent, are told nowhere (core.trace).
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from headgate.core.clock import monotonic
from headgate.core.failure import Failure
from headgate.core.plugin_settings import PluginSetting
from headgate.core.trace import kind_of, places_of
from headgate.plugin.loading import hooks_of, key_of, load, name_of
from headgate.plugin.verdicts import BadVerdict
from headgate.telemetry.metrics import Metrics

if TYPE_CHECKING:
    from headgate.proxy.exchange import Exchange

# Seconds between two traces of one hook in the operator's log; those between are counted.
_QUIET = 1.0
# What a hook may raise without its worker being at fault: SystemExit is no Exception.
FAULTS = (Exception, SystemExit)


class Hook:
    """One hook of one plugin, with its books."""

    __slots__ = ("_bounds", "_cells", "_errors", "_quiet_until", "_seconds", "_silent", "call", "name", "plugin")

    def __init__(self, plugin: str, name: str, call: Callable[..., Any], metrics: Metrics) -> None:
        self.plugin = plugin
        self.name = name
        self.call = call
        self._cells = metrics.cells
        self._seconds, self._bounds = metrics.histogram("headgate_plugin_seconds", plugin, name)
        self._errors = metrics.counter("headgate_plugin_errors_total", plugin, name)
        self._quiet_until = 0.0
        self._silent = 0

    def took(self, seconds: float) -> None:
        """Count a call."""
        micros = int(seconds * 1_000_000)
        cells, at = self._cells, self._seconds
        cells[at] += micros
        cells[at + 1 + bisect_left(self._bounds, micros)] += 1

    def failed(self, exchange: Exchange, error: BaseException, now: float) -> str:
        """Count a call that failed and show the operator where; returns what the log says of it."""
        self._cells[self._errors] += 1
        said = f"{self.plugin}: {self.name}: "
        said += str(error) if isinstance(error, BadVerdict) else kind_of(error)
        if now < self._quiet_until:
            self._silent += 1
            return said
        more = f"\n{self._silent} more of its errors were not shown" if self._silent else ""
        trace = said if isinstance(error, BadVerdict) else places_of(error)
        exchange.gateway.report(exchange.request_id, said, f"in plugin {self.plugin}, {self.name}\n{trace}{more}")
        self._quiet_until, self._silent = now + _QUIET, 0
        return said


class Worked:
    """One plugin at work."""

    __slots__ = ("_closed", "_counts", "_metrics", "key", "name", "needs", "on_request", "on_response", "refuses")

    def __init__(self, setting: PluginSetting, metrics: Metrics) -> None:
        """Make it.

        Raises:
            ValueError: with a sentence, when it cannot be made.
        """
        plugin = load(setting)
        hooks = hooks_of(plugin)
        self.key = key_of(setting)
        self.name = name = name_of(setting)
        self.needs = plugin.needs_body if "on_request" in hooks else 0
        self.refuses = plugin.body_overflow == "refuse"
        self.on_request, self.on_response = (
            Hook(name, hook, getattr(plugin, hook), metrics) if hook in hooks else None
            for hook in ("on_request", "on_response")
        )
        self._closed = setting.on_error == "closed"
        self._metrics = metrics
        self._counts: dict[str, int] = {}

    def count(self, verdict: str) -> None:
        """Count a verdict on a request, one of pass, deny, answer, delay, error."""
        index = self._counts.get(verdict)
        if index is None:
            index = self._metrics.counter("headgate_plugin_verdicts_total", self.name, verdict)
            self._counts[verdict] = index
        self._metrics.cells[index] += 1

    def fails(self, exchange: Exchange, hook: Hook, error: BaseException) -> None:
        """Take an error of a hook.

        Raises:
            Failure: plugin_failed, unless the configuration says that requests go on then.
        """
        said = hook.failed(exchange, error, monotonic())
        if self._closed:
            raise Failure("plugin_failed", said) from None
