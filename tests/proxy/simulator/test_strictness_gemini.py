"""What Gemini refuses, one row each: a model, a change to a good request, and a word of the refusal."""

import pytest

from proxy.simulator.gemini_check import camel, refusal
from proxy.simulator.serials import signature

OLD, NEW, NEWEST, PRO = "gemini-2.5-flash", "gemini-3-flash-preview", "gemini-4-argon", "gemini-3-pro-preview"
USER = {"role": "user", "parts": [{"text": "hi"}]}
CALL = {"functionCall": {"name": "f", "args": {}}}
RESULT = {"functionResponse": {"name": "f", "response": {"output": 1}}}
SIGNED = {**CALL, "thoughtSignature": signature("f")}


def model(*parts):
    return {"role": "model", "parts": list(parts)}


def user(*parts):
    return {"role": "user", "parts": list(parts)}


def turns(*contents):
    return {"contents": [USER, *contents]}


def config(**fields):
    return {"generationConfig": fields}


def thinking(**fields):
    return config(thinkingConfig=fields)


def tool(**fields):
    return {"tools": [{"functionDeclarations": [{"name": "f", **fields}]}]}


REFUSED = [
    (OLD, {"foo": 1}, 'Unknown name "foo": Cannot find field.'),
    (OLD, config(foo=1), "Unknown name \"foo\" at 'generation_config': Cannot find field."),
    (OLD, {"contents": [user({"text": "x", "foo": 1})]}, "Unknown name \"foo\" at 'contents[0].parts[0]'"),
    (OLD, {"contents": []}, "contents is not specified"),
    (OLD, {"contents": [{"role": "assistant", "parts": [{"text": "x"}]}]}, "valid role: user, model"),
    (OLD, {"contents": [user({})]}, "required oneof field 'data'"),
    (OLD, {"contents": [user({"text": "x", "functionCall": {"name": "f"}})]}, "oneof field 'data' is already set"),
    (OLD, config(temperature="hot"), "Invalid value at 'generation_config.temperature' (TYPE_FLOAT)"),
    (OLD, config(maxOutputTokens=10**6), "maxOutputTokens value of 1000000"),
    (OLD, config(candidateCount=2), "Multiple candidates"),
    (OLD, turns(model(CALL, CALL), user(RESULT)), "number of function response parts is equal"),
    (OLD, turns(user(RESULT)), "immediately after a function call turn"),
    (NEW, turns(model(CALL), user(RESULT)), "Function call is missing a thought_signature"),
    (NEW, turns(model({**CALL, "thoughtSignature": "AAAA"}), user(RESULT)), "Corrupted thought signature"),
    (NEW, turns(model(SIGNED), user(RESULT), model(CALL), user(RESULT)), "missing a thought_signature"),
    (NEW, turns(model(CALL, SIGNED), user(RESULT, RESULT)), "missing a thought_signature"),
    (OLD, turns(model({"functionCall": {"id": "x", "name": "f"}}), user(RESULT)), 'Unknown name "id"'),
    (OLD, turns(model({"functionCall": {"name": "1f"}}), user(RESULT)), "Invalid function name"),
    (NEW, thinking(thinkingBudget=1024, thinkingLevel="low"), "only one of thinking budget and thinking level"),
    (NEWEST, thinking(thinkingBudget=1024), "Thinking budget is not supported"),
    (NEWEST, thinking(thinkingLevel="minimal"), "Thinking level MINIMAL is not supported"),
    (PRO, thinking(thinkingLevel="medium"), "Thinking level MEDIUM is not supported"),
    (OLD, thinking(thinkingLevel="low"), "Thinking level is not supported"),
    ("gemini-2.5-pro", thinking(thinkingBudget=0), "Budget 0 is invalid"),
    (OLD, thinking(thinkingBudget=10**6), "The thinking budget 1000000 is invalid"),
    (OLD, {**tool(), **config(responseMimeType="application/json")}, "response mime type: 'application/json'"),
    (NEW, config(presencePenalty=0.5), "Penalty is not enabled"),
    (OLD, {"contents": [user({"inlineData": {"mimeType": "image/jpg", "data": ""}})]}, "Unsupported MIME type"),
    (OLD, tool(name="a b"), "Invalid function name"),
    (OLD, tool(parameters={"type": "OBJECT"}, parametersJsonSchema={}), "only one of parameters"),
    (OLD, tool(parameters={"type": "object", "properties": {"a": {"$ref": "#"}}}), 'Unknown name "$ref"'),
    (OLD, tool(parameters={"type": "object", "additionalProperties": False}), 'Unknown name "additionalProperties"'),
    (OLD, tool(parameters={"type": "object", "properties": {"a": {"type": ["string"]}}}), 'Unknown name "type"'),
    (OLD, tool(strict=True), 'Unknown name "strict"'),
    (OLD, config(responseJsonSchema={}), "only supported with response_mime_type"),
    (OLD, {"toolConfig": {"functionCallingConfig": {"mode": "ANY"}}}, "without function_declarations"),
    (OLD, {"cachedContent": "cachedContents/x", "systemInstruction": {"parts": [{"text": "x"}]}}, "CachedContent"),
]  # fmt: skip
ACCEPTED = [
    (OLD, turns(model(CALL), user(RESULT))),
    (NEW, turns(model(SIGNED), user(RESULT))),
    (NEW, turns(model(SIGNED, CALL), user(RESULT, RESULT), model(SIGNED), user(RESULT))),
    (NEW, turns(model({**CALL, "thoughtSignature": "skip_thought_signature_validator"}), user(RESULT))),
    (NEW, turns(model(CALL), user(RESULT), model({"text": "done"}), user({"text": "next"}))),
    (NEW, turns(model({**SIGNED, "functionCall": {"id": "x", "name": "f"}}), user(RESULT))),
    (NEW, {**tool(), **config(responseMimeType="application/json")}),
    (OLD, tool(parametersJsonSchema={"type": "object", "additionalProperties": False, "$defs": {}})),
    (OLD, thinking(thinkingBudget=0)),
    ("gemini-4-hydrogen", thinking(thinkingLevel="XHIGH")),
    (OLD, {"system_instruction": {"parts": [{"text": "x"}]}, "generation_config": {"max_output_tokens": 5}}),
]


@pytest.mark.parametrize(("name", "change", "words"), REFUSED)
def test_gemini_refuses(name, change, words):
    refused = refusal({"contents": [USER], **change}, name)
    assert refused is not None
    assert words in refused.message
    assert refused.status == 400


@pytest.mark.parametrize(("name", "change"), ACCEPTED)
def test_gemini_accepts(name, change):
    assert refusal(camel({"contents": [USER], **change}), name) is None


def test_an_unknown_model_is_not_found():
    refused = refusal({"contents": [USER]}, "gpt-4o")
    assert refused is not None
    assert (refused.status, refused.kind) == (404, "NOT_FOUND")
