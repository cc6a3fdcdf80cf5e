"""Each fault does what it says, as seen by the official SDKs and by a bare socket."""

import http.client
import json
import socket
from typing import Any
from urllib.parse import urlsplit

import anthropic
import openai
import pytest
from google.genai import errors

from proxy.simulator.client import ControlError
from proxy.simulator.failures import FAILURES

VENDORS = ("openai", "anthropic", "gemini")


def raw(vendors, vendor="openai", stream=False, text="hello", timeout=5):
    """A bare connection with one request on its way."""
    place = urlsplit(getattr(vendors, vendor))
    said: list[dict[str, Any]] = [{"role": "user", "content": text}]
    bodies: dict[str, dict[str, Any]] = {
        "openai": {"model": "gpt-4o", "messages": said, "stream": stream},
        "anthropic": {"model": "claude-haiku-4-5", "max_tokens": 99, "messages": said, "stream": stream},
        "gemini": {"contents": [{"role": "user", "parts": [{"text": text}]}]},
    }
    verb = "streamGenerateContent?alt=sse" if stream else "generateContent"
    paths = {
        "openai": "/v1/chat/completions",
        "anthropic": "/v1/messages",
        "gemini": f"/v1beta/models/gemini-2.5-flash:{verb}",
    }
    headers = {"anthropic-version": "2023-06-01", "x-api-key": "k", "x-goog-api-key": "k", "authorization": "Bearer k"}
    connection = http.client.HTTPConnection(place.hostname, place.port, timeout=timeout)
    connection.request("POST", paths[vendor], json.dumps(bodies[vendor]), headers)
    return connection


def ask_openai(client, **extra):
    return client.chat.completions.create(model="gpt-4o", messages=[{"role": "user", "content": "hi"}], **extra)


def ask_anthropic(client, **extra):
    messages = [{"role": "user", "content": "hi"}]
    return client.messages.create(model="claude-haiku-4-5", max_tokens=99, messages=messages, **extra)


def ask_gemini(client):
    return client.models.generate_content(model="gemini-2.5-flash", contents="hi")


@pytest.mark.parametrize(
    ("error", "raised", "code"),
    [
        ("rate_limit", openai.RateLimitError, "rate_limit_exceeded"),
        ("insufficient_quota", openai.RateLimitError, "insufficient_quota"),
        ("overloaded", openai.InternalServerError, "server_is_overloaded"),
        ("context_length", openai.BadRequestError, "context_length_exceeded"),
        ("api_key_invalid", openai.AuthenticationError, "invalid_api_key"),
        ("credit_balance", openai.RateLimitError, "insufficient_quota"),
    ],
)
def test_openai_raises_the_class_that_belongs_to_the_error(vendors, oa, error, raised, code):
    vendors.fault("openai", "status", error=error, retry_after=3)
    with pytest.raises(raised) as caught:
        ask_openai(oa)
    assert caught.value.code == code
    assert caught.value.response.headers["retry-after"] == "3"


@pytest.mark.parametrize(
    ("error", "raised", "kind"),
    [
        ("rate_limit", anthropic.RateLimitError, "rate_limit_error"),
        ("overloaded", anthropic.InternalServerError, "overloaded_error"),
        ("credit_balance", anthropic.BadRequestError, "invalid_request_error"),
        ("api_key_invalid", anthropic.AuthenticationError, "authentication_error"),
        ("permission", anthropic.PermissionDeniedError, "permission_error"),
    ],
)
def test_anthropic_raises_the_class_that_belongs_to_the_error(vendors, an, error, raised, kind):
    vendors.fault("anthropic", "status", error=error)
    with pytest.raises(raised) as caught:
        ask_anthropic(an)
    assert kind in str(caught.value.body)


@pytest.mark.parametrize(
    ("error", "raised", "status"),
    [
        ("rate_limit", errors.ClientError, "RESOURCE_EXHAUSTED"),
        ("overloaded", errors.ServerError, "UNAVAILABLE"),
        ("api_key_invalid", errors.ClientError, "INVALID_ARGUMENT"),
    ],
)
def test_gemini_raises_the_class_that_belongs_to_the_error(vendors, ge, error, raised, status):
    vendors.fault("gemini", "status", error=error)
    with pytest.raises(raised) as caught:
        ask_gemini(ge)
    assert caught.value.status == status


@pytest.mark.parametrize(("vendor", "error"), [(v, e) for v, table in FAILURES.items() for e in table])
def test_every_row_of_the_table_is_sent_with_its_status(vendors, vendor, error):
    vendors.fault(vendor, "status", error=error)
    connection = raw(vendors, vendor)
    response = connection.getresponse()
    body = json.loads(response.read())
    connection.close()
    assert response.status == FAILURES[vendor][error].status
    assert body["error"]["message"] == FAILURES[vendor][error].message


def test_google_says_the_delay_in_the_body(vendors, ge):
    vendors.fault("gemini", "status", error="per_day_quota", retry_after=61)
    with pytest.raises(errors.ClientError) as caught:
        ask_gemini(ge)
    details = caught.value.details["error"]["details"]
    assert details[0]["violations"][0]["quotaId"].startswith("GenerateRequestsPerDay")
    assert details[-1]["retryDelay"] == "61s"


def test_a_refusing_vendor_cannot_be_reached_until_cleared(vendors, oa):
    ask_openai(oa)  # leaves a connection in the pool
    vendors.fault("openai", "refuse")
    with pytest.raises(openai.APIConnectionError):
        ask_openai(oa)
    place = urlsplit(vendors.openai)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((place.hostname, place.port))
    vendors.clear("openai")
    assert ask_openai(oa).choices


@pytest.mark.parametrize("vendor", VENDORS)
def test_a_reset_comes_instead_of_an_answer(vendors, vendor):
    vendors.fault(vendor, "reset")
    connection = raw(vendors, vendor)
    with pytest.raises((ConnectionResetError, http.client.RemoteDisconnected)):
        connection.getresponse()
    connection.close()


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("vendor", VENDORS)
def test_a_reset_body_breaks_off_after_the_headers(vendors, vendor, stream):
    vendors.fault(vendor, "reset_body")
    connection = raw(vendors, vendor, stream)
    response = connection.getresponse()
    with pytest.raises(ConnectionResetError):
        response.read()
    connection.close()
    assert response.status == 200


@pytest.mark.parametrize("kind", ["hang", "hang_headers", "hang_midstream"])
@pytest.mark.parametrize("vendor", VENDORS)
def test_a_hanging_request_is_given_up_when_the_client_leaves(vendors, vendor, kind):
    vendors.fault(vendor, kind)
    connection = raw(vendors, vendor, stream=True)
    assert vendors.wait(vendor, received=1)
    if kind != "hang":
        assert connection.getresponse().status == 200
    assert vendors.open()[vendor]["in_progress"] == 1
    connection.close()
    if connection.sock is not None:
        connection.sock.close()
    assert vendors.wait(vendor, in_progress=0)
    assert vendors.ledger()[0]["outcome"] == "cancelled"


@pytest.mark.parametrize("vendor", VENDORS)
def test_a_cut_stream_ends_without_the_last_chunk(vendors, vendor):
    vendors.fault(vendor, "cut", after_events=2)
    connection = raw(vendors, vendor, stream=True, text="words 20")
    response = connection.getresponse()
    with pytest.raises(http.client.IncompleteRead):
        response.read()
    connection.close()


@pytest.mark.parametrize("vendor", VENDORS)
def test_a_clean_cut_is_good_http_with_events_missing(vendors, vendor):
    vendors.fault(vendor, "cut_clean", after_events=2)
    connection = raw(vendors, vendor, stream=True, text="words 20")
    body = connection.getresponse().read()
    connection.close()
    assert body.count(b"data: ") == 2


def test_an_error_in_a_stream_raises_in_the_openai_sdk(vendors, oa):
    vendors.fault("openai", "error_event", after_events=2)
    stream = ask_openai(oa, stream=True)
    assert next(stream).choices
    assert next(stream).choices
    with pytest.raises(openai.APIError, match="overloaded"):
        next(stream)


def test_an_error_as_the_first_event_raises_in_the_anthropic_sdk(vendors, an):
    vendors.fault("anthropic", "error_event", after_events=0)
    with pytest.raises(anthropic.APIStatusError) as caught:
        list(ask_anthropic(an, stream=True))
    assert "overloaded_error" in str(caught.value.body)


def test_an_error_in_a_gemini_stream_is_bare_json_of_several_lines(vendors):
    vendors.fault("gemini", "error_event", after_events=1)
    connection = raw(vendors, "gemini", stream=True)
    body = connection.getresponse().read()
    connection.close()
    assert json.loads(body.split(b"\r\n\r\n")[-1])["error"]["status"] == "UNAVAILABLE"


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("fault", ["drip", "slow"])
def test_a_slow_answer_is_still_whole(vendors, oa, fault, stream):
    vendors.fault("openai", fault, delay_ms=0.01)
    answer = ask_openai(oa, stream=stream)
    if stream:
        assert "".join(c.choices[0].delta.content or "" for c in answer) == "Echo: hi"
    else:
        assert answer.choices[0].message.content == "Echo: hi"


@pytest.mark.parametrize(
    ("kind", "status", "start"),
    [("garbage", 200, b"\x80\x81"), ("empty", 200, b""), ("html", 502, b"<html>"), ("redirect", 302, b"")],
)
def test_what_is_no_answer_at_all(vendors, kind, status, start):
    vendors.fault("openai", kind)
    connection = raw(vendors)
    response = connection.getresponse()
    assert (response.status, response.read()[: len(start) or None]) == (status, start)
    connection.close()


def test_a_fault_strikes_its_model_as_often_as_told(vendors, oa):
    vendors.fault("openai", "status", status=500, model="gpt-4o", times=2)
    oa.chat.completions.create(model="gpt-4.1", messages=[{"role": "user", "content": "hi"}])
    for _ in range(2):
        with pytest.raises(openai.InternalServerError):
            ask_openai(oa)
    assert ask_openai(oa).choices
    assert vendors.faults() == []


def test_a_fault_strikes_only_requests_of_its_tag(vendors):
    vendors.fault("openai", "status", status=500, tag="ill-")
    said = [answered(vendors, text) for text in ("tag=ill-1", "tag=well-1", "nothing", "tag=ill-2", "tag=ill")]
    assert said == [500, 200, 200, 500, 200]
    assert [entry["client_tag"] for entry in vendors.ledger()] == ["ill-1", "well-1", None, "ill-2", "ill"]


def answered(vendors, text):
    connection = raw(vendors, text=text)
    try:
        return connection.getresponse().status
    finally:
        connection.close()


def test_a_fault_by_chance_strikes_in_the_same_order_after_each_reset(vendors):
    runs = []
    for _ in range(2):
        vendors.reset()
        vendors.fault("openai", "status", status=500, probability=0.5, times=9)
        runs.append([answered(vendors, "hello") for _ in range(30)])
    assert runs[0] == runs[1]
    assert runs[0].count(500) == 9
    assert 200 in runs[0][:9]


@pytest.mark.parametrize("kind", ["slow", "hang_headers"])
@pytest.mark.parametrize("stream", [False, True])
def test_who_leaves_before_the_answer_is_billed_the_prompt(vendors, kind, stream):
    vendors.fault("anthropic", kind, delay_ms=60_000)
    connection = raw(vendors, "anthropic", stream=stream, text="hello tag=gone")
    assert vendors.wait("anthropic", received=1)
    connection.close()
    assert vendors.wait("anthropic", ledger=1)
    (entry,) = vendors.ledger("anthropic")
    assert (entry["outcome"], entry["client_tag"]) == ("cancelled", "gone")
    assert entry["usage"]["in_text"] > 0
    assert entry["usage"]["out_text"] == 0


def test_a_refused_request_keeps_its_tag(vendors, oa):
    with pytest.raises(openai.NotFoundError):
        oa.chat.completions.create(model="gpt-missing", messages=[{"role": "user", "content": "tag=lost"}])
    assert vendors.ledger()[0]["client_tag"] == "lost"


@pytest.mark.parametrize("order", [{"fault": "no_such"}, {"fault": "status", "error": "no_such"}, {"unknown": 1}])
def test_a_wrong_order_is_refused(vendors, order):
    with pytest.raises(ControlError):
        vendors.order("POST", "/faults", {"vendor": "openai", "fault": "hang", **order})
