"""When a second candidate is asked before the first has answered, and how much that may cost. Pure.

After the 95th percentile of the first one's own time, to the first part of a stream or to a whole answer: one request
in twenty is hedged then, and the slowest twentieth becomes as fast as the second candidate. What second legs may cost
is a share of what was spent.
"""

from collections.abc import Sequence

from proxy.routing import Candidate, Need
from proxy.routing.strategies import expected_cost

_MILLION = 1_000_000


class Hedges:
    """One per process. `spend`: share of what was spent; `least`: seconds before which nobody is hedged."""

    def __init__(self, *, enabled: bool, spend: float, least: float) -> None:
        self.enabled = enabled
        self._share = int(spend * _MILLION)
        self._least = least
        self._spent = 0  # nano-dollars
        self._extra = 0

    def after(self, order: Sequence[Candidate], need: Need) -> float | None:
        """Seconds until the second of `order` is asked as well; None: not at all."""
        if not self.enabled or len(order) < 2:
            return None
        first, second = order[0].standing, order[1].standing
        usual = first.hedge if need.stream else first.hedge_whole
        if usual is None or first.state != "closed" or second.state != "closed":
            return None
        return max(self._least, usual / 1000) if self._pays(expected_cost(order[1], need)) else None

    def begin(self, second: Candidate, need: Need) -> bool:
        """A second leg is about to begin: whether it still may, for many may have been planned at once. It counts as
        what it is expected to cost, whoever wins."""
        more = expected_cost(second, need)
        may = self._pays(more)
        self._extra += more or 0 if may else 0
        return may

    def _pays(self, more: int | None) -> bool:
        return more is not None and (self._extra + more) * _MILLION <= self._share * self._spent

    def spent(self, nano: int | None) -> None:
        """A request has cost so much."""
        self._spent += nano or 0
