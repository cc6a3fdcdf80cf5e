"""OpenAI's chat completion request, in full, as we must understand it when it is translated to another vendor.

Source: openai-python 3.54, `types/chat/completion_create_params.py` and its neighbours. Reading is strict: a wrong
type is a 400 that names the place, and a member that nobody knows is reported by its path, never lost in silence.
What goes to a vendor that speaks OpenAI's format does not come through here.
"""

from typing import Any, Literal

import msgspec


class _Strict(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """The parent of all: members that we do not know are found out, not skipped."""


class CacheBreakpoint(_Strict):
    mode: str = "explicit"
    ttl: str | None = None


class CacheControl(_Strict):
    """Anthropic's own word for a cache mark; many clients send it to whoever speaks OpenAI's format."""

    type: str = "ephemeral"
    ttl: str | None = None


class TextPart(_Strict, tag_field="type", tag="text"):
    text: str
    prompt_cache_breakpoint: CacheBreakpoint | None = None
    cache_control: CacheControl | None = None


class RefusalPart(_Strict, tag_field="type", tag="refusal"):
    refusal: str


class ImageUrl(_Strict):
    url: str
    detail: Literal["auto", "low", "high", "original"] | None = None


class ImagePart(_Strict, tag_field="type", tag="image_url"):
    image_url: ImageUrl
    prompt_cache_breakpoint: CacheBreakpoint | None = None
    cache_control: CacheControl | None = None


class InputAudio(_Strict):
    data: str
    format: Literal["wav", "mp3"]


class AudioPart(_Strict, tag_field="type", tag="input_audio"):
    input_audio: InputAudio
    prompt_cache_breakpoint: CacheBreakpoint | None = None
    cache_control: CacheControl | None = None


class FileRef(_Strict):
    file_data: str | None = None
    file_id: str | None = None
    filename: str | None = None


class FilePart(_Strict, tag_field="type", tag="file"):
    file: FileRef
    prompt_cache_breakpoint: CacheBreakpoint | None = None
    cache_control: CacheControl | None = None


Part = TextPart | RefusalPart | ImagePart | AudioPart | FilePart


class FunctionCall(_Strict):
    name: str
    arguments: str | None = None
    thought_signature: str | None = None  # where Portkey's clients keep Gemini's signature
    parsed_arguments: Any = None  # left behind by the SDK's accumulator


class CustomCall(_Strict):
    name: str
    input: str = ""


class FunctionToolCall(_Strict, tag_field="type", tag="function"):
    id: str
    function: FunctionCall
    index: Any = None  # left behind by the SDK's accumulator
    extra_content: dict[str, Any] | None = None  # where Google's own OpenAI layer keeps the thought signature
    provider_specific_fields: dict[str, Any] | None = None  # where LiteLLM's clients keep it


class CustomToolCall(_Strict, tag_field="type", tag="custom"):
    id: str
    custom: CustomCall
    index: Any = None
    extra_content: dict[str, Any] | None = None


class System(_Strict, tag_field="role", tag="system"):
    content: str | list[TextPart]
    name: str | None = None


class Developer(_Strict, tag_field="role", tag="developer"):
    content: str | list[TextPart]
    name: str | None = None


class User(_Strict, tag_field="role", tag="user"):
    content: str | list[TextPart | ImagePart | AudioPart | FilePart]
    name: str | None = None


class AudioRef(_Strict):
    id: str


class Assistant(_Strict, tag_field="role", tag="assistant"):
    content: str | list[TextPart | RefusalPart] | None = None
    refusal: str | None = None
    name: str | None = None
    audio: AudioRef | None = None
    tool_calls: list[FunctionToolCall | CustomToolCall] | None = None
    function_call: FunctionCall | None = None
    # What clients echo of an answer: see docs/translation.md, "State that OpenAI's format cannot carry".
    thinking_blocks: list[dict[str, Any]] | None = None
    extra_content: dict[str, Any] | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    reasoning_details: Any = None
    provider_specific_fields: Any = None
    annotations: Any = None
    images: Any = None
    parsed: Any = None


class Tool(_Strict, tag_field="role", tag="tool"):
    content: str | list[TextPart | ImagePart]
    tool_call_id: str
    name: str | None = None


class Function(_Strict, tag_field="role", tag="function"):
    content: str | None
    name: str


Message = System | Developer | User | Assistant | Tool | Function


class FunctionSpec(_Strict):
    name: str
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class FunctionTool(_Strict, tag_field="type", tag="function"):
    function: FunctionSpec


class CustomSpec(_Strict):
    name: str
    description: str | None = None
    format: dict[str, Any] | None = None


class CustomTool(_Strict, tag_field="type", tag="custom"):
    custom: CustomSpec


class Named(_Strict):
    name: str


class FunctionChoice(_Strict, tag_field="type", tag="function"):
    function: Named


class CustomChoice(_Strict, tag_field="type", tag="custom"):
    custom: Named


class AllowedTools(_Strict):
    mode: Literal["auto", "required"]
    tools: list[dict[str, Any]]


class AllowedChoice(_Strict, tag_field="type", tag="allowed_tools"):
    allowed_tools: AllowedTools


class JsonSchema(_Strict):
    name: str
    schema: dict[str, Any] | None = None
    description: str | None = None
    strict: bool | None = None


class TextFormat(_Strict, tag_field="type", tag="text"):
    pass


class JsonObjectFormat(_Strict, tag_field="type", tag="json_object"):
    pass


class JsonSchemaFormat(_Strict, tag_field="type", tag="json_schema"):
    json_schema: JsonSchema


class StreamOptions(_Strict):
    include_usage: bool | None = None
    include_obfuscation: bool | None = None


class Approximate(_Strict):
    city: str | None = None
    country: str | None = None
    region: str | None = None
    timezone: str | None = None


class UserLocation(_Strict):
    approximate: Approximate
    type: Literal["approximate"] = "approximate"


class WebSearchOptions(_Strict):
    search_context_size: Literal["low", "medium", "high"] | None = None
    user_location: UserLocation | None = None


class Chat(_Strict):
    """The whole request. `None` is absent: OpenAI reads a JSON null that way too."""

    model: str
    messages: list[Message]
    audio: Any = None
    frequency_penalty: float | None = None
    function_call: Literal["none", "auto"] | Named | None = None
    functions: list[FunctionSpec] | None = None
    logit_bias: dict[str, float] | None = None
    logprobs: bool | None = None
    max_completion_tokens: int | None = None
    max_tokens: int | None = None
    metadata: Any = None
    modalities: list[str] | None = None
    moderation: Any = None
    n: int | None = None
    parallel_tool_calls: bool | None = None
    prediction: Any = None
    presence_penalty: float | None = None
    prompt_cache_key: Any = None
    prompt_cache_options: Any = None
    prompt_cache_retention: Any = None
    reasoning_effort: str | None = None
    response_format: TextFormat | JsonObjectFormat | JsonSchemaFormat | None = None
    safety_identifier: str | None = None
    seed: int | None = None
    service_tier: str | None = None
    stop: str | list[str] | None = None
    store: bool | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    temperature: float | None = None
    tool_choice: Literal["none", "auto", "required"] | FunctionChoice | CustomChoice | AllowedChoice | None = None
    tools: list[FunctionTool | CustomTool] | None = None
    top_logprobs: int | None = None
    top_p: float | None = None
    user: str | None = None
    verbosity: str | None = None
    web_search_options: WebSearchOptions | None = None
