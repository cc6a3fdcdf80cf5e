"""Sessions: what a cookie is good for, and for how long."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.admin.session import LONGEST, SECONDS, Sessions, sign, valid
from proxy.environment import Secret

KEY = "an admin key"
NOW = 1_795_435_200


def test_a_session_is_good_for_half_an_hour():
    text = sign(KEY, NOW, "nonce")
    assert SECONDS == 1_800
    assert valid(text, KEY, NOW) == valid(text, KEY, NOW + 1_799) == NOW + 1_800
    assert valid(text, KEY, NOW + 1_800) is None


def test_another_admin_key_ends_it():
    assert valid(sign(KEY, NOW, "nonce"), "another admin key", NOW) is None


def test_it_says_nothing_of_the_admin_key():
    text = sign(KEY, NOW, "nonce")
    assert KEY not in text
    assert base64.b64encode(KEY.encode()).decode() not in text
    assert text.startswith(f"{NOW + SECONDS}.{NOW}.nonce.")
    assert len(text.rpartition(".")[2]) == 64


@pytest.mark.parametrize(
    "text",
    [
        "",
        ".",
        "..",
        "9999999999",
        "9999999999.nonce",
        "9999999999.nonce.",
        "9999999999.nonce." + "0" * 64,
        "x.nonce." + "0" * 64,
        "\udcff.\udcff.\udcff",
        "٢.nonce.٢",
    ],
)
def test_what_is_no_session(text):
    assert valid(text, KEY, NOW) is None


@given(st.integers(0, 130), st.characters())
def test_no_character_of_it_can_be_changed(place, other):
    text = sign(KEY, NOW, "0123456789abcdef0123456789abcdef")
    place %= len(text)
    forged = text[:place] + other + text[place + 1 :]
    assert valid(forged, KEY, NOW) == (NOW + SECONDS if forged == text else None)


@given(st.text(), st.text(), st.integers(0, 2**40))
def test_no_text_and_no_key_make_it_fail(text, key, now):
    assert valid(text, key, now) is None
    assert valid(sign(key, now, "nonce"), key, now) == now + SECONDS


def test_each_session_is_another():
    sessions = Sessions(Secret(KEY), wall=lambda: NOW + 0.5)
    one, two = sessions.begin(), sessions.begin()
    assert one != two
    assert sessions.expiry(one) == sessions.expiry(two) == NOW + SECONDS
    assert sessions.now() == NOW + 0.5


def test_a_session_goes_on_for_twelve_hours_and_no_longer_however_often_it_is_renewed():
    """Whoever has stolen a cookie could go on with it for ever."""
    wall = [NOW]
    sessions = Sessions(Secret(KEY), wall=lambda: wall[0])
    text = sessions.begin() or ""
    while wall[0] < NOW + LONGEST - 1:
        wall[0] = (sessions.expiry(text) or 0) - 1
        text = sessions.renewed(text) or ""
    assert sessions.expiry(text) == NOW + LONGEST == NOW + 43_200
    wall[0] += 1
    assert sessions.renewed(text) is None


@pytest.mark.parametrize("text", ["", "x", "9999999999.1.nonce." + "0" * 64])
def test_what_is_no_session_is_not_renewed(text):
    assert Sessions(Secret(KEY), wall=lambda: NOW).renewed(text) is None
    assert Sessions(None, wall=lambda: NOW).renewed(sign("", NOW, "nonce")) is None


def test_replicas_know_each_others_sessions():
    one, two = (Sessions(Secret(KEY), wall=lambda: NOW) for _ in range(2))
    assert two.expiry(one.begin()) == NOW + SECONDS


def test_without_an_admin_key_there_are_no_sessions():
    sessions = Sessions(None, wall=lambda: NOW)
    assert sessions.begin() is None
    assert sessions.expiry(sign("", NOW, "nonce")) is None
    assert Sessions(Secret(KEY), wall=lambda: NOW).expiry(None) is None


def test_who_has_guessed_is_remembered_beyond_a_change_of_the_key():
    before = Sessions(Secret(KEY), wall=lambda: NOW)
    before.throttle.failed("203.0.113.7", NOW)
    assert Sessions(Secret("new"), wall=lambda: NOW, throttle=before.throttle).throttle is before.throttle
