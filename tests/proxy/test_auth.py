"""Who may come in, whatever the header holds."""

import pytest

from adapters.base import Failure, Kind
from proxy.auth import Keyring
from proxy.environment import Secret

RING = Keyring([Secret("first-key"), Secret("second-key")])


@pytest.mark.parametrize(
    "header", ["Bearer first-key", "Bearer second-key", "bearer first-key", "BEARER first-key", "Bearer   first-key  "]
)
def test_a_key_of_the_ring_is_let_in(header):
    assert RING.admit(header) in RING.names


def test_keys_are_counted_by_the_beginning_of_their_digest():
    first, second = RING.names
    assert RING.admit("Bearer first-key") == first == "key-9e24b553"
    assert RING.admit("Bearer second-key") == second != first
    assert Keyring(()).admit(None) == ""


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
    assert "You didn't provide an API key" in refusal(header).message


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
def test_a_wrong_key_is_refused(header):
    assert refusal(header).message == "Incorrect API key provided."


def refusal(header: str | None) -> Failure:
    with pytest.raises(Failure) as caught:
        RING.admit(header)
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
    ring.admit(header)


def test_a_ring_does_not_hold_the_keys_themselves():
    assert not RING.open
    assert b"first-key" not in repr(vars(RING)).encode()
