"""OpenAI's Agents SDK, pointed at tollhouse: its loop, its handoffs, its typed outputs and its stream."""

from typing import Any

import pytest
from agents import Agent, ModelSettings, OpenAIChatCompletionsModel, Runner, function_tool
from agents.items import ToolCallOutputItem
from openai import AsyncOpenAI
from openai.types import Reasoning
from openai.types.responses import ResponseTextDeltaEvent
from pydantic import BaseModel

from tests.clients.conftest import Stage, Vendor


class City(BaseModel):
    city: str
    people: int


@function_tool
def weather(city: str) -> str:
    """The weather of a city."""
    return f"sunny in {city}"


@pytest.fixture
def model(base_url: str, vendor: Vendor) -> OpenAIChatCompletionsModel:
    """Chat Completions, because the SDK's own choice is the Responses API."""
    client = AsyncOpenAI(base_url=base_url, api_key="anything", max_retries=0)
    return OpenAIChatCompletionsModel(vendor.model, client)


@pytest.fixture
def thinker(base_url: str, vendor: Vendor) -> OpenAIChatCompletionsModel:
    client = AsyncOpenAI(base_url=base_url, api_key="anything", max_retries=0)
    return OpenAIChatCompletionsModel(vendor.reasoning, client)


def _agent(model: OpenAIChatCompletionsModel, effort: Any = None, **more: Any) -> Agent[None]:
    settings = ModelSettings(include_usage=True, reasoning=Reasoning(effort=effort) if effort else None)
    return Agent(name="Concierge", instructions="Be brief.", model=model, model_settings=settings, **more)


async def test_a_loop_of_tool_calls_comes_to_its_end(model: OpenAIChatCompletionsModel) -> None:
    done = await Runner.run(_agent(model, tools=[weather]), "loop 3 city=Paris")
    outputs = [item.output for item in done.new_items if isinstance(item, ToolCallOutputItem)]
    assert outputs == ["sunny in Paris"] * 3
    assert "sunny in Paris" in done.final_output
    assert done.context_wrapper.usage.requests == 4
    assert done.context_wrapper.usage.output_tokens > 0


async def test_a_loop_of_streamed_tool_calls_comes_to_its_end(model: OpenAIChatCompletionsModel) -> None:
    done = Runner.run_streamed(_agent(model, tools=[weather]), "loop 3 city=Rome")
    async for _ in done.stream_events():
        pass
    assert done.final_output.count("sunny in Rome") == 3
    assert done.context_wrapper.usage.requests == 4
    assert done.context_wrapper.usage.output_tokens > 0


async def test_a_loop_of_one_that_thinks_comes_to_its_end(thinker: OpenAIChatCompletionsModel) -> None:
    done = await Runner.run(_agent(thinker, "low", tools=[weather]), "loop 3 city=Paris")
    assert done.final_output.count("sunny in Paris") == 3
    assert done.context_wrapper.usage.requests == 4


async def test_a_streamed_loop_of_one_that_thinks_comes_to_its_end(thinker: OpenAIChatCompletionsModel) -> None:
    done = Runner.run_streamed(_agent(thinker, "low", tools=[weather]), "loop 3 city=Rome")
    async for _ in done.stream_events():
        pass
    assert done.final_output.count("sunny in Rome") == 3


async def test_a_conversation_goes_on_from_its_items(model: OpenAIChatCompletionsModel) -> None:
    agent = _agent(model, tools=[weather])
    first = await Runner.run(agent, "loop 2 city=Bonn")
    second = await Runner.run(agent, [*first.to_input_list(), {"role": "user", "content": "And now?"}])
    assert second.final_output == "Echo: And now?"


async def test_a_model_is_the_output(model: OpenAIChatCompletionsModel) -> None:
    done = await Runner.run(_agent(model, output_type=City), "city=Paris people=2100000")
    assert done.final_output == City(city="Paris", people=2100000)


async def test_a_model_is_the_output_after_a_tool_was_called(
    stage: Stage, vendor: Vendor, model: OpenAIChatCompletionsModel
) -> None:
    stage.vendors.script(vendor.name, {"tool_calls": [{"name": "weather", "arguments": '{"city":"Lima"}'}]})
    done = await Runner.run(_agent(model, tools=[weather], output_type=City), "city=Lima people=10000000")
    assert done.final_output == City(city="Lima", people=10000000)


async def test_a_model_is_streamed(model: OpenAIChatCompletionsModel) -> None:
    done = Runner.run_streamed(_agent(model, output_type=City), "city=Oslo people=700000")
    text = await _text(done)
    assert City.model_validate_json(text) == done.final_output == City(city="Oslo", people=700000)


async def test_text_is_streamed(model: OpenAIChatCompletionsModel) -> None:
    done = Runner.run_streamed(_agent(model), "unicode words 30")
    text = await _text(done)
    assert text == done.final_output
    assert len(text.split()) == 30


async def test_a_handoff_is_a_tool_call(stage: Stage, vendor: Vendor, model: OpenAIChatCompletionsModel) -> None:
    stage.vendors.script(vendor.name, {"tool_calls": [{"name": "transfer_to_meteorologist", "arguments": "{}"}]})
    other = Agent(name="Meteorologist", instructions="Speak of clouds.", model=model)
    done = await Runner.run(_agent(model, handoffs=[other]), "Will it rain?")
    assert done.last_agent is other
    assert done.final_output


async def _text(done: Any) -> str:
    events = [event async for event in done.stream_events() if event.type == "raw_response_event"]
    return "".join(event.data.delta for event in events if isinstance(event.data, ResponseTextDeltaEvent))
