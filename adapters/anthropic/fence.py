"""Emulated JSON mode: the model may put a fence around its answer, and nobody can tell before the end."""

from adapters.completion import without_fence

_FENCE = "```"


class Fence:
    """Of one streamed answer. Holds back what may stand in a fence."""

    def __init__(self) -> None:
        self.held: list[str] = []
        self._is_one = False

    def passed(self, text: str) -> str:
        """All the text so far as soon as it is known to be in no fence: then it need not come through here any more.
        Until then nothing."""
        self.held.append(text)
        if self._is_one:
            return ""
        whole = "".join(self.held)
        head = whole.lstrip()[:3]
        self._is_one = head == _FENCE
        return "" if _FENCE.startswith(head) else whole  # it is one, or may yet become one

    def rest(self) -> str:
        """What was held back to the end, without its fence."""
        return without_fence("".join(self.held))
