"""The way of one request, from the door to the vendor and back, top to bottom.

Stream or not, well or ill, staying or leaving: everything goes through `Gate.serve` and its one `finally`. A vendor has
answered when its first translated part is in hand; until then the next candidate is asked, after it nobody.
"""

import asyncio
import os
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import structlog

from adapters.base import Failure, Kind, Stamp
from adapters.completion import error_object
from adapters.envelope import Envelope, seal
from adapters.sse import encode as event
from proxy import headers, ledger
from proxy.chooser import Chooser
from proxy.downstream import Downstream
from proxy.ledger import Entry
from proxy.queue import NORMAL, URGENCIES
from proxy.routing import TASKS
from proxy.telemetry import Record, Sink
from proxy.toll import Exchange
from proxy.trip import Trip, Trips


class Gate(msgspec.Struct, frozen=True, kw_only=True):
    """What all requests share. `longest` is how long one may take, in seconds."""

    chooser: Chooser
    trips: Trips
    sinks: Sequence[Sink]
    largest_body: int
    longest: float
    clock: Callable[[], float]  # seconds, monotonic
    wall: Callable[[], float]  # seconds since the epoch

    async def serve(self, down: Downstream, admit: Callable[[], str]) -> None:
        """Serve one chat completion. Never raises but for a cancellation from outside."""
        token = os.urandom(16).hex()
        record = Record(f"req_{token}", self.clock(), attempts=[])
        exchange: Exchange | None = None
        try:
            key = admit()
            envelope = seal(await down.body(self.largest_body))
            entry = _entry(down, envelope, key, record.request_id)
            record.model, record.stream, record.user = envelope.model, envelope.stream, entry.user or None
            route = self.chooser.route(envelope.model)
            down.watch()
            stamp = Stamp(f"chatcmpl-{token}", int(self.wall()))
            deadline = record.started + min(self.longest, headers.patience(down))
            over = record.started + min(self.longest, headers.endurance(down))
            exchange = Exchange(envelope, stamp, down, record, entry, deadline, over)
            urgency = URGENCIES.get((down.header(b"x-tollhouse-priority") or "").strip().lower(), NORMAL)
            await self.trips.go(Trip(route=route, exchange=exchange, task=_task(down, envelope), urgency=urgency))
        except Failure as failure:
            await _refuse(failure, down, record)
        except asyncio.CancelledError:
            if not down.left:
                await _refuse(_shutting_down(), down, record)
                raise
            record.status, record.code = 499, "client_left"
        except Exception:
            structlog.get_logger().exception("internal error", request_id=record.request_id)
            await _refuse(_ours(), down, record)
        finally:
            down.unwatch()
            record.total = round((self.clock() - record.started) * 1000, 3)
            if exchange is not None:
                self.trips.close(exchange)
            for sink in self.sinks:
                sink(record)


def _said(down: Downstream, envelope: Envelope, name: str, body: Any = None) -> str:
    """By header, else by the body, else by its metadata."""
    header = headers.spelled(down.header(f"x-tollhouse-{name}".encode()) or "")
    return ledger.name(header or body or envelope.metadata.get(name))


def _task(down: Downstream, envelope: Envelope) -> str | None:
    """What the request is for; a word that nobody knows is none."""
    task = _said(down, envelope, "task").lower()
    return task if task in TASKS else None


def _entry(down: Downstream, envelope: Envelope, key: str, request: str) -> Entry:
    """Who spends."""
    return Entry(
        id="",
        request=request,
        provider="",
        model="",
        asked=ledger.name(envelope.model),
        key=key,
        user=_said(down, envelope, "user", envelope.user),
        agent=_said(down, envelope, "agent"),
        stream=envelope.stream,
    )


async def _refuse(failure: Failure, down: Downstream, record: Record) -> None:
    """Tell the client what went wrong, in the way that is still open."""
    record.fail(failure)
    body = failure.body if failure.body and b"\n" not in failure.body else error_object(failure)
    if not down.started:
        await down.answer(failure.status, [*headers.JSON, *headers.refusal(failure, record)], body)
    elif not down.ended:
        # As an event, and without a proper end: half an answer must not look like a whole one.
        await down.write(event(body), more=False)


def _ours() -> Failure:
    return Failure(Kind.TRANSIENT, "The proxy failed; its log says why.", status=500, code="internal_error")


def _shutting_down() -> Failure:
    return Failure(
        Kind.TRANSIENT,
        "The proxy is shutting down; ask again.",
        status=503,
        code=headers.SHUTTING_DOWN,
        retry_after=1,
    )
