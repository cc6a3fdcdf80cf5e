"""Whether what we serve is known to be vulnerable: pip-audit over requirements/serve.txt, and an honest word when
nobody could be asked.

pip-audit takes a package that its source does not know for a good one, and ends with 0. Here it is one that nobody has
looked at. Run by .venv-audit's Python (`make audit`): it needs nothing but the standard library and pip-audit.

Exit codes: 0 no pin is known to be vulnerable; 1 one is; 3 not all pins could be looked up. With `--if-reachable`, for
machines that reach no such source, 3 is 0 if no pin at all could be looked up; it is said all the same.
"""

import json
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
PINS = ROOT / "requirements" / "serve.txt"
SOURCES = ("pypi", "osv")  # the first that knows all of them is enough
CLEAN, VULNERABLE, UNKNOWN = 0, 1, 3
_SECONDS = 300.0
Report = dict[str, Any]


def reports(sources: Iterable[str] = SOURCES) -> Iterator[Report]:
    """What pip-audit says, from one source after the other; nothing of one that cannot be asked."""
    words = ["--require-hashes", "--disable-pip", "--progress-spinner", "off", "--format", "json", "--timeout", "10"]
    for source in sources:
        done = subprocess.run(
            [sys.executable, "-m", "pip_audit", "--vulnerability-service", source, *words, "--requirement", str(PINS)],
            capture_output=True,
            text=True,
            timeout=_SECONDS,
        )
        try:
            yield json.loads(done.stdout)
        except ValueError:
            continue


def verdict(found: Iterable[Report], *, lenient: bool = False) -> tuple[int, list[str]]:
    """The exit code, and what to say. One report in which each pin was looked up is enough."""
    best: list[str] | None = None
    for report in found:
        rows = report.get("dependencies", [])
        bad = [f"{row['name']} {row['version']}: {one['id']}" for row in rows for one in row.get("vulns", [])]
        if bad:
            return VULNERABLE, bad
        skipped = [row["name"] for row in rows if "skip_reason" in row]
        if rows and not skipped:
            return CLEAN, [f"{len(rows)} pins, none of them known to be vulnerable"]
        if rows and len(skipped) < len(rows):
            best = skipped
    if best is None:
        return CLEAN if lenient else UNKNOWN, ["NOT AUDITED: no source of vulnerabilities could be asked from here"]
    return UNKNOWN, [f"NOT AUDITED: {', '.join(best)}"]


if __name__ == "__main__":
    code, said = verdict(reports(), lenient="--if-reachable" in sys.argv[1:])
    print("\n".join(said), file=sys.stderr if code else sys.stdout)
    sys.exit(code)
