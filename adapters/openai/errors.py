"""OpenAI's errors, and those of the many who nearly speak its format."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import msgspec

from adapters import errors
from adapters.base import Failure, Kind
from adapters.errors import Rule, Said, Verdict

_RELAYED_POLICY = Verdict(Kind.POLICY, 400, "content_filter", "invalid_request_error")
# xAI tells the names of our team and of our key along.
_POLICY_OF_XAI = _RELAYED_POLICY._replace(hush="Content violates the provider's usage guidelines.")
# More than a minute's tokens at once, or more than this account can pay (OpenRouter and its like): a smaller request
# will be served, so this is no reason to bench anybody.
_ONE_TOO_LARGE = Verdict(Kind.REQUEST, 429, "rate_limit_exceeded", "rate_limit_error")
_CANNOT_AFFORD = Verdict(Kind.REQUEST, 503, "upstream_quota_exhausted", hush="The provider would not serve this much.")
_NO_ENDPOINT = Verdict(Kind.REQUEST, 404, None, "invalid_request_error")

RULES: tuple[Rule, ...] = (
    Rule(400, errors.TOO_LONG, frozenset({"context_length_exceeded"})),
    Rule(400, errors.TOO_LONG, texts=("maximum context length", "exceeds the context window", "maximum prompt length")),
    Rule(
        400,
        _RELAYED_POLICY,
        frozenset(
            {
                "content_policy_violation",
                "content_filter",
                "invalid_prompt",
                "misalignment_policy_violation",
                "bio_policy",
            }
        ),
    ),
    Rule(400, errors.QUOTA, frozenset({"billing_hard_limit_reached", "billing_not_active"})),
    Rule(402, _CANNOT_AFFORD, texts=("can only afford", "fewer max_tokens")),
    Rule(403, errors.MODEL, frozenset({"model_not_found"})),
    Rule(403, _RELAYED_POLICY, texts=("input was flagged",)),  # OpenRouter's moderation
    Rule(403, _POLICY_OF_XAI, starts=("content violates usage guidelines",)),
    Rule(413, _ONE_TOO_LARGE, frozenset({"rate_limit_exceeded"})),  # Groq: more than a minute's tokens at once
    Rule(404, errors.MODEL, frozenset({"model_not_found"})),
    Rule(404, _NO_ENDPOINT, starts=("no endpoints found that ",)),  # OpenRouter: "... support tool use": this request's
    Rule(429, errors.QUOTA, frozenset({"insufficient_quota", "billing_hard_limit_reached"})),
    Rule(429, _ONE_TOO_LARGE, texts=("request too large",)),
    Rule(0, errors.SLOW_DOWN, frozenset({"slow_down"})),
    Rule(503, errors.SLOW_DOWN, texts=("slow down",)),
    Rule(0, errors.OVERLOADED, frozenset({"server_is_overloaded"})),
)


_decode = msgspec.json.Decoder(dict[str, Any] | list[dict[str, Any]]).decode


class Told(Protocol):
    """An answer, as far as it may tell of an error."""

    error: Any
    object: Any
    message: Any
    type: Any
    code: Any
    detail: Any

    @property
    def choices(self) -> Sequence[Any] | None: ...


def error(status: int, headers: Mapping[str, str], body: bytes) -> Failure:
    """The failure behind an answer that is not 200. `headers` have lower-case names."""
    try:
        told = _decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return _unstructured(status, headers, body)
    if isinstance(told, list):  # as Google's OpenAI layer wraps it
        told = told[0] if told else {}
    inner = next((told[name] for name in ("error", "detail") if told.get(name) is not None), told)
    relayed = body if _well_formed(told.get("error")) else None
    return errors.judge(_said(inner, status, errors.retry_after(headers), relayed), RULES)


def told_in(answer: Told) -> Any:
    """The error that an answer with status 200 tells of, None if it tells of none."""
    if answer.error is not None:
        return answer.error
    if answer.object == "error":  # vLLM and Mistral, whose error has no object of its own
        return {"message": answer.message, "type": answer.type, "code": answer.code}
    if answer.detail is not None and answer.choices is None:
        return answer.detail
    for choice in answer.choices or ():
        if choice.error is not None:
            return choice.error
    return None


def in_stream(inner: Any, body: bytes) -> Failure:
    """The failure behind an error object that came with status 200: in a stream, or as a whole answer."""
    relayed = body if _well_formed(inner) else None
    return errors.judge(_said(inner, _status(inner), None, relayed), RULES)


# What HTTP would have said, had the error come in time.
_STATUSES: Mapping[str, int] = {
    "rate_limit_exceeded": 429,
    "insufficient_quota": 429,
    "invalid_request_error": 400,
    "context_length_exceeded": 400,
    "content_policy_violation": 400,
    "content_filter": 400,
    "invalid_prompt": 400,
}


def _status(inner: Any) -> int:
    number = inner.get("code") if isinstance(inner, dict) else None
    if isinstance(number, int) and 400 <= number < 600:
        return number
    return next((_STATUSES[code] for code in sorted(_codes(inner)) if code in _STATUSES), 500)


def _said(inner: Any, status: int, retry_after: float | None, body: bytes | None) -> Said:
    """`inner` is an error object, a text, or a list of what FastAPI found wrong."""
    message, param = _words(inner)
    return Said(status, _codes(inner), message, param, retry_after, body)


def _words(inner: Any) -> tuple[str, str | None]:
    """The message, however deep it lies, and the parameter that it is about."""
    if isinstance(inner, list) and inner:
        inner = inner[0]
    if not isinstance(inner, dict):
        return (inner if isinstance(inner, str) else ""), None
    said = next((inner[name] for name in ("message", "msg", "detail") if inner.get(name)), "")
    # Mistral hands FastAPI's findings on: {"message": {"detail": [{"loc": ["body", "seed"], "msg": ...}]}}.
    message, param = (said, None) if isinstance(said, str) else _words(said)
    where = inner.get("param") or inner.get("loc")
    if isinstance(where, list) and where[1:]:
        where = ".".join(map(str, where[1:]))
    return message, where if isinstance(where, str) else param


def _codes(inner: Any) -> frozenset[str]:
    if not isinstance(inner, dict):
        return frozenset()
    said = (inner.get("code"), inner.get("type"), inner.get("status"))
    return frozenset(value for value in said if isinstance(value, str))


def _well_formed(inner: Any) -> bool:
    """True if official clients can read this error object: then its bytes may be relayed."""
    return (
        isinstance(inner, dict)
        and isinstance(inner.get("message"), str)
        and all(isinstance(inner.get(name, None), str | None) for name in ("type", "param", "code"))
        and {"message", "type", "param", "code"} <= inner.keys()
    )


def _unstructured(status: int, headers: Mapping[str, str], body: bytes) -> Failure:
    """Plain text, or the page of some CDN."""
    text = body[:4000].decode("utf-8", "replace")
    if status == 404 and not errors.scrub(text):
        status = 301  # a page where an API should be: the base URL is wrong
    return errors.judge(Said(status, frozenset(), text, None, errors.retry_after(headers), None), RULES)
