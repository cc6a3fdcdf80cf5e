"""Gemini's errors (google.rpc.Status with its details; cloud.google.com/apis/design/errors)."""

import math
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import msgspec

from adapters import errors
from adapters.base import Failure, Kind
from adapters.errors import Rule, Said, Verdict

_PER_DAY = Verdict(Kind.RATE_LIMITED, 429, "rate_limit_exceeded", "rate_limit_error", retry_after=3600)
_PER_MINUTE = Verdict(Kind.RATE_LIMITED, 429, "rate_limit_exceeded", "rate_limit_error", retry_after=10)
# Our own mistake, or state that the client lost: the vendor is not sick, and nobody else is asked.
_SIGNATURE = Verdict(Kind.CALLER, 400, None, "invalid_request_error")
_DENIED = Verdict(Kind.REQUEST, 503, "upstream_auth_error", hush="The provider refused the proxy this request.")

RULES: tuple[Rule, ...] = (
    Rule(0, errors.KEY, frozenset({"API_KEY_INVALID", "UNAUTHENTICATED", "CONSUMER_SUSPENDED", "SERVICE_DISABLED"})),
    Rule(400, errors.KEY, starts=("api key not valid", "api key not found", "api key expired")),
    Rule(400, errors.TOO_LONG, texts=("input token count",)),
    Rule(400, errors.TOO_LARGE, texts=("request payload size exceeds the limit",)),
    Rule(400, _SIGNATURE, texts=("thought_signature", "function call is missing")),
    # A file that is still being read, or could not be: the client named it.
    Rule(400, errors.BAD_REQUEST, frozenset({"FAILED_PRECONDITION"}), texts=("active state",)),
    Rule(400, errors.KEY, frozenset({"FAILED_PRECONDITION"})),
    # A file that is not ours, or is gone: the client named it, our key is well.
    Rule(403, errors.NOT_FOUND, texts=("permission to access the file",)),
    # Of one model that our project may not use (others answer), or of a film that is private: of the key it says less.
    Rule(403, _DENIED, frozenset({"PERMISSION_DENIED"}), starts=("the caller does not have permission",)),
    Rule(403, errors.KEY, frozenset({"PERMISSION_DENIED"})),
    Rule(404, errors.NOT_FOUND, texts=("cached content", "cachedcontent", "file ")),
    Rule(429, _PER_DAY, frozenset({"per_day"})),
    Rule(429, errors.QUOTA, texts=("prepayment credits", "spending cap")),
    Rule(429, errors.QUOTA, frozenset({"bare"}), ("exceeded your current quota",)),
    Rule(429, _PER_MINUTE),
    Rule(499, errors.BROKEN),  # CANCELLED, and we hear it: it was not we who left
    Rule(501, errors.UNSUPPORTED),
)

# Errors inside a stream come with status 200, but carry their code; the names stand in for one that is missing.
_STATUS = {
    "INVALID_ARGUMENT": 400,
    "OUT_OF_RANGE": 400,
    "FAILED_PRECONDITION": 400,
    "UNAUTHENTICATED": 401,
    "PERMISSION_DENIED": 403,
    "NOT_FOUND": 404,
    "ABORTED": 409,
    "ALREADY_EXISTS": 409,
    "RESOURCE_EXHAUSTED": 429,
    "CANCELLED": 499,
    "UNIMPLEMENTED": 501,
    "UNAVAILABLE": 503,
    "DEADLINE_EXCEEDED": 504,
}


class _Told(msgspec.Struct):
    error: Any = None


def error(status: int, headers: Mapping[str, str], body: bytes) -> Failure:
    """The failure behind an answer that is not 200. `headers` have lower-case names."""
    try:
        told = unwrap(msgspec.json.decode(body))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        text = body[:4000].decode("utf-8", "replace")
        # A page where an API should be: the base URL is wrong.
        wrong = 301 if status == 404 and not errors.scrub(text) else status
        return errors.judge(Said(wrong, frozenset(), text, None, errors.retry_after(headers)), RULES)
    return errors.judge(_said(told, status, errors.retry_after(headers)), RULES)


def in_stream(told: Any) -> Failure:
    """The failure behind an error that came with status 200."""
    code = told.get("code") if isinstance(told, dict) else None
    name = told.get("status") if isinstance(told, dict) else None
    status = code if isinstance(code, int) and code >= 400 else _STATUS.get(str(name), 500)
    return errors.judge(_said(told, status, None), RULES)


def unwrap(told: Any) -> Any:
    """The error object out of `{"error": ...}`, `[{"error": ...}]`, or a text that holds the same once more."""
    if isinstance(told, list):
        told = told[0] if told else None
    inner = told.get("error") if isinstance(told, dict) else None
    message = inner.get("message") if isinstance(inner, dict) else None
    if isinstance(message, str) and message.lstrip().startswith("{"):
        try:
            nested = msgspec.json.decode(message, type=_Told).error
        except (msgspec.DecodeError, RecursionError):
            return inner
        return nested if isinstance(nested, dict) else inner
    return inner


class _Details(NamedTuple):
    codes: set[str]
    param: str | None
    retry_after: float | None


def _said(told: Any, status: int, retry_after: float | None) -> Said:
    if not isinstance(told, dict):
        return Said(status, frozenset(), told if isinstance(told, str) else "", None, retry_after)
    details = _details(told.get("details"))
    if isinstance(told.get("status"), str):
        details.codes.add(told["status"])
    wait = details.retry_after if details.retry_after is not None else retry_after
    return Said(status, frozenset(details.codes), str(told.get("message") or ""), details.param, wait)


def _details(details: Any) -> _Details:
    """What the typed details say: reasons, the field at fault, how long to wait, whether a day's quota is used up."""
    codes: set[str] = set()
    param = None
    wait = None
    quotas: list[str] = []
    for detail in details if isinstance(details, list) else ():
        if not isinstance(detail, dict):
            continue
        if isinstance(detail.get("reason"), str):
            codes.add(detail["reason"])
        param = param or _field(detail.get("fieldViolations"))
        wait = wait if wait is not None else _seconds(detail.get("retryDelay"))
        violations = detail.get("violations")
        quotas += (
            [str(v.get("quotaId")) for v in violations if isinstance(v, dict)] if isinstance(violations, list) else []
        )
    if any("PerDay" in quota for quota in quotas):
        codes.add("per_day")
        wait = None  # the delay that is told belongs to the minute's quota
    elif not quotas and wait is None:
        codes.add("bare")
    return _Details(codes, param, wait)


def _field(violations: Any) -> str | None:
    first = violations[0] if isinstance(violations, list) and violations else None
    field = first.get("field") if isinstance(first, dict) else None
    return field if isinstance(field, str) else None


_DURATION = re.compile(r"(\d{1,9}(?:\.\d{1,9})?)s")


def _seconds(duration: Any) -> float | None:
    """google.protobuf.Duration in JSON: `"34.07s"`. Rounded up: too early is too soon."""
    found = _DURATION.fullmatch(duration) if isinstance(duration, str) else None
    return float(math.ceil(float(found[1]))) if found else None
