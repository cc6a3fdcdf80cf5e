"""How a candidate stands, as a strategy sees it: three circuits, the vendor's limits, and our own requests there."""

from collections.abc import Mapping

import msgspec
from msgspec.structs import replace

from proxy.health import circuit as circuits
from proxy.health.cell import Cell, Scope
from proxy.health.circuit import Policy, State
from proxy.health.pace import Sketch
from proxy.health.ratelimit import Windows

_WORST: Mapping[State, int] = {"closed": 0, "half_open": 1, "open": 2}


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """`scope` says whose circuit it is that is not closed. Milliseconds of the shared clock; `first` milliseconds."""

    state: State = "closed"
    scope: Scope = "model"
    since: int = 0
    until: int = 0
    why: str = ""
    share: float = 1.0  # of its usual traffic, in the slow start
    blocked: int = 0  # rate limited until then
    windows: Windows = {}
    first: float | None = None  # expected until the first part, on `weight` observations
    weight: float = 0.0
    hedge: float | None = None  # the 95th percentile of `first`, if enough is known
    hedge_whole: float | None = None  # the same of whole answers, for requests that do not stream
    in_flight: int = 0  # of this replica
    stalled: bool = False  # several of them wait for far longer than usual, and nobody is answered


_ENOUGH = 20  # observations that a percentile can stand on
_NOTHING = Cell()


def standing(
    cells: Mapping[Scope, Cell], policy: Policy, now: int, *, in_flight: int = 0, stalled: bool = False
) -> Standing:
    """The worst of its circuits. `cells` has what there is of "model", "provider" and "line"."""
    scope, worst = max(
        ((scope, cell.circuit) for scope, cell in cells.items()),
        key=lambda pair: (_WORST[circuits.state(pair[1], now)], pair[1].until),
        default=("model", circuits.Circuit()),
    )
    own = cells.get("model", _NOTHING)
    pace = own.pace.faded(now)
    whole = _late(own.whole)
    state = circuits.state(worst, now)
    if state == "closed":
        scope, worst = "model", replace(own.circuit, until=0, why="")
    return Standing(
        state=state,
        scope=scope,
        since=worst.since,
        until=worst.until,
        why=worst.why,
        share=min((circuits.share(cell.circuit, policy, now) for cell in cells.values()), default=1.0),
        blocked=own.blocked if own.blocked > now else 0,
        windows=own.windows,
        first=pace.mean,
        weight=pace.weight,
        hedge=_late(own.first) or whole,
        hedge_whole=whole,
        in_flight=in_flight,
        stalled=stalled,
    )


def _late(times: Sketch) -> float | None:
    return times.quantile(0.95) if times.total >= _ENOUGH else None
