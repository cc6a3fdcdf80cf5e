"""Cuts a stream whose vendor does not keep to the cap that it was sent: it is over when the held money is used."""

from adapters.base import Failure, Kind, Target
from adapters.heard import Heard
from proxy.till import Held
from proxy.tokenizer import Tokenizer

_STEP = 1024  # bytes between two looks, and of text between two counts, at least
# Vendors themselves keep to a cap, and text has some four bytes to a token: to count it before it has more would be to
# count each answer that comes near its cap, in vain. Of a server that only speaks as one of them nobody knows it.
_OFTEN = 4


class Meter:
    """Of one stream. `enough` is what may be heard (`Heard.size`) until somebody has to look."""

    def __init__(self, held: Held, heard: Heard, tokenizer: Tokenizer, target: Target) -> None:
        self._heard, self._tokenizer, self._model = heard, tokenizer, target.model
        cap, quote, most = held.cap, held.quote, 2**63
        if cap is not None and quote is not None:
            paid = cap * quote.choices
            most = paid + paid // 4 + 64  # another tokenizer than the vendor's may count that much more
        self._most = most
        # So many bytes cannot be more tokens; or are hardly ever.
        self.enough = self._next = most * _OFTEN if target.provider == target.vendor else most
        self.beyond = False

    async def check(self) -> None:
        """Look, for it may be too much. Raises `Failure` if it is."""
        text, reasoning = self._heard.text()
        if self._heard.size > self._next:  # opened, it is text without its wrapping
            counted = await self._tokenizer.count(text + reasoning, self._model)
            self.beyond = counted > self._most
            if self.beyond:
                raise _cut()
            self._next = self._heard.size + max(_STEP, self._most - counted)
        self.enough = max(self._next, self._heard.size + _STEP)


def _cut() -> Failure:
    return Failure(
        Kind.BUDGET,
        "The provider went on beyond the output cap that it was sent; the answer was cut where the money held for it "
        "was used up.",
        status=429,
        type="insufficient_quota",
        code="budget_exceeded",
    )
