"""An answer that is kept, and the bytes it is kept as.

Laws: an Entry that was made is not changed, but for its `length`, which is known when the body is; what `decode` does
not understand is no entry, so that a store may outlive a version of the program.
"""

from __future__ import annotations

import struct

from headgate.core.message import Fields

# The first byte tells what follows, and in which form: another form takes another byte.
_ENTRY, _VARIES = 0x81, 0x82
# Form, flags, status, length of the body; received, age, lifetime and the two windows; bytes of etag, modified, vary,
# tags and fields.
_HEAD = struct.Struct("<BBHQdddddHHHII")
_STRICT = 1
# Entries are read far more often than they differ: of those up to this size, the last ones are remembered as they were
# read, some 4 MiB at most.
_REMEMBERED, _REMEMBERED_SIZE = 1024, 2048
_remembered: dict[bytes, Entry] = {}


class Varies:
    """In place of answers that differ by fields of requests: the names of these, in lower case, sorted."""

    __slots__ = ("names",)

    def __init__(self, names: tuple[bytes, ...]) -> None:
        self.names = names

    def encode(self) -> bytes:
        """Return the bytes it is kept as."""
        return bytes((_VARIES,)) + b",".join(self.names)

    def __repr__(self) -> str:
        return f"<Varies {b','.join(self.names).decode()}>"


class Entry:
    """An answer. Times are wall-clock seconds since 1970, ages and durations are seconds.

    `fields` are end-to-end fields as the upstream sent them, but for those that must not be kept; `length` counts
    bytes of the body. `vary` are the names its Vary lists, in lower case, sorted; `tags` those it can be purged by.
    `once`: to be answered with now, and not to be kept.
    """

    __slots__ = (
        "age",
        "etag",
        "fields",
        "length",
        "lifetime",
        "modified",
        "once",
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
        self.once = False

    def encode(self) -> bytes:
        """Return the bytes it is kept as."""
        vary = b",".join(self.vary)
        tags = " ".join(self.tags).encode("latin-1")
        fields = b"\r\n".join([b"%b:%b" % field for field in self.fields])
        head = _HEAD.pack(
            _ENTRY,
            _STRICT if self.strict else 0,
            self.status,
            self.length,
            self.received,
            self.age,
            self.lifetime,
            self.stale_while_revalidate,
            self.stale_if_error,
            len(self.etag),
            len(self.modified),
            len(vary),
            len(tags),
            len(fields),
        )
        return b"".join((head, self.etag, self.modified, vary, tags, fields))

    def __repr__(self) -> str:
        return f"<Entry {self.status} length={self.length} lifetime={self.lifetime:g}>"


def decode(data: bytes) -> Entry | Varies | None:
    """Read what `encode` wrote; None for anything else."""
    found = _remembered.get(data)
    if found is not None:
        return found
    if data[:1] == b"\x82":
        return Varies(tuple(data[1:].split(b",")))
    if len(data) < _HEAD.size or data[0] != _ENTRY:
        return None
    entry = _entry(data)
    if entry is not None and len(data) <= _REMEMBERED_SIZE:
        if len(_remembered) >= _REMEMBERED:
            _remembered.clear()
        _remembered[data] = entry
    return entry


def _entry(data: bytes) -> Entry | None:
    head = _HEAD.unpack_from(data)
    etag = _HEAD.size + head[9]
    modified = etag + head[10]
    vary = modified + head[11]
    tags = vary + head[12]
    if tags + head[13] != len(data):
        return None
    fields: Fields = []
    if head[13]:
        for line in data[tags:].split(b"\r\n"):
            name, _, value = line.partition(b":")
            fields.append((name, value))
    entry = Entry(head[2], fields, head[4])
    entry.strict = bool(head[1] & _STRICT)
    entry.length = head[3]
    entry.age = head[5]
    entry.lifetime = head[6]
    entry.stale_while_revalidate = head[7]
    entry.stale_if_error = head[8]
    entry.etag = data[_HEAD.size : etag]
    entry.modified = data[etag:modified]
    entry.vary = tuple(data[modified:vary].split(b",")) if vary > modified else ()
    entry.tags = tuple(data[vary:tags].decode("latin-1").split(" ")) if tags > vary else ()
    return entry
