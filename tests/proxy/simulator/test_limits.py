"""Rate limits: what an answer tells of them, what is refused and how, and who arrived when."""

from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import anthropic
import msgspec
import openai
import pytest
from google.genai import errors

from proxy.simulator.client import ControlError
from proxy.simulator.limits import Buckets, Limit, Limits, Rate, duration

HOUR = 3_600_000


class Clock:
    """Time that a test moves."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock():
    return Clock()


def limited(clock, vendor="openai", **rates):
    said = {kind: {"limit": limit, "window_ms": window} for kind, (limit, window) in rates.items()}
    return Buckets(msgspec.convert({"vendor": vendor, **said}, Limit), clock)


def ask_openai(client, **extra):
    return client.chat.completions.create(model="gpt-4o", messages=[{"role": "user", "content": "hi"}], **extra)


def ask_anthropic(client, **extra):
    messages = [{"role": "user", "content": "hi"}]
    return client.messages.create(model="claude-haiku-4-5", max_tokens=99, messages=messages, **extra)


def ask_gemini(client, model="gemini-2.5-flash"):
    return client.models.generate_content(model=model, contents="hi")


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0, "0s"), (0.0001, "1ms"), (0.12, "120ms"), (0.9999, "1s"), (1, "1s"), (1.5, "1.5s"), (59.9, "59.9s"),
        (60, "1m0s"), (360, "6m0s"), (3600, "1h0m0s"), (86400.25, "24h0m0.25s"),
    ],
)  # fmt: skip
def test_durations_are_written_as_openai_writes_them(seconds, said):
    assert duration(seconds) == said


def test_a_bucket_fills_bit_by_bit_and_not_over_its_brim(clock):
    buckets = limited(clock, requests=(4, 2000))
    for _ in range(3):
        assert buckets.admit("m", 1) is None
    assert told(buckets, "requests") == ("4", "1", "1.5s")
    clock.now += 0.5
    assert told(buckets, "requests") == ("4", "2", "1s")
    clock.now += 100
    assert told(buckets, "requests") == ("4", "4", "0s")


def told(buckets, kind):
    said = dict(buckets.headers())
    return tuple(said[f"x-ratelimit-{word}-{kind}"] for word in ("limit", "remaining", "reset"))


def test_a_request_beyond_is_told_when_there_will_be_room_and_takes_nothing(clock):
    buckets = limited(clock, requests=(2, 8000), tokens=(100, 60_000))
    assert [buckets.admit("m", 10) for _ in range(2)] == [None, None]
    denial = buckets.admit("m", 10)
    assert denial.headers == [("retry-after", "4"), ("retry-after-ms", "4000")]
    assert (denial.refusal.status, denial.refusal.kind) == (429, "requests")
    assert "(RPM): Limit 2, Used 2, Requested 1. Please try again in 4s." in denial.refusal.message
    assert told(buckets, "tokens")[1] == "80"
    clock.now += 4
    assert buckets.admit("m", 10) is None


def test_of_two_limits_the_one_that_takes_longer_is_told(clock):
    buckets = limited(clock, requests=(1, 1000), tokens=(100, 60_000))
    assert buckets.admit("m", 100) is None
    denial = buckets.admit("m", 50)
    assert denial.refusal.kind == "tokens"
    assert denial.headers[0] == ("retry-after", "30")


def test_an_answer_takes_tokens_too_and_may_take_more_than_there_are(clock):
    buckets = limited(clock, tokens=(100, 100_000))
    assert buckets.admit("m", 60) is None
    buckets.answered(90)
    assert told(buckets, "tokens") == ("100", "0", "2m30s")
    assert buckets.admit("m", 1).headers[0] == ("retry-after", "51")


def test_anthropic_counts_input_and_output_apart(clock):
    buckets = limited(clock, "anthropic", input_tokens=(100, HOUR), output_tokens=(50, HOUR))
    assert buckets.admit("m", 60) is None
    buckets.answered(50)
    said = dict(buckets.headers())
    assert said["anthropic-ratelimit-input-tokens-remaining"] == "40"
    assert said["anthropic-ratelimit-output-tokens-remaining"] == "0"
    assert said["anthropic-ratelimit-output-tokens-reset"] == "2027-01-15T09:00:00Z"
    assert said["date"] == "Fri, 15 Jan 2027 08:00:00 GMT"
    assert "50 output tokens per minute" in buckets.admit("m", 1).refusal.message


def test_what_is_more_than_the_whole_limit_is_not_told_to_come_again(clock):
    denial = limited(clock, tokens=(10, HOUR)).admit("gpt-4o", 11)
    assert denial.headers == []
    assert denial.refusal.message.startswith("Request too large for gpt-4o in organization")


def test_the_models_of_a_prefix_share_a_limit_and_the_last_one_given_counts(clock):
    limits = Limits(clock)
    limits.add(Limit(vendor="openai", requests=Rate(9, HOUR)))
    limits.add(Limit(vendor="openai", model="gpt-4", requests=Rate(2, HOUR)))
    few = limits.of("openai", "gpt-4o")
    assert few is limits.of("openai", "gpt-4.1")
    assert few is not limits.of("openai", "o3")
    assert limits.of("gemini", "gpt-4o") is None
    limits.add(Limit(vendor="openai", model="gpt-4", requests=Rate(3, HOUR)))
    assert [buckets.limit.rates["requests"].limit for buckets in limits.all] == [9, 3]
    limits.clear("openai")
    assert limits.all == []


def test_openai_tells_its_limits_in_each_answer_and_refuses_what_is_beyond(vendors, oa):
    vendors.limit("openai", requests=(2, HOUR), tokens=(1000, HOUR))
    raw = oa.chat.completions.with_raw_response.create(model="gpt-4o", messages=[{"role": "user", "content": "hi"}])
    assert raw.headers["x-ratelimit-limit-requests"] == "2"
    assert raw.headers["x-ratelimit-remaining-requests"] == "1"
    usage = raw.parse().usage
    assert raw.headers["x-ratelimit-remaining-tokens"] == str(1000 - usage.total_tokens)
    assert raw.headers["x-ratelimit-reset-requests"] in ("30m0s", "29m59.999s")
    list(ask_openai(oa, stream=True))
    with pytest.raises(openai.RateLimitError, match="Limit 2, Used 2, Requested 1") as caught:
        ask_openai(oa)
    assert 1795 <= int(caught.value.response.headers["retry-after"]) <= 1800
    assert caught.value.response.headers["x-ratelimit-remaining-requests"] == "0"
    assert [entry["outcome"] for entry in vendors.ledger()] == ["complete", "complete", "refused"]
    assert vendors.ledger()[-1]["usage"]["in_text"] == 0


def test_anthropic_tells_times_and_the_date_beside(vendors, an):
    vendors.limit("anthropic", requests=(1, HOUR))
    raw = an.messages.with_raw_response.create(
        model="claude-haiku-4-5", max_tokens=9, messages=[{"role": "user", "content": "hi"}]
    )
    reset = datetime.fromisoformat(raw.headers["anthropic-ratelimit-requests-reset"]).astimezone(UTC)
    assert 3590 < (reset - parsedate_to_datetime(raw.headers["date"])).total_seconds() <= 3601
    assert raw.headers["anthropic-ratelimit-requests-remaining"] == "0"
    with pytest.raises(anthropic.RateLimitError, match="rate limit for your organization of 1 requests") as caught:
        ask_anthropic(an, stream=True)
    assert 3590 < int(caught.value.response.headers["retry-after"]) <= 3600


def test_gemini_tells_nothing_but_a_delay_when_it_refuses(vendors, ge):
    vendors.limit("gemini", requests=(1, HOUR))
    answer = ask_gemini(ge)
    assert not [name for name in answer.sdk_http_response.headers if "limit" in name or name == "date"]
    with pytest.raises(errors.ClientError) as caught:
        ask_gemini(ge)
    delay = caught.value.details["error"]["details"][-1]["retryDelay"]
    assert 3590 < float(delay.removesuffix("s")) <= 3600
    assert "retry-after" not in caught.value.response.headers


def test_a_limit_is_of_the_models_that_it_names(vendors, ge):
    vendors.limit("gemini", model="gemini-3", requests=(1, HOUR))
    for _ in range(3):
        ask_gemini(ge)
    ask_gemini(ge, "gemini-3-flash-preview")
    with pytest.raises(errors.ClientError):
        ask_gemini(ge, "gemini-3-flash-preview")


def test_a_late_refusal_is_one_too(vendors, oa):
    vendors.limit("openai", requests=(1, HOUR))
    ask_openai(oa)
    vendors.fault("openai", "slow", delay_ms=1)
    with pytest.raises(openai.RateLimitError):
        ask_openai(oa)
    assert vendors.ledger()[-1]["outcome"] == "refused"


def test_a_refused_request_takes_no_answer_out_of_the_script(vendors, oa):
    vendors.limit("openai", requests=(1, HOUR))
    ask_openai(oa)
    vendors.script("openai", {"text": "kept"})
    with pytest.raises(openai.RateLimitError):
        ask_openai(oa)
    vendors.clear_limits("openai")
    assert ask_openai(oa).choices[0].message.content == "kept"


def test_limits_stand_until_they_are_cleared(vendors, oa):
    vendors.limit("openai", requests=(1, HOUR))
    vendors.limit("anthropic", tokens=(1, 2))
    assert [limit["vendor"] for limit in vendors.limits()] == ["openai", "anthropic"]
    vendors.clear_limits("anthropic")
    assert [limit["vendor"] for limit in vendors.limits()] == ["openai"]
    vendors.reset()
    assert vendors.limits() == []
    for _ in range(3):
        ask_openai(oa)


@pytest.mark.parametrize(
    ("vendor", "rates"),
    [
        ("openai", {"requests": (0, 1000)}),
        ("openai", {"requests": (1, 0)}),
        ("openai", {"output_tokens": (1, 1000)}),
        ("gemini", {"input_tokens": (1, 1000)}),
        ("openai", {"images": (1, 1000)}),
        ("nobody", {"requests": (1, 1000)}),
    ],
)
def test_a_wrong_limit_is_refused(vendors, vendor, rates):
    with pytest.raises(ControlError):
        vendors.limit(vendor, **rates)
    assert vendors.limits() == []


def test_arrivals_tell_when_each_request_came_whatever_became_of_it(vendors, oa, an):
    vendors.limit("anthropic", requests=(1, HOUR))
    ask_anthropic(an)
    with pytest.raises(anthropic.RateLimitError):
        ask_anthropic(an)
    vendors.fault("openai", "hang")
    with pytest.raises(openai.APITimeoutError):
        ask_openai(oa.with_options(timeout=0.1))
    vendors.clear()
    vendors.fault("openai", "status", status=500, times=1)
    with pytest.raises(openai.InternalServerError):
        ask_openai(oa)
    list(oa.models.list())
    assert vendors.wait("openai", in_progress=0)
    came = vendors.arrivals()
    assert [(e["vendor"], e["model"], e["outcome"]) for e in came] == [
        ("anthropic", "claude-haiku-4-5", "complete"),
        ("anthropic", "claude-haiku-4-5", "refused"),
        ("openai", "gpt-4o", "cancelled"),
        ("openai", "gpt-4o", "fault"),
    ]
    assert [e["started"] for e in came] == sorted(e["started"] for e in came)
    assert [e["model"] for e in vendors.arrivals("openai")] == ["gpt-4o"] * 2
    vendors.clear_ledger()
    assert vendors.arrivals() == []


def test_who_still_waits_has_arrived(vendors, oa):
    vendors.fault("openai", "hang_midstream")
    with ask_openai(oa, stream=True):
        (entry,) = vendors.arrivals("openai")
        assert (entry["outcome"], entry["stream"], entry["ended"]) == ("open", True, 0)
