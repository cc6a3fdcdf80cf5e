"""Anthropic's Messages API (platform.claude.com/docs, version 2023-06-01)."""

from adapters.anthropic.answer import response
from adapters.anthropic.count import counted, counting
from adapters.anthropic.errors import error
from adapters.anthropic.request import headers, needs, request
from adapters.anthropic.stream import stream
from adapters.headroom import in_times as headroom

__all__ = ["counted", "counting", "error", "headers", "headroom", "needs", "request", "response", "stream"]
