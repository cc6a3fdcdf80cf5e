"""Gemini's answer, to OpenAI's. A stream's fragments and the whole answer have the same shape."""

import hashlib
from typing import Any

import msgspec

from adapters import completion, errors
from adapters.base import Answer, Call, Failure, Kind, Stamp, Usage
from adapters.completion import Message
from adapters.gemini.errors import in_stream, unwrap
from adapters.gemini.grounding import annotations

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
        "MISSING_THOUGHT_SIGNATURE",
    ]
)
_CUT = frozenset({"MAX_TOKENS", "CONTINUATION"})
_TIERS = {"standard": "default", "flex": "flex", "priority": "priority"}


class Count(msgspec.Struct):
    modality: str = ""
    tokenCount: int | None = None


class UsageSaid(msgspec.Struct, rename="camel"):
    """Cumulative counts; what is missing or null says nothing."""

    prompt_token_count: int | None = None
    candidates_token_count: int | None = None
    thoughts_token_count: int | None = None
    tool_use_prompt_token_count: int | None = None
    cached_content_token_count: int | None = None
    total_token_count: int | None = None
    prompt_tokens_details: list[Count] | None = None
    cache_tokens_details: list[Count] | None = None
    candidates_tokens_details: list[Count] | None = None
    service_tier: str | None = None

    def overwrite(self, later: "UsageSaid") -> None:
        """Take over what a later fragment says: counts replace, they never add."""
        for name in self.__struct_fields__:
            if (value := getattr(later, name)) is not None:
                setattr(self, name, value)

    def buckets(self, searches: int = 0) -> Usage:
        """The counts in disjoint buckets. The prompt includes what was cached; thoughts are counted once."""
        tool_use = self.tool_use_prompt_token_count or 0
        prompt = (self.prompt_token_count or 0) + tool_use
        thoughts = self.thoughts_token_count or 0
        candidates = self.candidates_token_count or 0
        if thoughts and prompt + candidates == self.total_token_count:
            candidates = max(0, candidates - thoughts)  # some models count the thoughts among the candidates
        cached, cached_audio = self.cached_content_token_count or 0, _of(self.cache_tokens_details, "AUDIO")
        audio = max(0, _of(self.prompt_tokens_details, "AUDIO") - cached_audio)
        image = max(0, _of(self.prompt_tokens_details, "IMAGE") - _of(self.cache_tokens_details, "IMAGE"))
        out_audio = min(candidates, _of(self.candidates_tokens_details, "AUDIO"))
        out_image = min(candidates - out_audio, _of(self.candidates_tokens_details, "IMAGE"))
        return Usage(
            in_text=max(0, prompt - cached - audio - image),
            in_audio=audio,
            in_image=image,
            cache_read=max(0, cached - cached_audio),
            cache_read_audio=min(cached, cached_audio),
            out_text=candidates - out_audio - out_image,
            out_reasoning=thoughts,
            out_audio=out_audio,
            out_image=out_image,
            web_searches=searches,
        )

    def tier(self) -> str | None:
        """The service tier in OpenAI's words, if the vendor told one."""
        return _TIERS.get((self.service_tier or "").lower())


def _of(counts: list[Count] | None, modality: str) -> int:
    return sum(count.tokenCount or 0 for count in counts or () if count.modality == modality)


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
    finish_message: str | None = None
    index: int | None = None
    grounding_metadata: dict[str, Any] | None = None
    citation_metadata: dict[str, Any] | None = None
    logprobs_result: dict[str, Any] | None = None

    @property
    def parts(self) -> list[Part]:
        """The parts, if there are any."""
        return (self.content.parts or []) if self.content else []


class PromptFeedback(msgspec.Struct, rename="camel"):
    block_reason: str | None = None


class Fragment(msgspec.Struct, rename="camel"):
    """A `GenerateContentResponse`, whole or a part of a stream."""

    candidates: list[Candidate] | None = None
    usage_metadata: UsageSaid | None = None
    prompt_feedback: PromptFeedback | None = None
    model_version: str | None = None
    error: Any = None


decoder = msgspec.json.Decoder(Fragment)


def response(body: bytes, call: Call, stamp: Stamp) -> Answer:
    """The whole answer. Raises `Failure` if it is none."""
    try:
        if body.lstrip()[:1] == b"[":
            raise in_stream(unwrap(msgspec.json.decode(body)))
        said = decoder.decode(body)
        if said.error is not None:
            raise in_stream(unwrap(msgspec.json.decode(body)))
        return _answer(said, call, stamp)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise errors.unreadable(str(error)) from None


def _answer(said: Fragment, call: Call, stamp: Stamp) -> Answer:
    choices = [_choice(candidate, i, call, stamp) for i, candidate in enumerate(said.candidates or ())]
    if not choices:
        choices = [blocked(said.prompt_feedback, call)]
    counted = said.usage_metadata or UsageSaid()
    usage = counted.buckets(sum(searches(candidate) for candidate in said.candidates or ()))
    model = (said.model_version or call.reading.model).removeprefix("models/")
    return Answer(
        body=completion.completion(stamp, model, choices, usage, counted.tier()),
        usage=usage,
        finish=choices[0].finish,
        service_tier=counted.tier(),
    )


def blocked(feedback: PromptFeedback | None, call: Call) -> Message:
    """The choice of an answer without candidates: the prompt was blocked, or nothing was said at all."""
    if feedback is None or not feedback.block_reason:
        raise errors.empty()
    message = Message(call.reading)
    message.refusal = f"Prompt blocked: {feedback.block_reason}"
    message.finish = "content_filter"
    return message


def _choice(candidate: Candidate, position: int, call: Call, stamp: Stamp) -> Message:
    index = candidate.index if candidate.index is not None else position
    message = Message(call.reading, index)
    spans: list[str] = []
    for part in candidate.parts:
        if part.function_call is not None:
            id = call_id(part.function_call, stamp, len(message.calls), index)
            message.call(id, part.function_call.name, arguments(part.function_call), part.thought_signature)
        elif part.text is not None and part.thought:
            message.reasoning.append(part.text)
        elif part.text is not None:
            message.text.append(part.text)
            spans.append(part.text)
            message.signature = part.thought_signature or message.signature
        elif part.inline_data is not None:
            message.images += images(part.inline_data)
    message.annotations = annotations(candidate.grounding_metadata, candidate.citation_metadata, spans)
    message.logprobs = logprobs(candidate.logprobs_result)
    message.finish = finish(candidate.finish_reason, called=bool(message.calls), said=bool(message.text))
    return message


def finish(reason: str | None, *, called: bool, said: bool) -> str:
    """OpenAI's finish reason. Raises `Failure` when the model garbled its answer and nothing usable is left."""
    if reason in _CUT:
        return "length"
    if reason in FILTERED:
        return "content_filter"
    if reason in MALFORMED and not (called or said):
        raise malformed(str(reason))
    return "tool_calls" if called else "stop"


def malformed(reason: str) -> Failure:
    """The model produced something that its own server could not read."""
    return Failure(Kind.TRANSIENT, f"The model's output was malformed ({reason}).", code="upstream_malformed_output")


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


def searches(candidate: Candidate) -> int:
    """How many queries of Google's search were billed."""
    queries = (candidate.grounding_metadata or {}).get("webSearchQueries")
    return len(queries) if isinstance(queries, list) else 0


def logprobs(result: dict[str, Any] | None) -> dict[str, Any] | None:
    """OpenAI's `logprobs` of a choice."""
    chosen = (result or {}).get("chosenCandidates")
    if not isinstance(chosen, list):
        return None
    tops = (result or {}).get("topCandidates")
    content = []
    for k, token in enumerate(chosen):
        top = (
            tops[k].get("candidates")
            if isinstance(tops, list) and k < len(tops) and isinstance(tops[k], dict)
            else None
        )
        content.append(_token(token) | {"top_logprobs": [_token(other) for other in top or ()]})
    return {"content": content, "refusal": None}


def _token(said: Any) -> dict[str, Any]:
    token = str(said.get("token", "")) if isinstance(said, dict) else ""
    value = said.get("logProbability", 0.0) if isinstance(said, dict) else 0.0
    return {"token": token, "logprob": value, "bytes": list(token.encode())}
