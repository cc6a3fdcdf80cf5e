"""Whom to ask, in which order: one row per strategy, each a pure function.

candidate   what a strategy is shown
fitness     who cannot do what the request needs
strategies  the table
choice      all of it together: fit, in order, and as healthy as they are
"""

from proxy.routing.candidate import DEFAULT_TASKS, OTHER, TASKS, Candidate, Choice, Expected, Need, Out
from proxy.routing.choice import choose
from proxy.routing.strategies import STRATEGIES, Strategy

__all__ = [
    "DEFAULT_TASKS",
    "OTHER",
    "STRATEGIES",
    "TASKS",
    "Candidate",
    "Choice",
    "Expected",
    "Need",
    "Out",
    "Strategy",
    "choose",
]
