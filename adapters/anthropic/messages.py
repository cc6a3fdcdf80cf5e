"""Turns of a conversation in Anthropic's words."""

import base64
import binascii
import hashlib
import re
from collections.abc import Callable
from typing import Any

from adapters import media, wire
from adapters.base import Remote, Supplies, Warnings, invalid, unsupported
from adapters.conversation import (
    PLACEHOLDER,
    Audio,
    Block,
    Call,
    File,
    Image,
    Result,
    Text,
    Thinking,
    Turn,
    data_url,
)
from adapters.tools import Names

_IMAGES = frozenset({"image/jpeg", "image/png", "image/gif", "image/webp"})
_MOST_MARKS = 4
_ID = re.compile(r"[a-zA-Z0-9_-]+")


def remote(chat: wire.Chat, vendors_own: Callable[[str], bool]) -> list[Remote]:
    """The images by URL that the vendor will not fetch for itself (`vendors_own` says which it will)."""
    found = []
    for i, message in enumerate(chat.messages):
        if not isinstance(message, wire.User | wire.Tool) or isinstance(message.content, str):
            continue
        for j, part in enumerate(message.content):
            if isinstance(part, wire.ImagePart) and not part.image_url.url.lower().startswith("data:"):
                url = part.image_url.url
                if not vendors_own(url):
                    found.append(Remote(url, f"messages[{i}].content[{j}].image_url.url"))
    return found


def text(block: Text) -> dict[str, Any]:
    """A text block. White space alone is refused upstream."""
    said: dict[str, Any] = {"type": "text", "text": block.text}
    return said | _mark(block.cache)


def _mark(cache: str | None) -> dict[str, Any]:
    if cache is None:
        return {}
    return {"cache_control": {"type": "ephemeral", "ttl": "1h"} if cache == "1h" else {"type": "ephemeral"}}


class Speller:
    """Spells turns. With `thinking` off, blocks of earlier thinking stay out: the vendor refuses them then."""

    def __init__(self, names: Names, supplies: Supplies, warnings: Warnings, *, thinking: bool) -> None:
        self._names = names
        self._supplies = supplies
        self._warnings = warnings
        self._thinking = thinking
        self._marks: list[dict[str, Any]] = []

    def turns(self, turns: list[Turn]) -> list[dict[str, Any]]:
        """The member `messages`; at most four cache marks survive, the last ones."""
        if turns[0].role == "assistant":
            self._warnings.add("added", "messages")
            turns = [Turn("user", [Text(PLACEHOLDER)]), *turns]
        said = [self._turn(turn) for turn in turns]
        for block in self._marks[:-_MOST_MARKS]:
            del block["cache_control"]
        return [turn for turn in said if turn["content"]]

    def _turn(self, turn: Turn) -> dict[str, Any]:
        content = self._blocks(turn.blocks)
        if not content and turn.role == "user":
            self._warnings.add("added", "messages")
            content = [text(Text(PLACEHOLDER))]
        return {"role": turn.role, "content": content}

    def _blocks(self, blocks: list[Block]) -> list[dict[str, Any]]:
        said = [spelled for block in blocks if (spelled := self._block(block)) is not None]
        self._marks += [block for block in said if "cache_control" in block]
        return said

    def _block(self, block: Block) -> dict[str, Any] | None:
        match block:
            case Text():
                return text(block) if block.text.strip() else None
            case Thinking(block=kept):
                return kept if self._thinking else None
            case Call(id=id, name=name, arguments=arguments):
                return {"type": "tool_use", "id": wire_id(id), "name": self._names.wire(name), "input": arguments}
            case Result(id=id, parts=parts):
                said: dict[str, Any] = {"type": "tool_result", "tool_use_id": wire_id(id)}
                if content := self._blocks(list(parts)):
                    said["content"] = content
                return said
            case Image():
                return {"type": "image", "source": self._image(block)} | _mark(block.cache)
            case File():
                return self._file(block) | _mark(block.cache)
            case Audio(param=param):
                raise unsupported(param, "Claude does not hear")

    def _image(self, image: Image) -> dict[str, Any]:
        inline = data_url(image.url)
        if inline is None and (fetched := self._supplies.images.get(image.url)) is not None:
            inline = fetched.media_type, base64.b64encode(fetched.data).decode()
        if inline is None:
            if not image.url.lower().startswith("https://"):
                raise invalid("Expected an https URL or a data URL with base64.", image.param, "invalid_image_url")
            return {"type": "url", "url": image.url}
        kind = media.kind(inline[0], inline[1])
        if kind not in _IMAGES:
            raise invalid(f"Images of type '{kind}' are not understood.", image.param, "unsupported_image_media_type")
        return {"type": "base64", "media_type": kind, "data": inline[1]}

    def _file(self, file: File) -> dict[str, Any]:
        declared, data = data_url(file.data) or ("", file.data)
        kind = media.kind(declared, data, file.filename)
        title = {"title": file.filename} if file.filename else {}
        if kind in _IMAGES:
            return {"type": "image", "source": {"type": "base64", "media_type": kind, "data": data}}
        if kind == "application/pdf":
            return {"type": "document", "source": {"type": "base64", "media_type": kind, "data": data}} | title
        if kind.startswith("text/") or kind == "application/json":
            return {
                "type": "document",
                "source": {"type": "text", "media_type": "text/plain", "data": _decoded(data, file.param)},
            } | title
        raise unsupported(f"{file.param}.file", f"Claude does not read files of type '{kind}'")


def _decoded(data: str, param: str) -> str:
    try:
        return base64.b64decode(data, validate=True).decode()
    except (binascii.Error, ValueError):
        raise invalid("Expected text in UTF-8, in base64.", f"{param}.file.file_data") from None


def wire_id(id: str) -> str:
    """A call's id as Anthropic takes it, the same for the call and for its result."""
    if _ID.fullmatch(id):
        return id
    return f"call_{hashlib.sha256(id.encode()).hexdigest()[:24]}"
