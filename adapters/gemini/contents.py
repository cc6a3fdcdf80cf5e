"""Turns of a conversation in Gemini's words."""

import base64
import math
from typing import Any
from urllib.parse import urlsplit

import msgspec

from adapters import media
from adapters.base import Capabilities, Supplies, Warnings, invalid, unsupported
from adapters.conversation import (
    PLACEHOLDER,
    Audio,
    Block,
    Call,
    File,
    Image,
    Result,
    Text,
    Turn,
)
from adapters.media import data_url
from adapters.tools import Names

_ROLES = {"user": "user", "assistant": "model"}
_OWN_HOSTS = frozenset({"generativelanguage.googleapis.com", "www.youtube.com", "youtube.com", "youtu.be"})
_AUDIO = {"wav": "audio/wav", "mp3": "audio/mp3"}
_LEVELS = {"low": "MEDIA_RESOLUTION_LOW", "high": "MEDIA_RESOLUTION_HIGH", "original": "MEDIA_RESOLUTION_ULTRA_HIGH"}
# Documented by Google for histories whose signatures are lost; the vendor then does not check.
LOST_SIGNATURE = "skip_thought_signature_validator"


def googles_own(url: str) -> bool:
    """True for addresses that Gemini reads by itself."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    return parts.scheme == "https" and parts.hostname in _OWN_HOSTS


class Speller(msgspec.Struct):
    """Spells turns. Signatures go back on exactly the part that had them; nothing else of another vendor does."""

    _names: Names
    _able: Capabilities
    _supplies: Supplies
    _warnings: Warnings
    _order: dict[str, int] = {}  # of calls, by id; an id may come again
    _calls: int = 0

    def contents(self, turns: list[Turn]) -> list[dict[str, Any]]:
        """The member `contents`."""
        if turns[0].role == "assistant":
            self._warnings.add("added", "messages")
            turns = [Turn("user", [Text(PLACEHOLDER)]), *turns]
        said: list[dict[str, Any]] = []
        for turn in turns:
            parts, role = self._parts(turn.blocks), _ROLES[turn.role]
            if not parts:
                continue
            if said and said[-1]["role"] == role:
                said[-1]["parts"] += parts
            else:
                said.append({"role": role, "parts": parts})
        return said

    def _parts(self, blocks: list[Block]) -> list[dict[str, Any]]:
        parts: list[dict[str, Any]] = []
        called = False
        for block in sorted(blocks, key=self._place) if len(blocks) > 1 else blocks:
            match block:
                case Text(text=text, signature=signature):
                    part = {"text": text}
                    if signature and self._able.call_ids:
                        part["thoughtSignature"] = signature
                    parts.append(part)
                case Call():
                    parts.append(self._call(block, first=not called))
                    called = True
                case Result():
                    parts += self._result(block)
                case Image():
                    parts.append(self._image(block))
                case Audio(data=data, format=format, param=param):
                    if "audio" not in self._able.input:
                        raise unsupported(param, "this model does not hear")
                    parts.append(_inline(_AUDIO[format], data))
                case File():
                    parts.append(self._file(block))
                case _:
                    pass  # thoughts of another vendor's, and bound to it
        return parts

    def _place(self, block: Block) -> float:
        """Results come first, in the order of their calls: without ids it is all that ties one to the other."""
        return self._order[block.id] if isinstance(block, Result) else math.inf

    def _call(self, call: Call, *, first: bool) -> dict[str, Any]:
        self._order[call.id] = self._calls = self._calls + 1
        spelled: dict[str, Any] = {"name": self._names.wire(call.name), "args": call.arguments}
        part: dict[str, Any] = {"functionCall": spelled}
        if not self._able.call_ids:
            return part
        spelled["id"] = call.id
        signature = call.signature or self._supplies.states.get(call.id)
        if signature is None and first:
            # Only the first call of a step must carry one.
            signature = LOST_SIGNATURE
            self._warnings.add("added", "thought_signature")
        return part | ({"thoughtSignature": signature} if signature else {})

    def _result(self, result: Result) -> list[dict[str, Any]]:
        texts = "".join(part.text for part in result.parts if isinstance(part, Text))
        images = [self._image(part) for part in result.parts if isinstance(part, Image)]
        spelled: dict[str, Any] = {"name": self._names.wire(result.name), "response": {"output": _output(texts)}}
        if self._able.call_ids:
            spelled["id"] = result.id
            if images:
                spelled["parts"] = images
            return [{"functionResponse": spelled}]
        return [{"functionResponse": spelled}, *images]

    def _image(self, image: Image) -> dict[str, Any]:
        inline = data_url(image.url)
        if inline is None and (fetched := self._supplies.images.get(image.url)) is not None:
            inline = fetched.media_type, base64.b64encode(fetched.data).decode()
        if inline is not None:
            part = _inline(media.kind(inline[0], inline[1]), inline[1])
        elif googles_own(image.url):
            part = {"fileData": {"fileUri": image.url}}
        else:
            raise invalid("Expected an https URL or a data URL with base64.", image.param, "invalid_image_url")
        level = _LEVELS.get(image.detail or "")
        if level is not None and self._able.call_ids:
            part["mediaResolution"] = {"level": level}
        return part

    def _file(self, file: File) -> dict[str, Any]:
        if file.data[:5].lower() == "data:" and data_url(file.data) is None:
            raise invalid("Expected a data URL with base64, or base64.", f"{file.param}.file.file_data")
        declared, data = data_url(file.data) or ("", file.data)
        kind = media.kind(declared, data, file.filename)
        if "file" not in self._able.input and not kind.startswith("image/"):
            raise unsupported(f"{file.param}.file", f"this model does not read files of type '{kind}'")
        return _inline(kind, data)


def _inline(kind: str, data: str) -> dict[str, Any]:
    return {"inlineData": {"mimeType": kind, "data": data}}


_structured = msgspec.json.Decoder(dict[str, Any] | list[Any])


def _output(text: str) -> Any:
    """A tool's output: JSON where it is an object or a list, to the letter; else the text.

    An object with a member `$ref` would be read as a pointer to a part (BerriAI/litellm#38223): that stays text.
    """
    if text.lstrip()[:1] not in ("{", "["):
        return text
    raw = text.encode()
    try:
        parsed = _structured.decode(raw)
        points = ("$ref" in text or "\\u" in text) and _points(parsed)
    except (msgspec.DecodeError, RecursionError):
        return text
    return text if points else msgspec.Raw(raw)


def _points(value: Any) -> bool:
    if isinstance(value, dict):
        found = value.get("$ref")
        return (isinstance(found, str) and bool(found)) or any(map(_points, value.values()))
    return isinstance(value, list) and any(map(_points, value))
