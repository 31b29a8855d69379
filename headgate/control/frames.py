"""What control and the workers say to each other over a Unix stream socket: a 4-byte length and a body.

Control sends pickles, workers send JSON. Law: nobody unpickles what a worker said; workers are the processes that
strangers talk to.
"""

from __future__ import annotations

import asyncio
import struct

_LENGTH = struct.Struct("!I")
# A plan of 10,000 routes is a few megabytes; the cap only stops a broken peer from asking for all memory.
_LONGEST_FRAME = 512 * 1024 * 1024
# Of a worker: a batch of records is a few megabytes at the very most.
LONGEST_SAID = 8 * 1024 * 1024


async def read_frame(reader: asyncio.StreamReader, longest: int = _LONGEST_FRAME) -> bytes:
    """Return the body of the next frame, of so many bytes at most.

    Raises:
        asyncio.IncompleteReadError: the stream has ended.
        ConnectionError: the frame is longer.
    """
    (length,) = _LENGTH.unpack(await reader.readexactly(_LENGTH.size))
    if length > longest:
        raise ConnectionError(f"a frame of {length} bytes is too long")
    return await reader.readexactly(length)


def write_frame(writer: asyncio.StreamWriter, body: bytes) -> None:
    """Queue one frame."""
    writer.write(_LENGTH.pack(len(body)))
    writer.write(body)
