"""The matrix: requests in every vendor's words, and every vendor's answers in OpenAI's. See golden.py for the files."""

import re
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import httpx2
import msgspec
import openai
import pytest
from openai.lib.streaming.chat import ChatCompletionStreamState
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from adapters import ADAPTERS, envelope
from adapters.base import Failure, Stream, Usage
from tests.adapters import golden
from tests.adapters.golden import STAMP, AnswerCase, RequestCase

STREAMS = golden.answer_cases("sse")
WHOLE = golden.answer_cases("json")
# The SDK's parser knows custom tools, its accumulator does not.
ACCUMULATED = [case for case in STREAMS if not case.call.reading.custom]
TWINS = [case for case in ACCUMULATED if case._replace(form="json") in WHOLE]


def name_of(case: Any) -> str:
    return f"{case.vendor}-{case.name}"


# --- requests


@pytest.mark.parametrize("case", golden.request_cases(), ids=name_of)
def test_a_request_in_the_vendors_words(case: RequestCase):
    golden.compare(case.expected, golden.pretty(said(case)))


def said(case: RequestCase) -> dict[str, Any]:
    """What is sent, or why nothing is."""
    file = case.file()
    adapter = ADAPTERS[case.vendor, "chat"]
    target = golden.target(case.vendor, file.models[case.vendor])
    try:
        letter = envelope.seal(bytes(file.request))
        wanted = {remote.url for remote in adapter.needs(letter, target).images}
        assert wanted <= file.images.keys(), f"the case has no bytes of {wanted - file.images.keys()}"
        call = adapter.request(letter, target, file.supplies())
    except Failure as failure:
        refusal = {key: getattr(failure, key) for key in ("status", "code", "param", "message")}
        return {"refused": refusal}
    return {"path": call.path, "warnings": str(call.warnings), "body": msgspec.Raw(call.body)}


def test_every_golden_file_belongs_to_a_case():
    assert golden.orphans() == []


def test_an_expected_file_that_is_missing_is_a_failure(tmp_path):
    with pytest.raises(AssertionError, match="TOLLHOUSE_BLESS"):
        golden.compare(tmp_path / "new.expected.json", b"{}", {})


def test_an_expected_failure_that_did_not_come_is_a_failure(tmp_path):
    (tmp_path / "old.failure.json").write_bytes(b"{}")
    with pytest.raises(AssertionError, match="did not happen"):
        golden.compare(tmp_path / "old.failure.json", None, {})


def test_blessing_writes_and_clears(tmp_path):
    path = tmp_path / "case.failure.json"
    golden.compare(path, b"{}\n", {"TOLLHOUSE_BLESS": "1"})
    assert path.read_bytes() == b"{}\n"
    golden.compare(path, None, {"TOLLHOUSE_BLESS": "1"})
    assert not path.exists()


# --- whole answers


@pytest.mark.parametrize("case", WHOLE, ids=name_of)
def test_an_answer_in_openais_words(case: AnswerCase):
    try:
        answer = ADAPTERS[case.vendor, "chat"].response(case.body, case.call, STAMP)
    except Failure as failure:
        golden.compare(case.path("openai.json"), None)
        golden.compare(case.path("failure.json"), golden.pretty(golden.described(failure)))
        return
    golden.compare(case.path("failure.json"), None)
    shown = answer.body if case.vendor == "openai" else golden.pretty(msgspec.Raw(answer.body))
    golden.compare(case.path("openai.json"), shown)
    parsed = ChatCompletion.model_validate_json(answer.body)
    assert all(choice.finish_reason for choice in parsed.choices)
    if case.about.usage is not None:
        assert buckets(answer.usage) == case.about.usage


def buckets(usage: Usage | None) -> dict[str, int]:
    return {} if usage is None else {name: n for name, n in msgspec.structs.asdict(usage).items() if n}


# --- streams


class Heard(NamedTuple):
    said: bytes
    done: bool
    failure: dict[str, Any] | None
    finish: str | None
    service_tier: str | None
    usage: dict[str, int]


def hear(case: AnswerCase, pieces: Iterable[bytes]) -> Heard:
    """What the client hears of a stream that comes in these pieces."""
    stream: Stream = ADAPTERS[case.vendor, "chat"].stream(case.call, STAMP)
    said = b"".join([stream.feed(piece) for piece in pieces]) + stream.end()
    failure = golden.described(stream.failure) if stream.failure else None
    return Heard(said, stream.done, failure, stream.finish, stream.service_tier, buckets(stream.usage))


def lines_in_lf(body: bytes) -> bytes:
    return body.replace(b"\r\n", b"\n").replace(b"\r", b"\n")


def cut(body: bytes, size: int) -> list[bytes]:
    return [body[i : i + size] for i in range(0, len(body), size)]


CUTS = {
    "byte by byte": lambda body: cut(body, 1),
    "in 7 bytes": lambda body: cut(body, 7),
    "with CRLF": lambda body: [lines_in_lf(body).replace(b"\n", b"\r\n")],
    "with CRLF byte by byte": lambda body: cut(lines_in_lf(body).replace(b"\n", b"\r\n"), 1),
    "with CR byte by byte": lambda body: cut(lines_in_lf(body).replace(b"\n", b"\r"), 1),
    "event by event": lambda body: events_of(body),
}


@pytest.mark.parametrize("case", STREAMS, ids=name_of)
def test_a_stream_in_openais_words(case: AnswerCase):
    heard = hear(case, [case.body])
    golden.compare(case.path("openai.sse"), heard.said)
    golden.compare(case.path("failure.json"), golden.pretty(heard.failure) if heard.failure else None)
    assert heard.done is (heard.failure is None)
    if case.about.usage is not None:
        assert heard.usage == case.about.usage


@pytest.mark.parametrize("how", CUTS)
@pytest.mark.parametrize("case", STREAMS, ids=name_of)
def test_however_the_network_cuts_a_stream_it_says_the_same(case: AnswerCase, how: str):
    """Traps 52 and 54."""
    assert hear(case, CUTS[how](case.body)) == hear(case, [case.body])


@pytest.mark.parametrize("case", STREAMS, ids=name_of)
def test_what_is_said_is_a_stream_as_openai_would_send_it(case: AnswerCase):
    """Traps 26, 27, 28 and 47: each event is one line of data, and the end comes once, if it comes."""
    heard = hear(case, [case.body])
    told = openais_events(heard.said)
    assert told.count(b"[DONE]") == int(heard.done)
    assert not heard.done or told[-1] == b"[DONE]"
    chunks = [msgspec.json.decode(data) for data in told if data != b"[DONE]"]
    asked = case.call.reading.include_usage
    usages = [chunk for chunk in chunks if chunk.get("usage")]
    assert len(usages) <= int(asked)
    if heard.done and asked:
        assert chunks[-1] in usages
    if not asked:
        assert not any("usage" in chunk for chunk in chunks)
    if case.vendor != "openai":
        check_translated(chunks, heard.done)


def check_translated(chunks: list[dict[str, Any]], done: bool) -> None:
    """Where we write every word ourselves there is no excuse for a deviation."""
    assert len({(chunk["id"], chunk["object"], chunk["created"], chunk["model"]) for chunk in chunks}) <= 1
    choices = [choice for chunk in chunks for choice in chunk["choices"]]
    assert all({"index", "delta", "finish_reason", "logprobs"} <= choice.keys() for choice in choices)
    roles = ["role" in choice["delta"] for choice in choices]
    assert roles == [True] + [False] * (len(roles) - 1) if roles else not done
    finishes = [choice["finish_reason"] for choice in choices if choice["finish_reason"]]
    assert len(finishes) == int(done)
    assert not done or (choices[-1]["finish_reason"] and choices[-1]["delta"] == {})
    calls = [call for choice in choices for call in choice["delta"].get("tool_calls", ())]
    opened = [call["index"] for call in calls if "id" in call]
    assert opened == list(range(len(opened)))
    assert all(chunk.get("usage") is None or chunk["choices"] == [] for chunk in chunks)


def openais_events(said: bytes) -> list[bytes]:
    """The data of the events; anything but lines of data is refused."""
    if not said:
        return []
    assert said.endswith(b"\n\n")
    events = said.removesuffix(b"\n\n").split(b"\n\n")
    assert all(event.startswith(b"data: ") and b"\n" not in event and b"\r" not in event for event in events)
    return [event.removeprefix(b"data: ") for event in events]


@pytest.mark.parametrize("case", STREAMS, ids=name_of)
def test_the_official_client_parses_it(case: AnswerCase):
    said = hear(case, [case.body]).said
    assert len(list(through_the_sdk(said))) == len([data for data in openais_events(said) if data != b"[DONE]"])


@pytest.mark.parametrize("case", ACCUMULATED, ids=name_of)
def test_the_official_client_accumulates_it(case: AnswerCase):
    """Trap 47. What was said before a failure must do as well."""
    completion = accumulated(hear(case, [case.body]))
    assert completion is None or all(choice.finish_reason for choice in completion.choices)


def accumulated(heard: Heard) -> ChatCompletion | None:
    """The completion that the official client's own parser and accumulator make of it, if it came to its end."""
    state = ChatCompletionStreamState()
    for chunk in through_the_sdk(heard.said):
        for event in state.handle_chunk(chunk):
            assert event.type
    return ChatCompletion.model_validate(state.current_completion_snapshot.model_dump()) if heard.done else None


def through_the_sdk(said: bytes) -> Iterator[ChatCompletionChunk]:
    headers = {"content-type": "text/event-stream; charset=utf-8"}
    transport = httpx2.MockTransport(lambda request: httpx2.Response(200, headers=headers, content=said))
    with (
        openai.OpenAI(api_key="sk-test", http_client=httpx2.Client(transport=transport), max_retries=0) as client,
        client.chat.completions.create(
            model="golden-model", messages=[{"role": "user", "content": "."}], stream=True
        ) as chunks,
    ):
        yield from chunks


@pytest.mark.parametrize("case", TWINS, ids=name_of)
def test_a_stream_adds_up_to_the_answer_that_is_not_streamed(case: AnswerCase):
    heard = hear(case, [case.body])
    streamed = accumulated(heard)
    assert streamed is not None, "a twin is a stream that ends well"
    twin = case._replace(form="json")
    answer = ADAPTERS[case.vendor, "chat"].response(twin.body, twin.call, STAMP)
    whole = ChatCompletion.model_validate_json(answer.body)
    assert settled(streamed) == settled(whole)
    assert heard.usage == buckets(answer.usage)


def settled(completion: ChatCompletion) -> list[Any]:
    """The choices without what the accumulator adds of its own, and without what only a stream has."""
    return [bare(choice.model_dump(exclude_none=True)) for choice in completion.choices]


def bare(value: Any, *, choice: bool = True) -> Any:
    if isinstance(value, list):
        return [bare(item, choice=False) for item in value]
    if isinstance(value, dict):
        ours = {"parsed", "parsed_arguments"} | (set() if choice else {"index"})
        return {key: bare(item, choice=False) for key, item in value.items() if key not in ours}
    return value


# --- streams that break off


def events_of(body: bytes) -> list[bytes]:
    """The events of a vendor's stream with the blank lines that close them."""
    return [event for event in re.split(rb"(?<=\n\n)", lines_in_lf(body)) if event]


def complete(case: AnswerCase, body: bytes) -> bool:
    """True if the vendor had said all that its grammar asks for, to the exclusion of the closing words."""
    told = []
    for line in lines_in_lf(body).split(b"\n"):
        if line.startswith(b"data:"):
            try:
                told.append(msgspec.json.decode(line[5:]))
            except msgspec.DecodeError:
                if line[5:].strip() == b"[DONE]":
                    return True
    return COMPLETE[case.vendor](told, case)


def complete_openai(told: list[Any], case: AnswerCase) -> bool:
    choices = [choice for chunk in told for choice in chunk.get("choices") or ()]
    return len({choice.get("index", 0) for choice in choices if choice.get("finish_reason")}) >= (
        case.call.reading.choices
    )


def complete_anthropic(told: list[Any], case: AnswerCase) -> bool:
    return any(event.get("type") == "message_delta" and event["delta"].get("stop_reason") for event in told)


def complete_gemini(told: list[Any], case: AnswerCase) -> bool:
    blocked = any((fragment.get("promptFeedback") or {}).get("blockReason") for fragment in told)
    candidates = [candidate for fragment in told for candidate in fragment.get("candidates") or ()]
    return blocked or any(candidate.get("finishReason") for candidate in candidates)


COMPLETE = {"openai": complete_openai, "anthropic": complete_anthropic, "gemini": complete_gemini}


def check_broken_off(case: AnswerCase, body: bytes) -> Heard:
    heard = hear(case, [body])
    assert heard.done is (heard.failure is None)
    assert openais_events(heard.said).count(b"[DONE]") == int(heard.done)
    assert complete(case, body) or not heard.done, "a stream that was cut off looks complete"
    return heard


@pytest.mark.parametrize("case", STREAMS, ids=name_of)
def test_a_stream_that_breaks_off_between_events_never_looks_complete(case: AnswerCase):
    """Trap 52."""
    ends_well = hear(case, [case.body]).done
    events = events_of(case.body)
    for k in range(1, len(events) + 1):
        body = b"".join(events[: len(events) - k])
        heard = check_broken_off(case, body)
        assert heard.done or not (ends_well and complete(case, body)), "all was said, and yet it is called broken"


@pytest.mark.parametrize("case", STREAMS, ids=name_of)
def test_a_stream_that_breaks_off_at_any_byte_never_looks_complete(case: AnswerCase):
    """Trap 52; of long streams not each byte is tried, for the sake of time."""
    for end in range(0, len(case.body), max(1, len(case.body) // 400)):
        check_broken_off(case, case.body[:end])
