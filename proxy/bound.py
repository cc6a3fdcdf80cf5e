"""What one request can cost at most, how many tokens of answer an amount pays for, and what it cost in the end. Pure.

A hold is a true upper bound because the request that leaves carries an output cap that fits it: the prompt is bounded
by its bytes, the answer by the cap, and both are priced at the dearest rate that may apply.
"""

import math
from typing import Literal

import msgspec
from msgspec.structs import replace

from adapters import marks
from adapters.base import Target, Usage
from adapters.marks import Marks
from proxy.budget import MOST, PART
from proxy.cost import Hints, Rate, cost, worst
from proxy.ledger import Entry
from proxy.prices import Price
from proxy.tokens import TEXT, Media, allowance

_PER_NANO = 1_000  # micro-dollars per million tokens, times tokens, to nano-dollars


class Rules(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How tight money is handled. `least_output` in tokens; `unbounded_share` is a part of what is left."""

    least_output: int = 256  # never is an answer's cap lowered below this
    unbounded_share: float = 0.1  # most that a request without a cap of its own may hold
    on_store_outage: Literal["refuse", "allow"] = "refuse"
    ledger_days: int = 400

    def __post_init__(self) -> None:
        if not 0 < self.unbounded_share <= 1:
            raise ValueError("`unbounded_share` is more than 0 and at most 1")
        if self.least_output < 1 or self.ledger_days < 40:
            raise ValueError("`least_output` is at least 1 token, `ledger_days` at least 40 days")

    @property
    def share(self) -> int:
        """`unbounded_share` in millionths, at least one."""
        return max(1, int(self.unbounded_share * PART))


_SEARCHES = 10  # that one request may set off; more land all the same, as an overrun


_PLAIN = Hints()


def hints(body: bytes, media: Media, model: str, found: Marks | None = None) -> Hints:
    """What a request may be billed for beside plain text, by what stands in it. Never too little. `found`: the marks of
    `body`, if somebody has them."""
    found = found or marks.read(body)
    searching = found.searches or "search" in model
    if media is TEXT and not searching and found.words.isdisjoint(_DEARER):
        return _PLAIN
    return Hints(
        cache_5m=b'cache_control"' in found.words,
        cache_1h=b'1h"' in found.words,
        cache_12h=b'24h"' in found.words or b'12h"' in found.words,
        audio_in=media.audio > 0 or media.unknown,
        image_in=media.images > 0 or media.unknown,
        audio_out=b'audio"' in found.words,
        searches=_SEARCHES if searching else 0,
    )


_DEARER = frozenset({b'cache_control"', b'1h"', b'24h"', b'12h"', b'audio"'})


class Quote(msgspec.Struct, frozen=True, kw_only=True):
    """The worst case of one request at one model. Tokens; `most` is what one choice may come to by itself."""

    prompt: int
    rate: Rate
    choices: int
    most: int
    capped: bool  # the client named a cap

    def amount(self, cap: int) -> int:
        """Nano-dollars, at most, with this output cap; never more than any budget has, however many choices."""
        rate = self.rate
        amount = -(-(self.prompt * rate.input + cap * self.choices * rate.output) // _PER_NANO) + rate.units
        return amount if amount < MOST else MOST

    def cap(self, amount: int) -> int:
        """The largest output cap that `amount` pays for, at most `most`; below 1 if it does not pay for the prompt."""
        room = (amount - self.rate.units) * _PER_NANO - self.prompt * self.rate.input
        each = self.choices * self.rate.output
        if each == 0:
            return self.most if room >= 0 else 0
        return min(self.most, room // each)


def quoted(
    prompt: int,
    price: Price,
    using: Hints,
    target: Target,
    *,
    tier: str | None,
    cap: int | None,
    choices: int,
    predicted: int = 0,
) -> Quote:
    """The worst case of a request of at most `prompt` tokens; `cap` is the client's own.

    Tokens that the client has `predicted` are billed as output when they are rejected, and no cap bounds them.
    """
    if using.searches:
        prompt = target.context  # what was found is read as well
    rate, longest = worst(prompt, price, tier, hints=using), target.max_output
    if predicted:
        rejected = -(-predicted * rate.output // _PER_NANO)
        rate = replace(rate, units=rate.units + rejected)
    most = cap if cap and cap < longest else longest
    return Quote(prompt=prompt, rate=rate, choices=choices, most=most, capped=cap is not None)


# A request without a cap that gets this many times the least is served without counting its prompt more exactly.
_COMFORT = 16


def wanted(quote: Quote, rules: Rules, *, tight: bool) -> tuple[int, int, int]:
    """(least, most, share) to ask the store for. Not `tight`: only what costs the client nothing of its answer."""
    most = quote.amount(quote.most)
    if quote.capped and not tight:
        return most, most, PART
    least = rules.least_output if tight else _COMFORT * rules.least_output
    share = PART if quote.capped else rules.share
    return (quote.amount(least) if least < quote.most else most), most, share


class End(msgspec.Struct, kw_only=True):
    """How an attempt ended, as far as money goes. Tokens; the estimates are made only when the vendor did not say."""

    sent: bool = False  # the request may have reached the vendor
    refused: bool = False  # the vendor turned it down with an error status: errors are not billed
    whole: bool = False  # the answer came to its proper end, and what the vendor told can be all of it
    beyond: bool = False  # the vendor did not keep to the cap that it was sent
    usage: Usage | None = None  # what the vendor said, so far
    tier: str | None = None
    cost: int | None = None  # of `usage`, in nano-dollars, if somebody has reckoned it already
    text: int = 0
    reasoning: int = 0
    prompt: int = 0
    silent: float = 0.0  # seconds from the sending to the first part, or to the end: what was thought in that time?
    lasted: float = 0.0  # seconds from the sending to the end, of one that was broken off

    @property
    def free(self) -> bool:
        """Nothing can have been billed."""
        return not self.sent or self.refused

    @property
    def told(self) -> bool:
        """The vendor has said all that it will bill."""
        return self.whole and self.usage is not None


def bill(entry: Entry, price: Price | None, held: int, rate: Rate | None, end: End) -> Entry:
    """The row as it is booked. `held` is 0 where no budget applied.

    What the vendor did not say is estimated on what was heard, never zero; what it may have billed beyond that is
    `unproven`: nobody is charged for it, but the budgets do not give it out again.
    """
    if not end.sent or end.refused:  # `End.free`
        return replace(entry, held=held, cost=0)
    usage, spent = end.usage, end.cost
    told = end.whole and usage is not None  # `End.told`
    if usage is None or not told:
        usage, spent = _estimate(end), None
    if price is None:
        spent = None
    elif spent is None:
        spent = cost(usage, price, end.tier)
    if spent is not None and spent > MOST:
        spent = MOST  # the stores can add that up
    said = replace(entry, held=held, usage=usage, tier=end.tier, cost=spent, estimated=not told)
    if told or spent is None:
        return said
    if held and not end.beyond:
        spent = min(spent, held)  # more than the bound it cannot be: it was counted with another tokenizer
    return replace(said, cost=spent, unproven=min(max(0, held - spent), _unheard(end, rate, held)))


def _estimate(end: End) -> Usage:
    """The vendor's own counts as far as they go, completed by ours."""
    told = replace(end.usage) if end.usage is not None else Usage()
    if told.prompt == 0:
        told.in_text = end.prompt
    if told.completion < end.text + end.reasoning:
        told.out_text = max(told.out_text, end.text)
        told.out_reasoning = max(told.out_reasoning, end.reasoning)
    return told


_NOT_OURS = 64  # tokens of a prompt that was counted with our tokenizer, not with theirs; and an eighth of it
# What a vendor may have written while nothing was heard of it, thoughts above all. The fastest large models write some
# 250 tokens a second; the first thousand are for those who write in bursts.
_A_SECOND = 250
_AT_ONCE = 1_024
# Seconds in which it goes on before it knows that nobody listens, and while we have not read what it said: at the speed
# at which it spoke before, no more than a burst. Models on chips of their own write thousands of tokens a second.
_UNAWARE = 0.25


def _unheard(end: End, rate: Rate | None, held: int) -> int:
    """Nano-dollars that may have been billed beyond the estimate."""
    if rate is None:
        return held
    heard = end.text + end.reasoning
    onwards = min(_AT_ONCE, heard * _UNAWARE / end.lasted) if end.lasted else 0
    tokens = allowance(heard) + math.ceil(_A_SECOND * end.silent + onwards) + (0 if heard else _AT_ONCE)
    more = tokens * rate.output
    if end.usage is None:
        more += (_NOT_OURS + end.prompt // 8) * rate.input
    return -(-more // _PER_NANO)


# How many times over a model may have read all that it can take in, by one request: a vendor's own tools, when it looks
# for something, let it read again and again. More is an error, or a lie.
_ROUNDS = 16
_MOST_SEARCHES = 1_000


def credible(usage: Usage, target: Target, choices: int) -> bool:
    """Whether this model can have used so much. Who believes anything loses a month's budget to one wrong number."""
    most = _ROUNDS * max(target.context, target.max_output)
    searches = usage.web_searches + usage.map_queries
    return usage.prompt <= most and usage.completion <= most * choices and searches <= _MOST_SEARCHES
