"""An answer that is kept, and the bytes it is kept as.

Laws: an Entry that was made is not changed, but for its `length`, which is known when the body is; what `decode` does
not understand is no entry, so that a store may outlive a version of the program.
"""

from __future__ import annotations

from headgate.core.message import Fields


class Varies:
    """In place of answers that differ by fields of requests: the names of these, in lower case, sorted."""

    __slots__ = ("names",)

    def __init__(self, names: tuple[bytes, ...]) -> None:
        self.names = names

    def encode(self) -> bytes:
        """Return the bytes it is kept as."""
        raise NotImplementedError


class Entry:
    """An answer. Times are wall-clock seconds since 1970, ages and durations are seconds.

    `fields` are end-to-end fields as the upstream sent them, but for those that must not be kept; `length` counts
    bytes of the body. `vary` are the names its Vary lists, in lower case, sorted; `tags` those it can be purged by.
    """

    __slots__ = (
        "age",
        "etag",
        "fields",
        "length",
        "lifetime",
        "modified",
        "received",
        "stale_if_error",
        "stale_while_revalidate",
        "status",
        "strict",
        "tags",
        "vary",
    )

    def __init__(self, status: int, fields: Fields, received: float) -> None:
        self.status = status
        self.fields = fields
        self.length = 0
        self.received = received
        # At `received`: RFC 9111 section 4.2.3, corrected_initial_age.
        self.age = 0.0
        # From the beginning of its age on; 0 when it must be validated each time.
        self.lifetime = 0.0
        self.stale_while_revalidate = 0.0
        self.stale_if_error = 0.0
        # It must not be used stale, whatever a request or a setting allows (must-revalidate and its kin).
        self.strict = False
        self.vary: tuple[bytes, ...] = ()
        self.tags: tuple[str, ...] = ()
        # Validators; empty if it has none.
        self.etag = b""
        self.modified = b""

    def encode(self) -> bytes:
        """Return the bytes it is kept as."""
        raise NotImplementedError


def decode(data: bytes) -> Entry | Varies | None:
    """Read what `encode` wrote; None for anything else."""
    raise NotImplementedError
