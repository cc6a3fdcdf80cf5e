"""The opening words of a stream are kept back until something is said; what reaches the client is not a byte other."""

import asyncio
import json
import time
from typing import Any

import msgspec
import pytest

from adapters import ADAPTERS
from adapters.base import Call as Sent
from adapters.base import Failure, Reading, Stamp, Vendor, Warnings
from adapters.envelope import seal
from adapters.heard import Heard
from proxy.forward import Errand
from proxy.ledger import Entry
from proxy.routing import Need
from proxy.telemetry import Record
from proxy.toll import Exchange
from tests.adapters import golden
from tests.adapters.golden import STAMP, AnswerCase
from tests.proxy.accounts import until
from tests.proxy.desk import COUNT, DONE, ONCE, ROLE, STOP, Call, Client, Desk, chunk, desk

# ---- the bytes ------------------------------------------------------------------------------------------------------


def sse(*events: Any) -> str:
    return "".join(event if isinstance(event, str) else f"data: {json.dumps(event)}\n\n" for event in events)


@pytest.fixture
async def at(tmp_path):
    async with desk(tmp_path, ONCE) as found:
        yield found


async def relay(at: Desk, vendor: Vendor, call: Sent, client: Client, deadline: float = 1e9) -> Failure | None:
    """A stream on its way through us, as `a` plays it; `deadline` by the machine's clock."""
    entry, record = Entry(id="", request="req_1", provider="", model=""), Record("req_1", 0.0, attempts=[])
    letter = seal(b'{"model": "one", "stream": true, "messages": []}')
    exchange = Exchange(letter, Stamp("c", 1), client.down, record, entry, deadline, 1e9)
    forward, chooser = at.gate.trips.forward, at.gate.chooser
    [candidate] = chooser.candidates(chooser.route("one"), Need(), caller="", when=1)
    ticket = await at.gate.trips.fleet.begin("a", "am")
    assert ticket is not None
    errand = Errand(candidate, exchange, ticket, forward.timeouts.general)
    toll = exchange.take(await forward.tolls.hold(call, candidate.target, exchange), candidate.target)
    sending = msgspec.structs.replace(call, path="/chat/completions", body=b"{}")
    try:
        async with forward.upstream.send("a", sending) as reply:
            stream = ADAPTERS[vendor, "chat"].stream(call, STAMP)
            await forward._relay(reply, stream, call, errand, toll)
    except Failure as failure:
        return failure
    finally:
        forward.tolls.close(exchange)
    return None


async def relayed(at: Desk, case: AnswerCase) -> tuple[Client, Failure | None]:
    """A stream of a golden file, event by event."""

    async def play(call: Call) -> None:
        await call.head(content_type="text/event-stream")
        for event in case.body.decode().replace("\r\n", "\n").split("\n\n"):
            await call.say(f"{event}\n\n")

    at.a.plays.append(play)
    client = Client({}, {})
    return client, await relay(at, case.vendor, case.call, client)


def expected(case: AnswerCase, call: Sent) -> tuple[bytes, Failure | None]:
    stream = ADAPTERS[case.vendor, "chat"].stream(call, STAMP)
    said = stream.feed(case.body)
    return said + (b"" if stream.done or stream.failure else stream.end()), stream.failure


def complaint(client: Client, failure: Failure | None, said: bytes, wrong: Failure | None) -> str | None:
    """What is not as the translator had it."""
    if (failure is None) is not (wrong is None):
        return f"{failure} instead of {wrong}"
    if client.status:
        same = client.text.encode() == said and client.whole is (wrong is None)
        return None if same else f"other bytes: {client.text}"
    heard = Heard()
    heard.add(said)
    return "kept back, though something was said" if wrong is None or any(heard.text()) else None


@pytest.mark.parametrize("vendor", golden.VENDORS)
async def test_what_a_vendor_says_arrives_as_it_was_translated(at, vendor):
    """Or not at all, if the vendor breaks off before it has said anything: then somebody else may be asked."""
    cases = [case for case in golden.answer_cases("sse") if case.vendor == vendor]
    complaints = {
        case.name: found
        for case in cases
        if (found := complaint(*await relayed(at, case), *expected(case, case.call))) is not None
    }
    assert len(cases) > 10
    assert complaints == {}


# ---- when they are let go -------------------------------------------------------------------------------------------


def mended(*events: Any, usage: bool = False) -> str:
    """What our clients hear of a vendor who speaks their format, more or less."""
    reading = Reading(stream=True, include_usage=usage, model="am", exact=False)
    sent = Sent(path="", body=b"", reading=reading, warnings=Warnings())
    return ADAPTERS["openai", "chat"].stream(sent, STAMP).feed(sse(*events).encode()).decode()


def call_of(index: int, **function: str) -> dict[str, Any]:
    return chunk({"tool_calls": [{"index": index, "id": "call_1", "type": "function", "function": function}]})


FILTER = {"id": "", "object": "", "created": 0, "model": "", "choices": [], "prompt_filter_results": []}
ROLE_2 = chunk({"role": "assistant"}, index=1)
SAYS: Any = [
    pytest.param([ROLE], chunk({"content": "Hi"}), id="a word"),
    pytest.param([], chunk({"role": "assistant", "content": "Hi"}), id="a word in the very first"),
    pytest.param([FILTER, ROLE], chunk({"content": " "}), id="a blank"),
    pytest.param([ROLE], call_of(0, name="look_up", arguments=""), id="the name of a tool"),
    pytest.param([ROLE, call_of(0, name="", arguments="")], call_of(0, arguments="{"), id="the arguments of a tool"),
    pytest.param([ROLE], chunk({"function_call": {"name": "look_up", "arguments": ""}}), id="a call of the old kind"),
    pytest.param([ROLE], chunk({"refusal": "I'd rather not"}), id="a refusal"),
    pytest.param([ROLE], chunk({"reasoning_content": "Hm"}), id="a thought"),
    pytest.param([ROLE], chunk({"reasoning": "Hm"}), id="a thought, as others call it"),
    pytest.param(
        [ROLE, chunk({"role": "assistant"}, index=1)], chunk({"content": "Hi"}, index=1), id="the second choice"
    ),
    pytest.param([ROLE], chunk({"audio": {"id": "a", "data": "A" * 2_000}}), id="a sound"),
]


@pytest.mark.parametrize(("before", "says"), SAYS)
async def test_opening_words_are_let_go_with_the_first_that_says_something(at, before, says):
    opened, says_it, ends = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def play(call: Call) -> None:
        await call.head(content_type="text/event-stream")
        await call.say(*before)
        opened.set()
        await says_it.wait()
        await call.say(says)
        await ends.wait()
        await call.say(STOP, COUNT, DONE)

    at.a.plays.append(play)
    client = at.ask("one", stream=True, stream_options={"include_usage": True})
    await opened.wait()
    for _ in range(5):  # whatever has come by now has been read
        await asyncio.sleep(0.002)
    assert client.heard == []
    says_it.set()
    await until(lambda: client.text)  # it is there before the end of the stream is
    assert not client.whole
    ends.set()
    await client.end()
    assert client.text == mended(*before, says, STOP, COUNT, DONE, usage=True)
    assert at.records[-1].usage is not None
    assert client.headers["x-tollhouse-attempts"] == "1"


@pytest.mark.parametrize("usage", [False, True], ids=["without usage", "with usage"])
@pytest.mark.parametrize(
    "said",
    [[ROLE, STOP], [ROLE, ROLE_2, STOP, chunk({}, "stop", 1)], [STOP]],
    ids=["one choice", "two", "only its end"],
)
async def test_an_answer_that_is_empty_and_properly_ended_is_an_answer(at, said, usage):
    async def play(call: Call) -> None:
        await call.head(content_type="text/event-stream")
        await call.say(*said, COUNT, DONE)

    at.a.plays.append(play)
    options = {"stream_options": {"include_usage": True}} if usage else {}
    client = await at.asked("pair", stream=True, **options)
    assert (client.status, client.whole, at.b.heard) == (200, True, [])
    assert client.text == mended(*said, COUNT, DONE, usage=usage)
    assert at.outcomes() == [("a", "ok")]


ERROR = {"error": {"message": "it broke", "type": "server_error", "code": None, "param": None}}


@pytest.mark.parametrize(
    "said",
    [[ROLE], [ROLE, ERROR], [ERROR], [ROLE, ROLE], [": ping\n\n", ROLE], [ROLE, STOP]],
    ids=["breaks off", "an error", "nothing but an error", "twice", "a comment", "breaks off before its last words"],
)
async def test_who_breaks_off_before_saying_anything_is_replaced_and_not_a_byte_of_it_is_heard(at, said):
    async def play(call: Call) -> None:
        await call.head(content_type="text/event-stream")
        await call.say(*said)

    at.a.plays.append(play)
    client = await at.asked("pair", stream=True)
    if said == [ROLE, STOP]:  # a finish reason is the end; what is missing is only its mark
        assert client.headers["x-tollhouse-provider"] in ("a", "b")
        return
    assert client.headers["x-tollhouse-provider"] == "b"
    assert client.text.count('"role"') == 1
    assert client.text.endswith(DONE)
    assert at.outcomes()[0][0] == "a"


async def test_opening_words_are_not_kept_back_for_ever(at):
    """Balancers give up on who is silent for long, and so do clients: half of the time that they have must do. The
    words are Claude's, who thinks and does not tell what; most opening words the translators keep themselves."""
    case = golden.AnswerCase("anthropic", "thinking-omitted", "sse")
    thought, mark, rest = case.body.decode().partition('{"type":"content_block_stop","index":0}\n\n')
    assert "thinking" in thought
    ends = asyncio.Event()

    async def play(call: Call) -> None:
        await call.head(content_type="text/event-stream")
        await call.say(thought + mark)
        await ends.wait()
        await call.say(rest)

    at.a.plays.append(play)
    client = Client({}, {})
    relaying = asyncio.create_task(relay(at, "anthropic", case.call, client, time.monotonic() + 0.5))
    async with asyncio.timeout(8):  # not the ten seconds of those who have more time
        await client.hears('"role":"assistant"')
    assert not client.whole
    ends.set()
    assert await relaying is None
    assert client.text.encode() == expected(case, case.call)[0]
