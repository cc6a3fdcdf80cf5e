"""Telling people that a budget has come to a threshold: a line in the log, a number, and a webhook if there is one.

The webhook is signed as Stripe signs, anew for each try: `tollhouse-signature: t=<unix seconds>,v1=<hex>`, which is the
HMAC-SHA256 of "t.body". Whoever takes it should refuse an old `t`, and take an `id` once: a try whose answer was lost
is repeated.
"""

import asyncio
import hashlib
import hmac
import random
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import msgspec
import structlog

from proxy import __version__
from proxy.budget import Alert
from proxy.cost import dollars
from proxy.environment import Secret
from proxy.metrics import Metrics

if TYPE_CHECKING:
    import httpx

SIGNATURE = "tollhouse-signature"
PAUSES = (5.0, 20.0, 60.0, 120.0, 240.0)  # seconds between tries, at most; which part of them, the dice say
MOST_WAITING = 100  # alerts that wait for the webhook; those beyond are in the log alone
_AT_ONCE = 4  # connections to the webhook


class Alerts:
    """One per process; used on the event loop. Without a `webhook` the log and the metrics are all; without a `secret`
    nothing is signed.

    `dice` gives numbers from 0 to 1. Seconds: `timeout` for a whole try, `patience` for what is under way at the end.
    """

    def __init__(
        self,
        webhook: str | None,
        secret: Secret | None,
        *,
        metrics: Metrics,
        wall: Callable[[], float] = time.time,
        dice: Callable[[], float] = random.random,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        timeout: float = 10.0,
        patience: float = 2.0,
    ) -> None:
        self._webhook, self._secret, self._metrics = webhook, secret, metrics
        self._wall, self._dice, self._sleep = wall, dice, sleep
        self._timeout, self._patience = timeout, patience
        # Made at the start, if at all: to read the authorities takes longer than a stream may be kept waiting.
        self._client = self._made() if webhook is not None else None
        self._turns = asyncio.Semaphore(_AT_ONCE)
        self._tasks: set[asyncio.Task[None]] = set()

    def _made(self) -> "httpx.AsyncClient":
        import httpx  # only here: most servers have no webhook

        return httpx.AsyncClient(follow_redirects=False, trust_env=False, timeout=self._timeout)

    async def turn_to(self, webhook: str | None, secret: Secret | None) -> None:
        """From now on tell this one, or none."""
        if webhook is not None and self._client is None:
            self._client = await asyncio.to_thread(self._made)
        self._webhook, self._secret = webhook, secret

    def tell(self, alert: Alert) -> None:
        """Say it. Never waits and never raises: the webhook is told in the background."""
        counter = alert.counter
        structlog.get_logger().warning(
            "budget alert",
            budget=alert.limit.budget,
            scope=alert.limit.scope,
            window=alert.label,
            percent=alert.percent,
            spent_usd=dollars(counter.spent),
            unproven_usd=dollars(counter.unproven),
            limit_usd=dollars(alert.limit.nano),
        )
        self._metrics.alert(alert)
        if self._webhook is None or self._client is None:
            return
        if len(self._tasks) >= MOST_WAITING:
            self._give_up(alert, "too many wait for the webhook")
            return
        task = asyncio.create_task(self._send(self._client, self._webhook, alert))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """Wait a moment for what is under way; what is not taken by then is given up, and the log says so."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=self._patience)
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._client is not None:
            await self._client.aclose()

    async def _send(self, client: "httpx.AsyncClient", webhook: str, alert: Alert) -> None:
        said = body(alert, self._wall())
        why: str | None = "not tried"
        try:
            for pause in (*PAUSES, None):
                async with self._turns:
                    why = await self._try(client, webhook, said)
                if why is None or pause is None:
                    break
                await self._sleep(pause * self._dice())
        except asyncio.CancelledError:
            why = f"closing; {why}"
            raise
        finally:
            if why is not None:
                self._give_up(alert, why)

    async def _try(self, client: "httpx.AsyncClient", webhook: str, said: bytes) -> str | None:
        """Why it was not taken; None if it was. Nothing of the address: it may hold a key."""
        headers = {"content-type": "application/json", "user-agent": f"tollhouse/{__version__}"}
        if self._secret is not None:
            headers[SIGNATURE] = signature(self._secret, int(self._wall()), said)
        try:
            async with (
                asyncio.timeout(self._timeout),
                client.stream("POST", webhook, content=said, headers=headers) as response,
            ):
                return None if response.is_success else f"answered {response.status_code}"
        except TimeoutError:
            return "no answer in time"
        except Exception as error:  # an address can be wrong in ways that no list names
            return type(error).__name__  # not its words: some name the address

    def _give_up(self, alert: Alert, why: str) -> None:
        structlog.get_logger().error("budget alert not sent", alert=alert.key, why=why)


def body(alert: Alert, now: float) -> bytes:
    """What the webhook is told. Dollars are exact decimals, in strings; `at` is ISO 8601."""
    return msgspec.json.encode(
        {
            "event": "budget.threshold",
            "id": alert.key,
            "budget": alert.limit.budget,
            "scope": alert.limit.scope,
            "window": alert.label,
            "percent": alert.percent,
            "limit_usd": dollars(alert.limit.nano),
            "spent_usd": dollars(alert.counter.spent),
            "unproven_usd": dollars(alert.counter.unproven),
            "at": datetime.fromtimestamp(int(now), UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        }
    )


def signature(secret: Secret, now: int, said: bytes) -> str:
    """The header's value."""
    digest = hmac.new(secret.reveal().encode(), b"%d.%b" % (now, said), hashlib.sha256).hexdigest()
    return f"t={now},v1={digest}"
