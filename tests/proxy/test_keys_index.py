"""All keys that are known, found by what is presented."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from proxy import keys
from proxy.keys import Key, Terms
from proxy.keys.index import Index, KeyRevoked, KeyUnknown

NOW = 1_795_000_000_000
PEPPER, LATER = b"p" * 32, b"q" * 32


def made(name: str, text: str, pepper: bytes = PEPPER) -> Key:
    return keys.created(name, Terms(), keys.digest(text, pepper), text[-4:], NOW)


ALICE, BOB = made("alice", "sk-alice"), made("bob", "sk-bob")


@pytest.fixture
def index() -> Index:
    found = Index(PEPPER)
    for key in (BOB, ALICE):
        assert found.put(key)
    return found


def test_a_key_is_found_by_its_text_and_by_its_name(index: Index) -> None:
    assert index.find("sk-alice", NOW) is ALICE
    assert index.get("bob") is index.known("bob") is index.live("bob") is BOB
    assert list(index) == [ALICE, BOB]


def test_what_nobody_knows_is_not_found(index: Index) -> None:
    assert index.find("sk-carol", NOW) is index.get("carol") is None
    assert index.find("", NOW) is index.find(ALICE.digest, NOW) is None
    assert index.state("sk-carol", NOW) == "unknown"
    for ask in (index.known, index.live):
        with pytest.raises(KeyUnknown, match="carol"):
            ask("carol")


def test_an_empty_one_knows_nobody() -> None:
    assert not Index()
    assert not Index(PEPPER)
    assert Index().find("sk-alice", NOW) is None
    assert Index().state("sk-alice", NOW) == "unknown"


def test_the_same_key_again_is_no_news(index: Index) -> None:
    assert index
    assert not index.put(replace(ALICE))


def test_of_a_revoked_key_its_holder_is_told(index: Index) -> None:
    assert index.put(keys.revoked(ALICE, NOW))
    assert index.find("sk-alice", NOW) is None
    assert index.state("sk-alice", NOW) == "revoked"
    assert index.known("alice").revoked
    with pytest.raises(KeyRevoked, match="alice"):
        index.live("alice")


def test_a_rotated_key_is_found_by_both_texts_until_the_grace_is_over(index: Index) -> None:
    after = keys.rotated(ALICE, keys.digest("sk-new", PEPPER), "-new", NOW, 10)
    index.put(after)
    assert index.find("sk-alice", NOW + 9) is index.find("sk-new", NOW + 9) is after
    assert index.find("sk-alice", NOW + 10) is None
    assert index.state("sk-alice", NOW + 10) == "replaced"
    index.put(keys.rotated(after, keys.digest("sk-newer", PEPPER), "ewer", NOW, 10))
    assert index.state("sk-alice", NOW) == "unknown"
    assert index.find("sk-new", NOW) is index.find("sk-newer", NOW) is not None


def test_a_key_is_found_whichever_of_the_peppers_it_was_hashed_with(index: Index) -> None:
    carol = made("carol", "sk-carol", LATER)
    index.put(carol)
    assert index.find("sk-carol", NOW) is None
    assert not index.season((LATER,)), "it lacks ours"
    assert index.peppers == (LATER, PEPPER)
    assert index.find("sk-carol", NOW) is carol
    assert index.find("sk-alice", NOW) is ALICE
    assert index.season((PEPPER, LATER)), "in the order of those who told"
    assert index.peppers == (PEPPER, LATER)
    index.put(keys.revoked(carol, NOW))
    assert index.state("sk-carol", NOW) == "revoked"


@given(st.permutations([ALICE, BOB, keys.rotated(ALICE, keys.digest("sk-new", PEPPER), "-new", NOW, 10)]))
def test_what_was_put_last_is_what_there_is(order):
    index = Index(PEPPER)
    for key in order:
        index.put(key)
    last = {key.name: key for key in order}
    assert list(index) == [last["alice"], last["bob"]]
    for text in ("sk-alice", "sk-new", "sk-bob"):
        holders = [key for key in last.values() if keys.good(key, keys.digest(text, PEPPER), NOW)]
        assert [index.find(text, NOW)] == (holders or [None])
