"""What a prompt and an answer count for with each vendor, and the prompt caches as the vendors bill them."""

from collections import OrderedDict
from collections.abc import Hashable, Iterable, Sequence

from proxy.simulator.counting import exact, tokens
from proxy.simulator.vocabulary import Ask, Json, Plan, Segment, Usage

IMAGE_TOKENS = 85
AUDIO_TOKENS = 32
MESSAGE_TOKENS = 4
CHAT_TOKENS = 3  # of each of OpenAI's messages beside its words, and again before the answer
BLOCK_TOKENS = 128  # implicit caches count in steps of this
SMALLEST_CACHED = 1024
MOST_ENTRIES = 200_000  # of a cache; the oldest go first


def segment(text: str, mark: str = "") -> Segment:
    """A stretch of text."""
    return Segment(text, tokens(text), "text", mark)


def framing(messages: int) -> int:
    """Tokens of messages beside what is said in them."""
    return MESSAGE_TOKENS * messages


def chat_framing(messages: Sequence[Json]) -> int:
    """The same of OpenAI's messages: where tokens are counted as OpenAI does, by the formula that it published."""
    if not exact():
        return framing(len(messages))
    return CHAT_TOKENS + sum(CHAT_TOKENS + tokens(m["role"]) + _name_tokens(m.get("name")) for m in messages)


def _name_tokens(name: str | None) -> int:
    return 1 + tokens(name) if name else 0


def prompt_tokens(ask: Ask) -> int:
    """All text, pictures and sounds, and what stands between the messages."""
    return sum(s.tokens for s in ask.segments) + ask.framing


def output_usage(plan: Plan) -> tuple[int, int]:
    """(tokens of text and tool calls, tokens of thinking)."""
    calls = sum(tokens(c.name) + tokens(c.arguments) for c in plan.tool_calls)
    return tokens("".join(plan.text)) + calls, tokens(plan.thinking or "")


class Memory:
    """What a vendor has seen: a bounded set of prefixes, oldest forgotten first."""

    def __init__(self) -> None:
        self.seen: OrderedDict[Hashable, None] = OrderedDict()

    def add(self, keys: Iterable[Hashable]) -> None:
        for key in keys:
            self.seen[key] = None
            self.seen.move_to_end(key)
        while len(self.seen) > MOST_ENTRIES:
            self.seen.popitem(last=False)

    def clear(self) -> None:
        self.seen.clear()


def implicit_read(memory: Memory, model: str, segments: Sequence[Segment], total: int) -> int:
    """Cached tokens of OpenAI and Gemini: the longest prefix seen before, from 1024 tokens, in steps of 128."""
    if total < SMALLEST_CACHED:
        return 0
    data = "\0".join(s.text for s in segments).encode("utf-8", "surrogatepass")
    step = BLOCK_TOKENS * 4
    prefix: Hashable = model
    keys: list[Hashable] = []
    for start in range(0, len(data) - step + 1, step):
        prefix = hash((prefix, data[start : start + step]))
        keys.append(prefix)
    first = SMALLEST_CACHED // BLOCK_TOKENS - 1
    longest = max((i + 1 for i in range(first, len(keys)) if keys[i] in memory.seen), default=0)
    memory.add(keys[first:])
    return min(longest * BLOCK_TOKENS, total // BLOCK_TOKENS * BLOCK_TOKENS)


def implicit_usage(memory: Memory, ask: Ask) -> Usage:
    """Input buckets of OpenAI and Gemini. A picture in a cached prefix counts as cached text."""
    total = prompt_tokens(ask)
    cached = implicit_read(memory, ask.model, ask.segments, total)
    images = sum(s.tokens for s in ask.segments if s.kind == "image")
    audio = sum(s.tokens for s in ask.segments if s.kind == "audio")
    images = min(images, total - cached)
    audio = min(audio, total - cached - images)
    return Usage(in_text=total - cached - images - audio, in_audio=audio, in_image=images, cache_read=cached)


def marked_usage(memory: Memory, ask: Ask) -> Usage:
    """Input buckets of Anthropic: read up to the longest written prefix, written from there to the last mark."""
    total = prompt_tokens(ask)
    last = max((i for i, s in enumerate(ask.segments) if s.mark), default=-1)
    usage = Usage()
    prefix: Hashable = ask.model
    written: list[Hashable] = []
    unread: list[Segment] = []
    for piece in ask.segments[: last + 1]:
        prefix = hash((prefix, piece.text))
        usage.cache_read += piece.tokens
        unread.append(piece)
        if piece.mark:
            written.append(prefix)
        if prefix in memory.seen:
            unread = []
    owed = 0
    for piece in unread:
        usage.cache_read -= piece.tokens
        owed += piece.tokens
        if piece.mark == "1h":
            usage.cache_write_1h, owed = usage.cache_write_1h + owed, 0
        elif piece.mark:
            usage.cache_write_5m, owed = usage.cache_write_5m + owed, 0
    memory.add(written)
    usage.in_text = total - usage.cache_read - usage.cache_write_5m - usage.cache_write_1h
    return usage
