"""A chunk or a whole answer of OpenAI's, as far as we read it, and the chunks of those who nearly write them."""

from typing import Any

import msgspec

from adapters.base import Stamp
from adapters.openai.mend import Members, arguments, call_id


class Choice(msgspec.Struct):
    index: int | None = None
    delta: dict[str, msgspec.Raw] | None = None
    message: dict[str, msgspec.Raw] | None = None  # of a whole answer
    finish_reason: str | None = None
    error: Any = None  # OpenRouter's, of one choice


class Chunk(msgspec.Struct):
    choices: list[Choice] | None = None
    usage: Any = None  # `adapters.openai.usage` reads it
    error: Any = None
    object: Any = None  # "error" where the error has no object of its own; its members are these
    message: Any = None
    type: Any = None
    code: Any = None
    detail: Any = None
    service_tier: str | None = None


decoder = msgspec.json.Decoder(Chunk)

_EMPTY = tuple(map(msgspec.Raw, (b"null", b'""', b"[]", b"{}")))
_NULL = _EMPTY[0]
# The members of a message that are made of tokens.
_WORDS = frozenset(
    {"content", "refusal", "tool_calls", "function_call", "reasoning_content", "reasoning", "audio", "images"}
)


def says_something(chunk: Chunk) -> bool:
    """True if there is more in it than the role of who is about to speak."""
    for choice in chunk.choices or ():
        if choice.finish_reason:
            return True
        for name, said in (choice.delta or {}).items():
            if name != "role" and said not in _EMPTY:
                return True
    return False


_TEXTS = {name: b'"%b":"' % name.encode() for name in ("content", "refusal", "reasoning_content", "reasoning")}


def piece(chunk: Chunk) -> bytes:
    """If one choice, the first, goes on in it with some text, and there is nothing else in it that is read here: what
    stands before that text. Else nothing."""
    choices = chunk.choices
    if not choices or len(choices) != 1 or chunk.usage is not None:
        return b""
    choice = choices[0]
    if choice.index != 0 or choice.finish_reason is not None or choice.delta is None or len(choice.delta) != 1:
        return b""
    [(name, said)] = choice.delta.items()
    if name in _TEXTS:
        return _TEXTS[name] if said not in _EMPTY else b""
    return _ARGUMENTS if name == "tool_calls" and _continues(said) else b""


_ARGUMENTS = b'"arguments":"'


def _continues(calls: msgspec.Raw) -> bool:
    """Whether one call goes on in it, and none begins."""
    listed = _list.decode(calls) or []
    return len(listed) == 1 and [*listed[0]] == ["index", "function"] and bytes(listed[0]["function"]).startswith(_ONLY)


_ONLY = b"{" + _ARGUMENTS


def speaks(chunk: Chunk) -> bool:
    """True if somebody says something in it, be it in thoughts: that cost tokens."""
    for choice in chunk.choices or ():
        for name, said in (choice.delta or choice.message or {}).items():
            if name in _WORDS and said not in _EMPTY:
                return True
    return False


_ODD = (b'"finish_reason":"', b'"usage":{', b"data: [DONE]")


def odd(whole: bytes, at: int = 0) -> int:
    """Where the first event from `at` on begins that is plainly none of an answer in mid-flow: its end, its bill, the
    end of all."""
    found = len(whole)
    for mark in _ODD:
        place = whole.find(mark, at, found)
        found = found if place < 0 else place
    if found == len(whole):
        return found
    before = whole.rfind(b"\n\n", at, found)
    return at if before < 0 else before + 2


def goes_on(whole: bytes, at: int) -> bool:
    """True if the event that begins `at` says that its choice is not at its end: else it is not `all_plain`."""
    return whole.find(_GOES_ON, at, whole.find(b"\n\n", at)) >= 0


_GOES_ON = b'"finish_reason":null'


def all_plain(whole: bytes, tier: str | None) -> bool:
    """True if these events hold one choice each and nothing that concerns us: pieces of an answer in mid-flow. `tier`
    is the service tier that was told already.

    Counting words is enough, and a third of the work of reading: inside a JSON string quotes are escaped, so these
    words are members. Whoever writes them otherwise (with spaces, in another order) is read.
    """
    events = whole.count(b"\n\n")
    return (
        whole.count(b"\n") == 2 * events
        and whole.count(b"data: {") == events
        and whole.count(b'"choices":[{"index":') == events
        and whole.count(_GOES_ON) == whole.count(b'"finish_reason"') == events
        and whole.count(b',"usage":null') == whole.count(b'"usage"')
        and b'"role"' not in whole
        and b'"tool_calls"' not in whole
        and b'"error"' not in whole
        and (b'"service_tier"' not in whole or whole.count(b'"service_tier"') == whole.count(_TIER % _told(tier)))
    )


_TIER = b'"service_tier":%b'


def _told(tier: str | None) -> bytes:
    return b"null" if tier is None else b'"%b"' % tier.encode()


_members = msgspec.json.Decoder(dict[str, msgspec.Raw])
_list = msgspec.json.Decoder(list[dict[str, msgspec.Raw]] | None)


def with_members(data: bytes, **values: Any) -> bytes:
    """The chunk with these members changed; all others keep their bytes."""
    return msgspec.json.encode({**_members.decode(data), **values})


def without_usage(data: bytes) -> bytes:
    """The chunk without the usage."""
    return msgspec.json.encode({name: value for name, value in _members.decode(data).items() if name != "usage"})


class Tidier:
    """Puts right what breaks the official clients' accumulators: they join what is repeated, and need each index.

    A role must come once in a choice, an id and a name once in a call (else "assistantassistant", "call_1call_1").
    With a `stamp` the vendor is not OpenAI itself: calls without an id or a type are given one.
    """

    def __init__(self, stamp: Stamp | None = None) -> None:
        self._stamp = stamp
        self._told: dict[tuple[int | str, ...], bytes] = {}
        self._call = -1  # the last call: where indexes are missing, there is one choice
        self._last: dict[int, int] = {}  # choice -> its highest index of a call
        self._moved: dict[tuple[int, int], int] = {}  # (choice, index said) -> index, where several calls have the same
        self._named: set[tuple[int, int]] = set()  # calls that were given their id here

    def tidy(self, chunk: Chunk, data: bytes) -> bytes:
        """The chunk to the byte as it came, unless it deviates."""
        changes: dict[int, Members] = {}
        for i, choice in enumerate(chunk.choices or ()):
            delta = choice.delta or {}
            if choice.index is not None and _JOINED.isdisjoint(delta):
                continue  # nearly always
            change: Members = {} if choice.index is not None else {"index": i}
            tidied = self._delta(i if choice.index is None else choice.index, delta)
            if tidied is not delta:
                change["delta"] = tidied
            if change:
                changes[i] = change
        if not changes:
            return data
        choices = _list.decode(_members.decode(data)["choices"]) or []
        return with_members(data, choices=[{**choice, **changes.get(i, {})} for i, choice in enumerate(choices)])

    def _delta(self, choice: int, delta: Members) -> Members:
        tidied = self._once(delta, "role", choice) if "role" in delta else delta
        if "tool_calls" not in delta:
            return tidied
        calls: list[Any] = _list.decode(delta["tool_calls"]) or []
        written = [self._tool_call(choice, at, call) for at, call in enumerate(calls)]
        if all(new is old for new, old in zip(written, calls, strict=True)):
            return tidied
        return {**tidied, "tool_calls": written}

    def _tool_call(self, choice: int, at: int, call: Members) -> Members:
        place = self._place(choice, at, call)
        function = _members.decode(call["function"]) if _given(call, "function") else {}
        tidied = self._opened(choice, place, call)
        tidied = self._once(tidied, "id", choice, place)
        named = self._once(function, "name", choice, place)
        if self._stamp and (written := arguments(function, whole=False)):
            named = {**named, **written}
        if named is not function:
            tidied = {**tidied, "function": named}
        said = call["index"] if _given(call, "index") else b""
        return tidied if bytes(said) == b"%d" % place else {**tidied, "index": place}

    def _place(self, choice: int, at: int, call: Members) -> int:
        """Which call of the choice this is a piece of."""
        if _given(call, "index"):
            said = msgspec.json.decode(call["index"], type=int)
            self._call = self._moved.get((choice, said), said)
            known = self._told.get(("id", choice, self._call))
            if known and _given(call, "id") and bytes(call["id"]) != known and (choice, self._call) not in self._named:
                self._call = self._moved[choice, said] = self._last[choice] + 1
        else:
            begins = _given(call, "id") or (at > 0 and b'"name"' in bytes(call.get("function", b"")))
            self._call += self._call < 0 or begins
        self._last[choice] = max(self._last.get(choice, 0), self._call)
        return self._call

    def _opened(self, choice: int, place: int, call: Members) -> Members:
        """The call with the id and the type that its first piece must have."""
        if self._stamp is None:
            return call
        if (choice, place) in self._named:
            return {name: value for name, value in call.items() if name != "id"} if "id" in call else call
        if ("id", choice, place) in self._told:
            return call
        lacking: Members = {} if _given(call, "type") else {"type": "function"}
        if not _given(call, "id"):
            self._named.add((choice, place))
            lacking["id"] = call_id(self._stamp, choice, place)
        return {**call, **lacking} if lacking else call

    def _once(self, members: Members, name: str, *where: int) -> Members:
        """The same members, or without `name` if the same was told before."""
        if not _given(members, name):
            return members
        value = bytes(members[name])
        if self._told.get((name, *where)) != value:
            self._told[(name, *where)] = value
            return members
        return {key: kept for key, kept in members.items() if key != name}


_JOINED = frozenset({"role", "tool_calls"})


def _given(members: Members, name: str) -> bool:
    value = members.get(name, _NULL)
    return isinstance(value, msgspec.Raw) and value not in _EMPTY
