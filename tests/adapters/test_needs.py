"""What must be fetched before a request can be translated."""

import json
from typing import Any

from adapters import needs, wire
from adapters.base import Remote
from adapters.envelope import seal


def chat(*messages: dict[str, Any]) -> wire.Chat:
    return seal(json.dumps({"model": "m", "messages": messages}).encode()).chat


def image(url: str) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": url}}


def test_images_are_named_by_their_place_unless_they_are_inline_or_the_vendors_own() -> None:
    asked = chat(
        {"role": "system", "content": [{"type": "text", "text": "s"}]},
        {"role": "user", "content": "no parts"},
        {
            "role": "user",
            "content": [{"type": "text", "text": "t"}, image("http://a"), image("DATA:x"), image("own:b")],
        },
        {"role": "tool", "tool_call_id": "c", "content": [image("http://d")]},
    )
    assert needs.images(asked, lambda url: url.startswith("own:")) == [
        Remote("http://a", "messages[2].content[1].image_url.url"),
        Remote("http://d", "messages[3].content[0].image_url.url"),
    ]


def test_calls_are_told_with_their_plain_ids() -> None:
    function = {"name": "f", "arguments": "{}"}
    asked = chat(
        {"role": "assistant", "content": "none"},
        {
            "role": "assistant",
            "tool_calls": [
                {"id": "a__thought__xyz", "type": "function", "function": function},
                {"id": "b", "type": "function", "function": function},
            ],
        },
    )
    found = list(needs.calls(asked))
    assert [ids for _, ids in found] == [["a", "b"]]
    assert found[0][0] is asked.messages[1]
