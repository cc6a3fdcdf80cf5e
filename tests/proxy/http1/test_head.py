"""Heads: what a request begins with, and what an answer's headers are read through."""

import pytest

from proxy.http1 import head as heads
from proxy.http1.head import Head, Headers
from proxy.http1.proxies import read
from proxy.http1.route import route


def lines(head: bytes) -> list[bytes]:
    assert head.endswith(b"\r\n\r\n")
    return head.removesuffix(b"\r\n\r\n").split(b"\r\n")


def test_a_head_names_host_path_and_length_and_all_that_is_always_sent() -> None:
    head = Head(route("https://api.example:8443/v1/"), {"Authorization": "Bearer k", "accept": "*/*"})
    for length in (2, 0, 123456):
        assert lines(head.made("/chat?a=%2F", length)) == [
            b"POST /v1/chat?a=%2F HTTP/1.1",
            b"host: api.example:8443",
            b"authorization: Bearer k",
            b"accept: */*",
            b"content-length: %d" % length,
        ]


def test_a_calls_own_headers_win_over_those_that_are_always_sent() -> None:
    head = Head(route("http://x"), {"accept": "a", "key": "b"})
    assert lines(head.made("/", 1, {"traceparent": "t"})) == [
        b"POST / HTTP/1.1", b"host: x", b"accept: a", b"key: b", b"content-length: 1", b"traceparent: t",
    ]  # fmt: skip
    assert lines(head.made("/", 1, {"Accept": "c", "traceparent": "t"})) == [
        b"POST / HTTP/1.1", b"host: x", b"accept: c", b"key: b", b"traceparent: t", b"content-length: 1",
    ]  # fmt: skip
    assert b"accept: a" in head.made("/", 1), "the next request has its own"


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("http://x:80", b"x"),
        ("https://x:443", b"x"),
        ("http://x:443", b"x:443"),
        ("http://[::1]:11434/v1", b"[::1]:11434"),
        ("https://[::1]", b"[::1]"),
        ("http://API.Example", b"api.example"),
    ],
)
def test_the_host_is_named_with_its_port_if_that_says_anything(url: str, host: bytes) -> None:
    assert lines(Head(route(url), {}).made("/", 0))[1] == b"host: " + host


def test_a_proxy_that_reads_the_request_is_told_whose_it_is() -> None:
    head = Head(route("http://api.example:81/v1", read({"HTTP_PROXY": "http://u:p@proxy:3128"})), {"k": "v"})
    assert lines(head.made("/chat", 0)) == [
        b"POST http://api.example:81/v1/chat HTTP/1.1",
        b"host: api.example:81",
        b"proxy-authorization: Basic dTpw",
        b"k: v",
        b"content-length: 0",
    ]


@pytest.mark.parametrize("path", ["", "x", "/a b", "/a\r\nx: y", "/a\n", "/\u00e4", "/\x00", "/\x7f"])
def test_a_path_that_would_break_out_of_its_line_is_refused(path: str) -> None:
    with pytest.raises(ValueError, match="no path"):
        Head(route("http://x"), {}).made(path, 0)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("x", "a\r\nb: c"),
        ("x", "a\nb"),
        ("x", "a\x00"),
        ("x", "\u20ac"),
        ("x:", "a"),
        ("", "a"),
        ("x y", "a"),
        ("x\n", ""),
    ],
)
def test_a_header_that_would_break_out_of_its_line_is_refused_and_not_shown(name: str, value: str) -> None:
    with pytest.raises(ValueError, match=r"^no header$"):
        Head(route("http://x"), {}).made("/", 0, {name: value})
    with pytest.raises(ValueError, match=r"^no header$"):
        Head(route("http://x"), {name: value}).made("/", 0)


def test_paths_are_remembered_and_not_without_end() -> None:
    head = Head(route("http://x"), {})
    assert head.made("/a", 1) == head.made("/a", 1)
    for number in range(3000):
        assert lines(head.made(f"/{number}", 1))[0] == b"POST /%d HTTP/1.1" % number
    assert len(head._starts) <= 1024


def test_headers_are_found_in_any_case_and_the_first_of_those_that_repeat() -> None:
    headers = Headers({b"X-Request-Id": b"a", b"content-type": b"b", b"x-request-id": b"c", b"x": b"\xe4"})
    assert headers["content-type"] == headers["Content-Type"] == headers.get("CONTENT-TYPE") == "b"
    assert headers["X-Request-ID"] == "a"
    assert headers["x"] == "\u00e4"
    assert sorted(headers) == ["content-type", "x", "x-request-id"]
    assert len(headers) == 3
    assert "x-Request-id" in headers
    assert "y" not in headers
    assert headers.get("y") is None
    assert headers.get("y", "z") == "z"
    with pytest.raises(KeyError):
        headers["\u20ac"]


def test_answers_whose_headers_have_the_same_names_do_not_share_their_values() -> None:
    one, other = Headers({b"X-Request-Id": b"a", b"x": b"1"}), Headers({b"X-Request-Id": b"b", b"x": b"2"})
    for _ in range(2):  # learned, and then known
        assert (one["x-request-id"], other["x-request-id"]) == ("a", "b")
        assert (one.get("x"), other.get("X")) == ("1", "2")
        assert "y" not in one
    assert Headers({b"x": b"3", b"y": b"4"})["y"] == "4"
    assert sorted(one) == ["x", "x-request-id"], "what was asked for in vain is not among them"
    assert len(one) == 2


def test_which_of_two_spellings_came_first_is_not_forgotten() -> None:
    for _ in range(2):
        assert Headers({b"A": b"1", b"a": b"2"})["a"] == "1"
        assert Headers({b"a": b"2", b"A": b"1"})["a"] == "2"


def test_spellings_are_remembered_and_not_without_end() -> None:
    for number in range(500):
        headers = Headers({b"x-%d" % number: b"1"})
        assert headers[f"X-{number}"] == "1"
    assert 0 < len(heads._spellings) <= heads._MOST_SPELLINGS
    for number in range(500):
        assert headers.get(f"y-{number}") is None
        assert headers.get(f"X-{499 - number}") == ("1" if number == 0 else None)
    assert max(map(len, heads._spellings.values())) <= heads._MOST_ASKED
    long = b"x" * heads._LONGEST_NAMES
    assert Headers({long: b"1"}).get(long.decode()) == "1"
    assert Headers({long: b"1", b"z": b"2"}).get("Z") == "2"
    assert (long,) in heads._spellings
    assert (long, b"z") not in heads._spellings
