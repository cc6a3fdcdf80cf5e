"""An answer in mid-flow: events that differ in nothing but their text, told apart from all others without reading them.

The events of one stream are written by one hand: what stands before a text and behind it is the same in each, but for
OpenAI's padding (`obfuscation`). So one that was read tells what the next ones look like, and of these only the texts
are decoded, all at once: a tenth of the work of reading each. Whatever looks otherwise is for others to read.
"""

import re
from collections.abc import Iterator

import msgspec

_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError)
_STRING = re.compile(rb'[^"\\\n]*+(?:\\[^\n][^"\\\n]*+)*+"')
_PADDING = b'"obfuscation":"'
_HEAD = 16  # bytes of an event by which the next one is found: long needles are dear to look for
LOOKS = 8  # for known events, in what came at once: who changes what they look like more often, is read
_text = msgspec.json.Decoder(str)
_texts = msgspec.json.Decoder(list[str])


class Flow:
    """Of one stream. Until something is learnt no event is known."""

    def __init__(self) -> None:
        self.before = b""
        self.end = b""  # behind the text, or behind the padding if there is any
        self._behind = b""  # between the two
        self._seam = b""  # from one text (or padding) to the text of the next event
        self._needle = b""  # what is looked for of it
        self._inside = slice(0)  # where the text is, in what stands between two needles

    def learn(self, event: bytes, text: bytes) -> None:
        """This is an event, without the blank line behind it, whose last `text` may be another in the next ones; as it
        stands before one: `"content":"`. The event is JSON, and is not more than one line of data."""
        at = event.rfind(text) + len(text)
        found = _STRING.match(event, at) if at >= max(len(text), _HEAD) else None
        if found is None or event.find(b"\n", at) >= 0:
            return
        behind, end = b"", event[found.end() - 1 :]
        padding = end.find(_PADDING, 1)
        if padding > 0 and (found := _STRING.match(end, padding + len(_PADDING))) is not None:
            behind, end = end[: padding + len(_PADDING)], end[found.end() - 1 :]
        self.before = event[:at]
        self._behind = behind
        self.end = end + b"\n\n"
        self._seam = self.end + self.before
        self._needle = b"\n\n" + self.before[:_HEAD]
        self._inside = slice(at - _HEAD, 2 - len(self.end))

    def forget(self) -> None:
        """Nothing is known any more."""
        self.before = b""

    @property
    def padded(self) -> bool:
        """Whether there is more in an event that differs than its text."""
        return bool(self._behind)

    @property
    def wrapping(self) -> tuple[bytes, ...]:
        """What stands around a text, and the padding. Nothing of it can be a part of one: there quotes are escaped."""
        return (self.before, self._behind, self.end) if self._behind else (self.before, self.end)

    def run(self, whole: bytes, at: int = 0) -> tuple[int, list[bytes]]:
        """Where a run of known events ends that begins `at`, and their texts as they stand. No texts: the events up to
        that end are to be read, for one of them at least is another.

        `whole` is whole events; one begins `at`.
        """
        before = self.before
        if not before or not whole.startswith(before, at):
            return at, []
        start = at + len(before)
        alone = whole.find(self._needle, start) < 0
        stop = whole.find(self.end, start if alone else whole.rfind(before))
        if stop < 0:
            return len(whole), []
        end = stop + len(self.end)
        if alone:  # as they come at a vendor's own pace
            said = [whole[start:stop]]
        else:
            inside = self._inside
            said = [event[inside] for event in whole[at + _HEAD : end - 2].split(self._needle)]
            # Put together anew they are what they were: so each is wrapped in the same.
            if self._seam.join(said) != whole[start:stop]:
                return end, []
        if self._behind:
            said = self._without_padding(said)
        return end, said if _are_texts(said) else []

    def walk(self, whole: bytes) -> Iterator[tuple[bytes, list[bytes]]]:
        """Whole events, in order: the texts of those that are known, as they stand, a run at a time; each other by
        itself, without the blank line behind it. What is learnt on the way is known from then on."""
        at = read = looks = 0  # up to `read` each is read
        while at < len(whole):
            end, said = self.run(whole, at) if at >= read and looks < LOOKS else (at, [])
            if said:
                yield b"", said
                at = end
                continue
            looks += end > at
            stop = whole.find(b"\n\n", at)
            stop = len(whole) if stop < 0 else stop  # half a blank line too many
            known = self.before
            yield whole[at:stop], []
            at = stop + 2
            read = max(read, end) if self.before is known else at

    def _without_padding(self, said: list[bytes]) -> list[bytes]:
        """The texts alone; none if one is wrapped otherwise, or its padding has escapes."""
        halves = [piece.partition(self._behind) for piece in said]
        padded = all([half[1] for half in halves]) and _PLAIN(b"".join([half[2] for half in halves]))
        return [half[0] for half in halves] if padded else []


def decoded(said: list[bytes]) -> list[str]:
    """What these are, that have been told apart from all others: each is a text of JSON."""
    return _texts.decode(b'["%b"]' % b'","'.join(said))


def _are_texts(said: list[bytes]) -> bool:
    """Whether each of these is a text of JSON: all at once, for behind a comma no escape goes on, and no letter."""
    try:
        _text.decode(b'"%b"' % b",".join(said))
    except _UNREADABLE:
        return False
    return True


_PLAIN = re.compile(rb"[ !#-\[\]-~]*").fullmatch  # ASCII, without what JSON escapes


def wrapped(texts: list[bytes], before: bytes, end: bytes) -> bytes:
    """Events, one for each text."""
    return b"".join((before, (end + before).join(texts), end))
