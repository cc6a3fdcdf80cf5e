"""Asking for the admin API, and what is said when something else answers, or nothing: real sockets, no tollhouse."""

import json
import re
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import msgspec
import pytest

from proxy.desk.client import Client, part
from proxy.desk.trouble import NOT_REACHED, USAGE, Trouble
from proxy.environment import Secret

KEY = "admin-canary-1234567890"
Play = Callable[[BaseHTTPRequestHandler], None]


class Asked(msgspec.Struct):
    providers: dict[str, int]


@contextmanager
def server(play: Play) -> Iterator[str]:
    """Whoever answers each request as `play` does; its URL."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            play(self)

        do_POST = do_DELETE = do_GET

        def log_message(self, *_: object) -> None:
            """It keeps quiet."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def says(status: int, body: bytes = b"", **headers: str) -> Play:
    def play(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.send_header("content-length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    return play


def error(code: str | None, message: str = "So it is.") -> bytes:
    return json.dumps({"error": {"message": message, "type": "t", "param": None, "code": code}}).encode()


def trouble(url: str, variable: str | None = None, **options: httpx.Timeout) -> Trouble:
    """What is said when that URL is asked for its health."""
    with Client(url, Secret(KEY), variable, **options) as client, pytest.raises(Trouble) as caught:
        client.read(client.get("/providers/health"), Asked)
    assert "canary" not in str(caught.value)
    return caught.value


STRANGER = "is no tollhouse, or one of another version: "
OLD = "does not know /providers/health: it is older than this command"
NONE_SET = "asks for its admin key, and none is set. Set TOLLHOUSE_ADMIN_KEY, or TOLLHOUSE_ADMIN_KEY_FILE to a file"
PLAIN = r"^So it is\.$"


@pytest.mark.parametrize(
    ("play", "said", "code"),
    [
        pytest.param(says(200, b"<html>"), STRANGER + "it speaks no JSON", 3, id="a page"),
        pytest.param(
            says(200, b'{"a": 1}'), STRANGER + "Object missing required field `providers`", 3, id="other JSON"
        ),
        pytest.param(says(200, b"\xff"), STRANGER, 3, id="bytes that are no text"),
        pytest.param(says(404, b"no", content_type="text/plain"), STRANGER + "status 404, text/plain", 3, id="404"),
        pytest.param(says(404, b'{"detail": "no"}'), STRANGER + "status 404", 3, id="an error of somebody else's"),
        pytest.param(says(500, b""), STRANGER + "status 500, no content", 3, id="an empty error"),
        pytest.param(says(302, location="http://b/"), STRANGER + "status 302, to http://b/", 3, id="it is elsewhere"),
        pytest.param(says(401, error("invalid_api_key")), NONE_SET, 2, id="a key is wanted"),
        pytest.param(says(403, error("cross_site_request")), PLAIN, 2, id="forbidden"),
        pytest.param(says(404, error("provider_not_found")), PLAIN, 2, id="a name that is not there"),
        pytest.param(says(404, error(None)), OLD, 2, id="an older version"),
        pytest.param(says(400, error("x")), PLAIN, 2, id="a bad request"),
        pytest.param(says(429, error("x"), retry_after="9"), r"^So it is\. Try again in 9 s\.$", 3, id="too often"),
        pytest.param(says(503, error("budget_store_unavailable")), PLAIN, 3, id="a store that is away"),
        pytest.param(says(500, error("internal_error")), PLAIN, 3, id="a fault of the server's"),
    ],
)
def test_each_answer_that_is_none_is_told_as_what_it_is(play, said, code):
    with server(play) as url:
        found = trouble(url)
    assert re.search(said, str(found)), found
    assert found.code == code


@pytest.mark.parametrize("variable", ["TOLLHOUSE_ADMIN_KEY", "TOLLHOUSE_ADMIN_KEY_FILE"])
def test_a_key_that_is_refused_is_told_by_the_variable_that_it_came_from(variable):
    with server(says(401, error("invalid_api_key"))) as url:
        found = trouble(url, variable)
    assert str(found) == (
        f"{url} refuses the admin key that {variable} holds or names. It must be the admin key of that server."
    )
    assert found.code == USAGE


def test_where_nobody_listens_it_says_where_and_what_to_do():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
    found = trouble(url)
    assert str(found) == (
        f"Cannot reach a tollhouse at {url}: Connection refused. Is it running (tollhouse serve)? If it listens "
        "elsewhere, say so with --url or TOLLHOUSE_URL."
    )
    assert found.code == NOT_REACHED


def test_a_name_that_nobody_knows_is_told():
    found = trouble("http://nowhere.invalid")
    assert str(found).startswith("Cannot reach a tollhouse at http://nowhere.invalid: ")
    assert found.code == NOT_REACHED


@pytest.mark.parametrize("said", [b"", b"+OK ready\r\n\r\n", b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf"])
def test_what_speaks_no_http_or_hangs_up_is_told(said):
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def answer() -> None:
            connection, _ = listening.accept()
            with connection:
                connection.recv(4_096)
                connection.sendall(said)

        thread = threading.Thread(target=answer)
        thread.start()
        found = trouble(f"http://127.0.0.1:{listening.getsockname()[1]}")
        thread.join()
    assert "broken off, or what answers speaks no HTTP" in str(found)
    assert found.code == NOT_REACHED


def test_one_that_does_not_answer_is_not_waited_for_for_ever():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        found = trouble(f"http://127.0.0.1:{silent.getsockname()[1]}", timeout=httpx.Timeout(0.05))
    assert str(found).startswith("No whole answer from http://127.0.0.1:")
    assert found.code == NOT_REACHED


def test_the_key_goes_to_the_url_that_was_named_and_not_where_that_points():
    heard: list[str | None] = []

    def listen(handler: BaseHTTPRequestHandler) -> None:
        heard.append(handler.headers.get("authorization"))
        says(200, b'{"providers": {}}')(handler)

    with server(listen) as other, server(says(307, location=f"{other}/providers/health")) as url:
        trouble(url)
        assert heard == []
        with Client(other, Secret(KEY)) as client:
            client.get("/providers/health")
    assert heard == [f"Bearer {KEY}"]


def test_without_a_key_none_is_sent():
    heard: list[str | None] = []

    def listen(handler: BaseHTTPRequestHandler) -> None:
        heard.append(handler.headers.get("authorization"))
        says(200, b"{}")(handler)

    with server(listen) as url, Client(url) as client:
        client.get("/providers/health")
    assert heard == [None]


def test_a_stream_that_is_broken_off_is_no_end():
    def play(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("transfer-encoding", "chunked")
        handler.end_headers()
        handler.wfile.write(b"4\r\nhalf\r\n")
        handler.close_connection = True

    with server(play) as url, Client(url) as client:
        pieces: list[bytes] = []
        with pytest.raises(Trouble, match="broken off") as caught, client.stream("/providers/costs/export") as come:
            pieces.extend(come)
    assert pieces == [b"half"]
    assert caught.value.code == NOT_REACHED


def test_a_stream_that_is_refused_says_why():
    with (
        server(says(503, error("x"))) as url,
        Client(url) as client,
        pytest.raises(Trouble, match=PLAIN),
        client.stream("/providers/costs/export"),
    ):
        pass


@pytest.mark.parametrize(
    ("given", "environ", "url"),
    [
        pytest.param(None, {}, "http://127.0.0.1:8080", id="this machine"),
        pytest.param(None, {"TOLLHOUSE_URL": " http://a:1 "}, "http://a:1", id="the variable"),
        pytest.param(None, {"TOLLHOUSE_URL": ""}, "http://127.0.0.1:8080", id="an empty variable is none"),
        pytest.param("http://b:2", {"TOLLHOUSE_URL": "http://a:1"}, "http://b:2", id="the option goes before it"),
        pytest.param("http://b:2/", {}, "http://b:2", id="a slash at the end"),
        pytest.param("http://b:2/v1", {}, "http://b:2", id="as an SDK wants it"),
        pytest.param("http://b:2/v1/", {}, "http://b:2", id="the same with a slash"),
        pytest.param("https://b/llm", {}, "https://b/llm", id="a path before it"),
    ],
)
def test_whom_to_ask(given, environ, url):
    with Client.of(given, environ) as client:
        assert client.url == url


@pytest.mark.parametrize(
    ("given", "environ", "said"),
    [
        ("b:2", {}, "--url: expected a URL such as http://127.0.0.1:8080; this is none"),
        ("ftp://b", {}, "--url: expected a URL such as http://127.0.0.1:8080; this is none"),
        (None, {"TOLLHOUSE_URL": "b"}, "TOLLHOUSE_URL: expected a URL such as http://127.0.0.1:8080; this is none"),
        ("http://user:canary@b", {}, "a user name or a password, which belong elsewhere"),
        ("http://b?x=1", {}, "a query or a fragment"),
        ("http://xn--a", {}, "--url: expected a URL such as http://127.0.0.1:8080; no host can have this name"),
        ("http://a..b", {}, "no host can have this name"),
        (f"http://{'a' * 70}", {}, "no host can have this name"),
        ("http://a:99999", {}, "this is none"),
        ("http://[::1", {}, "this is none"),
        (
            None,
            {"TOLLHOUSE_ADMIN_KEY": "canary canary"},
            "TOLLHOUSE_ADMIN_KEY: expected printable ASCII without spaces",
        ),
        (None, {"TOLLHOUSE_ADMIN_KEY_FILE": "canary"}, "TOLLHOUSE_ADMIN_KEY_FILE: cannot read what it names"),
    ],
)
def test_what_is_wrong_with_the_url_or_the_key_is_told_before_anything_is_sent(given, environ, said):
    with pytest.raises(Trouble) as caught:
        Client.of(given, environ)
    assert said in str(caught.value)
    assert "canary" not in str(caught.value)
    assert caught.value.code == USAGE


@pytest.mark.parametrize(
    ("name", "said"), [("ci", "ci"), ("a/b", "a%2Fb"), ("a?b#c", "a%3Fb%23c"), ("ü", "%C3%BC"), ("%2e", "%252e")]
)
def test_a_name_is_one_part_of_a_path(name, said):
    assert part(name) == said
