"""Answers as Gemini might give them, whole and in fragments, for property tests."""

from itertools import pairwise
from typing import Any

import msgspec
from hypothesis import strategies as st

from adapters.base import Call, Reading, Warnings

TEXTS = st.text(min_size=1, max_size=12)
SIGNATURES = st.sampled_from([None, "c2ln", "AAAA"])
REASONS = [
    "STOP",
    "MAX_TOKENS",
    "SAFETY",
    "RECITATION",
    "CONTINUATION",
    "OTHER",
    "MALFORMED_FUNCTION_CALL",
    "FINISH_REASON_UNSPECIFIED",
]

Part = dict[str, Any]


def call(**reading: Any) -> Call:
    return Call(path="", body=b"", reading=Reading(**{"model": "m", **reading}), warnings=Warnings())


def signed(part: Part, signature: str | None) -> Part:
    return part | ({"thoughtSignature": signature} if signature else {})


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=5,
)


@st.composite
def parts(draw: st.DrawFn) -> list[Part]:
    """Parts in the order in which a model makes them; no two texts of one kind stand side by side."""
    made: list[Part] = []
    kinds = draw(st.lists(st.sampled_from(["thought", "text", "call", "image", "server"]), max_size=6))
    for k, kind in enumerate(kinds):
        if kind == "text" and (k == 0 or kinds[k - 1] != "text"):
            made.append(signed({"text": draw(TEXTS)}, draw(SIGNATURES)))
        elif kind == "thought" and (k == 0 or kinds[k - 1] != "thought"):
            made.append({"text": draw(TEXTS), "thought": True})
        elif kind == "call":
            spelled: Part = {"name": draw(st.sampled_from(["weather", "a_b", "sql"]))}
            spelled |= draw(st.fixed_dictionaries({}, optional={"args": st.dictionaries(TEXTS, JSON, max_size=3)}))
            spelled |= {"id": f"fc-{k}"} if draw(st.booleans()) else {}
            made.append(signed({"functionCall": spelled}, draw(SIGNATURES)))
        elif kind == "image":
            made.append({"inlineData": {"mimeType": "image/png", "data": "aGk="}})
        elif kind == "server":
            made.append({"executableCode": {"language": "PYTHON", "code": draw(TEXTS)}})
    return made


@st.composite
def counts(draw: st.DrawFn) -> dict[str, Any]:
    """A usage that adds up as Google's do, thoughts beside the candidates or among them."""
    prompt, candidates, thoughts, tools = (draw(st.integers(0, 500)) for _ in range(4))
    said: dict[str, Any] = {"promptTokenCount": prompt, "candidatesTokenCount": candidates}
    said |= {"thoughtsTokenCount": thoughts} if thoughts else {}
    said |= {"toolUsePromptTokenCount": tools} if tools else {}
    said["totalTokenCount"] = prompt + candidates + thoughts + tools
    if prompt:
        cached = draw(st.integers(0, prompt))
        said["cachedContentTokenCount"] = cached
        said["promptTokensDetails"] = [{"modality": "TEXT", "tokenCount": prompt}]
    return said


@st.composite
def grounding(draw: st.DrawFn) -> dict[str, Any]:
    offsets = st.integers(0, 20)
    support = st.builds(
        lambda start, end, part: {
            "segment": {"startIndex": start, "endIndex": end, "partIndex": part},
            "groundingChunkIndices": [0],
        },
        offsets,
        offsets,
        st.integers(0, 5),
    )
    return {
        "groundingChunks": [{"web": {"uri": "https://a.example", "title": "A"}}],
        "groundingSupports": draw(st.lists(support, max_size=2)),
        "webSearchQueries": draw(st.lists(TEXTS, max_size=2)),
    }


@st.composite
def answers(draw: st.DrawFn) -> dict[str, Any]:
    candidate: dict[str, Any] = {
        "content": {"role": "model", "parts": draw(parts())},
        "finishReason": draw(st.sampled_from(REASONS)),
        "index": 0,
    }
    candidate |= draw(st.fixed_dictionaries({}, optional={"groundingMetadata": grounding()}))
    return {"candidates": [candidate], "usageMetadata": draw(counts()), "modelVersion": "gemini-3.8-flash"}


def fragment(parts: list[Part], **more: Any) -> dict[str, Any]:
    content = {"role": "model", "parts": parts} if parts else {"role": "model"}
    return {"candidates": [{"content": content, "index": 0, **more}], "modelVersion": "gemini-3.8-flash"}


@st.composite
def streams(draw: st.DrawFn, answer: dict[str, Any]) -> list[dict[str, Any]]:
    """The fragments that might have made up `answer`: texts cut anywhere, the end alone or with the last of them."""
    [whole] = answer["candidates"]
    pieces: list[Part] = []
    for part in whole["content"]["parts"]:
        pieces += draw(cut(part))
    groups: list[list[Part]] = []
    for piece in pieces:
        together = draw(st.booleans())
        if groups and together:
            groups[-1].append(piece)
        else:
            groups.append([piece])
    last = {key: value for key, value in whole.items() if key not in ("content", "index")}
    if not groups or draw(st.booleans()):
        groups.append(draw(st.sampled_from([[{"text": ""}], []])))
    told = [fragment(group) for group in groups[:-1]] + [fragment(groups[-1], **last)]
    for early in told[:-1]:
        early["usageMetadata"] = {"promptTokenCount": answer["usageMetadata"]["promptTokenCount"]}
    if draw(st.booleans()):
        return [*told, {"usageMetadata": answer["usageMetadata"]}]
    told[-1]["usageMetadata"] = answer["usageMetadata"]
    return told


@st.composite
def cut(draw: st.DrawFn, part: Part) -> list[Part]:
    """A text in pieces, its signature on the last; anything else is whole."""
    text = part.get("text")
    if not text:
        return [part]
    places = sorted(draw(st.sets(st.integers(1, len(text)), max_size=3)) | {0, len(text)})
    pieces = [part | {"text": text[a:b]} for a, b in pairwise(places)]
    for piece in pieces[:-1]:
        piece.pop("thoughtSignature", None)
    return pieces


def sse(events: list[dict[str, Any]]) -> bytes:
    return b"".join(b"data: " + msgspec.json.encode(event) + b"\r\n\r\n" for event in events)


NAMES = [
    *("candidates", "content", "parts", "text", "thought", "thoughtSignature", "functionCall", "name", "id", "args"),
    *("inlineData", "mimeType", "data", "finishReason", "index", "groundingMetadata", "citationMetadata"),
    *("logprobsResult", "chosenCandidates", "topCandidates", "token", "logProbability", "webSearchQueries"),
    *("usageMetadata", "promptTokenCount", "serviceTier", "promptFeedback", "blockReason", "modelVersion"),
    *("error", "code", "message", "status", "details"),
]
ODD = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(
                [
                    "candidates",
                    "content",
                    "parts",
                    "text",
                    "thought",
                    "thoughtSignature",
                    "functionCall",
                    "name",
                    "id",
                    "args",
                    "inlineData",
                    "mimeType",
                    "data",
                    "finishReason",
                    "index",
                    "groundingMetadata",
                    "citationMetadata",
                    "logprobsResult",
                    "chosenCandidates",
                    "topCandidates",
                    "token",
                    "logProbability",
                    "usageMetadata",
                    "promptTokenCount",
                    "serviceTier",
                    "promptFeedback",
                    "blockReason",
                    "modelVersion",
                    "error",
                    "code",
                    "message",
                    "status",
                    "details",
                    "webSearchQueries",
                ]
            ),
            inner,
            max_size=6,
        )
    ),
    max_leaves=25,
)


@st.composite
def odd(draw: st.DrawFn) -> Any:
    """An answer in which anything may be of any type."""
    if draw(st.booleans()):
        return draw(ODD)
    answer = draw(answers())
    [candidate] = answer["candidates"]
    place = draw(st.sampled_from([answer, candidate, candidate["content"], answer["usageMetadata"]]))
    place[draw(st.sampled_from([*place, "groundingMetadata", "logprobsResult", "citationMetadata"]))] = draw(ODD)
    return answer
