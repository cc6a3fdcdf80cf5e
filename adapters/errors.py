"""Vendors' errors, sorted by whose fault they are.

A vendor's module turns what it was told into a `Said` and holds its own table of `Rule`s; the first row that fits
decides. Rows go by structured code first, then by status, then by the known beginnings of messages: never by digits
that stand somewhere in a text. Source of the rows: docs/translation.md, "Errors".
"""

import re
from collections.abc import Mapping, Sequence
from email.utils import parsedate_to_datetime
from typing import NamedTuple

from adapters.base import Failure, Kind


class Said(NamedTuple):
    """What a vendor said when it refused: HTTP status, its own words for the kind of error, and the message."""

    status: int
    codes: frozenset[str]
    message: str
    param: str | None = None
    retry_after: float | None = None  # seconds
    body: bytes | None = None  # relayed as it is where the vendor speaks OpenAI's format


class Verdict(NamedTuple):
    """What follows from an error: its class, and what the client hears. `hush` keeps our account's affairs inside.

    Seconds: `retry_after`, if the vendor does not say; `least`, even if it says fewer.
    """

    kind: Kind
    status: int
    code: str | None = None
    type: str = "server_error"
    hush: str | None = None
    retry_after: float | None = None
    param: str | None = None
    least: float | None = None


class Rule(NamedTuple):
    """Fits if the status (0: any), one of the codes (if any are given) and one of the texts (if any) are there.

    `starts` are how a message begins: what is said of our key, or of our account, is believed nowhere else, for vendors
    repeat in their messages what a client wrote.
    """

    status: int
    verdict: Verdict
    codes: frozenset[str] = frozenset()
    texts: tuple[str, ...] = ()
    starts: tuple[str, ...] = ()


_CALLER = "invalid_request_error"
BAD_REQUEST = Verdict(Kind.CALLER, 400, None, _CALLER)
TOO_LONG = Verdict(Kind.TOO_LONG, 400, "context_length_exceeded", _CALLER, param="messages")
TOO_LARGE = Verdict(Kind.CALLER, 413, "request_too_large", _CALLER)
NOT_FOUND = Verdict(Kind.CALLER, 404, None, _CALLER)
CONFLICT = Verdict(Kind.TRANSIENT, 409, None, "conflict_error")
POLICY = Verdict(Kind.POLICY, 400, "content_filter", _CALLER)
UNSUPPORTED = Verdict(Kind.CALLER, 400, "unsupported_parameter", _CALLER)
MODEL = Verdict(Kind.MODEL, 404, "model_not_found", _CALLER, "The provider does not offer this model to our account.")
KEY = Verdict(Kind.KEY, 503, "upstream_auth_error", hush="The provider refused the proxy's own credentials.")
QUOTA = Verdict(Kind.QUOTA, 503, "upstream_quota_exhausted", hush="The proxy's account at the provider is exhausted.")
LIMITED = Verdict(Kind.RATE_LIMITED, 429, "rate_limit_exceeded", "rate_limit_error")
BROKEN = Verdict(Kind.TRANSIENT, 502, None)
OVERLOADED = Verdict(Kind.OVERLOADED, 503, "server_is_overloaded", retry_after=5)
SLOW_DOWN = OVERLOADED._replace(least=60)
TIMED_OUT = Verdict(Kind.TIMEOUT, 504, "upstream_timeout")
MISROUTED = Verdict(
    Kind.KEY, 502, "upstream_misconfigured", hush="The provider's address is wrong: it answered as no API does."
)

# What every vendor's statuses mean where its own table has no better row.
BY_STATUS: Mapping[int, Verdict] = {
    400: BAD_REQUEST,
    401: KEY,
    402: QUOTA,
    403: KEY,
    404: MODEL,
    408: TIMED_OUT,
    409: CONFLICT,
    413: TOO_LARGE,
    422: BAD_REQUEST,
    429: LIMITED,
    500: BROKEN,
    502: BROKEN,
    503: OVERLOADED,
    504: TIMED_OUT,
    529: OVERLOADED,
}


def judge(said: Said, rules: Sequence[Rule]) -> Failure:
    """The failure that follows from what the vendor said."""
    verdict = _verdict(said, rules)
    wait = said.retry_after if said.retry_after is not None else verdict.retry_after
    if verdict.least is not None:
        wait = max(wait or 0.0, verdict.least)
    relayed = None if verdict.hush or said.body is None or _tells_secrets(said.body) else said.body
    return Failure(
        verdict.kind,
        verdict.hush or scrub(said.message) or f"The provider answered with status {said.status}.",
        status=verdict.status,
        type=verdict.type,
        code=verdict.code,
        param=said.param or verdict.param,
        retry_after=wait,
        body=relayed,
    )


def _verdict(said: Said, rules: Sequence[Rule]) -> Verdict:
    lowered = said.message.lower()
    for rule in rules:
        if rule.status not in (0, said.status):
            continue
        if rule.codes and rule.codes.isdisjoint(said.codes):
            continue
        if rule.texts and not any(text in lowered for text in rule.texts):
            continue
        if rule.starts and not lowered.startswith(rule.starts):
            continue
        return rule.verdict
    if 300 <= said.status < 400:
        return MISROUTED
    return BY_STATUS.get(said.status, BAD_REQUEST if 400 <= said.status < 500 else BROKEN)


_LONGEST_MESSAGE = 2000
_SECRETS = re.compile(
    r"\b(?:sk|pk|rk)-[A-Za-z0-9_*\-]{6,}|\bAIza[\w\-]{10,}|\bgsk_\w{10,}|\bxai-\w{10,}|\borg-[A-Za-z0-9]{10,}"
    r"|\bproj_[A-Za-z0-9]{10,}|(?i:x-api-key|bearer)[:= ]+\S+"
)
_HTML = re.compile(r"\s*<(?:!doctype|html|head|body)\b", re.IGNORECASE)


def scrub(message: str) -> str:
    """A vendor's message without what looks like a key or an account, without HTML, and of bounded length."""
    if _HTML.match(message):
        return ""
    return _SECRETS.sub("[removed]", message)[:_LONGEST_MESSAGE]


def _tells_secrets(body: bytes) -> bool:
    return _SECRETS.search(body.decode("utf-8", "replace")) is not None


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds to wait, from `retry-after-ms` or `retry-after` (RFC 9110 section 10.2.3; relative to `date`)."""
    for name, scale in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        value = headers.get(name, "")
        try:
            seconds = float(value) * scale
        except ValueError:
            continue
        if 0 <= seconds < 1e7:
            return seconds
    try:
        then = parsedate_to_datetime(headers.get("retry-after", ""))
        now = parsedate_to_datetime(headers.get("date", ""))
        return max(0.0, (then - now).total_seconds())
    except (ValueError, TypeError, OverflowError):
        return None


def unreadable(what: str) -> Failure:
    """A vendor's answer that is not what its API says: nobody's words can be passed on."""
    return Failure(
        Kind.TRANSIENT, f"The provider's answer could not be read: {what}.", code="upstream_malformed_output"
    )


def truncated() -> Failure:
    """A stream that broke off before its proper end."""
    return Failure(
        Kind.TRANSIENT, "The provider broke off in the middle of its answer.", code="upstream_stream_truncated"
    )


def empty() -> Failure:
    """A proper answer with nothing in it, not even a reason."""
    return Failure(Kind.TRANSIENT, "The provider answered with nothing.", code="empty_upstream_response")
