"""pydantic-ai, pointed at tollhouse: agents that call tools, answer in models, and stream."""

import pytest
from pydantic import BaseModel
from pydantic_ai import Agent, BinaryContent, NativeOutput, PromptedOutput, ToolOutput
from pydantic_ai.messages import ToolCallPart, ToolReturnPart
from pydantic_ai.models.openai import OpenAIChatModel, OpenAIChatModelSettings
from pydantic_ai.providers.openai import OpenAIProvider

from tests.clients.conftest import Stage, Vendor

PIXEL = bytes.fromhex(
    "89504e470d0a1a0a0000000d49484452000000010000000108020000009077"
    "53de0000000c49444154789c63f8ffff3f0005fe02fe0def46b80000000049454e44ae426082"
)


class City(BaseModel):
    city: str
    people: int


@pytest.fixture
def model(base_url: str, vendor: Vendor) -> OpenAIChatModel:
    return OpenAIChatModel(vendor.model, provider=OpenAIProvider(base_url=base_url, api_key="anything"))


@pytest.fixture
def thinker(base_url: str, vendor: Vendor) -> OpenAIChatModel:
    settings = OpenAIChatModelSettings(openai_reasoning_effort="low")
    provider = OpenAIProvider(base_url=base_url, api_key="anything")
    return OpenAIChatModel(vendor.reasoning, provider=provider, settings=settings)


@pytest.fixture
def agent(model: OpenAIChatModel) -> Agent[None, str]:
    return _agent(model)


def _agent(model: OpenAIChatModel) -> Agent[None, str]:
    """It has one tool, which it calls as often as the prompt says."""
    agent = Agent(model, instructions="Be brief.")

    @agent.tool_plain
    def weather(city: str) -> str:
        """The weather of a city."""
        return f"sunny in {city}"

    return agent


async def test_a_loop_of_tool_calls_comes_to_its_end(agent: Agent[None, str]) -> None:
    done = await agent.run("loop 3 city=Paris")
    parts = [part for message in done.all_messages() for part in message.parts]
    assert [part.args_as_dict() for part in parts if isinstance(part, ToolCallPart)] == [{"city": "Paris"}] * 3
    assert [part.content for part in parts if isinstance(part, ToolReturnPart)] == ["sunny in Paris"] * 3
    assert "sunny in Paris" in done.output
    assert done.usage.requests == 4
    assert done.usage.output_tokens > 0


async def test_a_loop_of_streamed_tool_calls_comes_to_its_end(agent: Agent[None, str]) -> None:
    async with agent.run_stream("loop 3 city=Rome") as done:
        text = "".join([piece async for piece in done.stream_text(delta=True)])
    assert text.count("sunny in Rome") == 3
    assert done.usage.requests == 4


async def test_a_loop_of_one_that_thinks_comes_to_its_end(thinker: OpenAIChatModel) -> None:
    done = await _agent(thinker).run("loop 3 city=Paris")
    assert done.output.count("sunny in Paris") == 3
    assert done.usage.requests == 4


async def test_a_streamed_loop_of_one_that_thinks_comes_to_its_end(thinker: OpenAIChatModel) -> None:
    async with _agent(thinker).run_stream("loop 3 city=Rome") as done:
        text = "".join([piece async for piece in done.stream_text(delta=True)])
    assert text.count("sunny in Rome") == 3


async def test_a_conversation_goes_on_from_its_messages(agent: Agent[None, str]) -> None:
    first = await agent.run("loop 2 city=Bonn")
    second = await agent.run("And now?", message_history=first.all_messages())
    assert second.output == "Echo: And now?"


@pytest.mark.parametrize("kind", [ToolOutput, NativeOutput], ids=lambda kind: kind.__name__)
async def test_a_model_is_the_output(model: OpenAIChatModel, kind: type) -> None:
    done = await Agent(model, output_type=kind(City)).run("city=Paris people=2100000")
    assert done.output == City(city="Paris", people=2100000)


async def test_a_model_is_the_output_of_a_mere_prompt(stage: Stage, vendor: Vendor, model: OpenAIChatModel) -> None:
    stage.vendors.script(vendor.name, {"text": ['{"city": "Rome", ', '"people": 2800000}']})
    done = await Agent(model, output_type=PromptedOutput(City)).run("Tell me of Rome.")
    assert done.output == City(city="Rome", people=2800000)


async def test_an_output_that_does_not_validate_is_made_again(
    stage: Stage, vendor: Vendor, model: OpenAIChatModel
) -> None:
    attempts = ('{"city": "Ur", "people": "many"}', '{"city": "Ur", "people": 65000}')
    calls = [{"tool_calls": [{"name": "final_result", "arguments": arguments}]} for arguments in attempts]
    stage.vendors.script(vendor.name, *calls)
    done = await Agent(model, output_type=City).run("Ur, please")
    assert done.output == City(city="Ur", people=65000)
    assert done.usage.requests == 2


@pytest.mark.parametrize("kind", [ToolOutput, NativeOutput], ids=lambda kind: kind.__name__)
async def test_a_model_is_streamed(model: OpenAIChatModel, kind: type) -> None:
    agent = Agent(model, output_type=kind(City))
    async with agent.run_stream("city=Lima people=10000000") as done:
        pieces = [piece async for piece in done.stream_output(debounce_by=None)]
    assert pieces[-1] == City(city="Lima", people=10000000)


async def test_text_is_streamed_with_its_usage(model: OpenAIChatModel) -> None:
    async with Agent(model).run_stream("unicode words 30") as done:
        text = "".join([piece async for piece in done.stream_text(delta=True, debounce_by=None)])
    assert len(text.split()) == 30
    assert done.usage.input_tokens > 0
    assert done.usage.output_tokens > 0


async def test_an_image_is_taken(model: OpenAIChatModel) -> None:
    done = await Agent(model).run(["What is this?", BinaryContent(PIXEL, media_type="image/png")])
    assert done.output.startswith("Echo: What is this?")


async def test_a_limit_cuts_the_answer(model: OpenAIChatModel) -> None:
    done = await Agent(model).run("words 90", model_settings={"max_tokens": 40})
    assert done.response.finish_reason == "length"
    assert 0 < len(done.output.split()) < 90


async def test_a_stop_sequence_ends_the_answer(model: OpenAIChatModel) -> None:
    done = await Agent(model).run("words 90", model_settings={"stop_sequences": ["gamma"]})
    assert done.response.finish_reason == "stop"
    assert done.output.split() == ["alpha", "beta"]
