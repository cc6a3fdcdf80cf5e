"""Google's Gemini API, `generateContent` of the Developer API (ai.google.dev/api, v1beta)."""

from adapters.gemini.answer import response
from adapters.gemini.count import counted, counting
from adapters.gemini.errors import error
from adapters.gemini.request import headers, needs, request
from adapters.gemini.stream import stream
from adapters.headroom import untold as headroom

__all__ = ["counted", "counting", "error", "headers", "headroom", "needs", "request", "response", "stream"]
