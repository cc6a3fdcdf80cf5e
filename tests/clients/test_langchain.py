"""LangChain's own suite for chat models, which their integrations must pass: ChatOpenAI, pointed at tollhouse."""

import struct
import zlib
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from langchain_core.messages import AIMessage, HumanMessage
from langchain_openai import ChatOpenAI
from langchain_tests.integration_tests import ChatModelIntegrationTests, chat_models

from tests.clients.conftest import VENDORS, Stage, Vendor

BY_NAME = {vendor.name: vendor for vendor in VENDORS}

# What the simulated model would not think of: it echoes, and calls a tool only if it must or the text says "call".
_JOKE = {"text": ['{"setup": "Why do cats purr?", ', '"punchline": "They run."}']}
_CUSTOMERS = (
    '{"customer_name": "你好啊集团", "description": "Hello Group"}',
    '{"customer_name": "こんにちは株式会社", "description": "Hello Corporation"}',
)
SCRIPTS: dict[str, list[dict[str, Any]]] = {
    "test_agent_loop": [{"tool_calls": [{"name": "get_weather", "arguments": '{"location": "San Francisco, CA"}'}]}],
    "test_json_mode": [_JOKE] * 4,
    "test_unicode_tool_call_integration": [
        {"tool_calls": [{"name": "unicode_customer", "arguments": customer}]} for customer in _CUSTOMERS
    ],
}


def _png() -> bytes:
    def piece(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", 1, 1, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        [piece(b"IHDR", head), piece(b"IDAT", zlib.compress(b"\x00\xff\xff\xff")), piece(b"IEND", b"")]
    )


# The suite takes its samples from the internet; these stand in for them, by their suffix.
SAMPLES = {
    ".png": _png(),
    ".pdf": b"%PDF-1.4\n1 0 obj<</Type/Catalog>>endobj\ntrailer<</Root 1 0 R>>\n%%EOF\n",
    ".wav": b"RIFF" + struct.pack("<I", 38) + b"WAVEfmt " + struct.pack("<IHHIIHH", 16, 1, 1, 8000, 16000, 2, 16)
    + b"data" + struct.pack("<IH", 2, 0),
}  # fmt: skip


class Suite(ChatModelIntegrationTests):
    """What holds for each vendor; the subclasses say what each one can."""

    vendor: Vendor
    cache_mark: Mapping[str, Any] = {}  # what OpenAI's format says at the end of a prompt to cache; two vendors guess

    @pytest.fixture(autouse=True)
    def _staged(self, stage: Stage, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
        self.stage = stage
        if script := SCRIPTS.get(request.function.__name__):
            stage.vendors.script(self.vendor.name, *script)
        monkeypatch.setattr(chat_models, "httpx", _Samples)

    @property
    def chat_model_class(self) -> type[ChatOpenAI]:
        return ChatOpenAI

    @property
    def chat_model_params(self) -> dict[str, Any]:
        # stream_usage: by itself ChatOpenAI asks for it only where no base_url is set.
        return {
            "model": self.vendor.model,
            "base_url": self.stage.base_url,
            "api_key": "anything",
            "stream_usage": True,
            "max_retries": 0,
        }

    @property
    def model_override_value(self) -> str:
        return self.vendor.other

    @property
    def supports_json_mode(self) -> bool:
        return True

    @property
    def supports_image_inputs(self) -> bool:
        return True

    @property
    def supports_pdf_inputs(self) -> bool:
        return True

    @property
    def supports_anthropic_inputs(self) -> bool:
        return True

    @property
    def supported_usage_metadata_details(self) -> Any:
        details = ["reasoning_output", "cache_read_input"]
        return {"invoke": details, "stream": details}

    def invoke_with_reasoning_output(self, *, stream: bool = False) -> AIMessage:
        model = ChatOpenAI(**{**self.chat_model_params, "model": self.vendor.reasoning}, reasoning_effort="medium")
        answer = _asked(model, "words 20", stream)
        assert answer.usage_metadata is not None
        assert answer.usage_metadata["output_token_details"]["reasoning"] > 0
        return answer

    def invoke_with_cache_read_input(self, *, stream: bool = False) -> AIMessage:
        model = ChatOpenAI(**self.chat_model_params)
        prompt = [{"type": "text", "text": "a long prompt that is worth caching " * 1500, **self.cache_mark}]
        _asked(model, [HumanMessage(prompt)], stream)
        answer = _asked(model, [HumanMessage(prompt)], stream)
        assert answer.usage_metadata is not None
        assert answer.usage_metadata["input_token_details"]["cache_read"] > 0
        return answer


class _Samples:
    """httpx, as the suite uses it."""

    @staticmethod
    def get(url: str, **_: Any) -> httpx.Response:
        return httpx.Response(200, content=SAMPLES[PurePosixPath(urlsplit(url).path).suffix])


def _asked(model: ChatOpenAI, prompt: Any, stream: bool) -> AIMessage:
    if not stream:
        return model.invoke(prompt)
    first, *rest = model.stream(prompt)
    return sum(rest, first)


# supports_pdf_tool_message stays false: a tool's message is text in OpenAI's format, and images are all tollhouse adds.


class TestOpenAI(Suite):
    """Without supports_audio_inputs and supports_image_tool_message, which gpt-4o has not."""

    vendor = BY_NAME["openai"]

    @property
    def supports_image_urls(self) -> bool:
        return True


class TestAnthropic(Suite):
    """Without supports_audio_inputs: Claude does not hear."""

    vendor = BY_NAME["anthropic"]
    cache_mark: Mapping[str, Any] = {"prompt_cache_breakpoint": {"mode": "explicit"}}

    @property
    def supports_image_urls(self) -> bool:
        return True

    @property
    def supports_image_tool_message(self) -> bool:
        return True


class TestGemini(Suite):
    """Without supports_image_urls: Gemini takes none, so tollhouse would fetch the suite's from the internet."""

    vendor = BY_NAME["gemini"]

    @property
    def supports_audio_inputs(self) -> bool:
        return True

    @property
    def supports_image_tool_message(self) -> bool:
        return True
