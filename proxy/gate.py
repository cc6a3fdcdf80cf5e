"""The way of one request, from the door to the vendor and back, top to bottom.

Stream or not, well or ill, staying or leaving: everything goes through `Gate.serve` and its one `finally`. A vendor has
answered when its first translated part is in hand; until then the next candidate is asked, after it nobody.
"""

import asyncio
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import msgspec
import structlog

from adapters.base import Failure, Kind, Stamp
from adapters.completion import error_object
from adapters.envelope import Envelope, seal
from adapters.extent import Extent
from adapters.letter import unreadable
from adapters.sse import encode as event
from proxy import headers, ledger
from proxy.auth import NOBODY, Caller, permitted
from proxy.catalog import LONGEST_NAME
from proxy.chooser import Chooser
from proxy.crowd import Crowd
from proxy.downstream import Downstream
from proxy.forward import milliseconds
from proxy.ledger import Entry
from proxy.prompts import answered, shortened
from proxy.queue import NORMAL, URGENCIES
from proxy.quota import Entering
from proxy.routing import TASKS
from proxy.routing.need import need
from proxy.telemetry import Record, Sink
from proxy.toll import Exchange
from proxy.traceparent import Trace, parse, passed
from proxy.trip import Trip, Trips
from proxy.turnstile import Turnstile, ratelimits


class Gate(msgspec.Struct, frozen=True, kw_only=True):
    """What all requests share. `longest` is how long one may take, in seconds."""

    chooser: Chooser
    trips: Trips
    turnstile: Turnstile
    crowd: Crowd
    sinks: Sequence[Sink]
    largest_body: int
    extent: Extent
    longest: float
    traced: bool  # a request without a trace begins one
    prompts: int  # characters of a prompt and of an answer that the log may show
    clock: Callable[[], float]  # seconds, monotonic
    wall: Callable[[], float]  # seconds since the epoch

    async def serve(self, down: Downstream, admit: Callable[[], Caller]) -> None:
        """Serve one chat completion. Never raises but for a cancellation from outside."""
        token = next(_tokens)
        record = Record(f"req_{token}", self.clock(), attempts=[])
        exchange: Exchange | None = None
        caller = NOBODY
        said: int | None = None  # tokens that it said it would take, since it was let in
        try:
            self.crowd.enter()
            passing = self._trace(down, record)
            caller = admit()
            self.crowd.join(caller.key)
            asked = self.clock()
            body = await down.body(self.largest_body)
            coming = self.clock() - asked
            envelope = seal(body, self.extent)
            entry = _entry(down, envelope, caller, record)
            permitted(caller, envelope.model)
            route = self.chooser.route(envelope.model)
            down.watch()
            stamp = Stamp(f"chatcmpl-{token}", int(self.wall()))
            patience, endurance = headers.patience(down)
            deadline = record.started + min(self.longest, patience)
            over = record.started + min(self.longest, endurance)
            exchange = Exchange(envelope, stamp, down, record, entry, deadline, over, passing=passing, aside=coming)
            exchange.keep = bool(self.prompts)
            if caller.quota:
                said = await self._enter(caller, exchange)
            task, urgency = _task(down, envelope), _urgency(down)
            await self.trips.go(Trip(route=route, exchange=exchange, task=task, urgency=urgency))
        except Failure as failure:
            await _refuse(failure, down, record)
        except asyncio.CancelledError:
            if not down.left:
                await _refuse(_shutting_down(), down, record)
                raise
            record.status, record.code = 499, "client_left"
        except RecursionError as error:  # what is nested so deeply is the letter
            await _refuse(unreadable(error), down, record)
        except Exception:
            structlog.get_logger().exception("internal error", request_id=record.request_id)
            await _refuse(_ours(), down, record)
        finally:
            self.crowd.leave(caller.key)
            down.unwatch()
            record.total = milliseconds(self.clock() - record.started)
            if exchange is not None:
                self._close(exchange, caller, said)
            for sink in self.sinks:
                sink(record)

    def _trace(self, down: Downstream, record: Record) -> Mapping[str, str]:
        """The trace that the request belongs to, and the headers that take it on."""
        came = down.header(b"traceparent")
        trace = parse(came) if came else None
        if trace is None and not self.traced:
            return {}
        record.trace = trace.id if trace else os.urandom(16).hex()
        record.parent = trace.span if trace else None
        record.sampled = trace.sampled if trace else True
        record.span = os.urandom(8).hex() if self.traced else None
        ours = Trace(record.trace, record.span or record.parent or "", record.sampled)
        return passed(ours, down.header(b"tracestate") if trace else None)

    async def _enter(self, caller: Caller, exchange: Exchange) -> int:
        """A place within the quota of its key, for so many tokens. Raises `Failure` (429)."""
        said = need(exchange.envelope).prompt
        entering = Entering(
            key=caller.key,
            id=exchange.record.request_id,
            quota=caller.quota,
            tokens=said,
            seconds=int(self.longest) + 1,
        )
        began = self.clock()
        exchange.more = ratelimits(await self.turnstile.enter(entering), caller.quota)
        exchange.apart(self.clock() - began)
        return said

    def _close(self, exchange: Exchange, caller: Caller, said: int | None) -> None:
        """Settle what is under way, and give the place back. Never waits, never raises."""
        record = exchange.record
        self.trips.close(exchange)
        if said is not None:
            self.turnstile.leave(caller.key, record.request_id, caller.quota, exchange.tokens(said) - said)
        if self.prompts:
            record.prompt = shortened(exchange.envelope, self.prompts)
            if exchange.spoken is not None:
                record.answer = answered("".join(exchange.spoken.heard.text()), self.prompts)


def _named() -> Iterator[str]:
    """Random names, of 32 hexadecimal digits: many by one call of the system."""
    while True:
        many = os.urandom(_NAMES * 16).hex()
        for at in range(0, len(many), 32):
            yield many[at : at + 32]


_NAMES = 64
_tokens = _named()
_HEADERS = {name: f"x-tollhouse-{name}".encode() for name in ("user", "agent", "task")}


def _said(down: Downstream, envelope: Envelope, name: str, body: Any = None) -> str:
    """By header, else by the body, else by its metadata."""
    header = down.header(_HEADERS[name])
    said = (header and headers.spelled(header)) or body or (envelope.metadata and envelope.metadata.get(name))
    return ledger.name(said) if said else ""


def _task(down: Downstream, envelope: Envelope) -> str | None:
    """What the request is for; a word that nobody knows is none."""
    task = _said(down, envelope, "task")
    return found if task and (found := task.lower()) in TASKS else None


def _urgency(down: Downstream) -> int:
    said = down.header(b"x-tollhouse-priority")
    return NORMAL if said is None else URGENCIES.get(said.strip().lower(), NORMAL)


def _entry(down: Downstream, envelope: Envelope, caller: Caller, record: Record) -> Entry:
    """Who spends. What the key says goes before what the request says: nobody spends in another's name."""
    record.model, record.stream, record.key = envelope.model[:LONGEST_NAME], envelope.stream, caller.key or None
    user = caller.user or _said(down, envelope, "user", envelope.user)
    agent = caller.agent or _said(down, envelope, "agent")
    record.user, record.agent, record.team = user or None, agent or None, caller.team or None
    return Entry(
        id="",
        request=record.request_id,
        provider="",
        model="",
        asked=ledger.name(envelope.model),
        key=caller.key,
        user=user,
        agent=agent,
        team=caller.team,
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
