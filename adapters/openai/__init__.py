"""OpenAI's own format, and everybody who speaks it: passed through, not translated."""

from adapters.headroom import in_durations as headroom
from adapters.openai.answer import response, stream
from adapters.openai.count import counted, counting
from adapters.openai.errors import error
from adapters.openai.request import headers, needs, request

__all__ = ["counted", "counting", "error", "headers", "headroom", "needs", "request", "response", "stream"]
