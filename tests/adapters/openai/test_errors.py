"""OpenAI's errors, and those of the many who nearly speak its format."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters import openai
from adapters.base import Failure, Kind
from adapters.openai.chunk import decoder
from adapters.openai.errors import in_stream, told_in


def body(message: str = "Bad.", type: str | None = None, code=None, param: str | None = None) -> bytes:
    return msgspec.json.encode({"error": {"message": message, "type": type, "param": param, "code": code}})


def error(status: int, raw: bytes = b"", **headers: str) -> Failure:
    return openai.error(status, {name.replace("_", "-"): value for name, value in headers.items()}, raw)


@pytest.mark.parametrize(
    ("status", "raw", "kind", "out", "code"),
    [
        pytest.param(400, body(), Kind.CALLER, 400, None, id="a bad request"),
        pytest.param(
            400,
            body(code="context_length_exceeded"),
            Kind.TOO_LONG,
            400,
            "context_length_exceeded",
            id="trap 30: too long, by code",
        ),
        pytest.param(
            400,
            body("This model's maximum context length is 10 tokens."),
            Kind.TOO_LONG,
            400,
            "context_length_exceeded",
            id="trap 30: too long, by text",
        ),
        pytest.param(
            400,
            body("Your input exceeds the context window of this model."),
            Kind.TOO_LONG,
            400,
            "context_length_exceeded",
            id="trap 30: too long, by another text",
        ),
        pytest.param(
            400,
            b'{"detail":{"message":"Bad.","code":"context_length_exceeded"}}',
            Kind.TOO_LONG,
            400,
            "context_length_exceeded",
            id="trap 30: too long, told as a detail",
        ),
        pytest.param(400, body(code="content_filter"), Kind.POLICY, 400, "content_filter", id="policy"),
        pytest.param(400, body(code="invalid_prompt"), Kind.POLICY, 400, "content_filter", id="policy of reasoning"),
        pytest.param(
            400, body(code="billing_not_active"), Kind.QUOTA, 503, "upstream_quota_exhausted", id="trap 19: no money"
        ),
        pytest.param(401, body(), Kind.KEY, 503, "upstream_auth_error", id="trap 51: our key"),
        pytest.param(403, body(), Kind.KEY, 503, "upstream_auth_error", id="trap 51: our country"),
        pytest.param(403, body(code="model_not_found"), Kind.MODEL, 404, "model_not_found", id="not our model"),
        pytest.param(404, body(code="model_not_found"), Kind.MODEL, 404, "model_not_found", id="no such model"),
        pytest.param(402, body(), Kind.QUOTA, 503, "upstream_quota_exhausted", id="no money"),
        pytest.param(
            402,
            body("You requested up to 9 tokens, but can only afford 5."),
            Kind.REQUEST,
            503,
            "upstream_quota_exhausted",
            id="trap 21: not this much",
        ),
        pytest.param(409, body(), Kind.TRANSIENT, 409, None, id="conflict"),
        pytest.param(413, body(), Kind.CALLER, 413, "request_too_large", id="too large"),
        pytest.param(
            413,
            body("Request too large for model `x` on tokens per minute (TPM)", "tokens", "rate_limit_exceeded"),
            Kind.REQUEST,
            429,
            "rate_limit_exceeded",
            id="more than a minute's tokens (Groq)",
        ),
        pytest.param(
            403,
            body("Your chosen model requires moderation and your input was flagged"),
            Kind.POLICY,
            400,
            "content_filter",
            id="flagged (OpenRouter)",
        ),
        pytest.param(
            403,
            b'{"code":"permission-denied","error":"Content violates usage guidelines. Team: t, API key ID: k"}',
            Kind.POLICY,
            400,
            "content_filter",
            id="flagged (xAI)",
        ),
        pytest.param(
            404,
            body("No endpoints found that support tool use. To learn more, visit the documentation."),
            Kind.REQUEST,
            404,
            None,
            id="a model that cannot do this (OpenRouter)",
        ),
        pytest.param(
            400,
            body("This model's maximum prompt length is 131072 but the request contains 200000 tokens."),
            Kind.TOO_LONG,
            400,
            "context_length_exceeded",
            id="too long (xAI)",
        ),
        pytest.param(422, body(), Kind.CALLER, 400, None, id="unprocessable"),
        pytest.param(429, body(), Kind.RATE_LIMITED, 429, "rate_limit_exceeded", id="too fast"),
        pytest.param(
            429, body(code="insufficient_quota"), Kind.QUOTA, 503, "upstream_quota_exhausted", id="trap 20: no money"
        ),
        pytest.param(
            429, body("Request too large for gpt-4o"), Kind.REQUEST, 429, "rate_limit_exceeded", id="one too large"
        ),
        pytest.param(500, body("status 429"), Kind.TRANSIENT, 502, None, id="trap 43: digits say nothing"),
        pytest.param(503, body(code="slow_down"), Kind.OVERLOADED, 503, "server_is_overloaded", id="overloaded"),
        pytest.param(
            500, body(type="server_is_overloaded"), Kind.OVERLOADED, 503, "server_is_overloaded", id="by its type"
        ),
    ],
)
def test_whose_fault_it_was(status, raw, kind, out, code):
    failure = error(status, raw)
    assert (failure.kind, failure.status, failure.code) == (kind, out, code)


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        *(
            (400, code, Kind.POLICY)
            for code in (
                *("content_policy_violation", "content_filter", "invalid_prompt"),
                *("misalignment_policy_violation", "bio_policy"),
            )
        ),
        *((400, code, Kind.QUOTA) for code in ("billing_hard_limit_reached", "billing_not_active")),
        *((429, code, Kind.QUOTA) for code in ("billing_hard_limit_reached", "insufficient_quota")),
        *((500, code, Kind.OVERLOADED) for code in ("server_is_overloaded", "slow_down")),
    ],
)
def test_a_code_says_more_than_a_status(status, code, kind):
    assert error(status, body(code=code)).kind is kind


@pytest.mark.parametrize("words", ["but can only afford 5", "or use fewer max_tokens"])
def test_trap_21_one_request_that_cannot_be_paid_says_nothing_of_the_next(words):
    assert error(402, body(words)).kind is Kind.REQUEST


@pytest.mark.parametrize(
    ("status", "raw", "type"),
    [
        (400, body(code="content_filter"), "invalid_request_error"),
        (413, body(code="rate_limit_exceeded"), "rate_limit_error"),
        (402, body("can only afford 5"), "server_error"),
    ],
)
def test_an_error_has_openais_type(status, raw, type):
    assert error(status, raw).type == type


@pytest.mark.parametrize(
    ("raw", "message", "param"),
    [
        pytest.param(b'{"error":{"message":"Bad.","param":"n"}}', "Bad.", "n", id="half an error object"),
        pytest.param(b'{"error":{"message":"Bad.","param":5}}', "Bad.", None, id="a param that is a number"),
        pytest.param(b'{"error":{"msg":"Bad."}}', "Bad.", None, id="another word for it"),
        pytest.param(b'{"error":"Bad."}', "Bad.", None, id="a text"),
        pytest.param(b'{"detail":"Bad."}', "Bad.", None, id="FastAPI, a text"),
        pytest.param(b'{"detail":[{"loc":["body"],"msg":"Bad."}]}', "Bad.", None, id="FastAPI, a list"),
        pytest.param(b'{"detail":[]}', "The provider answered with status 400.", None, id="an empty list"),
        pytest.param(b'{"message":"Bad."}', "Bad.", None, id="bare"),
        pytest.param(b'{"code":"invalid","error":"Bad."}', "Bad.", None, id="a text and a code (xAI)"),
        pytest.param(
            b'{"object":"error","message":"Bad.","type":"BadRequestError","param":"n","code":400}',
            "Bad.",
            "n",
            id="the object is the error (vLLM)",
        ),
        pytest.param(
            b'{"object":"error","message":{"detail":[{"loc":["body","stop",0],"msg":"Bad."}]},"param":null}',
            "Bad.",
            "stop.0",
            id="a list in a message (Mistral)",
        ),
        pytest.param(b'{"detail":[{"loc":["body"],"msg":"Bad."}]}', "Bad.", None, id="FastAPI, of the whole body"),
        pytest.param(b'{"error":{"message":["Bad."]}}', "Bad.", None, id="a list of texts"),
        pytest.param(b'{"error":{"message":17}}', "The provider answered with status 400.", None, id="a number in it"),
        pytest.param(b'[{"error":{"code":400,"message":"Bad.","status":"INVALID_ARGUMENT"}}]', "Bad.", None, id="list"),
        pytest.param(b"[]", "The provider answered with status 400.", None, id="an empty list at the top"),
        pytest.param(b"{}", "The provider answered with status 400.", None, id="an empty object"),
        pytest.param(b'{"error":{}}', "The provider answered with status 400.", None, id="an empty error"),
        pytest.param(b'{"error":17}', "The provider answered with status 400.", None, id="a number"),
        pytest.param(b"", "The provider answered with status 400.", None, id="nothing"),
        pytest.param(b"Bad.", "Bad.", None, id="plain text"),
        pytest.param(b"Bad \xff.", "Bad \ufffd.", None, id="plain bytes"),
        pytest.param(b"<!doctype html><p>Bad.", "The provider answered with status 400.", None, id="a page"),
        pytest.param(b"[" * 100_000, "[" * 2000, None, id="nested without end"),
        pytest.param(b'{"error":' * 100_000, '{"error":' * 222 + '{"', None, id="an error nested without end"),
        pytest.param(b'{"error":"\xff"}', '{"error":"\ufffd"}', None, id="half a character"),
    ],
)
def test_errors_of_all_shapes_are_read(raw, message, param):
    failure = error(400, raw)
    assert (failure.message, failure.param, failure.kind) == (message, param, Kind.CALLER)
    assert failure.body is None, "only what official clients can read is relayed"


def test_a_proper_error_is_relayed_to_the_byte():
    raw = b' {"error": {"message": "Bad.", "type": "t", "param": "n", "code": null, "x": 1.50}}'
    assert error(400, raw).body == raw
    assert error(401, raw).body is None


def test_the_wait_is_told():
    assert error(429, body(), retry_after="7").retry_after == 7
    assert error(429, b"slow", retry_after_ms="500").retry_after == 0.5


@pytest.mark.parametrize(
    ("raw", "told", "wait"),
    [
        pytest.param(body(code="slow_down"), {}, 60, id="by its code: a minute"),
        pytest.param(body("Slow down, please."), {}, 60, id="by its message: a minute"),
        pytest.param(body("Slow down.", code="server_is_overloaded"), {}, 60, id="whatever else it says"),
        pytest.param(body(code="slow_down"), {"retry_after": "7"}, 60, id="less is too soon"),
        pytest.param(body(code="slow_down"), {"retry_after": "90"}, 90, id="more is obeyed"),
        pytest.param(body(code="server_is_overloaded"), {}, 5, id="busy: soon"),
        pytest.param(body(code="server_is_overloaded"), {"retry_after": "7"}, 7, id="busy: as it says"),
    ],
)
def test_who_is_too_busy_says_for_how_long(raw, told, wait):
    failure = error(503, raw, **told)
    assert (failure.kind, failure.retry_after) == (Kind.OVERLOADED, wait)


@pytest.mark.parametrize(
    ("status", "raw", "kind"),
    [
        (429, body(), Kind.RATE_LIMITED),
        (429, body("Request too large"), Kind.REQUEST),
        (429, body(code="insufficient_quota"), Kind.QUOTA),
        (401, body(), Kind.KEY),
        (404, body(code="model_not_found"), Kind.MODEL),
        (500, body(), Kind.TRANSIENT),
        (504, body(), Kind.TIMEOUT),
        (502, b"<html>", Kind.TRANSIENT),
    ],
    ids=lambda value: value.value if isinstance(value, Kind) else None,
)
def test_the_vendors_own_wait_is_told_with_every_kind_of_failure(status, raw, kind):
    failure = error(status, raw, retry_after="7")
    assert (failure.kind, failure.retry_after) == (kind, 7)


@pytest.mark.parametrize("raw", [b"<html>Not here</html>", b""])
def test_a_page_where_an_api_should_be_means_a_wrong_address(raw):
    failure = error(404, raw)
    assert (failure.kind, failure.status, failure.code) == (Kind.KEY, 502, "upstream_misconfigured")


def test_a_404_in_words_is_about_the_model():
    assert error(404, b"no such model").kind is Kind.MODEL


@pytest.mark.parametrize(
    ("inner", "kind"),
    [
        ({"message": "x", "code": "rate_limit_exceeded"}, Kind.RATE_LIMITED),
        ({"message": "x", "code": "insufficient_quota"}, Kind.QUOTA),
        ({"message": "x", "code": "context_length_exceeded", "type": "invalid_request_error"}, Kind.TOO_LONG),
        ({"message": "x", "type": "invalid_request_error"}, Kind.CALLER),
        ({"message": "x", "code": "context_length_exceeded"}, Kind.TOO_LONG),
        ({"message": "x", "code": "content_filter"}, Kind.POLICY),
        ({"message": "x", "code": "content_policy_violation"}, Kind.POLICY),
        ({"message": "x", "code": "invalid_prompt"}, Kind.POLICY),
        ({"message": "x", "code": "server_is_overloaded"}, Kind.OVERLOADED),
        ({"message": "x", "type": "server_error"}, Kind.TRANSIENT),
        ({"message": "x", "code": 429}, Kind.RATE_LIMITED),
        ({"message": "x", "code": 502}, Kind.TRANSIENT),
        ({"message": "x", "code": 7}, Kind.TRANSIENT),
        ({"message": "x", "code": 301}, Kind.TRANSIENT),
        ({"message": "x", "code": 400}, Kind.CALLER),
        ({"message": "x", "status": "slow_down"}, Kind.OVERLOADED),
        ("boom", Kind.TRANSIENT),
        ([{"msg": "boom"}], Kind.TRANSIENT),
        (True, Kind.TRANSIENT),
    ],
)
def test_an_error_in_a_stream_is_judged_as_if_it_had_come_in_time(inner, kind):
    assert in_stream(inner, b"{}").kind is kind


PROPER = {"message": "x", "type": None, "param": None, "code": None}


@pytest.mark.parametrize("inner", [PROPER, {**PROPER, "type": "t", "param": "p", "code": "c", "more": 1}])
def test_an_error_in_a_stream_is_relayed_if_clients_can_read_it(inner):
    assert in_stream(inner, b"{...}").body == b"{...}"


@pytest.mark.parametrize(
    "inner",
    [
        "x",
        {**PROPER, "message": None},
        *({**PROPER, name: 5} for name in PROPER),
        *({key: value for key, value in PROPER.items() if key != name} for name in PROPER),
    ],
)
def test_an_error_in_a_stream_is_not_relayed_if_clients_cannot_read_it(inner):
    assert in_stream(inner, b"{...}").body is None


@pytest.mark.parametrize(
    ("raw", "told"),
    [
        pytest.param(b'{"choices":[{}]}', None, id="of none"),
        pytest.param(b'{"error":"x","detail":"y"}', "x", id="an error"),
        pytest.param(
            b'{"object":"error","message":"x","type":"t","code":400}',
            {"message": "x", "type": "t", "code": 400},
            id="it is one itself",
        ),
        pytest.param(b'{"detail":"x"}', "x", id="a detail"),
        pytest.param(b'{"detail":"x","choices":[{}]}', None, id="a detail of an answer"),
        pytest.param(b'{"choices":[{},{"error":{"code":502}}]}', {"code": 502}, id="a broken choice"),
    ],
)
def test_where_an_answer_tells_of_an_error(raw, told):
    assert told_in(decoder.decode(raw)) == told


JSON = st.recursive(
    st.none() | st.integers() | st.text(),
    lambda inner: (
        st.lists(inner)
        | st.dictionaries(
            st.sampled_from(["error", "message", "msg", "type", "code", "param", "detail", "status"]), inner
        )
    ),
)


@given(
    st.integers(100, 599),
    st.binary() | JSON.map(msgspec.json.encode),
    st.dictionaries(st.sampled_from(["retry-after", "date"]), st.text()),
)
def test_no_bytes_are_anything_but_a_failure(status, raw, headers):
    failure = openai.error(status, headers, raw)
    assert failure.status not in {401, 403}
    assert failure.message
    assert failure.body in (None, raw)


def test_the_names_of_our_team_and_of_our_key_stay_inside():
    raw = b'{"code":"permission-denied","error":"Content violates usage guidelines. Team: t-1, API key ID: k-1"}'
    failure = error(403, raw)
    assert "t-1" not in failure.message
    assert "k-1" not in failure.message
    assert failure.body is None
