"""OpenAI's errors, and those of the many who nearly speak its format."""

from collections.abc import Mapping
from typing import Any

import msgspec

from adapters import errors
from adapters.base import Failure, Kind
from adapters.errors import Rule, Said, Verdict

_RELAYED_POLICY = Verdict(Kind.POLICY, 400, "content_filter", "invalid_request_error")
_ONE_TOO_LARGE = Verdict(Kind.RATE_LIMITED, 429, "rate_limit_exceeded", "rate_limit_error")
# One request that this account cannot pay is no reason to bench the provider (OpenRouter and its like).
_CANNOT_AFFORD = Verdict(
    Kind.TRANSIENT, 503, "upstream_quota_exhausted", hush="The provider would not serve this much."
)

RULES: tuple[Rule, ...] = (
    Rule(400, errors.TOO_LONG, frozenset({"context_length_exceeded"})),
    Rule(400, errors.TOO_LONG, texts=("maximum context length", "exceeds the context window")),
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
    Rule(404, errors.MODEL, frozenset({"model_not_found"})),
    Rule(429, errors.QUOTA, frozenset({"insufficient_quota", "billing_hard_limit_reached"})),
    Rule(429, _ONE_TOO_LARGE, texts=("request too large",)),
    Rule(0, errors.OVERLOADED, frozenset({"server_is_overloaded", "slow_down"})),
)


class _Told(msgspec.Struct):
    error: Any = None
    detail: Any = None
    message: Any = None


_decoder = msgspec.json.Decoder(_Told | list[_Told])


def error(status: int, headers: Mapping[str, str], body: bytes) -> Failure:
    """The failure behind an answer that is not 200. `headers` have lower-case names."""
    try:
        told = _decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return _unstructured(status, headers, body)
    if isinstance(told, list):  # as Google's OpenAI layer wraps it
        told = told[0] if told else _Told()
    inner = told.error if told.error is not None else told.detail if told.detail is not None else told.message
    relayed = body if _well_formed(told.error) else None
    return errors.judge(_said(inner, status, errors.retry_after(headers), relayed), RULES)


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
    if isinstance(inner, list) and inner:
        inner = inner[0]
    if isinstance(inner, dict):
        message = inner.get("message") or inner.get("msg") or ""
        param = inner.get("param")
        return Said(status, _codes(inner), str(message), param if isinstance(param, str) else None, retry_after, body)
    return Said(status, frozenset(), inner if isinstance(inner, str) else "", None, retry_after, body)


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
