"""Anthropic's errors (platform.claude.com/docs/en/api/errors)."""

from collections.abc import Mapping
from typing import Any

import msgspec

from adapters import errors
from adapters.base import Failure
from adapters.errors import Rule, Said

_SPEND = frozenset({"contract_spend_limit_reached", "enforced_spend_limit_reached"})

_KEY = frozenset(
    {"organization_on_hold", "cmek_key_disabled", "cmek_key_network_blocked", "claude_code_key_creator_not_member"}
)
_PROFILE = frozenset({"user_profile_not_found", "user_profile_not_billable", "user_profile_billing_not_authorized"})

# Codes: anthropic-python 2.12, types/shared/error_details.py. It also says that the wording of messages may change.
RULES: tuple[Rule, ...] = (
    Rule(400, errors.KEY, _KEY),
    Rule(400, errors.TOO_LONG, texts=("prompt is too long", "exceed context limit")),
    Rule(
        400, errors.QUOTA, starts=("your credit balance is too low", "you have reached your specified api usage limits")
    ),
    Rule(400, errors.POLICY, texts=("output blocked by content filtering policy",)),
    Rule(403, errors.BAD_REQUEST, _PROFILE | {"sandbox_egress_restricted"}),
    Rule(404, errors.NOT_FOUND, frozenset({"file_expired", "thread_not_found"})),
    Rule(429, errors.QUOTA, _SPEND),
    Rule(503, errors.KEY, frozenset({"cmek_context_unavailable", "cmek_key_unreachable"})),
    Rule(0, errors.OVERLOADED, frozenset({"overloaded_error"})),
)

# Errors inside a stream come with status 200: these are the statuses that they would have had.
_STATUS = {
    "invalid_request_error": 400,
    "authentication_error": 401,
    "billing_error": 402,
    "permission_error": 403,
    "not_found_error": 404,
    "conflict_error": 409,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "api_error": 500,
    "timeout_error": 504,
    "overloaded_error": 529,
}


class _Told(msgspec.Struct):
    error: Any = None


def error(status: int, headers: Mapping[str, str], body: bytes) -> Failure:
    """The failure behind an answer that is not 200. `headers` have lower-case names."""
    try:
        told = msgspec.json.decode(body, type=_Told).error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        text = body[:4000].decode("utf-8", "replace")
        # A page where an API should be: the base URL is wrong.
        wrong = 301 if status == 404 and not errors.scrub(text) else status
        return errors.judge(Said(wrong, frozenset(), text, None, errors.retry_after(headers)), RULES)
    if "anthropic-ratelimit-unified-overage-disabled-reason" in headers and status == 429:
        return errors.judge(Said(status, _SPEND, ""), RULES)
    return errors.judge(_said(told, status, errors.retry_after(headers)), RULES)


def in_stream(told: Any) -> Failure:
    """The failure behind an `error` event."""
    kind = told.get("type") if isinstance(told, dict) else None
    return errors.judge(_said(told, _STATUS.get(str(kind), 500), None), RULES)


def _said(told: Any, status: int, retry_after: float | None) -> Said:
    if not isinstance(told, dict):
        return Said(status, frozenset(), told if isinstance(told, str) else "", None, retry_after)
    details = told.get("details")
    code = details.get("error_code") if isinstance(details, dict) else None
    codes = frozenset(value for value in (told.get("type"), code) if isinstance(value, str))
    return Said(status, codes, str(told.get("message") or ""), None, retry_after)
