"""The words that the rooms of the simulator share. Nothing here knows a vendor, a socket or a clock."""

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

import msgspec

VendorName = Literal["openai", "anthropic", "gemini"]
VENDORS: tuple[VendorName, ...] = ("openai", "anthropic", "gemini")
Json = dict[str, Any]


class Refusal(msgspec.Struct, frozen=True):
    """A request that the vendor turns down. `kind` is the vendor's own error type or status word ("" = the usual one).

    `param` is OpenAI's JSON path or Gemini's field path; `details` goes into the body where the vendor has a slot.
    """

    message: str
    param: str | None = None
    code: str | None = None
    status: int = 400
    kind: str = ""
    details: Any = None


class Call(msgspec.Struct, frozen=True):
    """A tool call of the model. `arguments` is raw JSON text."""

    name: str
    arguments: str = "{}"


class Plan(msgspec.Struct):
    """What the model is going to say, in no vendor's words.

    `text` is a list of pieces, one stream delta each; `whole` says that the pieces may be split further (nobody
    scripted them). `finish`: stop, stop_sequence, length, tool_calls, content_filter, or a vendor's own word, which is
    sent as it is.
    """

    thinking: str | None = None
    text: list[str] = []
    tool_calls: list[Call] = []
    finish: str = "stop"
    stop_sequence: str | None = None
    whole: bool = False


class Scripted(msgspec.Struct):
    """One answer of a script: the fields of a plan, or bytes to send as they are.

    `unbounded`: all of it is said, whatever the request's limit: a vendor that does not keep to it.
    """

    thinking: str | None = None
    text: list[str] | str = []
    tool_calls: list[Call] = []
    finish: str | None = None
    stop_sequence: str | None = None
    raw: str | None = None
    raw_status: int = 200
    raw_headers: dict[str, str] = {}
    raw_chunks: list[str] | None = None
    unbounded: bool = False

    def plan(self) -> Plan:
        """The plan that was written down; an unsaid `finish` follows from whether there are tool calls."""
        pieces = [self.text] if isinstance(self.text, str) else list(self.text)
        finish = self.finish or ("tool_calls" if self.tool_calls else "stop")
        return Plan(self.thinking, [p for p in pieces if p], list(self.tool_calls), finish, self.stop_sequence)


class Segment(NamedTuple):
    """A stretch of the prompt in the order in which the vendor caches it.

    `mark` is the lifetime ("5m", "1h") of an Anthropic cache mark at its end, or "".
    """

    text: str
    tokens: int
    kind: Literal["text", "image", "audio"] = "text"
    mark: str = ""


class Ask(msgspec.Struct):
    """What a request asks for, in no vendor's words. Built by a vendor's `*_asks` module after its checks passed."""

    model: str
    stream: bool = False
    user_text: str = ""  # of the last user turn that has text
    results: list[str] = []  # tool results since that text
    tools: dict[str, Any] = {}  # name -> JSON schema of the arguments
    must_call: tuple[str, ...] = ()  # forced by the tool choice; empty: the text decides
    may_call: bool = True  # false with tool choice "none"
    parallel: bool = True
    schema: Any = None  # of the answer
    json_mode: bool = False
    thinks: bool = False
    shows_thinking: bool = False
    limit: int | None = None  # output tokens, thinking included
    stops: tuple[str, ...] = ()
    segments: list[Segment] = []
    framing: int = 0  # tokens of the prompt beside its segments
    extra: Json = {}  # what only the vendor's own pen needs


class Usage(msgspec.Struct):
    """Tokens in disjoint buckets, exactly as far as the vendor's own answer tells them apart."""

    in_text: int = 0
    in_audio: int = 0
    in_image: int = 0
    cache_read: int = 0
    cache_write_5m: int = 0
    cache_write_1h: int = 0
    out_text: int = 0
    out_reasoning: int = 0

    @property
    def prompt(self) -> int:
        """Everything that was read, cached or not."""
        fresh = self.in_text + self.in_audio + self.in_image
        return fresh + self.cache_read + self.cache_write_5m + self.cache_write_1h

    @property
    def completion(self) -> int:
        """Everything that was written, thinking included."""
        return self.out_text + self.out_reasoning


class Event(NamedTuple):
    """One event of a stream as bytes, and what it tells: for the bill of a stream that was cut short."""

    data: bytes
    text: str = ""
    thinking: str = ""


class Request(msgspec.Struct):
    """One HTTP request. Header names are lower-case; `path` is percent-decoded, without the query."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: dict[str, str]
    body: bytes


class Answer(msgspec.Struct):
    """What goes back: `body` whole, or `events` one by one. `headers` has no length and no framing.

    `limited`: a refusal because of a rate limit.
    """

    status: int
    headers: list[tuple[str, str]]
    body: bytes = b""
    events: list[Event] | None = None
    usage: Usage = msgspec.field(default_factory=Usage)
    limited: bool = False
