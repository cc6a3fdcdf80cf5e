"""What was asked and answered, as the log may show it if it is told to: redacted first, then shortened. Pure.

Redacting knows shapes, not meanings: keys, tokens, private keys, passwords that are called so, e-mail addresses, cards,
accounts. What is encoded, spelled with other letters, or split goes by unseen. Whoever lets the log show prompts must
expect names and stories in it all the same.
"""

import re
from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from adapters.envelope import Envelope

CUT = "…"
_BEYOND = 8_192  # characters beyond the limit that are looked at: longer than any shape but a blob
_LEAST_CARD, _MOST_CARD = 13, 19  # digits, ISO/IEC 7812
_LEAST_IBAN, _MOST_IBAN = 15, 34  # characters, ISO 13616
_MOST_GROUPS = 9  # of four characters, that an account is written in

Redact = Callable[["re.Match[str]"], str]


def _as(what: str) -> Redact:
    return lambda _: f"[{what}]"


def _after(what: str) -> Redact:
    """The first group says that a secret follows, and stays."""
    return lambda found: f"{found[1]}[{what}]"


def _card(found: "re.Match[str]") -> str:
    return _spans(found[0], lambda text: _LEAST_CARD <= len(text) <= _MOST_CARD and luhn(text), "card")


def _iban(found: "re.Match[str]") -> str:
    return _spans(found[0], lambda text: _LEAST_IBAN <= len(text) <= _MOST_IBAN and mod97(text), "account")


def _spans(text: str, holds: Callable[[str], bool], what: str) -> str:
    """Groups of characters, without those that are the number in question when they are joined."""
    pieces = re.split(r"([ -])", text)  # groups at even places
    at, said = 0, []
    while at < len(pieces):
        ends = range(min(len(pieces), at + 2 * _MOST_GROUPS - 1), at, -2) if at % 2 == 0 else ()
        end = next((end for end in ends if holds("".join(pieces[at:end:2]))), None)
        said.append(pieces[at] if end is None else f"[{what}]")
        at = end or at + 1
    return "".join(said)


def luhn(digits: str) -> bool:
    """Whether the check digit of a card's number is right (ISO/IEC 7812, Annex B)."""
    doubled = (sum(divmod(2 * int(digit), 10)) for digit in digits[-2::-2])
    return (sum(map(int, digits[-1::-2])) + sum(doubled)) % 10 == 0


def mod97(account: str) -> bool:
    """Whether the check digits of an IBAN are right (ISO 7064, MOD 97-10)."""
    return int("".join(str(int(character, 36)) for character in account[4:] + account[:4])) % 97 == 1


_WORD = r"(?<![A-Za-z0-9])"
_BLOCK = r"(?:[A-Z0-9]+ ){0,4}PRIVATE KEY(?: BLOCK)?-----"
_SECRET = (
    r"(?:password|passwd|passphrase|pwd|secret(?:[_-]?access)?(?:[_-]?key)?|(?:api|private|account|access)[_-]?key"
    r"|(?:access|refresh|auth|api|id)?[_-]?token)"
)
_IS = r"[\\\"']{0,4}\s?[:=]\s?[\\\"']{0,4}"  # as JSON has it, too, and JSON in JSON
# In this order; no pattern goes back over what it has read, so that no prompt keeps the process busy.
SHAPES: tuple[tuple[re.Pattern[str], Redact], ...] = (
    (re.compile(rf"-----BEGIN {_BLOCK}.*?(?:-----END {_BLOCK}|\Z)", re.DOTALL), _as("private key")),
    (re.compile(rf"{_WORD}eyJ[\w-]{{8,}}\.[\w-]{{4,}}(?:\.[\w-]*)?", re.ASCII), _as("token")),
    (re.compile(rf"{_WORD}(?:sk|pk|rk)[-_][\w-]{{8,}}", re.ASCII), _as("key")),  # OpenAI, Anthropic, Stripe, ours
    (re.compile(rf"{_WORD}AIza[\w-]{{10,}}", re.ASCII), _as("key")),  # Google
    (re.compile(rf"{_WORD}A(?:KI|SI)A[A-Z0-9]{{16,}}"), _as("key")),  # AWS
    (
        re.compile(
            rf"{_WORD}(?:gh[opsru]|github_pat|glpat|hf|npm|xox[abeoprs]|gsk|xai|fw|pplx|r8|pypi)[-_][\w-]{{16,}}",
            re.ASCII,
        ),
        _as("key"),
    ),
    (re.compile(rf"(?i)({_WORD}bearer\s{{1,8}})[\w.~+/=-]{{8,}}", re.ASCII), _after("token")),
    (
        re.compile(rf"(?i)({_WORD}authorization{_IS}(?:[a-z]{{2,12}}\s{{1,8}})?)[\w.~+/=-]{{8,}}", re.ASCII),
        _after("token"),
    ),
    (re.compile(rf"(?i)({_WORD}{_SECRET}{_IS})[^\s\"',;]{{6,}}"), _after("secret")),
    (re.compile(r"(://[^\s/:@\"']{0,64}:)[^\s/@\"']{1,256}(?=@)"), _after("secret")),  # of a URL
    (re.compile(r"[\w.!#$%&'*+/=?^`{|}~-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63}){1,8}"), _as("e-mail")),
    (re.compile(rf"{_WORD}[A-Z]{{2}}[0-9]{{2}}(?: ?[A-Z0-9]){{11,60}}(?![a-z0-9])"), _iban),
    (re.compile(r"[0-9](?:[ -]?[0-9]){12,}"), _card),
)


def redacted(text: str) -> str:
    """Text without what has the shape of a secret or points at a person; what stood there is named in brackets."""
    for shape, redact in SHAPES:
        text = shape.sub(redact, text)
    return text


def answered(text: str, limit: int) -> str:
    """The beginning of an answer, of at most `limit` characters."""
    return _shown(text, limit)


def shortened(envelope: Envelope, limit: int) -> str:
    """The last messages of a request, of at most `limit` characters in all: of each its role and the beginning of its
    text. What is no text is named by its kind. Empty for a body that has no messages."""
    said: list[str] = []
    left = limit
    for message in reversed(_messages(envelope)):
        if left <= 0:
            break
        said.append(_shown(_text(message), left))
        left -= len(said[-1]) + 1
    return "\n".join(reversed(said))


def _shown(text: str, limit: int) -> str:
    """Redacted, then cut. Of a text that is far longer than the limit only the beginning is looked at, and of that not
    the last word: it may be half a key."""
    if len(text) > limit + _BEYOND:
        words = text[: limit + _BEYOND].rsplit(None, 1)
        text = f"{words[0] if len(words) > 1 else ''} {CUT}"
    text = redacted(text)
    return text if len(text) <= limit else text[: max(0, limit - 1)] + CUT[:limit]


def _messages(envelope: Envelope) -> list[Any]:
    try:
        found = msgspec.json.decode(envelope.raw).get("messages")
    except (msgspec.DecodeError, UnicodeDecodeError, AttributeError, RecursionError):
        return []
    return found if isinstance(found, list) else []


def _text(message: Any) -> str:
    if not isinstance(message, dict):
        return ""
    return f"{message.get('role')}: {' '.join(_parts(message.get('content')))}"


def _parts(content: Any) -> Iterator[str]:
    if isinstance(content, str):
        yield content
    for part in content if isinstance(content, list) else ():
        if isinstance(part, dict):
            said = part.get("text")
            yield said if isinstance(said, str) else f"[{str(part.get('type'))[:32]}]"
