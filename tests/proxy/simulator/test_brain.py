"""What the simulated model makes of a prompt, beyond what the tests of the vendors' SDKs show."""

import pytest

from proxy.simulator.brain import plan
from proxy.simulator.vocabulary import Ask, Call

ADD = {"type": "object", "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}}}


@pytest.mark.parametrize(
    ("text", "arguments"),
    [
        ("What is add(3, 4)?", '{"a":3,"b":4}'),
        ("What is add(3)?", '{"a":3,"b":1}'),
        ("What is add()?", '{"a":1,"b":1}'),
        ("What is readd(3, 4)?", '{"a":1,"b":1}'),
        ("What is add(3, 4) if a=5?", '{"a":3,"b":4}'),
    ],
)
def test_a_call_that_the_text_writes_out_has_its_arguments(text: str, arguments: str) -> None:
    assert plan(Ask("any", user_text=text, tools={"add": ADD}, must_call=("add",))).tool_calls == [
        Call("add", arguments)
    ]
