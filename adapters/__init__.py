"""The table of adapters: who can speak which wire format for which endpoint. Nothing else.

A vendor that speaks OpenAI's format is a row of configuration. Any other is one folder here and one row below.
"""

from collections.abc import Mapping
from typing import Protocol

from adapters import anthropic, gemini, openai
from adapters.base import Answer, Call, Endpoint, Failure, Headroom, Needs, Stamp, Stream, Supplies, Target, Vendor
from adapters.envelope import Envelope


class Adapter(Protocol):
    """What a vendor's module must be able to do; a module that lacks one of these fails the type check below."""

    def headers(self, key: str) -> Mapping[str, str]: ...

    def needs(self, envelope: Envelope, target: Target) -> Needs: ...

    def request(self, envelope: Envelope, target: Target, supplies: Supplies) -> Call: ...

    def response(self, body: bytes, call: Call, stamp: Stamp) -> Answer: ...

    def stream(self, call: Call, stamp: Stamp) -> Stream: ...

    def error(self, status: int, headers: Mapping[str, str], body: bytes) -> Failure: ...

    def headroom(self, headers: Mapping[str, str]) -> Mapping[str, Headroom]: ...

    def counting(self, call: Call, target: Target) -> Call | None: ...

    def counted(self, body: bytes) -> int: ...


ADAPTERS: Mapping[tuple[Vendor, Endpoint], Adapter] = {
    ("openai", "chat"): openai,
    ("anthropic", "chat"): anthropic,
    ("gemini", "chat"): gemini,
}
