"""OpenTelemetry: spans and measurements come to a real collector, with the ids that vendors have seen; and no request
waits for one that is away."""

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import httpx
import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status
from structlog.testing import capture_logs

from adapters.base import Usage
from proxy.otel.conventions import ATTRIBUTES, INSTRUMENTS, Server, measured, of_attempt, of_request, server
from proxy.otel.exporter import Otel
from proxy.providers import Provider
from proxy.simulator.client import Simulator
from proxy.telemetry import Attempt, Decision, Record, Timings
from tests.collector import PATIENCE, Collector, said
from tests.tollhouse import ROOT, Tollhouse, environ_of, surroundings

TRACE, SPAN, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7", "b7ad6b7169203331"
ENDED = 1_790_000_000.5
OPENAI = Provider(name="openai", vendor="openai", base_url="https://api.openai.com/v1", key=None)
GEMINI = Provider(name="gemini", vendor="gemini", base_url="http://127.0.0.1:9000", key=None)


def whole(**more) -> Record:
    """A stream that failed at one vendor and was answered by another."""
    fields = {
        "model": "smart",
        "stream": True,
        "user": "alice",
        "agent": "writer",
        "team": "red",
        "key": "laptop",
        "provider": "gemini",
        "served": "gemini-3.8-flash",
        "upstream_id": "up_1",
        "status": 200,
        "finish": "stop",
        "usage": Usage(in_text=90, cache_read=8, cache_write_5m=2, out_text=30, out_reasoning=12),
        "cost_nano": 12_500,
        "attempts": [
            Attempt("openai", "gpt-4o", "timeout", 1_000.0, "said nothing", 5.0, "gpt-4o"),
            Attempt("gemini", "gemini-3.8-flash", "ok", 2_000.0, None, 1_100.0, "gemini-3.8-flash"),
        ],
        "decision": Decision(
            strategy="cost", group="smart", task="speed", order=("openai/gpt-4o", "gemini/g"), hedged=True
        ),
        "first_part": 1_600.0,
        "total": 3_200.0,
        "timings": Timings(queue=95.0, hold=1.5, vendors=1_490.0, overhead=13.5),
        "trace": TRACE,
        "span": SPAN,
        "parent": PARENT,
        "sampled": True,
    }
    return Record("req_1", 7.0, **{**fields, **more})


@contextmanager
def telling(**more) -> Iterator[tuple[Otel, Collector]]:
    """An exporter with a collector of its own; after the block it has delivered what it was told."""
    with Collector() as collector:
        options = {"replica": "r1", "wall": lambda: ENDED, "lost": lambda *_: None, "patience": PATIENCE, **more}
        otel = Otel([OPENAI, GEMINI], endpoint=collector.url, **options)
        otel.start()
        try:
            yield otel, collector
        finally:
            otel.close()


def told(*records: Record, **more) -> Collector:
    with telling(**more) as (otel, collector):
        for record in records:
            otel(record)
    return collector


def by_name(spans) -> dict[str, Span]:
    return {span.name: span for span in spans}


def test_a_request_is_one_span_and_each_attempt_one_below_it():
    spans = by_name(told(whole()).spans)
    assert set(spans) == {"POST /v1/chat/completions", "chat gpt-4o", "chat gemini-3.8-flash"}
    request = spans["POST /v1/chat/completions"]
    assert (request.trace_id.hex(), request.span_id.hex(), request.parent_span_id.hex()) == (TRACE, SPAN, PARENT)
    assert request.kind == Span.SPAN_KIND_SERVER
    end = int(ENDED * 1e9)
    assert (request.start_time_unix_nano, request.end_time_unix_nano) == (end - 3_200_000_000, end)
    for name, began, took in (("chat gpt-4o", 5, 1_000), ("chat gemini-3.8-flash", 1_100, 2_000)):
        span = spans[name]
        assert (span.trace_id.hex(), span.parent_span_id.hex()) == (TRACE, SPAN)
        assert span.kind == Span.SPAN_KIND_CLIENT
        assert span.start_time_unix_nano == request.start_time_unix_nano + began * 1_000_000
        assert span.end_time_unix_nano == span.start_time_unix_nano + took * 1_000_000
    assert len({span.span_id for span in spans.values()}) == 3


def test_the_spans_say_what_the_conventions_have_words_for():
    spans = by_name(told(whole()).spans)
    assert said(spans["POST /v1/chat/completions"].attributes) == {
        "http.request.method": "POST",
        "http.route": "/v1/chat/completions",
        "url.path": "/v1/chat/completions",
        "url.scheme": "http",
        "http.response.status_code": 200,
        "gen_ai.operation.name": "chat",
        "gen_ai.request.model": "smart",
        "gen_ai.request.stream": True,
        "tollhouse.request_id": "req_1",
        "tollhouse.user": "alice",
        "tollhouse.agent": "writer",
        "tollhouse.team": "red",
        "tollhouse.key": "laptop",
        "tollhouse.strategy": "cost",
        "tollhouse.group": "smart",
        "tollhouse.task": "speed",
        "tollhouse.order": ["openai/gpt-4o", "gemini/g"],
        "tollhouse.hedged": True,
        "tollhouse.attempts": 2,
        "tollhouse.cost_nano": 12_500,
        "tollhouse.cost_usd": "0.0000125",
        "tollhouse.queue": 0.095,
        "tollhouse.hold": 0.0015,
        "tollhouse.vendors": 1.49,
        "tollhouse.overhead": 0.0135,
    }
    assert said(spans["chat gpt-4o"].attributes) == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "gpt-4o",
        "gen_ai.request.stream": True,
        "server.address": "api.openai.com",
        "server.port": 443,
        "error.type": "timeout",
        "tollhouse.outcome": "timeout",
    }
    assert said(spans["chat gemini-3.8-flash"].attributes) == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "gcp.gemini",
        "gen_ai.request.model": "gemini-3.8-flash",
        "gen_ai.request.stream": True,
        "server.address": "127.0.0.1",
        "server.port": 9000,
        "gen_ai.response.model": "gemini-3.8-flash",
        "gen_ai.response.finish_reasons": ["stop"],
        "gen_ai.response.time_to_first_chunk": 0.5,
        "gen_ai.usage.input_tokens": 100,
        "gen_ai.usage.output_tokens": 42,
        "gen_ai.usage.cache_read.input_tokens": 8,
        "gen_ai.usage.cache_creation.input_tokens": 2,
        "gen_ai.usage.reasoning.output_tokens": 12,
        "tollhouse.upstream_id": "up_1",
        "tollhouse.outcome": "ok",
    }


@pytest.mark.parametrize(
    ("record", "name", "code", "why"),
    [
        (whole(), "POST /v1/chat/completions", Status.STATUS_CODE_UNSET, ""),
        (whole(), "chat gpt-4o", Status.STATUS_CODE_ERROR, "timeout"),
        (whole(), "chat gemini-3.8-flash", Status.STATUS_CODE_UNSET, ""),
        (whole(status=502, code="upstream"), "POST /v1/chat/completions", Status.STATUS_CODE_ERROR, "upstream"),
        (whole(status=500, code=None), "POST /v1/chat/completions", Status.STATUS_CODE_ERROR, "500"),
        (whole(status=429, code="rate"), "POST /v1/chat/completions", Status.STATUS_CODE_UNSET, ""),
        (whole(status=499, code="client_left"), "POST /v1/chat/completions", Status.STATUS_CODE_UNSET, ""),
    ],
    ids=[
        "a request that went well",
        "an attempt that failed",
        "an attempt that went well",
        "a request that failed",
        "a request that failed by a status alone",
        "a request that was refused, by its client's fault",
        "a request whose client left",
    ],
)
def test_who_failed_says_so(record, name, code, why):
    status = by_name(told(record).spans)[name].status
    assert (status.code, status.message) == (code, why)


@pytest.mark.parametrize(
    ("record", "kinds"),
    [
        (whole(sampled=False), []),
        (whole(trace=None), []),
        (whole(span=None), []),
        (whole(attempts=[]), [Span.SPAN_KIND_SERVER]),
        (
            whole(
                attempts=[Attempt("openai", "m", why, 1.0) for why in ("budget", "store", "unsupported", "cancelled")]
            ),
            [Span.SPAN_KIND_SERVER, *[Span.SPAN_KIND_INTERNAL] * 3, Span.SPAN_KIND_CLIENT],
        ),
    ],
    ids=["that nobody wants", "without a trace", "without a span", "nobody asked", "what was never sent is no call"],
)
def test_spans_of_a_request(record, kinds):
    assert [span.kind for span in told(record).spans] == kinds


def test_a_request_that_began_its_trace_has_no_parent():
    assert by_name(told(whole(parent=None)).spans)["POST /v1/chat/completions"].parent_span_id == b""


def test_it_says_who_it_is():
    (resource,) = told(whole()).resources
    assert resource["service.name"] == "tollhouse"
    assert resource["service.instance.id"] == "r1"
    assert resource["service.version"]


def named(**more) -> dict:
    return {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "gcp.gemini",
        "gen_ai.request.model": "gemini-3.8-flash",
        **more,
    }


def test_measurements_come_in_the_units_of_the_conventions():
    points = told(whole(), whole(sampled=False)).points
    place = {"server.address": "127.0.0.1", "server.port": 9000}
    failed = {"gen_ai.provider.name": "openai", "gen_ai.request.model": "gpt-4o", "error.type": "timeout"}
    openai = {**named(), **failed, "server.address": "api.openai.com", "server.port": 443}
    key = "gen_ai.token.type"
    assert points["gen_ai.client.operation.duration s"] == [(openai, 2, 2.0), (named(**place), 2, 4.0)]
    assert points["gen_ai.client.operation.time_to_first_chunk s"] == [(named(**place), 2, 1.0)]
    assert points["gen_ai.client.token.usage {token}"] == [
        (named(**place, **{key: "input"}), 2, 200.0),
        (named(**place, **{key: "output"}), 2, 84.0),
    ]
    assert points["gen_ai.server.request.duration s"] == [(named(), 2, 6.4)]
    assert points["gen_ai.server.time_to_first_token s"] == [(named(), 2, 3.2)]


@pytest.mark.parametrize(
    ("record", "found"),
    [
        (Record("r", 0.0, status=404, code="model_not_found"), set()),
        (whole(attempts=[Attempt("openai", "m", "budget", 1.0)], provider=None), set()),
        (whole(stream=False, usage=None), {"gen_ai.client.operation.duration", "gen_ai.server.request.duration"}),
        (whole(provider=None, served=None, usage=None), {"gen_ai.client.operation.duration"}),
        (whole(), set(INSTRUMENTS)),
    ],
    ids=["refused", "nobody sent anything", "no stream, no usage", "nobody answered", "all of it"],
)
def test_what_is_not_known_is_not_measured(record, found):
    assert {one.instrument for one in measured(record, {})} == found


def test_the_model_of_a_measurement_is_never_the_clients_word():
    record = whole(
        model="canary", served="canary", attempts=[Attempt("openai", "canary", "ok", 1.0)], provider="openai"
    )
    assert "canary" not in repr(measured(record, {}))
    assert "gen_ai.server.request.duration" in repr(measured(record, {}))


def test_a_failure_is_measured_as_one():
    (ended,) = [
        one for one in measured(whole(status=502, code="broke"), {}) if one.instrument.endswith("request.duration")
    ]
    assert ended.attributes["error.type"] == "broke"


@pytest.mark.parametrize(
    ("provider", "found"),
    [
        (OPENAI, Server("openai", "api.openai.com", 443)),
        (GEMINI, Server("gcp.gemini", "127.0.0.1", 9000)),
        (Provider(name="anthropic", vendor="anthropic", base_url="http://x", key=None), Server("anthropic", "x", 80)),
        (Provider(name="mistral", vendor="openai", base_url="https://m/v1", key=None), Server("mistral_ai", "m", 443)),
        (Provider(name="mine", vendor="openai", base_url="https://[::1]:8/v1", key=None), Server("mine", "::1", 8)),
    ],
    ids=[
        "openai",
        "gemini",
        "anthropic",
        "one that the conventions have another word for",
        "one that they do not know",
    ],
)
def test_who_and_where_a_provider_is(provider, found):
    assert server(provider) == found


@pytest.mark.parametrize(
    ("ours", "theirs"), [("mistral", "mistral_ai"), ("xai", "x_ai"), ("azure", "azure.ai.openai"), ("groq", "groq")]
)
def test_a_provider_is_called_as_the_conventions_call_it(ours, theirs):
    assert server(Provider(name=ours, vendor="openai", base_url="https://host/v1", key=None)).name == theirs


def test_times_and_tokens_are_counted_in_the_buckets_that_the_conventions_advise():
    seconds, tokens = ([bound * 2**n for n in range(14)] for bound in (0.01, 1))
    found = {name: list(made.buckets) for name, made in INSTRUMENTS.items()}
    assert found["gen_ai.client.operation.duration"] == seconds
    assert found["gen_ai.client.token.usage"] == [one**2 for one in tokens]


def test_what_was_not_decided_and_not_used_is_not_said():
    record = whole(decision=None, usage=None, stream=False, attempts=[Attempt("gemini", "gemini-3.8-flash", "ok", 1.0)])
    assert not {"tollhouse.strategy", "tollhouse.order", "tollhouse.hedged"} & set(of_request(record))
    answer = of_attempt(record.attempts[0], record, None)
    assert not [name for name in answer if "usage" in name or "first_chunk" in name or "server" in name]
    assert answer["gen_ai.provider.name"] == "gemini"


def test_a_client_that_left_has_heard_no_status():
    assert "http.response.status_code" not in of_request(whole(status=499, code="client_left"))
    assert of_request(whole(status=499, code="client_left"))["tollhouse.code"] == "client_left"
    assert of_request(whole(status=429, code="rate_limit_exceeded"))["http.response.status_code"] == 429


def test_where_nobody_was_asked_no_time_was_taken():
    refused = set(of_request(whole(attempts=[], decision=None)))
    assert not {"tollhouse.queue", "tollhouse.hold", "tollhouse.vendors", "tollhouse.overhead"} & refused


def test_each_attribute_is_described_and_each_that_is_described_is_there():
    failed = whole(
        status=502,
        code="broke",
        decision=Decision(strategy="x", group="g", task="t", order=("a",), hedged=True, least_bad=True),
    )
    where = Server("openai", "host", 1)
    found = {"server": set(of_request(failed)), "client": set()}
    for attempt in failed.attempts:
        found["client"] |= set(of_attempt(attempt, failed, where))
    for spans, names in found.items():
        assert names == {name for name, one in ATTRIBUTES.items() if spans in one.spans}


def test_each_instrument_is_described_with_its_attributes():
    always = {"gen_ai.operation.name", "gen_ai.provider.name", "gen_ai.request.model"}
    found: dict[str, set[str]] = {}
    for one in measured(whole(status=502, code="x"), {"openai": server(OPENAI), "gemini": server(GEMINI)}):
        found.setdefault(one.instrument, set()).update(one.attributes)
    assert found == {name: always | set(made.more) for name, made in INSTRUMENTS.items()}


def refused(number: int) -> Callable[[Collector], bool]:
    return lambda collector: collector.refused >= number


def test_no_request_waits_for_a_collector_that_is_away_and_what_is_lost_is_counted_and_said_once():
    lost: list[tuple[str, int]] = []
    with capture_logs() as logs:
        with telling(lost=lambda *said: lost.append(said)) as (otel, collector):
            collector.status = 400
            for number in range(3):
                otel(whole())
                collector.wait(refused(number + 1))
        assert sum(number for signal, number in lost if signal == "span") == 9
        assert [line for line in logs if line["signal"] == "span"] == [
            {
                "event": "telemetry lost",
                "log_level": "warning",
                "signal": "span",
                "why": "the collector did not take it",
            }
        ]
    assert collector.spans == []


def test_when_the_collector_is_back_it_is_said_how_much_is_missing():
    with capture_logs() as logs, telling() as (otel, collector):
        collector.status = 400
        otel(whole())
        collector.wait(lambda one: one.refused)
        collector.status = 200
        otel(whole())
        assert len(collector.wait(lambda one: one.spans)) == 3
    spoken = [(line["event"], line.get("lost")) for line in logs if line["signal"] == "span"]
    assert spoken == [("telemetry lost", None), ("telemetry delivered again", 3)]


def test_what_cannot_wait_any_more_is_lost_and_counted():
    lost: list[tuple[str, int]] = []
    with Collector() as collector, capture_logs() as logs:
        otel = Otel(
            [],
            replica="r",
            wall=lambda: ENDED,
            lost=lambda *said: lost.append(said),
            endpoint=collector.url,
            most=2,
            patience=PATIENCE,
        )
        for _ in range(4):  # nobody takes them yet
            otel(whole())
        otel.start()
        otel.close()
    assert lost == [("span", 3), ("span", 3)]
    assert [line["why"] for line in logs if line["event"] == "telemetry lost"] == ["too many wait"]
    assert len(collector.spans) == 6


def test_a_record_that_nothing_can_be_made_of_takes_no_other_with_it():
    with capture_logs() as logs, telling() as (otel, collector):
        otel(whole(trace="no hexadecimal number"))
        otel(whole())
        collector.wait(lambda one: one.spans)
    assert len(collector.spans) == 3
    assert [line["event"] for line in logs if line["log_level"] == "error"] == ["telemetry not made"]


def test_many_requests_arrive_whole():
    spans = told(*[whole(span=f"{number:016x}") for number in range(1, 1_001)]).spans
    assert len(spans) == 3_000
    assert len({span.span_id for span in spans}) == 3_000


HIDDEN = """
import importlib.util
find = importlib.util.find_spec
def found(name):
    if name == {0!r}:
        {1}
    return find(name)
importlib.util.find_spec = found
"""


@pytest.mark.parametrize(
    ("start", "said"),
    [
        ("", "None"),
        (HIDDEN.format("opentelemetry.sdk", "return None"), "(opentelemetry.sdk)"),
        (HIDDEN.format("opentelemetry.sdk", "raise ModuleNotFoundError"), "(opentelemetry.sdk)"),
        (
            HIDDEN.format("opentelemetry.exporter.otlp.proto.http", "return None"),
            "(opentelemetry.exporter.otlp.proto.http)",
        ),
    ],
    ids=["it is installed", "no SDK", "nothing of it", "no exporter"],
)
def test_it_says_what_to_install(start, said):
    code = start + "from proxy.otel import missing; print(missing())"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, env=surroundings({}))
    assert said in done.stdout, done.stderr
    assert done.stdout.count("\n") == 1
    assert (said == "None") or "pip install 'tollhouse[otel]'" in done.stdout


def test_without_being_asked_for_it_is_not_loaded():
    code = "import sys, proxy.otel, proxy.otel.conventions, proxy.app; print('opentelemetry.sdk' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, env=surroundings({}))
    assert done.stdout.strip() == "False", done.stderr


CANARY = "canary-of-the-collectors-key"


def test_a_running_tollhouse_tells_the_collector_and_nobody_else_its_key(simulator: Simulator):
    with Collector() as collector:
        environ = {
            **environ_of(simulator),
            "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
            "OTEL_EXPORTER_OTLP_HEADERS": f"x-key={CANARY},broken {CANARY}",
            "OTEL_SERVICE_NAME": "the-door",
            "OTEL_RESOURCE_ATTRIBUTES": "deployment.environment.name=test",
            "OTEL_METRIC_EXPORT_INTERVAL": "200",
        }
        with Tollhouse.start(environ) as house:
            before = time.time()
            answer = httpx.post(
                f"{house.url}/v1/chat/completions",
                json={"model": "gpt-4o", "messages": [{"role": "user", "content": "a private word"}]},
                headers={"traceparent": f"00-{TRACE}-{PARENT}-01"},
                timeout=20,
            )
            line = house.wait_log("request", request_id=answer.headers["x-request-id"])
            after = time.time()
            spans = by_name(collector.wait(lambda one: one.spans))
            points = collector.wait(lambda one: one.points)
            figures = httpx.get(f"{house.url}/metrics").text
    request = spans["POST /v1/chat/completions"]
    assert (request.trace_id.hex(), request.parent_span_id.hex()) == (TRACE, PARENT)
    assert (line["trace_id"], line["span_id"], line["parent_span_id"]) == (TRACE, request.span_id.hex(), PARENT)
    assert said(request.attributes)["tollhouse.request_id"] == line["request_id"]
    sent = spans["chat gpt-4o"]
    assert sent.parent_span_id == request.span_id
    assert request.start_time_unix_nano <= sent.start_time_unix_nano
    assert sent.end_time_unix_nano <= request.end_time_unix_nano
    assert before - 1 < request.start_time_unix_nano / 1e9 < request.end_time_unix_nano / 1e9 < after + 1
    assert said(sent.attributes)["gen_ai.usage.input_tokens"] == line["input_tokens"]
    assert "gen_ai.client.operation.duration s" in points
    assert (collector.resources[0]["service.name"], collector.resources[0]["deployment.environment.name"]) == (
        "the-door",
        "test",
    )
    assert all(headers["x-key"] == CANARY for headers in collector.headers)
    for emitted in (house.stderr, house.stdout, figures, repr(collector.spans), repr(points)):
        assert CANARY not in emitted
        assert "private" not in emitted
        assert "sk-openai-canary" not in emitted


def test_a_tollhouse_whose_collector_is_away_serves_and_stops_as_ever(simulator: Simulator):
    with Collector() as gone:
        address = gone.url
    environ = {
        **environ_of(simulator),
        "OTEL_EXPORTER_OTLP_ENDPOINT": address,
        "OTEL_EXPORTER_OTLP_TIMEOUT": "1",
        "OTEL_METRIC_EXPORT_INTERVAL": "200",
    }
    with Tollhouse.start(environ) as house:
        body = {"model": "gpt-4o", "messages": [{"role": "user", "content": "hello"}]}
        assert httpx.post(f"{house.url}/v1/chat/completions", json=body, timeout=20).status_code == 200
        for signal in ("span", "metric"):
            house.wait_log("telemetry lost", signal=signal, timeout=PATIENCE)
        assert house.stop() == 0
    assert sum(line["event"] == "telemetry lost" for line in house.logs) == 2, "each is said once"
    assert not [line for line in house.logs if "opentelemetry" in line.get("logger", "")]
