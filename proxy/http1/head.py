"""What a request begins with, and what an answer's headers are read through."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from proxy.http1.route import Route

_MOST_PATHS = 1024  # remembered per provider: a few per model
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


class Headers(Mapping[str, str]):
    """The headers of an answer, by names in any case. Of those that repeat, the first. Read from the bytes as they are
    asked for: of some thirty that a vendor sends, few are."""

    __slots__ = ("_index", "_raw")

    def __init__(self, raw: dict[bytes, bytes]) -> None:
        self._raw = raw
        self._index: dict[bytes, bytes] | None = None

    def _indexed(self) -> dict[bytes, bytes]:
        if self._index is None:
            self._index = {name.lower(): value for name, value in reversed(self._raw.items())}
        return self._index

    def __getitem__(self, name: str) -> str:
        value = self.get(name)
        if value is None:
            raise KeyError(name)
        return str(value)

    def get(self, name: str, default: Any = None) -> Any:  # most that are asked for are not there: nothing is raised
        """The value, or `default`."""
        spelled = name.encode("latin-1", "replace")
        value = self._raw.get(spelled)  # most vendors spell them as we do: then no index is made at all
        if value is None:
            value = self._indexed().get(spelled.lower())
        return default if value is None else value.decode("latin-1")

    def __iter__(self) -> Iterator[str]:
        return (name.decode("latin-1") for name in self._indexed())

    def __len__(self) -> int:
        return len(self._indexed())
