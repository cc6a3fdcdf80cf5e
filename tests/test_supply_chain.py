"""Few and named dependencies, each with its reason, each pinned by its hash; an audit that does not pass by silence."""

import re
import tomllib
from typing import Any

import pytest

from tests.audit import CLEAN, UNKNOWN, VULNERABLE, verdict
from tests.tollhouse import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def names(requirements: list[str]) -> set[str]:
    return {found[0].lower() for line in requirements if (found := re.match(r"[\w.-]+", line))}


def rows() -> dict[str, str]:
    """README's table: names of packages, and the reason."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    table = text.partition("## Dependencies, and why each")[2].partition("\n## ")[0]
    return {
        name.strip().strip("`"): why.strip()
        for named, why in re.findall(r"^\| (.+?) \| (.+?) \|$", table, re.MULTILINE)
        if named not in {"package", "---"}
        for name in named.split(",")
    }


def test_each_dependency_stands_in_the_readme_with_its_reason():
    optional = [line for lines in PROJECT.get("optional-dependencies", {}).values() for line in lines]
    assert set(rows()) == names(PROJECT["dependencies"]) | names(optional)
    assert all(len(why) > 10 for why in rows().values())


@pytest.mark.parametrize("name", ["serve.txt", "build.txt", "dev.txt", "audit.txt", "clients.txt"])
def test_each_pin_has_its_hash(name):
    text = (ROOT / "requirements" / name).read_text(encoding="utf-8")
    blocks = re.split(r"\n(?=[a-z0-9])", text)[1:]
    assert blocks
    assert [block.partition("==")[0] for block in blocks if "--hash=sha256:" not in block] == []


def test_the_image_installs_by_hash_and_from_nowhere_else():
    text = (ROOT / "Containerfile").read_text(encoding="utf-8").replace("\\\n", " ")
    installs = [line for line in text.splitlines() if '"install"' in line and "pip" in line]
    assert len(installs) == 3
    assert all('"--require-hashes"' in line or '"--no-index"' in line for line in installs)
    assert not re.search(r"^RUN [^\[]", text, re.MULTILINE), "a step that needs a shell"
    assert not re.search(r"^ADD |curl|wget", text, re.MULTILINE)
    assert re.search(r"^USER \d+:\d+$", text, re.MULTILINE)
    assert 'CMD ["tollhouse", "healthcheck"]' in text


def test_the_image_is_made_of_what_was_named_and_of_nothing_else():
    """Everything is left out first: a key that lies about in a checkout does not get in."""
    lines = [line for line in (ROOT / ".containerignore").read_text().splitlines() if line and line[0] != "#"]
    assert lines[0] == "*"
    copied = re.findall(r"^COPY (?!--from)(.+) \S+$", (ROOT / "Containerfile").read_text(), re.MULTILINE)
    wanted = {source for line in copied for source in line.split()}
    assert {line[1:] for line in lines if line.startswith("!")} == wanted


def pin(name: str = "aiohttp", *ids: str) -> dict[str, Any]:
    return {"name": name, "version": "1.0", "vulns": [{"id": id} for id in ids]}


SKIPPED = {"name": "redis", "skip_reason": "not found"}


@pytest.mark.parametrize(
    ("reports", "code", "said"),
    [
        ([], UNKNOWN, "NOT AUDITED"),
        ([{"dependencies": []}], UNKNOWN, "NOT AUDITED"),
        ([{"dependencies": [SKIPPED]}], UNKNOWN, "NOT AUDITED: no source"),
        ([{"dependencies": [pin(), SKIPPED]}], UNKNOWN, "NOT AUDITED: redis"),
        ([{"dependencies": [SKIPPED]}, {"dependencies": [pin()]}], CLEAN, "1 pins"),
        ([{"dependencies": [pin(), pin("redis", "CVE-1")]}], VULNERABLE, "redis 1.0: CVE-1"),
        ([{"dependencies": [SKIPPED]}, {"dependencies": [pin("redis", "CVE-1")]}], VULNERABLE, "redis 1.0: CVE-1"),
    ],
)
def test_an_audit_passes_only_if_each_pin_was_looked_up(reports, code, said):
    found, lines = verdict(reports)
    assert (found, lines[0][: len(said)]) == (code, said)


@pytest.mark.parametrize(
    ("reports", "code"),
    [
        ([], CLEAN),
        ([{"dependencies": [SKIPPED]}], CLEAN),
        ([{"dependencies": [pin(), SKIPPED]}], UNKNOWN),
        ([{"dependencies": [pin("redis", "CVE-1")]}], VULNERABLE),
    ],
)
def test_where_no_source_is_in_reach_it_says_so_and_passes_if_that_was_asked_for(reports, code):
    found, lines = verdict(reports, lenient=True)
    assert found == code
    assert found != CLEAN or "NOT AUDITED" in lines[0]
