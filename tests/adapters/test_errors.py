"""Whose fault it was: by code, then by status, then by words, never by digits in a text."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters import errors
from adapters.base import Kind
from adapters.errors import BROKEN, POLICY, QUOTA, TOO_LONG, Rule, Said, judge

CALLERS = "invalid_request_error"
RULES = (
    Rule(400, TOO_LONG, texts=("too long", "exceeds the window")),
    Rule(429, QUOTA, frozenset({"insufficient_quota", "billing"})),
    Rule(0, POLICY, frozenset({"policy"}), ("harm",)),
)


def said(status: int, message: str = "", codes: str = "", **more) -> Said:
    return Said(status, frozenset(codes.split()), message, **more)


@pytest.mark.parametrize(
    ("what", "kind", "status"),
    [
        pytest.param(said(400, "It is Too Long"), Kind.TOO_LONG, 400, id="by text, in any case"),
        pytest.param(said(400, "it exceeds the window"), Kind.TOO_LONG, 400, id="by another text"),
        pytest.param(said(500, "too long"), Kind.TRANSIENT, 502, id="text of another status"),
        pytest.param(said(429, "", "insufficient_quota"), Kind.QUOTA, 503, id="by code"),
        pytest.param(said(429, "", "other"), Kind.RATE_LIMITED, 429, id="another code"),
        pytest.param(said(418, "harm", "policy"), Kind.POLICY, 400, id="any status, by code and text"),
        pytest.param(said(418, "", "policy"), Kind.CALLER, 400, id="code without the text"),
        pytest.param(said(300), Kind.KEY, 502, id="several ways: misrouted"),
        pytest.param(said(301), Kind.KEY, 502, id="redirected: misrouted"),
        pytest.param(said(499), Kind.CALLER, 400, id="an unknown status of the caller's"),
        pytest.param(said(599), Kind.TRANSIENT, 502, id="an unknown status of the vendor's"),
        pytest.param(said(200), Kind.TRANSIENT, 502, id="no error status at all"),
    ],
)
def test_the_first_rule_that_fits_decides(what, kind, status):
    failure = judge(what, RULES)
    assert (failure.kind, failure.status) == (kind, status)


@pytest.mark.parametrize(
    ("status", "kind", "out"),
    [
        (400, Kind.CALLER, 400),
        (401, Kind.KEY, 503),
        (402, Kind.QUOTA, 503),
        (403, Kind.KEY, 503),
        (404, Kind.MODEL, 404),
        (408, Kind.TIMEOUT, 504),
        (409, Kind.TRANSIENT, 409),
        (413, Kind.CALLER, 413),
        (422, Kind.CALLER, 400),
        (429, Kind.RATE_LIMITED, 429),
        (500, Kind.TRANSIENT, 502),
        (502, Kind.TRANSIENT, 502),
        (503, Kind.OVERLOADED, 503),
        (504, Kind.TIMEOUT, 504),
        (529, Kind.OVERLOADED, 503),
    ],
)
def test_statuses_have_a_meaning_of_their_own(status, kind, out):
    failure = judge(said(status), ())
    assert (failure.kind, failure.status) == (kind, out)


@given(st.integers(100, 599), st.text(), st.sets(st.text()))
def test_trap_51_our_own_refusal_never_looks_like_the_clients(status, message, codes):
    failure = judge(Said(status, frozenset(codes), message), RULES)
    assert failure.status not in {401, 403}
    assert 400 <= failure.status < 600
    assert failure.message


@pytest.mark.parametrize("digits", ["429", "500 tokens", "status 401", "error 529"])
def test_trap_43_digits_in_a_message_say_nothing(digits):
    assert judge(said(400, f"The prompt holds {digits}."), RULES).kind is Kind.CALLER


def test_our_accounts_affairs_stay_inside():
    failure = judge(said(401, "Incorrect API key provided: sk-abc", body=b"{}"), ())
    assert "sk-" not in failure.message
    assert "credentials" in failure.message
    assert failure.body is None


def test_the_vendors_words_pass_otherwise():
    failure = judge(said(400, "Bad.", param="n", retry_after=0.0, body=b"{}"), ())
    assert (failure.message, failure.param, failure.retry_after, failure.body) == ("Bad.", "n", 0.0, b"{}")


def test_a_body_that_tells_secrets_is_not_relayed():
    body = b'{"error":{"message":"Rate limit reached in organization org-abcdefghijklmnop"}}'
    failure = judge(said(429, "Rate limit reached in organization org-abcdefghijklmnop", body=body), ())
    assert failure.body is None
    assert failure.message == "Rate limit reached in organization [removed]"


def test_a_body_that_is_no_text_is_relayed_as_it_is():
    assert judge(said(400, "Bad.", body=b"\xff"), ()).body == b"\xff"


@pytest.mark.parametrize(
    ("verdict", "status", "code", "type"),
    [
        pytest.param(errors.BAD_REQUEST, 400, None, CALLERS, id="malformed"),
        pytest.param(errors.TOO_LONG, 400, "context_length_exceeded", CALLERS, id="too long"),
        pytest.param(errors.TOO_LARGE, 413, "request_too_large", CALLERS, id="too large"),
        pytest.param(errors.NOT_FOUND, 404, None, CALLERS, id="not there"),
        pytest.param(errors.CONFLICT, 409, None, "conflict_error", id="a conflict"),
        pytest.param(errors.POLICY, 400, "content_filter", CALLERS, id="policy"),
        pytest.param(errors.UNSUPPORTED, 400, "unsupported_parameter", CALLERS, id="unsupported"),
        pytest.param(errors.MODEL, 404, "model_not_found", CALLERS, id="no such model"),
        pytest.param(errors.KEY, 503, "upstream_auth_error", "server_error", id="our key"),
        pytest.param(errors.QUOTA, 503, "upstream_quota_exhausted", "server_error", id="our money"),
        pytest.param(errors.LIMITED, 429, "rate_limit_exceeded", "rate_limit_error", id="too fast"),
        pytest.param(errors.BROKEN, 502, None, "server_error", id="broken"),
        pytest.param(errors.OVERLOADED, 503, "server_is_overloaded", "server_error", id="too busy"),
        pytest.param(errors.TIMED_OUT, 504, "upstream_timeout", "server_error", id="too late"),
        pytest.param(errors.MISROUTED, 502, "upstream_misconfigured", "server_error", id="a wrong address"),
    ],
)
def test_what_the_client_hears_of_each_verdict(verdict, status, code, type):
    failure = judge(said(418), (Rule(0, verdict),))
    assert (failure.status, failure.code, failure.type) == (status, code, type)


def test_a_rules_own_param_and_wait_fill_the_gaps():
    assert judge(said(400, "too long"), RULES).param == "messages"
    assert judge(said(503), ()).retry_after == 5
    assert judge(said(500), ()).message == "The provider answered with status 500."


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        ("key sk-ant-api03-abcdef_GHI-jkl is bad", "key [removed] is bad"),
        ("key AIzaSyA1234567890abc is bad", "key [removed] is bad"),
        ("key gsk_abcdefghij1234 is bad", "key [removed] is bad"),
        ("key xai-abcdefghij1234 is bad", "key [removed] is bad"),
        ("proj_abcdefghij1234 at org-abcdefghij1234", "[removed] at [removed]"),
        ("header x-api-key: abc and Authorization: Bearer abc", "header [removed] and Authorization: [removed]"),
        ("<!DOCTYPE html><html>", ""),
        ("  <html><body>502</body>", ""),
        ("a risk-free task-list <b>", "a risk-free task-list <b>"),
        ("x" * 5000, "x" * 2000),
    ],
)
def test_messages_are_scrubbed(message, shown):
    assert errors.scrub(message) == shown


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        pytest.param({"retry-after-ms": "1500"}, 1.5, id="milliseconds"),
        pytest.param({"retry-after-ms": "1500", "retry-after": "9"}, 1.5, id="milliseconds go first"),
        pytest.param({"retry-after-ms": "soon", "retry-after": "9"}, 9.0, id="milliseconds that are none"),
        pytest.param({"retry-after": "0.5"}, 0.5, id="parts of a second"),
        pytest.param({"retry-after": "0"}, 0.0, id="at once"),
        pytest.param({"retry-after": "9999999"}, 9_999_999.0, id="a season"),
        pytest.param({"retry-after": "10000000"}, None, id="longer than anybody waits"),
        pytest.param({"retry-after": "-1"}, None, id="in the past"),
        pytest.param({"retry-after": "nan"}, None, id="not a number"),
        pytest.param({"retry-after": "inf"}, None, id="never"),
        pytest.param(
            {"retry-after": "Sun, 22 Nov 2026 10:00:30 GMT", "date": "Sun, 22 Nov 2026 10:00:00 GMT"}, 30.0, id="a date"
        ),
        pytest.param(
            {"retry-after": "Sun, 22 Nov 2026 09:00:00 GMT", "date": "Sun, 22 Nov 2026 10:00:00 GMT"}, 0.0, id="passed"
        ),
        pytest.param({"retry-after": "Sun, 22 Nov 2026 10:00:30 GMT"}, None, id="a date and no clock"),
        pytest.param(
            {"retry-after": "Sun, 22 Nov 2026 10:00:30 GMT", "date": "Sun, 22 Nov 2026 10:00:00"},
            None,
            id="a clock without a zone",
        ),
        pytest.param(
            {"retry-after": f"Sun, 22 Nov 2026 10:00:30 +{'9' * 20}", "date": "Sun, 22 Nov 2026 10:00:00 GMT"},
            None,
            id="a zone beyond all bounds",
        ),
        pytest.param({}, None, id="nothing said"),
    ],
)
def test_how_long_to_wait(headers, seconds):
    assert errors.retry_after(headers) == seconds


@given(st.dictionaries(st.sampled_from(["retry-after", "retry-after-ms", "date"]), st.text()))
def test_no_header_makes_us_stumble(headers):
    seconds = errors.retry_after(headers)
    assert seconds is None or seconds >= 0


def test_what_breaks_without_words():
    assert errors.unreadable("no JSON").code == "upstream_malformed_output"
    assert errors.truncated().code == "upstream_stream_truncated"
    assert errors.empty().code == "empty_upstream_response"
    assert {failure().kind for failure in (errors.truncated, errors.empty)} == {BROKEN.kind}
