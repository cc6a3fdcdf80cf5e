"""The words that pass between `proxy/` and `adapters/`, and nothing else.

An adapter is a module (PEP 544: modules satisfy Protocols). It is pure: it reads no clock, rolls no dice, opens no
socket. It turns the client's sealed letter (`Envelope`) into a `Call`, a vendor's bytes back into the bytes that
OpenAI would have sent, and a vendor's refusal into a `Failure` that says whose fault it was.
"""

from collections.abc import Mapping, Sequence
from typing import Literal, Protocol

import msgspec

from adapters.failure import REMOVED as REMOVED
from adapters.failure import Failure as Failure
from adapters.failure import Kind as Kind
from adapters.failure import invalid as invalid
from adapters.failure import unsupported as unsupported
from adapters.marks import Marks

Vendor = Literal["openai", "anthropic", "gemini"]
Endpoint = Literal["chat"]


class Headroom(msgspec.Struct, frozen=True):
    """One of the vendor's rate limits, as the headers of an answer tell it. `reset`: seconds until it is full again."""

    limit: int
    remaining: int
    reset: float


class Capabilities(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a model can do and which spelling it obeys. Rows of `pricing.yaml`; defaults fit a current model."""

    input: tuple[Literal["text", "image", "audio", "video", "file"], ...] = ("text", "image")
    tools: bool = True
    parallel_tools: bool = True
    json_schema: bool = True
    json_with_tools: bool = True  # JSON output together with tools (Gemini < 3 refuses the pair)
    sampling: bool = True  # temperature and top_p are obeyed
    temperature_xor_top_p: bool = False  # Claude 4.x refuses both at once
    penalties: bool = True  # frequency_penalty and presence_penalty are obeyed
    efforts: tuple[
        str, ...
    ] = ()  # the words of reasoning effort (or thinking level) that the model takes, weakest first
    thinking: tuple[Literal["adaptive", "enabled", "disabled", "between_tools"], ...] = ()  # Anthropic thinking.type
    thinking_budget: tuple[int, int] | None = None  # (least, most) tokens, where thinking is given as a budget
    thinking_off: bool = True  # thinking can be switched off altogether
    forced_tool: bool = True  # tool_choice that forces a call
    prefill: bool = False  # a trailing assistant message is continued
    mid_system: bool = False  # system messages after the first turn
    system: bool = True  # system instructions at all (Gemma has none)
    call_ids: bool = False  # Gemini >= 3: function calls carry ids and thought signatures
    max_tokens_field: Literal["max_tokens", "max_completion_tokens", "either"] = "either"  # OpenAI's format only
    # Of those who speak OpenAI's format only:
    stream_options: bool = True  # stream_options.include_usage is taken
    reasoning_content: bool = False  # reasoning_content is wanted back on assistant messages
    reasoning_details: bool = False  # reasoning_details are wanted back on assistant messages
    developer: bool = True  # the role `developer` is known; else it is sent as `system`
    refused: tuple[str, ...] = ()  # members of a request that are answered with a 400, "messages[].name" among them


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """One model at one provider, as a request may be sent to it. `context` and `max_output` are in tokens.

    `cap` is the most output tokens (per choice, reasoning included; at least 1) that this request may ask for, because
    no more money is held; None: as the client and the model like.
    """

    provider: str  # a row of configuration: "openai", "groq", ...
    vendor: Vendor  # whose wire format it speaks
    model: str  # the name on the wire
    capabilities: Capabilities
    context: int
    max_output: int
    cap: int | None = None


class Warnings(dict[str, list[str]]):
    """What was asked for and could not be had as asked, by verb; becomes the header `x-tollhouse-warnings`."""

    __slots__ = ()

    def add(self, verb: str, what: str) -> None:
        """Note that `what` (a parameter's path) was `dropped`, `clamped`, `rounded`, `emulated` or `downgraded`."""
        said = self.setdefault(verb, [])
        if what not in said:
            said.append(what)

    @property
    def dropped(self) -> Sequence[str]:
        """The dropped parameters, for machines: the header `x-tollhouse-dropped-params`."""
        return self.get("dropped", ())

    def __str__(self) -> str:
        return "; ".join(f"{verb}={','.join(said)}" for verb, said in self.items())


class Reading(msgspec.Struct, kw_only=True):
    """What the translator of the answer must remember of the request; made by `request`."""

    stream: bool = False
    choices: int = 1  # how many choices the client asked for
    include_usage: bool = False  # the client asked for the usage chunk
    names: dict[str, str] = {}  # tool name on the vendor's wire -> the client's own, where they differ
    custom: frozenset[str] = frozenset()  # the client's names of custom tools that travel as functions
    legacy_functions: bool = False  # the client used `functions`: answer in `function_call`
    json_tool: str | None = None  # name of the forced tool whose input is the structured output
    keeps_states: bool = False  # the vendor will want its reasoning back, and the client may not bring it
    json_fence: bool = False  # JSON mode is emulated: strip one fence around the whole answer
    model: str = ""  # what to call the model if the vendor does not say
    caches_long: bool = False  # what is cached is asked to be kept for 12 hours: the answer does not say so
    exact: bool = True  # the vendor is OpenAI itself: its words are passed on to the byte


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """A request as it leaves. `path` is appended to the provider's base URL; credentials are added by the sender."""

    path: str
    body: bytes
    reading: Reading
    warnings: Warnings
    headers: Mapping[str, str] = {}
    marks: Marks | None = None  # of the body, or of one with more in it; None: nobody has looked


class Usage(msgspec.Struct, kw_only=True, omit_defaults=True):
    """Tokens in disjoint buckets, whoever counted them; costs and OpenAI's usage object derive from this."""

    in_text: int = 0
    in_audio: int = 0
    in_image: int = 0
    cache_read: int = 0
    cache_read_audio: int = 0
    cache_write_5m: int = 0
    cache_write_1h: int = 0
    cache_write_30m: int = 0
    cache_write_12h: int = 0
    out_text: int = 0
    out_reasoning: int = 0
    out_audio: int = 0
    out_image: int = 0
    web_searches: int = 0
    map_queries: int = 0

    @property
    def prompt(self) -> int:
        """All tokens that went in, cached or not. Written out: each request asks for it several times."""
        return (
            self.in_text
            + self.in_audio
            + self.in_image
            + self.cache_read
            + self.cache_read_audio
            + self.cache_write_5m
            + self.cache_write_1h
            + self.cache_write_30m
            + self.cache_write_12h
        )

    @property
    def cached(self) -> int:
        """Tokens read from the vendor's prompt cache."""
        return self.cache_read + self.cache_read_audio

    @property
    def cache_written(self) -> int:
        """Tokens written to the vendor's prompt cache, whatever their time to live."""
        return self.cache_write_5m + self.cache_write_1h + self.cache_write_30m + self.cache_write_12h

    @property
    def completion(self) -> int:
        """All tokens that came out, reasoning included."""
        return self.out_text + self.out_reasoning + self.out_audio + self.out_image


class Stamp(msgspec.Struct, frozen=True):
    """What the translator may not make up by itself: the answer's id and its time (seconds since the epoch)."""

    id: str
    created: int


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """A whole answer in OpenAI's format. `states` are to be had again when the call of that id comes back."""

    body: bytes
    usage: Usage | None
    finish: str | None = None
    service_tier: str | None = None
    states: Mapping[str, str] = {}


class Stream(Protocol):
    """A streamed answer in translation: one per request, fed with whatever the network delivers.

    `feed` and `end` never raise. A vendor that reports an error, or breaks off, sets `failure`; what was said before
    is returned all the same. `done` means that the vendor came to a proper end and the client has been told so.
    """

    failure: Failure | None
    done: bool
    finish: str | None
    states: dict[str, str]
    framing: int  # bytes of what was returned last that are known to be no text: never too many

    @property
    def usage(self) -> Usage | None:
        """What the vendor has counted so far."""
        ...

    @property
    def service_tier(self) -> str | None:
        """The service tier that was served, as far as it was told."""
        ...

    def feed(self, data: bytes) -> bytes:
        """Take bytes off the vendor's wire; return the bytes to say to the client, often none."""
        ...

    def end(self) -> bytes:
        """The vendor's body has ended; return the last words, or set `failure` if it ended too early."""
        ...


class Remote(msgspec.Struct, frozen=True):
    """A remote image whose bytes the vendor wants inline. `param` is its path in the request, for error messages."""

    url: str
    param: str


class Fetched(msgspec.Struct, frozen=True):
    """The bytes of a remote image, as fetched by the proxy."""

    media_type: str
    data: bytes


class Needs(msgspec.Struct, frozen=True, kw_only=True):
    """What a pure translator cannot get for itself: remote images, and states of reasoning by the id of a call."""

    images: Sequence[Remote] = ()
    states: Sequence[str] = ()


class Supplies(msgspec.Struct, frozen=True, kw_only=True):
    """What it then got: images by URL, and those states that are still known. A state is its adapter's own affair."""

    images: Mapping[str, Fetched] = {}
    states: Mapping[str, str] = {}


NOTHING = Supplies()
NO_NEEDS = Needs()
