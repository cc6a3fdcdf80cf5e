"""`tollhouse health`: who is healthy, since when and why not; and a circuit closed by hand."""

import time
from collections.abc import Iterator, Mapping

import msgspec

from proxy.desk.client import Client, part
from proxy.desk.screen import Cell, Column, Screen
from proxy.desk.trouble import BAD_NEWS, NOT_REACHED, OK, Trouble
from proxy.desk.window import at, span

EVERY = 2.0  # seconds between two looks
_KINDS = {"first": "first_part_ms", "total": "total_ms"}
_PERCENTILES = ("p50", "p95")
_COLUMNS = (
    Column("name"),
    Column("state"),
    Column("since"),
    Column("why"),
    Column("until"),
    *(Column(f"{kind} {percentile}", right=True, spare=True) for kind in _KINDS for percentile in _PERCENTILES),
    Column("failed", right=True, spare=True),
    Column("in flight", right=True, spare=True),
)
_LINE, _WAY = " (line)", " (way there)"  # of a provider: what the API calls it, and what it is called here
_STYLES = {"open": "bold red", "closed": "green"}


class _Counts(msgspec.Struct, frozen=True):
    ok: int = 0
    failed: int = 0


class _Circuit(msgspec.Struct, kw_only=True):
    state: str
    since: str | None = None
    until: str | None = None
    why: str | None = None
    window: _Counts = _Counts()
    share: float = 1.0

    @property
    def word(self) -> str:
        """The state in one word."""
        return "slow-start" if self.state == "closed" and self.share < 1 else self.state.replace("_", "-")


class _Own(msgspec.Struct):
    line: _Circuit


class _Model(_Circuit, kw_only=True):
    first_part_ms: dict[str, float | None] = {}
    total_ms: dict[str, float | None] = {}
    rate_limited_until: str | None = None
    in_flight: int = 0


class _Provider(_Circuit, kw_only=True):
    own: _Own
    models: dict[str, _Model]


class _Health(msgspec.Struct):
    at: str
    replica: str
    shared: bool
    providers: dict[str, _Provider]


class _Row(msgspec.Struct, frozen=True):
    """A circuit by the name that people know it by; `model`: what is known beside it."""

    name: str
    circuit: _Circuit
    model: _Model | None = None

    @property
    def limited(self) -> str | None:
        """Until when the vendor refuses to be asked, where nothing worse is the matter."""
        return self.model.rate_limited_until if self.model and self.circuit.word == "closed" else None

    @property
    def word(self) -> str:
        """The state in one word."""
        return "rate-limited" if self.limited else self.circuit.word


class _Reset(msgspec.Struct):
    reset: list[str]


def show(client: Client, screen: Screen, provider: str | None, *, as_json: bool) -> int:
    """Print it once. The exit code: 1 if any circuit is open."""
    body = _asked(client, provider)
    found = client.read(body, _Health)
    if as_json:
        screen.raw(body)
    else:
        screen.table(_COLUMNS, [_cells(row, found.at, short=screen.terminal) for row in _rows(found)])
        _notes(screen, found)
    return BAD_NEWS if _open(found) else OK


def watch(client: Client, screen: Screen, provider: str | None, *, as_json: bool, every: float = EVERY) -> int:
    """Print it again and again, until somebody interrupts: on a terminal in the same place; else what has changed, a
    line each; as JSON, a line for each look."""
    if as_json:
        for body, _ in _looks(client, screen, provider, every):
            screen.raw(body)
    elif screen.terminal:
        with screen.live() as place:
            for _, found in _looks(client, screen, provider, every):
                below = f"{found.at[:19]}Z, by {found.replica}; Ctrl-C ends it"
                place(_COLUMNS, [_cells(row, found.at, short=True) for row in _rows(found)], below)
    else:
        known: dict[str, str] = {}
        for _, found in _looks(client, screen, provider, every):
            if known:
                for line in _changes(known, found):
                    screen.say(line)
            else:
                screen.table(_COLUMNS, [_cells(row, found.at, short=False) for row in _rows(found)])
            known = {row.name: row.word for row in _rows(found)}
    return OK


def reset(client: Client, screen: Screen, provider: str, model: str | None, *, as_json: bool) -> int:
    """Close its circuits, on all replicas."""
    query = {} if model is None else {"model": model}
    body = client.post(f"/providers/health/{part(provider)}/reset", **query)
    names = [name.replace(_LINE, _WAY) for name in client.read(body, _Reset).reset]
    if as_json:
        screen.raw(body)
    else:
        screen.say(f"Closed, on all replicas: {', '.join(names)}." if names else "There was nothing to close.")
    return OK


def _asked(client: Client, provider: str | None) -> bytes:
    query = {} if provider is None else {"provider": provider}
    return client.get("/providers/health", **query)


def _looks(client: Client, screen: Screen, provider: str | None, every: float) -> Iterator[tuple[bytes, _Health]]:
    """What is said, each time. A tollhouse that goes away is waited for, if it was there at first."""
    away, seen = "", False
    while True:
        try:
            body = _asked(client, provider)
            yield body, client.read(body, _Health)
            away, seen = "", True
        except Trouble as trouble:
            if trouble.code != NOT_REACHED or not seen:
                raise
            if str(trouble) != away:
                screen.note(away := str(trouble))
        time.sleep(every)


def _rows(found: _Health) -> Iterator[_Row]:
    for name, provider in found.providers.items():
        yield _Row(name, provider)
        if provider.own.line.word != "closed":
            yield _Row(f"{name}{_WAY}", provider.own.line)
        for model, said in provider.models.items():
            yield _Row(f"{name}/{model}", said, said)


def _open(found: _Health) -> bool:
    return any(row.circuit.state == "open" for row in _rows(found))


def _cells(row: _Row, now: str, *, short: bool) -> tuple[Cell, ...]:
    """`short`: moments as people on a terminal read them, by their distance from `now`."""
    circuit, model = row.circuit, row.model
    tried = circuit.window.ok + circuit.window.failed
    until = row.limited or circuit.until
    return (
        Cell(row.name),
        Cell(row.word, _STYLES.get(row.word, "yellow")),
        Cell(_moment(circuit.since, now, "{} ago", short=short)),
        Cell(circuit.why or ""),
        Cell(_moment(until, now, "in {}", short=short)),
        *(Cell(_milliseconds(model, name, percentile)) for name in _KINDS.values() for percentile in _PERCENTILES),
        Cell(f"{circuit.window.failed}/{tried}" if tried else ""),
        Cell(str(model.in_flight) if model and model.in_flight else ""),
    )


def _moment(moment: str | None, now: str, words: str, *, short: bool) -> str:
    if not moment:
        return ""
    return words.format(span(abs(at(moment) - at(now)))) if short else f"{moment[:19]}Z"


def _milliseconds(model: _Model | None, name: str, percentile: str) -> str:
    value = getattr(model, name).get(percentile) if model else None
    return "" if value is None else f"{value:.0f}"


def _changes(known: Mapping[str, str], found: _Health) -> Iterator[str]:
    """What is not as it was; `known` are the states by name."""
    for row in _rows(found):
        before = known.get(row.name, "closed")
        if row.word != before:
            why = f" ({row.circuit.why})" if row.circuit.why else ""
            yield f"{found.at[:19]}Z  {row.name}: {before} -> {row.word}{why}"


def _notes(screen: Screen, found: _Health) -> None:
    if not found.shared:
        screen.note(f"the store cannot be reached: this is what {found.replica} knows for itself")
