"""What a person wants to see move: each minute of the last hours, how budgets are used up, and each turn of a circuit.

A `Pulse` counts what this replica serves and shares it on the notice board, so that every replica shows the traffic of
all. How budgets stand it reads from the store now and then, and keeps what it saw; the turns of circuits it notes as
they come by. None of it is needed to serve a request: while the store is away all that suffers is how fresh it is.
"""

import asyncio  # it tells and listens in the background, as the fleet does
import heapq
from collections import deque
from collections.abc import Callable, Mapping, Sequence

import msgspec
import structlog

from proxy import series
from proxy.budget import EACH, Budget
from proxy.fleet import Fleet
from proxy.health import circuit
from proxy.health.circuit import State
from proxy.ledger import Counter, labels
from proxy.ledger import end as window_end
from proxy.minutes import of
from proxy.series import KEPT, MINUTE, Point, Series, rise
from proxy.store import Board, Notice, Store, StoreError
from proxy.store.patience import Patience, end
from proxy.telemetry import Record

PREFIX = "series:"
_TURN_SECONDS = 1.0
_SHARE_SECONDS = 5.0
_READ_SECONDS = 15.0
_RESTS = 100  # times as long as a read took: of many counters it is dear, for the store and for whoever holds money
_STORE_SECONDS = 1.0  # that an answer of the store is waited for
_TRIES = 3  # of a pin whose last state was not known
_MOST_HEARD = 1_000  # replicas; a board that somebody else fills must not fill this process
_MOST_CURVES = 200
_MOST_OF_EACH = 20  # values of a budget for each, the most used
_MOST_TURNS = 500
_MOST_ASIDE = 256  # requests; fewer than are remembered in any case
_LINE = "line"
_HOUR = 3_600_000  # milliseconds
_MILLI = 1_000
_MINUTE = MINUTE / _MILLI  # seconds
_NOTHING = Counter()


class Turn(msgspec.Struct, frozen=True):
    """A circuit has turned. `model` as in `Fleet.shared`: "" for the provider's own, "line" for our way there."""

    at: int  # milliseconds since the epoch
    provider: str
    model: str
    state: State
    why: str


class Money(msgspec.Struct, frozen=True):
    """The counters of the day and of the month of `at` (milliseconds, the store's clock), by scope."""

    at: int
    day: Mapping[str, Counter]
    month: Mapping[str, Counter]


class Pulse:
    """One per process; used on the event loop. A `Sink`, and a `Reader` of the board.

    `budgets` are those in force; `fleet`, once there is one, whose circuits are watched. `clock` in seconds, monotonic;
    `wall` in seconds since the epoch.
    """

    prefix = PREFIX

    def __init__(
        self,
        board: Board,
        budgets: Callable[[], Sequence[Budget]],
        store: Store,
        replica: str,
        *,
        clock: Callable[[], float],
        wall: Callable[[], float],
        fleet: Fleet | None = None,
    ) -> None:
        self._board, self.budgets, self._store, self.fleet = board, budgets, store, fleet
        self._clock, self._wall = clock, wall
        self._key = f"{PREFIX}{replica}"
        self._own = Series()
        self._dirty = False
        self._aside: list[Record] = []  # all of one minute:
        self._begun = self._ends = 0.0  # from then on, until then; seconds since the epoch
        self._serial = 0  # of our notice
        self._others: dict[str, tuple[int, Series]] = {}  # by key: the serial number, and what stands there
        self._complained: set[str] = set()
        self._shared, self._read = -_SHARE_SECONDS, -_READ_SECONDS  # when it was last done, or tried
        self._rested = 0.0  # until when the store is left alone
        self._curves: dict[tuple[str, str], list[Point]] = {}  # by label and scope
        self._days: dict[str, Mapping[str, Counter]] = {}  # by label; those of this month that are over
        self._hour = 0  # in which they were read
        self.money: Money | None = None
        self.away_since: int | None = None  # since when the store has not answered; milliseconds since the epoch
        self.turns: deque[Turn] = deque(maxlen=_MOST_TURNS)
        self._states: dict[tuple[str, str], tuple[State, int]] = {}
        self._task: asyncio.Task[None] | None = None

    def now(self) -> int:
        """This process's own idea of the time; milliseconds since the epoch."""
        return int(self._wall() * _MILLI)

    async def open(self) -> None:
        """Begin. Never raises."""
        await self.round()
        self._task = asyncio.create_task(self._beat())

    async def close(self) -> None:
        """Share what is not shared, if that is quickly done, and stop."""
        if self._task is not None:
            await end([self._task])
            self._task = None
        await self._share()

    # ---- what happens here, and what others say -----------------------------------------------------------------

    def __call__(self, record: Record) -> None:
        """Count a request that is over."""
        self.over((record,))

    def over(self, records: Sequence[Record]) -> None:
        """Count requests that are over just now."""
        at = self._wall()
        if not self._begun <= at < self._ends:
            self._gather()
            self._begun = at // _MINUTE * _MINUTE
            self._ends = self._begun + _MINUTE
        self._aside += records
        if len(self._aside) >= _MOST_ASIDE:
            self._gather()

    def _gather(self) -> None:
        """Count what was laid aside: requests of one minute are added up once."""
        if self._aside:
            aside, self._aside = self._aside, []
            self._dirty = True
            began = int(self._begun * _MILLI)
            self._own = self._own.trimmed(began).add(began // MINUTE, of(aside))

    def hear(self, key: str, notice: Notice) -> None:
        """Somebody's series was changed; ours too is heard."""
        if key == self._key:
            self._serial = max(self._serial, notice.serial)
            return
        try:
            found = series.decode(notice.text)
        except ValueError as error:
            if key not in self._complained and len(self._complained) < _MOST_HEARD:
                self._complained.add(key)
                structlog.get_logger().warning("series not understood", key=key, why=str(error))
            return
        if not found.minutes:
            self._others.pop(key, None)
        elif key in self._others or len(self._others) < _MOST_HEARD:
            self._others[key] = notice.serial, found

    def forget(self) -> None:
        """The board was forgotten: what others had put up they put up again; what is known of them stays till then."""
        self._gather()
        self._serial, self._dirty = 0, bool(self._own.minutes)
        self._others = {key: (0, found) for key, (_, found) in self._others.items()}

    def whole(self) -> Series:
        """The last hours, of all replicas."""
        self._gather()
        now = self.now()
        return series.merged(one.trimmed(now) for one in (self._own, *(found for _, found in self._others.values())))

    def points(self, label: str, scope: str) -> Sequence[Point]:
        """What of a scope was used in a window, as it rose; what this replica did not see is not there."""
        if label.startswith("month"):
            return self._month(scope)
        return self._curves.get((label, scope), ())

    # ---- in the background --------------------------------------------------------------------------------------

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(_TURN_SECONDS)
            await self.round()

    async def round(self) -> None:
        """Whatever is due. Never raises."""
        self._watch()
        now = self._clock()
        if now - self._shared >= _SHARE_SECONDS:
            self._shared = now
            await self._share()
        await self.refresh(_READ_SECONDS)

    async def refresh(self, seconds: float) -> None:
        """Ask how budgets stand, if what is known is older than so many seconds; with 0 at once. Never raises."""
        now = self._clock()
        if seconds and now < max(self._rested, self._read + seconds):
            return
        self._read = now
        try:
            with Patience(_STORE_SECONDS):
                self._take(await self._counted())
            await self._recollect()
            self._rested = now + _RESTS * (self._clock() - now)
        except Exception as error:  # whatever it is, the next time may see it gone
            if self.away_since is None:
                self.away_since = self.now()
                structlog.get_logger().warning("dashboard not fresh", why=str(error) or "no answer in time")
            return
        if self.away_since is not None:
            self.away_since = None
            structlog.get_logger().info("dashboard fresh again")

    def _watch(self) -> None:
        """Note the turns of circuits: by what one is now, if it turned unseen; not the reset of one that was well."""
        if self.fleet is None:
            return
        now, oldest = self.fleet.now(), self.fleet.now() - KEPT * MINUTE
        lines = {key: cell for key, cell in self.fleet.own().items() if key[1] == _LINE}
        for key, cell in {**self.fleet.shared(), **lines}.items():
            turned = cell.circuit
            state = circuit.state(turned, now)
            at = turned.until if state == "half_open" else turned.since
            before, when = self._states.get(key, ("", 0))
            if at > oldest and (before, when) != (state, at) and not before == state == "closed":
                self.turns.append(Turn(at, *key, state, turned.why if turned.opened else ""))
            self._states[key] = state, at

    async def _share(self) -> None:
        """Put up what was counted, and take the figures off notices that are too old to be of use. Never raises; what
        could not be told is told the next time."""
        try:
            with Patience(_STORE_SECONDS):
                self._gather()
                if self._dirty:
                    await self._put_up(self._own.trimmed(self.now()))
                for key, (serial, found) in list(self._others.items()):
                    if not found.trimmed(self.now()).minutes:
                        await self._board.pin(key, serial, series.encode(Series()), ring=False)
                        self._others.pop(key, None)
        except (StoreError, TimeoutError):
            pass  # the exchange says it of the same board
        except Exception:
            structlog.get_logger().exception("series not shared")

    async def _put_up(self, own: Series) -> None:
        self._own = own
        for _ in range(_TRIES):
            self._dirty = False
            try:
                stands = await self._board.pin(self._key, self._serial, series.encode(own), ring=False)
            except BaseException:
                self._dirty = True  # it may stand there; if not, there is nobody else to say it
                raise
            self._serial = stands.serial
            if stands.ours:
                return
        self._dirty = True

    async def _counted(self) -> Money:
        at = await self._store.now()
        day, month = [await self._store.counters(label) for label in labels(at)]
        return Money(at, day, month)

    def _take(self, money: Money) -> None:
        self.money = money
        today = labels(money.at)[0]
        for label, scope in list(self._curves):
            if label != today:
                del self._curves[label, scope]
        for scope in self._scopes(money.day):
            if (today, scope) in self._curves or len(self._curves) < _MOST_CURVES:
                rise(self._curves.setdefault((today, scope), []), money.at, money.day.get(scope, Counter()).used)

    def _scopes(self, counters: Mapping[str, Counter]) -> dict[str, None]:
        """Those of the budgets of a day, each once."""
        found: dict[str, None] = {}
        for budget in self.budgets():
            if budget.window == "day" and budget.value != EACH:
                found[budget.scope] = None
            elif budget.window == "day":
                each = [scope for scope in counters if scope.startswith(f"{budget.dimension}=")]
                found.update(dict.fromkeys(heapq.nlargest(_MOST_OF_EACH, each, lambda scope: counters[scope].used)))
        return found

    async def _recollect(self) -> None:
        """The days of this month that are over, if a budget of a month is to be shown; now and then anew, for rows come
        late."""
        if self.money is None or not any(budget.window == "month" for budget in self.budgets()):
            return
        hour, today = self.money.at // _HOUR, labels(self.money.at)[0]
        if hour != self._hour:
            self._hour, self._days = hour, {}
        first = f"{today[:-2]}01"
        for day in range(1, int(today[-2:])):
            label = f"{first[:-2]}{day:02d}"
            if label not in self._days:
                with Patience(_STORE_SECONDS):
                    self._days[label] = await self._store.counters(label)

    def _month(self, scope: str) -> list[Point]:
        points, used = [], 0
        for label, counters in sorted(self._days.items()):
            used += counters.get(scope, _NOTHING).used
            points.append((window_end(label), used))
        return points
