"""Where Gemini says that it has something from, as OpenAI's annotations.

Gemini counts UTF-8 bytes inside one part; OpenAI counts characters of the whole content. Read leniently: a source that
cannot be read is left out, the answer stands without it.
"""

from typing import Any


def annotations(grounding: Any, citations: Any, parts: list[str]) -> list[dict[str, Any]]:
    """OpenAI's `annotations`. `parts` are the texts of all parts, in order; of one that the client does not see, ""."""
    found: list[dict[str, Any]] = []
    chunks = _list(grounding, "groundingChunks")
    for support in _list(grounding, "groundingSupports"):
        segment = _member(support, "segment")
        for i in _list(support, "groundingChunkIndices"):
            web = _member(chunks[i], "web") if type(i) is int and 0 <= i < len(chunks) else None
            found += _annotation(segment, web, parts)
    for source in _list(citations, "citationSources") or _list(citations, "citations"):
        found += _annotation(source, source, parts)
    return found


def _member(value: Any, name: str) -> Any:
    return value.get(name) if isinstance(value, dict) else None


def _list(value: Any, name: str) -> list[Any]:
    found = _member(value, name)
    return found if isinstance(found, list) else []


def _annotation(span: Any, source: Any, parts: list[str]) -> list[dict[str, Any]]:
    """One annotation, or none if the source has no address."""
    url = _member(source, "uri")
    if not url or not isinstance(url, str):
        return []
    part = _part(_member(span, "partIndex"), parts)
    start, end = (_characters(_member(span, name), part, parts) for name in ("startIndex", "endIndex"))
    title = _member(source, "title")
    cited = {"start_index": start, "end_index": end, "url": url, "title": title if isinstance(title, str) else ""}
    return [{"type": "url_citation", "url_citation": cited}]


def _part(index: Any, parts: list[str]) -> int:
    """The part that is meant. Whether thoughts count among the parts is not told: one without text is not meant."""
    if type(index) is int and 0 <= index < len(parts) and parts[index]:
        return index
    return next((i for i, text in enumerate(parts) if text), 0)


def _characters(offset: Any, part: int, parts: list[str]) -> int:
    """A byte offset inside a part, as a character offset in all parts joined."""
    before = sum(map(len, parts[:part]))
    text = parts[part] if parts else ""
    size = max(0, offset) if type(offset) is int else 0
    return before + len(text.encode()[:size].decode("utf-8", "ignore"))
