"""Where Gemini says that it has something from, as OpenAI's annotations.

Gemini counts UTF-8 bytes inside one part; OpenAI counts characters of the whole content.
"""

from typing import Any


def annotations(
    grounding: dict[str, Any] | None, citations: dict[str, Any] | None, parts: list[str]
) -> list[dict[str, Any]]:
    """OpenAI's `annotations`. `parts` are the texts of the visible parts, in order."""
    found: list[dict[str, Any]] = []
    chunks = _list(grounding, "groundingChunks")
    for support in _list(grounding, "groundingSupports"):
        segment = support.get("segment") or {}
        for i in support.get("groundingChunkIndices") or ():
            web = chunks[i].get("web") if isinstance(i, int) and 0 <= i < len(chunks) else None
            if isinstance(web, dict) and web.get("uri"):
                part = segment.get("partIndex") or 0
                found.append(_annotation(segment, part, parts, str(web["uri"]), str(web.get("title") or "")))
    for source in _list(citations, "citationSources") or _list(citations, "citations"):
        if source.get("uri"):
            found.append(_annotation(source, 0, parts, str(source["uri"]), str(source.get("title") or "")))
    return found


def _list(metadata: dict[str, Any] | None, name: str) -> list[dict[str, Any]]:
    value = (metadata or {}).get(name)
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _annotation(span: dict[str, Any], part: Any, parts: list[str], url: str, title: str) -> dict[str, Any]:
    start, end = (_characters(span.get(name), part, parts) for name in ("startIndex", "endIndex"))
    return {
        "type": "url_citation",
        "url_citation": {"start_index": start, "end_index": end, "url": url, "title": title},
    }


def _characters(offset: Any, part: Any, parts: list[str]) -> int:
    """A byte offset inside a part, as a character offset in all parts joined."""
    index = part if isinstance(part, int) and 0 <= part < len(parts) else 0
    before = sum(map(len, parts[:index]))
    text = parts[index] if parts else ""
    return before + len(text.encode()[: offset if isinstance(offset, int) else 0].decode("utf-8", "ignore"))
