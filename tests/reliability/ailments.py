"""Every way in which the simulator can fail, and what a client may expect of it: a table."""

from typing import Any, get_args

import msgspec

from proxy.simulator import Simulator
from proxy.simulator.faults import Kind
from proxy.simulator.vocabulary import VENDORS

FIRST = "openai"  # the provider of the model that is asked for
HANG = 5.0  # seconds that a vendor may say nothing
WAIT = 30.0  # seconds that a rate-limited vendor asks for


class Ailment(msgspec.Struct, frozen=True, kw_only=True):
    """One fault, as `Simulator.fault` takes it. `error`: what the client hears if all candidates have it."""

    name: str
    fault: Kind
    details: dict[str, Any] = {}
    error: tuple[int, *tuple[str, ...]] | None = None  # status and codes; None: it is slow and answers all the same
    streams: bool = True  # it strikes them before their first part; if not, only whole answers are asked for
    late: bool = False  # it strikes streams, after their first part
    rate: float | None = None  # requests a second in the long run, where that is not the usual one

    @property
    def forms(self) -> tuple[bool, ...]:
        """Whether to stream."""
        return (True,) if self.late else (False, True) if self.streams else (False,)

    def strike(self, vendors: Simulator, *, everyone: bool = False) -> None:
        """The first candidate has it from now on, or all have."""
        for vendor in VENDORS if everyone else (FIRST,):
            vendors.fault(vendor, self.fault, **self.details)


_LOST = (502, "upstream_connection_error")
_CUT = (502, "upstream_stream_truncated")
_BAD = (502, "upstream_malformed_output")
_EMPTY = (502, "upstream_malformed_output", "empty_upstream_response")  # as a whole, as a stream
_SLOW = (504, "upstream_timeout")
_BUSY = (503, "server_is_overloaded")

AILMENTS = (
    Ailment(name="refuses connections", fault="refuse", error=_LOST),
    Ailment(name="resets connections", fault="reset", error=_LOST),
    Ailment(name="500", fault="status", details={"error": "server_error"}, error=(502, "server_error")),
    Ailment(name="overloaded (503, 529)", fault="status", details={"error": "overloaded"}, error=_BUSY),
    Ailment(
        name=f"429, retry-after {WAIT:g} s",
        fault="status",
        details={"error": "rate_limit", "retry_after": WAIT},
        error=(429, "rate_limit_exceeded"),
    ),
    Ailment(
        name="no quota left",
        fault="status",
        details={"error": "insufficient_quota"},
        error=(503, "upstream_quota_exhausted"),
    ),
    Ailment(
        name="our key is refused",
        fault="status",
        details={"error": "api_key_invalid"},
        error=(503, "upstream_auth_error"),
    ),
    Ailment(
        name="does not know the model",
        fault="status",
        details={"error": "model_not_found"},
        error=(404, "model_not_found"),
    ),
    Ailment(name="hangs", fault="hang", error=_SLOW),
    Ailment(name="hangs after the headers", fault="hang_headers", error=_SLOW),
    Ailment(name="hangs before the first part", fault="hang_midstream", details={"after_events": 0}, error=_SLOW),
    Ailment(name="breaks off before the first part", fault="cut", details={"after_events": 0}, error=_CUT),
    Ailment(name="ends before the first part", fault="cut_clean", details={"after_events": 0}, error=_EMPTY),
    Ailment(name="error as the first event", fault="error_event", details={"after_events": 0}, error=_BUSY),
    Ailment(name="resets in mid-answer", fault="reset_body", error=_CUT, streams=False),
    Ailment(name="garbage", fault="garbage", error=_BAD),
    Ailment(name="an empty body", fault="empty", error=_EMPTY),
    Ailment(name="a page of HTML", fault="html", error=(502, "server_error")),
    Ailment(name="a redirect", fault="redirect", error=(502, "upstream_misconfigured")),
    Ailment(name="late by 0.3 s", fault="slow", details={"delay_ms": 300}),
    Ailment(name="a byte each millisecond", fault="drip", details={"delay_ms": 1}, rate=2),
    Ailment(
        name="stream hangs after the first part",
        fault="hang_midstream",
        details={"after_events": 4},
        error=_SLOW,
        late=True,
    ),
    Ailment(
        name="stream breaks off after the first part", fault="cut", details={"after_events": 4}, error=_CUT, late=True
    ),
    Ailment(
        name="stream ends after the first part", fault="cut_clean", details={"after_events": 4}, error=_CUT, late=True
    ),
    Ailment(name="stream is reset after the first part", fault="reset_body", error=_CUT, late=True),
    Ailment(
        name="error event after the first part",
        fault="error_event",
        details={"after_events": 4},
        error=_BUSY,
        late=True,
    ),
)

assert {ailment.fault for ailment in AILMENTS} == set(get_args(Kind)), "each fault of the simulator is in the table"
