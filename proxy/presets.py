"""Vendors that speak OpenAI's format, as far as they are known: where they are, whose key they take, how they differ.

Pure data. Each row says where its figures come from; where sources disagree or are silent, the row chooses what cannot
be refused. A row is a beginning: `providers:` in the configuration may say otherwise, key by key.
"""

from collections.abc import Mapping

import msgspec

from adapters.base import Capabilities


class Preset(msgspec.Struct, frozen=True, kw_only=True):
    """One vendor. `base_url`: None if each customer has one of his own. `key`: the variable, None if none is needed."""

    capabilities: Capabilities
    base_url: str | None = None
    example: str = "https://api.example.com/v1"  # of a base URL, for who must give one
    key: str | None = None
    key_header: str | None = None  # instead of `authorization: Bearer`


# What to assume of a vendor that nobody has described: the oldest spelling of everything, for all of them read it.
PLAIN = Capabilities(max_tokens_field="max_tokens", developer=False)
OTHER = Preset(capabilities=PLAIN)

PRESETS: Mapping[str, Preset] = {
    # learn.microsoft.com, "Azure OpenAI in Foundry Models v1 API" (/openai/v1, no api-version, header `api-key`; the
    # model is the name of a deployment). Chunks without id, object and delta: microsoft/autogen#6465. Reasoning models
    # refuse max_tokens; the others read both.
    "azure": Preset(
        example="https://RESOURCE.openai.azure.com/openai/v1",
        key="AZURE_OPENAI_API_KEY",
        key_header="api-key",
        capabilities=Capabilities(max_tokens_field="max_completion_tokens"),
    ),
    # Unknown members are a 422 `extra_forbidden`: stream_options (avante.nvim#2347, openai-agents-python#442),
    # max_completion_tokens (editor-code-assistant/eca#231). `refused` are those of OpenAI's members that its request
    # (mistralai/client-python, chatcompletionrequest.py) does not have. The usage comes with the last chunk, unasked.
    "mistral": Preset(
        base_url="https://api.mistral.ai/v1",
        key="MISTRAL_API_KEY",
        capabilities=Capabilities(
            max_tokens_field="max_tokens",
            stream_options=False,
            developer=False,
            refused=(
                *("logit_bias", "logprobs", "moderation", "prompt_cache_key", "prompt_cache_options"),
                *("prompt_cache_retention", "safety_identifier", "seed", "service_tier", "store", "top_logprobs"),
                *("user", "verbosity"),
            ),
        ),
    ),
    # console.groq.com/docs/openai ("will result in a 400": logprobs, logit_bias, top_logprobs, messages[].name, n other
    # than 1) and /docs/api-reference (max_tokens deprecated). stream_options was refused in 2024 (vercel/ai#1578) and
    # is taken now (withceleste/celeste-python#351, tried live). That `developer` is known is said nowhere: `system`.
    "groq": Preset(
        base_url="https://api.groq.com/openai/v1",
        key="GROQ_API_KEY",
        capabilities=Capabilities(
            max_tokens_field="max_completion_tokens",
            developer=False,
            refused=("logit_bias", "logprobs", "messages[].name", "n", "top_logprobs"),
        ),
    ),
    # api-docs.deepseek.com: create-chat-completion (max_tokens, stream_options), guides/thinking_mode (thinking is on
    # by default, and reasoning_content of turns with tool calls must come back, else 400: cc-switch-cli#166).
    # `developer` is a 400: earendil-works/pi#1048.
    "deepseek": Preset(
        base_url="https://api.deepseek.com/v1",
        key="DEEPSEEK_API_KEY",
        capabilities=Capabilities(
            input=("text",), max_tokens_field="max_tokens", developer=False, reasoning_content=True
        ),
    ),
    # Guide of req_llm for xAI (max_completion_tokens is preferred). Penalties are a 400 even at 0, whatever the model:
    # miaoxworld/NativeTavern#83. stream_options was refused in April 2025 (cline#2764), is taken since (litellm#17136;
    # vercel/ai's xAI provider sends it always). Reasoning models refuse `stop`; it is left in, for others take it.
    "xai": Preset(
        base_url="https://api.x.ai/v1",
        key="XAI_API_KEY",
        capabilities=Capabilities(
            max_tokens_field="max_completion_tokens",
            developer=False,
            refused=("frequency_penalty", "presence_penalty"),
        ),
    ),
    # openrouter.ai/docs: api-reference/overview (max_tokens), use-cases/usage-accounting (the usage always comes;
    # stream_options has no effect), use-cases/reasoning-tokens (reasoning_details come back with tool results).
    "openrouter": Preset(
        base_url="https://openrouter.ai/api/v1",
        key="OPENROUTER_API_KEY",
        capabilities=Capabilities(max_tokens_field="max_tokens", developer=False, reasoning_details=True),
    ),
    # docs.together.ai/docs/inference/openai-compatibility. Some models tell their usage only if asked by stream_options
    # (vercel/ai#17986). Whether max_completion_tokens is read is said nowhere: max_tokens is.
    "together": Preset(
        base_url="https://api.together.ai/v1",
        key="TOGETHER_API_KEY",
        capabilities=PLAIN,
    ),
    # docs.fireworks.ai/tools-sdks/openai-compatibility. Some models tell their usage only if asked by stream_options
    # (vercel/ai#16087, langchain#36977).
    "fireworks": Preset(
        base_url="https://api.fireworks.ai/inference/v1",
        key="FIREWORKS_API_KEY",
        capabilities=PLAIN,
    ),
    # docs.ollama.com/api/openai-compatibility: the fields it reads (max_tokens, stream_options.include_usage; no
    # max_completion_tokens, which would be ignored without a word); a key is "required but ignored".
    "ollama": Preset(base_url="http://localhost:11434/v1", capabilities=PLAIN),
    # docs.vllm.ai, "OpenAI-Compatible Server". A key only if it was started with --api-key: `key: VLLM_API_KEY`. Chat
    # templates refuse `developer`: ogx-ai/ogx#6069. Both names of the cap are read; old versions know only max_tokens.
    "vllm": Preset(base_url="http://localhost:8000/v1", capabilities=PLAIN),
}
