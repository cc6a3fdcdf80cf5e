"""Reading environment variables and the files of secrets that they name, so that nothing secret is ever shown.

What is wrong is noted, one line a fault, and never with a value that may be a key.
"""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

import msgspec

T = TypeVar("T")


class Secret:
    """A key that does not show itself: not in a log, not in a traceback, not in a page. `source`: the variable that it
    was read from; None if it was not."""

    __slots__ = ("_value", "source")

    def __init__(self, value: str, source: str | None = None) -> None:
        self._value = value
        self.source = source

    def reveal(self) -> str:
        """The key itself, for the one place that needs it."""
        return self._value

    def __repr__(self) -> str:
        return "<secret>"


class Sources(msgspec.Struct, frozen=True, kw_only=True):
    """Where a configuration was read, without any of its values.

    `variables`: those that were asked for and are set. `file`: its path. `members`: what stands in it, as dotted names;
    the rows of a list by their number, or by their `name` ("retries.rounds", "budgets[0].daily", "providers.groq.key").
    """

    variables: frozenset[str] = frozenset()
    file: str | None = None
    members: frozenset[str] = frozenset()


class Environment:
    """Reads variables; what is wrong is noted, not raised, so that all of it can be told."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        self._used: set[str] = set()
        self._file: str | None = None
        self._members: frozenset[str] = frozenset()
        self.faults: list[str] = []
        self.files: list[Path] = []  # that were read for a secret

    @property
    def sources(self) -> Sources:
        """Where everything was read, up to now."""
        return Sources(variables=frozenset(self._used), file=self._file, members=self._members)

    def note(self, file: str, content: object) -> None:
        """This stands in the file of configuration, decoded."""
        self._file, self._members = file, frozenset(_members(content, ""))

    def text(self, *names: str) -> str | None:
        """The first of `names` that is set to something."""
        name = self.named(*names)
        return self._environ[name].strip() if name else None

    def named(self, *names: str) -> str | None:
        """Which of `names` it is that is set."""
        found = next((name for name in names if self._environ.get(name, "").strip()), None)
        if found is not None:
            self._used.add(found)
        return found

    def read(self, name: str, parse: Callable[[str], T], default: T, expected: str) -> T:
        """`name` as `parse` reads it; a `ValueError` becomes a fault that says what was expected."""
        value = self.text(name)
        if value is None:
            return default
        try:
            return parse(value)
        except (ValueError, KeyError):
            self.faults.append(f"{name}: expected {expected}; got {_shown(value)}")
            return default

    def secrets(self, *names: str) -> tuple[Secret, ...]:
        """The keys of a list, separated by commas or lines. A list that is set and holds none is a fault."""
        source, text = self._sealed(*names)
        words = tuple(word for part in text.replace("\n", ",").split(",") if (word := part.strip()))
        if source and not words:
            self.faults.append(f"{source}: expected keys, separated by commas; there is none")
        if not all(map(_is_key, words)):
            self.faults.append(f"{source}: expected keys of printable ASCII without spaces, separated by commas")
        return tuple(Secret(word, source) for word in words)

    def secret(self, *names: str) -> Secret | None:
        """The first of `names` that is set, or the content of the file that `NAME_FILE` names."""
        source, text = self._sealed(*names)
        if not _is_key(text):
            self.faults.append(f"{source}: expected printable ASCII without spaces")
        return Secret(text, source) if text else None

    def _sealed(self, *names: str) -> tuple[str, str]:
        """Where it was found and what it is; both empty if it is not set."""
        for name in names:
            if value := self.text(name):
                return name, value
            if path := self.text(f"{name}_FILE"):
                self.files.append(Path(path))
                try:
                    if content := Path(path).read_text(encoding="utf-8").strip():
                        return f"{name}_FILE", content
                    self.faults.append(f"{name}_FILE: {_place(path)} is empty; expected a key in it")
                except (OSError, UnicodeDecodeError) as error:
                    self.faults.append(f"{name}_FILE: cannot read {_place(path)}: {reason(error)}")
        return "", ""


def _members(content: object, name: str) -> Iterator[str]:
    """The dotted names of all that stands below `name`. What is null says nothing, and is not there."""
    if isinstance(content, Mapping):
        below = [(f"{name}.{key}" if name else str(key), value) for key, value in content.items()]
    elif isinstance(content, list):
        below = [(_row(value, at, name), value) for at, value in enumerate(content)]
    else:
        return
    for dotted, value in below:
        if value is not None:
            yield dotted
            yield from _members(value, dotted)


def _row(value: object, at: int, name: str) -> str:
    """What a row of a list is called."""
    own = value.get("name") if isinstance(value, Mapping) else None
    return f"{name}.{own}" if isinstance(own, str) else f"{name}[{at}]"


def _is_key(text: str) -> bool:
    return text.isascii() and text.isprintable() and " " not in text


def _shown(value: str) -> str:
    """A wrong value, unless it may be a key that was put into the wrong place."""
    return repr(value) if len(value) <= 16 and not value.startswith("sk-") else "something longer, which is not shown"


def _place(path: str) -> str:
    """A path, unless it may be the key itself, put where the name of its file belongs."""
    return path if path.startswith(("/", "./", "../")) else "what it names (not shown)"


def reason(error: Exception) -> str:
    """Why a file could not be read."""
    return (error.strerror or "unreadable") if isinstance(error, OSError) else "not text in UTF-8"


def flag(text: str) -> bool:
    """Yes or no, in the words that people use."""
    return {"true": True, "1": True, "yes": True, "on": True, "false": False, "0": False, "no": False, "off": False}[
        text.lower()
    ]


def wrong_with(url: str) -> str | None:
    """Why paths cannot be appended to this URL, if they cannot. What it says is fit for a log: the URL may not be."""
    try:
        parts = urlsplit(url)
        host = parts.hostname if parts.scheme in ("http", "https") and parts.port != 0 else None
    except ValueError:
        host = None
    if not host or not url.isascii() or not url.isprintable() or " " in url:
        return "this is none"
    if "@" in parts.netloc:
        return "this one holds a user name or a password, which belong elsewhere"
    return "this one has a query or a fragment, to which no path can be appended" if set("?#") & set(url) else None
