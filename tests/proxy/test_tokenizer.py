"""Text counted as OpenAI counts it; off the event loop, and with no way out to any network."""

import asyncio
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from adapters import envelope
from proxy.tokenizer import Tokenizer, encoding_of
from proxy.tokens import TYPICAL_IMAGE

UNHURRIED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # the machine may be busy

ROOT = Path(__file__).resolve().parents[2]
TOKENIZER = Tokenizer()

# OpenAI's cookbook, "How to count tokens with tiktoken": the API itself says 129 for these with gpt-4, 124 with gpt-4o.
EXAMPLE = [
    ("system", None,
     "You are a helpful, pattern-following assistant that translates corporate jargon into plain English."),
    ("system", "example_user", "New synergies will help drive top-line growth."),
    ("system", "example_assistant", "Things working well together will increase revenue."),
    ("system", "example_user",
     "Let's circle back when we have more bandwidth to touch base on opportunities for increased leverage."),
    ("system", "example_assistant", "Let's talk later when we're less busy about how to do better."),
    ("user", None, "This late pivot means we don't have time to boil the ocean for the client deliverable."),
]  # fmt: skip


def letter(messages: Any, **members: Any) -> envelope.Envelope:
    return envelope.seal(json.dumps({"model": "m", "messages": messages, **members}).encode())


async def prompt(*messages: dict[str, Any], **members: Any) -> int:
    return await TOKENIZER.messages(letter(messages, **members), "gpt-4o")


async def size(text: str) -> int:
    return await TOKENIZER.count(text, "gpt-4o")


@pytest.mark.parametrize(
    ("model", "encoding"),
    [
        ("gpt-4", "cl100k_base"),
        ("gpt-4-turbo", "cl100k_base"),
        ("gpt-4-32k-0613", "cl100k_base"),
        ("gpt-3.5-turbo", "cl100k_base"),
        ("gpt-35-turbo", "cl100k_base"),
        ("openai/gpt-4-turbo", "cl100k_base"),
        ("ft:gpt-3.5-turbo-0125:org::id", "cl100k_base"),
        ("text-embedding-3-small", "cl100k_base"),
        ("gpt-4o", "o200k_base"),
        ("gpt-4.1", "o200k_base"),
        ("gpt-4.5-preview", "o200k_base"),
        ("gpt-5", "o200k_base"),
        ("gpt-6-luna", "o200k_base"),
        ("o3", "o200k_base"),
        ("claude-opus-5-5", "o200k_base"),
        ("", "o200k_base"),
    ],
)
def test_each_generation_has_its_encoding(model, encoding):
    assert encoding_of(model) == encoding


@pytest.mark.parametrize(
    ("text", "model", "counted"),
    [
        ("", "gpt-4o", 0),
        ("hello world", "gpt-4o", 2),
        ("antidisestablishmentarianism", "gpt-4", 6),
        ("お誕生日おめでとう", "gpt-4", 9),
        ("お誕生日おめでとう", "gpt-4o", 8),
        ("<|endoftext|>", "gpt-4o", 7),  # text, not the mark itself
    ],
)
async def test_known_texts_have_known_counts(text, model, counted):
    assert await TOKENIZER.count(text, model) == counted


@pytest.mark.parametrize(("model", "counted"), [("gpt-4", 129), ("gpt-4o", 124)])
async def test_the_cookbooks_example_comes_to_what_the_api_says(model, counted):
    messages = [
        {"role": role, "content": content, **({"name": name} if name else {})} for role, name, content in EXAMPLE
    ]
    assert await TOKENIZER.messages(letter(messages), model) == counted


USER = {"role": "user", "content": "Hi"}
CALL = {"id": "c", "type": "function", "function": {"name": "look", "arguments": '{"at":1}'}}
CUSTOM = {"id": "c", "type": "custom", "custom": {"name": "look", "input": "at it"}}
TOOLS = [{"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}]
FORM = {"type": "json_schema", "json_schema": {"name": "form", "schema": {"type": "object"}}}


@pytest.mark.parametrize(
    ("messages", "members", "texts", "more"),
    [
        ([{"role": "user", "content": [{"type": "text", "text": "a b"}, {"type": "text", "text": "c"}]}], {},
         ["a b", "c"], 4),
        ([{"role": "assistant", "content": [{"type": "refusal", "refusal": "no way"}]}], {}, ["no way"], 4),
        ([{"role": "assistant", "refusal": "no way"}], {}, ["no way"], 4),
        ([{"role": "assistant", "content": None, "tool_calls": [CALL]}], {}, ["look", '{"at":1}'], 4),
        ([{"role": "assistant", "tool_calls": [CUSTOM]}], {}, ["look", "at it"], 4),
        ([{"role": "assistant", "tool_calls": [{**CALL, "function": {"name": "look"}}]}], {}, ["look"], 4),
        ([{"role": "assistant", "function_call": {"name": "look", "arguments": "{}"}}], {}, ["look", "{}"], 4),
        ([{"role": "assistant", "function_call": {"name": "look"}}], {}, ["look"], 4),
        ([{"role": "tool", "tool_call_id": "c", "content": "done"}], {}, ["done"], 4),
        ([{"role": "function", "name": "look", "content": "done"}], {}, ["look", "done"], 5),
        ([{"role": "function", "name": "look", "content": None}], {}, ["look"], 5),
        ([USER], {"tools": TOOLS}, ["Hi", json.dumps(TOOLS)], 4),
        ([USER], {"functions": [TOOLS[0]["function"]]}, ["Hi", json.dumps([TOOLS[0]["function"]])], 4),
        ([USER], {"response_format": FORM}, ["Hi", json.dumps(FORM)], 4),
        ([USER], {"tools": None, "response_format": None}, ["Hi"], 4),
        ([], {}, [], 0),
    ],
)  # fmt: skip
async def test_a_prompt_is_all_that_is_told_to_the_model(messages, members, texts, more):
    assert await prompt(*messages, **members) == 3 + more + sum([await size(text) for text in texts])


@pytest.mark.parametrize(
    "part",
    [
        {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * 100_000}},
        {"type": "input_audio", "input_audio": {"data": "A" * 100_000, "format": "wav"}},
        {"type": "file", "file": {"file_data": "A" * 100_000}},
    ],
    ids=lambda part: part["type"],
)
async def test_what_is_not_text_counts_as_a_picture(part):
    text = {"type": "text", "text": "Hi"}
    assert await prompt({"role": "user", "content": [text, part]}) == await prompt(USER) + TYPICAL_IMAGE


@pytest.mark.parametrize("raw", [b'{"model":"m","messages":5}', b'{"model":"m","x":"\xff"}'])
async def test_a_request_that_cannot_be_opened_is_counted_as_it_stands(raw):
    assert await TOKENIZER.messages(envelope.seal(raw), "gpt-4o") == await size(raw.decode("utf-8", "replace"))


async def test_the_loop_goes_on_while_a_megabyte_is_counted():
    counting = asyncio.ensure_future(size("the quick brown fox " * 50_000))
    turns = 0
    while not counting.done():
        await asyncio.sleep(0)
        turns += 1
    assert turns > 10
    assert 200_000 <= await counting <= 200_000 + 2 * 1_000_000 // 16_384


@pytest.mark.parametrize("text", ["a", " ", "\n", "漢", "\N{COMBINING ACUTE ACCENT}"])
async def test_a_megabyte_of_the_same_letter_is_counted(text):
    assert 0 < await size(text * (1_000_000 // len(text.encode()))) <= 1_000_000


@UNHURRIED
@given(st.text(st.characters(codec=None, categories=["L", "Cs", "Cc"])))  # lone surrogates too
def test_any_text_can_be_counted(text):
    assert asyncio.run(size(text)) <= len(text.encode("utf-8", "surrogatepass"))


async def test_several_may_count_at_once():
    tokenizer = Tokenizer()
    texts = ["a b c", "d e", "f"] * 10
    models = ["gpt-4", "gpt-4o"] * 15
    counted = await asyncio.gather(*map(tokenizer.count, texts, models))
    assert counted == [3, 2, 1] * 10


def run_python(code: str, **environ: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environ, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_it_is_loaded_when_it_is_first_asked():
    code = "import sys, proxy.tokenizer as t; t.Tokenizer(); print('tiktoken' in sys.modules)"
    assert run_python(code) == "False"


@pytest.mark.parametrize("elsewhere", [{}, {"TIKTOKEN_CACHE_DIR": ""}, {"TIKTOKEN_CACHE_DIR": "/nowhere"}], ids=str)
def test_nothing_is_fetched_and_the_environment_stays_as_it_was(elsewhere):
    code = (
        "import asyncio, os, proxy.tokenizer as t\n"
        "count = t.Tokenizer().count\n"
        "print(*[asyncio.run(count('zwölf', model)) for model in ('gpt-4', 'gpt-4o')])\n"
        "print(repr(os.environ.get('TIKTOKEN_CACHE_DIR')))"
    )
    out = run_python(code, HTTPS_PROXY="http://127.0.0.1:9", PYTHONUTF8="1", **elsewhere)
    assert out.splitlines() == ["3 2", repr(elsewhere.get("TIKTOKEN_CACHE_DIR"))]
