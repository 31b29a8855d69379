"""gRPC, as far as a gateway has to understand it: its codes, what they mean beside those of HTTP, and its deadline.

Sources: PROTOCOL-HTTP2.md, statuscodes.md and http-grpc-status-mapping.md of grpc/grpc; proposal A6 (client retries).

Laws: a code that nobody has heard of is UNKNOWN, as it is to gRPC's clients; a deadline in disorder is none; what goes
on is never more than what is left of it.
"""

from __future__ import annotations

import re
from typing import Final

from headgate.core.message import Field, Fields
from headgate.policy.deadline import LONGEST

NAMES: Final = (
    *("OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS"),
    *("PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE", "UNIMPLEMENTED"),
    *("INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED"),
)
"""All codes, each in its place."""
OK, CANCELLED, UNKNOWN, _, DEADLINE_EXCEEDED, _, _, PERMISSION_DENIED, RESOURCE_EXHAUSTED = range(9)
UNIMPLEMENTED, INTERNAL, UNAVAILABLE, _, UNAUTHENTICATED = range(12, 17)

OCCASIONS: Final = {
    "cancelled": CANCELLED,
    "deadline-exceeded": DEADLINE_EXCEEDED,
    "internal": INTERNAL,
    "resource-exhausted": RESOURCE_EXHAUSTED,
    "unavailable": UNAVAILABLE,
}
"""The codes after which a call may be tried again, by their names in `retry.on` (Envoy's)."""

STATUS: Final = b"grpc-status"
MESSAGE: Final = b"grpc-message"
PUSHBACK: Final = b"grpc-retry-pushback-ms"
TIMEOUT: Final = b"grpc-timeout"
CONTENT_TYPE: Final = b"application/grpc"

# What a client makes of an answer that is none of gRPC (http-grpc-status-mapping.md).
_CONCLUDED = {
    400: INTERNAL,
    401: UNAUTHENTICATED,
    403: PERMISSION_DENIED,
    404: UNIMPLEMENTED,
    429: UNAVAILABLE,
    502: UNAVAILABLE,
    503: UNAVAILABLE,
    504: UNAVAILABLE,
}
# What the gateway says for answers of its own: the same, but finer where it knows more than its status can say.
_OWN = _CONCLUDED | {
    405: UNIMPLEMENTED,
    408: DEADLINE_EXCEEDED,
    413: RESOURCE_EXHAUSTED,
    429: RESOURCE_EXHAUSTED,
    431: RESOURCE_EXHAUSTED,
    499: CANCELLED,
    500: INTERNAL,
    501: UNIMPLEMENTED,
    504: DEADLINE_EXCEEDED,
}
_OF_REASONS = {
    # Nobody was late who had been asked.
    "connect_timeout": UNAVAILABLE,
    # Asking once more, which UNAVAILABLE invites to, would bring the same.
    "upstream_protocol": INTERNAL,
    "deadline_exceeded": DEADLINE_EXCEEDED,
    "client_closed": CANCELLED,
}
# The status as which a code counts for whoever judges services by the status of HTTP. UNIMPLEMENTED is no 501: any
# client could open a breaker with it, by calling what is not there.
_COUNTS_AS = (200, 499, 500, 400, 504, 404, 409, 403, 429, 400, 409, 400, 404, 500, 503, 500, 401)
_CODE = re.compile(rb"[0-9]{1,2}")
_SAFE = frozenset(range(0x20, 0x7F)) - {0x25}
_TIMEOUT_FIELD = re.compile(rb"([0-9]{1,8})([HMSmun])")
_UNITS = {b"H": 3600.0, b"M": 60.0, b"S": 1.0, b"m": 1e-3, b"u": 1e-6, b"n": 1e-9}
# In which a rest of time is written, the finest first; eight digits are all there may be.
_WRITTEN = ((1_000_000.0, b"%du"), (1000.0, b"%dm"), (1.0, b"%dS"))
_MOST = 99_999_999
_PUSHBACK_FIELD = re.compile(rb"[0-9]{1,10}")
_MOST_PUSHBACK = (1 << 31) - 1


def code_in(value: bytes) -> int:
    """Read a grpc-status."""
    code = int(value) if _CODE.fullmatch(value) else UNKNOWN
    return code if code < len(NAMES) else UNKNOWN


def concluded(status: int) -> int:
    """Return the code that clients conclude of an answer of this HTTP status that says none."""
    return _CONCLUDED.get(status, UNKNOWN)


def code_of(status: int, reason: str = "") -> int:
    """Return the code of an answer of our own that would have this HTTP status; `reason` is a key of REASONS."""
    code = _OF_REASONS.get(reason)
    return _OWN.get(status, UNKNOWN) if code is None else code


def counts_as(code: int) -> int:
    """Return the HTTP status that says the same of the one who answered (google.rpc.Code, but for UNIMPLEMENTED)."""
    return _COUNTS_AS[code if 0 <= code < len(_COUNTS_AS) else UNKNOWN]


def message(text: str) -> bytes:
    """Write a grpc-message: UTF-8, all but visible ASCII and spaces percent-encoded."""
    return b"".join(b"%c" % byte if byte in _SAFE else b"%%%02X" % byte for byte in text.encode())


def pushback(seconds: float) -> Field:
    """Write the field that tells a client when to try again (A6)."""
    return PUSHBACK, b"%d" % min(_MOST_PUSHBACK, round(seconds * 1000))


def pushed_back(value: bytes | None) -> float | None:
    """Return the seconds after which a server wants to be tried again, None for never (A6: what is no number)."""
    if value is None:
        return 0.0
    return int(value) / 1000.0 if _PUSHBACK_FIELD.fullmatch(value) else None


class GrpcTimeout:
    """Read and write the deadline of calls, as policy.deadline.DeadlineHeader does its own field."""

    __slots__ = ()

    def read(self, fields: Fields, arrived: float) -> float | None:
        """Return when the caller stops waiting (monotonic seconds), or None; of several the earliest counts."""
        found = [
            min(LONGEST, int(said[1]) * _UNITS[said[2]])
            for name, value in fields
            if name.lower() == TIMEOUT and (said := _TIMEOUT_FIELD.fullmatch(value)) is not None
        ]
        return arrived + min(found) if found else None

    def replaced(self, fields: Fields, until: float, now: float) -> Fields:
        """Return the fields for the next hop: with what is left of a deadline."""
        passed = [field for field in fields if field[0].lower() != TIMEOUT]
        passed.append(self.field(until, now))
        return passed

    def field(self, until: float, now: float) -> Field:
        """Return the field that says what is left, in the finest unit that has room for it."""
        left = max(0.0, until - now)
        for scale, form in _WRITTEN:
            if left * scale <= _MOST:
                return TIMEOUT, form % int(left * scale)
        return TIMEOUT, b"%dS" % _MOST
