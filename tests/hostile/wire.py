"""Raw sockets: what is sent goes out as it is, and what comes back is read as strictly as a client may read it."""

import contextlib
import http.client
import io
import json
import socket
from typing import NamedTuple

PATIENCE = 30.0


class Answer(NamedTuple):
    """One answer, whole. Status 0: the connection ended without one."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes
    rest: bytes = b""  # what came behind it


class _Heard(io.BytesIO):
    """What was heard, where `http.client` wants a socket."""

    def makefile(self, _: str) -> "_Heard":
        return self


def exchange(port: int, raw: bytes, *, whole: bool = True) -> bytes:
    """All that is answered to these bytes. Not `whole`: we say that nothing more comes, or both would wait."""
    heard = b""
    with socket.create_connection(("127.0.0.1", port), PATIENCE) as wire:
        with contextlib.suppress(ConnectionError):  # it has heard enough of us; what it said before is still to be read
            wire.sendall(raw)
        try:
            if not whole:
                wire.shutdown(socket.SHUT_WR)
            while part := wire.recv(1 << 18):
                heard += part
        except OSError as error:
            if isinstance(error, TimeoutError):
                raise
    return heard


def parsed(heard: bytes, method: str = "POST") -> Answer:
    """The first answer, by the standard library's parser. Raises `http.client.HTTPException` if it is none."""
    while heard.startswith(b"HTTP/1.1 100 "):
        heard = heard.partition(b"\r\n\r\n")[2]
    if not heard:
        return Answer(0, [], b"")
    source = _Heard(heard)
    answer = http.client.HTTPResponse(source, method=method)  # type: ignore[arg-type]  # it asks it for a file only
    answer.begin()
    body = answer.read()
    return Answer(answer.status, answer.getheaders(), body, heard[source.tell() :] if not source.closed else b"")


def complaint(answer: Answer) -> str | None:
    """What is wrong with a refusal, if it is not OpenAI's error object."""
    if answer.status < 400:
        return None
    kind = dict((name.lower(), value) for name, value in answer.headers).get("content-type")
    try:
        error = json.loads(answer.body)["error"]
    except (ValueError, KeyError, TypeError):
        return f"no error object: {answer.body[:200]!r}"
    if kind != "application/json":
        return f"content type {kind}"
    if set(error) != {"message", "type", "param", "code"} or not error["message"]:
        return f"not OpenAI's error object: {error}"
    return None
