"""One vendor: takes a request off a connection, decides what the vendor would do, hands that to the delivery."""

import re
from collections import deque
from collections.abc import Callable
from typing import Any

import msgspec

from proxy.simulator import (
    anthropic_check,
    anthropic_models,
    anthropic_pen,
    brain,
    gemini_check,
    gemini_pen,
    openai_check,
    openai_pen,
)
from proxy.simulator.bounds import bounded
from proxy.simulator.connection import Connection
from proxy.simulator.delivery import Delivery
from proxy.simulator.errors import JSON_TYPES, STREAM_TYPES, error_body, headers, request_id
from proxy.simulator.failures import FAILURES
from proxy.simulator.faults import Rack
from proxy.simulator.ledger import Entry, Ledger, tag
from proxy.simulator.limits import Header, Limits
from proxy.simulator.serials import remember_signatures, without_nulls
from proxy.simulator.tokens import Memory, implicit_usage, marked_usage, output_usage, prompt_tokens
from proxy.simulator.vocabulary import Answer, Ask, Event, Json, Refusal, Request, Scripted, Usage, VendorName

KEPT_REQUESTS = 200
GEMINI_PATH = re.compile(r"^/v1(?:beta)?/models(?:/(?P<model>[^/:]+)(?::(?P<verb>\w+))?)?$")
BAD_JSON: dict[VendorName, str] = {
    "openai": openai_check.BAD_JSON,
    "anthropic": anthropic_check.BAD_JSON,
    "gemini": gemini_check.BAD_JSON,
}
GENERATIONS = ("/v1/chat/completions", "/v1/messages", ":generateContent", ":streamGenerateContent")
SIGNATURES = re.compile(r'"(?:thoughtSignature|signature)"\s*:\s*"([^"]+)"')


class Refused(Exception):
    """The vendor turns the request down; `limited`, with headers of its own, if there were too many before it."""

    def __init__(self, refusal: Refusal, headers: list[Header] | None = None) -> None:
        super().__init__(refusal.message)
        self.refusal = refusal
        self.headers, self.limited = headers or [], headers is not None


class Script:
    """Answers that a test has written down, taken in order."""

    def __init__(self) -> None:
        self.answers: deque[Scripted] = deque()
        self.repeat = False

    def next(self) -> Scripted | None:
        """The next answer; the last one again and again if the script repeats."""
        if not self.answers:
            return None
        return self.answers[0] if self.repeat and len(self.answers) == 1 else self.answers.popleft()


class House:
    """The state of one vendor and its door: `handle`."""

    def __init__(self, vendor: VendorName, rack: Rack, limits: Limits, ledger: Ledger, delivery: Delivery) -> None:
        self.vendor = vendor
        self.rack, self.limits, self.ledger, self.delivery = rack, limits, ledger, delivery
        self.script = Script()
        self.memory = Memory()
        self.requests: deque[Request] = deque(maxlen=KEPT_REQUESTS)
        self.serve: Callable[[Request, Any, Entry], Answer] = getattr(self, f"_{vendor}")

    def handle(self, connection: Connection, request: Request) -> None:
        """Answer one request."""
        self.requests.append(request)
        entry = self.ledger.open(self.vendor)
        entry.request_id = request_id(self.vendor)
        body = _decoded(request)
        entry.model, entry.stream = self._model_and_stream(request, body)
        billed = request.method == "POST" and _is_generation(request.path)
        if billed:
            self.ledger.arrivals.append(entry)
        fault = self.rack.strike(self.vendor, entry.model, request.body) if self.rack.faults else None
        if fault is not None and self.delivery.breaks_early(connection, fault, self.vendor, entry, billed):
            entry.client_tag = tag(request.body)
            return
        try:
            answer = self._answer(request, body, entry)
        except Refused as refused:
            answer = self.refused(refused.refusal, entry)
            answer.headers += refused.headers
            answer.limited = refused.limited
            entry.client_tag = tag(request.body)
        entry.status = answer.status
        self.delivery.deliver(connection, answer, fault, self.vendor, entry, billed)

    def _answer(self, request: Request, body: Any, entry: Entry) -> Answer:
        _require(self._key_refusal(request))
        if request.method == "POST" and not isinstance(body, dict):
            raise Refused(Refusal(BAD_JSON[self.vendor]))
        return self.serve(request, body, entry)

    def refused(self, refusal: Refusal, entry: Entry) -> Answer:
        """The vendor's own error as an answer."""
        body = error_body(self.vendor, refusal, entry.request_id)
        return Answer(refusal.status, self._headers(entry), body)

    def _headers(self, entry: Entry, stream: bool = False) -> list[tuple[str, str]]:
        kind = STREAM_TYPES if stream else JSON_TYPES
        usual = headers(self.vendor, entry.request_id, kind[self.vendor])
        buckets = self.limits.of(self.vendor, entry.model)
        return usual if buckets is None else list((dict(usual) | dict(buckets.headers())).items())

    def _key_refusal(self, request: Request) -> Refusal | None:
        bearer = request.headers.get("authorization", "").removeprefix("Bearer ").strip()
        if self.vendor == "openai":
            key = bearer
        elif self.vendor == "anthropic":
            key = request.headers.get("x-api-key") or bearer
        else:
            key = request.headers.get("x-goog-api-key") or request.query.get("key", "")
        if key and "bad" not in key:
            return None
        if not key and self.vendor == "gemini":
            return Refusal(
                "Method doesn't allow unregistered callers (callers without established identity). Please use API Key "
                "or other form of API consumer identity to call this API.",
                status=403,
            )
        if not key and self.vendor == "anthropic":
            return Refusal("x-api-key header is required", status=401)
        return FAILURES[self.vendor]["api_key_invalid"]

    def _model_and_stream(self, request: Request, body: Any) -> tuple[str, bool]:
        if self.vendor == "gemini":
            found = GEMINI_PATH.match(request.path)
            return (found["model"] or "", found["verb"] == "streamGenerateContent") if found else ("", False)
        if not isinstance(body, dict):
            return "", False
        name = body.get("model")
        return name if isinstance(name, str) else "", body.get("stream") is True

    def _whole(self, body: bytes, entry: Entry) -> Answer:
        return Answer(200, self._headers(entry), body)

    # The three vendors' routes.

    def _openai(self, request: Request, body: Json, entry: Entry) -> Answer:
        match request.method, request.path:
            case "GET", "/v1/models":
                return self._whole(openai_pen.models(), entry)
            case "POST", "/v1/chat/completions":
                body = without_nulls(body)
                _require(openai_check.refusal(body))
                return self._generated(openai_pen.read(body), openai_pen, entry)
        raise Refused(Refusal(f"Invalid URL ({request.method} {request.path})", status=404))

    def _anthropic(self, request: Request, body: Json, entry: Entry) -> Answer:
        match request.method, request.path:
            case "GET", "/v1/models":
                return self._whole(anthropic_pen.models(), entry)
            case "GET", path if path.startswith("/v1/models/"):
                name = path.removeprefix("/v1/models/")
                if name not in anthropic_models.LISTED:
                    raise Refused(Refusal(f"model: {name}", status=404))
                return self._whole(msgspec.json.encode(anthropic_pen.model_object(name)), entry)
            case "POST", "/v1/messages":
                body = without_nulls(body)
                _require(anthropic_check.refusal(body, request.headers))
                return self._generated(anthropic_pen.read(body), anthropic_pen, entry)
            case "POST", "/v1/messages/count_tokens":
                body = without_nulls(body)
                _require(anthropic_check.refusal(body, request.headers, counting=True))
                counted = prompt_tokens(anthropic_pen.read(body))
                return self._whole(msgspec.json.encode({"input_tokens": counted}), entry)
        raise Refused(Refusal("Not Found", status=404))

    def _gemini(self, request: Request, body: Any, entry: Entry) -> Answer:
        found = GEMINI_PATH.match(request.path)
        if request.method == "GET" and found and found["model"] is None:
            return self._whole(gemini_pen.models(), entry)
        if request.method != "POST" or found is None or found["model"] is None:
            raise Refused(Refusal("Requested entity was not found.", status=404))
        body = gemini_check.camel(without_nulls(body))
        match found["verb"]:
            case "generateContent" | "streamGenerateContent" as verb:
                _require(gemini_check.refusal(body, found["model"]))
                entry.stream = verb == "streamGenerateContent"
                answer = self._generated(gemini_pen.read(body, found["model"], entry.stream), gemini_pen, entry)
                if answer.events is not None and request.query.get("alt") != "sse":
                    answer.events, answer.headers = gemini_pen.array(answer.events), self._headers(entry)
                return answer
            case "countTokens":
                _require(gemini_check.refusal(body, found["model"], counting=True))
                total = prompt_tokens(gemini_pen.counted(body, found["model"]))
                details = [{"modality": "TEXT", "tokenCount": total}]
                return self._whole(msgspec.json.encode({"totalTokens": total, "promptTokensDetails": details}), entry)
        raise Refused(Refusal("Requested entity was not found.", status=404))

    def _generated(self, ask: Ask, pen: Any, entry: Entry) -> Answer:
        """The model's answer, by script or by its own head."""
        entry.client_tag = tag(ask.user_text.encode("utf-8", "replace"))
        buckets = self.limits.of(self.vendor, entry.model)
        if buckets is not None and (denial := buckets.admit(entry.model, prompt_tokens(ask))):
            raise Refused(*denial)
        scripted = self.script.next() if self.script.answers else None
        if scripted is not None and (scripted.raw is not None or scripted.raw_chunks is not None):
            return self._raw(scripted, entry)
        if prompt_tokens(ask) > pen.context(ask.model):
            raise Refused(FAILURES[self.vendor]["context_length"])
        limit = None if scripted and scripted.unbounded else ask.limit
        plan = bounded(scripted.plan() if scripted else brain.plan(ask), limit, ask.stops)
        usage = marked_usage(self.memory, ask) if self.vendor == "anthropic" else implicit_usage(self.memory, ask)
        usage.out_text, usage.out_reasoning = (n * ask.extra.get("n", 1) for n in output_usage(plan))
        if self.vendor == "anthropic":
            usage = anthropic_pen.reported(ask, usage)
        if buckets is not None:
            buckets.answered(usage.completion)
        if ask.stream:
            events = list(pen.events(ask, plan, usage))
            return Answer(200, self._headers(entry, stream=True), events=events, usage=usage)
        return Answer(200, self._headers(entry), pen.answer(ask, plan, usage), usage=usage)

    def _raw(self, scripted: Scripted, entry: Entry) -> Answer:
        given = {k.lower(): v for k, v in scripted.raw_headers.items()}
        usual = self._headers(entry, stream=scripted.raw_chunks is not None)
        merged = [(k, v) for k, v in usual if k not in given] + list(given.items())
        remember_signatures(SIGNATURES.findall("".join(scripted.raw_chunks or [scripted.raw or ""])))
        if scripted.raw_chunks is not None:
            events = [Event(c.encode()) for c in scripted.raw_chunks]
            return Answer(scripted.raw_status, merged, events=events, usage=Usage())
        return Answer(scripted.raw_status, merged, (scripted.raw or "").encode())


def _require(refusal: Refusal | None) -> None:
    if refusal is not None:
        raise Refused(refusal)


def _decoded(request: Request) -> Any:
    """The body as JSON, or None."""
    try:
        return msgspec.json.decode(request.body) if request.body else None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def _is_generation(path: str) -> bool:
    return path.endswith(GENERATIONS)
