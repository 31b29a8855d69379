"""What stands on every answer of one way, and who is answered before any way is known.

Laws: the same pass over the fields does all that names do; an operator's own edits win over the security headers; what
an upstream says of CORS never stands beside what we say.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Any

from headgate.core.clock import wall
from headgate.core.failure import Failure
from headgate.core.message import UNKNOWN_LENGTH, ResponseHead
from headgate.policy.cors import OWNED, CorsPolicy, preflighted
from headgate.policy.edits import HeaderEditor
from headgate.policy.hosts import TrustedHosts
from headgate.policy.hygiene_settings import Cors, SecurityHeaders
from headgate.policy.rewrite import FieldEdits, HeaderEdits
from headgate.policy.security_headers import security_fields
from headgate.wire.dates import http_date

if TYPE_CHECKING:
    from headgate.proxy.exchange import Exchange


class Dress:
    """Header edits, security headers and CORS of one way; of answers without a route the gateway's."""

    __slots__ = ("_plain", "_secure", "cors")

    def __init__(self, headers: HeaderEdits | None, security: SecurityHeaders | None, cors: CorsPolicy | None) -> None:
        edits = headers.response if headers is not None else FieldEdits()
        owned = OWNED if cors is not None else ()
        self.cors = cors
        # One for each scheme: HSTS is told over HTTPS only.
        self._plain = _editor(edits, owned, security, False)
        self._secure = _editor(edits, owned, security, True)

    def __bool__(self) -> bool:
        return self._secure is not None or self.cors is not None

    @property
    def touched(self) -> frozenset[bytes]:
        """The names, in lower case, of the fields that it may change."""
        editors = [editor for editor in (self._plain, self._secure) if editor is not None]
        return frozenset[bytes]().union(*(editor.touched for editor in editors))

    def put_on(self, exchange: Exchange, head: ResponseHead) -> None:
        """Put on an answer what belongs on it."""
        # Whoever ended TLS before us, if it is trusted, says so; a head that was refused has no such word.
        said = exchange.peer or exchange.stream.head
        editor = self._secure if said.scheme == "https" else self._plain
        if editor is not None:
            head.fields = editor.apply(head.fields, exchange.value)
            if editor.block:
                head.blocks += (editor.block,)
        if self.cors is not None:
            head.fields += self.cors.fields(exchange.stream.head.get(b"origin"))


def dress(exchange: Exchange, head: ResponseHead) -> None:
    """Put on an answer what belongs on every one."""
    plan, route = exchange.plan, exchange.way
    fields = head.fields
    fields += exchange.ids
    if plan.vias:
        fields.append(plan.vias[head.version])
    if exchange.told:
        if plan.limits_edited:
            fields += plan.limit_headers.fields(exchange.told, wall())
        elif lines := plan.limit_headers.lines(exchange.told, wall()):
            head.blocks = (lines,)
    worn = route.dress if route is not None else plan.dress
    if worn is not None:
        worn.put_on(exchange, head)


def _editor(
    edits: FieldEdits, owned: Collection[str], security: SecurityHeaders | None, secure: bool
) -> HeaderEditor | None:
    constants = security_fields(security, secure) if security is not None else ()
    return HeaderEditor(edits, owned, constants, security is None or security.override, in_block=True) or None


def dress_for(
    headers: HeaderEdits | None, security: SecurityHeaders | None, cors: Cors | None, shared: dict[Any, Any]
) -> Dress | None:
    """Return what puts these on, one for all routes that inherit the same; None when it would do nothing."""
    key = "dress", id(headers), id(security), id(cors)
    if key not in shared:
        shared[key] = Dress(headers, security, _policy(cors, shared)) or None
    dress: Dress | None = shared[key]
    return dress


def _policy(cors: Cors | None, shared: dict[Any, Any]) -> CorsPolicy | None:
    if cors is None or not cors.enabled:
        return None
    key = "cors", id(cors)
    if key not in shared:
        shared[key] = CorsPolicy(cors)
    policy: CorsPolicy = shared[key]
    return policy


class Entrance:
    """Preflights, then hosts; see gates.Entry.

    A preflight is answered by the CORS of the route that the request it announces would take, else by the gateway's.
    It carries no credential (Fetch standard, "CORS-preflight fetch"), so it comes before everything that asks for one;
    what it is told stands in the configuration.
    """

    __slots__ = ("_hosts", "_preflights")

    def __init__(self, hosts: TrustedHosts | None, preflights: bool) -> None:
        """`preflights`: whether there is any CORS to answer them by."""
        self._hosts = hosts
        self._preflights = preflights

    def answered(self, exchange: Exchange) -> bool:
        """Tell whether the request was a preflight, and was answered.

        Raises:
            Failure: origin_forbidden, untrusted_host.
        """
        if exchange.method == "OPTIONS" and self._preflights and _preflight(exchange):
            return True
        hosts = self._hosts
        # Load balancers ask for the health of an address, not of a name.
        if hosts is not None and not hosts.trusts(exchange.host) and exchange.path not in exchange.gateway.own:
            raise Failure("untrusted_host", exchange.host)
        return False


def _preflight(exchange: Exchange) -> bool:
    head, plan = exchange.stream.head, exchange.plan
    asked = preflighted(head)
    if asked is None:
        return False
    way = plan.route_by(head, asked[1]) if exchange.path not in exchange.gateway.own else None
    worn = way.dress if way is not None else plan.dress
    if worn is None or worn.cors is None:
        return False
    if way is not None:
        exchange.way, exchange.route = way, way.label
    told = worn.cors.preflight(head)
    assert told is not None
    answer = ResponseHead(204, [(b"Date", http_date())], UNKNOWN_LENGTH)
    dress(exchange, answer)
    # Behind what takes such fields off an upstream's answer.
    answer.fields += told
    exchange.status = 204
    exchange.stream.respond(answer, b"", True)
    return True
