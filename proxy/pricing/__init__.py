"""What `tollhouse pricing` does: check a price table, compare it with another, and bring it up to date.

The table in force changes only by `--write`, and then whole: what was edited is read again, and compared, before it
takes the place of the old file.
"""

import os
import re
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from fnmatch import fnmatchcase
from pathlib import Path

import msgspec

from proxy.catalog import Catalog, load
from proxy.prices import Model, PriceTableError
from proxy.pricing import public
from proxy.pricing.compare import Change, changes, shown
from proxy.pricing.edit import EditError, edited, next_step
from proxy.pricing.public import Source, SourceError

SOON = timedelta(days=30)
OLD = 60  # days after which a source is to be looked at again
PACKAGE = "genai-prices"  # the word for the installed package, in place of a file
_MONTH = re.compile(r"\b(20[0-9]{2})-([01][0-9])\b")
_MOST_STEPS = 20  # of editing; each goes one level deeper or one day further
_READ = "utf-8"
_BY_HAND = "Nothing was written. These have no figure of their own in the file; change them by hand, or use --only:"


class PricingError(Exception):
    """It cannot be done; the lines say why."""


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What there is to know about a table that is valid. `sources`: how many prices each has, and its age in days."""

    file: str
    models: int
    prices: int
    without_price: list[str]
    to_be_retired: list[str]
    changes_soon: list[str]
    sources: dict[str, tuple[int, int | None]]


def check(path: Path, today: datetime, *, as_json: bool = False) -> int:
    """Print what there is to know about a table; 0 if it is valid, else `PricingError`."""
    models = _table(path)[1].models
    rows = [(model, row) for model in models for row in model.prices]
    retiring = [m for m in models if m.retires and timedelta() <= _day(m.retires.isoformat()) - today < SOON]
    soon = [row for row in rows if row[1].valid_from and today < row[1].valid_from <= today + SOON]
    report = Report(
        file=str(path),
        models=len(models),
        prices=len(rows),
        without_price=[_name(model) for model in models if model.price_at(today) is None],
        to_be_retired=[f"{_name(m)} on {m.retires}" for m in retiring],
        changes_soon=[line for model, row in soon for line in _coming(model, row.valid_from)],
        sources=_sources([row.source for _, row in rows], today),
    )
    if as_json:
        _print_json(report)
        return 0
    print(f"{path}: valid, {report.models} models, {report.prices} prices")
    _list("without a price", report.without_price)
    _list("to be retired within 30 days", report.to_be_retired)
    _list("price changes within 30 days", report.changes_soon)
    print("sources:")
    for source, (prices, age) in report.sources.items():
        how = "no date" if age is None else f"{age} days"
        print(f"  {source}: {prices} prices, {how}{', look again' if age is None or age > OLD else ''}")
    return 0


def diff(path: Path, asked: str, only: str, today: datetime, *, as_json: bool = False) -> int:
    """Print where another table says otherwise; 1 if it does anywhere, else 0."""
    source = _source(asked)
    found = _changes(_table(path)[1], source, only, today, past=source.whole)
    if as_json:
        _print_json({"source": source.name, "changes": [_change_json(change) for change in found]})
    else:
        _tell(found, source)
    return 1 if found else 0


def _print_json(said: object) -> None:
    print(msgspec.json.format(msgspec.json.encode(said)).decode())


def _change_json(change: Change) -> dict[str, object]:
    """Dollars as decimals, as the table writes them; null where there is no figure."""
    figures = {
        name: None if value is None else shown(value) for name, value in (("old", change.old), ("new", change.new))
    }
    whole = change.spot is None
    return {
        "provider": change.provider,
        "model": change.model,
        "from": change.begins,
        "figure": None if whole else str(change.spot),
        **(dict.fromkeys(figures) if whole else figures),
        "what": ("added" if change.old is None else "gone") if whole else "changed",
    }


def update(path: Path, asked: str, only: str, today: datetime, *, write: bool) -> int:
    """Print what would change, and with `write` change it; `PricingError` if that cannot be done in full."""
    source = _source(asked)
    text, catalog = _table(path)
    found = _changes(catalog, source, only, today)
    _tell(found, source)
    if not found:
        return 0
    if not write:
        print("Nothing was written; --write does it.")
        return 0
    _replace(path, _edited(text, found, source, only, today))
    print(f"{path}: written")
    return 0


def _table(path: Path) -> tuple[str, Catalog]:
    """Text and content of our table; line ends as they are."""
    try:
        content = path.read_bytes()
        catalog = load(content)
        return content.decode(_READ), catalog
    except UnicodeDecodeError:
        raise PricingError(f"{path}: write it in UTF-8") from None
    except OSError as error:
        raise PricingError(f"{path}: {error.strerror or error}") from None
    except PriceTableError as error:
        raise PricingError("\n".join(f"{path}: {fault}" for fault in error.faults)) from None


def _source(asked: str) -> Source:
    try:
        if asked == PACKAGE:
            return public.package()
        return public.parse(Path(asked).name, Path(asked).read_bytes())
    except OSError as error:
        raise PricingError(f"{asked}: {error.strerror or error}") from None
    except SourceError as error:
        raise PricingError(str(error)) from None


def _changes(catalog: Catalog, source: Source, only: str, today: datetime, *, past: bool = False) -> list[Change]:
    """Everything that the source says otherwise, models as in the table; those that came or went last."""
    found: list[Change] = []
    ours = [model for model in catalog.models if fnmatchcase(_name(model), only)]
    for model in ours:
        try:
            theirs = source.prices(model)
        except (ValueError, KeyError, TypeError, AttributeError) as error:  # others' files are of any shape
            print(f"tollhouse: {source.name}: {_name(model)} left out: {_said(error)}", file=sys.stderr)
            continue
        if theirs is not None:
            differ = changes(model, theirs, today, whole=source.whole, dated=source.dated, past=past)
            found += differ if source.whole else (_seen(change, today) for change in differ)
    if source.whole:
        theirs_all = [model for model in source.models if fnmatchcase(_name(model), only)]
        found += [_whole(model, today, gone=True) for model in _missing(ours, theirs_all)]
        found += [_whole(model, today, gone=False) for model in _missing(theirs_all, ours)]
    return found


def _seen(change: Change, today: datetime) -> Change:
    """With the month in which the source was asked; a table of ours has its own."""
    return msgspec.structs.replace(change, source=f"{change.source}; {today:%Y-%m}")


def _said(error: Exception) -> str:
    return str(error) if isinstance(error, ValueError) else f"cannot be read ({type(error).__name__}: {error})"


def _missing(here: Sequence[Model], there: Sequence[Model]) -> list[Model]:
    known = {_name(model) for model in there}
    return [model for model in here if _name(model) not in known]


def _whole(model: Model, today: datetime, *, gone: bool) -> Change:
    return Change(model.provider, model.model, today, None, None, 1 if gone else None, None if gone else 1)


def _edited(text: str, found: list[Change], source: Source, only: str, today: datetime) -> str:
    """The text with all of it, checked; `PricingError` if a figure has no place of its own."""
    before = load(text.encode(_READ))
    for _ in range(_MOST_STEPS):
        try:
            fresh = edited(text, next_step(found))
            after = load(fresh.encode(_READ))
        except (EditError, PriceTableError) as error:
            raise PricingError(f"{_BY_HAND}\n{error}") from None
        found = _changes(after, source, only, today)
        if not found:
            _assert_rest(before, after, today)
            return fresh
        if fresh == text:
            break
        text = fresh
    lines = "\n".join(str(change) for change in found)
    raise PricingError(f"{_BY_HAND}\n{lines}")


def _assert_rest(before: Catalog, after: Catalog, today: datetime) -> None:
    """An edit has touched only the prices that hold today or later, of models that the source speaks of."""
    if len(before.models) != len(after.models):
        raise PricingError("Nothing was written: the entries would not be the same.")
    for old, new in zip(before.models, after.models, strict=True):
        same = msgspec.structs.replace(old, prices=new.prices) == new
        if not same or _past(old, today) != _past(new, today):
            raise PricingError(f"Nothing was written: more than the price of {_name(old)} would change.")


def _past(model: Model, today: datetime) -> list[object]:
    return [row for row in model.prices if row is not model.price_at(today) and not _later(row.valid_from, today)]


def _later(begin: datetime | None, today: datetime) -> bool:
    return begin is not None and begin > today


def _replace(path: Path, text: str) -> None:
    """Whole or not at all, with the rights of the old file; a link stays one."""
    path = path.resolve()
    try:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    except OSError as error:
        raise PricingError(f"{path}: {error.strerror or error}") from None
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(text.encode(_READ))
            file.flush()
            os.fsync(file.fileno())
        Path(name).chmod(path.stat().st_mode & 0o7777)
        Path(name).replace(path)
    except OSError as error:
        Path(name).unlink(missing_ok=True)
        raise PricingError(f"{path}: {error.strerror or error}") from None


def _tell(found: Sequence[Change], source: Source) -> None:
    for change in found:
        print(change)
    models = len({(change.provider, change.model) for change in found})
    print(f"{source.name}: {len(found)} differences, {models} models" if found else f"{source.name}: no differences")


def _list(title: str, lines: Sequence[str]) -> None:
    print(f"{title}: {len(lines) or 'none'}")
    for line in lines:
        print(f"  {line}")


def _coming(model: Model, begin: datetime | None) -> list[str]:
    """How a price that begins then differs from the one that held until then."""
    assert begin is not None
    before = model.price_at(begin - timedelta(microseconds=1))
    old = msgspec.structs.replace(model, prices=(before,) if before else ())
    new = [row for row in model.prices if row.valid_from == begin]
    dated = changes(old, (msgspec.structs.replace(new[0], valid_from=None),), begin, whole=True)
    return [f"{begin.date()} {change}" for change in dated]


def _sources(said: Sequence[str], today: datetime) -> dict[str, tuple[int, int | None]]:
    """Each with its prices, most of them first, and its age in days, if it names a month."""
    found: dict[str, tuple[int, int | None]] = {}
    for source, prices in Counter(said).most_common():
        months = _MONTH.findall(source)
        age = (today - max(_day(f"{year}-{month}-01") for year, month in months)).days if months else None
        found[source] = prices, None if age is None else max(0, age)
    return found


def _day(iso: str) -> datetime:
    return datetime.fromisoformat(iso).replace(tzinfo=UTC)


def _name(model: Model) -> str:
    return f"{model.provider}/{model.model}"
