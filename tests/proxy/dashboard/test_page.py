"""The page and its assets: what is served, how strictly, and that it is what was vendored."""

import hashlib
import json
import re
from html.parser import HTMLParser

import httpx
import pytest
from litestar import Litestar

from proxy.api import refuse
from proxy.dashboard.page import ASSETS, HANDLERS, assets

VENDOR = ASSETS / "vendor"
LICENCES = {"MIT": "Permission is hereby granted, free of charge", "Apache-2.0": "Apache License"}


@pytest.fixture
def http() -> httpx.AsyncClient:
    app = Litestar(HANDLERS, exception_handlers={Exception: refuse}, openapi_config=None, logging_config=None)
    transport = httpx.ASGITransport(app)  # type: ignore[arg-type]  # Litestar's scopes are typed more narrowly
    return httpx.AsyncClient(transport=transport, base_url="http://tollhouse")


@pytest.mark.parametrize("path", ["/dashboard", "/dashboard/assets/main.js", "/dashboard/assets/vendor/htm/LICENSE"])
async def test_everything_is_served_strictly(http, path):
    answer = await http.get(path)
    assert answer.status_code == 200
    assert answer.headers["content-security-policy"] == (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    )
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert answer.headers["cache-control"] == "no-cache"


@pytest.mark.parametrize(
    ("path", "media_type"),
    [
        ("/dashboard", "text/html; charset=utf-8"),
        ("/dashboard/assets/style.css", "text/css; charset=utf-8"),
        ("/dashboard/assets/main.js", "text/javascript; charset=utf-8"),
        ("/dashboard/assets/icon.svg", "image/svg+xml"),
        ("/dashboard/assets/vendor/pico/LICENSE.md", "text/plain; charset=utf-8"),
    ],
)
async def test_each_kind_of_file_has_its_type(http, path, media_type):
    assert (await http.get(path)).headers["content-type"] == media_type


async def test_what_a_browser_has_is_not_sent_again(http):
    first = await http.get("/dashboard/assets/main.js")
    tag = first.headers["etag"]
    assert re.fullmatch(r'"[0-9a-f]{32}"', tag), "a strong one"
    for said in (tag, f'"other", {tag}'):
        again = await http.get("/dashboard/assets/main.js", headers={"if-none-match": said})
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
        assert "content-security-policy" in again.headers
    other = await http.get("/dashboard/assets/main.js", headers={"if-none-match": '"other"'})
    assert (other.status_code, other.content) == (200, first.content)
    assert len({one.etag for one in assets().values()}) == len({one.content for one in assets().values()})


@pytest.mark.parametrize(
    "path",
    [
        "nothing.js",
        "../__init__.py",
        "..%2f__init__.py",
        "%2e%2e/page.py",
        "vendor/../../page.py",
        "/etc/passwd",
        "%2fetc%2fpasswd",
        "vendor",
        "",
        "main.js%00",
        "C:\\main.js",
    ],
)
async def test_no_other_file_is_served(http, path):
    answer = await http.get(httpx.URL(f"http://tollhouse/dashboard/assets/{path}"))
    assert answer.status_code in (400, 404)
    assert answer.json()["error"].keys() == {"message", "type", "param", "code"}
    assert "import" not in answer.text


class Found(HTMLParser):
    """What a page loads, and what it would run by itself."""

    def __init__(self) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.inline: list[str] = []
        self._within = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        said = dict(attrs)
        self.loads += [value for name in ("src", "href") if (value := said.get(name))]
        self.inline += [name for name in said if name == "style" or name.startswith("on")]
        self._within = tag

    def handle_data(self, data: str) -> None:
        if self._within in ("script", "style") and data.strip():
            self.inline.append(data)


def test_the_page_runs_nothing_inline_and_loads_only_what_is_there():
    found = Found()
    found.feed((ASSETS / "page.html").read_text(encoding="utf-8"))
    assert found.inline == []
    assert len(found.loads) >= 5
    assert {path.removeprefix("/dashboard/assets/") for path in found.loads} <= set(assets())


def test_scripts_import_only_what_is_there():
    for file in ASSETS.glob("*.js"):
        for name in re.findall(r'from "(\./[^"]+)"', file.read_text(encoding="utf-8")):
            assert (ASSETS / name).is_file(), f"{file.name} imports {name}"


def test_our_own_scripts_make_no_html_of_words():
    """Names are somebody else's words: they become text, or nothing does."""
    for file in ASSETS.glob("*.js"):
        said = file.read_text(encoding="utf-8")
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(|new Function", said), (
            file.name
        )
        assert len(said.splitlines()) <= 200, f"{file.name} grows"


def test_nothing_of_ours_names_another_host():
    for file in [*ASSETS.glob("*.js"), *ASSETS.glob("*.css"), *ASSETS.glob("*.html")]:
        assert not re.search(r"https?://(?!www\.w3\.org/)|[\"'(]//", file.read_text(encoding="utf-8")), file.name


def test_vendored_files_are_those_of_the_list_and_unchanged():
    listed = {
        file["file"]: file["sha256"]
        for row in json.loads((VENDOR / "vendored.json").read_text(encoding="utf-8"))
        for file in row["files"]
    }
    there = {
        file.relative_to(VENDOR).as_posix(): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in VENDOR.rglob("*")
        if file.is_file() and file.name != "vendored.json"
    }
    assert there == listed


def test_each_vendored_package_brings_its_licence():
    for row in json.loads((VENDOR / "vendored.json").read_text(encoding="utf-8")):
        assert row["package"]
        assert re.fullmatch(r"\d+\.\d+\.\d+", row["version"])
        licences = [file["file"] for file in row["files"] if "LICENSE" in file["file"]]
        assert LICENCES[row["licence"]] in (VENDOR / licences[0]).read_text(encoding="utf-8")
