"""The client's messages as turns of a conversation, before any vendor's spelling.

Every vendor but OpenAI wants turns that alternate, results of tools directly behind their calls, and no empty text.
That is worked out once, here; the adapters only spell it. Rules and sources: docs/translation.md, "Messages".
"""

from collections.abc import Callable, Sequence
from typing import Any, Literal, assert_never

import msgspec

from adapters import wire
from adapters.base import Warnings, invalid, unsupported

Lifetime = Literal["5m", "1h", "12h"]  # of a prefix in the vendor's cache
PLACEHOLDER = "."  # vendors refuse empty turns, and text of nothing but white space


class Text(msgspec.Struct, frozen=True):
    text: str
    cache: Lifetime | None = None
    signature: str | None = None  # Gemini's thought signature of this text


class Image(msgspec.Struct, frozen=True):
    url: str
    param: str
    detail: str | None = None
    cache: Lifetime | None = None


class Audio(msgspec.Struct, frozen=True):
    data: str  # base64
    format: str
    param: str


class File(msgspec.Struct, frozen=True):
    data: str  # a data URL, or bare base64
    filename: str | None
    param: str
    cache: Lifetime | None = None


class Call(msgspec.Struct, frozen=True):
    """A call of a tool. `arguments` is a JSON object, as the model wrote it."""

    id: str
    name: str
    arguments: msgspec.Raw
    signature: str | None = None


class Result(msgspec.Struct, frozen=True):
    """What a tool answered to the call `id`."""

    id: str
    name: str
    parts: tuple[Text | Image, ...]


class Thinking(msgspec.Struct, frozen=True):
    """A thinking block of Anthropic's, signed; it goes back as it came or not at all."""

    block: dict[str, Any]


Block = Text | Image | Audio | File | Call | Result | Thinking


class Turn(msgspec.Struct):
    role: Literal["system", "user", "assistant"]
    blocks: list[Block]


class Conversation(msgspec.Struct):
    """`system` is the leading run of system messages; later ones are turns of their own."""

    system: list[Text] = []
    turns: list[Turn] = []
    called: bool = False  # tools were
    interrupted: bool = False  # there are such later ones


def read(chat: wire.Chat, warnings: Warnings) -> Conversation:
    """Work out the turns. Raises `Failure` (400) where calls and results of tools do not fit together."""
    if not chat.messages:
        raise invalid("Invalid 'messages': expected at least one message.", "messages")
    return _Reader(warnings, Conversation()).read(chat.messages)


class _Reader(msgspec.Struct):
    """Walks the messages once. `open` holds the calls that still wait for their result: id -> name."""

    _warnings: Warnings
    _talk: Conversation
    _open: dict[str, str] = {}
    _asked: bool = False  # a turn is the user's

    def read(self, messages: list[wire.Message]) -> Conversation:
        for i, message in enumerate(messages):  # its place is put into words only for who needs them
            if self._open and not isinstance(message, wire.Tool | wire.Function):
                raise self._unanswered(f"messages[{i}]")
            _TAKES[type(message)](self, message, i)
        if self._open:
            raise self._unanswered("messages")
        if not self._asked:
            self._warnings.add("added", "messages")
            self._talk.turns.append(Turn("user", [Text(PLACEHOLDER)]))
        return self._talk

    def _user(self, message: wire.User, i: int) -> None:
        self._asked = True
        if not (blocks := _parts(message.content, i)):
            self._warnings.add("added", f"messages[{i}].content")
            blocks = [Text(PLACEHOLDER)]
        self._say("user", blocks)

    def _system(self, message: wire.System | wire.Developer, _: int) -> None:
        talk, texts = self._talk, _texts(message.content)
        if talk.turns:
            talk.interrupted = True
            self._say("system", [*texts])
        else:
            talk.system += texts

    def _tool(self, message: wire.Tool, i: int) -> None:
        id = plain_id(message.tool_call_id)
        if id not in self._open:
            why = f"answers the tool call '{id}', which no preceding message with 'tool_calls' made"
            raise invalid(f"Invalid parameter: messages[{i}] {why}.", f"messages[{i}].tool_call_id")
        self._answer(id, message.content, i)

    def _function(self, message: wire.Function, i: int) -> None:
        id = next((id for id, called in self._open.items() if called == message.name), "")
        if not id:
            why = f"answers '{message.name}', which was not called"
            raise invalid(f"Invalid parameter: messages[{i}] {why}.", f"messages[{i}].name")
        self._answer(id, message.content or "", i)

    def _answer(self, id: str, content: str | list[wire.TextPart | wire.ImagePart], i: int) -> None:
        self._asked = True
        parts = tuple([part for part in _parts(content, i) if isinstance(part, Text | Image)])
        self._say("user", [Result(id, self._open.pop(id), parts)])

    def _say(self, role: Literal["system", "user", "assistant"], blocks: list[Block]) -> None:
        """Append to the last turn if it has the same role, else begin one; a turn of nothing is no turn."""
        turns = self._talk.turns
        if turns and turns[-1].role == role:
            turns[-1].blocks += blocks
        elif blocks:
            turns.append(Turn(role, blocks))

    def _unanswered(self, where: str) -> Exception:
        ids = ", ".join(self._open)
        return invalid(
            "An assistant message with 'tool_calls' must be followed by tool messages responding to each "
            f"'tool_call_id'. The following tool_call_ids did not have response messages: {ids}.",
            where,
        )

    def _assistant(self, message: wire.Assistant, i: int) -> None:
        if message.audio is not None:
            raise unsupported(f"messages[{i}].audio", "only OpenAI keeps the audio of earlier answers")
        blocks: list[Block] = []
        if message.thinking_blocks:
            # `index` was ours, for the sake of the SDKs' accumulators.
            blocks += [Thinking({k: v for k, v in block.items() if k != "index"}) for block in message.thinking_blocks]
        texts = _texts(message.content)
        if message.refusal and not message.refusal.isspace():
            texts.append(Text(message.refusal))
        if texts and message.extra_content and (signature := _google(message.extra_content)):
            texts[-1] = Text(texts[-1].text, texts[-1].cache, signature)
        blocks += texts
        for j, call in enumerate(message.tool_calls or ()):
            read = _call(call)
            if read.id in self._open:
                param = f"messages[{i}].tool_calls[{j}].id"
                raise invalid(f"Invalid parameter: duplicate tool call id '{read.id}'.", param)
            self._open[read.id] = read.name
            blocks.append(read)
        if message.function_call is not None:
            legacy = message.function_call
            id = f"call_legacy_{len(self._talk.turns)}"
            self._open[id] = legacy.name
            blocks.append(Call(id, legacy.name, arguments(legacy.arguments)))
        self._talk.called = self._talk.called or bool(self._open)
        self._say("assistant", blocks)


_TAKES: dict[type, Callable[[_Reader, Any, int], None]] = {
    wire.User: _Reader._user,
    wire.Assistant: _Reader._assistant,
    wire.System: _Reader._system,
    wire.Developer: _Reader._system,
    wire.Tool: _Reader._tool,
    wire.Function: _Reader._function,
}


def _texts(content: str | Sequence[wire.TextPart | wire.RefusalPart] | None) -> list[Text]:
    """What is not empty of it: white space alone is refused upstream."""
    if isinstance(content, str):
        return [Text(content)] if content and not content.isspace() else []
    return [text for part in content or () if (text := _text(part)) is not None]


def _text(part: wire.TextPart | wire.RefusalPart) -> Text | None:
    said, cache = (part.text, _mark(part)) if isinstance(part, wire.TextPart) else (part.refusal, None)
    return Text(said, cache) if said and not said.isspace() else None


def _parts(content: str | Sequence[wire.Part], i: int) -> list[Block]:
    if isinstance(content, str):
        return [Text(content)] if content and not content.isspace() else []
    return [block for j, part in enumerate(content) if (block := _part(part, i, j)) is not None]


def _part(part: wire.Part, i: int, j: int) -> Block | None:
    if isinstance(part, wire.TextPart | wire.RefusalPart):
        return _text(part)
    where = f"messages[{i}].content[{j}]"
    match part:
        case wire.ImagePart(image_url=image):
            return Image(image.url, f"{where}.image_url.url", image.detail, _mark(part))
        case wire.AudioPart(input_audio=audio):
            return Audio(audio.data, audio.format, where)
        case wire.FilePart(file=file):
            if file.file_id is not None:
                raise unsupported(f"{where}.file.file_id", "it is stored at OpenAI; send the bytes as 'file_data'")
            if file.file_data is None:
                raise invalid("Missing required parameter: 'file_data'.", f"{where}.file.file_data")
            return File(file.file_data, file.filename, where, _mark(part))
        case _:
            assert_never(part)


def _mark(part: wire.TextPart | wire.ImagePart | wire.FilePart) -> Lifetime | None:
    if part.cache_control is not None:
        return "1h" if part.cache_control.ttl == "1h" else "5m"
    mark = part.prompt_cache_breakpoint
    return None if mark is None else "5m" if mark.ttl is None else "12h" if mark.ttl == "12h" else "1h"


def _call(call: wire.FunctionToolCall | wire.CustomToolCall) -> Call:
    if isinstance(call, wire.CustomToolCall):
        wrapped = msgspec.Raw(msgspec.json.encode({"input": call.custom.input}))
        return Call(plain_id(call.id), call.custom.name, wrapped, signature(call))
    return Call(plain_id(call.id), call.function.name, arguments(call.function.arguments), signature(call))


def signature(call: wire.FunctionToolCall | wire.CustomToolCall) -> str | None:
    """Gemini's thought signature, in whichever of the known places this client has kept it."""
    found = _google(call.extra_content)
    if not found and isinstance(call, wire.FunctionToolCall):
        kept = (call.provider_specific_fields or {}).get("thought_signature")
        found = kept if isinstance(kept, str) else call.function.thought_signature
    return found or call.id.partition("__thought__")[2] or None


def _google(extra_content: dict[str, Any] | None) -> str | None:
    google = (extra_content or {}).get("google")
    found = google.get("thought_signature") if isinstance(google, dict) else None
    return found if isinstance(found, str) else None


def plain_id(id: str) -> str:
    """The id of a call without the signature that LiteLLM's clients append to it."""
    return id.partition("__thought__")[0]


_object = msgspec.json.Decoder(dict[str, msgspec.Raw])


def arguments(text: str | None) -> msgspec.Raw:
    """A call's arguments as a JSON object, to the letter where it is one; a broken call is wrapped, never dropped."""
    if not text or not text.strip():
        return msgspec.Raw(b"{}")
    raw = text.encode()
    try:
        _object.decode(raw)
    except (msgspec.DecodeError, RecursionError):
        return msgspec.Raw(msgspec.json.encode({"_raw": text}))
    return msgspec.Raw(raw)


def fold_system(turns: list[Turn], *, keep: bool) -> list[Turn]:
    """Place the system turns of mid-conversation: kept where the model takes them, else text in a user's turn.

    They are never hoisted to the top: that would rewrite the prefix that the vendor has cached.
    """
    if "system" not in [turn.role for turn in turns]:
        return turns  # nearly always: they are in order as they were read
    folded: list[Turn] = []
    carried: list[Block] = []
    for i, turn in enumerate(turns):
        following = turns[i + 1].role if i + 1 < len(turns) else None
        if turn.role != "system":
            blocks = [*carried, *turn.blocks] if turn.role == "user" else turn.blocks
            carried = [] if turn.role == "user" else carried
            _merge(folded, Turn(turn.role, list(blocks)))
        elif keep and folded and folded[-1].role == "user" and following in ("assistant", None):
            folded.append(turn)
        else:
            told = [Text(f"<system>{block.text}</system>") for block in turn.blocks if isinstance(block, Text)]
            if following == "user":
                carried += told
            else:
                _merge(folded, Turn("user", list(told)))
    return folded


def _merge(turns: list[Turn], turn: Turn) -> None:
    """Results of tools stay in front of whatever else a user's turn says."""
    if turn.role == "user":
        turn.blocks.sort(key=lambda block: not isinstance(block, Result))
    if turns and turns[-1].role == turn.role:
        turns[-1].blocks += turn.blocks
    else:
        turns.append(turn)
