"""The cells of an endpoint's record, which all processes of a gateway share: where each fact about it stands.

Law: a record of zeros is an endpoint nobody knows anything bad of: enabled, well, not ejected, nothing in flight.
Times are monotonic microseconds. Behind the cells listed here a record has one cell for each worker slot: requests
in flight, written by that worker alone.
"""

from __future__ import annotations

(
    # Taken out by hand, whatever its health: 1 disabled, 2 draining, which differ in what is shown.
    DISABLED,
    # Active checks say it is not well (1).
    UNHEALTHY,
    # Good checks in a row, or bad ones as a negative number.
    CHECKS_IN_ROW,
    CHECKED_AT,
    # Status of the last check's answer, 0 when there was none.
    CHECK_STATUS,
    # Outlier ejection: until when it is out, how often in short order, and failures in a row.
    EJECTED_UNTIL,
    EJECTIONS,
    FAILURES_IN_ROW,
    # Attempts of the present interval, for the comparison of success rates.
    SUCCESSES,
    FAILURES,
    # When it came back (from ejection, ill health or a hand's work), where slow start begins; 0 = always well.
    WELL_SINCE,
    # Microseconds that the last check took.
    CHECK_TOOK,
    # How many checks went well, and how many did not.
    CHECKS_WELL,
    CHECKS_FAILED,
) = range(14)


def record_name(service: str, endpoint: str) -> str:
    """Name the record of an endpoint of a service."""
    return f"endpoint {service} {endpoint}"
