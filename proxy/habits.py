"""What callers and models produced lately: how long an answer is likely to be, and how much of a prompt is cached.

Averages that forget, from the general to the particular: of everybody, of a model, of a caller, of this caller at this
model. Each leans on the one before it as long as it stands on little, so that a model that a caller has never asked is
judged by what the caller asks for, not by a constant that makes it look dear or cheap. What is known of one model fades
with the answers of others: a long answer must not keep it out for good, for who is not asked cannot prove better. Pure
state, no clock.
"""

import math
from collections import OrderedDict
from dataclasses import dataclass

from adapters.base import Usage
from proxy.routing.candidate import Expected

_DEFAULT = Expected(500.0)
_MOST = 20.0  # answers that an average stands on at most: then each new one is a twentieth of it
_LEANING = 3.0  # answers that the more general average is worth
_MOST_ASIDE = 64  # answers
_HALF_LIFE = 100  # answers of any model, after which those of one count half

_SOON = 7  # answers later, one that stands on `_MOST` has not faded by as much as the next one adds

_Key = tuple[str | None, str | None]  # caller, model; None: any


@dataclass(slots=True)  # whose members are set in half the time of a struct's
class _Habit:
    """`heard`: answers of any model; `at`: how many there had been of any when this one was last added to."""

    output: float = 0.0
    cached: float = 0.0
    weight: float = 0.0
    heard: int = 0
    at: int = 0

    def faded(self, heard: int) -> float:
        """What it stands on, after so many answers of any model."""
        elsewhere = heard - self.at  # less than nothing, if the caller was forgotten in between
        return self.weight if elsewhere <= 0 else self.weight * math.pow(0.5, elsewhere / _HALF_LIFE)


class Habits:
    """One per process. `most` averages are kept; those to which nothing was added for longest go first.

    Answers are laid aside until somebody wants to know: of many at once, the averages of each caller and model are
    looked up once.
    """

    def __init__(self, most: int = 4_096) -> None:
        self._most = most
        self._known: OrderedDict[_Key, _Habit] = OrderedDict()
        self._aside: list[tuple[tuple[str, str], Usage, int]] = []
        # Fewer, where those of one batch could push each other out: each counts in four averages.
        self._most_aside = max(1, min(_MOST_ASIDE, most // 4))

    def expect(self, caller: str, model: str, cap: int | None) -> Expected:
        """Tokens of each choice, at most `cap`, and the cached part of the prompt."""
        if self._aside:
            self._gather()
        output, cached = _DEFAULT.output, _DEFAULT.cached
        for who in (None, caller):
            heard = 0  # of any model; for the average of that itself it is no matter
            for key in ((who, None), (who, model)):
                habit = self._known.get(key)
                if habit is not None:
                    weight = habit.faded(heard)
                    output = (weight * habit.output + _LEANING * output) / (weight + _LEANING)
                    cached = (weight * habit.cached + _LEANING * cached) / (weight + _LEANING)
                    heard = habit.heard
        return Expected(output if cap is None else min(output, cap), cached)

    def learn(self, caller: str, model: str, usage: Usage, choices: int = 1) -> None:
        """An answer of `choices` choices has come to its end."""
        self._aside.append(((caller, model), usage, choices))
        if len(self._aside) >= self._most_aside:
            self._gather()

    def _gather(self) -> None:
        """What was laid aside: each answer counts in four averages."""
        aside, self._aside = self._aside, []
        averages: dict[tuple[str, str], tuple[tuple[_Habit, _Habit], ...]] = {}
        for asked, usage, choices in aside:
            output = usage.completion / choices
            cached: float = usage.cached
            if cached:
                cached /= usage.prompt
            pairs = averages.get(asked)
            if pairs is None:
                pairs = averages[asked] = self._pairs(*asked)
            for whole, habit in pairs:
                weight = whole.weight
                if weight != _MOST:
                    weight = whole.weight = min(1 + weight, _MOST)
                whole.output += (output - whole.output) / weight
                whole.cached += (cached - whole.cached) / weight
                heard = whole.heard = whole.heard + 1
                weight = habit.weight
                if weight != _MOST or heard - habit.at > _SOON:
                    weight = habit.weight = min(1 + habit.faded(heard), _MOST)
                habit.output += (output - habit.output) / weight
                habit.cached += (cached - habit.cached) / weight
                habit.at = heard
        while len(self._known) > self._most:
            self._known.popitem(last=False)

    def _pairs(self, caller: str, model: str) -> tuple[tuple[_Habit, _Habit], ...]:
        """Everybody's averages and those of the caller, each of any model and of this one: to be added to."""
        habit = self._habit
        return (habit((None, None)), habit((None, model))), (habit((caller, None)), habit((caller, model)))

    def _habit(self, key: _Key) -> _Habit:
        habit = self._known.get(key)
        if habit is None:
            habit = self._known[key] = _Habit()
        else:
            self._known.move_to_end(key)
        return habit
