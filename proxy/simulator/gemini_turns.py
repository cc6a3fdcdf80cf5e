"""What Gemini refuses in a conversation: roles, parts, call turns, thought signatures; and how it words a refusal."""

import re
from collections.abc import Callable, Iterator

from proxy.simulator.gemini_models import Model
from proxy.simulator.serials import is_signature
from proxy.simulator.shapes import Path
from proxy.simulator.vocabulary import Json, Refusal

KINDS = (
    "text", "inlineData", "fileData", "functionCall", "functionResponse", "executableCode", "codeExecutionResult",
    "toolCall", "toolResponse",
)  # fmt: skip
NAME = re.compile(r"^[a-zA-Z_][a-zA-Z0-9_.:-]{0,127}$")
SENTINEL = "skip_thought_signature_validator"
MEDIA = re.compile(r"^(image/(png|jpeg|webp|heic|heif|gif)|audio/|video/|text/|application/(pdf|json|x-|rtf))")


def snake(path: Path) -> str:
    """The path as Google writes it: `contents[0].function_call`."""
    text = ""
    for step in path:
        if isinstance(step, int):
            text += f"[{step}]"
        else:
            word = re.sub(r"(?<!^)([A-Z])", lambda m: "_" + m[1].lower(), step)
            text += f".{word}" if text else word
    return text


def violation(message: str, field: str) -> Refusal:
    """A refusal that names the field in its details."""
    detail = {"field": field, "description": message}
    details = [{"@type": "type.googleapis.com/google.rpc.BadRequest", "fieldViolations": [detail]}]
    return Refusal(message, field, details=details)


def unknown(key: str, where: str) -> Refusal:
    """A field that the message at `where` does not have."""
    at = f" at '{where}'" if where else ""
    return violation(f'Invalid JSON payload received. Unknown name "{key}"{at}: Cannot find field.', where)


def _contents(body: Json, row: Model) -> Iterator[Refusal]:
    if not body.get("contents"):
        yield Refusal("* GenerateContentRequest.contents: contents is not specified\n", "contents")
    for index, content in enumerate(body.get("contents") or []):
        if content.get("role") not in (None, "", "user", "model"):
            yield Refusal("Please use a valid role: user, model.")
        if not content.get("parts"):
            where = f"contents[{index}].parts"
            yield Refusal(f"* GenerateContentRequest.{where}: contents.parts must not be empty.\n", where)
        for at, part in enumerate(content.get("parts") or []):
            yield from _part(part, f"contents[{index}].parts[{at}]", row)


def _part(part: Json, where: str, row: Model) -> Iterator[Refusal]:
    kinds = [k for k in KINDS if part.get(k) is not None]
    if not kinds and not part.get("thoughtSignature"):
        message = "* GenerateContentRequest.{0}.data: required oneof field 'data' must have one initialized field\n"
        yield Refusal(message.format(where), f"{where}.data")
    if len(kinds) > 1:
        yield violation(f"Invalid value at '{where}' (oneof), oneof field 'data' is already set. Cannot set '{kinds[1]}'",  # noqa: E501 - the vendor's own sentence, in one piece
                         where)  # fmt: skip
    if "inlineData" in kinds and not MEDIA.match(part["inlineData"]["mimeType"]):
        yield Refusal(f"Unsupported MIME type: {part['inlineData']['mimeType']}")
    for kind in ("functionCall", "functionResponse"):
        if kind in kinds and part[kind].get("id") is not None and not row.signs:
            yield unknown("id", f"{snake((where,))}.{snake((kind,))}")
        if kind in kinds and not NAME.match(part[kind]["name"]):
            yield bad_name(f"{where}.{snake((kind,))}.name")


def bad_name(where: str) -> Refusal:
    """A function name outside its charset."""
    message = (
        f"* GenerateContentRequest.{where}: Invalid function name. Must start with a letter or an underscore. Must be "
        "alphanumeric (a-z, A-Z, 0-9), underscores (_), dots (.), colons (:), or dashes (-), with a maximum length of "
        "128.\n"
    )
    return Refusal(message, where)


def _call_turns(body: Json, row: Model) -> Iterator[Refusal]:
    owed = 0
    for content in body["contents"]:
        parts = content["parts"]
        calls = sum("functionCall" in p for p in parts)
        results = sum("functionResponse" in p for p in parts)
        if owed and results != owed:
            yield Refusal(
                "Please ensure that the number of function response parts is equal to the number of function call "
                "parts of the function call turn."
            )
        if results and not owed:
            yield Refusal("Please ensure that function response turn comes immediately after a function call turn.")
        owed = calls
    if owed:
        yield Refusal(
            "Please ensure that function call turn comes immediately after a user turn or after a function response "
            "turn."
        )


def _signatures(body: Json, row: Model) -> Iterator[Refusal]:
    if not row.signs:
        return
    contents = body["contents"]
    spoken = [i for i, c in enumerate(contents)
              if c.get("role") != "model" and any(p.get("text") is not None for p in c["parts"])]  # fmt: skip
    current = spoken[-1] if spoken else -1
    signed_step = False
    for index, content in enumerate(contents):
        if content.get("role") != "model":
            signed_step = False
            continue
        for at, part in enumerate(content["parts"]):
            given, call = part.get("thoughtSignature"), part.get("functionCall")
            if given is not None and given != SENTINEL and not is_signature(given, (call or {}).get("name", "")):
                yield Refusal("Corrupted thought signature.")
            if call is not None and index > current and not given and not signed_step:
                yield Refusal(
                    "Function call is missing a thought_signature in functionCall parts. This is required for tools to "
                    "work correctly, and missing thought_signature may lead to degraded model performance. Additional "
                    f"data, function call `default_api:{call['name']}` , position {at + 1}. Please refer to "
                    "https://ai.google.dev/gemini-api/docs/thought-signatures for more details."
                )
            signed_step = signed_step or call is not None


CHECKS: tuple[Callable[[Json, Model], Iterator[Refusal]], ...] = (_contents, _call_turns, _signatures)
