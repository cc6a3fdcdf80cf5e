"""The request to Anthropic, from OpenAI's.

Version 2023-06-01 is sent: the later 2026-10-21 only takes things away (sampling on every model).
"""

import hashlib
import re
from collections.abc import Mapping
from typing import Any

import msgspec

from adapters import cap as caps
from adapters import conversation, fields, marks, tools, wire
from adapters import needs as waiting
from adapters.anthropic import messages, offer, output, thinking
from adapters.base import NO_NEEDS, Call, Capabilities, Needs, Reading, Supplies, Target, Warnings, invalid
from adapters.conversation import Conversation, File, Image, Result
from adapters.envelope import Envelope

VERSION = "2023-06-01"

_encode = msgspec.json.Encoder().encode


def headers(key: str) -> Mapping[str, str]:
    """The headers of every request to a provider, credentials included."""
    return {"x-api-key": key, "anthropic-version": VERSION}


def needs(envelope: Envelope, target: Target) -> Needs:
    """Anthropic fetches https by itself, plain http it refuses; and where it insists, thinking that was lost."""
    if not envelope.marks.media and "reasoning_effort" not in envelope.fields:
        return NO_NEEDS  # nearly always
    chat = envelope.chat
    states: list[str] = []
    if thinking.wants_it_back(chat.reasoning_effort, target.capabilities):
        states = [ids[0] for message, ids in waiting.calls(chat) if not message.thinking_blocks]
    return Needs(images=waiting.images(chat, lambda url: not url.lower().startswith("http://")), states=states)


def request(envelope: Envelope, target: Target, supplies: Supplies) -> Call:
    """The request in Anthropic's words. Raises `Failure` (400) for what cannot be said in them."""
    chat, unknown = envelope.opened
    able = target.capabilities
    warnings = Warnings()
    asked = envelope.fields
    fields.apply(chat, asked, unknown, "anthropic", warnings)
    talk = conversation.read(chat, warnings)
    wishes = None
    if talk.called or not _WISHES.isdisjoint(asked):
        thinking.restore(talk, supplies.states)
        wishes = _Wishes.of(chat, able, warnings)
    cap = _max_tokens(chat, talk, target, len(envelope.raw), warnings)
    thought = thinking.UNASKED if wishes is None else wishes.thought(chat, talk, able, cap, warnings)
    names = _NO_NAMES if wishes is None else wishes.names
    speller = messages.Speller(names, supplies, warnings, thinking=thought.replays)
    system = speller.system(talk.system) if talk.system else []
    told = conversation.fold_system(talk.turns, keep=able.mid_system) if talk.interrupted else talk.turns
    turns = speller.turns(told)
    _check_prefill(turns, target, thought)
    body: dict[str, Any] = {"model": target.model, "max_tokens": cap}
    if wishes is not None:
        system += wishes.order
        body |= offer.Offer(names, able, warnings).said(chat, wishes.box, thought.choice, wishes.form.tool)
    if system:
        body["system"] = system
    body["messages"] = turns
    if "temperature" in asked or "top_p" in asked:
        body |= _sampling(chat, target, thought, warnings)
    if wishes is not None:
        body |= _thinking(thought) | _output_config(wishes.form, thought)
    if not _REST.isdisjoint(asked):
        body |= _rest(chat, warnings)
    if envelope.stream:
        body["stream"] = True
    reading = Reading(stream=envelope.stream, include_usage=envelope.include_usage, model=target.model)
    if wishes is not None:
        wishes.note(reading)
        reading.keeps_states = thought.replays and thinking.wants_it_back(chat.reasoning_effort, able)
    said = _encode(body)
    bare = wishes is None and envelope.bare(len(chat.messages))
    found = marks.around(len(turns), target.model) if bare else marks.of(said, body, len(turns))
    return Call(path="/v1/messages", body=said, reading=reading, warnings=warnings, marks=found)


# Members with which a request asks for more than text. Most have none of them, and then nothing of all this is worked
# out. Calls in the history are told with tools too.
_WISHES = frozenset(
    {
        *("tools", "functions", "tool_choice", "function_call", "parallel_tool_calls", "web_search_options"),
        *("response_format", "reasoning_effort"),
    }
)
_NO_NAMES = offer.names(tools.EMPTY, json_tool=None, search=False)  # nobody is called by any


class _Wishes(msgspec.Struct, frozen=True):
    """What else than text a request asks for."""

    box: tools.Toolbox
    form: output.Form
    names: tools.Names

    @classmethod
    def of(cls, chat: wire.Chat, able: Capabilities, warnings: Warnings) -> "_Wishes":
        """Raises `Failure` (400) for what contradicts itself, or cannot be had of this model."""
        box = tools.read(chat)
        form = output.form(chat, able, warnings)
        own = None if form.tool is None else output.JSON_TOOL
        return cls(box, form, offer.names(box, json_tool=own, search=chat.web_search_options is not None))

    def thought(
        self, chat: wire.Chat, talk: Conversation, able: Capabilities, cap: int, warnings: Warnings
    ) -> thinking.Thought:
        """How hard to think, and the choice of tools that goes with it."""
        return thinking.decide(chat.reasoning_effort, self.form.choice or self.box.choice, talk, able, cap, warnings)

    @property
    def order(self) -> list[dict[str, Any]]:
        """What of this is said to the model in so many words."""
        return [] if self.form.order is None else [{"type": "text", "text": self.form.order}]

    def note(self, reading: Reading) -> None:
        """What the answer must be read by; to be asked for when all names have been spelled."""
        reading.names = self.names.clients
        reading.custom = frozenset([tool.name for tool in self.box.tools if tool.custom])
        reading.legacy_functions = self.box.legacy
        reading.json_tool = None if self.form.tool is None else output.JSON_TOOL
        reading.json_fence = self.form.order is not None


# Models with this window refuse input and cap together beyond it; those with a larger one stop when it is full.
_SMALL_WINDOW = 200_000
_LEAST_CAP = 4096  # never so low that an answer is cut that would have fitted anywhere
_TOKENS_PER_IMAGE = 1600


def _max_tokens(chat: wire.Chat, talk: Conversation, target: Target, size: int, warnings: Warnings) -> int:
    """Anthropic wants a cap in every request; without one from the client it is all that the model can give."""
    unasked = target.max_output
    if chat.max_tokens is chat.max_completion_tokens is None and target.context <= _SMALL_WINDOW:
        unasked = max(_LEAST_CAP, target.context - _tokens(talk, size))
    return caps.read(chat, unasked, target, warnings).tokens


def _tokens(talk: Conversation, size: int) -> int:
    """Tokens that a request of `size` bytes may come to: three bytes each is on the safe side, but not for images."""
    tokens = 0
    for turn in talk.turns:
        for block in turn.blocks:
            for part in block.parts if isinstance(block, Result) else (block,):
                if isinstance(part, Image):
                    size -= len(part.url)
                    tokens += _TOKENS_PER_IMAGE
                elif isinstance(part, File):
                    size -= len(part.data)
                    tokens += len(part.data) // 32  # a page of 100 kB is some 4000 tokens
    return tokens + max(0, size) // 3


def _sampling(chat: wire.Chat, target: Target, thought: thinking.Thought, warnings: Warnings) -> dict[str, Any]:
    """Temperature goes to 1 here; Claude 4.x takes it or `top_p`, later models and thinking take neither."""
    said: dict[str, float] = {}
    for name, most in (("temperature", 2), ("top_p", 1)):
        value = getattr(chat, name)
        if value is None or value == 1:
            continue  # 1 is what happens anyway
        if not 0 <= value <= most:
            raise invalid(f"Invalid '{name}': {value} is not between 0 and {most}.", name)
        if not target.capabilities.sampling or thought.on or (said and target.capabilities.temperature_xor_top_p):
            warnings.add("dropped", name)
            continue
        if value > 1:
            warnings.add("clamped", name)
        said[name] = min(value, 1)
    return said


def _thinking(thought: thinking.Thought) -> dict[str, Any]:
    return {} if thought.thinking is None else {"thinking": thought.thinking}


def _output_config(form: output.Form, thought: thinking.Thought) -> dict[str, Any]:
    if form.native is None and thought.effort is None:
        return {}
    said = {"format": form.native, "effort": thought.effort}
    return {"output_config": {key: value for key, value in said.items() if value is not None}}


def _check_prefill(turns: list[dict[str, Any]], target: Target, thought: thinking.Thought) -> None:
    """An assistant's message at the end asks the model to go on with it; only older models do."""
    if turns[-1]["role"] != "assistant":
        return
    if not target.capabilities.prefill or thought.on:
        raise invalid(
            f"{target.model} does not continue an assistant's message: the last message must not be the assistant's.",
            "messages",
        )
    last = turns[-1]["content"][-1]
    last["text"] = last["text"].rstrip()  # white space at the end is refused upstream


_REST = frozenset({"stop", "safety_identifier", "user", "service_tier"})
_TIERS = {"auto": "auto", "default": "standard_only"}
_LONGEST_USER = 512
_PERSONAL = re.compile(r"@|^\+?[\d\s().-]{7,}$")


def _rest(chat: wire.Chat, warnings: Warnings) -> dict[str, Any]:
    said: dict[str, Any] = {}
    if chat.stop is not None and (stop := _stop(chat.stop, warnings)):
        said["stop_sequences"] = stop
    if user := chat.safety_identifier or chat.user:
        # Names, addresses and numbers of people are refused: what looks like one is sent as its digest.
        personal = _PERSONAL.search(user) or len(user) > _LONGEST_USER
        said["metadata"] = {"user_id": hashlib.sha256(user.encode()).hexdigest() if personal else user}
    if chat.service_tier in _TIERS:
        said["service_tier"] = _TIERS[chat.service_tier]
    elif chat.service_tier is not None:
        warnings.add("dropped", "service_tier")
    return said


def _stop(stop: str | list[str], warnings: Warnings) -> list[str]:
    sequences = [stop] if isinstance(stop, str) else stop
    if not all(sequences):
        raise invalid("Invalid 'stop': a stop sequence is at least one character.", "stop")
    kept = [sequence for sequence in sequences if sequence.strip()]
    if len(kept) < len(sequences):
        warnings.add("dropped", "stop")  # stop sequences of white space are refused upstream
    return kept
