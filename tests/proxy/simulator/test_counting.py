"""Tokens as OpenAI counts them, limits to the token, and what a vendor bills that does not keep to them."""

import random

import httpx
import openai
import pytest
import tiktoken

from proxy.simulator import Simulator
from proxy.simulator.counting import RANKS, Bytes, O200k

TEXTS = (
    "",
    "alpha beta gamma",
    "naïve 漢字 🙂 Ελλάς e\u0301 👩‍👩‍👧 здравствуй ﷺ " * 9,
    "def f(x):\n\n        return {'a': [1, 22, 333_333]}\n\t\r\n" * 5,
    "    \n\n\n   \n word\n      ",
    "<|endoftext|>",
    "x" * 300,
    "र्ऀ" * 3,  # a token of it holds half a character: without that half the rest is two tokens
    "\ud800 half a pair",
)


@pytest.fixture(scope="module")
def encoding():
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TIKTOKEN_CACHE_DIR", str(RANKS))
        yield tiktoken.get_encoding("o200k_base")


@pytest.fixture(scope="module")
def exact():
    with Simulator.start(tokens="o200k") as simulator:
        yield simulator


@pytest.fixture
def vendors(exact):
    exact.reset()
    return exact


@pytest.fixture
def oa(vendors):
    with openai.OpenAI(base_url=vendors.openai, api_key="key", max_retries=0, timeout=10) as client:
        yield client


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("rule", [Bytes(), O200k()], ids=["bytes", "o200k"])
def test_a_head_is_a_head_of_whole_characters_within_its_measure(rule, text):
    said = text.encode("utf-8", "ignore").decode()
    for most in range(1, rule.count(text) + 2):
        head = rule.head(said, most)
        assert said.startswith(head)
        assert rule.count(head) <= most
    assert rule.head(said, rule.count(said)) == said


def test_a_head_is_as_long_as_the_measure_allows(encoding):
    """But for characters of more than one token, of which there is no half."""
    text = "alpha beta gamma delta, epsilon: zeta\neta theta " * 40
    for most in range(1, 300):
        assert len(encoding.encode_ordinary(O200k().head(text, most))) == most


def test_texts_are_counted_as_tiktoken_counts_them(encoding):
    assert [O200k().count(text) for text in TEXTS] == [len(encoding.encode_ordinary(text)) for text in TEXTS]


def published(encoding, messages):
    """OpenAI's own `num_tokens_from_messages`, as its cookbook has it."""
    total = 3
    for message in messages:
        total += 3
        for key, value in message.items():
            total += len(encoding.encode(value)) + (key == "name")
    return total


@pytest.mark.parametrize(
    "messages",
    [
        [{"role": "user", "content": "hi"}],
        [{"role": "system", "content": "Be brief. 漢字"}, {"role": "user", "name": "alice_w", "content": "words 3"}],
        [{"role": role, "content": f"turn {n}"} for n, role in enumerate(("user", "assistant", "user"))],
    ],
)
def test_a_prompt_of_openai_counts_by_the_published_formula(oa, encoding, messages):
    usage = oa.chat.completions.create(model="gpt-4o", messages=messages).usage
    assert usage.prompt_tokens == published(encoding, messages)


@pytest.mark.parametrize("limit", [1, 7, 31])
@pytest.mark.parametrize("text", ["words 60", "unicode words 60"])
def test_a_limit_is_kept_to_the_token(oa, encoding, text, limit):
    messages = [{"role": "user", "content": text}]
    answer = oa.chat.completions.create(model="gpt-4o", messages=messages, max_tokens=limit)
    said = len(encoding.encode_ordinary(answer.choices[0].message.content))
    assert said == answer.usage.completion_tokens
    assert limit - 3 <= said <= limit  # a character of these texts has at most four tokens
    assert answer.choices[0].finish_reason == "length"


def test_a_stream_that_is_left_is_billed_for_the_text_delivered(vendors, oa, encoding):
    vendors.fault("openai", "hang_midstream", after_events=6, tag="left")
    stream = oa.chat.completions.create(
        model="gpt-4o", messages=[{"role": "user", "content": "tag=left unicode words 50"}], stream=True
    )
    heard = "".join(next(stream).choices[0].delta.content for _ in range(6))
    stream.close()
    assert vendors.wait("openai", ledger=1)
    assert vendors.ledger()[0]["usage"]["out_text"] == len(encoding.encode_ordinary(heard)) > 5


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(("unbounded", "finish"), [(True, "stop"), (False, "length")])
def test_an_unbounded_answer_ignores_the_limit_and_is_billed_in_full(vendors, oa, encoding, stream, unbounded, finish):
    text = "alpha beta " * 50
    vendors.script("openai", {"text": text, "unbounded": unbounded})
    asked = {"model": "gpt-4o", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 5}
    if stream:
        choices = [c.choices[0] for c in oa.chat.completions.create(**asked, stream=True)]
        said, last = "".join(c.delta.content or "" for c in choices), choices[-1].finish_reason
    else:
        choice = oa.chat.completions.create(**asked).choices[0]
        said, last = choice.message.content, choice.finish_reason
    assert (said == text, last) == (unbounded, finish)
    (entry,) = vendors.ledger()
    assert entry["usage"]["out_text"] == len(encoding.encode_ordinary(said))


def test_the_other_vendors_count_four_tokens_a_message_beside_its_words(exact, encoding):
    said = len(encoding.encode_ordinary("hi there"))
    turn = {"role": "user", "content": "hi there"}
    asked = {"model": "claude-haiku-4-5", "max_tokens": 9, "messages": [turn, turn]}
    assert post(exact.anthropic, "/v1/messages", asked)["usage"]["input_tokens"] == 2 * (said + 4)
    contents = {"contents": [{"role": "user", "parts": [{"text": "hi there"}]}] * 2}
    answer = post(exact.gemini, "/v1beta/models/gemini-2.5-flash:generateContent", contents)
    assert answer["usageMetadata"]["promptTokenCount"] == 2 * (said + 4)


def words(length):
    rng = random.Random(length)
    return " ".join(rng.choice(("naïve", "alpha", "漢字", "1234567", "(x, y)")) for _ in range(length))


TOOL = {"type": "object", "properties": {"a": {"type": "integer", "description": words(9)}}}


@pytest.mark.parametrize("simulated", ["exact", "running"])
def test_what_is_counted_beforehand_is_what_is_billed(request, simulated):
    """Anthropic's count_tokens and Gemini's countTokens, over text, pictures, tools, results and system prompts."""
    vendors = request.getfixturevalue(simulated)
    picture = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
    source = {"type": "base64", "media_type": "image/png", "data": picture}
    asked = {
        "model": "claude-haiku-4-5",
        "system": [{"type": "text", "text": words(40), "cache_control": {"type": "ephemeral"}}],
        "tools": [{"name": "f", "input_schema": TOOL}],
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": words(7)}, {"type": "image", "source": source}]},
            {"role": "assistant", "content": [{"type": "tool_use", "id": "t1", "name": "f", "input": {"a": 1}}]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t1", "content": words(20)}]},
        ],
    }
    counted = post(vendors.anthropic, "/v1/messages/count_tokens", asked)["input_tokens"]
    usage = post(vendors.anthropic, "/v1/messages", {**asked, "max_tokens": 50})["usage"]
    cached = usage["cache_creation_input_tokens"] + usage["cache_read_input_tokens"]
    assert counted == usage["input_tokens"] + cached > 100
    contents = {
        "systemInstruction": {"parts": [{"text": words(40)}]},
        "tools": [{"functionDeclarations": [{"name": "f", "parametersJsonSchema": TOOL}]}],
        "contents": [
            {"role": "user", "parts": [{"text": words(90)}, {"inlineData": {"mimeType": "image/png", "data": picture}}]}
        ],
    }
    model = "/v1beta/models/gemini-3-flash-preview"
    inner = {"generateContentRequest": {"model": model.removeprefix("/v1beta/"), **contents}}
    total = post(vendors.gemini, f"{model}:countTokens", inner)["totalTokens"]
    metadata = post(vendors.gemini, f"{model}:generateContent", contents)["usageMetadata"]
    assert total == metadata["promptTokenCount"] > 100


def post(base, path, body):
    heads = {"x-api-key": "k", "x-goog-api-key": "k", "anthropic-version": "2023-06-01"}
    response = httpx.post(base + path, json=body, headers=heads)
    assert response.status_code == 200, response.text
    return response.json()
