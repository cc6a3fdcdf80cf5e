"""How an answer reaches the client: whole, event by event, or broken in the way a fault wants it."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from proxy.simulator.connection import Connection, chunk, head
from proxy.simulator.errors import JSON_TYPES, error_body, error_event, headers
from proxy.simulator.failures import failure, retry_headers, with_delay
from proxy.simulator.faults import Fault
from proxy.simulator.ledger import Bill, Entry, Ledger, Outcome
from proxy.simulator.vocabulary import Answer, Event, Usage, VendorName

Work = Coroutine[Any, Any, None]
SETTLE = 0.02  # seconds between the last byte and a reset, so that the byte arrives first
GARBAGE = bytes(range(128, 256)) * 4 + b"\x00{]not json\r\n"
PAGE = b"""<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n<body>\r\n<center><h1>502 Bad Gateway</h1></center>
<hr><center>cloudflare</center>\r\n</body>\r\n</html>\r\n"""
CHUNKED = ("transfer-encoding", "chunked")
# Faults that answer without looking at the request, and those that look at it and then break its answer.
EARLY = ("status", "reset", "hang", "garbage", "empty", "html", "redirect")


class Delivery:
    """`pace` is the wait between two events of a stream in milliseconds; 0 sends a stream in one burst, None sends
    each event in a write of its own without waiting.
    """

    def __init__(self, ledger: Ledger, pace: float | None) -> None:
        self.ledger, self.pace = ledger, pace

    def deliver(
        self,
        connection: Connection,
        answer: Answer,
        fault: Fault | None,
        vendor: VendorName,
        entry: Entry,
        billed: bool,
    ) -> None:
        """Send an answer and book it. Whole answers go out at once, without a task."""
        if fault is not None and (answer.status < 400 or fault.fault == "slow"):
            work = self._broken(connection, answer, fault, vendor, entry)
            self._run(connection, work, entry, billed)
        elif answer.events is None:
            connection.reply(answer.status, answer.headers, answer.body)
            entry.usage = answer.usage
            self.ledger.close(entry, "refused" if answer.limited else "complete", billed)
        elif self.pace == 0:
            data = b"".join(chunk(e.data) for e in answer.events)
            connection.write(head(answer.status, [*answer.headers, CHUNKED]) + b"\r\n" + data + b"0\r\n\r\n")
            connection.finish()
            entry.usage = answer.usage
            self.ledger.close(entry, "complete", billed)
        else:
            self._run(connection, self._stream(connection, answer, entry), entry, billed)

    def breaks_early(
        self, connection: Connection, fault: Fault, vendor: VendorName, entry: Entry, billed: bool
    ) -> bool:
        """Whether the fault answers without looking at the request; if so, it does."""
        if fault.fault not in EARLY:
            return False
        self._run(connection, self._early(connection, fault, vendor, entry), entry, billed)
        return True

    def _run(self, connection: Connection, work: Coroutine[Any, Any, Outcome], entry: Entry, billed: bool) -> None:
        connection.run(self._booked(work, entry, billed))

    async def _booked(self, work: Coroutine[Any, Any, Outcome], entry: Entry, billed: bool) -> None:
        outcome: Outcome = "cancelled"
        try:
            outcome = await work
        finally:
            self.ledger.close(entry, outcome, billed)

    async def _stream(self, connection: Connection, answer: Answer, entry: Entry) -> Outcome:
        await self._pour(connection, answer, entry, None)
        connection.write(b"0\r\n\r\n")
        entry.usage = answer.usage
        connection.finish()
        return "complete"

    async def _pour(self, connection: Connection, answer: Answer, entry: Entry, most: int | None) -> None:
        """The head and the first `most` events; `entry.usage` follows what has been sent."""
        connection.write(head(answer.status, [*answer.headers, CHUNKED]) + b"\r\n")
        bill = Bill()
        wait = (self.pace or 0) / 1000
        try:
            for event in (answer.events or [])[:most]:
                connection.write(chunk(event.data))
                bill.add(event)
                await connection.drain()
                await asyncio.sleep(wait)  # even 0 lets the loop flush: one write, one packet
        finally:
            entry.usage = bill.usage(answer.usage)

    async def _early(self, connection: Connection, fault: Fault, vendor: VendorName, entry: Entry) -> Outcome:
        await asyncio.sleep(fault.delay_ms / 1000)
        usual = headers(vendor, entry.request_id, JSON_TYPES[vendor])
        plain = [(k, v) for k, v in usual if k != "content-type"]
        entry.status = {"status": 0, "reset": 0, "hang": 0, "html": 502, "redirect": 302}.get(fault.fault, 200)
        match fault.fault:
            case "status":
                refusal = with_delay(vendor, failure(vendor, fault.error, fault.status), fault.retry_after)
                entry.status = refusal.status
                extra = retry_headers(vendor, refusal, fault.retry_after)
                body = error_body(vendor, refusal, entry.request_id)
                connection.reply(refusal.status, usual + extra, body)
            case "reset":
                connection.reset()
            case "hang":
                await asyncio.Future()
            case "garbage":
                connection.reply(200, usual, GARBAGE)
            case "empty":
                connection.reply(200, usual, b"")
            case "html":
                connection.reply(502, [("content-type", "text/html"), ("server", "cloudflare")], PAGE)
            case "redirect":
                connection.reply(302, [*plain, ("location", "https://elsewhere.invalid/login")], b"")
        return "fault"

    async def _broken(
        self, connection: Connection, answer: Answer, fault: Fault, vendor: VendorName, entry: Entry
    ) -> Outcome:
        match fault.fault:
            case "slow":
                entry.usage = Bill().usage(answer.usage)  # who does not wait for the answer has asked all the same
                await asyncio.sleep(fault.delay_ms / 1000)
                return await self._intact(connection, answer, entry)
            case "drip":
                return await self._drip(connection, answer, fault, entry)
            case "hang_headers":
                entry.usage = Bill().usage(answer.usage)
                connection.write(_opening(answer))
                await asyncio.Future()
            case "error_event":
                return await self._error_event(connection, answer, fault, vendor, entry)
        half = len(answer.body) // 2
        if answer.events is None:
            entry.usage = answer.usage
            cut = [CHUNKED] if fault.fault == "cut_clean" else [("content-length", str(len(answer.body)))]
            data = answer.body[:half]
            body = chunk(data) if fault.fault == "cut_clean" else data
            connection.write(head(answer.status, answer.headers + cut) + b"\r\n" + body)
        else:
            most = len(answer.events) // 2 if fault.fault == "reset_body" else fault.after_events
            await self._pour(connection, answer, entry, most)
        return await self._end(connection, fault)

    async def _end(self, connection: Connection, fault: Fault) -> Outcome:
        """The way in which a half-sent answer ends."""
        match fault.fault:
            case "cut":
                connection.close()
            case "cut_clean":
                connection.write(b"0\r\n\r\n")
                connection.finish()
            case "reset_body":
                await asyncio.sleep(SETTLE)
                connection.reset()
            case _:
                await asyncio.Future()  # hang_midstream: until the client leaves
        return "fault"

    async def _intact(self, connection: Connection, answer: Answer, entry: Entry) -> Outcome:
        if answer.events is not None:
            return await self._stream(connection, answer, entry)
        connection.reply(answer.status, answer.headers, answer.body)
        entry.usage = answer.usage
        return "refused" if answer.limited else "complete"

    async def _drip(self, connection: Connection, answer: Answer, fault: Fault, entry: Entry) -> Outcome:
        """Byte by byte. In a stream each byte is a chunk of its own."""
        connection.write(_opening(answer))
        frame: Callable[[bytes], bytes] = bytes if answer.events is None else chunk
        bill = Bill()
        try:
            for event in answer.events if answer.events is not None else [Event(answer.body)]:
                for at in range(len(event.data)):
                    connection.write(frame(event.data[at : at + 1]))
                    await asyncio.sleep(fault.delay_ms / 1000)
                    await connection.drain()
                bill.add(event)
        finally:
            entry.usage = bill.usage(answer.usage) if answer.events is not None else answer.usage
        if answer.events is not None:
            connection.write(b"0\r\n\r\n")
        entry.usage = answer.usage
        connection.finish()
        return "complete"

    async def _error_event(
        self, connection: Connection, answer: Answer, fault: Fault, vendor: VendorName, entry: Entry
    ) -> Outcome:
        """The error inside a stream; an answer that does not stream becomes the error itself."""
        refusal = failure(vendor, fault.error or "overloaded", fault.status)
        if answer.events is None:
            entry.status, entry.usage = refusal.status, Usage()
            connection.reply(refusal.status, answer.headers, error_body(vendor, refusal, entry.request_id))
            return "fault"
        await self._pour(connection, answer, entry, fault.after_events)
        connection.write(chunk(error_event(vendor, refusal, entry.request_id)) + b"0\r\n\r\n")
        connection.finish()
        return "fault"


def _opening(answer: Answer) -> bytes:
    """The head alone, framed as the whole answer would be."""
    framing = CHUNKED if answer.events is not None else ("content-length", str(len(answer.body)))
    return head(answer.status, [*answer.headers, framing]) + b"\r\n"
