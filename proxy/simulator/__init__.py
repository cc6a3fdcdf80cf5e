"""A simulator of OpenAI, Anthropic and Gemini: real HTTP, their formats, their strictness, faults on demand."""

from proxy.simulator.client import Simulator

__all__ = ["Simulator"]
