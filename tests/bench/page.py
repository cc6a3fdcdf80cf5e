"""docs/performance.md: what is generated stands between markers, what people wrote stays.

`<!-- bench -->` to `<!-- /bench -->` is what `make bench` found. Other sections are files of docs/performance/: the
section `growth` is docs/performance/growth.md.
"""

import re
from collections.abc import Mapping
from pathlib import Path

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "performance.md"
_SECTION = re.compile(r"<!-- (?P<name>[a-z]+) -->\n.*?<!-- /(?P=name) -->", re.DOTALL)


def filled(text: str, sections: Mapping[str, str]) -> str:
    """The text with these sections put in; a section that is not given stays as it was."""

    def put(found: "re.Match[str]") -> str:
        name = found["name"]
        return f"<!-- {name} -->\n{sections[name]}\n<!-- /{name} -->" if name in sections else found[0]

    return _SECTION.sub(put, text)


def put(sections: Mapping[str, str], document: Path = DOCUMENT) -> None:
    """Write the document anew, with these sections and those that lie in files beside it."""
    beside = document.with_suffix("")
    parts = {file.stem: file.read_text(encoding="utf-8").strip() for file in sorted(beside.glob("*.md"))}
    document.write_text(filled(document.read_text(encoding="utf-8"), {**parts, **sections}), encoding="utf-8")
