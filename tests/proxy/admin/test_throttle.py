"""How often a key may be guessed from one address."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.admin.throttle import ADDRESSES, MOST, WINDOW, Throttle

HOME = "203.0.113.7"


def guessed(times: int, address: str = HOME, at: float = 1_000.0) -> Throttle:
    throttle = Throttle()
    for _ in range(times):
        throttle.failed(address, at)
    return throttle


def test_the_tenth_wrong_key_closes_the_door_until_the_first_is_a_minute_old():
    assert (MOST, WINDOW) == (10, 60.0)
    assert guessed(MOST - 1).wait(HOME, 1_000.0) == 0
    closed = guessed(MOST)
    assert closed.wait(HOME, 1_000.0) == 60
    assert closed.wait(HOME, 1_059.5) == 0.5
    assert closed.wait(HOME, 1_060.0) == 0


def test_wrong_keys_count_while_they_are_younger_than_a_minute():
    throttle = Throttle()
    for second in range(MOST):
        throttle.failed(HOME, second * 10.0)
    assert throttle.wait(HOME, 95.0) == 0
    throttle.failed(HOME, 95.0)
    assert throttle.wait(HOME, 95.0) == 0
    for _ in range(5):
        throttle.failed(HOME, 95.0)
    assert throttle.wait(HOME, 95.0) == 60 + 60 - 95


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        pytest.param("203.0.113.7", "203.0.113.8", False, id="two IPv4 addresses are two"),
        pytest.param("::ffff:203.0.113.7", "203.0.113.7", True, id="an IPv4 address is one however it is written"),
        pytest.param("2001:db8::1", "2001:db8::ffff:1", True, id="an IPv6 network is one"),
        pytest.param("2001:db8::1", "2001:db8:0:1::1", False, id="two IPv6 networks are two"),
        pytest.param("", "", True, id="who has no address is one with all who have none"),
        pytest.param("", "203.0.113.7", False, id="who has none is nobody else"),
        pytest.param("testclient", "testclient", True, id="a name is a name"),
    ],
)
def test_who_counts_as_one(one, other, same):
    assert bool(guessed(MOST, one).wait(other, 1_000.0)) is same


def test_memory_is_bounded_and_who_was_wrong_longest_ago_is_forgotten_first():
    throttle = guessed(MOST)
    for number in range(ADDRESSES - 1):
        throttle.failed(f"10.0.{number >> 8}.{number & 255}", 1_001.0)
    assert throttle.wait(HOME, 1_001.0) > 0
    throttle.failed(HOME, 1_001.0)  # again: it is the latest now
    throttle.failed("192.0.2.1", 1_001.0)
    assert throttle.wait(HOME, 1_001.0) > 0
    for number in range(ADDRESSES):
        throttle.failed(f"10.1.{number >> 8}.{number & 255}", 1_001.0)
    assert throttle.wait(HOME, 1_001.0) == 0
    assert len(throttle._wrong) == ADDRESSES


@given(st.lists(st.floats(0, 300), min_size=1, max_size=60).map(sorted), st.floats(0, 400))
def test_whoever_waits_as_long_as_he_is_told_is_heard(times, later):
    throttle = Throttle()
    for at in times:
        throttle.failed(HOME, at)
    now = max(later, times[-1])
    wait = throttle.wait(HOME, now)
    assert 0 <= wait <= WINDOW
    recent = [at for at in times if now - at < WINDOW]
    assert (wait > 0) == (len(recent) >= MOST)
    assert throttle.wait(HOME, now + wait + 1e-6) == 0
