"""Google's own SDK as a second opinion: what it would send, and what it reads. Nothing leaves the process."""

import base64
import re
from functools import cache
from typing import Any

import httpx2
import msgspec
from google import genai
from google.genai import types


class Google:
    """An SDK's client whose vendor answers with the bytes that it is given, and keeps what it was sent."""

    def __init__(self) -> None:
        self.sent = httpx2.Request("GET", "https://nobody.invalid")
        self.answer = b"{}"
        self.media_type = "application/json"
        self._http = httpx2.Client(transport=httpx2.MockTransport(self._serve))
        self.client = genai.Client(
            vertexai=False,
            api_key="key",
            # The SDK's own default is v1; ours is v1beta, where new members come first.
            http_options=types.HttpOptions(httpx_client=self._http, api_version="v1beta"),
        )

    def _serve(self, request: httpx2.Request) -> httpx2.Response:
        self.sent = request
        return httpx2.Response(200, headers={"content-type": self.media_type}, content=self.answer)


@cache
def google() -> Google:
    """One for all tests: to make one takes longer than to ask it."""
    return Google()


def would_send(model: str, body: bytes) -> tuple[str, dict[str, Any]]:
    """Path and body as the SDK sends them, when it is asked for what our body asks for.

    Its types forbid members that they do not know, at every depth but inside schemas, arguments and results.
    """
    said = msgspec.json.decode(body)
    contents = [types.Content.model_validate_json(msgspec.json.encode(content)) for content in said.pop("contents")]
    generation = said.pop("generationConfig", {})
    types.GenerationConfig.model_validate_json(msgspec.json.encode(generation))
    config = types.GenerateContentConfig.model_validate_json(msgspec.json.encode(generation | said))
    double = google()
    double.answer, double.media_type = b"{}", "application/json"
    double.client.models.generate_content(model=model, contents=list(contents), config=config)
    return double.sent.url.path, msgspec.json.decode(double.sent.content)


def read(body: bytes) -> types.GenerateContentResponse:
    """A whole answer as the SDK reads it."""
    double = google()
    double.answer, double.media_type = body, "application/json"
    return double.client.models.generate_content(model="m", contents="x")


def read_stream(body: bytes) -> list[types.GenerateContentResponse]:
    """A stream as the SDK reads it."""
    double = google()
    double.answer, double.media_type = body, "text/event-stream"
    return list(double.client.models.generate_content_stream(model="m", contents="x"))


_BASE64 = frozenset({"data", "thoughtSignature"})
_EITHER_CASE = frozenset({"thinkingLevel", "serviceTier"})
_OPAQUE = frozenset({"args", "response", "parametersJsonSchema", "responseJsonSchema"})


def settled(value: Any, key: str = "") -> Any:
    """A body in which what the API reads alike is alike: snake_case, alphabets of base64, the order of tools."""
    if key in _OPAQUE:
        return value
    if isinstance(value, dict):
        named = {re.sub("_(.)", lambda found: found[1].upper(), name): inner for name, inner in value.items()}
        return {
            name: settled(inner, name) for name, inner in named.items() if (name, inner) != ("generationConfig", {})
        }
    if isinstance(value, list):
        items = [settled(inner, key) for inner in value]
        return sorted(items, key=str) if key == "tools" else items
    if key in _BASE64 and isinstance(value, str):
        return base64.urlsafe_b64encode(base64.b64decode(value.replace("-", "+").replace("_", "/"))).decode()
    return value.upper() if key in _EITHER_CASE and isinstance(value, str) else value
