"""An answer in mid-flow: events that differ in nothing but their text, told apart from all others without reading them.

The events of one stream are written by one hand: what stands before a text and behind it is the same in each, but for
OpenAI's padding (`obfuscation`). So one that was read tells what the next ones look like, and of these only the texts
are decoded, all at once: a tenth of the work of reading each. Whatever looks otherwise is for others to read.
"""

import re
from collections.abc import Iterator
from itertools import repeat
from operator import itemgetter

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

    before = b""
    end = b""  # behind the text, or behind the padding if there is any
    _behind = b""  # between the two
    _seam = b""  # from one text (or padding) to the text of the next event
    _needle = b""  # what is looked for of it
    _inside = itemgetter(slice(0))  # the text, of what stands between two needles

    def learn(self, event: bytes, text: bytes) -> None:
        """This is an event, without the blank line behind it, whose last `text` may be another in the next ones; as it
        stands before one: `"content":"`. The event is JSON, and is not more than one line of data."""
        place = event.rfind(text)
        at = place + len(text)
        if place < 0 or at < _HEAD or event.find(b"\n", at) >= 0:
            return
        if (found := _STRING.match(event, at)) is None:
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
        self._inside = itemgetter(slice(at - _HEAD, 2 - len(self.end)))

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
        start, behind = at + len(before), self.end
        stop = whole.find(behind, start)
        if stop < 0:
            return len(whole), []
        end = stop + len(behind)
        if end == len(whole):  # one, as they come at a vendor's own pace
            said = [whole[start:stop]]
        else:
            stop = whole.find(behind, whole.rfind(before))
            if stop < 0:
                return len(whole), []
            end = stop + len(behind)
            said = list(map(self._inside, whole[at + _HEAD : end - 2].split(self._needle)))
            # Put together anew they are what they were: so each is wrapped in the same.
            if self._seam.join(said) != whole[start:stop]:
                return end, []
        if self._behind:
            said = self._without_padding(said)
        try:  # all at once, for behind a comma no escape goes on, and no letter
            _text.decode(b'"%b"' % b",".join(said))
        except _UNREADABLE:
            return end, []
        return end, said

    def walk(self, whole: bytes) -> Iterator[tuple[bytes, list[bytes]]]:
        """Whole events, in order: the texts of those that are known, as they stand, a run at a time; each other by
        itself, without the blank line behind it. What is learnt on the way is known from then on."""
        at = read = looks = 0  # up to `read` each is read
        size = len(whole)
        while at < size:
            if at >= read and looks < LOOKS:
                end, said = self.run(whole, at)
                if said:
                    yield b"", said
                    at = end
                    continue
                if end > at:
                    looks += 1
                    read = end
            stop = whole.find(b"\n\n", at)
            if stop < 0:
                stop = size  # half a blank line too many
            known = self.before
            yield whole[at:stop], []
            at = stop + 2
            if self.before is not known:
                read = at

    def _without_padding(self, said: list[bytes]) -> list[bytes]:
        """The texts alone; none if one is wrapped otherwise, or its padding has escapes."""
        texts, found, paddings = zip(*map(bytes.partition, said, repeat(self._behind)), strict=True)
        return list(texts) if all(found) and _PLAIN(b"".join(paddings)) else []


def decoded(said: list[bytes]) -> list[str]:
    """What these are, that have been told apart from all others: each is a text of JSON."""
    return _texts.decode(b'["%b"]' % b'","'.join(said))


_PLAIN = re.compile(rb"[ !#-\[\]-~]*").fullmatch  # ASCII, without what JSON escapes


def wrapped(texts: list[bytes], before: bytes, end: bytes) -> bytes:
    """Events, one for each text."""
    return b"".join((before, (end + before).join(texts), end))
