"""What is read of an event, and which events may come by the run."""

import msgspec
import pytest

from adapters.anthropic import events
from adapters.anthropic.events import Delta, Event
from adapters.flow import Flow

NAMED = b"event: content_block_delta\n"


def test_an_event_of_a_type_that_nobody_knows_says_nothing():
    assert events.read(b'{"type":"new","delta":5}') == Event()


@pytest.mark.parametrize("type", ["content_block_delta", "message_start", "error"])
def test_one_of_ours_that_is_none_is_an_error(type):
    with pytest.raises(msgspec.ValidationError):
        events.read(msgspec.json.encode({"type": type, "delta": 5}))


def delta(type: str = "text_delta", **members: object) -> bytes:
    return msgspec.json.encode({"type": "content_block_delta", "index": 0, "delta": {"type": type, **members}})


def learnt(event: bytes) -> tuple[str, bytes]:
    flow = Flow()
    flow.learn(b'data: {"an earlier":"text"}', b'"an earlier":"')
    read = events.read(event.rpartition(b"data: ")[2]).delta
    assert isinstance(read, Delta)
    return events.learn(flow, event, read), flow.before


@pytest.mark.parametrize("name", [b"", NAMED], ids=["without a name", "named"])
@pytest.mark.parametrize(
    ("said", "brought"),
    [
        (delta(text="a"), "text"),
        (delta("thinking_delta", thinking="a"), "thinking"),
        (delta("thinking_delta", thinking="a", estimated_tokens=5), "thinking"),
        (delta("input_json_delta", partial_json="{"), "partial_json"),
    ],
)
def test_deltas_of_text_are_learnt(said, brought, name):
    found, before = learnt(name + b"data: " + said)
    assert found == brought
    assert before.startswith(name + b"data: {")
    assert before.endswith(b'"%b":"' % brought.encode())


@pytest.mark.parametrize(
    "event",
    [
        b"data: " + delta("signature_delta", signature="a"),
        b"data: " + delta("new_delta", text="a"),
        b"data: " + delta(text="a", thinking="b"),
        b"data: " + delta(more={"text": "b"}, text="a")[:-2] + b',"x":{"text":"c"}}}',
        b"data: " + delta(text="a")[:-1] + b',"usage":{}}',
        b"data: " + delta(text="a")[:-1] + b',"usage":5}',
        b"data: " + delta(text="a").replace(b":", b": "),
        b"data: " + delta(x="y" * 1024, text="a"),
    ],
)
def test_no_others_are_and_what_was_known_is_forgotten(event):
    assert learnt(event) == ("", b"")
