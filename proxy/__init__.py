"""tollhouse: one OpenAI-compatible door to OpenAI, Anthropic and Gemini."""

__version__ = "0.1.0"
