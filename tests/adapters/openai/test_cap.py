"""The output cap in the client's own bytes: under which name, in which number, and what else goes with it."""

from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from adapters import envelope, openai
from adapters.base import NOTHING, Call, Capabilities, Target, Warnings
from adapters.openai import cap

UNHURRIED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # the machine may be busy

MESSAGES = '"messages":[{"role":"user","content":"Hi"}]'
BOTH = ("max_completion_tokens", "max_tokens")


def target(held: int | None, provider: str = "openai", field: str = "either", **able: Any) -> Target:
    capabilities = msgspec.convert({"max_tokens_field": field, **able}, Capabilities)
    return Target(
        provider=provider, vendor="openai", model="m", capabilities=capabilities, context=1000, max_output=100, cap=held
    )


def ask(members: str, to: Target) -> Call:
    raw = f'{{"model":"m",{members}{"," if members else ""}{MESSAGES}}}'
    return openai.request(envelope.seal(raw.encode()), to, NOTHING)


def caps(call: Call) -> str:
    """The members of the body that are caps, as they are spelled."""
    members = msgspec.json.decode(call.body, type=dict[str, msgspec.Raw])
    return ",".join(f"{name}={bytes(members[name]).decode()}" for name in BOTH if name in members)


@pytest.mark.parametrize(
    ("provider", "field", "asked", "sent"),
    [
        ("openai", "either", "", "max_completion_tokens=50"),
        ("groq", "either", "", "max_tokens=50"),
        ("groq", "max_completion_tokens", "", "max_completion_tokens=50"),
        ("openai", "max_tokens", "", "max_tokens=50"),
        ("openai", "either", '"max_tokens":60', "max_tokens=50"),
        ("groq", "either", '"max_completion_tokens":60', "max_completion_tokens=50"),
        ("openai", "max_completion_tokens", '"max_tokens":60', "max_completion_tokens=50"),
        ("openai", "max_tokens", '"max_completion_tokens":60', "max_tokens=50"),
        ("openai", "either", '"max_tokens":60,"max_completion_tokens":60', "max_completion_tokens=50"),
        ("groq", "either", '"max_tokens":60,"max_completion_tokens":60', "max_tokens=50"),
        ("openai", "max_tokens", '"max_tokens":60,"max_completion_tokens":60', "max_tokens=50"),
        # Whoever obeys the other one must not get more either.
        ("openai", "max_tokens", '"max_tokens":6e0,"max_completion_tokens":60', "max_tokens=6e0"),
        ("openai", "either", '"max_tokens":60,"max_completion_tokens":6', "max_completion_tokens=6"),
        ("groq", "either", '"max_tokens":60,"max_completion_tokens":6', "max_tokens=50"),
        ("openai", "either", '"max_tokens":60.5', "max_tokens=50"),
        ("openai", "either", '"max_tokens":60,"max_completion_tokens":null', "max_tokens=50"),
        # What is no number of tokens may be no bound at all.
        ("vllm", "max_tokens", '"max_tokens":-1', "max_tokens=50"),
        ("vllm", "max_tokens", '"max_tokens":0', "max_tokens=50"),
        ("vllm", "max_tokens", '"max_tokens":"60"', "max_tokens=50"),
        ("vllm", "max_tokens", '"max_tokens":"\udcff"', "max_tokens=50"),
        ("vllm", "max_tokens", '"max_tokens":true', "max_tokens=50"),
        ("vllm", "max_tokens", '"max_tokens":null', "max_tokens=50"),
        ("vllm", "max_tokens", '"max_tokens":1e400', "max_tokens=50"),
        ("vllm", "max_tokens", '"max_tokens":{}', "max_tokens=50"),
        ("vllm", "max_tokens", '"max_t\\u006fkens":60', "max_tokens=50"),
    ],
)
def test_less_money_is_a_lower_cap_under_the_name_that_is_obeyed(provider, field, asked, sent):
    raw = f'{{"model":"m",{asked}{"," if asked else ""}{MESSAGES}}}'.encode("utf-8", "surrogateescape")
    call = openai.request(envelope.seal(raw), target(50, provider, field), NOTHING)
    assert caps(call) == sent
    assert str(call.warnings).startswith("clamped=max_")


@pytest.mark.parametrize("held", [None, 100, 1000])
@pytest.mark.parametrize(
    "asked", ['"max_tokens":-1', '"max_tokens":0', '"max_tokens":"x"', '"max_tokens":[]', '"max_tokens":null', ""]
)
def test_nonsense_is_left_to_the_vendor_where_the_model_itself_is_bound_enough(asked, held):
    raw = f'{{"model":"m",{asked}{"," if asked else ""}{MESSAGES}}}'
    call = ask(asked, target(held))
    assert call.body == raw.encode()
    assert not call.warnings


def test_more_than_the_model_can_give_is_lowered_to_the_money_too():
    assert caps(ask('"max_tokens":1000', target(500))) == "max_tokens=500"


@pytest.mark.parametrize(
    ("asked", "name"),
    [
        ("", "max_tokens"),
        ('"max_tokens":60', "max_tokens"),
        ('"max_completion_tokens":60', "max_completion_tokens"),
        ('"max_tokens":60,"max_completion_tokens":6', "max_tokens"),
        ('"max_tokens":60,"max_completion_tokens":60', "max_completion_tokens"),
    ],
)
def test_the_client_is_told_in_its_own_word(asked, name):
    assert str(ask(asked, target(50)).warnings) == f"clamped={name}"


@pytest.mark.parametrize(
    ("refused", "sent"),
    [
        (["max_completion_tokens"], "max_tokens=50"),
        (["max_tokens"], "max_completion_tokens=50"),
        (["max_tokens", "max_completion_tokens"], "max_completion_tokens=50"),
    ],
)
@pytest.mark.parametrize("asked", ["", '"max_tokens":60', '"max_completion_tokens":60'])
def test_a_cap_is_sent_though_the_vendor_may_refuse_it(asked, refused, sent):
    assert caps(ask(asked, target(50, refused=refused))) == sent


@pytest.mark.parametrize(
    ("field", "asked", "sent"),
    [
        ("max_completion_tokens", '"max_tokens":5', "max_completion_tokens=5"),
        ("max_tokens", '"max_completion_tokens":5', "max_tokens=5"),
        ("either", '"max_completion_tokens":5', "max_completion_tokens=5"),
    ],
)
@pytest.mark.parametrize("held", [None, 5, 50])
def test_with_money_enough_it_is_renamed_and_no_more(field, asked, sent, held):
    call = ask(asked, target(held, field=field))
    assert caps(call) == sent
    assert not call.warnings


def test_all_else_keeps_its_bytes():
    call = ask('"x":1.50,"max_tokens":60,"y":[1e3]', target(50))
    assert call.body.decode() == f'{{"model":"m","x":1.50,"max_tokens":50,"y":[1e3],{MESSAGES}}}'


@pytest.mark.parametrize("name", BOTH)
def test_a_cap_said_twice_is_said_once(name):
    """Some read the first of two, some the last."""
    members = f'"{name}":99,"{name}":5'
    for held in (50, None):
        call = ask(members, target(held))
        assert call.body.count(name.encode()) == 1
        assert caps(call) == f"{name}=5"


@pytest.mark.parametrize(("name", "value"), [("model", '"x"'), ("n", 7), ("service_tier", '"flex"'), ("max_tokens", 7)])
def test_what_decides_the_price_is_read_once_in_whatever_letters(name, value):
    escaped = f"\\u00{ord(name[0]):x}{name[1:]}"
    raw = f'{{"model":"m","{name}":{value},"{escaped}":{value},{MESSAGES}}}'.encode()
    sent = openai.request(envelope.seal(raw), target(None), NOTHING).body
    assert escaped.encode() not in sent
    assert sent.count(f'"{name}"'.encode()) == 1


NUMBERS = st.integers(-5, 200) | st.floats(-5, 200) | st.none() | st.booleans() | st.sampled_from(["", "5", "x"])


@UNHURRIED
@given(
    st.dictionaries(st.sampled_from(BOTH), NUMBERS),
    st.sampled_from(["either", *BOTH]),
    st.sampled_from(["openai", "groq"]),
    st.integers(1, 120),
)
def test_nothing_that_is_sent_is_above_the_money(asked, field, provider, held):
    to = target(held, provider, field)
    raw = msgspec.json.encode({"model": "m", **asked})
    sent = msgspec.json.decode(openai.request(envelope.seal(raw), to, NOTHING).body)
    numbers = [sent[name] for name in BOTH if type(sent.get(name)) in (int, float) and sent[name] >= 1]
    assert all(number <= held for number in numbers)
    if held < to.max_output:
        assert numbers
        assert field == "either" or type(sent[field]) in (int, float)


def test_without_a_bound_of_money_nothing_is_looked_for():
    sealed = envelope.seal(f'{{"model":"m","max_tokens":1,"max_tokens":2,{MESSAGES}}}'.encode())
    assert cap.changes(sealed, target(None), Warnings()) == ({}, set())
