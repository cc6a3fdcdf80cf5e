"""The faults that a test has asked for, and which of them strikes a request."""

import random
from typing import Literal

import msgspec

from proxy.simulator.ledger import tag
from proxy.simulator.vocabulary import VendorName

Kind = Literal[
    "status", "refuse", "reset", "reset_body", "hang", "hang_headers", "hang_midstream", "cut", "cut_clean",
    "error_event", "drip", "slow", "garbage", "empty", "html", "redirect",
]  # fmt: skip

SEED = 20260101  # the same faults strike in the same order in every run


class Fault(msgspec.Struct, forbid_unknown_fields=True):
    """One fault. `model` is a prefix of the model's name, `tag` one of the request's tag; empty: any, or none.

    `times` is how often it strikes (None: until cleared), `probability` how likely at each request that it fits.
    """

    vendor: VendorName
    fault: Kind
    model: str = ""
    tag: str = ""
    times: int | None = None
    status: int | None = None
    error: str | None = None
    retry_after: float | None = None  # seconds
    after_events: int = 1
    delay_ms: float = 0
    probability: float = 1.0


class Rack:
    """All faults in the order in which they were asked for; the first that fits strikes."""

    def __init__(self) -> None:
        self.faults: list[Fault] = []
        self.dice = random.Random(SEED)

    def strike(self, vendor: VendorName, model: str, body: bytes = b"") -> Fault | None:
        """The fault for this request, counted down; None if nothing fits."""
        for fault in self.faults:
            if fault.vendor != vendor or fault.fault == "refuse" or not model.startswith(fault.model):
                continue
            if fault.tag and not (tag(body) or "").startswith(fault.tag):
                continue
            if fault.probability < 1 and self.dice.random() >= fault.probability:
                continue
            if fault.times is not None:
                fault.times -= 1
                if fault.times <= 0:
                    self.faults.remove(fault)
            return fault
        return None

    def refused(self) -> set[VendorName]:
        """The vendors that must not listen."""
        return {f.vendor for f in self.faults if f.fault == "refuse"}

    def clear(self, vendor: VendorName | None) -> None:
        """Forget the faults of one vendor, or all."""
        self.faults = [f for f in self.faults if vendor is not None and f.vendor != vendor]

    def reset(self) -> None:
        """No faults, and the dice as they were at the start."""
        self.clear(None)
        self.dice.seed(SEED)
