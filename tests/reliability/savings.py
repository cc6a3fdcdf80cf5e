"""What each strategy would have cost on an hour of real traffic: `make savings` replays it and writes docs/savings.md.

The trace: Azure's LLM inference trace of conversations, 2023-11-16, 19,366 requests with their times and token counts
(https://github.com/Azure/AzurePublicDataset, "AzureLLMInferenceTrace_conv", CC-BY 4.0, Microsoft; described in Patel et
al., "Splitwise", ISCA 2024). Ours keeps its rows, with seconds since the first one for the time.

What the trace does not tell is dealt by dice of a known seed: pictures, tools, schemas, sounds. The choice is the
product's own, with the prices of `pricing.yaml`; only the vendors' answers are made up.
"""

import csv
import gzip
import heapq
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import Any, NamedTuple, get_args

from adapters.base import Usage
from proxy import providers
from proxy.catalog import Catalog, ProviderRow, load
from proxy.cost import NANO, cost
from proxy.habits import Habits
from proxy.health import Standing
from proxy.health.pace import Pace
from proxy.prices import Class, Model
from proxy.routing import DEFAULT_TASKS, TASKS, Candidate, Need, choose
from proxy.routing.fitness import fit

ROOT = Path(__file__).resolve().parents[2]
TRACE = Path(__file__).with_name("azure_llm_2023_conv.csv.gz")
PAGE = ROOT / "docs" / "savings.md"
ROWS = [ProviderRow(name=vendor, vendor=vendor) for vendor in providers.VENDORS]
CLASSES: Sequence[Class] = get_args(Class)
DATES = (datetime(2026, 11, 22, tzinfo=UTC), datetime(2027, 1, 1, tzinfo=UTC))  # of the table; when known rises are due
SLICE = 1_000  # requests that the test replays

SHARES = {"images": 0.10, "tools": 0.20, "schema": 0.05, "audio": 0.02}
_OFF = 0.25  # how far the proxy's estimate of a prompt may be off: it counts bytes, not tokens
# Milliseconds to the first part, and tokens a second from then on: made up, of the order of what is measured publicly.
_PACES: Mapping[str, Mapping[Class, tuple[float, float]]] = {
    "openai": {"fast": (450, 150), "standard": (700, 90), "frontier": (1_500, 60)},
    "anthropic": {"fast": (550, 140), "standard": (900, 80), "frontier": (1_400, 60)},
    "gemini": {"fast": (350, 250), "standard": (600, 180), "frontier": (1_800, 100)},
}


class Request(NamedTuple):
    """One row of the trace. `at` in seconds; tokens."""

    at: float
    output: int
    usage: Usage
    need: Need


class Bill(NamedTuple):
    """What all requests came to: nano-dollars, and how many went to each provider."""

    total: int
    served: Counter[str]


class Plan(NamedTuple):
    """A row of the table: a strategy with who is primary."""

    name: str
    strategy: str
    primary: str


CLAIM = 0.30  # of the cost that is said to be saved
ALWAYS = [Plan(f"always {vendor}", "fallback", vendor) for vendor in providers.VENDORS]
CHOOSING = [Plan(name, name, "gemini") for name in ("fallback", "cost", "capability", "load_balance", "latency")]
PLANS = ALWAYS + CHOOSING
AGAINST = [plan.name for plan in ALWAYS]


def requests(most: int | None = None) -> list[Request]:
    """The trace, or the first so many of it, with what each request needs."""
    rng = Random(2023)
    with gzip.open(TRACE, "rt", newline="") as file:
        rows = list(csv.DictReader(file))
    return [_request(row, i, rng) for i, row in enumerate(rows[:most])]


def _request(row: Mapping[str, str], at: int, rng: Random) -> Request:
    prompt, output = int(row["prompt"]), int(row["output"])
    wanted: dict[str, Any] = {name: rng.random() < share for name, share in SHARES.items()}
    estimate = round(prompt * rng.uniform(1 - _OFF, 1 + _OFF))
    need = Need(prompt=estimate, least=estimate // 2, task=TASKS[at % len(TASKS)], **wanted)
    usage = Usage(out_text=output, **{"in_audio" if need.audio else "in_text": prompt})
    return Request(float(row["seconds"]), output, usage, need)


def models(catalog: Catalog, class_: Class, primary: str) -> list[tuple[ProviderRow, Model]]:
    """The equivalents of a class, primary first."""
    rows = sorted(ROWS, key=lambda row: row.name != primary)
    return [(row, model) for row in rows if (model := catalog.preferred(row, class_))]


class _World:
    """The vendors, as the replay knows them: what is in flight, how fast they were, what they wrote."""

    def __init__(self, offers: Sequence[tuple[ProviderRow, Model]], class_: Class, when: datetime) -> None:
        route = Catalog([model for _, model in offers])
        self._class: Class = class_
        self._candidates = {
            row.name: Candidate(
                target=route.route(f"{row.name}/{model.model}", [row]).candidates[0],
                model=model.model,
                price=model.price_at(when),
            )
            for row, model in offers
        }
        self.everyone = list(self._candidates.values())
        self._paces = dict.fromkeys(self._candidates, Pace())
        self._in_flight: Counter[str] = Counter()
        self._ends: list[tuple[float, int, str, Usage]] = []
        self._habits = Habits()
        self._dice = Random(7)
        self._zero = int(when.timestamp() * 1_000)

    def now(self, at: float) -> int:
        return self._zero + int(at * 1_000)

    def candidates(self, request: Request) -> list[Candidate]:
        """As they stand when the request comes."""
        while self._ends and self._ends[0][0] <= request.at:
            *_, name, usage = heapq.heappop(self._ends)
            self._in_flight[name] -= 1
            self._habits.learn("all", self._candidates[name].model, usage)
        return [self._stood(name, one, self.now(request.at)) for name, one in self._candidates.items()]

    def _stood(self, name: str, one: Candidate, now: int) -> Candidate:
        pace = self._paces[name].faded(now)
        return Candidate(
            target=one.target,
            model=one.model,
            price=one.price,
            standing=Standing(first=pace.mean, weight=pace.weight, in_flight=self._in_flight[name]),
            expected=self._habits.expect("all", one.model, None),
        )

    def serve(self, number: int, request: Request, chosen: Candidate) -> int:
        """It is sent and answered; returns its cost."""
        name = chosen.target.provider
        first, speed = _PACES[name][self._class]
        first *= self._dice.lognormvariate(0, 0.3)
        self._paces[name] = self._paces[name].joined(Pace(first, 1.0, self.now(request.at)))
        self._in_flight[name] += 1
        heapq.heappush(self._ends, (request.at + first / 1_000 + request.output / speed, number, name, request.usage))
        assert chosen.price is not None
        return cost(request.usage, chosen.price)


def replay(catalog: Catalog, traffic: Sequence[Request], class_: Class, plan: Plan, when: datetime) -> Bill:
    """All of the traffic through `choose`; whoever is first serves."""
    world = _World(models(catalog, class_, plan.primary), class_, when)
    rng, total, served = Random(1), 0, Counter[str]()
    for number, request in enumerate(traffic):
        choice = choose(
            world.candidates(request),
            request.need,
            strategy=plan.strategy,
            tasks=DEFAULT_TASKS,
            rng=rng,
            now=world.now(request.at),
            choosy=False,
        )
        first = choice.order[0]
        total += world.serve(number, request, first)
        served[first.target.provider] += 1
    return Bill(total, served)


def hindsight(catalog: Catalog, traffic: Sequence[Request], class_: Class, when: datetime) -> Bill:
    """The cheapest who can, for each request, its true length known beforehand: nobody can save more."""
    world = _World(models(catalog, class_, "gemini"), class_, when)
    total, served = 0, Counter[str]()
    for request in traffic:
        able, _ = fit(world.everyone, request.need, choosy=False)
        least, who = min((cost(request.usage, one.price), one.target.provider) for one in able if one.price is not None)
        total += least
        served[who] += 1
    return Bill(total, served)


Bills = Mapping[Class, Mapping[str, Bill]]


def bills(catalog: Catalog, traffic: Sequence[Request], plans: Sequence[Plan], when: datetime) -> Bills:
    """By class, by name of the plan."""
    found: dict[Class, dict[str, Bill]] = {}
    for class_ in CLASSES:
        done: dict[tuple[str, str], Bill] = {}
        for plan in plans:
            if plan[1:] not in done:
                done[plan.strategy, plan.primary] = replay(catalog, traffic, class_, plan, when)
        found[class_] = {plan.name: done[plan.strategy, plan.primary] for plan in plans}
        found[class_]["in hindsight"] = hindsight(catalog, traffic, class_, when)
    return found


def saving(bill: Bill, against: Bill) -> float:
    """The part that is saved; less than 0: it costs more."""
    return 1 - bill.total / against.total


def together(found: Bills, name: str) -> Bill:
    """Each request once in each class."""
    served = sum((rows[name].served for rows in found.values()), Counter[str]())
    return Bill(sum(rows[name].total for rows in found.values()), served)


def table(found: Bills) -> Iterator[str]:
    """What each strategy costs, per class."""
    yield f"| class | strategy | USD | {' | '.join(f'saved against {name}' for name in AGAINST)} | went to |"
    yield f"|---|---|--:|{'--:|' * len(AGAINST)}---|"
    names = list(found[CLASSES[0]])
    everything = [*found.items(), ("all three", {name: together(found, name) for name in names})]
    for class_, rows in everything:
        for name, bill in rows.items():
            saved = [_percent(saving(bill, rows[other])) for other in AGAINST]
            shares = ", ".join(f"{who} {_percent(n / bill.served.total())}" for who, n in bill.served.most_common())
            yield f"| {class_} | {name} | {_usd(bill.total)} | {' | '.join(saved)} | {shares} |"


def claims(found: Bills) -> Iterator[str]:
    """Where `cost` saves what the claim says: per primary and class."""
    yield f"| primary | {' | '.join(CLASSES)} | all three, as many of each | at least {_percent(CLAIM)} |"
    yield f"|---|{'--:|' * (len(CLASSES) + 1)}---|"
    for vendor, name in zip(providers.VENDORS, AGAINST, strict=True):
        saved = {class_: saving(rows["cost"], rows[name]) for class_, rows in found.items()}
        mixed = saving(together(found, "cost"), together(found, name))
        cells = [_percent(part) for part in (*saved.values(), mixed)]
        holds = [class_ for class_, part in saved.items() if part >= CLAIM]
        said = f"{', '.join(holds) or 'in no class'}; {'holds' if mixed >= CLAIM else '**does not hold**'} in the mix"
        yield f"| {vendor} | {' | '.join(cells)} | {said} |"


def least_share(found: Bills, class_: Class, rest: Class, against: str) -> float | None:
    """Which part of the requests must ask for `class_`, all others for `rest`, so that `cost` saves the claim."""
    spare, short = ((1 - CLAIM) * found[one][against].total - found[one]["cost"].total for one in (class_, rest))
    if spare < 0:
        return None
    return 0.0 if short >= 0 else short / (short - spare)


def _percent(part: float) -> str:
    return f"{round(100 * part, 1) or 0:g} %"


def _usd(nano: int) -> str:
    cents = -(-nano // (NANO // 100))
    return f"{cents // 100}.{cents % 100:02d}"


PAGE_TEXT = """# What the strategies save

Written by `make savings`, which replays an hour of real traffic; do not edit.

**The claim** was that `cost` saves at least {claim} against sending everything to the primary provider. What holds, at
the prices of {days[0]}:

{claims[0]}

A primary that is the cheapest of a class already leaves nothing to be saved there: that is where it says 0. Against
`gemini`, the primary by default, {claim} of the whole is saved if {standard} of the requests ask for `fast` models
and the others for `standard` ones; {frontier} if the others ask for `frontier` ones.

At the prices of {days[1]}, as far as the vendors have announced them:

{claims[1]}

## How it was measured

- The trace: {requests} requests of one hour, Azure's LLM inference trace of conversations of 2023-11-16
  (https://github.com/Azure/AzurePublicDataset, CC-BY 4.0): times, tokens of prompt and answer. Each vendor is taken to
  count and to write as many tokens. Nothing is cached, and nobody fails.
- The choice is the product's own, prices are those of `pricing.yaml`. Candidates are the preferred models of the three
  vendors, per class: equivalents, from which the strategy is free to choose.
- Dealt by dice of a known seed: {dealt}. Who cannot do it
  is out, in every row: only Gemini takes audio, so that "always openai" sends it that part. All nine models take
  pictures, tools and schemas.
- Tasks (for `capability`) in turn, one fifth each. Times to the first part and tokens a second (for `latency` and
  `load_balance`) are made up.
- `cost` does not know how long the answer will be. It expects what it has learnt while the trace was replayed, and its
  estimate of the prompt is off by up to a quarter, as ours is, which counts bytes. "In hindsight" knows both.
- `fallback` sends everything to the primary (gemini) as long as nobody fails: it is the same row.

## Per class and strategy

At the prices of {days[0]}. Negative: it costs more.

{table}

## The first {slice}

The same for the first {slice} requests only; a test replays these.

{first}
"""


def page(catalog: Catalog) -> str:
    """docs/savings.md."""
    traffic = requests()
    now = bills(catalog, traffic, PLANS, DATES[0])
    then = bills(catalog, traffic, [plan for plan in PLANS if plan.name in (*AGAINST, "cost")], DATES[1])
    shares = [least_share(now, "fast", rest, "always gemini") for rest in ("standard", "frontier")]
    standard, frontier = ("no part" if part is None else f"at least {100 * part:.0f} %" for part in shares)
    return PAGE_TEXT.format(
        claim=_percent(CLAIM),
        days=[day.date().isoformat() for day in DATES],
        claims=["\n".join(claims(found)) for found in (now, then)],
        standard=standard,
        frontier=frontier,
        requests=f"{len(traffic):,}",
        dealt=", ".join(f"{_percent(share)} {name}" for name, share in SHARES.items()),
        table="\n".join(table(now)),
        slice=f"{SLICE:,}",
        first="\n".join(table(bills(catalog, traffic[:SLICE], PLANS, DATES[0]))),
    )


if __name__ == "__main__":
    text = page(load((ROOT / "pricing.yaml").read_bytes()))
    PAGE.write_text(text, encoding="utf-8")
    print(text)
