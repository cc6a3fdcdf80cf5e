"""What stands behind an option, read: each of these says in a line what was expected. Pure."""

from argparse import ArgumentTypeError
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")
MOST = 64  # workers: with a line to each of the others, as many files as fit into one message between processes


def told(parse: Callable[[str], T]) -> Callable[[str], T]:
    """`parse`, whose `ValueError` is told as it is: of others argparse says only that the value is invalid."""

    def read(text: str) -> T:
        try:
            return parse(text)
        except ValueError as error:
            raise ArgumentTypeError(str(error)) from None

    return read


def port(text: str) -> int:
    """From 0 (any) to 65535."""
    if not (text.isdecimal() and text.isascii()) or int(text[:6]) > 65535:
        raise ArgumentTypeError(f"expected a port from 0 to 65535; got {text[:40]!r}")
    return int(text)


def tokens(text: str) -> int:
    """A number of tokens."""
    if not (text.isdecimal() and text.isascii()) or len(text) > 9:
        raise ArgumentTypeError(f"expected a number of tokens, at most nine digits; got {text[:40]!r}")
    return int(text)


def count(text: str) -> int:
    """A number, 1 or more."""
    if not (text.isdecimal() and text.isascii()) or len(text) > 9 or not int(text):
        raise ArgumentTypeError(f"expected a whole number from 1 to 999999999; got {text[:40]!r}")
    return int(text)


def patterns(text: str) -> list[str]:
    """Separated by commas: `gpt-4o*,smart`."""
    return [word for part in text.split(",") if (word := part.strip())]


def workers(text: str) -> int:
    """How many processes."""
    if not (text.isdecimal() and text.isascii()) or not 1 <= int(text[:3]) <= MOST:
        raise ArgumentTypeError(f"expected a number of processes from 1 to {MOST}; got {text[:40]!r}")
    return int(text)


def worker(text: str) -> tuple[int, int]:
    """Which worker this is, and the file that ties it to its supervisor: not for people."""
    number, _, file = text.partition(":")
    return int(number), int(file)


def seconds(text: str) -> float:
    """A pause."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0.1 <= value <= 3_600:
        raise ArgumentTypeError(f"expected a number of seconds from 0.1 to 3600; got {text[:40]!r}")
    return value
