"""Server-sent events, as far as the three vendors use them (WHATWG HTML, section 9.2).

Works on bytes, so that a character split over two network reads is never seen in halves. Event names, ids and retry
lines are passed over: every vendor puts the type of an event into its data.
"""

DONE = b"data: [DONE]\n\n"
KEEPALIVE = b": keepalive\n\n"

# An inline image may make an event of several MB; what is larger than this is not an answer.
LARGEST_EVENT = 64 * 1024 * 1024


class TooLarge(ValueError):
    """An event grew past `LARGEST_EVENT` bytes without coming to its end."""


class Decoder:
    """Cuts a body into the data of its events, however the network has cut it before.

    `stray` keeps the beginning of what is not server-sent events at all (Gemini may answer a stream with a bare JSON
    error, a broken proxy with HTML), so that the cause of a failure is not lost.
    """

    _STRAY = 64 * 1024

    def __init__(self) -> None:
        self._rest = bytearray()
        self._data: list[bytes] = []
        self._size = 0
        self.stray = bytearray()

    @property
    def pending(self) -> bool:
        """True while the beginning of an event waits for its end."""
        return bool(self._rest or self._data)

    def feed(self, data: bytes) -> list[bytes]:
        """Return the data of the events that are complete now, oldest first."""
        rest = self._rest
        rest += data
        if b"\r" in rest:
            # A CR at the very end may be the first half of CRLF: it waits for the next read.
            held = rest.endswith(b"\r")
            text = bytes(rest[:-1] if held else rest).replace(b"\r\n", b"\n").replace(b"\r", b"\n")
            rest[:] = text + (b"\r" if held else b"")
        end = rest.rfind(b"\n")
        if end < 0:
            self._guard(len(rest))
            return []
        lines = bytes(rest[:end]).split(b"\n")
        del rest[: end + 1]
        return self._take(lines)

    def end(self) -> list[bytes]:
        """The body has ended: an event whose closing blank line is missing counts as complete."""
        lines = bytes(self._rest).rstrip(b"\r").split(b"\n")
        self._rest.clear()
        return self._take([*lines, b""])

    def _take(self, lines: list[bytes]) -> list[bytes]:
        events: list[bytes] = []
        for line in lines:
            if line.startswith(b"data:"):
                value = line[6:] if line[5:6] == b" " else line[5:]
                self._data.append(value)
                self._size += len(value)
                self._guard(self._size)
            elif not line:
                if self._data:
                    events.append(self._data[0] if len(self._data) == 1 else b"\n".join(self._data))
                    self._data.clear()
                    self._size = 0
            elif not line.startswith((b":", b"event:", b"id:", b"retry:")) and len(self.stray) < self._STRAY:
                self.stray += line + b"\n"
        return events

    def _guard(self, size: int) -> None:
        if size > LARGEST_EVENT:
            raise TooLarge(f"an event of more than {LARGEST_EVENT} bytes")


def encode(data: bytes) -> bytes:
    """One event. `data` is JSON on one line."""
    return b"data: " + data + b"\n\n"
