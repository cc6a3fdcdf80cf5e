"""The W3C's own examples, and what is none."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.traceparent import Trace, parse, passed

ID, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


@pytest.mark.parametrize(
    ("said", "trace"),
    [
        pytest.param(f"00-{ID}-{SPAN}-01", Trace(ID, SPAN, True), id="sampled"),
        pytest.param(f"00-{ID}-{SPAN}-00", Trace(ID, SPAN, False), id="not sampled"),
        pytest.param(f"00-{ID}-{SPAN}-02", Trace(ID, SPAN, False), id="another flag"),
        pytest.param(f"00-{ID}-{SPAN}-03", Trace(ID, SPAN, True), id="two flags"),
        pytest.param(f" 00-{ID}-{SPAN}-01 ", Trace(ID, SPAN, True), id="with spaces around"),
        pytest.param(f"cc-{ID}-{SPAN}-01-what-comes", Trace(ID, SPAN, True), id="of a later version"),
        pytest.param(f"00-{ID}-{SPAN}-01-more", None, id="of this version with more"),
        pytest.param(f"ff-{ID}-{SPAN}-01", None, id="of the version that is forbidden"),
        pytest.param(f"00-{ID.upper()}-{SPAN}-01", None, id="in capitals"),
        pytest.param(f"00-{'0' * 32}-{SPAN}-01", None, id="of no trace"),
        pytest.param(f"00-{ID}-{'0' * 16}-01", None, id="of no span"),
        pytest.param(f"00-{ID[1:]}-{SPAN}-01", None, id="too short"),
        pytest.param("", None, id="empty"),
        pytest.param(None, None, id="not there"),
    ],
)
def test_a_trace_is_read_as_the_specification_wants_it(said, trace):
    assert parse(said) == trace


@given(st.text(max_size=80))
def test_whatever_is_said_is_a_trace_or_none(said):
    trace = parse(said)
    assert trace is None or parse(passed(trace, None)["traceparent"]) == trace


@pytest.mark.parametrize(
    ("state", "headers"),
    [
        (None, {}),
        ("", {}),
        ("vendor=1,other=2", {"tracestate": "vendor=1,other=2"}),
        ("a=" + "b" * 511, {}),
        ("a=ü", {}),
        ("a=b\r\nx-evil: 1", {}),
    ],
    ids=["none", "empty", "as it is", "too long", "not ASCII", "two lines"],
)
def test_a_state_is_passed_on_if_it_can_be(state, headers):
    said = {"traceparent": f"00-{ID}-{SPAN}-01", **headers}
    assert passed(Trace(ID, SPAN, True), state) == said


def test_what_is_not_sampled_is_not_sampled_by_us():
    assert passed(Trace(ID, SPAN, False), None) == {"traceparent": f"00-{ID}-{SPAN}-00"}
