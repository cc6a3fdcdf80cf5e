"""OpenAI's own format, and everybody who speaks it: passed through, not translated."""

from adapters.openai.answer import response, stream
from adapters.openai.errors import error
from adapters.openai.request import headers, needs, request

__all__ = ["error", "headers", "needs", "request", "response", "stream"]
