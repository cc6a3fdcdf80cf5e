"""Whether the ledger says what the vendors bill: for each request and each provider that was asked for it.

Rows and entries of a vendor are of two processes that know nothing of each other. A row has the id of its request, the
line of the log has that and the trace id that the client made of its number, and the vendor's entry has the number
from the prompt. Where the vendor told all that it bills, both must agree to the nano-dollar; where it did not, because
the client left or the vendor broke off, the row must say that it is an estimate.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from tests.money.truth import price, read
from tests.reliability.soak_clients import trace_of

_PREFIX = trace_of(0)[:4]
Pair = tuple[str, str]  # the number of a request, the provider


class Books(NamedTuple):
    """Nano-dollars. `told`: where the vendors said all; the others are estimates: of what the vendors really bill there
    (`billed`), what was booked (`estimated`) and withheld (`unproven`)."""

    complaints: list[str]
    rows: int
    estimates: int  # rows
    told: int
    billed: int
    estimated: int
    unproven: int

    @property
    def spent(self) -> int:
        """What the counters must say."""
        return self.told + self.estimated


def numbers(log: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """The id of a request -> its number, of all that the log has a line of."""
    return {
        line["request_id"]: str(int(line["trace_id"][len(_PREFIX) :], 16))
        for line in log
        if line["event"] == "request" and line.get("trace_id", "").startswith(_PREFIX)
    }


def compared(
    rows: Sequence[Mapping[str, Any]], entries: Sequence[Mapping[str, Any]], asked: Mapping[str, str]
) -> Books:
    """`rows` as exported, `entries` of the vendors' ledgers, `asked` as `numbers` gives it."""
    booked: defaultdict[Pair, list[Mapping[str, Any]]] = defaultdict(list)
    billed: Counter[Pair] = Counter()
    complaints = [f"row {row['id']}: nobody knows its request" for row in rows if row["request"] not in asked]
    for row in rows:
        booked[asked.get(row["request"], ""), row["provider"]].append(row)
    for entry in read(entries):
        billed[(entry.client_tag or "").removeprefix("s-"), entry.vendor] += price(entry)
    sums: Counter[str] = Counter()
    for pair in sorted({*booked, *billed}):
        complaints += _wrong(pair, booked[pair], billed[pair])
        guessed = any(row["estimated"] for row in booked[pair])
        sums["estimated" if guessed else "told"] += sum(row["cost_nano"] or 0 for row in booked[pair])
        sums["billed"] += billed[pair] if guessed else 0
        sums["unproven"] += sum(row["unproven_nano"] for row in booked[pair])
    if sums["billed"] > sums["estimated"] + sums["unproven"]:
        complaints.append(f"of what the vendors did not tell, less is booked and withheld than they bill: {dict(sums)}")
    return Books(
        complaints, len(rows), sum(row["estimated"] for row in rows), sums["told"], sums["billed"], sums["estimated"],
        sums["unproven"],
    )  # fmt: skip


def _wrong(pair: Pair, rows: Sequence[Mapping[str, Any]], billed: int) -> Iterator[str]:
    name = f"s-{pair[0]} at {pair[1]}"
    if billed and not rows:
        yield f"{name}: {billed} billed, and no row says so"
    for row in rows:
        if row["orphan"]:
            yield f"{name}: an orphan: {row['id']}"
        if row["cost_nano"] is None:
            yield f"{name}: no price: {row['id']}"
    booked = sum(row["cost_nano"] or 0 for row in rows)
    if rows and booked != billed and not any(row["estimated"] for row in rows):
        yield f"{name}: {booked} booked, {billed} billed: {[(row['id'], row['status'], row['code']) for row in rows]}"
