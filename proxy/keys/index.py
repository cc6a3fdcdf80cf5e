"""All keys that are known, found by name and by what is presented; and what they are hashed with. Pure."""

from collections.abc import Iterator

from proxy import keys
from proxy.keys import Key, State


class KeyTaken(Exception):
    """There is, or was, a key of this name."""


class KeyUnknown(Exception):
    """There was never a key of this name."""


class KeyRevoked(Exception):
    """The key was revoked, and stays so."""


class Index:
    """`peppers`: what keys are hashed with, the one for new keys first. None: no key can be known, nor made."""

    def __init__(self, *peppers: bytes) -> None:
        self.peppers = peppers
        self._by_name: dict[str, Key] = {}
        self._by_digest: dict[str, Key] = {}

    def __bool__(self) -> bool:
        return bool(self._by_name)

    def __iter__(self) -> Iterator[Key]:
        """All of them, by name; those revoked too."""
        return (self._by_name[name] for name in sorted(self._by_name))

    def get(self, name: str) -> Key | None:
        """The key of that name, revoked or not."""
        return self._by_name.get(name)

    def known(self, name: str) -> Key:
        """The same; raises `KeyUnknown`."""
        key = self.get(name)
        if key is None:
            raise KeyUnknown(name)
        return key

    def live(self, name: str) -> Key:
        """The same, if it was not revoked; raises `KeyUnknown`, `KeyRevoked`."""
        key = self.known(name)
        if key.revoked:
            raise KeyRevoked(name)
        return key

    def find(self, presented: str, now: int) -> Key | None:
        """The key, if it is known and good at this time (milliseconds since the epoch)."""
        for pepper in self.peppers:
            digest = keys.digest(presented, pepper)
            key = self._by_digest.get(digest)
            if key is not None and keys.good(key, digest, now):
                return key
        return None

    def state(self, presented: str, now: int) -> State:
        """Why `find` does not find it."""
        digests = [keys.digest(presented, pepper) for pepper in self.peppers]
        found = ((self._by_digest[digest], digest) for digest in digests if digest in self._by_digest)
        return next((keys.state(key, digest, now) for key, digest in found), "unknown")

    def put(self, key: Key) -> bool:
        """This is what there is of it now. False if it was so before."""
        known = self._by_name.get(key.name)
        if key == known:
            return False
        for digest in (known.digest, known.digest_before) if known else ():
            self._by_digest.pop(digest, None)
        self._by_name[key.name] = key
        self._by_digest.update((digest, key) for digest in (key.digest, key.digest_before) if digest)
        return True

    def season(self, heard: tuple[bytes, ...]) -> bool:
        """These are peppers of others; all of them are good. False if they lack one of ours."""
        more = tuple(pepper for pepper in self.peppers if pepper not in heard)
        self.peppers = (*heard, *more)
        return not more
