"""What Gemini counted, in our disjoint buckets."""

from typing import Any

from adapters.base import Usage

_TIERS = {"standard": "default", "flex": "flex", "priority": "priority"}
_MOST = 2**53  # what is more than this, or less than nothing, is no count of tokens


class Told:
    """Cumulative counts. Read leniently: no oddity in the bill is worth the loss of a good answer."""

    def __init__(self, said: Any = None) -> None:
        self._said: dict[str, Any] = {}
        self.overwrite(said)

    def overwrite(self, later: Any) -> None:
        """Take over what a later fragment says: counts replace, they never add; a null says nothing."""
        if isinstance(later, dict):
            if None in later.values():
                later = {name: value for name, value in later.items() if value is not None}
            self._said.update(later)

    def usage(self, searches: int) -> Usage | None:
        """The counts in disjoint buckets; None if nothing was counted: then it is for others to estimate."""
        found = self.buckets(searches)
        return found if found.prompt or found.completion or searches else None

    def buckets(self, searches: int = 0) -> Usage:
        """The counts in disjoint buckets. The prompt includes what was cached; thoughts are counted once."""
        said = self._said
        prompt = _count(said.get("promptTokenCount")) + _count(said.get("toolUsePromptTokenCount"))
        thoughts = _count(said.get("thoughtsTokenCount"))
        candidates = _count(said.get("candidatesTokenCount"))
        if thoughts <= candidates and prompt + candidates == said.get("totalTokenCount"):
            candidates -= thoughts  # some models count the thoughts among the candidates
        cached = min(prompt, _count(said.get("cachedContentTokenCount")))
        of_cached, of_prompt = said.get("cacheTokensDetails"), said.get("promptTokensDetails")
        cached_audio = min(cached, _of(of_cached, "AUDIO"))
        fresh = prompt - cached
        audio = min(fresh, max(0, _of(of_prompt, "AUDIO") - cached_audio))
        image = min(fresh - audio, max(0, _of(of_prompt, "IMAGE") - _of(of_cached, "IMAGE")))
        out_audio = min(candidates, _of(said.get("candidatesTokensDetails"), "AUDIO"))
        out_image = min(candidates - out_audio, _of(said.get("candidatesTokensDetails"), "IMAGE"))
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
        return _TIERS.get(str(self._said.get("serviceTier")).lower())


def searches(grounding: Any) -> int:
    """How many queries of Google's search were billed."""
    queries = grounding.get("webSearchQueries") if isinstance(grounding, dict) else None
    return len(queries) if isinstance(queries, list) else 0


def _count(value: Any) -> int:
    return value if type(value) is int and 0 <= value <= _MOST else 0


def _of(counts: Any, modality: str) -> int:
    """The sum of one modality in a list of details."""
    listed = counts if isinstance(counts, list) else []
    return sum(_count(c.get("tokenCount")) for c in listed if isinstance(c, dict) and c.get("modality") == modality)
