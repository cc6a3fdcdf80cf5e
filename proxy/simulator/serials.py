"""Ids from a counter, in the vendors' shapes, and signatures that the simulator can recognise as its own."""

import base64
import hashlib
import itertools

from proxy.simulator.vocabulary import Json

_COUNTER = itertools.count(1)
_SECRET = b"simulated vendor"
_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"
_URL_SAFE = str.maketrans("-_", "+/")
_TASTED: set[str] = set()  # signatures that stood in scripted raw answers


def serial(prefix: str, width: int) -> str:
    """The next id: `prefix` and `width` characters of base 36."""
    number = next(_COUNTER)
    digits = ""
    while number:
        number, digit = divmod(number, 36)
        digits = _DIGITS[digit] + digits
    return prefix + digits.rjust(width, "0")


def signature(what: str) -> str:
    """A signature over `what`: the thinking text as delivered (Anthropic), or the called function's name (Gemini)."""
    nonce = next(_COUNTER).to_bytes(8, "big")
    return base64.b64encode(nonce + _digest(nonce, what)).decode()


def is_signature(text: str, what: str) -> bool:
    """Whether this simulator issued `text` over `what`."""
    if text in _TASTED:
        return True
    try:
        raw = base64.b64decode(text.translate(_URL_SAFE), validate=True)  # Google's own SDK sends that alphabet back
    except ValueError:
        return False
    return raw[8:] == _digest(raw[:8], what)


def remember_signatures(found: list[str]) -> None:
    """Signatures that a script sent in the vendor's name count as issued, whatever they say."""
    _TASTED.update(found)


def _digest(nonce: bytes, what: str) -> bytes:
    return hashlib.blake2b(nonce + what.encode("utf-8", "surrogatepass"), key=_SECRET, digest_size=40).digest()


def without_nulls(value: Json) -> Json:
    """All three vendors read `null` at the top level as absent."""
    return {key: item for key, item in value.items() if item is not None}
