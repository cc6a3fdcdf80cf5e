"""The meter: it looks only when it must, and cuts a stream once more was said than the money held pays for."""

from typing import Any

import msgspec
import pytest

from adapters import sse
from adapters.base import Capabilities, Failure, Kind, Target
from adapters.heard import Heard
from proxy.bound import Quote
from proxy.cost import Rate
from proxy.meter import Meter
from proxy.till import Held
from proxy.tokenizer import Tokenizer
from tests.proxy.accounts import entry


def target(provider: str) -> Target:
    return Target(
        provider=provider, vendor="openai", model="gpt-4o", capabilities=Capabilities(), context=9_999, max_output=9_999
    )


LIKE_OPENAI, OPENAI = target("local"), target("openai")
WORD = " alpha"  # one token of six bytes
CAP = 4_000


class Counting(Tokenizer):
    """The real one, which says how often it was asked."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: list[int] = []

    async def count(self, text: str, model: str) -> int:
        self.counts.append(await super().count(text, model))
        return self.counts[-1]


def held(cap: int | None = CAP, choices: int = 1, *, quoted: bool = True) -> Held:
    rate = Rate(input=1, output=1, units=0)
    quote = Quote(prompt=1, rate=rate, choices=choices, most=10_000, capped=True) if quoted else None
    return Held(entry=entry(), amount=1, limits=(), price=None, quote=quote, cap=cap)


def part(text: str, at: int = 0, key: str = "content") -> bytes:
    return sse.encode(msgspec.json.encode({"id": "c", "choices": [{"index": at, "delta": {key: text}}]}))


class Stream:
    """Parts that go by a meter as `Forward` lets them: it is asked once more than `enough` was heard."""

    def __init__(self, of: Held, to: Target = LIKE_OPENAI) -> None:
        self.heard, self.tokenizer = Heard(), Counting()
        self.meter = Meter(of, self.heard, self.tokenizer, to)
        self.looks = 0

    async def say(self, *parts: bytes) -> None:
        for said in parts:
            self.heard.add(said)
            if self.heard.size > self.meter.enough:
                self.looks += 1
                await self.meter.check()

    async def words(self, number: int, **more: Any) -> None:
        await self.say(*(part(WORD, **more) for _ in range(number)))


def allowed(tokens: int) -> int:
    """What is paid for, and as much more as another tokenizer may count."""
    return tokens + tokens // 4 + 64


async def test_of_a_vendor_that_keeps_to_caps_by_its_own_word_an_answer_of_usual_words_is_never_counted():
    stream = Stream(held(), OPENAI)
    await stream.words(CAP * 4 // len(WORD))
    assert (stream.looks, stream.tokenizer.counts) == (0, [])


async def test_and_one_that_goes_on_all_the_same_is_cut_too():
    stream = Stream(held(), OPENAI)
    with pytest.raises(Failure):
        await stream.words(8 * CAP)
    assert allowed(CAP) < stream.tokenizer.counts[-1] < 2 * allowed(CAP)


@pytest.mark.parametrize("of", [held(None), held(CAP, quoted=False)], ids=["no budget", "no price"])
async def test_where_nothing_is_held_nobody_looks(of):
    stream = Stream(of)
    await stream.words(3_000)
    assert (stream.looks, stream.tokenizer.counts, stream.meter.beyond) == (0, [], False)


async def test_what_has_fewer_bytes_than_it_may_have_tokens_is_not_counted():
    stream = Stream(held())
    await stream.words(allowed(CAP) // len(WORD))
    assert (stream.looks, stream.tokenizer.counts) == (0, [])


async def test_what_looks_like_more_because_of_what_it_is_wrapped_in_is_opened_and_not_counted():
    stream = Stream(held())
    for _ in range(allowed(CAP) // len(WORD)):
        await stream.say(part(WORD, key="refusal"))
    assert stream.looks > 0
    assert stream.tokenizer.counts == []


async def test_an_answer_up_to_what_is_allowed_passes_and_is_counted_a_few_times_only():
    stream = Stream(held())
    await stream.words(allowed(CAP))
    assert not stream.meter.beyond
    assert 1 <= len(stream.tokenizer.counts) <= 20, "of 5064 parts"
    assert stream.tokenizer.counts == sorted(stream.tokenizer.counts)


@pytest.mark.parametrize("key", ["content", "reasoning_content"])
async def test_an_answer_that_goes_on_is_cut_not_long_after(key):
    stream = Stream(held())
    with pytest.raises(Failure) as caught:
        await stream.words(100 * CAP, key=key)
    failure = caught.value
    assert (failure.kind, failure.status, failure.type, failure.code) == (
        Kind.BUDGET,
        429,
        "insufficient_quota",
        "budget_exceeded",
    )
    assert stream.meter.beyond
    assert allowed(CAP) < stream.tokenizer.counts[-1] <= allowed(CAP) + 200, "a step of 1024 bytes, and what it takes"


@pytest.mark.parametrize("choices", [2, 5])
async def test_each_choice_has_a_cap_of_its_own(choices):
    stream = Stream(held(choices=choices))
    for at in range(choices):
        await stream.words(CAP, at=at)
    assert not stream.meter.beyond
    with pytest.raises(Failure):
        await stream.words(20 * choices * CAP, at=choices - 1)
    assert stream.tokenizer.counts[-1] > allowed(choices * CAP)


async def test_a_part_that_cannot_be_read_counts_by_its_bytes_and_ends_nothing():
    """What is no text has no tokens that we could count: the vendor's own count will tell."""
    stream = Stream(held())
    await stream.say(*[b"data: {not json}\n\n"] * 1_000)
    assert not stream.meter.beyond
    assert max(stream.tokenizer.counts) == 0
