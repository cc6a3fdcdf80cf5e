"""How long and how deep a client's letter may be: bounds that hold before anybody opens it.

To open a letter costs by its values, not by its bytes: a megabyte may be one picture or half a million messages. Nearly
every letter is within bounds by its size, or by the number of its braces and commas, which costs next to nothing to
know; only of the others the texts are cut out, and what is left is measured.
"""

import msgspec

from adapters.failure import invalid


class Extent(msgspec.Struct, frozen=True, kw_only=True):
    """`depth`: of lists and objects in one another, `messages`: of the list of that name, `values`: items and members,
    in all. Whoever reads JSON here takes some 900 levels, whatever `depth` is."""

    depth: int = 200
    messages: int = 10_000
    values: int = 250_000


USUAL = Extent()
_BRACKETS = bytes.maketrans(b"[]{}", b"()()")
_OTHERS = bytes(set(range(256)) - set(b"[]{}"))
_LEAST_VALUE = len("1,")  # bytes
_LEAST_MESSAGE = len('{"role":"user","content":""},')
_LONG = 2_048  # bytes
_QUOTES = 4  # of one value, if it is a text and has a name


class _Messages(msgspec.Struct):
    messages: list[msgspec.Raw] = []


_counting = msgspec.json.Decoder(_Messages)


def check_length(raw: bytes, extent: Extent) -> None:
    """Raises `Failure` (400) for too many messages or values. `raw` is JSON, at least as far as it was read."""
    if len(raw) > extent.messages * _LEAST_MESSAGE and _more(raw, b"{", extent.messages):
        _check_messages(raw, extent.messages)
    if len(raw) > extent.values * _LEAST_VALUE and _values(raw, extent.values) > extent.values:
        raise invalid(f"The body of the request has more than {extent.values} values.", None, "too_many_values")


def check_depth(raw: bytes, depth: int) -> None:
    """Raises `Failure` (400) for what is nested more than `depth` levels deep."""
    if len(raw) <= 2 * depth:
        return  # each level has two brackets
    half = depth // 2  # of a deeper tower at least so many storeys are objects, or are lists
    if (_more(raw, b"{", half) or _more(raw, b"[", half)) and _deeper(_without_texts(raw), depth):
        message = f"The body of the request is nested more than {depth} levels deep."
        raise invalid(message, None, "nested_too_deeply")


def _more(raw: bytes, byte: bytes, most: int) -> bool:
    """Whether this byte is there more than `most` times, be it in texts. In a long body few calls of `find` are many
    times faster than one of `count`: it looks at many bytes at once."""
    if len(raw) < _LONG:
        return raw.count(byte) > most
    at = -1
    for _ in range(most + 1):
        at = raw.find(byte, at + 1)
        if at < 0:
            return False
    return True


def _check_messages(raw: bytes, most: int) -> None:
    try:
        count = len(_counting.decode(raw).messages)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return  # whoever opens the letter says what is wrong with it
    if count > most:
        raise invalid(f"'messages' has {count} items; at most {most} are taken.", "messages", "too_many_messages")


def _values(raw: bytes, most: int) -> int:
    """One more than there are commas between them, at least."""
    if raw.count(b",") < most:
        return 0
    raw = _without_escapes(raw)
    if raw.count(b'"') > most * _QUOTES:
        return most + 1  # to cut so many texts out would take longer than they are worth
    return b"".join(raw.split(b'"')[::2]).count(b",") + 1


def _without_escapes(raw: bytes) -> bytes:
    return raw.replace(b"\\\\", b"").replace(b'\\"', b"") if b"\\" in raw else raw


def _without_texts(raw: bytes) -> bytes:
    """What stands outside of texts: in them a quote is always escaped, and so is what escapes it."""
    return b"".join(_without_escapes(raw).split(b'"')[::2])


def _deeper(bare: bytes, depth: int) -> bool:
    """Whether there are more than so many levels: each round takes away the innermost one."""
    brackets = bare.translate(_BRACKETS, _OTHERS)
    tower = b"(" * (depth + 1)
    for _ in range(depth):
        if not brackets or tower in brackets:
            break
        brackets = brackets.replace(b"()", b"")
    return bool(brackets)
