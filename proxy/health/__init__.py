"""Whether a model at a provider can be asked now: circuit breakers, vendors' rate limits, and how fast it answers.

Pure: events and times come in as arguments, and what is known comes out. `proxy.fleet` keeps it, and shares it with the
other replicas.

    circuit    the state machine of one breaker
    ratelimit  what a vendor's limits have left
    pace       percentiles and averages that add up
    cell       all of that for one model, or for one provider; what outcomes say to it
    standing   what a strategy is told of a candidate
"""

from proxy.health.cell import Cell, Outcome, Report, Scope
from proxy.health.circuit import Policy
from proxy.health.standing import Standing

__all__ = ["Cell", "Outcome", "Policy", "Report", "Scope", "Standing"]
