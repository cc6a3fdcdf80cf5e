"""The vendors that a benchmark puts behind the gateway: one process, prebuilt bytes, and a count of what it served.

`python -m tests.bench.mock` prints its port and serves until standard input ends. `GET /count` tells and forgets.
"""

import asyncio
import json
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from typing import cast

import uvloop

from tests.bench import vendor, wire
from tests.bench.cases import CASES, Case, number_of, usage_of

LANGUAGES = ((b"/v1/chat/completions", "openai"), (b"/v1/messages", "anthropic"), (b"/v1beta/models/", "gemini"))
NOT_FOUND = b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n"
PACED = b"paced"  # in the prompt of a request whose events come one by one
STREAM = (b'"stream":true', b'"stream": true')


class Ledger:
    """What was served: how often each name, and the tokens that the answers counted."""

    def __init__(self) -> None:
        self.names: Counter[bytes] = Counter()

    def told(self) -> bytes:
        """As JSON: requests, distinct names, tokens of prompts and of answers. Begins anew."""
        served, self.names = self.names, Counter()
        counts = [(*usage_of(number_of(name)), times) for name, times in served.items()]
        return json.dumps(
            {
                "requests": served.total(),
                "names": len(served),
                "prompt": sum(prompt * times for prompt, _, times in counts),
                "answer": sum(answer * times for _, answer, times in counts),
            }
        ).encode()


@cache
def served(language: str, stream: bool, paced: bool) -> Case:
    """The case that a request is of, as far as its answer goes."""
    gap = CASES["paced"].gap if paced else 0.0
    return replace(CASES["plain"], vendor=language, stream=stream, gap=gap)


def recognise(head: bytes, content: bytes) -> tuple[Case, bytes] | None:
    """What is asked, and the name of the request; None if it is nothing that is served here."""
    path = head.split(b" ", 2)[1]
    language = next((language for begin, language in LANGUAGES if path.startswith(begin)), None)
    at = content.rfind(b"bench-")
    if language is None or at < 0:
        return None
    stream = b":stream" in path or any(mark in content for mark in STREAM)
    return served(language, stream, PACED in content[at - 16 : at]), content[at : at + 14]


class Connection(asyncio.Protocol):
    """One connection of the gateway. Requests come one after the other; nobody pipelines."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._buffer = b""
        self._loop = asyncio.get_running_loop()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's does not descend from it

    def data_received(self, data: bytes) -> None:
        self._buffer = buffer = self._buffer + data if self._buffer else data
        if (found := wire.head(buffer)) is None:
            return
        begin, length = found
        if (end := wire.ends(buffer, begin, length)) is None:
            return
        self._buffer = buffer[end:]
        self._answer(buffer[:begin], wire.body(buffer, begin, length))

    def _answer(self, head: bytes, content: bytes) -> None:
        if head.startswith(b"GET /count "):
            told = self._ledger.told()
            self._transport.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(told), told))
        elif (asked := recognise(head, content)) is None:
            self._transport.write(NOT_FOUND)
        else:
            case, name = asked
            self._ledger.names[name] += 1
            prompt, answer = usage_of(number_of(name))
            holes = {b"name": name, b"prompt": prompt, b"answer": answer, b"total": prompt + answer}
            self._write(vendor.answer(case), holes, case.gap, 0)

    def _write(self, writes: Sequence[bytes], holes: Mapping[bytes, object], gap: float, at: int) -> None:
        """One write a turn of the loop, so that each leaves by itself."""
        if self._transport.is_closing():
            return
        self._transport.write(writes[at] % holes)
        if at + 1 == len(writes):
            return
        if gap:
            self._loop.call_later(gap, self._write, writes, holes, gap, at + 1)
        else:
            self._loop.call_soon(self._write, writes, holes, gap, at + 1)


async def serve() -> None:
    """Until standard input ends: whoever started this holds it open, and takes this along however they end."""
    ledger = Ledger()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Connection(ledger), "127.0.0.1", 0, backlog=1024)
    async with server:
        print(server.sockets[0].getsockname()[1], flush=True)
        await loop.run_in_executor(None, sys.stdin.buffer.read)


if __name__ == "__main__":
    uvloop.run(serve())
