"""Two opinions of what a model costs, figure by figure: what a request would be billed, not how it is written down."""

from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import product

import msgspec

from proxy.cost import rate
from proxy.prices import MILLION, Model, PerUnit, Price, Rates

_BEGINNING = datetime(1, 1, 2, tzinfo=UTC)  # a day's grace: some zone is always behind


class Spot(msgspec.Struct, frozen=True, order=True):
    """Where a figure stands in a price: a rate, by variant and above a length, a fee, or a factor of a region."""

    key: str
    variant: str = ""
    above: int = 0

    def __str__(self) -> str:
        parts = [self.variant, f"above {self.above}" if self.above else "", self.key]
        return ", ".join(part for part in parts if part)


class Change(msgspec.Struct, frozen=True):
    """One figure that differs, micro-dollars; None: it is not named. `since` is None for what holds today."""

    provider: str
    model: str
    today: datetime
    since: datetime | None
    spot: Spot | None  # None: the model as a whole came or went
    old: int | None
    new: int | None
    source: str = ""  # who says so

    def holds_from(self, begin: datetime | None) -> bool:
        """Whether a price that begins at `begin` has begun when this change comes."""
        return begin is None or begin <= (self.since or self.today)

    @property
    def begins(self) -> str | None:
        """The day from which it holds; None: today, or ever since."""
        return self.since.date().isoformat() if self.since and self.since > _BEGINNING else None

    def __str__(self) -> str:
        when = f"from {self.begins}, " if self.begins else ""
        if self.spot is None:
            return f"{self.provider}/{self.model}: {'added' if self.old is None else 'gone'}"
        return f"{self.provider}/{self.model}: {when}{self.spot}: {shown(self.old)} -> {shown(self.new)}"


def shown(micro: int | None) -> str:
    """A figure as the table writes it, "0.0375"; "none" if there is none."""
    if micro is None:
        return "none"
    whole, rest = divmod(micro, MILLION)
    return f"{whole}.{rest:06d}".rstrip("0").rstrip(".") if rest else str(whole)


def changes(
    model: Model, theirs: tuple[Price, ...], today: datetime, *, whole: bool, dated: bool = True, past: bool = False
) -> Iterator[Change]:
    """What would be billed otherwise by `theirs`, from `today` on; only today, if they are not `dated`.

    `whole`: what they do not name is gone; otherwise it is not spoken of. `past`: what was billed before counts, too.
    A difference that goes on is told once, for the day on which it begins.
    """
    other = msgspec.structs.replace(model, prices=theirs)
    begins = {row.valid_from for row in (*model.prices, *theirs) if row.valid_from}
    later = {begin for begin in begins if dated and begin > today}
    days = sorted({_BEGINNING, today, *begins} if past else {today, *later})
    told: set[tuple[Spot, int | None, int | None]] = set()
    for day in days:
        new = other.price_at(day)
        found = set(_differences(model.price_at(day), new, whole=whole)) if new or whole else set()
        for spot, was, becomes in sorted(found - told, key=lambda difference: difference[0]):
            since = None if day == today else day
            yield Change(model.provider, model.model, today, since, spot, was, becomes, new.source if new else "")
        told = found


def _differences(old: Price | None, new: Price | None, *, whole: bool) -> Iterator[tuple[Spot, int | None, int | None]]:
    rows = [row for row in (old, new) if row]
    variants = sorted({name for row in rows for name in row.variants})
    starts = {step.above_prompt_tokens for row in rows for step in row.tiers}
    starts |= {s.above_prompt_tokens for row in rows for v in row.variants.values() for s in v.tiers}
    for variant, above, name in product(("", *variants), (0, *sorted(starts)), Rates.__struct_fields__):
        spot = Spot(name, variant, above)
        was, becomes = named(old, spot), named(new, spot)
        if not (whole or _spoken_of(new, spot)):
            continue
        if becomes is None:
            if whole and was is not None:
                yield spot, was, None
        elif billed(old, spot) != becomes:
            yield spot, was, becomes
    for spot in _fees(rows):
        was, becomes = named(old, spot), named(new, spot)
        if was != becomes and (whole or becomes is not None):
            yield spot, was, becomes


def _fees(rows: list[Price]) -> list[Spot]:
    regions = sorted({name for row in rows for name in row.region})
    return [Spot(f"per_unit.{name}") for name in PerUnit.__struct_fields__] + [Spot(f"region.{r}") for r in regions]


def _spoken_of(price: Price | None, spot: Spot) -> bool:
    """Whether a variant has the rate for itself; what it takes over from the standard one is nobody's word."""
    variant = price.variants.get(spot.variant) if price else None
    if variant is None or variant.per_mtok is None:
        return True
    return any(
        getattr(rates, spot.key) is not None for rates in (variant.per_mtok, *(t.per_mtok for t in variant.tiers))
    )


def named(price: Price | None, spot: Spot) -> int | None:
    """The figure at `spot`, if the price has one."""
    group, _, name = spot.key.rpartition(".")
    if price is None or (spot.variant and spot.variant not in price.variants):
        return None
    if group == "region":
        return price.region.get(name)
    if group == "per_unit":
        found: int | None = getattr(price.per_unit, name)
        return found
    rates = price.rates(spot.above + 1 if spot.above else 0, spot.variant or None)
    figure: int | None = getattr(rates, name)
    return figure


def billed(price: Price | None, spot: Spot) -> int | None:
    """The figure at `spot`, or what stands in for it; None if nothing is known or the variant has no price."""
    if price is None or (spot.variant and spot.variant not in price.variants):
        return None
    return rate(price.rates(spot.above + 1 if spot.above else 0, spot.variant or None), spot.key)
