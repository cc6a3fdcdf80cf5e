"""The whole answer: what Google's own SDK reads in it, finish reasons, oddities."""

from typing import Any

import msgspec
import pytest
from google.genai import types
from hypothesis import given, settings
from hypothesis import strategies as st
from openai.types.chat import ChatCompletion

from adapters.base import Failure, Kind
from adapters.gemini import answer as ours
from adapters.gemini import response
from adapters.gemini.answer import FILTERED, MALFORMED, FunctionCall, call_id, finish, logprobs
from tests.adapters import golden
from tests.adapters.gemini import answers, sdk
from tests.adapters.golden import STAMP


def translated(body: bytes | dict[str, Any], **reading: Any) -> ChatCompletion:
    raw = body if isinstance(body, bytes) else msgspec.json.encode(body)
    return ChatCompletion.model_validate_json(response(raw, answers.call(**reading), STAMP).body)


def candidate(*parts: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"candidates": [{"content": {"role": "model", "parts": list(parts)}, "finishReason": "STOP", **more}]}


def response_of(*parts: dict[str, Any]) -> dict[str, Any]:
    said = response(msgspec.json.encode(candidate(*parts)), answers.call(), STAMP)
    return msgspec.json.decode(said.body, type=dict[str, Any])


# --- finish reasons

CUT = {"MAX_TOKENS", "CONTINUATION"}
USUAL = {"STOP", "FINISH_REASON_UNSPECIFIED"}
OWN = {ours.UNSIGNED}


def test_every_reason_that_the_sdk_knows_has_a_meaning():
    assert {reason.value for reason in types.FinishReason} == FILTERED | MALFORMED | CUT | USUAL | OWN
    assert len(types.FinishReason) == len(FILTERED) + len(MALFORMED) + len(CUT) + len(USUAL) + len(OWN)


@pytest.mark.parametrize("reason", sorted(FILTERED))
@pytest.mark.parametrize(("called", "said"), [(False, False), (True, False), (False, True)])
def test_a_filtered_answer_stays_filtered(reason, called, said):
    """Trap 4."""
    assert finish(reason, called=called, said=said) == "content_filter"


@pytest.mark.parametrize("reason", sorted(CUT))
@pytest.mark.parametrize(("called", "said"), [(False, False), (True, False), (False, True)])
def test_a_cut_answer_stays_cut(reason, called, said):
    """Traps 4 and 29."""
    assert finish(reason, called=called, said=said) == "length"


@pytest.mark.parametrize("reason", [*sorted(USUAL), "NEVER_SEEN", None])
def test_any_other_end_is_tool_calls_if_there_was_a_call(reason):
    """Trap 3."""
    assert finish(reason, called=True, said=True) == "tool_calls"
    assert finish(reason, called=False, said=True) == "stop"
    assert finish(reason, called=False, said=False) == "stop"


@pytest.mark.parametrize("reason", sorted(MALFORMED | OWN))
def test_a_malformed_answer_with_something_usable_is_used(reason):
    assert finish(reason, called=True, said=False) == "tool_calls"
    assert finish(reason, called=False, said=True) == "stop"


@pytest.mark.parametrize("reason", sorted(MALFORMED))
def test_a_malformed_answer_of_nothing_is_a_failure_of_this_request_alone(reason):
    with pytest.raises(Failure, match=reason) as raised:
        finish(reason, called=False, said=False)
    assert (raised.value.kind, raised.value.code) == (Kind.REQUEST, "upstream_malformed_output")


def test_a_missing_signature_is_not_the_vendors_sickness():
    with pytest.raises(Failure) as raised:
        finish("MISSING_THOUGHT_SIGNATURE", called=False, said=False)
    assert (raised.value.kind, raised.value.status, raised.value.param) == (Kind.CALLER, 400, "messages")


@pytest.mark.parametrize("reason", [reason.value for reason in types.BlockedReason])
def test_a_blocked_prompt_is_a_refusal(reason):
    [choice] = translated({"promptFeedback": {"blockReason": reason}}).choices
    assert (choice.message.content, choice.message.refusal) == (None, f"Prompt blocked: {reason}")
    assert choice.finish_reason == "content_filter"


@pytest.mark.parametrize("body", [{}, {"candidates": []}, {"promptFeedback": {}}, {"promptFeedback": None}])
def test_an_answer_of_nothing_without_a_reason_is_a_failure(body):
    with pytest.raises(Failure) as raised:
        translated(body)
    assert (raised.value.kind, raised.value.code) == (Kind.TRANSIENT, "empty_upstream_response")


# --- what stands in an answer


@pytest.mark.parametrize(
    ("said", "model"),
    [("models/gemini-x", "gemini-x"), ("gemini-x", "gemini-x"), ("", "m"), (None, "m")],
)
def test_the_model_is_what_the_vendor_says_or_what_was_asked(said, model):
    assert translated(candidate({"text": "x"}) | {"modelVersion": said}).model == model


def test_a_call_without_an_id_gets_one_that_is_its_own_and_always_the_same():
    """Trap 1."""
    ids = [call_id(FunctionCall(), STAMP, position, choice) for position in (0, 1) for choice in (0, 1)]
    assert len(set(ids)) == 4
    assert all(id.startswith("call_") and len(id) == 29 for id in ids)
    assert ids[0] == call_id(FunctionCall(id=""), STAMP, 0)
    assert call_id(FunctionCall(id="fc"), STAMP, 0) == "fc"


def test_what_the_proxy_must_know_of_an_answer():
    signed = {"functionCall": {"id": "1", "name": "f"}, "thoughtSignature": "c2ln"}
    body = candidate(signed, {"functionCall": {"id": "2", "name": "g"}})
    body["usageMetadata"] = {"promptTokenCount": 5, "serviceTier": "flex"}
    said = response(msgspec.json.encode(body), answers.call(), STAMP)
    assert (said.finish, said.service_tier, said.states) == ("tool_calls", "flex", {"1": "c2ln"})


def test_a_signature_of_text_stays_though_more_text_follows():
    [choice] = translated(candidate({"text": "a", "thoughtSignature": "c2ln"}, {"text": "b"})).choices
    assert choice.message.model_extra == {"extra_content": {"google": {"thought_signature": "c2ln"}}}


def test_sources_that_only_the_citations_tell_are_told():
    sources = {"citationSources": [{"startIndex": 1, "endIndex": 2, "uri": "https://b.example"}]}
    [choice] = translated(candidate({"text": "abc"}, citationMetadata=sources)).choices
    [cited] = choice.message.annotations or []
    assert (cited.url_citation.start_index, cited.url_citation.url) == (1, "https://b.example")


def test_a_call_and_an_image_may_be_bare():
    images: list[dict[str, Any]] = [{"inlineData": {"mimeType": "image/png"}}, {"inlineData": {}}]
    [choice] = response_of({"functionCall": {"id": "1"}}, *images)["choices"]
    assert choice["message"]["tool_calls"] == [
        {"id": "1", "type": "function", "function": {"name": "", "arguments": "{}"}}
    ]
    assert choice["message"]["images"] == [{"type": "image_url", "image_url": {"url": "data:image/png;base64,"}}]


@pytest.mark.parametrize(
    "part",
    [
        {"thoughtSignature": "c2ln"},
        {"executableCode": {"code": "x"}, "thoughtSignature": "c2ln"},
        {"toolCall": {"id": "1"}, "thoughtSignature": "c2ln"},
        {"inlineData": {"mimeType": "audio/wav", "data": "x"}},
        {"inlineData": {"mimeType": "image/png", "data": "x"}, "thought": True},
        {"thought": True},
        {},
    ],
)
def test_what_is_not_for_the_client_leaves_no_trace(part):
    """Traps 33 and 53."""
    [choice] = translated(candidate(part, {"text": "x"})).choices
    assert choice.message.model_dump(exclude_none=True) == {"role": "assistant", "content": "x"}


@pytest.mark.parametrize("content", [None, {}, {"role": "model"}, {"parts": None}, {"parts": []}])
def test_a_candidate_without_parts_is_an_empty_text(content):
    """Trap 29."""
    [choice] = translated({"candidates": [{"content": content, "finishReason": "STOP"}]}).choices
    assert (choice.message.content, choice.finish_reason) == ("", "stop")


def token(text: Any, value: Any, *top: dict[str, Any]) -> dict[str, Any]:
    shown = {"token": text, "logprob": value, "bytes": list(text.encode())}
    return shown | {"top_logprobs": list(top)}


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        pytest.param({"chosenCandidates": [{"token": "é", "logProbability": -0.5}]}, [token("é", -0.5)], id="chosen"),
        pytest.param({"chosenCandidates": [{"token": "a"}]}, [token("a", 0.0)], id="an absent number is 0"),
        pytest.param({"chosenCandidates": [{}, 5]}, [token("", 0.0), token("", -9999.0)], id="no token"),
        pytest.param(
            {"chosenCandidates": [{"token": 5, "logProbability": "x"}]}, [token("", -9999.0)], id="wrong types"
        ),
        pytest.param({"chosenCandidates": [{"logProbability": -(10**400)}]}, [token("", -9999.0)], id="too little"),
        pytest.param({"chosenCandidates": [{"logProbability": 10**400}]}, [token("", 0.0)], id="too much"),
        pytest.param(
            {
                "chosenCandidates": [{"token": "a"}, {"token": "b"}],
                "topCandidates": [{"candidates": [{"token": "a"}, {"token": "c", "logProbability": -2}]}],
            },
            [
                token(
                    "a",
                    0.0,
                    {"token": "a", "logprob": 0.0, "bytes": [97]},
                    {"token": "c", "logprob": -2.0, "bytes": [99]},
                ),
                token("b", 0.0),
            ],
            id="rivals",
        ),
        pytest.param({"chosenCandidates": [{"token": "a"}], "topCandidates": [5]}, [token("a", 0.0)], id="no rivals"),
        pytest.param({"chosenCandidates": [{"token": "a"}], "topCandidates": 5}, [token("a", 0.0)], id="no list"),
    ],
)
def test_log_probabilities_in_openais_shape(said, expected):
    assert logprobs(said) == {"content": expected, "refusal": None}


@pytest.mark.parametrize("said", [None, {}, {"chosenCandidates": 5}, {"chosenCandidates": []}, "x"])
def test_no_log_probabilities_are_none(said):
    assert logprobs(said) is None


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b'{"error": {"code": 429, "status": "RESOURCE_EXHAUSTED", "message": "m"}}', Kind.RATE_LIMITED),
        (b' [{"error": {"code": 503, "status": "UNAVAILABLE", "message": "m"}}]', Kind.OVERLOADED),
        (b'{"error": "x"}', Kind.TRANSIENT),
        (b"[]", Kind.TRANSIENT),
        (b"[", Kind.TRANSIENT),
        (b"", Kind.TRANSIENT),
        (b"\xff", Kind.TRANSIENT),
        (b'{"candidates": 5}', Kind.TRANSIENT),
        (b'{"modelVersion": "\xff"}', Kind.TRANSIENT),
        (b'{"candidates":[{"content":{"parts":[{"functionCall":{"name":"f","args":{"a":"\xff"}}}]}}]}', Kind.TRANSIENT),
        (b'{"x":' * 100_000, Kind.TRANSIENT),
    ],
)
def test_what_is_no_answer_is_a_failure(body, kind):
    """Trap 44."""
    with pytest.raises(Failure) as raised:
        translated(body)
    assert raised.value.kind is kind


# --- the second opinion


# For the SDK, not for us: it knows one type for each member, warns of a new reason, and asks for a continuation itself.
UNREADABLE = {"usage-of-wrong-types", "sources-of-wrong-types", "finish-unknown", "finish-continuation"}
READ = [case for case in golden.answer_cases("json") if case.vendor == "gemini" and case.path("openai.json").exists()]


@pytest.mark.parametrize("case", [case for case in READ if case.name not in UNREADABLE], ids=lambda case: case.name)
def test_we_read_what_googles_own_sdk_reads(case):
    told = ChatCompletion.model_validate_json(response(case.body, case.call, STAMP).body)
    check_with_the_sdk(told, sdk.read(case.body), case.call.reading.names)


def check_with_the_sdk(told: ChatCompletion, read: types.GenerateContentResponse, names: dict[str, str]) -> None:
    for choice, candidate in zip(told.choices, read.candidates or (), strict=False):
        parts = (candidate.content.parts if candidate.content else None) or []
        message = choice.message
        assert (message.content or "") == "".join(p.text for p in parts if p.text and not p.thought)
        thoughts = "".join(p.text for p in parts if p.text and p.thought)
        assert (message.model_extra or {}).get("reasoning_content", "") == thoughts
        assert calls_told(message) == [
            (names.get(p.function_call.name or "", p.function_call.name), p.function_call.args or {})
            for p in parts
            if p.function_call
        ]
        if candidate.finish_reason and not calls_told(message):
            expected = {"STOP": "stop", "MAX_TOKENS": "length"}.get(candidate.finish_reason.name)
            assert expected in (None, choice.finish_reason)
    check_usage(told, read.usage_metadata)


def calls_told(message: Any) -> list[tuple[str, Any]]:
    if message.function_call:
        return [(message.function_call.name, msgspec.json.decode(message.function_call.arguments))]
    return [
        (call.function.name, msgspec.json.decode(call.function.arguments))
        if call.type == "function"
        else (call.custom.name, {"input": call.custom.input})
        for call in message.tool_calls or ()
    ]


def check_usage(told: ChatCompletion, said: types.GenerateContentResponseUsageMetadata | None) -> None:
    """Our sums are Google's: the total says whether thoughts are among the candidates."""
    assert told.usage is not None
    if said is None:
        assert told.usage.total_tokens == 0
        return
    prompt = (said.prompt_token_count or 0) + (said.tool_use_prompt_token_count or 0)
    assert told.usage.prompt_tokens == prompt
    assert told.usage.total_tokens == told.usage.prompt_tokens + told.usage.completion_tokens
    if said.total_token_count is not None and not said.tool_use_prompt_token_count:
        assert told.usage.total_tokens == said.total_token_count
    assert told.usage.prompt_tokens_details is not None
    assert told.usage.prompt_tokens_details.cached_tokens == (said.cached_content_token_count or 0)
    assert told.usage.completion_tokens_details is not None
    assert told.usage.completion_tokens_details.reasoning_tokens == (said.thoughts_token_count or 0)


def usable(answer: dict[str, Any]) -> bool:
    parts = answer["candidates"][0]["content"]["parts"]
    return any("functionCall" in part or ("text" in part and not part.get("thought")) for part in parts)


@settings(max_examples=150, deadline=None)
@given(answers.answers())
def test_whatever_is_answered_we_read_what_the_sdk_reads(answer):
    body = msgspec.json.encode(answer)
    if answer["candidates"][0]["finishReason"] in MALFORMED and not usable(answer):
        with pytest.raises(Failure, match="MALFORMED"):
            translated(body)
        return
    told = translated(body)
    check_with_the_sdk(told, sdk.read(body), {})


@settings(deadline=None)
@given(st.binary() | answers.odd().map(msgspec.json.encode))
def test_no_bytes_are_too_odd(body):
    try:
        said = response(body, answers.call(), STAMP)
    except Failure:
        return
    told = ChatCompletion.model_validate_json(said.body)
    assert all(choice.finish_reason for choice in told.choices)
