"""OpenAI's answer, written: the whole completion, the chunks of a stream, the usage, the error object.

Source: openai-python 3.54, `types/chat/chat_completion.py`, `chat_completion_chunk.py`, `completion_usage.py`, and
what its accumulator takes (`lib/streaming/chat/_completions.py`): role once, a call's id and name once, indexes from 0
without gaps, the usage last.
"""

from typing import Any

import msgspec

from adapters import flow, sse
from adapters.base import Failure, Reading, Stamp, Usage

_encoder = msgspec.json.Encoder()
encode = _encoder.encode


def error_object(failure: Failure) -> bytes:
    """OpenAI's error object: four members, always."""
    return encode(
        {
            "error": {
                "message": failure.message,
                "type": failure.type,
                "param": failure.param,
                "code": failure.code,
            }
        }
    )


# What is the same in all is written once: to make the objects and to encode them takes three times as long.
_USAGE = (
    b'{"prompt_tokens":%d,"completion_tokens":%d,"total_tokens":%d,'
    b'"prompt_tokens_details":{"cached_tokens":%d,"audio_tokens":%d%b},'
    b'"completion_tokens_details":{"reasoning_tokens":%d,"audio_tokens":%d,'
    b'"accepted_prediction_tokens":0,"rejected_prediction_tokens":0}}'
)


def usage_object(usage: Usage) -> bytes:
    """OpenAI's usage in JSON, derived from the disjoint buckets."""
    prompt, completion, more = usage.prompt, usage.completion, b""
    if written := usage.cache_written:
        more += b',"cache_write_tokens":%d' % written
    if usage.in_image:
        more += b',"image_tokens":%d' % usage.in_image
    return _USAGE % (
        prompt,
        completion,
        prompt + completion,
        usage.cached,
        usage.in_audio + usage.cache_read_audio,
        more,
        usage.out_reasoning,
        usage.out_audio,
    )


class Message(msgspec.Struct):
    """One choice of a whole answer, collected piece by piece in the order in which the model made it."""

    _reading: Reading
    _index: int = 0
    text: list[str] = []
    reasoning: list[str] = []
    thinking: list[dict[str, Any]] = []
    calls: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    images: list[dict[str, Any]] = []
    refusal: str | None = None
    signature: str | None = None
    logprobs: dict[str, Any] | None = None
    finish: str = "stop"

    def call(self, id: str, name: str, arguments: str, signature: str | None = None) -> None:
        """Add a call of a tool; `name` is the vendor's, `arguments` JSON."""
        self.calls.append(tool_call(self._reading, id, name, arguments, signature))

    def choice(self) -> dict[str, Any]:
        """The member of `choices`."""
        text, calls, finish = "".join(self.text), self.calls, self.finish
        if self._reading.json_fence:
            text = without_fence(text)
        message: dict[str, Any] = {
            "role": "assistant",
            "content": None if not text and (calls or self.refusal is not None) else text,
            "refusal": self.refusal,
        }
        if self.annotations:
            message["annotations"] = self.annotations
        if calls and self._reading.legacy_functions:
            message["function_call"] = calls[0]["function"]
            finish = "function_call" if finish == "tool_calls" else finish
        elif calls:
            message["tool_calls"] = calls
        if self.reasoning and (reasoning := "".join(self.reasoning)):
            message["reasoning_content"] = reasoning
        if self.thinking:
            message["thinking_blocks"] = self.thinking
        if self.images:
            message["images"] = self.images
        if self.signature:
            message["extra_content"] = google(self.signature)
        return {"index": self._index, "message": message, "logprobs": self.logprobs, "finish_reason": finish}


def tool_call(reading: Reading, id: str, name: str, arguments: str, signature: str | None) -> dict[str, Any]:
    """A call of a tool as OpenAI writes it, under the client's own name for the tool."""
    name = reading.names.get(name, name)
    call: dict[str, Any]
    if name in reading.custom:
        call = {"id": id, "type": "custom", "custom": {"name": name, "input": custom_input(arguments)}}
    else:
        call = {"id": id, "type": "function", "function": {"name": name, "arguments": arguments}}
    if signature:
        call["extra_content"] = google(signature)
    return call


def google(signature: str) -> dict[str, Any]:
    """Where Google's own OpenAI layer puts a thought signature."""
    return {"google": {"thought_signature": signature}}


def custom_input(arguments: str) -> str:
    """The text of a custom tool's call, out of the function that it travelled as."""
    try:
        text = msgspec.json.decode(arguments, type=dict[str, Any]).get("input")
    except (msgspec.DecodeError, RecursionError):
        return arguments
    return text if isinstance(text, str) else arguments


def without_fence(text: str) -> str:
    """The inside of a Markdown fence, if the whole text is one fence."""
    body = text.strip()
    if not (body.startswith("```") and body.endswith("```") and len(body) > 6):
        return text
    head, newline, inside = body[3:-3].partition("\n")
    return inside.strip() if newline and head.strip().lower() in ("", "json") and "```" not in inside else text


_WHOLE = (
    b'{"id":%b,"object":"chat.completion","created":%d,"model":%b,"choices":%b,"usage":%b,"system_fingerprint":null%b}'
)


def completion(stamp: Stamp, model: str, choices: list[Message], usage: Usage, service_tier: str | None) -> bytes:
    """The whole answer."""
    said = encode([message.choice() for message in choices])
    tier = b',"service_tier":' + encode(service_tier) if service_tier else b""
    return _WHOLE % (encode(stamp.id), stamp.created, encode(model), said, usage_object(usage), tier)


_BEGIN = b'data: {"id":%b,"object":"chat.completion.chunk","created":%d,"model":%b,"system_fingerprint":null'
_TAIL = b'},"logprobs":null,"finish_reason":null}]}\n\n'
_TAIL_WITH_USAGE = b'},"logprobs":null,"finish_reason":null}],"usage":null}\n\n'


class Chunks:
    """Writes the chunks of one streamed choice; every method returns the bytes to say.

    The first chunk carries the role, and is written with the first thing that there is to say: until then nobody has
    answered, and another vendor may be asked.
    """

    def __init__(self, stamp: Stamp, reading: Reading) -> None:
        self._stamp = stamp
        self._reading = reading
        self._begin = self._head = b""  # of each chunk: up to its choices, and up to what a choice says
        self._tail = _TAIL_WITH_USAGE if reading.include_usage else _TAIL
        self._wrote_text = False
        self._calls = 0
        self.model = reading.model

    def begun(self) -> bool:
        """True once the client has been told something."""
        return bool(self._head)

    def text(self, text: str) -> bytes:
        first = b"" if self._wrote_text else self._role(b'""')
        self._wrote_text = True
        return first + self._delta(b'"content":' + encode(text))

    def reasoning(self, text: str) -> bytes:
        return self._role(b"null") + self._delta(b'"reasoning_content":' + encode(text))

    def texts(self, said: list[bytes]) -> bytes:
        """What `text` would say of each. These are texts of JSON as `encode` writes them, without their quotes, and not
        the first ones; so it is with all that comes by the run."""
        return self._wrapped(b'"content":"', said, b'"')

    def thoughts(self, said: list[bytes]) -> bytes:
        """What `reasoning` would say of each."""
        return self._wrapped(b'"reasoning_content":"', said, b'"')

    def all_arguments(self, index: int, said: list[bytes]) -> bytes:
        """What `arguments` would say of each."""
        if self._reading.legacy_functions:
            return b"" if index else self._wrapped(b'"function_call":{"arguments":"', said, b'"}')
        return self._wrapped(b'"tool_calls":[{"index":%d,"function":{"arguments":"' % index, said, b'"}}]')

    def _wrapped(self, before: bytes, said: list[bytes], behind: bytes) -> bytes:
        return flow.wrapped(said, self._head + before, behind + self._tail)

    def refusal(self, text: str) -> bytes:
        return self._role(b"null") + self._delta(b'"refusal":' + encode(text))

    def extra(self, name: str, value: Any) -> bytes:
        """A member of the message that comes whole, in one chunk."""
        return self._role(b"null") + self._delta(encode(name) + b":" + encode(value))

    def call(self, id: str, name: str, signature: str | None = None, arguments: str = "") -> tuple[int, bytes]:
        """Open a call of a tool; return its index, for `arguments`, and the bytes."""
        index = self._calls
        self._calls += 1
        call = tool_call(self._reading, id, name, "", signature)
        if "function" in call:
            call["function"]["arguments"] = arguments
        else:
            call["custom"]["input"] = custom_input(arguments) if arguments else ""
        said = self._role(b"null")
        if self._reading.legacy_functions:
            said += b"" if index else self._delta(b'"function_call":' + encode(call["function"]))
        else:
            said += self._delta(b'"tool_calls":[' + encode({"index": index, **call}) + b"]")
        return index, said

    def arguments(self, index: int, piece: str) -> bytes:
        """The next piece of the arguments of a function's call."""
        if self._reading.legacy_functions:
            return b"" if index else self._delta(b'"function_call":{"arguments":' + encode(piece) + b"}")
        where = b'"tool_calls":[{"index":' + str(index).encode()
        return self._delta(where + b',"function":{"arguments":' + encode(piece) + b"}}]")

    def custom_input(self, index: int, text: str) -> bytes:
        """The text of a custom tool's call, whole."""
        where = b'"tool_calls":[{"index":' + str(index).encode()
        return self._delta(where + b',"custom":{"input":' + encode(text) + b"}}]")

    def finish(self, reason: str, usage: Usage, service_tier: str | None, *, refused: bool = False) -> bytes:
        """The last chunk of the choice, the usage if it was asked for, and the end."""
        said = b""
        if not self._wrote_text and not self._calls and not refused:
            # An answer without any text is an empty text, not a null: the same as in an answer that is not streamed.
            said = self._role(b'""') if not self._head else self._delta(b'"content":""')
        if self._reading.legacy_functions and reason == "tool_calls":
            reason = "function_call"
        tail = self._tail.replace(b"null}]", encode(reason) + b"}]", 1)
        if service_tier:
            tail = tail[:-3] + b',"service_tier":' + encode(service_tier) + b"}\n\n"
        said += self._head + tail
        if self._reading.include_usage:
            said += self._begin + b',"choices":[],"usage":' + usage_object(usage) + b"}\n\n"
        return said + sse.DONE

    def _role(self, content: bytes) -> bytes:
        if self._head:
            return b""
        stamp = self._stamp
        self._begin = _BEGIN % (encode(stamp.id), stamp.created, encode(self.model))
        self._head = self._begin + b',"choices":[{"index":0,"delta":{'
        return self._delta(b'"role":"assistant","content":' + content + b',"refusal":null')

    def _delta(self, members: bytes) -> bytes:
        return self._head + members + self._tail
