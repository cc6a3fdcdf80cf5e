"""The request to OpenAI is the client's own, with as few words changed as can be."""

from contextlib import suppress
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters import envelope, openai
from adapters.base import NO_NEEDS, NOTHING, Call, Capabilities, Failure, Kind, Target

MESSAGES = '"messages":[{"role":"user","content":"Hi"}]'


def target(model: str = "m", **capabilities: Any) -> Target:
    return Target(
        provider="openai",
        vendor="openai",
        model=model,
        capabilities=Capabilities(**capabilities),
        context=1000,
        max_output=100,
    )


REASONER: dict[str, Any] = {
    "sampling": False,
    "efforts": ("low", "medium", "high"),
    "max_tokens_field": "max_completion_tokens",
}


def ask(raw: str | bytes, to: Target | None = None) -> Call:
    sealed = envelope.seal(raw.encode() if isinstance(raw, str) else raw)
    return openai.request(sealed, to or target(), NOTHING)


def test_the_key_goes_into_one_header():
    assert openai.headers("sk-1") == {"authorization": "Bearer sk-1"}


def test_the_vendor_fetches_images_by_itself():
    raw = b'{"model":"m","messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"http://x"}}]}]}'
    assert openai.needs(envelope.seal(raw), target()) == NO_NEEDS


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param(f'{{"model":"m",{MESSAGES}}}', id="the least"),
        pytest.param(f'\n{{ "model" : "m", "x": 1.50, "y": [1e3, -0.0],\t{MESSAGES} }} ', id="spaces and spellings"),
        pytest.param(f'{{"model":"m","max_tokens":5,"temperature":0,{MESSAGES}}}', id="fields that we know"),
        pytest.param('{"model":"m","messages":"nonsense"}', id="what the vendor will refuse"),
        pytest.param('{"model":"m"}', id="no messages"),
        pytest.param('{ "model":"m","messages":[{"role":"user","name":"eve","content":"Hi"}]}', id="a speaker's name"),
        pytest.param(
            f'{{ "model":"m","stream":true,"stream_options":{{"include_usage":true}},{MESSAGES}}}',
            id="usage, and a space",
        ),
        pytest.param(f'{{"model":"m","stream":true,"stream_options":{{"include_usage":true}},{MESSAGES}}}', id="usage"),
    ],
)
def test_an_unchanged_request_is_identical_to_the_byte(raw):
    call = ask(raw)
    assert call.body == raw.encode()
    assert (call.path, str(call.warnings)) == ("/chat/completions", "")


def test_what_must_be_remembered_is():
    reading = ask(f'{{"model":"m","n":3,"stream":true,"stream_options":{{"include_usage":true}},{MESSAGES}}}').reading
    assert (reading.stream, reading.choices, reading.include_usage, reading.model) == (True, 3, True, "m")


def test_a_renamed_model_changes_nothing_else():
    call = ask(f'{{"x":1.50,"model":"openai/m","y":1e3,{MESSAGES}}}')
    assert call.body.decode() == f'{{"x":1.50,"model":"m","y":1e3,{MESSAGES}}}'


@pytest.mark.parametrize(
    ("options", "sent"),
    [
        ("", '"stream_options":{"include_usage":true}'),
        ('"stream_options":null,', '"stream_options":{"include_usage":true}'),
        ('"stream_options":{},', '"stream_options":{"include_usage":true}'),
        ('"stream_options":{"include_usage":false,"x":1.5},', '"stream_options":{"include_usage":true,"x":1.5}'),
    ],
)
def test_trap_26_the_usage_is_asked_for_though_the_client_does_not(options, sent):
    call = ask(f'{{"model":"m","stream":true,{options}{MESSAGES}}}')
    assert sent in call.body.decode()
    assert call.reading.include_usage is False


def test_trap_26_a_vendor_that_does_not_know_stream_options_gets_none():
    raw = f'{{"model":"m","stream":true,{MESSAGES}}}'
    assert ask(raw, target(stream_options=False)).body == raw.encode()


@pytest.mark.parametrize(
    ("given", "field", "sent"),
    [
        ('"max_tokens":1e2', "max_completion_tokens", '"max_completion_tokens":1e2'),
        ('"max_completion_tokens":5', "max_tokens", '"max_tokens":5'),
        ('"max_tokens":5', "either", '"max_tokens":5'),
        ('"max_tokens":5', "max_tokens", '"max_tokens":5'),
        ('"max_completion_tokens":5', "either", '"max_completion_tokens":5'),
        ('"max_tokens":null', "max_completion_tokens", '"max_tokens":null'),
        ('"max_tokens":5,"max_completion_tokens":6', "max_completion_tokens", '"max_tokens":5,"max_completion_tokens"'),
        ('"max_tokens":5,"max_completion_tokens":null', "max_completion_tokens", '"max_completion_tokens":5'),
        ('"x":"max_tokens"', "max_completion_tokens", '"x":"max_tokens"'),
    ],
)
def test_trap_37_the_cap_has_the_name_that_the_model_knows(given, field, sent):
    body = ask(f'{{"model":"m",{given},{MESSAGES}}}', target(max_tokens_field=field)).body.decode()
    assert sent in body
    assert ("max_tokens" in body) is ("max_tokens" in sent)


def substitute(members: str, **capabilities: Any) -> tuple[dict[str, Any], str]:
    call = ask(f'{{"model":"other",{members},{MESSAGES}}}', target(**capabilities))
    return msgspec.json.decode(call.body), str(call.warnings)


@pytest.mark.parametrize(
    ("members", "dropped"),
    [
        ('"temperature":0', "temperature"),
        ('"temperature":0.7,"top_p":0.9', "temperature,top_p"),
        ('"frequency_penalty":1,"presence_penalty":-1', "frequency_penalty,presence_penalty"),
    ],
)
def test_a_substitute_gets_nothing_that_it_would_refuse(members, dropped):
    body, warned = substitute(members, **REASONER)
    assert warned == f"dropped={dropped}"
    assert set(body) == {"model", "messages"}
    assert substitute(members)[1] == ""


@pytest.mark.parametrize(
    "members", ['"temperature":1', '"temperature":1.0', '"top_p":1', '"presence_penalty":0.0', '"temperature":null']
)
def test_a_substitute_gets_what_says_nothing(members):
    body, warned = substitute(members, **REASONER)
    assert warned == ""
    assert len(body) == 3


def test_a_name_that_begins_as_the_providers_is_a_name_all_the_same():
    members = '"temperature":0,"stream":true'
    call = ask(f'{{"model":"openai/m",{members},{MESSAGES}}}', target("openai/m", **REASONER))
    assert (b'"temperature":0,' in call.body, str(call.warnings)) == (True, "")


def test_the_model_that_was_asked_for_refuses_by_itself():
    for name in ("m", "openai/m"):
        call = ask(f'{{"model":"{name}","temperature":0,"reasoning_effort":"max",{MESSAGES}}}', target(**REASONER))
        assert b'"temperature":0,"reasoning_effort":"max"' in call.body
        assert not call.warnings


@pytest.mark.parametrize(
    ("effort", "able", "sent", "warned"),
    [
        ("high", ("low", "high"), "high", ""),
        ("max", ("low", "high"), "high", "rounded=reasoning_effort"),
        ("medium", ("low", "high"), "low", "rounded=reasoning_effort"),
        ("none", ("low", "high"), "low", "rounded=reasoning_effort"),
        ("minimal", ("none", "low"), "none", "rounded=reasoning_effort"),
        ("banana", ("low", "high"), "banana", ""),
        (None, ("low", "high"), None, ""),
        (None, (), None, ""),
        ("high", (), None, "dropped=reasoning_effort"),
    ],
)
def test_trap_46_a_substitutes_effort_is_rounded_to_what_it_takes(effort, able, sent, warned):
    body, said = substitute(f'"reasoning_effort":{msgspec.json.encode(effort).decode()}', efforts=able)
    assert (body.get("reasoning_effort"), said) == (sent, warned)


def test_a_member_said_twice_is_sent_as_it_was_read():
    call = ask(f'{{"model":"dear","model":"m",{MESSAGES}}}')
    assert call.body.decode() == f'{{"model":"m",{MESSAGES}}}'


# --- another vendor's state

CALL = '{"id":"c1","type":"function","function":{"name":"f","arguments":"{}"}}'


def history(assistant: str, id: str = "c1") -> str:
    return f'{{"model":"m","messages":[{{"role":"assistant",{assistant}}},{{"role":"tool","tool_call_id":"{id}"}}]}}'


@pytest.mark.parametrize(
    ("assistant", "clean"),
    [
        pytest.param('"content":"a","reasoning_content":"b"', '"content":"a"', id="trap 12: reasoning"),
        pytest.param('"content":"a","thinking_blocks":[{"x":1}]', '"content":"a"', id="trap 55: Anthropic's blocks"),
        pytest.param('"content":"a","extra_content":{"google":{}}', '"content":"a"', id="trap 55: Google's signature"),
        pytest.param(
            f'"tool_calls":[{CALL[:-1]},"extra_content":{{"google":{{}}}},"provider_specific_fields":{{}}}}]',
            f'"tool_calls":[{CALL}]',
            id="trap 55: on a call",
        ),
        pytest.param(
            f'"tool_calls":[{CALL[:-2]},"thought_signature":"s"}}}}]',
            f'"tool_calls":[{CALL}]',
            id="trap 55: in a function",
        ),
        pytest.param('"tool_calls":null,"reasoning_content":1.50', '"tool_calls":null', id="no calls"),
        pytest.param('"tool_calls":[],"reasoning_content":null', '"tool_calls":[]', id="no calls in the list"),
        pytest.param('"content":"\\"reasoning_content\\"","x":1.50', None, id="only talked about"),
    ],
)
def test_another_vendors_state_goes_to_nobody_else(assistant, clean):
    assert ask(history(assistant)).body.decode() == history(clean or assistant)


def test_trap_55_signatures_in_ids_are_cut_off_on_both_sides():
    signed = CALL.replace("c1", "c1__thought__c2ln")
    assert ask(history(f'"tool_calls":[{signed}]', "c1__thought__c2ln")).body.decode() == history(
        f'"tool_calls":[{CALL}]'
    )


def test_trap_12_reasoning_goes_back_to_those_who_want_it():
    raw = history('"content":"a","reasoning_content":"b","thinking_blocks":[]')
    body = ask(raw, target(reasoning_content=True)).body.decode()
    assert body == history('"content":"a","reasoning_content":"b"')


@pytest.mark.parametrize(
    "raw",
    [
        '{"model":"m","messages":{"reasoning_content":1}}',
        '{"model":"m","messages":[{"reasoning_content":1,"tool_calls":5}]}',
        '{"model":"m","x":{"reasoning_content":1}}',
        '{"model":"m","messages":[{"tool_calls":[{"function":"\\"thought_signature\\"","reasoning_content":1}]}]}',
    ],
)
def test_what_is_no_history_is_the_vendors_to_refuse(raw):
    assert msgspec.json.decode(ask(raw).body)["model"] == "m"


def test_half_a_character_is_the_vendors_to_refuse():
    raw = b'{"model":"m","messages":[{"\xff":1,"reasoning_content":1}]}'
    assert ask(raw).body == raw


# --- those who only speak OpenAI's format


@pytest.mark.parametrize(("provider", "exact"), [("openai", True), ("groq", False)])
def test_only_openais_own_answers_are_passed_on_to_the_byte(provider, exact):
    to = msgspec.structs.replace(target(), provider=provider)
    assert ask(f'{{"model":"m",{MESSAGES}}}', to).reading.exact is exact


REFUSES: dict[str, Any] = {"refused": ("seed", "logprobs", "user", "n", "presence_penalty", "messages[].name")}


@pytest.mark.parametrize(
    ("members", "warned"),
    [
        pytest.param('"seed":5', "dropped=seed", id="best effort: said"),
        pytest.param('"presence_penalty":0.5', "dropped=presence_penalty", id="a control that it lacks: said"),
        pytest.param('"presence_penalty":0', "", id="what happens anyway"),
        pytest.param('"seed":null', "", id="null is nothing"),
        pytest.param('"user":"u"', "", id="of no meaning to the answer"),
        pytest.param('"n":1,"logprobs":false', "", id="neutral values of what would be refused"),
        pytest.param('"seed":5,"presence_penalty":1', "dropped=presence_penalty,seed", id="several"),
    ],
)
def test_what_the_vendor_refuses_is_left_out(members, warned):
    call = ask(f'{{"model":"m",{members},{MESSAGES}}}', target(**REFUSES))
    assert call.body.decode() == f'{{"model":"m",{MESSAGES}}}'
    assert str(call.warnings) == warned


@pytest.mark.parametrize("members", ['"n":2', '"logprobs":true', '"seed":1,"logprobs":true'])
def test_what_would_change_the_answer_is_refused_before_it_is_sent(members):
    with pytest.raises(Failure) as caught:
        ask(f'{{"model":"m",{members},{MESSAGES}}}', target(**REFUSES))
    assert (caught.value.kind, caught.value.code) == (Kind.UNSUPPORTED, "unsupported_parameter")
    assert caught.value.param in members


def refusing(member: str, value: Any) -> Call:
    """The call to a vendor that takes everything but this member."""
    raw = {"model": "m", member: value, "messages": [{"role": "user", "content": "Hi"}]}
    return ask(msgspec.json.encode(raw), target(refused=(member,)))


@pytest.mark.parametrize(
    "member",
    [
        *("audio", "function_call", "functions", "logit_bias", "logprobs", "modalities", "moderation", "n"),
        *("response_format", "stop", "tool_choice", "tools", "top_logprobs", "web_search_options"),
    ],
)
def test_without_these_the_answer_would_be_another_one(member):
    with pytest.raises(Failure) as caught:
        refusing(member, 17)
    assert (caught.value.code, caught.value.param) == ("unsupported_parameter", member)


@pytest.mark.parametrize(
    ("member", "value", "warned"),
    [
        *((name, 17, "") for name in ("metadata", "prediction")),
        *((f"prompt_cache_{name}", 17, "") for name in ("key", "options", "retention")),
        *((name, "u", "") for name in ("safety_identifier", "user")),
        *((name, 17, f"dropped={name}") for name in ("seed", "store", "verbosity", "service_tier", "from_the_future")),
        *((name, 0, "") for name in ("frequency_penalty", "presence_penalty", "top_logprobs")),
        *((name, False, "") for name in ("logprobs", "store")),
        *(("n", 1, ""), ("logit_bias", {}, ""), ("modalities", ["text"], "")),
        *(("verbosity", "medium", ""), ("service_tier", "auto", "")),
    ],
)
def test_without_these_it_would_be_nearly_the_same(member, value, warned):
    call = refusing(member, value)
    assert call.body.decode() == f'{{"model":"m",{MESSAGES}}}'
    assert str(call.warnings) == warned


@pytest.mark.parametrize(
    ("effort", "able", "sent"),
    [
        ("minimal", ("none", "low"), "none"),
        ("low", ("minimal", "high"), "minimal"),
        ("medium", ("low", "high"), "low"),
        ("high", ("medium", "xhigh"), "medium"),
        ("xhigh", ("high", "max"), "high"),
        ("max", ("xhigh",), "xhigh"),
        ("none", ("low", "high"), "low"),
    ],
)
def test_trap_46_every_effort_has_a_next_weaker_one(effort, able, sent):
    body, warned = substitute(f'"reasoning_effort":"{effort}"', efforts=able)
    assert (body["reasoning_effort"], warned) == (sent, "rounded=reasoning_effort")


def test_what_is_only_talked_about_stays():
    raw = '{"model":"m","messages":[{"role":"user","content":"\\"seed\\" seed"}],"x":{"seed":1}}'
    assert ask(raw, target(**REFUSES)).body.decode() == raw


def test_a_vendor_that_does_not_know_stream_options_does_not_get_the_clients_either():
    call = ask(
        f'{{"model":"m","stream":true,"stream_options":{{"include_usage":true}},{MESSAGES}}}',
        target(stream_options=False),
    )
    assert call.body.decode() == f'{{"model":"m","stream":true,{MESSAGES}}}'
    assert call.reading.include_usage
    assert str(call.warnings) == ""


def test_a_vendor_that_does_not_know_stream_options_may_refuse_more():
    raw = f'{{"model":"m","seed":5,{MESSAGES}}}'
    call = ask(raw, target(stream_options=False, refused=("seed",)))
    assert call.body.decode() == f'{{"model":"m",{MESSAGES}}}'
    assert str(call.warnings) == "dropped=seed"


def test_a_substitutes_cap_is_renamed_and_not_said_twice():
    sent, warned = substitute('"max_tokens":5,"temperature":0', **REASONER)
    assert (sent, warned) == (
        {"model": "m", "max_completion_tokens": 5, "messages": [{"role": "user", "content": "Hi"}]},
        "dropped=temperature",
    )


def test_who_loses_another_vendors_state_keeps_developers_and_names():
    raw = (
        '{"model":"m","messages":[{"role":"developer","content":"a"},{"role":"user","name":"eve","content":"b"},'
        '{"role":"assistant","content":"c","thinking_blocks":[]}]}'
    )
    assert ask(raw).body.decode() == raw.replace(',"thinking_blocks":[]', "")


def test_trap_55_only_the_signature_itself_is_cut_off():
    call = (
        '{"id":"c1","x":["thought_signature"],"type":"function",'
        '"function":{"x":1.50,"name":"f","arguments":"{\\"a\\":\\"b__thought__c\\"}"}}'
    )
    signed = call.replace('"x":1.50', '"x":1.50,"thought_signature":"s"')
    assert ask(history(f'"tool_calls":[{signed}]')).body.decode() == history(f'"tool_calls":[{call}]')


def test_a_vendor_that_does_not_know_developers_hears_the_system():
    raw = '{"model":"m","messages":[{"role":"developer","content":"a"},{"content":"b","role":"user"}]}'
    assert ask(raw).body.decode() == raw
    assert ask(raw, target(developer=False)).body.decode() == raw.replace("developer", "system")


def test_a_vendor_that_refuses_names_gets_none():
    raw = '{"model":"m","messages":[{"role":"user","name":"eve","content":"a"},{"role":"function","name":"f"}]}'
    call = ask(raw, target(**REFUSES))
    assert call.body.decode() == raw.replace('"name":"eve",', "")
    assert str(call.warnings) == "dropped=messages[].name"


def test_names_of_tools_are_no_names_of_speakers():
    raw = f'{{"model":"m","tools":[{{"name":"f"}}],{MESSAGES}}}'
    call = ask(raw, target(**REFUSES))
    assert call.body.decode() == raw
    assert str(call.warnings) == ""


def test_details_of_reasoning_go_back_to_those_who_want_them():
    raw = history('"content":"a","reasoning_details":[{"type":"x"}],"reasoning_content":"b"')
    body = ask(raw, target(reasoning_details=True)).body.decode()
    assert body == history('"content":"a","reasoning_details":[{"type":"x"}]')


WORDS = st.sampled_from(
    ["messages", "tool_calls", "tool_call_id", "id", "function", "reasoning_content", "thought_signature", "max_tokens"]
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.just("x__thought__y") | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(WORDS | st.text(), inner),
)


@given(
    st.binary()
    | st.fixed_dictionaries(
        {"model": st.sampled_from(["m", "other"])},
        optional={
            "messages": JSON | st.lists(st.dictionaries(WORDS, JSON)),
            "stream": st.booleans(),
            "temperature": JSON,
            "reasoning_effort": JSON,
            "max_tokens": JSON,
            "max_completion_tokens": JSON,
        },
    ).map(msgspec.json.encode)
)
def test_no_bytes_are_anything_but_a_call_or_a_failure(raw):
    for to in (target(), target(**REASONER), target(**REFUSES, developer=False, stream_options=False)):
        with suppress(Failure):
            assert msgspec.json.decode(ask(raw, to).body)["model"] == "m"


def test_a_letter_in_disguise_beside_what_is_no_character_leaves_as_it_came():
    """What cannot be read cannot be written plainly; the vendor will say what is wrong with it."""
    raw = b'{"model":"m","x":"\\u0041\xff"}'
    assert ask(raw).body == raw


def test_of_two_caps_the_one_that_is_refused_stays_behind():
    call = ask(f'{{"model":"m","max_tokens":5,"max_completion_tokens":5,{MESSAGES}}}', target(refused=("max_tokens",)))
    assert call.body == f'{{"model":"m","max_completion_tokens":5,{MESSAGES}}}'.encode()
    assert str(call.warnings) == "dropped=max_tokens"


def test_the_cap_of_the_money_goes_out_even_where_it_is_refused():
    able = target(refused=("max_tokens",), max_tokens_field="max_tokens")
    call = ask(f'{{"model":"m","max_tokens":null,{MESSAGES}}}', msgspec.structs.replace(able, cap=5))
    assert msgspec.json.decode(call.body)["max_tokens"] == 5
