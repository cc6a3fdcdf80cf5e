"""What callers and models produced lately: how long an answer is likely to be, and how much of a prompt is cached.

Averages that forget, from the general to the particular: of everybody, of a model, of a caller, of this caller at this
model. Each leans on the one before it as long as it stands on little, so that a model that a caller has never asked is
judged by what the caller asks for, not by a constant that makes it look dear or cheap. What is known of one model fades
with the answers of others: a long answer must not keep it out for good, for who is not asked cannot prove better. Pure
state, no clock.
"""

import math
from collections import OrderedDict

import msgspec

from adapters.base import Usage
from proxy.routing.candidate import Expected

_DEFAULT = Expected(500.0)
_MOST = 20.0  # answers that an average stands on at most: then each new one is a twentieth of it
_LEANING = 3.0  # answers that the more general average is worth
_HALF_LIFE = 100  # answers of any model, after which those of one count half

_Key = tuple[str | None, str | None]  # caller, model; None: any


class _Habit(msgspec.Struct):
    """`heard`: answers in all; `at`: how many there had been of any model when this one was last added to."""

    output: float = 0.0
    cached: float = 0.0
    weight: float = 0.0
    heard: int = 0
    at: int = 0


class Habits:
    """One per process. `most` averages are kept; those to which nothing was added for longest go first."""

    def __init__(self, most: int = 4_096) -> None:
        self._most = most
        self._known: OrderedDict[_Key, _Habit] = OrderedDict()

    def expect(self, caller: str, model: str, cap: int | None) -> Expected:
        """Tokens of each choice, at most `cap`, and the cached part of the prompt."""
        output, cached = _DEFAULT.output, _DEFAULT.cached
        for key in _keys(caller, model):
            habit = self._known.get(key)
            if habit is not None:
                weight = _faded(habit, self._heard(key))
                output = (weight * habit.output + _LEANING * output) / (weight + _LEANING)
                cached = (weight * habit.cached + _LEANING * cached) / (weight + _LEANING)
        return Expected(output if cap is None else min(output, cap), cached)

    def learn(self, caller: str, model: str, usage: Usage, choices: int = 1) -> None:
        """An answer of `choices` choices has come to its end."""
        output, prompt = usage.completion / choices, usage.prompt
        cached = usage.cached / prompt if prompt else 0.0
        everybody = self._add((None, None), output, cached, 0)
        self._add((None, model), output, cached, everybody.heard)
        own = self._add((caller, None), output, cached, 0)
        self._add((caller, model), output, cached, own.heard)
        while len(self._known) > self._most:
            self._known.popitem(last=False)

    def _add(self, key: _Key, output: float, cached: float, heard: int) -> _Habit:
        """One more answer. `heard`: of any model, if this is of one."""
        habit = self._known.get(key)
        if habit is None:
            habit = self._known[key] = _Habit(at=heard)
        else:
            self._known.move_to_end(key)
        weight = 1 + (habit.weight if heard <= habit.at else _faded(habit, heard))
        if weight > _MOST:
            weight = _MOST
        habit.weight = weight
        habit.output += (output - habit.output) / weight
        habit.cached += (cached - habit.cached) / weight
        habit.heard += 1
        habit.at = heard
        return habit

    def _heard(self, key: _Key) -> int:
        """Answers of any model, to the caller of `key` or to everybody; 0 if it is not about one model."""
        caller, model = key
        known = self._known.get((caller, None)) if model is not None else None
        return known.heard if known else 0


def _faded(habit: _Habit, heard: int) -> float:
    """What it stands on, after so many answers of any model."""
    elsewhere = heard - habit.at  # less than nothing, if the caller was forgotten in between
    return habit.weight if elsewhere <= 0 else habit.weight * math.pow(0.5, elsewhere / _HALF_LIFE)


def _keys(caller: str, model: str) -> tuple[_Key, ...]:
    """From the general to the particular."""
    return (None, None), (None, model), (caller, None), (caller, model)
