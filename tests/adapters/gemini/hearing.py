"""How a client hears a streamed answer."""

from typing import Any

import msgspec
from openai.lib.streaming.chat import ChatCompletionStreamState
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from adapters.gemini import stream
from adapters.gemini.stream import Translation
from tests.adapters.gemini import answers
from tests.adapters.golden import STAMP


def heard(body: bytes, *, size: int = 0, **reading: Any) -> tuple[Translation, bytes]:
    """The translation at its end and all that it said, fed in pieces of `size` bytes."""
    translation = stream(answers.call(**{"stream": True, "include_usage": True, **reading}), STAMP)
    pieces = [body[i : i + size] for i in range(0, len(body), size)] if size else [body]
    return translation, b"".join([translation.feed(piece) for piece in pieces]) + translation.end()


def chunks(said: bytes) -> list[dict[str, Any]]:
    events = [event.removeprefix(b"data: ") for event in said.split(b"\n\n") if event]
    return [msgspec.json.decode(event) for event in events if event != b"[DONE]"]


def deltas(said: bytes) -> list[dict[str, Any]]:
    return [choice["delta"] for chunk in chunks(said) for choice in chunk["choices"]]


def accumulated(said: bytes) -> ChatCompletion:
    """What OpenAI's own client makes of it."""
    state: ChatCompletionStreamState[Any] = ChatCompletionStreamState()
    for chunk in chunks(said):
        state.handle_chunk(ChatCompletionChunk.model_validate(chunk))
    return state.current_completion_snapshot


def bare(value: Any) -> Any:
    """Without what only a stream has, or the accumulator leaves behind."""
    if isinstance(value, dict):
        ours = ("index", "parsed", "parsed_arguments")
        return {key: bare(inner) for key, inner in value.items() if key not in ours and inner is not None}
    return [bare(item) for item in value] if isinstance(value, list) else value


def spoken(completion: ChatCompletion) -> Any:
    [choice] = completion.choices
    return bare(choice.model_dump())
