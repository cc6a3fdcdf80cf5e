"""A budget that came to a threshold is told: in the log, as a number, and to a webhook that can check who speaks."""

import asyncio
import contextlib
import hashlib
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import NamedTuple

import pytest
from structlog.testing import capture_logs

from proxy.alerts import MOST_WAITING, PAUSES, Alerts
from proxy.budget import Alert, Limit
from proxy.environment import Secret
from proxy.ledger import Counter
from proxy.metrics import Metrics
from tests.tollhouse import PATIENCE, ROOT, surroundings

NOW = 1_795_392_000.9  # 2026-11-23 00:00:00 UTC, and a bit
LIMIT = Limit("daily of user=alice", "user=alice", "day", 12_500_000_000)
ALERT = Alert(LIMIT, "day:2026-11-23", 90, Counter(spent=11_000_000_001, held=5, unproven=500_000_000))
KEY = "whsec-canary"


class Heard(NamedTuple):
    line: str
    headers: dict[str, str]
    body: bytes


class Webhook:
    """A server that answers each request with the next of `statuses` (the last one again and again)."""

    def __init__(self, *statuses: int) -> None:
        self.heard: list[Heard] = []
        self.arrived, self.go = asyncio.Event(), asyncio.Event()
        self.go.set()
        self.url = ""
        self._statuses = list(statuses)

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        line, *rest = (await reader.readuntil(b"\r\n\r\n")).decode().strip().split("\r\n")
        headers = {name.lower(): value for name, _, value in (part.partition(": ") for part in rest)}
        self.heard.append(Heard(line, headers, await reader.readexactly(int(headers["content-length"]))))
        self.arrived.set()
        await self.go.wait()
        status = self._statuses.pop(0) if len(self._statuses) > 1 else self._statuses[0]
        place = f"location: {self.url}elsewhere\r\n" if status // 100 == 3 else ""
        writer.write(f"HTTP/1.1 {status} X\r\n{place}content-length: 0\r\nconnection: close\r\n\r\n".encode())


Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def serve(handler: Handler) -> AsyncIterator[str]:
    """The address of a server; at the end each connection is closed and its handler over."""
    handled: list[asyncio.Task[None]] = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            await handler(reader, writer)
        with contextlib.suppress(ConnectionError):
            writer.close()
            await writer.wait_closed()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        handled.append(asyncio.create_task(handle(reader, writer)))

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    finally:
        server.close()
        await asyncio.gather(*handled)


@asynccontextmanager
async def webhook(*statuses: int) -> AsyncIterator[Webhook]:
    hook = Webhook(*statuses)
    async with serve(hook.answer) as hook.url:
        try:
            yield hook
        finally:
            hook.go.set()


class Pauses(list[float]):
    async def __call__(self, seconds: float) -> None:
        self.append(seconds)
        await asyncio.sleep(0)


def alerts(url: str | None, secret: str | None = KEY, **more) -> Alerts:
    options = {"metrics": Metrics(), "wall": lambda: NOW, "dice": lambda: 0.5, "sleep": Pauses(), **more}
    return Alerts(url, Secret(secret) if secret else None, **options)


def hmac_sha256(key: bytes, text: bytes) -> str:
    """RFC 2104 by hand, so that the signature is not checked by what made it."""
    padded = key.ljust(64, b"\0")
    inner = hashlib.sha256(bytes(b ^ 0x36 for b in padded) + text).digest()
    return hashlib.sha256(bytes(b ^ 0x5C for b in padded) + inner).hexdigest()


async def test_without_a_webhook_an_alert_is_a_line_in_the_log_and_a_number():
    metrics = Metrics()
    told = alerts(None, metrics=metrics)
    with capture_logs() as log:
        told.tell(ALERT)
    await told.close()
    assert log == [
        {
            "event": "budget alert",
            "log_level": "warning",
            "budget": "daily of user=alice",
            "scope": "user=alice",
            "window": "day:2026-11-23",
            "percent": 90,
            "spent_usd": "11.000000001",
            "unproven_usd": "0.5",
            "limit_usd": "12.5",
        }
    ]
    line = b'tollhouse_budget_alerts_total{budget="daily of user=alice",percent="90",window="day"} 1.0'
    assert line in metrics.text()


async def test_a_webhook_that_fails_at_first_is_asked_again_until_it_takes_the_alert():
    times = iter([NOW, NOW, NOW + 7, NOW + 30])
    async with webhook(500, 429, 204) as hook:
        told = alerts(hook.url + "path?token=x", wall=lambda: next(times), sleep=(pauses := Pauses()))
        with capture_logs() as log:
            told.tell(ALERT)
            await told.close()
    assert [line["event"] for line in log] == ["budget alert"], "and nothing is given up"
    assert pauses == [PAUSES[0] / 2, PAUSES[1] / 2], "as the dice say"
    assert {heard.line for heard in hook.heard} == {"POST /path?token=x HTTP/1.1"}
    assert {heard.headers["content-type"] for heard in hook.heard} == {"application/json"}
    for heard, at in zip(hook.heard, (NOW, NOW + 7, NOW + 30), strict=True):
        said = dict(part.split("=") for part in heard.headers["tollhouse-signature"].split(","))
        assert said == {"t": str(int(at)), "v1": hmac_sha256(KEY.encode(), b"%d.%b" % (int(at), heard.body))}
        assert json.loads(heard.body) == {
            "event": "budget.threshold",
            "id": ALERT.key,
            "budget": "daily of user=alice",
            "scope": "user=alice",
            "window": "day:2026-11-23",
            "percent": 90,
            "limit_usd": "12.5",
            "spent_usd": "11.000000001",
            "unproven_usd": "0.5",
            "at": "2026-11-23T00:00:00Z",
        }


async def test_without_a_secret_nothing_is_signed():
    async with webhook(200) as hook:
        told = alerts(hook.url, None)
        told.tell(ALERT)
        await told.close()
    assert "tollhouse-signature" not in hook.heard[0].headers


@pytest.mark.parametrize("status", [302, 307, 308, 400, 410, 503])
async def test_a_webhook_that_never_takes_it_is_given_up_and_a_redirect_is_not_followed(status):
    async with webhook(status) as hook:
        told = alerts(hook.url, sleep=(pauses := Pauses()), dice=lambda: 1.0)
        with capture_logs() as log:
            told.tell(ALERT)
            await told.close()
    assert [heard.line for heard in hook.heard] == ["POST / HTTP/1.1"] * 6
    assert tuple(pauses) == PAUSES
    assert log[1:] == [
        {"event": "budget alert not sent", "log_level": "error", "alert": ALERT.key, "why": f"answered {status}"}
    ]


async def test_pauses_grow():
    assert list(PAUSES) == sorted(PAUSES)
    assert 60 < sum(PAUSES) / 2 < 600, "over minutes, with dice that fall in the middle"


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("http://127.0.0.1:1/", "ConnectError"),
        ("http://no-such-host.invalid/", "ConnectError"),
        ("foo://127.0.0.1/", "UnsupportedProtocol"),
        ("http://127.0.0.1:99999999/", "ExceptionGroup"),
        ("http://127.0.0.1:port/", "InvalidURL"),
    ],
)
async def test_a_webhook_that_cannot_be_reached_is_given_up(url, why):
    told = alerts(url)
    with capture_logs() as log:
        told.tell(ALERT)
        await told.close()
    assert log[1]["why"] == why


async def test_a_webhook_that_does_not_answer_is_not_waited_for():
    async with webhook(200) as hook:
        hook.go.clear()
        told = alerts(hook.url, timeout=0.01, patience=PATIENCE)
        with capture_logs() as log:
            told.tell(ALERT)
            await told.close()
    assert log[1]["why"] in ("no answer in time", "ReadTimeout", "ConnectTimeout")


async def test_a_webhook_that_answers_a_little_at_a_time_is_not_waited_for_either():
    """Each read is in time; the whole answer never is."""

    async def dribble(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n")
        while True:
            writer.write(b"x: y\r\n")
            await writer.drain()
            await asyncio.sleep(0.01)

    async with serve(dribble) as url:
        told = alerts(url, timeout=0.1, patience=PATIENCE)
        with capture_logs() as log:
            told.tell(ALERT)
            await told.close()
    assert log[1]["why"] in ("no answer in time", "ReadTimeout"), "the second where the machine is slow"


async def test_too_many_alerts_are_in_the_log_alone():
    async with webhook(200) as hook:
        hook.go.clear()
        told = alerts(hook.url, patience=PATIENCE)
        with capture_logs() as log:
            for _ in range(MOST_WAITING + 2):
                told.tell(ALERT)
        assert [line["event"] for line in log].count("budget alert") == MOST_WAITING + 2
        assert [line["why"] for line in log if "why" in line] == ["too many wait for the webhook"] * 2
        hook.go.set()
        await told.close()
        assert len(hook.heard) == MOST_WAITING


async def test_at_the_end_what_is_under_way_is_waited_for():
    async with webhook(200) as hook:
        hook.go.clear()
        told = alerts(hook.url, patience=PATIENCE)
        with capture_logs() as log:
            told.tell(ALERT)
            await hook.arrived.wait()
            closing = asyncio.create_task(told.close())
            await asyncio.sleep(0)
            hook.go.set()
            await closing
    assert [line["event"] for line in log] == ["budget alert"]


async def test_at_the_end_what_takes_too_long_is_given_up_and_said():
    async with webhook(500) as hook:
        never = asyncio.Event()
        paused = asyncio.Event()

        async def sleep(_: float) -> None:
            paused.set()
            await never.wait()

        told = alerts(hook.url, sleep=sleep, patience=0)
        with capture_logs() as log:
            told.tell(ALERT)
            await paused.wait()
            await told.close()
    assert [line.get("why") for line in log] == [None, "closing; answered 500"]


TELL = """
import asyncio, sys
from proxy.alerts import Alerts
from proxy.environment import Secret
from proxy.metrics import Metrics
from proxy.log import configure
from tests.proxy.test_alerts import ALERT
async def sleep(_):
    pass
async def main():
    for url in sys.argv[1:]:
        alerts = Alerts(url, Secret("secret-canary"), metrics=Metrics(), sleep=sleep)
        print(alerts, vars(alerts)["_secret"])
        alerts.tell(ALERT)
        await alerts.close()
configure("json", "debug")
asyncio.run(main(), debug=True)
"""


async def test_no_part_of_the_address_and_no_secret_is_in_the_log():
    """In a process of its own: how a log is set up holds for a whole process, and libraries speak there as well."""
    secrets = "name-canary:word-canary@{}/path-canary?token=query-canary#fragment-canary"
    async with webhook(500) as hook:
        urls = [f"http://{secrets.format(place)}" for place in (hook.url[7:-1], "127.0.0.1:1", "127.0.0.1:99999999")]
        done = await asyncio.to_thread(
            subprocess.run, [sys.executable, "-c", TELL, *urls], cwd=ROOT, env=surroundings({}),
            capture_output=True, text=True, timeout=PATIENCE,
        )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("budget alert not sent") == 3
    assert hook.heard[0].headers["authorization"].startswith("Basic "), "the server does hear them"
    assert "canary" not in done.stderr + done.stdout


async def test_a_webhook_that_is_put_in_its_place_later_is_told_from_then_on():
    told = alerts(None)
    async with webhook(204) as hook, webhook(204) as other:
        told.tell(ALERT)
        await told.turn_to(hook.url, Secret("another"))
        told.tell(ALERT)
        await hook.arrived.wait()
        await told.turn_to(other.url, None)
        told.tell(ALERT)
        await other.arrived.wait()
        await told.turn_to(None, None)
        told.tell(ALERT)
        await told.close()
    assert (len(hook.heard), len(other.heard)) == (1, 1)
    assert "tollhouse-signature" in hook.heard[0].headers
    assert "tollhouse-signature" not in other.heard[0].headers
