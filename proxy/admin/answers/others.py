"""What is told of decisions, of the configuration, of models, of feedback and of sessions."""

from typing import Annotated, Any, Literal

import msgspec

from proxy.admin.answers.said import Milliseconds, Moment, Said, Usd
from proxy.catalog import Listed
from proxy.configuration import Row
from proxy.telemetry import Timings

Epoch = Annotated[int, msgspec.Meta(ge=0, description="milliseconds since the epoch")]


class Passed(Said):
    """A candidate that was not asked, or only after the others; and why."""

    name: str
    why: str
    said: str
    since: Moment | None
    since_ms: Epoch | None
    until: Moment | None
    until_ms: Epoch | None


class Tried(Said):
    """An attempt; `started` and `milliseconds` are of the request and of itself."""

    provider: str
    model: str
    outcome: str
    milliseconds: float
    message: str | None
    started: float


class Served(Said):
    provider: str
    model: str | None


class Decided(Said):
    """Why a request went where it went. `strategy` is null for one that was refused before anybody was chosen."""

    request_id: str
    at: Moment | None
    at_ms: Epoch | None
    model: str | None
    stream: bool
    user: str | None
    agent: str | None
    team: str | None
    key: str | None
    strategy: str | None
    group: str | None
    task: str | None
    order: list[str]
    least_bad: bool
    out: list[Passed]
    attempts: list[Tried]
    hedged: bool
    waited_milliseconds: Milliseconds
    served_by: Served | None
    status: int | None
    code: str | None
    cost_usd: Usd | None
    estimated: bool
    first_part_milliseconds: float | None
    total_milliseconds: Milliseconds
    milliseconds: Timings


class Decision(Decided):
    """A decision, and the replica that remembers it."""

    replica: str


class Decisions(Said):
    """The latest ones of one replica, the last one first; `kept` is how many it remembers."""

    replica: str
    kept: int
    decisions: list[Decided]


class Configuration(Said):
    """The values that are in force. A secret is {"set": true, "fingerprint": ...}, or null."""

    replica: str
    values: list[Row]


class Models(Said):
    object: Literal["list"]
    data: list[Listed]


class Judged(Said):
    """What is kept of what was said of an answer."""

    object: Literal["feedback"]
    request_id: str
    score: Annotated[float, msgspec.Meta(ge=-1, le=1)]
    comment: str


class Session(Said):
    """Whether the dashboard asks for the admin key, and whether this browser has given it."""

    needed: bool
    signed_in: bool
    expires_at: Moment | None


class Completion(msgspec.Struct):
    """OpenAI's `chat.completion`; all further members as OpenAI describes them."""

    id: str
    object: Literal["chat.completion"]
    created: int
    model: str
    choices: list[Any]
