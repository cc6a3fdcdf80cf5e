"""What a strategy is shown: the request as far as it matters for the choice, and each candidate as it stands. Pure."""

import msgspec

from adapters.base import Target
from proxy.health import Standing
from proxy.prices import Price

OTHER = "other"  # the name of a model that the table does not know: a client may make up any number of names

Task = str  # one of `TASKS`, or None of it
TASKS = ("analytical", "creative", "synthesis", "speed", "cost")
DEFAULT_TASKS: dict[str, str] = {
    "analytical": "openai",
    "creative": "anthropic",
    "synthesis": "anthropic",
    "speed": "gemini",
    "cost": "gemini",
}


class Need(msgspec.Struct, frozen=True, kw_only=True):
    """What a request asks for, read off its outside and its marks. Tokens, estimated but for `cap`."""

    prompt: int = 0  # most likely
    least: int = 0  # it cannot be fewer
    cap: int | None = None  # of the answer, by the client's own word
    choices: int = 1
    images: bool = False
    audio: bool = False
    files: bool = False
    tools: bool = False
    schema: bool = False
    task: str | None = None
    stream: bool = False
    tier: str | None = None  # the service tier that the client asks for


class Expected(msgspec.Struct, frozen=True):
    """What this caller and this model are likely to come to: tokens of the answer, cached part of the prompt (0..1)."""

    output: float
    cached: float = 0.0


class Candidate(msgspec.Struct, frozen=True, kw_only=True):
    """One model at one provider, for one request. `most`: in flight at once, of this replica; None: as many as come."""

    target: Target
    model: str  # what it is counted under: its entry in the table, or `OTHER`
    price: Price | None = None
    standing: Standing = Standing()
    expected: Expected = Expected(500.0)
    weight: int = 1
    most: int | None = None
    stand_in: bool = False  # for a model that was asked for by name
    losses: int = 0  # parameters of the request that it would drop
    known: bool = True  # its name on the wire is its entry's own, not one that a pattern took

    @property
    def name(self) -> str:
        """As it is shown: provider/model."""
        return f"{self.target.provider}/{self.target.model}"


class Out(msgspec.Struct, frozen=True, omit_defaults=True):
    """A candidate that is not asked: why, in one word and in a sentence; since and until when, if that is known (ms).

    One that is `stalled` or in its `slow_start` is asked after the others: it stands in the order as well.
    """

    name: str
    why: str  # open, half_open, limited, full, unfit, stalled, slow_start
    said: str
    since: int = 0
    until: int = 0


class Choice(msgspec.Struct, frozen=True, kw_only=True):
    """Whom to ask, in which order; who is out. `wait`: nobody now, but somebody then (ms, of the clock of `now`), who
    is only rate limited or busy."""

    order: tuple[Candidate, ...]
    out: tuple[Out, ...] = ()
    wait: int | None = None
    least_bad: bool = False  # all circuits are open: the one in `order` is asked all the same
