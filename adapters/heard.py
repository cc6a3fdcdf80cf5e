"""What a client has heard of a streamed answer, kept until somebody must count it.

Most streams end with the vendor's own count, and then all this was for nothing: so the parts are only laid aside, and
opened when they grow too many, or when the stream has broken off.
"""

import re
from typing import Any

import msgspec

from adapters import sse
from adapters.flow import Flow, decoded

_MOST_KEPT = 64 * 1024  # bytes of parts that are not opened yet

_Place = tuple[int, int, int]  # choice, kind, index of a call: the order in which a message is read
_THOUGHT, _CONTENT, _REFUSAL, _LEGACY, _CALL = range(5)


class _Named(msgspec.Struct):
    name: Any = None
    arguments: Any = None
    input: Any = None


class _ToolCall(msgspec.Struct):
    index: int = 0
    function: _Named | None = None
    custom: _Named | None = None


class _Delta(msgspec.Struct):
    content: Any = None
    refusal: Any = None
    reasoning_content: Any = None
    reasoning: Any = None  # as some vendors call it; those who send both say the same twice
    function_call: _Named | None = None
    tool_calls: list[_ToolCall] | None = None
    audio: msgspec.Raw | None = None
    images: msgspec.Raw | None = None


class _Choice(msgspec.Struct):
    index: int = 0
    delta: _Delta | None = None


class _Chunk(msgspec.Struct):
    choices: list[_Choice] | None = None


_decoder = msgspec.json.Decoder(_Chunk)


def _read(data: bytes) -> _Chunk | None:
    try:
        return _decoder.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


_BARE = _Chunk(choices=[_Choice(delta=_Delta(content=""))])  # of it nothing is heard but its content
_TEXT = b'"content":"'
_SPEAKS = re.compile(rb'"delta":\{"content":"[^"]')


_UNLEARNT = Flow()


class Heard:
    """Takes the bytes that are said to the client."""

    # As each begins: of most requests nothing is heard but whole answers, and nobody counts those.
    _kept = 0  # bytes in the parts
    _framing = 0  # of these, such as only wrap: as we were told
    _wrapped = 0  # and as was seen; looked for when somebody asks
    _looked = 0  # parts in which they were looked for
    _flow = _UNLEARNT
    _folded = 0  # bytes of what was opened: its text, and as it stood what is no text or cannot be read

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._fresh: dict[_Place, list[str]] = {}
        self._texts: dict[_Place, list[str]] = {}

    def add(self, part: bytes, framing: int = 0) -> None:
        """The next bytes of OpenAI's stream: whole events, as many as there are. `framing`: bytes of them that are
        known to be no text; who tells it saves us to look for them."""
        if not part:
            return
        self._parts.append(part)
        self._kept += len(part)
        self._framing += framing
        if self._kept > _MOST_KEPT:
            self._fold()

    def exceeds(self, most: int) -> bool:
        """Whether `size` is more. Mostly it cannot be, and nobody need look what the bytes are."""
        return self._most_said() > most and self.size > most

    @property
    def size(self) -> int:
        """Never fewer than the tokens heard: bytes of text, or of parts that are not opened yet, without what can be
        seen from outside to be no text of theirs.

        Thoughts that the vendor keeps to itself are not in here. After `text` it is as tight as it gets.
        """
        if self._looked < len(self._parts):
            self._look(b"".join(self._parts[self._looked :]))
            self._looked = len(self._parts)
        return self._most_said()

    def _most_said(self) -> int:
        return self._folded + self._kept - (self._wrapped if self._wrapped > self._framing else self._framing)

    @property
    def spoken(self) -> bool:
        """Whether there is any text in it; mostly it is seen without opening it."""
        return any(map(_SPEAKS.search, self._parts)) or any(self.text())

    def text(self) -> tuple[str, str]:
        """What was said (content, refusals, names and arguments of calls; all choices), and what was thought aloud."""
        self._fold()
        places = sorted(self._texts)
        said = "".join(piece for place in places if place[1] != _THOUGHT for piece in self._texts[place])
        return said, "".join(piece for place in places if place[1] == _THOUGHT for piece in self._texts[place])

    def _look(self, part: bytes) -> None:
        """Count what is around its texts."""
        known = self._flow.before
        if not known or not (part.startswith(known) or known in part):
            self._learn(part)
        for wrapping in self._flow.wrapping:
            self._wrapped += part.count(wrapping) * len(wrapping)

    def _learn(self, part: bytes) -> None:
        """What its last content is wrapped in; if nothing else is told there."""
        begin = part.rfind(b"\n\n", 0, max(0, part.rfind(_TEXT)))
        begin = 0 if begin < 0 else begin + 2
        flow = Flow()
        flow.learn(part[begin : part.find(b"\n\n", begin)], _TEXT)
        if flow.before and _read(b"".join(flow.wrapping)[len(b"data: ") :]) == _BARE:
            self._flow = flow

    def _fold(self) -> None:
        whole = b"".join(self._parts)
        self._parts.clear()
        self._kept = self._framing = self._wrapped = self._looked = 0
        self._learn(whole)
        decoder = sse.Decoder()
        for event, said in self._flow.walk(whole):
            if said:
                self._say((0, _CONTENT, 0), "".join(decoded(said)))
            elif data := decoder.data(event):
                self._open(data)
        for place, pieces in self._fresh.items():
            self._texts.setdefault(place, []).append("".join(pieces))
        self._fresh.clear()

    def _open(self, data: bytes) -> None:
        if (chunk := _read(data)) is None:
            self._folded += len(data)
            return
        for choice in chunk.choices or ():
            if choice.delta is not None:
                self._hear(choice.index, choice.delta)

    def _hear(self, choice: int, delta: _Delta) -> None:
        self._say((choice, _THOUGHT, 0), delta.reasoning_content or delta.reasoning)
        self._say((choice, _CONTENT, 0), delta.content)
        self._say((choice, _REFUSAL, 0), delta.refusal)
        self._call((choice, _LEGACY, 0), delta.function_call)
        for call in delta.tool_calls or ():
            self._call((choice, _CALL, call.index), call.function)
            self._call((choice, _CALL, call.index), call.custom)
        self._folded += len(bytes(delta.audio or b"")) + len(bytes(delta.images or b""))

    def _call(self, place: _Place, named: _Named | None) -> None:
        if named is not None:
            for text in (named.name, named.arguments, named.input):
                self._say(place, text)

    def _say(self, place: _Place, text: Any) -> None:
        if isinstance(text, str):
            self._fresh.setdefault(place, []).append(text)
            self._folded += len(text.encode())
