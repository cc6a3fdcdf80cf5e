"""How many tokens a text has, and where a limit cuts it: by one of two rules, chosen once when the process starts.

`bytes` needs no table and is fast: UTF-8 bytes / 4. `o200k` is the tokenizer of OpenAI's newer models, to the token.
"""

import os
from functools import lru_cache
from pathlib import Path
from typing import Literal, Protocol

RuleName = Literal["bytes", "o200k"]
RULES: tuple[RuleName, ...] = ("bytes", "o200k")
RANKS = Path(__file__).resolve().parents[1] / "assets" / "tokenizers"
REMEMBERED = 8_192  # counts of texts: system prompts and echoes come again and again


class Rule(Protocol):
    """A way of counting."""

    def count(self, text: str) -> int:
        """Tokens of `text`; 0 for no text."""
        ...

    def head(self, text: str, most: int) -> str:
        """The longest head of `text` that counts for at most `most` tokens; never half a character."""
        ...


class Bytes:
    """UTF-8 bytes / 4, rounded up."""

    def count(self, text: str) -> int:
        size = len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))
        return (size + 3) // 4

    def head(self, text: str, most: int) -> str:
        return text.encode("utf-8", "surrogatepass")[: most * 4].decode("utf-8", "ignore")


class O200k:
    """OpenAI's o200k_base, from the rank file that comes with the installation. No text is a special token."""

    def __init__(self) -> None:
        os.environ["TIKTOKEN_CACHE_DIR"] = str(RANKS)
        import tiktoken  # only here: it takes longer to load than all the rest, and most simulators do without

        self._encoding = tiktoken.get_encoding("o200k_base")
        self.count = lru_cache(REMEMBERED)(self._count)

    def _count(self, text: str) -> int:
        return len(self._encoding.encode_ordinary(text))

    def head(self, text: str, most: int) -> str:
        numbers = self._encoding.encode_ordinary(text)
        if len(numbers) <= most:
            return text
        # What is left of a text may fall into other tokens than it did as a part of the whole.
        for kept in range(most, 0, -1):
            head = self._encoding.decode_bytes(numbers[:kept]).decode("utf-8", "ignore")
            if self._count(head) <= most:
                return head
        return ""


_rule: Rule = Bytes()


def choose(name: RuleName) -> None:
    """Count by this rule from now on, all over the process."""
    global _rule  # a process counts in one way, from its first request to its last
    _rule = O200k() if name == "o200k" else Bytes()


def exact() -> bool:
    """Whether tokens are counted as OpenAI counts them."""
    return isinstance(_rule, O200k)


def tokens(text: str) -> int:
    """Tokens of `text`; 0 for no text."""
    return _rule.count(text)


def shortened(text: str, most: int) -> str:
    """The longest head of `text` that counts for at most `most` tokens; never half a character."""
    return _rule.head(text, most) if most > 0 else ""
