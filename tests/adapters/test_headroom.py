"""What vendors' headers tell of their rate limits."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters import ADAPTERS, anthropic, gemini, openai
from adapters.base import Headroom

NOON = {"date": "Sun, 29 Nov 2026 12:00:00 GMT"}


def of_openai(limit="500", remaining="499", reset="120ms", kind="requests"):
    return {
        f"x-ratelimit-limit-{kind}": limit,
        f"x-ratelimit-remaining-{kind}": remaining,
        f"x-ratelimit-reset-{kind}": reset,
    }


def of_anthropic(limit="500", remaining="499", reset="2026-11-29T12:00:30Z", kind="requests"):
    return {
        f"anthropic-ratelimit-{kind}-limit": limit,
        f"anthropic-ratelimit-{kind}-remaining": remaining,
        f"anthropic-ratelimit-{kind}-reset": reset,
    }


@pytest.mark.parametrize("adapter", ADAPTERS.values(), ids=[f"{vendor}-{endpoint}" for vendor, endpoint in ADAPTERS])
def test_an_answer_that_tells_of_no_limits_tells_nothing(adapter):
    assert adapter.headroom({}) == {}
    assert adapter.headroom({**NOON, "content-type": "application/json", "retry-after": "7"}) == {}


def test_gemini_has_no_headers_for_it():
    assert gemini.headroom({**of_openai(), **of_anthropic(), **NOON}) == {}


def test_each_vendor_speaks_its_own_headers():
    assert openai.headroom({**of_anthropic(), **NOON}) == {}
    assert anthropic.headroom({**of_openai(), **NOON}) == {}


def test_openai_tells_of_requests_and_of_tokens():
    headers = of_openai() | of_openai("30000", "29000", "2s", "tokens")
    assert openai.headroom(headers) == {
        "requests": Headroom(500, 499, 0.12),
        "tokens": Headroom(30_000, 29_000, 2.0),
    }


def test_anthropic_tells_of_four_kinds_relative_to_its_own_clock():
    headers = dict(NOON)
    for number, kind in enumerate(("requests", "tokens", "input-tokens", "output-tokens"), 1):
        headers |= of_anthropic(f"{number}00", str(number), f"2026-11-29T12:00:0{number}Z", kind)
    assert anthropic.headroom(headers) == {
        "requests": Headroom(100, 1, 1.0),
        "tokens": Headroom(200, 2, 2.0),
        "input_tokens": Headroom(300, 3, 3.0),
        "output_tokens": Headroom(400, 4, 4.0),
    }


@pytest.mark.parametrize(
    ("reset", "seconds"),
    [
        ("0s", 0.0),
        ("1s", 1.0),
        ("120ms", 0.12),
        ("6m0s", 360.0),
        ("2m59.56s", 179.56),
        ("1h30m", 5_400.0),
        ("1d", 86_400.0),
        ("1d2h3m4s5ms", 93_784.005),
    ],
)
def test_a_duration_is_in_seconds(reset, seconds):
    assert openai.headroom(of_openai(reset=reset))["requests"].reset == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("reset", "seconds"),
    [
        pytest.param("2026-11-29T12:00:30Z", 30.0, id="UTC"),
        pytest.param("2026-11-29T13:00:30+01:00", 30.0, id="elsewhere"),
        pytest.param("2026-11-29T12:00:00.250Z", 0.25, id="parts of a second"),
        pytest.param("2026-11-29T11:59:00Z", 0.0, id="it is over"),
    ],
)
def test_a_time_becomes_seconds(reset, seconds):
    assert anthropic.headroom(of_anthropic(reset=reset) | NOON)["requests"].reset == seconds


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param(of_openai(limit=""), id="an empty limit"),
        pytest.param(of_openai(limit="many"), id="a limit in words"),
        pytest.param(of_openai(limit="-1"), id="a limit below nothing"),
        pytest.param(of_openai(limit="1e3"), id="a limit in science"),
        pytest.param(of_openai(limit="5_00"), id="a limit as Python writes it"),
        pytest.param(of_openai(limit="\u0665"), id="a limit in other digits"),
        pytest.param(of_openai(limit="9" * 5_000), id="a limit without end"),
        pytest.param(of_openai(remaining=""), id="nothing about what remains"),
        pytest.param(of_openai(remaining="-5"), id="less than nothing remains"),
        pytest.param(of_openai(reset=""), id="no reset"),
        pytest.param(of_openai(reset="30"), id="a reset of nobody knows what"),
        pytest.param(of_openai(reset="1.s"), id="half a number"),
        pytest.param(of_openai(reset="1s later"), id="words behind it"),
        pytest.param(of_openai(reset="1795953600s"), id="a reset in half a century"),
        pytest.param(of_openai(reset="-1s"), id="a reset before now"),
        pytest.param({"x-ratelimit-limit-requests": "500"}, id="a limit and no more"),
        pytest.param({"x-ratelimit-remaining-requests": "5", "x-ratelimit-reset-requests": "1s"}, id="no limit"),
    ],
)
def test_what_openais_format_does_not_say_readably_is_left_out(headers):
    assert openai.headroom(headers | of_openai(kind="tokens")) == {"tokens": Headroom(500, 499, 0.12)}


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param(of_anthropic(reset="soon") | NOON, id="a reset in words"),
        pytest.param(of_anthropic(reset="") | NOON, id="no reset"),
        pytest.param(of_anthropic(reset="2026-11-29T12:00:30") | NOON, id="a reset of nobody knows where"),
        pytest.param(of_anthropic(reset="9999-11-29T12:00:30Z") | NOON, id="a reset beyond all time"),
        pytest.param(of_anthropic(limit="x") | NOON, id="a limit in words"),
        pytest.param(of_anthropic(remaining="x") | NOON, id="what remains in words"),
        pytest.param(of_anthropic(), id="no date"),
        pytest.param(of_anthropic() | {"date": "today"}, id="a date in words"),
    ],
)
def test_what_anthropic_does_not_say_readably_is_left_out(headers):
    assert anthropic.headroom(headers) == {}


NAMES = sorted({*of_openai(), *of_openai(kind="tokens"), *of_anthropic(), *of_anthropic(kind="input-tokens"), "date"})
TEXTS = (
    st.text(max_size=40)
    | st.sampled_from([*of_openai().values(), *of_anthropic().values(), *NOON.values()])
    | st.from_regex(r"[0-9.]{1,12}(ms|s|m|h|d)", fullmatch=True)
    | st.from_regex(r"(Sun, )?[0-9]{1,5} [A-Z][a-z]{2} [0-9]{1,5} [0-9:]{1,9} [+-]?[0-9A-Z]{0,6}", fullmatch=True)
    | st.from_regex(r"[0-9]{1,5}-[0-9]{2}-[0-9]{2}T[0-9:.]{1,9}[+-Z][0-9:]{0,5}", fullmatch=True)
)


@given(st.dictionaries(st.sampled_from(NAMES), TEXTS))
def test_whatever_a_vendor_writes_nothing_is_raised(headers):
    for adapter in ADAPTERS.values():
        for room in adapter.headroom(headers).values():
            assert min(room.limit, room.remaining, room.reset) >= 0
            assert room.reset < 1e7
