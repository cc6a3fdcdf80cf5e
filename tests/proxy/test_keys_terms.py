"""What is asked of a key, as people write it: read strictly, and complained about by the name of its member."""

from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy import keys
from proxy.keys import Draft, Fault, Patch, Terms
from proxy.keys.terms import LATEST, MOST, MOST_PATTERNS, moment, named
from proxy.spending import nano

NOW = 1_795_000_000_000  # 2026-11-18T11:06:40Z
HOUR = 3_600_000


def read(**members: Any) -> Terms:
    patch = msgspec.json.decode(msgspec.json.encode(members), type=Patch)
    return keys.read(patch, NOW, nano)


@pytest.mark.parametrize(
    ("member", "said", "field", "found"),
    [
        ("user", "alice", "user", "alice"),
        ("agent", "editor", "agent", "editor"),
        ("team", "Nachrichten & Wetter", "team", "Nachrichten & Wetter"),
        ("expires", "90d", "expires", NOW + 90 * 24 * HOUR),
        ("models", ["gpt-4o*", "auto", "gpt-4o*"], "models", ("gpt-4o*", "auto")),
        ("models", ["*"], "models", ("*",)),
        ("daily", "12.50", "daily", 12_500_000_000),
        ("monthly", 3, "monthly", 3_000_000_000),
        ("requests_per_minute", 1, "requests", 1),
        ("tokens_per_minute", MOST, "tokens", MOST),
        ("concurrent", 7, "concurrent", 7),
    ],
)
def test_a_member_is_read_in_the_words_of_a_key(member, said, field, found):
    assert read(**{member: said}) == Terms(**{field: found})


def test_what_is_not_said_is_not_set():
    assert read() == Terms()
    assert read().said == ()
    assert read(user="a", concurrent=None).said == ("user", "concurrent")


def test_null_takes_each_of_them_away():
    assert read(**dict.fromkeys(Patch.__struct_fields__)) == Terms(
        user="", agent="", team="", expires=0, models=(), daily=0, monthly=0, requests=0, tokens=0, concurrent=0
    )


@pytest.mark.parametrize(
    ("member", "said", "words"),
    [
        pytest.param("user", "", "1 to 128 printable characters", id="an empty name"),
        pytest.param("user", " alice", "without spaces around", id="a space before it"),
        pytest.param("agent", "a\nb", "printable", id="a line's end"),
        pytest.param("team", "x" * 129, "1 to 128", id="a very long name"),
        pytest.param("expires", "soon", "expected a duration", id="a word for a time"),
        pytest.param("expires", "0d", "a time to come", id="no time at all"),
        pytest.param("models", [], "1 to 100 patterns; null for all", id="no pattern, which would be all of them"),
        pytest.param("models", ["a"] * (MOST_PATTERNS + 1), "1 to 100 patterns", id="more patterns than there may be"),
        pytest.param("models", [""], "1 to 200 printable", id="an empty pattern"),
        pytest.param("models", ["a b"], "without a space", id="a pattern with a space"),
        pytest.param("models", ["a\t"], "printable", id="a pattern with a tab"),
        pytest.param("models", ["a" * 201], "1 to 200", id="a very long pattern"),
        pytest.param("daily", "0", "expected USD", id="a budget of nothing"),
        pytest.param("monthly", -1, "expected USD", id="a budget below zero"),
        pytest.param("daily", "5 USD", "expected USD", id="a budget with its currency"),
        pytest.param("requests_per_minute", 0, "1 to 1000000000; null for no limit", id="no request"),
        pytest.param("tokens_per_minute", MOST + 1, "1 to 1000000000", id="too many tokens"),
        pytest.param("concurrent", -1, "1 to 1000000000", id="fewer than none"),
    ],
)
def test_what_cannot_be_had_is_told_with_its_member(member, said, words):
    with pytest.raises(Fault) as caught:
        read(**{member: said})
    assert caught.value.param == member
    assert str(caught.value).startswith(f"{member}: ")
    assert words in str(caught.value)


def test_the_most_that_may_be_said_can_be_said():
    assert read(team="x" * 128).team == "x" * 128
    patterns = [f"{number:0200}" for number in range(MOST_PATTERNS)]
    assert read(models=patterns).models == tuple(patterns)


@pytest.mark.parametrize(
    "body",
    [
        pytest.param({"budget": "1"}, id="a member that nobody knows"),
        pytest.param({"name": "other"}, id="another name"),
        pytest.param({"user": 5}, id="a number for a name"),
        pytest.param({"models": "gpt-4o"}, id="a word for a list"),
        pytest.param({"daily": 0.5}, id="money as a float"),
        pytest.param({"concurrent": "5"}, id="a word for a number"),
        pytest.param({"requests_per_minute": True}, id="yes for a number"),
        pytest.param([], id="a list"),
    ],
)
def test_a_body_of_another_shape_is_not_taken(body):
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(msgspec.json.encode(body), type=Patch)


def test_a_draft_is_a_patch_with_a_name():
    draft = msgspec.json.decode(b'{"name": "alice", "user": "a"}', type=Draft)
    assert (draft.name, keys.read(draft, NOW, nano)) == ("alice", Terms(user="a"))
    with pytest.raises(msgspec.ValidationError, match="name"):
        msgspec.json.decode(b"{}", type=Draft)
    with pytest.raises(msgspec.ValidationError, match="colour"):
        msgspec.json.decode(b'{"name": "alice", "colour": 1}', type=Draft)


# ---- names ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["a", "0", "alice", "team-news.editor_2", "a" * 63, "key", "keyring", "my-key-1"])
def test_a_name_that_a_key_may_have(name):
    assert named(name) == name


@pytest.mark.parametrize(
    "name", ["", "Alice", "-a", ".a", "_a", "a" * 64, "a b", "a/b", "é", "٣", "a\n", "*", "key-9e24b553", "key-"]
)
def test_a_name_that_no_key_may_have(name):
    with pytest.raises(Fault, match=r"^name: ") as caught:
        named(name)
    assert caught.value.param == "name"


# ---- moments --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "after"),
    [
        ("1s", 1_000),
        ("5m", 300_000),
        ("12h", 12 * HOUR),
        ("90d", 90 * 24 * HOUR),
        ("2w", 14 * 24 * HOUR),
        ("99999w", 99_999 * 7 * 24 * HOUR),
        ("2026-11-19", 12 * HOUR + 53 * 60_000 + 20_000),
        ("2026-11-18T12:06Z", 59 * 60_000 + 20_000),
        ("2026-11-18T12:06:40", HOUR),
        ("2026-11-18T12:06:40.25Z", HOUR + 250),
        ("2026-11-18T12:06:40+00:30", HOUR // 2),
        ("2026-11-18T10:06:40-02:00", HOUR),
        ("9999-12-31T23:59:59.999Z", LATEST - NOW),
    ],
)
def test_a_moment_is_a_time_from_now_or_one_of_the_calendar(text, after):
    assert moment(text, NOW) == NOW + after


@pytest.mark.parametrize(
    "text",
    ["", "d", "90", "90 d", "-1d", "100000d", "1y", "٣d", "1.5h", "tomorrow", "2026-13-01", "2026-02-30", "20261119",
     "2026-11-19 10:00", "2026-11-19T10", "2026-11-19T25:00Z", "2026-11-19T10:00:00.1234567Z", "2026-11-19T10:00Z\n",
     "2026-11-19T10:00+99:00", "2026-W47-1", "1795000000"],
)  # fmt: skip
def test_what_is_no_moment_is_told_what_one_is(text):
    with pytest.raises(ValueError, match='expected a duration such as "90d"'):
        moment(text, NOW)


@pytest.mark.parametrize(
    "text", ["0s", "2026-11-18", "2026-11-18T11:06:40Z", "0001-01-01T00:00+23:59", "9999-12-31T23:59:59-23:59"]
)
def test_a_moment_that_is_over_or_beyond_all_years_is_not_taken(text):
    with pytest.raises(ValueError, match="a time to come"):
        moment(text, NOW)


@given(st.datetimes(min_value=datetime(2026, 11, 19), max_value=datetime(9999, 12, 31)))
def test_what_we_write_we_read(at):
    at = at.replace(microsecond=at.microsecond // 1000 * 1000, tzinfo=UTC)
    millis = (at - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds() * 1000
    shown = keys.to_json(keys.Key(name="a", digest="", hint="", created=0, expires=round(millis)), NOW)["expires"]
    assert moment(shown, NOW) == round(millis)


@given(st.text(max_size=40))
def test_any_text_is_a_time_to_come_or_a_value_error(text):
    with suppress(ValueError):
        assert NOW < moment(text, NOW) <= LATEST
