"""Who may come in, whatever the header holds: with keys of the environment, with managed ones, and with none."""

from collections.abc import AsyncIterator, Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.base import Failure, Kind
from proxy.auth import NOBODY, Caller, Keyring, permitted
from proxy.environment import Secret
from proxy.keys import Terms
from proxy.quota import Quota
from proxy.roster import PREFIX, Roster
from tests.proxy.accounts import Hand
from tests.proxy.plain_board import Paper, PlainBoard
from tests.proxy.replicas import NOW, until

RING = Keyring([Secret("first-key"), Secret("second-key")])
WRONG = "Incorrect API key provided."


@pytest.mark.parametrize(
    "header", ["Bearer first-key", "Bearer second-key", "bearer first-key", "BEARER first-key", "Bearer   first-key  "]
)
def test_a_key_of_the_ring_is_let_in(header):
    assert RING.admit(header).key in RING.names


def test_keys_are_counted_by_the_beginning_of_their_digest():
    first, second = RING.names
    assert RING.admit("Bearer first-key") == Caller(key=first)
    assert RING.admit("Bearer second-key") == Caller(key=second)
    assert first == "key-9e24b553" != second
    assert Keyring(()).admit(None) is NOBODY


@pytest.mark.parametrize(
    "header",
    [
        pytest.param(None, id="no header"),
        pytest.param("", id="an empty one"),
        pytest.param("   ", id="spaces"),
        pytest.param("Bearer", id="a scheme alone"),
        pytest.param("Bearer  ", id="a scheme and spaces"),
        pytest.param("first-key", id="a key without a scheme"),
        pytest.param("Basic first-key", id="another scheme"),
        pytest.param(" Bearer first-key", id="something before the scheme"),
        pytest.param("Bearer:first-key", id="a colon for a space"),
    ],
)
def test_without_a_bearer_key_one_is_asked_for(header):
    assert "You didn't provide an API key" in refusal(RING, header).message


@pytest.mark.parametrize(
    "header",
    [
        pytest.param("Bearer first-ke", id="almost"),
        pytest.param("Bearer First-Key", id="in another case"),
        pytest.param("Bearer first-key second-key", id="two at once"),
        pytest.param("Bearer first-key\x00", id="with a null"),
        pytest.param("Bearer Bearer first-key", id="twice bearer"),
        pytest.param("Bearer schl\xfcssel", id="latin-1"),
        pytest.param("Bearer \u043a\u043b\u044e\u0447", id="Cyrillic"),
        pytest.param("Bearer \ud800\udc80", id="surrogates"),
        pytest.param("Bearer " + "k" * 1_000_000, id="very long"),
    ],
)
async def test_a_wrong_key_is_refused(header, roster):
    for ring in (RING, Keyring([Secret("first-key")], roster), Keyring((), roster, managed=True)):
        if ring is RING or "first-key" not in header:
            assert refusal(ring, header).message == WRONG


def refusal(ring: Keyring, header: str | None) -> Failure:
    with pytest.raises(Failure) as caught:
        ring.admit(header)
    failure = caught.value
    assert (failure.kind, failure.status, failure.type, failure.code) == (
        Kind.CALLER,
        401,
        "invalid_request_error",
        "invalid_api_key",
    )
    assert header is None or len(header) < 12 or header not in failure.message, "what was presented is not repeated"
    return failure


@pytest.mark.parametrize("header", [None, "", "Bearer whatever", "\ud800"])
def test_an_empty_ring_is_an_open_door(header):
    ring = Keyring([])
    assert ring.open
    assert ring.admit(header) is NOBODY


def test_a_ring_does_not_hold_the_keys_themselves():
    assert not RING.open
    assert b"first-key" not in repr(vars(RING)).encode()


# ---- managed keys ---------------------------------------------------------------------------------------------------


@pytest.fixture
def clock() -> Hand:
    return Hand(NOW)


@pytest.fixture
def board(clock: Hand) -> PlainBoard:
    return PlainBoard(Paper(clock), look_seconds=0.01)


@pytest.fixture
async def roster(board: PlainBoard, clock: Hand) -> AsyncIterator[Roster]:
    found = Roster(board, None, wall=clock)
    await found.open()
    yield found
    await found.close()


async def test_a_managed_key_says_who_comes_in(roster: Roster) -> None:
    terms = Terms(user="u", agent="a", team="t", models=("gpt*",), requests=5, concurrent=2)
    _, text = await roster.create("alice", terms)
    assert Keyring((), roster).admit(f"Bearer {text}") == Caller(
        key="alice", user="u", agent="a", team="t", models=("gpt*",), quota=Quota(requests=5, concurrent=2)
    )


async def test_keys_of_the_environment_and_managed_ones_are_good_side_by_side(roster: Roster) -> None:
    _, text = await roster.create("alice", Terms())
    ring = Keyring([Secret("first-key")], roster)
    assert ring.admit("Bearer first-key").key == "key-9e24b553"
    assert ring.admit(f"bearer {text} ").key == "alice"
    assert refusal(ring, f"Bearer {text}x").message == WRONG
    assert ring.names == ("key-9e24b553",)


async def test_an_open_ring_closes_with_the_first_key_and_for_good(roster: Roster) -> None:
    ring = Keyring((), roster)
    assert ring.admit(None) is ring.admit("Bearer whatever") is NOBODY
    _, text = await roster.create("alice", Terms())
    assert not ring.open
    assert "didn't provide" in refusal(ring, None).message
    assert refusal(ring, "Bearer whatever").message == WRONG
    assert ring.admit(f"Bearer {text}").key == "alice"
    await roster.revoke("alice")
    assert not ring.open
    assert "didn't provide" in refusal(ring, None).message


async def test_a_managed_ring_was_never_open(roster: Roster) -> None:
    ring = Keyring((), roster, managed=True)
    assert not ring.open
    assert "didn't provide" in refusal(ring, None).message
    assert refusal(ring, "Bearer whatever").message == WRONG
    assert "didn't provide" in refusal(Keyring((), managed=True), None).message
    assert refusal(Keyring((), managed=True), "Bearer whatever").message == WRONG


async def test_the_holder_of_a_key_is_told_why_it_is_refused(roster: Roster, clock: Hand) -> None:
    ring = Keyring((), roster)
    texts = {name: (await roster.create(name, Terms(expires=int(NOW * 1000) + 5)))[1] for name in ("old", "gone")}
    await roster.revoke("gone")
    _, before = await roster.create("new", Terms())
    await roster.rotate("new")
    assert ring.admit(f"Bearer {texts['old']}").key == "old"
    clock.now += 0.005
    assert refusal(ring, f"Bearer {texts['old']}").message == "This API key has expired."
    assert refusal(ring, f"Bearer {texts['gone']}").message == "This API key was revoked."
    assert refusal(ring, f"Bearer {before}").message == "This API key was replaced by a newer one."


async def test_a_key_that_is_revoked_is_refused_by_the_next_request(roster: Roster) -> None:
    _, text = await roster.create("alice", Terms())
    ring = Keyring((), roster)
    for _ in range(3):
        assert ring.admit(f"Bearer {text}").key == "alice"
    await roster.revoke("alice")
    refusal(ring, f"Bearer {text}")


async def test_who_came_in_before_is_known_again_as_long_as_the_key_is_what_it_was(roster: Roster) -> None:
    _, text = await roster.create("alice", Terms(user="u"))
    ring = Keyring((), roster)
    first = ring.admit(f"Bearer {text}")
    assert ring.admit(f"Bearer {text}") is first
    await roster.change("alice", Terms(user="v", requests=3))
    assert ring.admit(f"Bearer {text}") == Caller(key="alice", user="v", quota=Quota(requests=3))
    await roster.change("alice", Terms(user="v", requests=0))
    assert ring.admit(f"Bearer {text}") == Caller(key="alice", user="v")


async def test_who_came_in_before_is_refused_once_the_time_of_the_key_is_over(roster: Roster, clock: Hand) -> None:
    ring, ends = Keyring((), roster), int(NOW * 1000)
    _, old = await roster.create("old", Terms(expires=ends + 5_000))
    _, before = await roster.create("new", Terms(expires=ends + 9_000))
    _, after = await roster.rotate("new", grace_seconds=3)
    let_in: dict[str, list[int]] = {text: [] for text in (old, before, after)}
    for _ in range(10):
        for text, seconds in let_in.items():
            try:
                ring.admit(f"Bearer {text}")
            except Failure:
                continue
            seconds.append(round(clock.now - NOW))
        clock.now += 1
    assert list(let_in.values()) == [list(range(5)), list(range(3)), list(range(9))]


async def test_however_a_header_is_spelled_who_came_in_is_not_remembered_without_end(roster: Roster) -> None:
    _, text = await roster.create("alice", Terms())
    ring = Keyring((), roster)
    for spaces in range(1, 4_200):
        assert ring.admit(f"Bearer{' ' * spaces}{text}").key == "alice"
    assert len(vars(ring)["_met"]) <= 4_096
    assert text.encode() not in repr(vars(ring)).encode()


async def test_the_clock_of_the_ring_goes_before_that_of_the_roster(roster: Roster) -> None:
    _, text = await roster.create("alice", Terms(expires=int(NOW * 1000) + 5))
    assert Keyring((), roster, wall=lambda: NOW).admit(f"Bearer {text}").key == "alice"
    assert "expired" in refusal(Keyring((), roster, wall=lambda: NOW + 0.005), f"Bearer {text}").message


# ---- a store that was never read ------------------------------------------------------------------------------------


@pytest.fixture
async def blind(board: PlainBoard, clock: Hand) -> AsyncIterator[Roster]:
    """A roster that has not read its board yet, where a process before it knew of keys."""
    roster = Roster(board, None, wall=clock)
    roster.sealed = True
    yield roster
    await roster.close()


def nobody_knows(act: Callable[[], object]) -> None:
    with pytest.raises(Failure) as caught:
        act()
    failure = caught.value
    assert (failure.kind, failure.status, failure.type, failure.code, failure.retry_after) == (
        Kind.STORE,
        503,
        "server_error",
        "key_store_unavailable",
        1,
    )


async def test_as_long_as_nobody_knows_who_is_a_stranger_none_is_let_in_or_sent_away(blind: Roster) -> None:
    for ring in (Keyring((), blind), Keyring((), blind, managed=True), Keyring([Secret("first-key")], blind)):
        assert not ring.open
        nobody_knows(lambda ring=ring: ring.admit("Bearer sk-th-whatever"))  # type: ignore[misc]  # a bound lambda
    assert Keyring([Secret("first-key")], blind).admit("Bearer first-key").key == "key-9e24b553"


async def test_where_no_key_was_ever_heard_of_a_store_that_is_away_shuts_nobody_out(blind: Roster) -> None:
    blind.sealed = False
    assert Keyring((), blind).open
    assert Keyring((), blind).admit(None) is NOBODY
    assert not Keyring((), blind, managed=True).open
    assert not Keyring([Secret("first-key")], blind).open


async def test_as_long_as_nobody_knows_whether_a_key_is_asked_for_who_has_none_is_asked_to_wait(blind: Roster) -> None:
    nobody_knows(lambda: Keyring((), blind).admit(None))
    assert "didn't provide" in refusal(Keyring((), blind, managed=True), None).message
    assert "didn't provide" in refusal(Keyring([Secret("first-key")], blind), None).message


async def test_a_key_that_was_heard_of_is_good_before_all_was_read(
    blind: Roster, roster: Roster, board: PlainBoard
) -> None:
    _, text = await roster.create("alice", Terms())
    for key, notice in (await board.notices(0)).changed.items():
        blind.hear(key, notice)
    ring = Keyring((), blind)
    assert ring.admit(f"Bearer {text}").key == "alice"
    assert "didn't provide" in refusal(ring, None).message, "there is a key: one is asked for"
    nobody_knows(lambda: ring.admit("Bearer other"))
    await roster.revoke("alice")
    blind.hear(PREFIX + "alice", (await board.notices(0)).changed[PREFIX + "alice"])
    assert "revoked" in refusal(ring, f"Bearer {text}").message


async def test_once_the_store_was_read_the_ring_is_as_it_should_be(board: PlainBoard, clock: Hand) -> None:
    board.away = True
    roster = Roster(board, None, wall=clock)
    roster.sealed = True
    await roster.open()
    ring = Keyring((), roster)
    nobody_knows(lambda: ring.admit(None))
    board.away = False
    await until(lambda: ring.open)
    assert ring.admit(None) is NOBODY
    board.away = True
    assert ring.admit(None) is NOBODY
    await roster.close()


# ---- models ---------------------------------------------------------------------------------------------------------


def test_who_may_ask_for_all_models_may_ask_for_any():
    permitted(NOBODY, "gpt-4o")
    permitted(Caller(models=("gpt-4o*", "openai/*")), "gpt-4o-mini")
    permitted(Caller(models=("gpt-4o*", "openai/*")), "openai/o3")


@pytest.mark.parametrize(
    ("models", "asked", "said"),
    [
        pytest.param(("gpt-4o*", "auto"), "o3", "'o3'. It may ask for: gpt-4o*, auto.", id="another model"),
        pytest.param(("a",), "x" * 999, f"'{'x' * 200}'. It may", id="a very long name"),
        pytest.param(tuple(map(str, range(25))), "o3", ", 18, 19 and 5 more.", id="many patterns"),
        pytest.param(tuple(map(str, range(20))), "o3", ", 18, 19.", id="as many as are shown"),
    ],
)
def test_who_may_not_ask_for_a_model_is_told_what_for(models, asked, said):
    with pytest.raises(Failure) as caught:
        permitted(Caller(key="alice", models=models), asked)
    failure = caught.value
    assert (failure.kind, failure.status, failure.type, failure.code, failure.param) == (
        Kind.CALLER,
        403,
        "invalid_request_error",
        "model_not_allowed",
        "model",
    )
    assert said in failure.message


@given(st.one_of(st.none(), st.text(max_size=80)))
def test_no_header_opens_a_ring_nor_breaks_it(header):
    with pytest.raises(Failure, match="API key"):
        RING.admit(header)
