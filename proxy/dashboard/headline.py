"""In words whether all is well: one line for each thing that is not, the worst first. Pure.

Moments stay moments (`since`, ISO 8601): only the browser knows which time of day they are where somebody reads them.
"""

from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any, Literal

import msgspec

from proxy.series import Minute

Level = Literal["well", "idle", "care", "bad"]
WORST: Mapping[Level, int] = {"well": 0, "idle": 0, "care": 1, "bad": 2}
_USED_UP, _NEARLY = 100, 90  # percent of a budget

# What a kind of failure is called, to follow "the last one: "; some need no second one to be believed.
_LAST = {
    "transient": "an error of its own",
    "overloaded": "too busy",
    "timeout": "no answer in time",
    "unreachable": "no connection",
    "quota": "our account there has no money left",
    "key": "it does not accept our key",
    "model": "it does not know the model",
}

Json = Mapping[str, Any]


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """`subject` is how `what`: "openai is failing" since `since`: `why`. `until`: when it is tried again."""

    level: Level
    subject: str
    what: str
    why: str = ""
    since: str | None = None
    until: str | None = None


def provider(name: str, health: Json) -> Line:
    """How a provider is: the worst of its own circuit, our way there, and the models that are in use."""
    line = health["own"]["line"]
    for circuit, what in ((line, "cannot be reached"), (health, "is failing")):
        if circuit["state"] == "open":
            return _line("bad", name, what, circuit)
    used = {model: one for model, one in health["models"].items() if _in_use(one)}
    shut = {model: one for model, one in used.items() if one["state"] == "open"}
    trying = {model: one for model, one in used.items() if one["state"] == "half_open"}
    if shut:
        longest = min(shut.values(), key=lambda one: str(one["since"]))
        if len(shut) == len(used):
            return _line("bad", name, "is failing", longest)
        return _line("care", name, f"is failing in part ({_named(shut)})", longest)
    for circuit in (line, health, *trying.values()):
        if circuit["state"] == "half_open":
            return _line("care", name, "is being tried again", circuit)
    limited = [one["rate_limited_until"] for one in used.values() if one["rate_limited_until"]]
    if limited:
        return Line(level="care", subject=name, what="limits our rate", until=max(limited))
    return (
        Line(level="well", subject=name, what="is well") if used else Line(level="idle", subject=name, what="is idle")
    )


def _line(level: Level, name: str, what: str, circuit: Json) -> Line:
    return Line(
        level=level, subject=name, what=what, why=why(circuit), since=circuit["since"], until=circuit["next_probe"]
    )


def why(circuit: Json) -> str:
    """Why a circuit is not closed."""
    last = _LAST.get(circuit["why"] or "", circuit["why"] or "")
    failures = circuit["consecutive_failures"]
    if failures < 2 or not last:
        return last
    return f"{failures} failures in a row, the last one: {last}"


def _in_use(model: Json) -> bool:
    totals = model["totals"]
    return model["state"] != "closed" or any(totals[word] for word in ("ok", "failed", "rate_limited", "others"))


def _named(models: Iterable[str]) -> str:
    first, *rest = sorted(models)
    return f"{first} and {len(rest)} more" if rest else first


def headline(
    providers: Sequence[Line], budgets: Sequence[Json], lately: Minute, away_since: str | None, draining: bool
) -> dict[str, Any]:
    """`{"level", "text", "lines": [Line]}`. `lately`: what happened in the last minutes."""
    lines = [_turned(line, providers, lately) for line in providers if WORST[line.level]]
    lines += [_budget(row, budget) for row in budgets if (budget := _percent(row)) >= _NEARLY]
    if away_since:
        what = "cannot be reached"
        lines.append(Line(level="bad", subject="The store", what=what, since=away_since, why="figures are not fresh"))
    if draining:
        lines.append(Line(level="care", subject="This replica", what="is shutting down"))
    lines.sort(key=lambda line: -WORST[line.level])
    level: Level = lines[0].level if lines else "well" if any(line.level == "well" for line in providers) else "idle"
    return {"level": level, "text": _text(lines, providers, level), "lines": lines}


def _turned(line: Line, providers: Sequence[Line], lately: Minute) -> Line:
    """And where its traffic goes meanwhile."""
    if line.level != "bad":
        return line
    ill = {other.subject for other in providers if other.level == "bad"}
    served = {name: tried - lately.failures.get(name, 0) for name, tried in lately.attempts.items() if name not in ill}
    best = max(served, key=lambda name: served[name], default="")
    if best and served[best] > 0:
        goes = f"traffic goes to {best}"
    elif len(ill) == len(providers):
        goes = "there is nobody else to ask" if len(providers) == 1 else "so are all others"
    else:
        return line
    return msgspec.structs.replace(line, why=f"{line.why}; {goes}" if line.why else goes)


def _percent(row: Json) -> Decimal:
    return Decimal(row["used_percent"])


def _budget(row: Json, percent: Decimal) -> Line:
    used_up = percent >= _USED_UP
    return Line(
        level="bad" if used_up else "care",
        subject=f"The budget “{row['name']}”" + (f" ({row['scope']})" if row["name"].endswith("=*") else ""),
        what="is used up" if used_up else f"is used up to {int(percent)} %",
        why=f"{_dollars(row['limit_usd'])} in all",
        until=row["resets_at"],
    )


def _dollars(exact: str) -> str:
    whole, _, cents = exact.partition(".")
    return f"${whole}.{cents.ljust(2, '0')}"


def _text(lines: Sequence[Line], providers: Sequence[Line], level: Level) -> str:
    if lines:
        return "Something needs you" if level == "bad" else "Something to keep an eye on"
    if not providers:
        return "No provider is configured"
    if level == "idle":
        return "Ready. No request has come yet"
    return "All is well"
