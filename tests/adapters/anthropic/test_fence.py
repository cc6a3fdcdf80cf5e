"""What may be said of an answer that perhaps stands in a fence, and when."""

import pytest

from adapters.anthropic.fence import Fence


@pytest.mark.parametrize(
    ("pieces", "passed"),
    [
        (["{"], ["{"]),
        (["  ", "{"], ["", "  {"]),
        (["`", "x"], ["", "`x"]),
        (["``", "`json\n", "{}", "\n```"], ["", "", "", ""]),
        (["``x"], ["``x"]),
    ],
)
def test_text_is_held_back_while_it_is_or_may_become_a_fence(pieces, passed):
    fence = Fence()
    assert [fence.passed(piece) for piece in pieces] == passed
    assert fence.held == pieces


def test_the_rest_is_what_stood_in_the_fence_or_all_if_it_never_closed():
    closed, open = Fence(), Fence()
    for fence, text in ((closed, "```json\n{}\n```"), (open, "```json\n{")):
        fence.passed(text)
    assert (closed.rest(), open.rest()) == ("{}", "```json\n{")
    assert Fence().rest() == ""
