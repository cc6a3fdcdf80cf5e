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

_Key = tuple[str | None, str | None]  # caller, model; None: any


@dataclass(slots=True)  # whose members are set in half the time of a struct's
class _Habit:
    """`heard`: answers in all; `at`: how many there had been of any model when this one was last added to."""

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

    Answers are laid aside until somebody wants to know: to take in many at once takes half the time for each.
    """

    def __init__(self, most: int = 4_096) -> None:
        self._most = most
        self._known: OrderedDict[_Key, _Habit] = OrderedDict()
        self._aside: list[tuple[str, str, Usage, int]] = []

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
        self._aside.append((caller, model, usage, choices))
        if len(self._aside) >= _MOST_ASIDE:
            self._gather()

    def _gather(self) -> None:
        """What was laid aside: each answer counts in four averages."""
        aside, self._aside = self._aside, []
        known = self._known
        for caller, model, usage, choices in aside:
            output, prompt = usage.completion / choices, usage.prompt
            cached = usage.cached / prompt if prompt else 0.0
            for who in (None, caller):
                heard = 0
                for key in ((who, None), (who, model)):
                    habit = known.get(key)
                    if habit is None:
                        habit = known[key] = _Habit(at=heard)
                    else:
                        known.move_to_end(key)
                    weight = 1 + (habit.weight if heard <= habit.at else habit.faded(heard))
                    if weight > _MOST:
                        weight = _MOST
                    habit.weight = weight
                    habit.output += (output - habit.output) / weight
                    habit.cached += (cached - habit.cached) / weight
                    habit.at = heard
                    heard = habit.heard = habit.heard + 1
            while len(known) > self._most:
                known.popitem(last=False)
