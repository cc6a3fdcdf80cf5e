"""Whose fault Gemini's errors are, row by row of the table in docs/translation.md, "Errors"."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.base import Failure, Kind
from adapters.gemini.errors import error, in_stream, unwrap


def told(code: int, status: str, message: str, *details: dict[str, Any]) -> dict[str, Any]:
    return {"error": {"code": code, "message": message, "status": status, "details": list(details)}}


def info(reason: str) -> dict[str, Any]:
    return {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": reason, "domain": "googleapis.com"}


def quota(*ids: str) -> dict[str, Any]:
    violations = [{"quotaId": id, "quotaMetric": "generate_content_requests"} for id in ids]
    return {"@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": violations}


def retry(delay: Any) -> dict[str, Any]:
    return {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": delay}


def field(name: Any) -> dict[str, Any]:
    return {"@type": "type.googleapis.com/google.rpc.BadRequest", "fieldViolations": [{"field": name}]}


HELP = {"@type": "type.googleapis.com/google.rpc.Help", "links": [{"url": "https://ai.google.dev"}]}
MINUTE = "GenerateRequestsPerMinutePerProjectPerModel-FreeTier"
DAY = "GenerateRequestsPerDayPerProjectPerModel-FreeTier"
TOO_MUCH = "You exceeded your current quota, please check your plan and billing details."

CALLER = (Kind.CALLER, 400, None)
NOT_THERE = (Kind.CALLER, 404, None)
TOO_LARGE = (Kind.CALLER, 413, "request_too_large")
KEY = (Kind.KEY, 503, "upstream_auth_error")
QUOTA = (Kind.QUOTA, 503, "upstream_quota_exhausted")
ONLY_THIS = (Kind.REQUEST, 503, "upstream_auth_error")
LIMITED = (Kind.RATE_LIMITED, 429, "rate_limit_exceeded")
BROKEN = (Kind.TRANSIENT, 502, None)
CONFLICT = (Kind.TRANSIENT, 409, None)

INVALID, FAILED, DENIED, EXHAUSTED = (
    "INVALID_ARGUMENT",
    "FAILED_PRECONDITION",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
)
TOKENS = "The input token count (9) exceeds the maximum number of tokens allowed (8)."
UNSIGNED = "Function call is missing a thought_signature in functionCall parts."
HEAVY = "Request payload size exceeds the limit: 20971520 bytes."
NO_FILE = "You do not have permission to access the File abc or it may not exist."
NO_MODEL = "models/x is not found for API version v1beta."

# name, error, verdict, seconds to wait
TABLE = [
    ("the caller's", told(400, INVALID, "Bad.", field("contents[0].parts")), CALLER, None),
    ("trap 50: a bad key is a 400, and ours", told(400, INVALID, "No.", info("API_KEY_INVALID")), KEY, None),
    ("trap 50: not valid", told(400, INVALID, "API key not valid. Please pass a valid API key."), KEY, None),
    ("trap 50: not found", told(400, INVALID, "API Key not found."), KEY, None),
    ("trap 50: expired", told(400, INVALID, "API key expired. Please renew the API key."), KEY, None),
    ("trap 30: too long", told(400, INVALID, TOKENS), (Kind.TOO_LONG, 400, "context_length_exceeded"), None),
    ("a lost signature", told(400, INVALID, UNSIGNED), CALLER, None),
    ("a lost signature, told as state", told(400, FAILED, "A thought_signature is invalid."), CALLER, None),
    ("a lost call, told as state", told(400, FAILED, "The function call is missing."), CALLER, None),
    ("too large, told as 400", told(400, INVALID, HEAVY), TOO_LARGE, None),
    ("too large", told(413, "", "too large"), TOO_LARGE, None),
    ("where we are", told(400, FAILED, "User location is not supported for the API use."), KEY, None),
    ("billing", told(400, FAILED, "Please enable billing."), KEY, None),
    ("trap 51: a 401 stays inside", told(401, "UNAUTHENTICATED", "no"), KEY, None),
    ("trap 51: a leaked key", told(403, DENIED, "Your API key was reported as leaked."), KEY, None),
    ("trap 51: disabled", told(403, DENIED, "no", info("SERVICE_DISABLED")), KEY, None),
    ("trap 51: suspended", told(403, DENIED, "no", info("CONSUMER_SUSPENDED")), KEY, None),
    ("trap 51: no credentials, told as 400", told(400, "UNAUTHENTICATED", "no"), KEY, None),
    ("trap 51: disabled, told as 400", told(400, INVALID, "no", info("SERVICE_DISABLED")), KEY, None),
    ("trap 51: suspended, told as 400", told(400, INVALID, "no", info("CONSUMER_SUSPENDED")), KEY, None),
    ("a file that the client named", told(403, DENIED, NO_FILE), NOT_THERE, None),
    ("the model", told(404, "NOT_FOUND", NO_MODEL), (Kind.MODEL, 404, "model_not_found"), None),
    ("a cache", told(404, "NOT_FOUND", "CachedContent not found."), NOT_THERE, None),
    ("a cache, in two words", told(404, "NOT_FOUND", "Cached content not found."), NOT_THERE, None),
    ("a file", told(404, "NOT_FOUND", "File abc not found."), NOT_THERE, None),
    ("aborted", told(409, "ABORTED", "again"), CONFLICT, None),
    ("already there", told(409, "ALREADY_EXISTS", "there"), CONFLICT, None),
    ("a minute's", told(429, EXHAUSTED, TOO_MUCH, quota(MINUTE), HELP, retry("34.074824224s")), LIMITED, 35),
    ("a minute's without a delay", told(429, EXHAUSTED, TOO_MUCH, quota(MINUTE)), LIMITED, 10),
    ("a day's", told(429, EXHAUSTED, TOO_MUCH, quota(MINUTE, DAY), retry("12s")), LIMITED, 3600),
    ("trap 20: no money", told(429, EXHAUSTED, TOO_MUCH, HELP), QUOTA, None),
    ("trap 20: credits", told(429, EXHAUSTED, "Your prepayment credits are depleted.", retry("5s")), QUOTA, 5),
    ("trap 20: a cap", told(429, EXHAUSTED, "Your project has exceeded its spending cap."), QUOTA, None),
    ("a delay and no quota", told(429, EXHAUSTED, TOO_MUCH, retry("5s")), LIMITED, 5),
    ("no details", told(429, EXHAUSTED, "Resource has been exhausted (e.g. check quota)."), LIMITED, 10),
    ("cancelled, but not by us", told(499, "CANCELLED", "gone"), BROKEN, None),
    ("internal", told(500, "INTERNAL", "oh"), BROKEN, None),
    ("unknown", told(500, "UNKNOWN", "oh"), BROKEN, None),
    ("data loss", told(500, "DATA_LOSS", "oh"), BROKEN, None),
    ("unimplemented", told(501, "UNIMPLEMENTED", "never"), (Kind.CALLER, 400, "unsupported_parameter"), None),
    ("overloaded", told(503, "UNAVAILABLE", "Overloaded."), (Kind.OVERLOADED, 503, "server_is_overloaded"), 5),
    ("too late", told(504, "DEADLINE_EXCEEDED", "late"), (Kind.TIMEOUT, 504, "upstream_timeout"), None),
    ("what a client wrote, repeated", told(400, INVALID, "Unsupported MIME type: image/api key expired"), CALLER, None),
    ("a file that is not ready", told(400, FAILED, "The File x is not in an ACTIVE state."), CALLER, None),
    ("one model, or one film", told(403, DENIED, "The caller does not have permission"), ONLY_THIS, None),
    ("trap 43: digits in a text", told(400, INVALID, "Prompt says 429 and 500 tokens"), CALLER, None),
]
rows = pytest.mark.parametrize(("body", "verdict", "wait"), [pytest.param(*row, id=name) for name, *row in TABLE])


def test_a_lost_signature_is_said_to_be_the_clients():
    failure = error(400, {}, msgspec.json.encode(told(400, FAILED, UNSIGNED)))
    assert (failure.type, failure.message) == ("invalid_request_error", UNSIGNED)


def judged(failure: Failure) -> tuple[Any, ...]:
    return (failure.kind, failure.status, failure.code), failure.retry_after


@rows
def test_an_error_says_whose_fault_it_is(body, verdict, wait):
    assert judged(error(body["error"]["code"], {}, msgspec.json.encode(body))) == (verdict, wait)


@rows
def test_it_is_the_same_wherever_it_is_wrapped(body, verdict, wait):
    """Trap 44."""
    nested = {"error": {"code": 200, "message": msgspec.json.encode(body).decode(), "status": "x"}}
    for wrapped in ([body], nested, [nested]):
        assert judged(error(body["error"]["code"], {}, msgspec.json.encode(wrapped))) == (verdict, wait)


@rows
def test_it_is_the_same_inside_a_stream(body, verdict, wait):
    assert judged(in_stream(unwrap(body))) == (verdict, wait)


@pytest.mark.parametrize(
    ("name", "kind", "status"),
    [
        ("INVALID_ARGUMENT", Kind.CALLER, 400),
        ("OUT_OF_RANGE", Kind.CALLER, 400),
        ("FAILED_PRECONDITION", Kind.KEY, 503),
        ("UNAUTHENTICATED", Kind.KEY, 503),
        ("PERMISSION_DENIED", Kind.KEY, 503),
        ("NOT_FOUND", Kind.MODEL, 404),
        ("ABORTED", Kind.TRANSIENT, 409),
        ("ALREADY_EXISTS", Kind.TRANSIENT, 409),
        ("RESOURCE_EXHAUSTED", Kind.RATE_LIMITED, 429),
        ("CANCELLED", Kind.TRANSIENT, 502),
        ("UNIMPLEMENTED", Kind.CALLER, 400),
        ("UNAVAILABLE", Kind.OVERLOADED, 503),
        ("DEADLINE_EXCEEDED", Kind.TIMEOUT, 504),
        ("INTERNAL", Kind.TRANSIENT, 502),
        ("NEVER_SEEN", Kind.TRANSIENT, 502),
    ],
)
def test_inside_a_stream_the_name_stands_in_for_a_code_that_is_missing(name, kind, status):
    failure = in_stream({"status": name, "message": "m"})
    assert (failure.kind, failure.status) == (kind, status)


def test_the_least_code_of_an_error_is_believed():
    assert in_stream({"code": 400, "message": "m"}).kind is Kind.CALLER


@pytest.mark.parametrize("code", [200, 0, "429", None, [429]])
def test_a_code_that_is_none_is_not_believed(code):
    assert in_stream({"code": code, "status": "UNAVAILABLE"}).kind is Kind.OVERLOADED


@pytest.mark.parametrize(
    ("body", "message"),
    [
        pytest.param(b'{"error": "plain"}', "plain", id="a text for an error"),
        pytest.param(b'{"error": {"message": "{\\"a\\": 1}"}}', '{"a": 1}', id="JSON that is no error"),
        pytest.param(b'{"error": {"message": "{not JSON"}}', "{not JSON", id="almost JSON"),
        pytest.param(b'{"error": {"message": 5}}', "5", id="a number for a message"),
        pytest.param(b'{"error": {}}', "The provider answered with status 400.", id="an empty error"),
        pytest.param(b'{"detail": "x"}', "The provider answered with status 400.", id="no error"),
        pytest.param(b"[]", "The provider answered with status 400.", id="an empty list"),
        pytest.param(b"5", "The provider answered with status 400.", id="a number"),
        pytest.param(b"Bad Request", "Bad Request", id="plain text"),
        pytest.param(b"\xff\xfe", "��", id="no text at all"),
        pytest.param(b'{"error": "\xff"}', '{"error": "�"}', id="half a character"),
        pytest.param(b"<html>x</html>", "The provider answered with status 400.", id="HTML"),
        pytest.param(b"", "The provider answered with status 400.", id="nothing"),
    ],
)
def test_a_message_is_found_or_made(body, message):
    failure = error(400, {}, body)
    assert (failure.kind, failure.message) == (Kind.CALLER, message)


def test_nesting_without_end_is_no_message():
    assert error(500, {}, b'{"a":' * 100_000).kind is Kind.TRANSIENT
    nested = {"error": {"message": '{"error":' * 100_000}}
    assert error(500, {}, msgspec.json.encode(nested)).kind is Kind.TRANSIENT
    assert unwrap(nested) == nested["error"]


@pytest.mark.parametrize("body", [b"<!doctype html><title>404</title>", b""], ids=["a page", "nothing"])
def test_a_404_that_is_not_of_the_api_means_a_wrong_address(body):
    failure = error(404, {}, body)
    assert (failure.kind, failure.status, failure.code) == (Kind.KEY, 502, "upstream_misconfigured")


def test_a_404_in_words_means_the_model():
    assert error(404, {}, b"nope").kind is Kind.MODEL


def test_the_field_at_fault_is_the_param():
    body = told(400, "INVALID_ARGUMENT", "Bad.", HELP, field("generation_config.top_p"), field("second"))
    assert error(400, {}, msgspec.json.encode(body)).param == "generation_config.top_p"


@pytest.mark.parametrize(
    ("details", "header", "wait"),
    [
        pytest.param([retry("3s")], "9", 3, id="the body before the header"),
        pytest.param([retry("0s")], "9", 0, id="at once"),
        pytest.param([], "9", 9, id="the header"),
        pytest.param([retry("soon")], "9", 9, id="no duration"),
        pytest.param([retry(3)], "9", 9, id="a number"),
        pytest.param([retry("9" * 5000 + "s")], "9", 9, id="longer than anything"),
        pytest.param([retry("1.5s"), retry("9s")], "", 2, id="the first, rounded up"),
        pytest.param(
            [{"violations": 5}, 7, {"violations": [3]}, {"fieldViolations": [3]}, field(4)], "9", 9, id="oddities"
        ),
        pytest.param([{"fieldViolations": []}, {"fieldViolations": {"field": "x"}}], "9", 9, id="no fields"),
        pytest.param("x", "9", 9, id="no list"),
    ],
)
def test_how_long_to_wait(details, header, wait):
    body = {"error": {"code": 429, "status": "RESOURCE_EXHAUSTED", "message": "m", "details": details}}
    failure = error(429, {"retry-after": header}, msgspec.json.encode(body))
    assert (failure.kind, failure.retry_after) == (Kind.RATE_LIMITED, wait)


def test_what_our_account_is_told_stays_inside():
    body = told(401, "UNAUTHENTICATED", "Key AIzaSyA-1234567890abcdef of project 42 is wrong.")
    assert "42" not in error(401, {}, msgspec.json.encode(body)).message


NAMES = [
    *("error", "code", "message", "status", "details", "reason", "retryDelay"),
    *("violations", "quotaId", "fieldViolations", "field"),
]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(NAMES),
            inner,
            max_size=6,
        )
    ),
    max_leaves=20,
)


@given(
    st.integers(100, 999),
    st.dictionaries(st.just("retry-after"), st.text()),
    st.binary() | JSON.map(msgspec.json.encode),
)
def test_no_error_is_too_odd(status, headers, body):
    assert isinstance(error(status, headers, body), Failure)


@given(JSON)
def test_no_error_in_a_stream_is_too_odd(told):
    assert isinstance(in_stream(unwrap(told)), Failure)
