"""Anthropic's errors, row by row as docs/translation.md sorts them, and what no table foresees."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.anthropic.errors import error, in_stream
from adapters.base import Failure, Kind
from tests.adapters.anthropic.said import UNHURRIED


def told(type: str | None = None, message: str = "It said so.", code: str | None = None) -> bytes:
    details = {"error_code": code} if code else None
    body = {"type": "error", "error": {"type": type, "message": message, "details": details}, "request_id": "req_1"}
    return msgspec.json.encode(body)


ACCOUNT = "The proxy's account at the provider is exhausted."
CREDENTIALS = "The provider refused the proxy's own credentials."
NO_MODEL = "The provider does not offer this model to our account."

ROWS: list[Any] = [
    # status, body, headers -> kind, status, code, param, retry_after, message
    pytest.param(
        (400, told("invalid_request_error")),
        (Kind.CALLER, 400, None, None, None, "It said so."),
        id="a malformed request is the caller's",
    ),
    pytest.param(
        (400, told("invalid_request_error", "prompt is too long: 210000 tokens > 200000 maximum")),
        (Kind.TOO_LONG, 400, "context_length_exceeded", "messages", None, None),
        id="trap 30: too long a prompt",
    ),
    pytest.param(
        (400, told("invalid_request_error", "input length and `max_tokens` exceed context limit: 1 + 2 > 3")),
        (Kind.TOO_LONG, 400, "context_length_exceeded", "messages", None, None),
        id="trap 30: prompt and cap together too long",
    ),
    pytest.param(
        (400, told("invalid_request_error", "Your credit balance is too low to access the Anthropic API.")),
        (Kind.QUOTA, 503, "upstream_quota_exhausted", None, None, ACCOUNT),
        id="trap 19: no credit",
    ),
    pytest.param(
        (400, told("invalid_request_error", "You have reached your specified API usage limits.")),
        (Kind.QUOTA, 503, "upstream_quota_exhausted", None, None, ACCOUNT),
        id="trap 19: usage limits",
    ),
    pytest.param(
        (400, told("invalid_request_error", "Input tag 'your credit balance is too low' does not match.")),
        (Kind.CALLER, 400, None, None, None, "Input tag 'your credit balance is too low' does not match."),
        id="what a client wrote, repeated, says nothing of our account",
    ),
    *(
        pytest.param(
            (400, told("invalid_request_error", code=code)),
            (Kind.KEY, 503, "upstream_auth_error", None, None, CREDENTIALS),
            id=f"our account or key is unfit: {code}",
        )
        for code in ("organization_on_hold", "cmek_key_disabled", "cmek_key_network_blocked")
    ),
    pytest.param(
        (400, told("invalid_request_error", "Output blocked by content filtering policy")),
        (Kind.POLICY, 400, "content_filter", None, None, None),
        id="blocked output",
    ),
    pytest.param(
        (401, told("authentication_error", "invalid x-api-key")),
        (Kind.KEY, 503, "upstream_auth_error", None, None, CREDENTIALS),
        id="trap 51: a 401 of ours is never the client's",
    ),
    pytest.param(
        (402, told("billing_error")),
        (Kind.QUOTA, 503, "upstream_quota_exhausted", None, None, ACCOUNT),
        id="billing",
    ),
    pytest.param(
        (402, told("billing_error", code="linked_organization_spend_limit_reached")),
        (Kind.QUOTA, 503, "upstream_quota_exhausted", None, None, ACCOUNT),
        id="a linked organization's limit",
    ),
    pytest.param(
        (403, told("permission_error")),
        (Kind.KEY, 503, "upstream_auth_error", None, None, CREDENTIALS),
        id="trap 51: a 403 of ours is never the client's",
    ),
    *(
        pytest.param(
            (403, told("permission_error", code=code)), (Kind.CALLER, 400, None, None, None, None), id=f"403 {code}"
        )
        for code in (
            "user_profile_not_found",
            "user_profile_not_billable",
            "user_profile_billing_not_authorized",
            "sandbox_egress_restricted",
        )
    ),
    pytest.param(
        (404, told("not_found_error", "model: claude-9")),
        (Kind.MODEL, 404, "model_not_found", None, None, NO_MODEL),
        id="a model that is not there",
    ),
    *(
        pytest.param((404, told("not_found_error", code=code)), (Kind.CALLER, 404, None, None, None, None), id=code)
        for code in ("file_expired", "thread_not_found")
    ),
    pytest.param(
        (404, b"<!DOCTYPE html><html><body>404</body></html>"),
        (Kind.KEY, 502, "upstream_misconfigured", None, None, None),
        id="a page where an API should be",
    ),
    pytest.param((404, b"nope"), (Kind.MODEL, 404, "model_not_found", None, None, NO_MODEL), id="a plain 404"),
    pytest.param((301, b""), (Kind.KEY, 502, "upstream_misconfigured", None, None, None), id="elsewhere"),
    pytest.param((409, told("conflict_error")), (Kind.TRANSIENT, 409, None, None, None, None), id="a conflict"),
    pytest.param(
        (413, told("request_too_large")), (Kind.CALLER, 413, "request_too_large", None, None, None), id="too large"
    ),
    pytest.param((422, told()), (Kind.CALLER, 400, None, None, None, None), id="422 is 400"),
    pytest.param(
        (429, told("rate_limit_error"), {"retry-after": "7"}),
        (Kind.RATE_LIMITED, 429, "rate_limit_exceeded", None, 7.0, None),
        id="rate limited",
    ),
    pytest.param(
        (429, told("rate_limit_error", code="ramp_limit_exceeded")),
        (Kind.RATE_LIMITED, 429, "rate_limit_exceeded", None, None, None),
        id="growing too fast",
    ),
    *(
        pytest.param(
            (429, told("rate_limit_error", code=code)),
            (Kind.QUOTA, 503, "upstream_quota_exhausted", None, None, ACCOUNT),
            id=f"trap 20: {code}",
        )
        for code in ("contract_spend_limit_reached", "enforced_spend_limit_reached")
    ),
    pytest.param(
        (429, told("rate_limit_error"), {"anthropic-ratelimit-unified-overage-disabled-reason": "out_of_credits"}),
        (Kind.QUOTA, 503, "upstream_quota_exhausted", None, None, ACCOUNT),
        id="trap 20: a subscription without overage",
    ),
    pytest.param(
        (500, told("api_error"), {"anthropic-ratelimit-unified-overage-disabled-reason": "out_of_credits"}),
        (Kind.TRANSIENT, 502, None, None, None, "It said so."),
        id="a subscription without overage, and something else broken",
    ),
    pytest.param(
        (500, told("overloaded_error")),
        (Kind.OVERLOADED, 503, "server_is_overloaded", None, 5, None),
        id="overloaded, told as 500",
    ),
    pytest.param(
        (500, b'{"error": {"type": "api_error", "message": null}}'),
        (Kind.TRANSIENT, 502, None, None, None, "The provider answered with status 500."),
        id="no message",
    ),
    pytest.param(
        (500, b'{"error": "\xff"}'), (Kind.TRANSIENT, 502, None, None, None, '{"error": "�"}'), id="half a character"
    ),
    pytest.param((500, b'{"error":' * 100_000), (Kind.TRANSIENT, 502, None, None, None, None), id="without end"),
    pytest.param((500, told("api_error")), (Kind.TRANSIENT, 502, None, None, None, "It said so."), id="broken"),
    *(
        pytest.param(
            (503, told("api_error", code=code)),
            (Kind.KEY, 503, "upstream_auth_error", None, None, CREDENTIALS),
            id=f"our encryption key is out of reach: {code}",
        )
        for code in ("cmek_context_unavailable", "cmek_key_unreachable")
    ),
    pytest.param((504, told("timeout_error")), (Kind.TIMEOUT, 504, "upstream_timeout", None, None, None), id="slow"),
    pytest.param(
        (529, told("overloaded_error")),
        (Kind.OVERLOADED, 503, "server_is_overloaded", None, 5, None),
        id="overloaded, with a wait of ours",
    ),
    pytest.param(
        (529, told("overloaded_error"), {"retry-after": "30"}),
        (Kind.OVERLOADED, 503, "server_is_overloaded", None, 30.0, None),
        id="overloaded, with a wait of theirs",
    ),
    pytest.param(
        (400, told("invalid_request_error", "429 too many requests, error 500, overloaded")),
        (Kind.CALLER, 400, None, None, None, None),
        id="trap 43: digits in a text decide nothing",
    ),
    pytest.param(
        (500, b'{"error": "text"}'), (Kind.TRANSIENT, 502, None, None, None, "text"), id="a text for an error"
    ),
    pytest.param(
        (500, b'{"error": [1]}'),
        (Kind.TRANSIENT, 502, None, None, None, "The provider answered with status 500."),
        id="neither",
    ),
    pytest.param((502, b"[]"), (Kind.TRANSIENT, 502, None, None, None, "[]"), id="a list"),
    pytest.param(
        (503, b"<html>busy</html>"),
        (Kind.OVERLOADED, 503, "server_is_overloaded", None, 5, "The provider answered with status 503."),
        id="a page of a proxy between us",
    ),
]


@pytest.mark.parametrize(("answer", "expected"), ROWS)
def test_each_row_of_the_table(answer, expected):
    status, body, *rest = answer
    failure = error(status, rest[0] if rest else {}, body)
    kind, code_of_http, code, param, wait, message = expected
    found = (failure.kind, failure.status, failure.code, failure.param, failure.retry_after)
    assert found == (kind, code_of_http, code, param, wait)
    assert message is None or failure.message == message


def test_the_vendors_message_loses_what_looks_like_a_key():
    assert "sk-ant" not in error(400, {}, told("invalid_request_error", "bad key sk-ant-api03-abcdef")).message


@pytest.mark.parametrize(
    ("type", "kind", "status"),
    [
        ("invalid_request_error", Kind.CALLER, 400),
        ("authentication_error", Kind.KEY, 503),
        ("billing_error", Kind.QUOTA, 503),
        ("permission_error", Kind.KEY, 503),
        ("not_found_error", Kind.MODEL, 404),
        ("conflict_error", Kind.TRANSIENT, 409),
        ("request_too_large", Kind.CALLER, 413),
        ("rate_limit_error", Kind.RATE_LIMITED, 429),
        ("api_error", Kind.TRANSIENT, 502),
        ("timeout_error", Kind.TIMEOUT, 504),
        ("overloaded_error", Kind.OVERLOADED, 503),
        ("from_the_future", Kind.TRANSIENT, 502),
        (None, Kind.TRANSIENT, 502),
    ],
)
def test_an_error_in_a_stream_means_what_its_status_would_have_meant(type, kind, status):
    failure = in_stream({"type": type, "message": "It said so."})
    assert (failure.kind, failure.status) == (kind, status)


@pytest.mark.parametrize("told", [None, "text", 5, [], {"type": {}}, {"message": 5, "details": {"error_code": []}}])
def test_an_error_in_a_stream_may_look_like_anything(told):
    assert in_stream(told).kind is Kind.TRANSIENT


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["error", "type", "message", "details", "error_code"]), inner, max_size=4)
    ),
    max_leaves=8,
)


@given(
    status=st.integers(100, 599),
    headers=st.dictionaries(st.sampled_from(["retry-after", "retry-after-ms", "date"]), st.text(max_size=12)),
    body=st.binary(max_size=40) | ANYTHING.map(lambda value: msgspec.json.encode(value) if _fits(value) else b""),
)
@UNHURRIED
def test_no_answer_makes_it_raise(status, headers, body):
    failure = error(status, headers, body)
    assert isinstance(failure, Failure)
    assert failure.message
    assert failure.status not in (401, 403)


def _fits(value: Any) -> bool:
    """msgspec writes integers of 64 bits only."""
    try:
        msgspec.json.encode(value)
    except OverflowError:
        return False
    return True
