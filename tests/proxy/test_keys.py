"""What is kept of a managed key, how it comes, changes and goes, and who may do what with it."""

import hashlib
import hmac
import math
import re
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from proxy import keys
from proxy.budget import Budget
from proxy.keys import Fault, Key, Terms
from proxy.quota import Quota

NOW = 1_795_000_000_000
PEPPER = b"p" * 32
DIGEST, OTHER, THIRD = (keys.digest(f"sk-th-{word}", PEPPER) for word in ("one", "two", "three"))
KEY = Key(name="alice", digest=DIGEST, hint="-one", created=NOW)
FULL = Terms(
    user="alice",
    agent="editor",
    team="news",
    expires=NOW + 1,
    models=("gpt-4o*",),
    daily=5,
    monthly=7,
    requests=1,
    tokens=2,
    concurrent=3,
)


# ---- how it comes, changes and goes ---------------------------------------------------------------------------------


def test_a_new_key_has_the_terms_that_were_asked_for():
    key = keys.created("alice", FULL, DIGEST, "-one", NOW)
    assert key == Key(
        name="alice",
        digest=DIGEST,
        hint="-one",
        created=NOW,
        revision=1,
        user="alice",
        agent="editor",
        team="news",
        expires=NOW + 1,
        models=("gpt-4o*",),
        daily=5,
        monthly=7,
        quota=Quota(requests=1, tokens=2, concurrent=3),
    )
    assert keys.created("alice", Terms(), DIGEST, "-one", NOW) == KEY


def test_a_new_key_has_no_name_that_it_may_not_have():
    with pytest.raises(Fault, match=r"^name: "):
        keys.created("Alice", Terms(), DIGEST, "-one", NOW)


def test_what_is_not_said_stays_as_it_is():
    key = keys.created("alice", FULL, DIGEST, "-one", NOW)
    after = keys.changed(key, Terms(user="bob", tokens=9))
    assert after == replace(key, user="bob", quota=Quota(requests=1, tokens=9, concurrent=3), revision=2)


def test_what_is_taken_away_is_gone():
    key = keys.created("alice", FULL, DIGEST, "-one", NOW)
    nothing = Terms(
        user="", agent="", team="", expires=0, models=(), daily=0, monthly=0, requests=0, tokens=0, concurrent=0
    )
    assert keys.changed(key, nothing) == replace(KEY, revision=2)


def test_the_same_terms_change_nothing():
    key = keys.created("alice", FULL, DIGEST, "-one", NOW)
    assert keys.changed(key, FULL) is key
    assert keys.changed(key, Terms()) is key


def test_of_a_key_that_is_rotated_the_text_before_is_good_for_a_while():
    key = keys.rotated(KEY, OTHER, "-two", NOW, 1_000)
    assert (key.name, key.created, key.hint, key.revision) == ("alice", NOW, "-two", 2)
    assert keys.state(key, OTHER, NOW) == "good"
    assert keys.state(key, DIGEST, NOW + 999) == "good"
    assert keys.state(key, DIGEST, NOW + 1_000) == "replaced"
    assert keys.state(keys.rotated(KEY, OTHER, "-two", NOW, 0), DIGEST, NOW) == "replaced"


def test_of_a_key_that_is_rotated_twice_the_first_text_is_forgotten():
    key = keys.rotated(keys.rotated(KEY, OTHER, "-two", NOW, 1_000), THIRD, "hree", NOW, 1_000)
    assert [keys.state(key, digest, NOW) for digest in (DIGEST, OTHER, THIRD)] == ["unknown", "good", "good"]


def test_a_key_that_is_revoked_stays_so_since_the_first_time():
    key = keys.revoked(KEY, NOW)
    assert (key.revoked, key.revision) == (NOW, 2)
    assert keys.revoked(key, NOW + 5) is key
    assert keys.revoked(KEY, 0).revoked, "0 would be never"


# ---- where states came apart ----------------------------------------------------------------------------------------

GONE = keys.revoked(KEY, NOW)


@pytest.mark.parametrize(
    ("known", "heard", "holds"),
    [
        pytest.param(KEY, GONE, GONE, id="it is revoked elsewhere"),
        pytest.param(GONE, replace(KEY, revision=9), GONE, id="it was revoked here, and changed elsewhere since"),
        pytest.param(KEY, replace(KEY, revision=2), replace(KEY, revision=2), id="it was changed elsewhere"),
        pytest.param(replace(KEY, revision=3), replace(KEY, revision=2), replace(KEY, revision=3), id="and here, more"),
        pytest.param(
            replace(KEY, user="a"), replace(KEY, user="b"), replace(KEY, user="b"), id="as often: what is heard"
        ),
        pytest.param(GONE, replace(GONE, revision=3), replace(GONE, revision=3), id="revoked on both sides"),
    ],
)
def test_a_state_prevails(known, heard, holds):
    assert keys.prevailing(known, heard) == holds


states = st.builds(
    lambda revision, revoked, user: replace(KEY, revision=revision, revoked=revoked, user=user),
    st.integers(1, 4),
    st.sampled_from([0, 1, 2]),
    st.sampled_from("ab"),
)


@given(st.lists(states, min_size=1, max_size=6))
def test_a_key_that_somebody_has_revoked_is_so_whoever_is_heard_last(heard):
    known = heard[0]
    for one in heard:
        known = keys.prevailing(known, one)
    assert bool(known.revoked) == any(one.revoked for one in heard)
    assert known in heard


# ---- who may come in ------------------------------------------------------------------------------------------------


def test_a_digest_is_the_hmac_of_what_is_presented():
    assert keys.digest("sk-th-x", PEPPER) == hmac.new(PEPPER, b"sk-th-x", hashlib.sha256).hexdigest()
    assert re.fullmatch("[0-9a-f]{64}", keys.digest("\ud800", PEPPER))
    assert keys.digest("sk-th-x", b"q" * 32) != keys.digest("sk-th-x", PEPPER)


@pytest.mark.parametrize(
    ("key", "digest", "now", "state"),
    [
        pytest.param(KEY, DIGEST, NOW, "good", id="it fits"),
        pytest.param(KEY, OTHER, NOW, "unknown", id="another one"),
        pytest.param(KEY, "", NOW, "unknown", id="nothing, where there was no text before"),
        pytest.param(replace(KEY, expires=NOW + 1), DIGEST, NOW, "good", id="a moment before it expires"),
        pytest.param(replace(KEY, expires=NOW), DIGEST, NOW, "expired", id="as it expires"),
        pytest.param(replace(KEY, expires=NOW), OTHER, NOW, "unknown", id="another one tells nobody that it expired"),
        pytest.param(GONE, DIGEST, NOW - 10**9, "revoked", id="revoked, whatever the clock says"),
        pytest.param(replace(GONE, expires=1), DIGEST, NOW, "revoked", id="revoked and expired"),
        pytest.param(GONE, OTHER, NOW, "unknown", id="another one tells nobody that it was revoked"),
    ],
)
def test_what_there_is_to_say_to_who_presents_a_key(key, digest, now, state):
    assert keys.state(key, digest, now) == state
    assert keys.good(key, digest, now) == (state == "good")


@given(st.integers(0, 3), st.integers(0, 3), st.integers(0, 3), st.integers(0, 3))
def test_who_is_let_in_has_a_text_that_is_good_now(now, expires, revoked, until):
    key = replace(KEY, expires=expires, revoked=revoked, digest_before=OTHER, before_until=until)
    alive = not revoked and not 0 < expires <= now
    assert keys.good(key, DIGEST, now) == alive
    assert keys.good(key, OTHER, now) == (alive and now < until)


@given(*(st.integers(0, 30) for _ in range(4)))
def test_whoever_is_good_stays_so_until_he_is_looked_at_again(now, expires, before, later):
    key = replace(KEY, expires=expires, digest_before=OTHER, before_until=before)
    for digest in (DIGEST, OTHER):
        if keys.good(key, digest, now) and later < keys.until(key, now):
            assert keys.good(key, digest, later)
    assert keys.until(key, now) > now


def test_a_key_without_an_end_need_not_be_looked_at_again():
    assert keys.until(KEY, 5) == math.inf
    ends = replace(KEY, expires=9, before_until=7)
    assert [keys.until(ends, now) for now in (5, 7)] == [7, 9]


@pytest.mark.parametrize(
    ("models", "asked", "allowed"),
    [
        pytest.param((), "gpt-4o", True, id="no patterns: all"),
        pytest.param(("gpt-4o",), "gpt-4o", True, id="its name"),
        pytest.param(("gpt-4o",), "gpt-4o-mini", False, id="the beginning of its name"),
        pytest.param(("gpt-4o*",), "gpt-4o-mini", True, id="a star"),
        pytest.param(("claude-*", "gpt-4o*"), "gpt-4o", True, id="the second of two"),
        pytest.param(("gpt-4o*",), "GPT-4o", False, id="another case"),
        pytest.param(("gpt-4o*",), "openai/gpt-4o", False, id="pinned to a provider, which nobody allowed"),
        pytest.param(("openai/*",), "openai/gpt-4o", True, id="all of a provider, pinned"),
        pytest.param(("openai/*",), "gpt-4o", False, id="all of a provider, not pinned"),
        pytest.param(("auto",), "auto", True, id="an alias"),
        pytest.param(("gpt-[34]*",), "gpt-4o", True, id="a set of letters"),
        pytest.param(("gpt",), "gpt\n", False, id="a line's end behind it"),
        pytest.param(("gpt-4o",), "", False, id="no name"),
    ],
)
def test_a_key_may_ask_for_what_its_patterns_take(models, asked, allowed):
    assert keys.allows(models, asked) is allowed


def test_a_name_longer_than_any_model_has_is_held_against_no_pattern():
    """One of megabytes kept the whole process busy for seconds."""
    assert keys.allows(("a*",), "a" * 400) is True
    assert keys.allows(("a*",), "a" * 401) is False
    assert keys.allows((), "a" * 401) is True


@given(st.text(max_size=30), st.lists(st.text(min_size=1, max_size=10), min_size=1, max_size=3))
def test_a_pattern_never_fails_whatever_is_asked(asked, models):
    assert keys.allows(tuple(models), asked) in (True, False)


def test_its_budgets_bound_what_is_spent_under_its_name():
    assert keys.budgets(KEY) == ()
    assert keys.budgets(replace(KEY, daily=5, monthly=7)) == (
        Budget(limit=5, window="day", dimension="key", value="alice"),
        Budget(limit=7, window="month", dimension="key", value="alice"),
    )
    assert [budget.window for budget in keys.budgets(replace(KEY, monthly=7))] == ["month"]
    assert keys.budgets(replace(GONE, daily=5)), "it ends what it had begun"


# ---- written down ---------------------------------------------------------------------------------------------------

whole = st.builds(
    Key,
    name=st.from_regex(keys.terms.NAME, fullmatch=True),
    digest=st.sampled_from([DIGEST, OTHER]),
    hint=st.text(max_size=4),
    created=st.integers(0, NOW),
    revision=st.integers(1, 100),
    user=st.text(max_size=5),
    expires=st.integers(0, NOW),
    models=st.lists(st.text(max_size=5), max_size=3).map(tuple),
    daily=st.integers(0, 10**15),
    quota=st.builds(Quota, requests=st.integers(0, 9), tokens=st.integers(0, 9), concurrent=st.integers(0, 9)),
    revoked=st.integers(0, NOW),
    digest_before=st.sampled_from(["", OTHER]),
    before_until=st.integers(0, NOW),
)


@given(whole)
def test_a_key_is_read_as_it_was_written(key):
    assert keys.decode(keys.encode(key)) == key


@given(whole, st.integers(0, NOW))
def test_no_digest_is_shown_to_people(key, now):
    shown = msgspec.json.encode(keys.to_json(key, now)).decode()
    assert DIGEST not in shown
    assert OTHER not in shown


def test_what_a_later_version_adds_is_passed_over():
    said = msgspec.json.decode(keys.encode(KEY)) | {"colour": "red"}
    assert keys.decode(msgspec.json.encode(said)) == KEY


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"name": "Alice"}, id="a name that none may have"),
        pytest.param({"digest": ""}, id="no digest"),
        pytest.param({"digest": "g" * 64}, id="a digest that is none"),
        pytest.param({"expires": keys.terms.LATEST + 1}, id="after the year 9999"),
        pytest.param({"created": -1}, id="before 1970"),
        pytest.param({"daily": -1}, id="a budget below zero"),
        pytest.param({"models": "gpt-4o"}, id="models that are no list"),
        pytest.param({"revoked": "no"}, id="a word for a time"),
    ],
)
def test_what_is_no_key_is_not_read(change: dict[str, Any]):
    with pytest.raises(ValueError):  # noqa: PT011  # msgspec's words are not ours
        keys.decode(msgspec.json.encode(msgspec.json.decode(keys.encode(KEY)) | change))


@given(st.binary(max_size=60))
def test_garbage_is_a_value_error(text):
    with pytest.raises(ValueError):  # noqa: PT011  # msgspec's words are not ours
        keys.decode(text)


def test_people_see_all_but_the_digests():
    key = keys.rotated(keys.created("alice", FULL, DIGEST, "-one", NOW), OTHER, "-two", NOW, 60_000)
    assert keys.to_json(replace(key, daily=12_500_000_000), NOW) == {
        "name": "alice",
        "status": "active",
        "hint": "-two",
        "created": "2026-11-18T11:06:40.000Z",
        "user": "alice",
        "agent": "editor",
        "team": "news",
        "expires": "2026-11-18T11:06:40.001Z",
        "models": ["gpt-4o*"],
        "daily": "12.5",
        "monthly": "0.000000007",
        "requests_per_minute": 1,
        "tokens_per_minute": 2,
        "concurrent": 3,
        "revoked": None,
        "previous_until": "2026-11-18T11:07:40.000Z",
    }


def test_what_a_key_does_not_have_is_null():
    shown = keys.to_json(KEY, NOW)
    assert {name for name, value in shown.items() if value is not None} == {"name", "status", "hint", "created"}


@pytest.mark.parametrize(
    ("key", "now", "status"),
    [
        (KEY, NOW, "active"),
        (replace(KEY, expires=NOW), NOW - 1, "active"),
        (replace(KEY, expires=NOW), NOW, "expired"),
        (replace(GONE, expires=NOW), NOW, "revoked"),
    ],
    ids=["without an end", "before its end", "at its end", "revoked, whatever else"],
)
def test_people_see_how_it_stands(key, now, status):
    assert keys.to_json(key, now)["status"] == status


def test_a_text_that_is_good_no_more_is_not_said_to_be():
    key = keys.rotated(KEY, OTHER, "-two", NOW, 60_000)
    assert keys.to_json(key, NOW + 59_999)["previous_until"]
    assert keys.to_json(key, NOW + 60_000)["previous_until"] is None
    assert keys.to_json(keys.revoked(key, NOW), NOW)["previous_until"] is None
