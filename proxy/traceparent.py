"""The trace that a request belongs to: W3C Trace Context (https://www.w3.org/TR/trace-context/), read and written.

Pure. A header that does not keep to the format is none, as the specification wants it: a new trace begins.
"""

import re
from collections.abc import Mapping

import msgspec

HEADER, STATE = "traceparent", "tracestate"
_FORMAT = re.compile(r"(?!ff)([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?", re.DOTALL)
_LONGEST_STATE = 512  # characters; the specification lets go of a longer one


class Trace(msgspec.Struct, frozen=True):
    """A place in a trace: its id (32 hex digits), the span of whoever called (16), and whether it is recorded."""

    id: str
    span: str
    sampled: bool


def parse(said: str | None) -> Trace | None:
    """What `traceparent` says, if it says anything."""
    found = _FORMAT.fullmatch((said or "").strip())
    if found is None or (found[1] == "00" and found[5]):
        return None  # only a version that is not known yet may have more to say
    if not int(found[2], 16) or not int(found[3], 16):
        return None
    return Trace(found[2], found[3], bool(int(found[4], 16) & 1))


def passed(trace: Trace, state: str | None) -> Mapping[str, str]:
    """The headers that take it on. A vendor sees what it would have seen of the caller itself."""
    said = {HEADER: f"00-{trace.id}-{trace.span}-{'01' if trace.sampled else '00'}"}
    if state and len(state) <= _LONGEST_STATE and state.isascii() and state.isprintable():
        said[STATE] = state
    return said
