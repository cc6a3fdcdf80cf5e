"""The documentation says what the code does: generated parts are compared, TOLLHOUSE_BLESS=1 writes them anew."""

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from adapters import errors
from adapters.anthropic.errors import RULES as ANTHROPIC
from adapters.base import Kind
from adapters.errors import Rule, Verdict
from adapters.fields import FIELDS
from adapters.fields import Verdict as Fate
from adapters.gemini.errors import RULES as GEMINI
from adapters.openai.errors import RULES as OPENAI

ROOT = Path(__file__).resolve().parent.parent
BLESS = os.environ.get("TOLLHOUSE_BLESS") == "1"
CLASSES = {
    Kind.CALLER: "C",
    Kind.TOO_LONG: "C",
    Kind.UNSUPPORTED: "C",
    Kind.POLICY: "P",
    Kind.TRANSIENT: "T",
    Kind.OVERLOADED: "T",
    Kind.TIMEOUT: "T",
    Kind.UNREACHABLE: "T",
    Kind.RATE_LIMITED: "L",
    Kind.QUOTA: "Q",
    Kind.KEY: "K",
    Kind.MODEL: "K",
    Kind.REQUEST: "R",
}


def fields() -> Iterator[str]:
    yield "| field | Anthropic | Gemini |"
    yield "|---|---|---|"
    for name, row in FIELDS.items():
        cells = [
            f"**{rule.verdict.value}**" if rule.verdict in (Fate.DROPPED, Fate.REFUSED) else rule.verdict.value
            for rule in row.values()
        ]
        whys = [f": {rule.why}" if rule.why else "" for rule in row.values()]
        yield f"| `{name}` | {cells[0]}{whys[0]} | {cells[1]}{whys[1]} |"


def error_rows() -> Iterator[str]:
    yield "| vendor | status | codes | message has | class | client gets |"
    yield "|---|---|---|---|---|---|"
    for vendor, rules in (("OpenAI's format", OPENAI), ("Anthropic", ANTHROPIC), ("Gemini", GEMINI)):
        for rule in rules:
            yield _row(vendor, rule)
    for status, verdict in errors.BY_STATUS.items():
        yield _row("any", Rule(status, verdict))
    yield _row("any", Rule(300, errors.MISROUTED)).replace("| 300 |", "| 3xx, or 404 with a page |")


def _row(vendor: str, rule: Rule) -> str:
    codes = " ".join(f"`{code}`" for code in sorted(rule.codes))
    texts = ", ".join([*(f"“{text}”" for text in rule.texts), *(f"“{text} …”" for text in rule.starts)])
    cells = [vendor, str(rule.status or "any"), codes, texts, CLASSES[rule.verdict.kind], _got(rule.verdict)]
    return f"| {' | '.join(cells)} |"


def _got(verdict: Verdict) -> str:
    return f"{verdict.status} `{verdict.code or verdict.type}`"


GENERATED = {"fields": fields, "errors": error_rows}


@pytest.mark.parametrize("part", GENERATED)
def test_translation_says_what_the_tables_say(part: str) -> None:
    path = ROOT / "docs" / "translation.md"
    text = path.read_text()
    between = re.compile(rf"(<!-- {part}: generated -->\n).*?(<!-- end -->)", re.DOTALL)
    fresh = between.sub(lambda found: found[1] + "\n".join(GENERATED[part]()) + "\n" + found[2], text)
    if BLESS:
        path.write_text(fresh)
    assert fresh == (path.read_text() if BLESS else text), "run the tests with TOLLHOUSE_BLESS=1, then read the change"


def test_the_readme_names_every_variable_that_is_read() -> None:
    readme = (ROOT / "README.md").read_text()
    read = {
        name
        for path in ("settings.py", "providers.py", "environment.py")
        for name in re.findall(r'"([A-Z][A-Z0-9]*_[A-Z0-9_]+)"', (ROOT / "proxy" / path).read_text())
    }
    assert {name for name in read if name not in readme} == set()
    assert len(read) > 15
