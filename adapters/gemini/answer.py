"""Gemini's answer, to OpenAI's. A stream's fragments and the whole answer have the same shape."""

import hashlib
from collections.abc import Sequence
from typing import Any

import msgspec

from adapters import completion, errors
from adapters.base import Answer, Call, Failure, Kind, Stamp, invalid
from adapters.completion import Message
from adapters.gemini.errors import in_stream, unwrap
from adapters.gemini.grounding import annotations
from adapters.gemini.usage import Told, searches

FILTERED = frozenset(
    [
        "SAFETY",
        "RECITATION",
        "LANGUAGE",
        "BLOCKLIST",
        "PROHIBITED_CONTENT",
        "SPII",
        "IMAGE_SAFETY",
        "IMAGE_PROHIBITED_CONTENT",
        "IMAGE_RECITATION",
        "MODEL_ARMOR",
        "ESCALATION",
        "PUP_LIMITED_DISABLED",
        "OTHER",
        "IMAGE_OTHER",
        "NO_IMAGE",
    ]
)
MALFORMED = frozenset(
    [
        "MALFORMED_FUNCTION_CALL",
        "MALFORMED_RESPONSE",
        "UNEXPECTED_TOOL_CALL",
        "TOO_MANY_TOOL_CALLS",
    ]
)
UNSIGNED = "MISSING_THOUGHT_SIGNATURE"
_CUT = frozenset({"MAX_TOKENS", "CONTINUATION"})


class FunctionCall(msgspec.Struct):
    name: str = ""
    id: str | None = None
    args: msgspec.Raw = msgspec.Raw(b"{}")


class Blob(msgspec.Struct, rename="camel"):
    mime_type: str = ""
    data: str = ""


class Part(msgspec.Struct, rename="camel"):
    """A part of any kind, as far as we read it."""

    text: str | None = None
    thought: bool | None = None
    thought_signature: str | None = None
    function_call: FunctionCall | None = None
    inline_data: Blob | None = None


class Content(msgspec.Struct):
    parts: list[Part] | None = None


class Candidate(msgspec.Struct, rename="camel"):
    content: Content | None = None
    finish_reason: str | None = None
    index: int | None = None
    grounding_metadata: Any = None
    citation_metadata: Any = None
    logprobs_result: Any = None


class PromptFeedback(msgspec.Struct, rename="camel"):
    block_reason: str | None = None


class Fragment(msgspec.Struct, rename="camel"):
    """A `GenerateContentResponse`, whole or a part of a stream."""

    candidates: list[Candidate] | None = None
    usage_metadata: Any = None
    prompt_feedback: PromptFeedback | None = None
    model_version: str | None = None
    error: Any = None


decoder = msgspec.json.Decoder(Fragment)


def response(body: bytes, call: Call, stamp: Stamp) -> Answer:
    """The whole answer. Raises `Failure` if it is none."""
    try:
        if not body.startswith(b"{") and body.lstrip().startswith(b"["):
            raise in_stream(unwrap(msgspec.json.decode(body)))
        said = decoder.decode(body)
        if said.error is not None:
            raise in_stream(unwrap(msgspec.json.decode(body)))
        return _answer(said, call, stamp)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise errors.unreadable(str(error)) from None


def _answer(said: Fragment, call: Call, stamp: Stamp) -> Answer:
    choices: list[Message] = []
    states: dict[str, str] = {}
    searched = 0
    for i, candidate in enumerate(said.candidates or ()):
        choices.append(_choice(candidate, i, call, stamp, states))
        if candidate.grounding_metadata:
            searched += searches(candidate.grounding_metadata)
    if not choices:
        choices.append(blocked(said.prompt_feedback, call))
    counted = Told(said.usage_metadata)
    tier = counted.tier()
    model = (said.model_version or call.reading.model).removeprefix("models/")
    return Answer(
        body=completion.completion(stamp, model, choices, counted.buckets(searched), tier),
        usage=counted.usage(searched),
        finish=choices[0].finish,
        service_tier=tier,
        states=states,
    )


def blocked(feedback: PromptFeedback | None, call: Call) -> Message:
    """The choice of an answer without candidates: the prompt was blocked, or nothing was said at all."""
    if feedback is None or not feedback.block_reason:
        raise errors.empty()
    message = Message(call.reading)
    message.refusal = f"Prompt blocked: {feedback.block_reason}"
    message.finish = "content_filter"
    return message


def _choice(candidate: Candidate, position: int, call: Call, stamp: Stamp, states: dict[str, str]) -> Message:
    """One choice; the signatures of its calls go to `states`."""
    index = candidate.index if candidate.index is not None else position
    message = Message(call.reading, index)
    spans: list[str] = []
    for part in parts(candidate):
        visible = ""
        if part.function_call is not None:
            id = call_id(part.function_call, stamp, len(message.calls), index)
            message.call(id, part.function_call.name, arguments(part.function_call), part.thought_signature)
            if part.thought_signature:
                states[id] = part.thought_signature
        elif part.thought:
            message.reasoning.append(part.text or "")
        elif part.text is not None:
            visible = part.text
            message.signature = part.thought_signature or message.signature
        elif part.inline_data is not None:
            message.images += images(part.inline_data)
        spans.append(visible)
    message.text = spans if all(spans) else [text for text in spans if text]
    if candidate.grounding_metadata or candidate.citation_metadata:
        message.annotations = annotations(candidate.grounding_metadata, candidate.citation_metadata, spans)
    if candidate.logprobs_result is not None:
        message.logprobs = logprobs(candidate.logprobs_result)
    message.finish = finish(candidate.finish_reason, called=bool(message.calls), said=bool(message.text))
    return message


def parts(candidate: Candidate) -> Sequence[Part]:
    """The parts, if there are any."""
    return (candidate.content.parts or ()) if candidate.content is not None else ()


def finish(reason: str | None, *, called: bool, said: bool) -> str:
    """OpenAI's finish reason. Raises `Failure` when the model garbled its answer and nothing usable is left."""
    if reason in _CUT:
        return "length"
    if reason in FILTERED:
        return "content_filter"
    if not (called or said):
        if reason in MALFORMED:
            raise malformed(str(reason))
        if reason == UNSIGNED:
            raise unsigned()
    return "tool_calls" if called else "stop"


def malformed(reason: str) -> Failure:
    """The model produced something that its own server could not read: so it was with this request, no sickness."""
    return Failure(Kind.REQUEST, f"The model's output was malformed ({reason}).", code="upstream_malformed_output")


def unsigned() -> Failure:
    """A history came without the signatures that go with it: the vendor is not sick, and nobody else is asked."""
    return invalid("The model misses a thought signature on a function call of the conversation.", "messages")


def call_id(call: FunctionCall, stamp: Stamp, position: int, choice: int = 0) -> str:
    """The vendor's id of a call, or one made from ours."""
    return call.id or "call_" + hashlib.sha256(f"{stamp.id}/{choice}/{position}".encode()).hexdigest()[:24]


def arguments(call: FunctionCall) -> str:
    """The arguments as OpenAI has them: JSON in a string; numbers and order as the model wrote them."""
    raw = bytes(call.args)
    return "{}" if raw == b"null" else msgspec.json.format(raw, indent=-1).decode()


def images(blob: Blob) -> list[dict[str, Any]]:
    """A picture that the model made, where LiteLLM's and OpenRouter's clients look for it."""
    if not blob.mime_type.startswith("image/"):
        return []
    return [{"type": "image_url", "image_url": {"url": f"data:{blob.mime_type};base64,{blob.data}"}}]


def logprobs(result: Any) -> dict[str, Any] | None:
    """OpenAI's `logprobs` of a choice. Read leniently: what cannot be read is left out."""
    chosen, tops = (_list(result, name) for name in ("chosenCandidates", "topCandidates"))
    if not chosen:
        return None
    content = []
    for k, token in enumerate(chosen):
        top = _list(tops[k], "candidates") if k < len(tops) else []
        content.append(_token(token) | {"top_logprobs": [_token(other) for other in top]})
    return {"content": content, "refusal": None}


def _list(value: Any, name: str) -> list[Any]:
    found = value.get(name) if isinstance(value, dict) else None
    return found if isinstance(found, list) else []


_LEAST = -9999.0  # what OpenAI writes for a token that is as good as impossible


def _token(said: Any) -> dict[str, Any]:
    token = said.get("token") if isinstance(said, dict) else None
    value = said.get("logProbability", 0.0) if isinstance(said, dict) else None
    text = token if isinstance(token, str) else ""
    likely = float(max(_LEAST, min(0.0, value))) if isinstance(value, int | float) else _LEAST
    return {"token": text, "logprob": likely, "bytes": list(text.encode())}
