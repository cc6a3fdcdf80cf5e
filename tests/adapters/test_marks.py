"""One look at a body finds what a look for each word by itself would find."""

import json
import re

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters import ADAPTERS, envelope, marks
from adapters.base import NOTHING, Capabilities, Target

WORDS = (
    *("role", "name", "tools", "functions", "output_config", "response_format", "generationConfig", "cache_control"),
    *("1h", "24h", "12h", "prediction", "audio", "google_search", "googleSearch", "developer", "thinking_blocks"),
    *("extra_content", "reasoning_content", "reasoning_details", "thought_signature", "provider_specific_fields"),
)
BEGINNINGS = ("web_search", "image", "input_", "video", "file", "media", "document", "inline", "tool_call")
SOUND = "audio"  # is a word, and begins others


def is_there(body: bytes, mark: str) -> bool:
    """As each was looked for by itself. Nothing is in a text, where a quote is escaped."""
    return re.search(rb'(?<!\\)"' + mark.encode(), body) is not None


NAMES = st.sampled_from([*WORDS, *BEGINNINGS, "image_url", "audio_url", "tool_calls", "content", "rol", "xname"])
TEXTS = NAMES | st.text() | NAMES.map(lambda name: f'{{"{name}": "\\"{name}')
JSON = st.recursive(
    st.none() | st.integers() | TEXTS, lambda inner: st.lists(inner) | st.dictionaries(NAMES | st.text(), inner)
)


@given(JSON, st.booleans())
def test_it_finds_what_is_there(value, ascii):
    body = json.dumps(value, ensure_ascii=ascii).encode()
    found = marks.read(body)
    told = {word.decode() for word in found.words}
    for word in WORDS:
        assert not is_there(body, f'{word}"') or f'{word}"' in told, word
    for word in BEGINNINGS:
        assert not is_there(body, word) or word in told, word
    assert not is_there(body, SOUND) or told & {"audio", 'audio"'}
    assert all(f'"{word}'.encode() in body for word in told), "and nothing else"
    assert (found.roles, found.names) == (body.count(b'"role"'), body.count(b'"name"'))
    assert found.unicode == (b"\\u" in body)
    assert found.escaped == (re.search(rb"\\u00(3[0-9]|[4-7])", body) is not None)
    assert found.plain is not (found.media or found.tools or found.unicode)
    assert found.bare is (told <= {'role"'} and not found.unicode)


@given(st.lists(TEXTS.filter(lambda text: "\\" not in json.dumps(text)), max_size=40), st.integers(0, 40))
def test_a_long_body_is_told_as_the_short_one_that_is_cut_out_of_its_long_text(texts, place):
    texts.insert(place, "")
    short, long = (json.dumps([text or "." * size for text in texts]).encode() for size in (1, marks.LONG))
    assert marks.read(long) == marks.read(short)


@pytest.mark.parametrize("quotes", [14, 15, 16, 17, 18])
def test_a_word_behind_many_quotes_of_a_long_body_is_found(quotes):
    assert marks.read(b"." * marks.LONG + b'"' * quotes + b'"tools":').words == {b'tools"'}


def test_words_that_touch_are_both_found_in_a_long_body():
    assert marks.read(b"." * marks.LONG + b'"image"tools"').words == {b"image", b'tools"'}


def test_a_long_body_without_any_quote_has_no_words():
    assert marks.read(b"." * marks.LONG).words == set()


@pytest.mark.parametrize("word", [*(f'{word}"' for word in WORDS), *BEGINNINGS, SOUND])
def test_each_word_is_found_alone(word):
    assert marks.read(f'["{word}'.encode()).words == {word.encode()}


@pytest.mark.parametrize(
    ("body", "media", "searches", "tools", "state"),
    [
        (b'{"content":"an image, and \\"role\\" and tools"}', False, False, False, False),
        (b'{"type":"image_url"}', True, False, False, False),
        (b'{"type":"input_audio"}', True, False, False, False),
        (b'{"audio":{"id":"a"}}', True, False, False, False),
        (b'{"audio_url":"a"}', True, False, False, False),
        (b'{"web_search_options":{}}', True, True, False, False),
        (b'{"googleSearch":{}}', False, True, False, False),
        (b'{"google_search":{}}', False, True, False, False),
        (b'{"tools":[]}', False, False, True, False),
        (b'{"\\u0074ools":[]}', True, False, False, False),
        (b'{"generationConfig":{}}', False, False, True, False),
        (b'{"thinking_blocks":[]}', False, False, False, True),
    ],
)
def test_what_the_words_tell(body, media, searches, tools, state):
    found = marks.read(body)
    assert (found.media, found.searches, found.tools, found.state) == (media, searches, tools, state)


@pytest.mark.parametrize("turns", [1, 16, 32, 33, 500])
def test_long_conversations_are_told_like_short_ones(turns):
    told = {"": (False, False, True), ',{"type":"image_url"}': (True, False, False), r',"\u0436"': (False, True, False)}
    for more, expected in told.items():
        found = marks.read(b"[%b%b]" % (b",".join([b'{"role":"user","name":"n"}'] * turns), more.encode()))
        assert (found.roles, found.names) == (turns, turns)
        assert (found.media, found.unicode, found.plain) == expected


def test_what_is_remembered_of_words_is_not_that_of_long_conversations():
    def kept() -> int:
        return marks._told.cache_info().currsize

    marks.read(b'["role"]')
    before = kept()
    for turns in range(40, 45):
        marks.read(json.dumps(["role"] * turns).encode())
    assert kept() == before


# --- outlines

CODE = 'x = {"role": "a\\n", "image": "b"}\n' * 800


def sealed(members: dict, **style) -> envelope.Envelope:
    return envelope.seal(json.dumps({"model": "m", **members}, **style).encode())


def outline(letter: envelope.Envelope) -> bytes:
    return marks.outline(letter.raw, letter.fields, letter.style)


SAYS_MUCH = {"messages": [{"role": "system", "content": "image"}, {"role": "user", "content": CODE}], "n": 1}


def test_names_that_a_client_makes_up_are_not_remembered_where_they_are_long() -> None:
    known = marks._around.cache_info().currsize
    for length in (1_000, 2_000):
        assert marks.around(2, "m" * length) == marks.read(b'"role" "role"')
    assert marks._around.cache_info().currsize == known


@pytest.mark.parametrize("separators", [(",", ":"), (", ", ": ")], ids=["as in JavaScript", "as in Python"])
def test_long_texts_that_are_full_of_quotes_are_cut_short(separators):
    letter = sealed(SAYS_MUCH, separators=separators)
    short = outline(letter)
    assert len(short) < 300 < len(letter.raw)
    assert short.startswith(letter.raw[:80])
    assert b'"n"' in short
    found, short_found = marks.read(letter.raw), marks.read(letter.raw, short)
    assert letter.marks == short_found
    assert short_found.words <= found.words
    assert short_found.words == {b'role"', b"image"}
    assert (short_found.roles, short_found.names) == (2, 0)


def parts(*more: dict) -> dict:
    return {"messages": [{"role": "user", "content": [{"type": "text", "text": CODE}, *more]}]}


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param(json.dumps({"model": "m"}).encode(), id="no messages"),
        pytest.param(json.dumps({"model": "m", "messages": [], "x": "a" * 20_000}).encode(), id="no quotes"),
        pytest.param(json.dumps({"model": "m", "messages": [{"content": '"x"' * 100}]}).encode(), id="not long"),
        pytest.param(json.dumps({"model": "m", "messages": [{"content": CODE[:99]}] * 300}).encode(), id="many"),
        pytest.param(json.dumps({"model": "m", "messages": [CODE]}).encode(), id="no messages at all"),
        pytest.param(json.dumps({"model": "m", "messages": [{"content": CODE}]}, indent=1).encode(), id="odd spaces"),
        pytest.param(
            b'{"model":"m","messages":[{"content":[{"type":"image_url"}],"content":%b}]}' % json.dumps(CODE).encode(),
            id="a member that is there twice",
        ),
        pytest.param(
            b'{"model":"m","messages":[{"content":%b}],"n":1,"n":2}' % json.dumps(CODE).encode(),
            id="a member of the request that is there twice",
        ),
        pytest.param(
            b'{"model":"m","messages":[{"c\\u006fntent":%b}]}' % json.dumps(CODE).encode(), id="a name in escapes"
        ),
    ],
)
def test_else_the_outline_is_the_whole(raw):
    letter = envelope.seal(raw)
    assert outline(letter) is letter.raw
    assert letter.marks == marks.read(raw)


def test_what_is_no_text_stays_whole():
    letter = sealed(parts({"type": "image_url", "image_url": {"url": "https://x"}}))
    assert b'"image_url"' in outline(letter)
    assert letter.marks.media


def in_no_text(body: bytes) -> bytes:
    """The body without what looks like a word and is a piece of a text."""
    return body.replace(b"\\\\", b"").replace(b'\\"', b"")


@given(st.lists(st.dictionaries(NAMES, TEXTS | st.lists(TEXTS), max_size=4), max_size=4), st.booleans())
def test_no_word_of_a_letter_is_lost_in_its_outline(messages, compact):
    style = {"separators": (",", ":")} if compact else {}
    letter = sealed({"messages": [*messages, {"role": "user", "content": CODE}]}, **style)
    assert len(outline(letter)) < len(letter.raw)
    found, whole, least = letter.marks, marks.read(letter.raw), marks.read(in_no_text(letter.raw))
    assert least.words <= found.words <= whole.words
    assert least.roles <= found.roles <= whole.roles
    assert least.names <= found.names <= whole.names


SAID = [
    {"messages": [{"role": "user", "content": "Hi"}]},
    {"messages": [{"role": "user", "content": CODE}]},
    {"messages": [{"role": "developer", "content": "Hi"}, {"role": "user", "content": "Hi", "name": "me"}]},
    {
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": CODE, "cache_control": {"type": "ephemeral"}}]}
        ]
    },
    {
        "messages": [{"role": "user", "content": "Hi"}],
        "tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}],
        "stream": True,
    },
]


@pytest.mark.parametrize("vendor", ["openai", "anthropic", "gemini"])
@pytest.mark.parametrize("said", SAID, ids=["few words", "many", "names", "a cache mark", "tools"])
@pytest.mark.parametrize("escaped", [False, True], ids=["plain", "escaped"])
def test_a_request_leaves_with_the_marks_of_its_body(said, vendor, escaped):
    letter = sealed(said)
    if escaped:
        letter = envelope.seal(letter.raw.replace(b'"role"', rb'"r\u006fle"'))
    target = Target(
        provider=vendor, vendor=vendor, model="other", capabilities=Capabilities(), context=100_000, max_output=1_000
    )
    call = ADAPTERS[vendor, "chat"].request(letter, target, NOTHING)
    whole = marks.read(in_no_text(call.body))
    assert call.marks is not None
    assert call.marks.words >= whole.words
    assert call.marks.roles >= whole.roles > 0
    assert call.marks.names >= whole.names


BARE = [
    ([{"role": "user", "content": "Say \"role\" and 'media'."}], True),
    ([{"role": "system", "content": "Be brief."}, {"role": "user", "content": [{"type": "text", "text": "Hi"}]}], True),
    ([{"role": role, "content": "a" * 9_000} for role in ("system", "user", "assistant", "user")], True),
    ([{"role": "user", "content": 'No end: "role'}], False),
    ([{"role": "user", "content": 'An "image'}], False),
    ([{"role": "user", "content": "A bell: \a"}], False),
    ([{"role": role, "content": "-" * 70 + CODE} for role in ("user", "assistant", "user")], False),
]


@pytest.mark.parametrize("model", ["m", "image-1", 'a"b'])
@pytest.mark.parametrize("vendor", ["anthropic", "gemini"])
@pytest.mark.parametrize(("messages", "bare"), BARE)
def test_where_no_text_has_a_word_in_it_the_body_has_the_marks_of_what_is_around_them(messages, bare, vendor, model):
    letter = envelope.seal(msgspec.json.encode({"model": "m", "messages": messages, "max_tokens": 7, "user": "u"}))
    target = Target(
        provider=vendor, vendor=vendor, model=model, capabilities=Capabilities(), context=100_000, max_output=1_000
    )
    call = ADAPTERS[vendor, "chat"].request(letter, target, NOTHING)
    assert letter.bare(len(messages)) is bare
    whole = marks.read(call.body)
    assert call.marks is not None
    assert call.marks == whole if bare else call.marks.words <= whole.words


@pytest.mark.parametrize("asked", [{"reasoning_effort": "high"}, {"tool_choice": "none", "parallel_tool_calls": True}])
@pytest.mark.parametrize("vendor", ["anthropic", "gemini"])
def test_words_that_only_the_vendor_has_for_what_is_asked_are_found(asked, vendor):
    able = Capabilities(thinking=("adaptive",), efforts=("low", "high"))
    target = Target(provider=vendor, vendor=vendor, model="m", capabilities=able, context=100_000, max_output=1_000)
    letter = envelope.seal(msgspec.json.encode({"model": "m", "messages": [{"role": "user", "content": "?"}], **asked}))
    call = ADAPTERS[vendor, "chat"].request(letter, target, NOTHING)
    assert letter.bare(1)
    assert call.marks == marks.read(call.body)


@given(JSON, st.booleans())
def test_what_was_spelled_has_the_same_marks_with_its_texts_cut_short(value, long):
    spelled = {"messages": [value], "more": CODE if long else ""}
    body = msgspec.json.encode(spelled)
    found, whole, least = marks.of(body, spelled, 1), marks.read(body), marks.read(in_no_text(body))
    assert least.words <= found.words <= whole.words
    assert least.roles <= found.roles <= whole.roles
    assert least.names <= found.names <= whole.names
    assert marks.of(body, spelled, len(body)) == marks.read(body)
