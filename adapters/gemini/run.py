"""A run of fragments that differ in nothing but their text and their counts.

The fragments of one stream are written by one hand, and a read may bring several. Each counts all so far: so the last
one of a run tells what is counted, and of those before it only the texts are decoded, all at once.
"""

import re
from collections.abc import Iterator, Sequence
from itertools import repeat, takewhile

import msgspec

from adapters.completion import encode
from adapters.flow import LOOKS
from adapters.gemini.answer import Candidate, Content, Part, decoder

_DATA = b"data: "
_TEXT = re.compile(rb'"text": ?"((?:[^"\\\n]|\\[^\n])++)"')
_COUNTS = b'"usageMetadata"'
_DIGITS = b"0123456789"
_strings = msgspec.json.Decoder(str)
_members = msgspec.json.Decoder(msgspec.Raw)  # it looks whether they are JSON, no more


class Run:
    """Of one stream. Until something is learnt every fragment is read."""

    thought = False  # what its texts are
    _before = b""  # what stands before a text
    _seam = b""  # the same, with the blank line before it
    _behind = b""  # what stands behind a text, up to the counts
    _rest = b""  # the counts and what stands behind them, without digits
    _learns = False

    def walk(self, whole: bytes) -> Iterator[tuple[bytes, list[bytes], list[str]]]:
        """Whole events, in order: each by itself, without the blank line behind it; or the texts of a run, as `encode`
        writes them, without quotes, and as they are. What is learnt on the way is known from then on."""
        at = looks = 0
        while at < len(whole):
            stop = whole.find(b"\n\n", at)
            # The last one is read anyway. So is each, if what they look like changes more often than it is worth.
            self._learns = 0 <= stop < len(whole) - 2 and looks < LOOKS
            if self._learns:
                looks += 1
                end, said, texts = self._take(whole, at)
                if end > at:
                    yield b"", said, texts
                    self._learns = False  # the next one is like them
                    at, stop = end, whole.find(b"\n\n", end)
            stop = len(whole) if stop < 0 else stop  # half a blank line too many
            yield whole[at:stop], [], []
            at = stop + 2

    def learn(self, event: bytes, said: bytes) -> None:
        """The next ones may be like this one, without the blank line behind it, if it has `said` something."""
        found = None
        if self._learns and said and event.startswith(_DATA) and b"\n" not in event:
            found = _TEXT.search(event)
        if found is None:
            return
        start, end = found.span(1)
        match decoder.decode(event[len(_DATA) : start] + event[end:]).candidates:
            case [Candidate(content=Content(parts=[Part(thought=thought)]), index=index) as bare]:
                if bare == Candidate(Content([Part("", thought)]), index=index):
                    behind = event[end:]
                    cut = behind.find(_COUNTS)  # without any it is -1: all but the last byte is compared as it is
                    self.thought = bool(thought)
                    self._before = event[:start]
                    self._seam = b"\n\n" + self._before
                    self._behind, self._rest = behind[:cut], behind[cut:].translate(None, _DIGITS)

    def _take(self, whole: bytes, at: int) -> tuple[int, list[bytes], list[str]]:
        """Where the last fragment of a run begins whose first one begins `at`, and the texts of those before it."""
        before, seam, behind, bare = self._before, self._seam, self._behind, self._rest
        if not before or not whole.startswith(before, at):
            return at, [], []
        # A loop over them in Python would take as long as all the rest.
        pieces = whole[at + len(before) : -2].split(seam)
        found, _, rests = zip(*map(bytes.partition, pieces, repeat(behind)), strict=True)
        stripped = map(bytes.translate, rests, repeat(None), repeat(_DIGITS))
        alike = len(list(takewhile(bare.__eq__, stripped)))
        texts = _decoded(found[:alike], rests[:alike])
        if len(texts) != alike or alike < 2:
            return at, [], []
        del texts[-1]
        said, before_last = list(found[: alike - 1]), pieces[: alike - 1]
        last = at + sum(map(len, before_last)) + len(before_last) * len(seam)
        if not all(texts) or b"\\" in b"".join(said):
            texts = [text for text in texts if text]
            said = [encode(text)[1:-1] for text in texts]
        return last, said, texts


def _decoded(said: Sequence[bytes], rests: Sequence[bytes]) -> list[str]:
    """What these are as texts of JSON: as many only if each is one, and what stands behind it is JSON too.

    Each has a line, and none goes on in the next one: a text of JSON has no line break.
    """
    try:
        _members.decode_lines(b"{%b" % b"\n{".join(rests))
        return _strings.decode_lines(b'"%b"' % b'"\n"'.join(said))
    except (msgspec.DecodeError, UnicodeDecodeError):
        return []
