"""Server-sent events, as far as the three vendors use them (WHATWG HTML, section 9.2).

Works on bytes, so that a character split over two network reads is never seen in halves. Event names, ids and retry
lines are passed over: every vendor puts the type of an event into its data.
"""

import re
from collections.abc import Callable

DONE = b"data: [DONE]\n\n"
KEEPALIVE = b": keepalive\n\n"

_CR, LF = b"\r\n"  # a byte is found ten times faster by its number than as bytes of one
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
        self._rest = bytearray()  # the beginning of an event that waits for its end, in LF
        self._half = False  # the last byte was a CR: perhaps the first half of CRLF
        self.stray = bytearray()

    def feed(self, data: bytes) -> list[bytes]:
        """Return the data of the events that are complete now, oldest first."""
        return self.take(self.cut(data))

    def cut(self, data: bytes) -> bytes:
        """Return the events that are complete now as they stand, in LF: for those who only pass on."""
        if self._half or _CR in data:
            data = self._in_lf(data)
        rest = self._rest
        if not rest and data.endswith(b"\n\n"):
            return data  # as most come: it need not be copied twice
        known = len(rest)
        rest += data
        end = rest.rfind(b"\n\n", max(0, known - 1))
        if end < 0:
            if len(rest) > LARGEST_EVENT:
                rest.clear()  # a failure may be remembered for a while; this need not be
                raise TooLarge(f"an event of more than {LARGEST_EVENT} bytes")
            return b""
        whole = bytes(rest[: end + 2])
        del rest[: end + 2]
        return whole

    def _in_lf(self, data: bytes) -> bytes:
        """A CR at the very end may be the first half of CRLF: it waits for the next read."""
        data = b"\r" * self._half + data
        self._half = data.endswith(b"\r")
        data = data[: len(data) - self._half]
        plain = data.replace(b"\r", b"")
        if plain.replace(b"\n", b"\r\n") == data:  # CRLF throughout, as Google writes: six times as fast
            return plain
        return data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")

    def take(self, whole: bytes) -> list[bytes]:
        """The data of whole events. One without data, or with empty data, is no event (section 9.2.6)."""
        return [data for event in thinned(whole).split(b"\n\n") if (data := self.data(event))]

    def end(self) -> list[bytes]:
        """The body has ended: an event whose closing blank line is missing counts as complete."""
        if not self._rest:
            return []
        rest = bytes(self._rest)
        self._rest.clear()
        return self.take(rest)

    def data(self, event: bytes) -> bytes:
        """The data of one whole event, without the blank line behind it; empty if there is none."""
        if event.startswith(b"data: ") and LF not in event:
            return event[6:]  # nearly always
        name, _, data = event.partition(b"\ndata: ")
        if data and name.startswith(b"event:") and b"\n" not in name and b"\n" not in data:
            return data  # as Anthropic writes
        lines = []
        for line in event.split(b"\n"):
            if line.startswith(b"data:"):
                lines.append(line[6:] if line[5:6] == b" " else line[5:])
            elif line and not line.startswith((b":", b"event:", b"id:", b"retry:")) and len(self.stray) < self._STRAY:
                self.stray += line + b"\n"
        return b"\n".join(lines)


_SAYS_NOTHING = re.compile(rb"(?:\A|(?<=\n\n))(?::[^\n]*)?\n+")  # blank lines, and comments before an event
_SHORT = 8  # bytes; who sends lines that are shorter, on an average, sends hardly anything else


def thinned(whole: bytes) -> bytes:
    """Whole events without those that say nothing, if there are so many that to look at each would take long."""
    return _SAYS_NOTHING.sub(b"", whole) if whole.count(b"\n") * _SHORT > len(whole) else whole


encode: Callable[[bytes], bytes] = b"data: %b\n\n".__mod__  # one event, of JSON on one line
