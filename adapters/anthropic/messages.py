"""Turns of a conversation in Anthropic's words."""

import base64
import binascii
import hashlib
import re
from collections.abc import Sequence
from typing import Any

import msgspec

from adapters import media
from adapters.anthropic.thinking import replayed
from adapters.base import Supplies, Warnings, invalid, unsupported
from adapters.conversation import (
    PLACEHOLDER,
    Block,
    Call,
    File,
    Image,
    Result,
    Text,
    Thinking,
    Turn,
)
from adapters.media import data_url
from adapters.tools import Names

_IMAGES = frozenset({"image/jpeg", "image/png", "image/gif", "image/webp"})
_MOST_MARKS = 4
_ID = re.compile(r"[a-zA-Z0-9_-]+")


class Speller(msgspec.Struct):
    """Spells turns. With `thinking` off, blocks of earlier thinking stay out: the vendor refuses them then."""

    _names: Names
    _supplies: Supplies
    _warnings: Warnings
    thinking: bool
    _marks: list[dict[str, Any]] = []
    _ids: dict[str, str] = {}  # the client's id of a call -> the vendor's, as last used
    _taken: set[str] = set()

    def system(self, texts: list[Text]) -> list[dict[str, Any]]:
        """The member `system`; to be asked for before the turns, because it stands before them."""
        return [self._marked({"type": "text", "text": text.text}, text.cache) for text in texts]

    def turns(self, turns: list[Turn]) -> list[dict[str, Any]]:
        """The member `messages`."""
        if turns[0].role == "assistant":
            self._warnings.add("added", "messages")
            turns = [Turn("user", [Text(PLACEHOLDER)]), *turns]
        said: list[dict[str, Any]] = []
        before = None  # whose the last one is
        for turn in turns:
            content, role = self._blocks(turn.blocks), turn.role
            if role == before:
                said[-1]["content"] += content
            elif content:
                said.append({"role": role, "content": content})
                before = role
        if self._marks:
            self._thin_out_marks()
        return said

    def _thin_out_marks(self) -> None:
        """At most four cache marks survive, the last ones, and none outlives one that stands before it."""
        for block in self._marks[:-_MOST_MARKS]:
            del block["cache_control"]
        short = False
        for block in self._marks[-_MOST_MARKS:]:
            if short and block["cache_control"].pop("ttl", None):
                self._warnings.add("rounded", "prompt_cache_breakpoint")
            short = short or "ttl" not in block["cache_control"]

    def _blocks(self, blocks: Sequence[Block]) -> list[dict[str, Any]]:
        said: list[dict[str, Any]] = []
        for block in blocks:
            if type(block) is Text and block.cache is None:  # nearly always
                said.append({"type": "text", "text": block.text})
            elif (spelled := self._block(block)) is not None:
                said.append(spelled)
        return said

    def _marked(self, said: dict[str, Any], cache: str | None) -> dict[str, Any]:
        """A block as it is `said`, with the cache mark that it may have."""
        if cache is None:
            return said
        if cache == "12h":
            self._warnings.add("clamped", "prompt_cache_breakpoint.ttl")  # an hour is the longest that can be had
        said["cache_control"] = {"type": "ephemeral"} if cache == "5m" else {"type": "ephemeral", "ttl": "1h"}
        self._marks.append(said)
        return said

    def _block(self, block: Block) -> dict[str, Any] | None:
        match block:
            case Text(text=text, cache=cache):
                return self._marked({"type": "text", "text": text}, cache)
            case Thinking(block=kept):
                return self._earlier(kept)
            case Call(id=id, name=name, arguments=arguments):
                return {"type": "tool_use", "id": self._fresh(id), "name": self._names.wire(name), "input": arguments}
            case Result(id=id, parts=parts):
                said: dict[str, Any] = {"type": "tool_result", "tool_use_id": self._ids[id]}
                if content := self._blocks(parts):
                    said["content"] = content
                return said
            case Image():
                return self._marked({"type": "image", "source": self._image(block)}, block.cache)
            case File():
                return self._marked(self._file(block), block.cache)
            case _:
                raise unsupported(block.param, "Claude does not hear")

    def _earlier(self, block: dict[str, Any]) -> dict[str, Any] | None:
        if not self.thinking:
            return None
        said = replayed(block)
        if said is None:
            self._warnings.add("dropped", "messages[].thinking_blocks")
        return said

    def _fresh(self, id: str) -> str:
        """The id of a call, of its own in the whole conversation: some clients count from 0 in each turn."""
        first = fresh = wire_id(id)
        k = 1
        while fresh in self._taken:
            k += 1
            fresh = f"{first}_{k}"
        self._taken.add(fresh)
        self._ids[id] = fresh
        return fresh

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
        if data.lower().startswith("data:"):
            raise invalid("Expected base64, or a data URL with base64.", f"{file.param}.file.file_data")
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
    """A call's id in the characters that Anthropic takes."""
    if _ID.fullmatch(id):
        return id
    return f"call_{hashlib.sha256(id.encode()).hexdigest()[:24]}"
