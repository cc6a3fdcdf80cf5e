"""What a request begins with, and what an answer's headers are read through."""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from proxy.http1.route import Route

_MOST_PATHS = 1024  # remembered per provider: a few per model
_MOST_SPELLINGS = 128  # remembered in all: a vendor's answers have the same headers, but for a few
_MOST_ASKED = 128  # names remembered of each
_LONGEST_NAMES = 4096  # bytes: all names of an answer whose spelling is remembered
_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+").fullmatch  # a token (RFC 9110, 5.6.2)
_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*").fullmatch
_PATH = re.compile(r"/[\x21-\x7e]*").fullmatch


class Head:
    """The heads of all requests to one provider. All but the path, the length and a call's own headers is always the
    same, and made once per path."""

    def __init__(self, route: Route, headers: Mapping[str, str]) -> None:
        self._route = route
        self._headers = {"host": route.authority, **route.headers, **_lowered(headers)}
        self._starts: dict[str, bytes] = {}

    def made(self, path: str, length: int, more: Mapping[str, str] = {}) -> bytes:
        """A head with its blank line. `path` is appended to the provider's own; `more` are headers that win over those
        which all its requests carry. Raises `ValueError` for what cannot stand in a head."""
        start = self._starts.get(path) or self._start(path)
        if not more:
            return b"%b%d\r\n\r\n" % (start, length)
        more = _lowered(more)
        if not self._headers.keys().isdisjoint(more):
            start = self._written(path, {**self._headers, **more})
            more = {}
        return b"%b%d\r\n%b\r\n" % (start, length, _lines(more))

    def _start(self, path: str) -> bytes:
        if len(self._starts) >= _MOST_PATHS:
            self._starts.clear()
        start = self._starts[path] = self._written(path, self._headers)
        return start

    def _written(self, path: str, headers: Mapping[str, str]) -> bytes:
        target = self._route.prefix + path
        if not _PATH(target):
            raise ValueError("no path")
        line = f"POST {self._route.before}{target} HTTP/1.1\r\n".encode()
        return line + _lines(headers) + b"content-length: "


def _lowered(headers: Mapping[str, str]) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}


def _lines(headers: Mapping[str, str]) -> bytes:
    for name, value in headers.items():
        if not _NAME(name) or not _VALUE(value):
            raise ValueError("no header")  # not shown: it may be a key
    return "".join(f"{name}: {value}\r\n" for name, value in headers.items()).encode("latin-1")


class _Spelling(dict[str, bytes | None]):
    """How answers with these names spell what they are asked for, in whatever case; None: they have no such header."""

    def __init__(self, names: Iterable[bytes]) -> None:
        super().__init__((name.lower().decode("latin-1"), name) for name in names)

    def __missing__(self, name: str) -> bytes | None:
        found = self.get(name.lower())
        if len(self) < _MOST_ASKED:
            self[name] = found
        return found


_spellings: dict[tuple[bytes, ...], _Spelling] = {}


def _learned(names: tuple[bytes, ...]) -> _Spelling:
    spelling = _Spelling(reversed(names))  # of those that repeat, the first
    if sum(map(len, names)) <= _LONGEST_NAMES:
        if len(_spellings) >= _MOST_SPELLINGS:
            _spellings.clear()
        _spellings[names] = spelling
    return spelling


class Headers(Mapping[str, str]):
    """The headers of an answer, by names in any case. Of those that repeat, the first. Read from the bytes as they are
    asked for: of some thirty that a vendor sends, few are; and how it spells their names is learned once."""

    __slots__ = ("_raw", "_spelling")

    def __init__(self, raw: dict[bytes, bytes]) -> None:
        names = tuple(raw)
        self._raw = raw
        self._spelling = _spellings.get(names) or _learned(names)

    def __getitem__(self, name: str) -> str:
        value = self.get(name)
        if value is None:
            raise KeyError(name)
        return str(value)

    def get(self, name: str, default: Any = None) -> Any:  # most that are asked for are not there: nothing is raised
        """The value, or `default`."""
        spelled = self._spelling[name]
        return default if spelled is None else self._raw[spelled].decode("latin-1")

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys(name.lower().decode("latin-1") for name in self._raw))

    def __len__(self) -> int:
        return len({name.lower() for name in self._raw})
