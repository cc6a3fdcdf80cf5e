"""Where a request comes from, by what browsers say; and which names are this machine's own."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.admin.origin import SAFE, local, loopback, ours

HOST = "tollhouse.example:8080"


@pytest.mark.parametrize(
    ("headers", "said"),
    [
        pytest.param({}, None, id="a program says nothing"),
        pytest.param({"sec-fetch-site": "same-origin"}, True, id="a page of ours"),
        pytest.param({"sec-fetch-site": "same-site"}, False, id="a page of a neighbour"),
        pytest.param({"sec-fetch-site": "cross-site"}, False, id="a page of somebody else"),
        pytest.param({"sec-fetch-site": "none"}, None, id="a person, by hand"),
        pytest.param({"sec-fetch-site": "later-word"}, False, id="a word that is not known yet"),
        pytest.param({"origin": f"https://{HOST}"}, True, id="our origin, with TLS that a proxy took off"),
        pytest.param({"origin": f"http://{HOST.upper()}"}, True, id="our origin in capitals"),
        pytest.param({"origin": "https://evil.example"}, False, id="another origin"),
        pytest.param({"origin": f"https://{HOST}.evil.example"}, False, id="an origin that begins as ours"),
        pytest.param({"origin": "https://tollhouse.example:8081"}, False, id="another port of our host"),
        pytest.param({"origin": "null"}, False, id="a page without an origin"),
        pytest.param({"origin": ""}, False, id="an empty origin"),
        pytest.param({"origin": f"file://{HOST}"}, False, id="an origin of another scheme"),
        pytest.param({"origin": "http://[::1"}, False, id="an origin that is none"),
        pytest.param(
            {"sec-fetch-site": "cross-site", "origin": f"https://{HOST}"},
            False,
            id="fetch metadata go first",
        ),
        pytest.param(
            {"sec-fetch-site": "none", "origin": "https://evil.example"},
            False,
            id="where they are silent it holds",
        ),
    ],
)
def test_whether_a_page_of_ours_asks(headers, said):
    assert ours({"host": HOST, **headers}) is said


def test_without_a_host_no_origin_is_ours():
    assert ours({"origin": "http://"}) is False
    assert ours({"origin": "http://", "host": ""}) is False


@pytest.mark.parametrize(
    ("host", "is_local"),
    [
        ("localhost", True),
        ("LOCALHOST:8080", True),
        ("tollhouse.localhost:8080", True),
        ("127.0.0.1:8080", True),
        ("127.200.3.4", True),
        ("[::1]:8080", True),
        ("[::ffff:127.0.0.1]", True),
        ("localhost.", False),
        ("notlocalhost", False),
        ("localhost.evil.example", False),
        ("evil.example:8080", False),
        ("user@evil.example", False),
        ("127.0.0.1.evil.example", False),
        ("2130706433", False),
        ("127.1", False),
        ("10.0.0.1", False),
        ("[::1", False),
        ("::1", False),
        ("", False),
        (":8080", False),
    ],
)
def test_which_names_are_this_machines_own(host, is_local):
    assert local(host) is is_local


@pytest.mark.parametrize(
    ("address", "is_loopback"),
    [("127.0.0.1", True), ("::1", True), ("::ffff:127.9.9.9", True), ("::ffff:10.0.0.1", False), ("testclient", False)],
)
def test_which_addresses_are_this_machines_own(address, is_loopback):
    assert loopback(address) is is_loopback


@given(st.text(), st.text(), st.text())
def test_no_header_makes_it_fail(site, origin, host):
    assert ours({"sec-fetch-site": site, "origin": origin, "host": host}) in (True, False, None)
    assert local(host) in (True, False)


def test_methods_that_change_nothing():
    assert frozenset({"GET", "HEAD", "OPTIONS"}) == SAFE
