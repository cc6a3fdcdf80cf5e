"""What Gemini counted, in our disjoint buckets."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from adapters.base import Usage

_TIERS = {"standard": "default", "flex": "flex", "priority": "priority"}
_MOST = 2**53  # what is more than this, or less than nothing, is no count of tokens


class Told:
    """Cumulative counts. Read leniently: no oddity in the bill is worth the loss of a good answer."""

    _found: Usage | None = None  # what was worked out of what is told by now

    def __init__(self, said: Any = None) -> None:
        self._said: dict[str, Any] = {}
        self.overwrite(said)

    def overwrite(self, later: Any) -> None:
        """Take over what a later fragment says: counts replace, they never add; a null says nothing."""
        if isinstance(later, dict):
            if None in later.values():
                later = {name: value for name, value in later.items() if value is not None}
            self._said = {**self._said, **later} if self._said else later
            self._found = None

    def usage(self, searches: int) -> Usage | None:
        """The counts in disjoint buckets; None if nothing was counted: then it is for others to estimate."""
        found = self.buckets(searches)
        return found if found.out_text or found.prompt or found.completion or searches else None

    def buckets(self, searches: int = 0) -> Usage:
        """The counts in disjoint buckets, worked out once. The prompt includes what was cached; thoughts are counted
        once."""
        if self._found is None or self._found.web_searches != searches:
            self._found = self._buckets(searches)
        return self._found

    def _buckets(self, searches: int) -> Usage:
        told = self._said.get
        prompt, candidates = _count(told("promptTokenCount")), _count(told("candidatesTokenCount"))
        thoughts = cached = cached_audio = audio = image = out_audio = out_image = 0
        if by_tools := told("toolUsePromptTokenCount"):
            prompt += _count(by_tools)
        if thought := told("thoughtsTokenCount"):
            thoughts = _count(thought)
            if thoughts <= candidates and prompt + candidates == told("totalTokenCount"):
                candidates -= thoughts  # some models count the thoughts among the candidates
        if kept := told("cachedContentTokenCount"):
            cached = min(prompt, _count(kept))
        fresh = prompt - cached
        of_prompt, of_cached = _details(told("promptTokensDetails")), _details(told("cacheTokensDetails"))
        if of_prompt or of_cached:
            cached_audio = min(cached, of_cached.get("AUDIO", 0))
            audio = min(fresh, max(0, of_prompt.get("AUDIO", 0) - cached_audio))
            image = min(fresh - audio, max(0, of_prompt.get("IMAGE", 0) - of_cached.get("IMAGE", 0)))
        if said := _details(told("candidatesTokensDetails")):
            out_audio = min(candidates, said.get("AUDIO", 0))
            out_image = min(candidates - out_audio, said.get("IMAGE", 0))
        return Usage(
            in_text=fresh - audio - image,
            in_audio=audio,
            in_image=image,
            cache_read=cached - cached_audio,
            cache_read_audio=cached_audio,
            out_text=candidates - out_audio - out_image,
            out_reasoning=thoughts,
            out_audio=out_audio,
            out_image=out_image,
            web_searches=searches,
        )

    def tier(self) -> str | None:
        """The service tier in OpenAI's words, if the vendor told one."""
        tier = self._said.get("serviceTier")
        return _TIERS.get(str(tier).lower()) if tier else None


def searches(grounding: Any) -> int:
    """How many queries of Google's search were billed."""
    queries = grounding.get("webSearchQueries") if isinstance(grounding, dict) else None
    return len(queries) if isinstance(queries, list) else 0


def _count(value: Any) -> int:
    return value if type(value) is int and 0 <= value <= _MOST else 0


_NOTHING: Mapping[str, int] = MappingProxyType({})


def _details(counts: Any) -> Mapping[str, int]:
    """The tokens of each modality in a list of details, but for text: that is what is left."""
    if counts is None or not isinstance(counts, list):
        return _NOTHING
    found: dict[str, int] = {}
    for count in counts:
        modality = count.get("modality") if isinstance(count, dict) else None
        if modality != "TEXT" and isinstance(modality, str):
            found[modality] = found.get(modality, 0) + _count(count.get("tokenCount"))
    return found
