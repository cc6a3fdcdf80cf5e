"""The URL of Redis: one server, or Sentinels; what is wrong is told and not shown."""

import pytest

from proxy.store.redis_address import AddressError, Sentinels, read
from tests.test_house import run_python

CANARY = "canary"


@pytest.mark.parametrize("url", ["redis://h:1/0", "rediss://u:p@h", "unix:///run/redis.sock?db=1"])
def test_a_server_is_left_to_the_client(url: str) -> None:
    assert read(url) is None


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("redis+sentinel://h/tolls", ((("h", 26379),), "tolls", 0, None, None, False)),
        ("redis+sentinel://h/tolls/", ((("h", 26379),), "tolls", 0, None, None, False)),
        ("rediss+sentinel://h:1/tolls/3", ((("h", 1),), "tolls", 3, None, None, True)),
        (
            "redis+sentinel://us%40er:p%2Fw%3A@one:1,two,[::1]:3,[fe80::1]/to%20lls/12",
            ((("one", 1), ("two", 26379), ("::1", 3), ("fe80::1", 26379)), "to lls", 12, "us@er", "p/w:", False),
        ),
        ("redis+sentinel://:word@h/tolls", ((("h", 26379),), "tolls", 0, None, "word", False)),
    ],
)
def test_sentinels_are_asked_for_a_service(url: str, expected: tuple[object, ...]) -> None:
    found = read(url)
    assert found is not None
    assert (found.hosts, found.service, found.db, found.user, found.password, found.tls) == expected
    assert repr(found) == "<sentinels>"


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("host:6379", "such as redis://HOST:6379/0"),
        ("http://u:canary@h", "such as redis://HOST:6379/0"),
        ("redis+cluster://u:canary@h:1", "of a cluster"),
        ("rediss+srv://u:canary@h:1", "redis, rediss, unix, redis+sentinel or rediss+sentinel"),
        *(
            (f"redis+sentinel://{rest}", "HOST:PORT,HOST:PORT/SERVICE/DB")
            for rest in (
                *("", "h", "h/", "h/tolls/x", "h/tolls/1/2", "/tolls", "h:canary/tolls", "h,/tolls", ",h/tolls"),
                *(
                    "canary@h/tolls",
                    "u:canary@/tolls",
                    "u:can/ary@h/tolls",
                    "::1/tolls",
                    "h/tolls?canary=1",
                    "[]/tolls",
                ),
            )
        ),
    ],
)
def test_what_is_none_is_refused_and_not_shown(url: str, says: str) -> None:
    with pytest.raises(AddressError) as caught:
        read(url)
    assert says in str(caught.value)
    assert CANARY not in str(caught.value)


def test_to_look_at_a_url_loads_no_client() -> None:
    assert run_python("import sys, proxy.store.redis_address; print('redis' in sys.modules)") == "False"


def test_its_password_does_not_show_itself() -> None:
    found = Sentinels(hosts=(("h", 1),), service="s", db=0, user=CANARY, password=CANARY, tls=False)
    assert CANARY not in f"{found!r} {found}"
