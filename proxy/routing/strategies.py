"""The strategies: which candidate is asked first, which after it. Each is a pure function of what it is shown.

A strategy orders; whether somebody can be asked at all is decided elsewhere (`choice`), the same for all of them. Each
returns all that it was given.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from random import Random

from adapters.base import Usage
from proxy.cost import cost as billed
from proxy.routing.candidate import Candidate, Need

Strategy = Callable[[Sequence[Candidate], Need, Random, Mapping[str, str]], list[Candidate]]

EXPLORE = 0.05  # part of the requests that go to somebody else than the fastest, to hear how fast that one is
_LITTLE = 1.0  # observations, old ones counted in part: who has fewer is hardly known
_UNKNOWN_MS = 1_000.0  # until the first part, where nobody has been observed: what it is does not matter then


def fallback(candidates: Sequence[Candidate], need: Need, rng: Random, tasks: Mapping[str, str]) -> list[Candidate]:
    """The order of the catalog: the model that was asked for, then its equivalents, primary first."""
    return list(candidates)


def cost(candidates: Sequence[Candidate], need: Need, rng: Random, tasks: Mapping[str, str]) -> list[Candidate]:
    """The cheapest for this request first, among those that lose the same of it; who loses nothing goes before all."""

    def dearness(candidate: Candidate) -> tuple[int, float]:
        expected = expected_cost(candidate, need)
        return candidate.losses, math.inf if expected is None else expected

    return sorted(candidates, key=dearness)


def expected_cost(candidate: Candidate, need: Need) -> int | None:
    """What the request is likely to cost there, in nano-dollars; None if the price is not known. No bound: a guess."""
    if candidate.price is None:
        return None
    cached = round(need.prompt * candidate.expected.cached)
    output = round(candidate.expected.output) * need.choices
    usage = Usage(in_text=need.prompt - cached, cache_read=cached, out_text=output)
    return billed(usage, candidate.price, need.tier)


def capability(candidates: Sequence[Candidate], need: Need, rng: Random, tasks: Mapping[str, str]) -> list[Candidate]:
    """The provider first that the table names for the task; without a task the order of the catalog."""
    preferred = tasks.get(need.task) if need.task else None
    return sorted(candidates, key=lambda candidate: candidate.target.provider != preferred)


def load_balance(candidates: Sequence[Candidate], need: Need, rng: Random, tasks: Mapping[str, str]) -> list[Candidate]:
    """The better of two drawn by weight goes first (the power of two choices); the others follow, the best first.

    They are drawn with replacement, so that a weight of 3 to 1 is 3 to 1 where both are equally good, and nobody is
    left without requests for being slower: of two candidates, without it, the slower one would never be asked again.
    M. Mitzenmacher, "The Power of Two Choices in Randomized Load Balancing", IEEE TPDS 12 (2001).
    """
    if len(candidates) < 2:
        return list(candidates)
    loads = _loads(candidates)
    everyone = range(len(candidates))
    first, second = rng.choices(everyone, [candidate.weight for candidate in candidates], k=2)
    winner = second if loads[second] < loads[first] else first
    order = sorted(everyone, key=lambda i: (i != winner, loads[i]))
    return [candidates[i] for i in order]


def _loads(candidates: Sequence[Candidate]) -> list[float]:
    """How long one more request is likely to wait, relatively; who is not known is as fast as the others are."""
    known = [c.standing.first for c in candidates if c.standing.first is not None and c.standing.weight >= _LITTLE]
    usual = sum(known) / len(known) if known else _UNKNOWN_MS
    loads = []
    for candidate in candidates:
        standing = candidate.standing
        first = standing.first if standing.first is not None and standing.weight >= _LITTLE else usual
        loads.append((1 + standing.in_flight / candidate.weight) * first)
    return loads


def latency(candidates: Sequence[Candidate], need: Need, rng: Random, tasks: Mapping[str, str]) -> list[Candidate]:
    """The fastest to its first part goes first, as far as is known; now and then another, hardly known ones first."""
    order = sorted(candidates, key=_first)
    if len(order) < 2 or _first(order[0]) == math.inf or rng.random() >= EXPLORE:
        return order
    others = range(1, len(order))
    explored = rng.choice([i for i in others if order[i].standing.weight < _LITTLE] or others)
    return [order.pop(explored), *order]


def _first(candidate: Candidate) -> float:
    return math.inf if candidate.standing.first is None else candidate.standing.first


STRATEGIES: Mapping[str, Strategy] = {
    "fallback": fallback,
    "cost": cost,
    "capability": capability,
    "load_balance": load_balance,
    "latency": latency,
}
