"""Just enough HTTP/1.1 for both ends of a benchmark: where a message ends, and what its body is.

Both ends are ours and what is between them is under test, so this checks less than a server must and costs less.
"""

import re

HEAD_END = b"\r\n\r\n"
LAST_CHUNK = b"\r\n0\r\n\r\n"  # JSON and events have no bare CR, so this is nowhere but at the end
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_CHUNKED = re.compile(rb"\r\ntransfer-encoding: *chunked", re.IGNORECASE)
CHUNKED = -1  # as a length: until the last chunk


class WireError(Exception):
    """What came is no message of those that are measured."""


def head(buffer: bytes | bytearray) -> tuple[int, int] | None:
    """(where the body begins, its length or `CHUNKED`); None while the head is not whole."""
    end = buffer.find(HEAD_END)
    if end < 0:
        return None
    if length := _LENGTH.search(buffer, 0, end):
        return end + 4, int(length[1])
    return end + 4, CHUNKED if _CHUNKED.search(buffer, 0, end) else 0


def ends(buffer: bytes | bytearray, begin: int, length: int) -> int | None:
    """Where the message ends whose body begins there; None while it is not whole."""
    if length != CHUNKED:
        return begin + length if len(buffer) >= begin + length else None
    # Nobody sends a second message before the first one is answered: the last chunk is the last of the buffer.
    return len(buffer) if buffer.endswith(LAST_CHUNK) else None


def body(buffer: bytes | bytearray, begin: int, length: int) -> bytes:
    """The body of a whole message, or `WireError`."""
    if length != CHUNKED:
        return bytes(buffer[begin : begin + length])
    parts: list[bytes] = []
    while True:
        line = buffer.find(b"\r\n", begin)
        try:
            size = int(bytes(buffer[begin:line]).partition(b";")[0], 16)
        except ValueError:
            raise WireError(f"no length of a chunk: {bytes(buffer[begin : begin + 40])!r}") from None
        if not size:
            return b"".join(parts)
        begin = line + 2
        parts.append(bytes(buffer[begin : begin + size]))
        begin += size + 2


def chunk(data: bytes) -> bytes:
    """`data` as one chunk of a chunked body."""
    return b"%x\r\n%b\r\n" % (len(data), data)
