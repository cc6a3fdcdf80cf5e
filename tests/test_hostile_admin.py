"""Hostile requests at every door but that of the traffic, as bytes on a socket: no fault of ours, no leak, no crash.

Half of them carry the admin key: whoever has it may still send nonsense, and the rest is what the world sends.
A thousand of them in each run; ten thousand with `pytest -m long tests/test_hostile_admin.py`.
"""

import json
import socket
from collections.abc import Iterator
from itertools import count
from urllib.parse import quote_from_bytes

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from proxy import admin, api, dashboard
from tests.tollhouse import Tollhouse

ADMIN, CLIENT = "admin-canary-5b1f", "client-canary-77c0"
SECRETS = [ADMIN, CLIENT, "vendor-canary-90aa", "alert-canary-1d2e", "pepper-canary-33f1", "hook-canary-4ab2"]
PATIENCE = 30.0
TRAFFIC = "/v1/chat/completions"
EVERY = settings(derandomize=True, deadline=None, database=None, suppress_health_check=list(HealthCheck))
DOORS = sorted(
    (path, sorted(getattr(door, "http_methods", {"GET"})))
    for door in (*api.HANDLERS, *admin.HANDLERS, *dashboard.HANDLERS)
    for path in door.paths
    if path != TRAFFIC
)
PARAMETERS = ["start_date", "end_date", "top", "format", "limit", "provider", "model", "name", "key", "since", ""]


@pytest.fixture(scope="module")
def house() -> Iterator[Tollhouse]:
    environ = {
        "OPENAI_API_KEY": "vendor-canary-90aa",
        "TOLLHOUSE_ADMIN_KEY": ADMIN,
        "TOLLHOUSE_CLIENT_KEYS": CLIENT,
        "TOLLHOUSE_ALERT_SECRET": "alert-canary-1d2e",
        "TOLLHOUSE_KEY_SECRET": "pepper-canary-33f1",
    }
    config = "alerts: {webhook: 'http://127.0.0.1:9/hook-canary-4ab2?token=hook-canary-4ab2'}\nbudgets: [{daily: 1}]\n"
    with Tollhouse.start(environ, config=config) as house:
        yield house


# --- what is sent

NASTY = [
    *(
        "",
        ".",
        "..",
        "%00",
        "%2e%2e%2f",
        "%ff%fe",
        "%",
        "%zz",
        "a" * 5_000,
        "' OR 1=1 --",
        "<script>",
        "{{7*7}}",
        "${jndi}",
    ),
    *("2026-02-30", "9999-12-31", "0000-00-00", "-1", "0", "1e999", "999999999999999999999", "NaN", "null", "true"),
    *("json", "csv", "openai", "openai/gpt-4o", "../../etc/passwd", "\u202e", "\ud7ff", "=cmd()", "key:keep:pepper"),
    *("req_0", "ci", "default", "*", "[", "(a+)+$", "\t", "%0d%0aset-cookie:%20a=b"),
]
texts = st.one_of(st.sampled_from(NASTY), st.text(max_size=12))
raw = st.one_of(texts.map(lambda text: text.encode("utf-8", "surrogatepass")), st.binary(max_size=16))


def tamed(part: bytes) -> bytes:
    """As a part of a path may be written: what is not is refused before any door is reached."""
    return quote_from_bytes(part, safe="%!$'()*,:@~.<>{}[]").encode()


CONTROLS = bytes(range(32)) + b"\x7f"
METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "HEAD", "TRACE", "CONNECT", "get"]


@st.composite
def targets(draw: st.DrawFn) -> bytes:
    """A method and a path: mostly those of a door, with anything in it."""
    route, own = draw(st.sampled_from(DOORS))
    method: str = draw(st.sampled_from([*own * 6, *METHODS]))
    parts = [tamed(draw(raw)) if part.startswith("{") else part.encode() for part in route.split("/")]
    path = b"/".join(parts)
    shape = draw(st.sampled_from(["its own"] * 20 + ["any", "deeper", "absolute"]))
    if shape == "any":
        path = draw(raw) or b"*"
    elif shape == "deeper":
        path += b"/" + tamed(draw(raw))
    elif shape == "absolute":
        path = b"http://evil.example" + path
    asked = draw(st.lists(st.tuples(st.one_of(st.sampled_from(PARAMETERS), texts), raw), max_size=2))
    query = b"&".join(tamed(name.encode("utf-8", "surrogatepass")) + b"=" + tamed(value) for name, value in asked)
    return method.encode() + b" " + path + (b"?" + query if asked else b"")


documents = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8), st.sampled_from(NASTY)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            st.sampled_from(
                [
                    *("name", "user", "agent", "team", "expires", "models", "daily", "monthly", "requests_per_minute"),
                    *("tokens_per_minute", "concurrent", "grace_seconds", "key", "request_id", "score", "comment"),
                ]
            ),
            inner,
            max_size=4,
        ),
    ),
    max_leaves=8,
)
bodies = st.one_of(
    st.just(b""),
    documents.map(lambda document: json.dumps(document).encode("utf-8", "surrogatepass")),
    raw,
    st.sampled_from([b"[" * 5_000, b'{"name": "' + b"x" * 70_000 + b'"}', b"\xef\xbb\xbf{}", b'{"a":1,"a":2}']),
)
headers = st.lists(
    st.one_of(
        st.sampled_from(
            [
                b"origin: https://evil.example",
                b"origin: null",
                b"sec-fetch-site: cross-site",
                b"sec-fetch-site: same-origin",
                b"x-forwarded-for: 127.0.0.1",
                b"x-http-method-override: DELETE",
                b"content-type: application/x-www-form-urlencoded",
                b"content-type: application/json; charset=utf-7",
                b"content-type: \xff",
                b"accept: image/png",
                b"accept-encoding: br;q=x",
                b"if-none-match: *",
                b"range: bytes=0-0,-1",
                b"last-event-id: 9",
                b"expect: 100-continue",
                b"upgrade: websocket\r\nconnection: upgrade",
                b"cookie: tollhouse_session=9999999999.0.0",
                b"cookie: " + b"a=b; " * 500,
                b"traceparent: 00-0-0-0",
                b"authorization: Bearer",
                b"authorization: Basic \xff",
            ]
        ),
        st.binary(max_size=16).map(lambda value: b"x-junk: " + value.translate(None, CONTROLS)),
    ),
    max_size=2,
)
hosts = st.sampled_from([b"127.0.0.1", b"localhost", b"rebound.example", b"", b"[::1"])


@st.composite
def requests(draw: st.DrawFn) -> tuple[bytes, bool]:
    """What is sent, and whether it says truly where it ends."""
    body = draw(bodies)
    keyed = draw(st.sampled_from([ADMIN, ADMIN, CLIENT, "wrong", None]))
    lines = [
        draw(targets()) + draw(st.sampled_from([b" HTTP/1.1", b" HTTP/1.1", b" HTTP/1.0"])),
        b"host: " + draw(hosts),
        b"connection: close",
        *draw(headers),
    ]
    if keyed:
        lines.append(b"authorization: Bearer " + keyed.encode())
    true = draw(st.sampled_from([True] * 20 + [False]))
    if true:
        lines.append(b"content-length: %d" % len(body))
    else:
        lines.append(
            draw(st.sampled_from([b"content-length: -1", b"transfer-encoding: chunked", b"content-length: 5"]))
        )
    return b"\r\n".join(lines) + b"\r\n\r\n" + body, true


# --- what comes back

_addresses = count(1)


def answered(port: int, sent: bytes, true: bool = True) -> bytes:
    """All that is answered. Each request comes from an address of its own, so that nobody has guessed too often."""
    number = next(_addresses)
    home = (f"127.{number >> 16 & 255 | 16}.{number >> 8 & 255}.{number & 255 or 1}", 0)
    heard = b""
    with socket.create_connection(("127.0.0.1", port), PATIENCE, home) as wire:
        try:
            wire.sendall(sent)
            if not true:
                wire.shutdown(socket.SHUT_WR)  # or both would wait for each other
            while part := wire.recv(65_536):
                heard += part
                if b"text/event-stream" in heard and b"\r\n\r\n" in heard:
                    break  # it would go on for ever
        except (ConnectionResetError, BrokenPipeError):
            pass  # it has heard enough of us
    return heard.removeprefix(b"HTTP/1.1 100 Continue\r\n\r\n")


def hostile(house: Tollhouse, sent: bytes, true: bool) -> None:
    heard = answered(house.port, sent, true)
    assert heard or not true
    if heard:
        status = int(heard[9:12])
        assert heard.startswith(b"HTTP/1.")
        assert 200 <= status < 500, heard[:500]
    leaked = [secret for secret in SECRETS if secret.encode() in heard]
    assert not leaked, leaked
    assert b"Traceback" not in heard
    assert b"\nset-cookie: a=b" not in heard.partition(b"\r\n\r\n")[0].lower()


def unharmed(house: Tollhouse) -> None:
    """It is there, it has logged no fault of ours, and it has logged no secret."""
    assert answered(house.port, b"GET /readyz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").startswith(
        b"HTTP/1.1 200"
    )
    faults = [line for line in house.logs if line["level"] in ("error", "critical")]
    assert not faults, faults[:3]
    assert not [secret for secret in SECRETS if secret in house.stderr + house.stdout]


def test_a_thousand_hostile_requests_do_no_harm(house):
    @settings(EVERY, max_examples=1_000)
    @given(requests())
    def ask(request: tuple[bytes, bool]) -> None:
        hostile(house, *request)

    ask()
    unharmed(house)


@pytest.mark.long
def test_ten_thousand_hostile_requests_do_no_harm(house):
    @settings(EVERY, max_examples=10_000, derandomize=False)
    @given(requests())
    def ask(request: tuple[bytes, bool]) -> None:
        hostile(house, *request)

    ask()
    unharmed(house)


def test_the_requests_reach_the_doors(house):
    """Or all of this would prove nothing: most of them are understood, and some do what they ask for."""
    statuses: dict[int, int] = {}

    @settings(EVERY, max_examples=300)
    @given(requests())
    def ask(request: tuple[bytes, bool]) -> None:
        heard = answered(house.port, *request)
        status = int(heard[9:12]) if heard else 0
        statuses[status] = statuses.get(status, 0) + 1

    ask()
    assert {200, 400, 401, 404, 405} <= statuses.keys(), statuses
    assert statuses[200] > 30, statuses
