"""The control port: faults, rate limits, scripts, the ledger and what arrived, for tests and demos."""

from collections.abc import Callable
from typing import Any, get_args

import msgspec

from proxy.simulator.connection import Connection
from proxy.simulator.failures import failure
from proxy.simulator.faults import Fault, Rack
from proxy.simulator.house import House
from proxy.simulator.ledger import Ledger
from proxy.simulator.limits import Limit, Limits
from proxy.simulator.listeners import Listeners
from proxy.simulator.vocabulary import VENDORS, Json, Request, Scripted, VendorName

LONGEST_WAIT = 60.0  # seconds
JSON = [("content-type", "application/json")]


class ScriptOrder(msgspec.Struct, forbid_unknown_fields=True):
    """The body of POST /script."""

    vendor: VendorName
    answers: list[Scripted]
    repeat: bool = False


class Control:
    """One method per endpoint; `ROUTES` maps them."""

    def __init__(
        self, houses: dict[VendorName, House], rack: Rack, limits: Limits, ledger: Ledger, listeners: Listeners
    ) -> None:
        self.houses, self.rack, self.limits, self.ledger, self.listeners = houses, rack, limits, ledger, listeners

    def handle(self, connection: Connection, request: Request) -> None:
        """Answer one request."""
        connection.run(self._answer(connection, request))

    async def _answer(self, connection: Connection, request: Request) -> None:
        route = ROUTES.get((request.method, request.path))
        try:
            if route is not None:
                result = route(self, request)
            elif (request.method, request.path) == ("GET", "/wait"):
                result = await self._wait(request)
            else:
                connection.reply(404, JSON, b'{"error":"no such endpoint"}')
                return
            await self.listeners.keep_closed(self.rack.refused())
        except (msgspec.MsgspecError, KeyError, ValueError) as error:
            connection.reply(400, JSON, msgspec.json.encode({"error": f"{type(error).__name__}: {error}"}))
            return
        connection.reply(200, JSON, msgspec.json.encode(result))

    def _vendors(self, request: Request) -> tuple[VendorName, ...]:
        """The vendor named in the query, or all."""
        name = request.query.get("vendor")
        if name is not None and name not in get_args(VendorName):
            raise ValueError(f"no such vendor: {name}")
        return tuple(v for v in VENDORS if name in (None, v))

    def add_fault(self, request: Request) -> Any:
        fault = msgspec.json.decode(request.body, type=Fault)
        if fault.fault == "status":
            failure(fault.vendor, fault.error, fault.status)  # an unknown name fails here, not later
        self.rack.faults.append(fault)
        return fault

    def faults(self, request: Request) -> Any:
        return {"faults": self.rack.faults}

    def clear_faults(self, request: Request) -> Any:
        for vendor in self._vendors(request):
            self.rack.clear(vendor)
        return {"faults": self.rack.faults}

    def add_limit(self, request: Request) -> Any:
        limit = msgspec.json.decode(request.body, type=Limit)
        self.limits.add(limit)
        return limit

    def show_limits(self, request: Request) -> Any:
        return {"limits": [buckets.limit for buckets in self.limits.all]}

    def clear_limits(self, request: Request) -> Any:
        for vendor in self._vendors(request):
            self.limits.clear(vendor)
        return self.show_limits(request)

    def add_script(self, request: Request) -> Any:
        order = msgspec.json.decode(request.body, type=ScriptOrder)
        script = self.houses[order.vendor].script
        script.answers.extend(order.answers)
        script.repeat = order.repeat
        return {"waiting": len(script.answers)}

    def clear_script(self, request: Request) -> Any:
        for vendor in self._vendors(request):
            self.houses[vendor].script.answers.clear()
        return {}

    def show_ledger(self, request: Request) -> Any:
        vendors = self._vendors(request)
        entries = [e for e in self.ledger.entries if e.vendor in vendors]
        return {"requests": len(entries), "entries": entries}

    def totals(self, request: Request) -> Any:
        return self.ledger.totals()

    def arrivals(self, request: Request) -> Any:
        vendors = self._vendors(request)
        return {"arrivals": [e for e in self.ledger.arrivals if e.vendor in vendors]}

    def clear_ledger(self, request: Request) -> Any:
        self.ledger.clear()
        return {}

    def open(self, request: Request) -> Any:
        return {
            v: {"connections": len(self.listeners.doors[v].peers), "in_progress": self.ledger.in_progress[v]}
            for v in VENDORS
        }

    def requests(self, request: Request) -> Any:
        return {"requests": [_shown(v, r) for v in self._vendors(request) for r in self.houses[v].requests]}

    def clear_requests(self, request: Request) -> Any:
        for vendor in self._vendors(request):
            self.houses[vendor].requests.clear()
        return {}

    def reset(self, request: Request) -> Any:
        """As on the first day: no faults, limits, scripts, entries, requests, nor cached prompts."""
        for step in (self.clear_faults, self.clear_limits, self.clear_script, self.clear_ledger, self.clear_requests):
            step(request)
        self.rack.reset()
        for house in self.houses.values():
            house.memory.clear()
        self.ledger.received = dict.fromkeys(VENDORS, 0)
        return {}

    async def _wait(self, request: Request) -> Any:
        """Until all conditions of the query hold: in_progress = N, connections <= N, ledger >= N, received >= N."""
        vendors = self._vendors(request)
        query = request.query
        tests: list[Callable[[], bool]] = []
        if "in_progress" in query:
            wanted = int(query["in_progress"])
            tests.append(lambda: sum(self.ledger.in_progress[v] for v in vendors) == wanted)
        if "ledger" in query:
            entries = int(query["ledger"])
            tests.append(lambda: self._finished(vendors) >= entries)
        if "received" in query:
            received = int(query["received"])
            tests.append(lambda: sum(self.ledger.received[v] for v in vendors) >= received)
        timeout = min(float(query.get("timeout", 2)), LONGEST_WAIT)
        ready = await self.ledger.wait(lambda: all(test() for test in tests), timeout)
        return {"ready": ready, "open": self.open(request), "ledger": self._finished(vendors)}

    def _finished(self, vendors: tuple[VendorName, ...]) -> int:
        if len(vendors) == len(VENDORS):
            return self.ledger.finished
        return sum(e.vendor in vendors for e in self.ledger.entries)


def _shown(vendor: VendorName, request: Request) -> Json:
    """A request as a test wants to see it: the body as JSON where it is JSON, else as text."""
    try:
        body = msgspec.json.decode(request.body) if request.body else None
    except (msgspec.DecodeError, UnicodeDecodeError):
        body = request.body.decode("utf-8", "replace")
    return {
        "vendor": vendor,
        "method": request.method,
        "path": request.path,
        "query": request.query,
        "headers": request.headers,
        "body": body,
        "raw": request.body.decode("utf-8", "replace"),
    }


ROUTES: dict[tuple[str, str], Callable[[Control, Request], Any]] = {
    ("POST", "/faults"): Control.add_fault,
    ("GET", "/faults"): Control.faults,
    ("DELETE", "/faults"): Control.clear_faults,
    ("POST", "/limits"): Control.add_limit,
    ("GET", "/limits"): Control.show_limits,
    ("DELETE", "/limits"): Control.clear_limits,
    ("POST", "/script"): Control.add_script,
    ("DELETE", "/script"): Control.clear_script,
    ("GET", "/ledger"): Control.show_ledger,
    ("DELETE", "/ledger"): Control.clear_ledger,
    ("GET", "/ledger/totals"): Control.totals,
    ("GET", "/arrivals"): Control.arrivals,
    ("GET", "/open"): Control.open,
    ("GET", "/requests"): Control.requests,
    ("DELETE", "/requests"): Control.clear_requests,
    ("POST", "/reset"): Control.reset,
}
