"""instructor, pointed at tollhouse: pydantic models out of tools, out of JSON, and piece by piece."""

from collections.abc import Iterable
from typing import Any

import instructor
import pytest
from openai import OpenAI
from pydantic import BaseModel, field_validator

from tests.clients.conftest import VENDORS, Stage, Vendor


class City(BaseModel):
    """A city."""

    city: str
    people: int


class Grown(City):
    """A city that must be large."""

    @field_validator("people")
    @classmethod
    def _large(cls, people: int) -> int:
        if people < 1000:
            raise ValueError("that is a village")
        return people


class Weather(BaseModel):
    """The weather of a city."""

    city: str


def _client(base_url: str, mode: instructor.Mode = instructor.Mode.TOOLS) -> instructor.Instructor:
    return instructor.from_openai(OpenAI(base_url=base_url, api_key="anything", max_retries=0), mode=mode)


def _asked(vendor: Vendor, text: str, **more: Any) -> dict[str, Any]:
    return {"model": vendor.model, "messages": [{"role": "user", "content": text}], **more}


@pytest.mark.parametrize(
    "mode",
    [
        instructor.Mode.TOOLS,
        instructor.Mode.TOOLS_STRICT,
        instructor.Mode.JSON_SCHEMA,
    ],
    ids=lambda mode: mode.value,
)
def test_a_model_is_filled_in_each_mode(base_url: str, vendor: Vendor, mode: instructor.Mode) -> None:
    said = _client(base_url, mode).create(response_model=City, **_asked(vendor, "city=Paris people=2100000"))
    assert said.model_dump() == {"city": "Paris", "people": 2100000}


def test_a_model_is_filled_by_one_that_thinks(base_url: str, vendor: Vendor) -> None:
    asked = _asked(vendor, "city=Paris people=2100000", reasoning_effort="low") | {"model": vendor.reasoning}
    said = _client(base_url, instructor.Mode.JSON_SCHEMA).create(response_model=City, **asked)
    assert said.model_dump() == {"city": "Paris", "people": 2100000}


@pytest.mark.parametrize("mode", [instructor.Mode.JSON, instructor.Mode.MD_JSON], ids=lambda mode: mode.value)
def test_a_model_is_read_out_of_json_that_no_schema_holds(stage: Stage, vendor: Vendor, mode: instructor.Mode) -> None:
    fence = ("```json\n", "\n```") if mode is instructor.Mode.MD_JSON else ("", "")
    stage.vendors.script(vendor.name, {"text": [fence[0], '{"city": "Rome", ', '"people": 2800000}', fence[1]]})
    said = _client(stage.base_url, mode).create(response_model=City, **_asked(vendor, "Tell me of Rome, as JSON."))
    assert said.model_dump() == {"city": "Rome", "people": 2800000}


# The real OpenAI takes the `name` that instructor puts into a tool's message; the simulated one refuses it.


@pytest.mark.parametrize("vendor", VENDORS, indirect=True, ids=lambda vendor: vendor.name)
def test_a_call_that_does_not_validate_is_answered_and_made_again(stage: Stage, vendor: Vendor) -> None:
    """instructor's tool loop: the fault goes back as the tool's result, and the model calls once more."""
    attempts = ('{"city":"Ur","people":9}', '{"city":"Ur","people":99}', '{"city":"Ur","people":65000}')
    calls = [{"tool_calls": [{"name": "Grown", "arguments": arguments}]} for arguments in attempts]
    stage.vendors.script(vendor.name, *calls)
    said = _client(stage.base_url).create(response_model=Grown, max_retries=4, **_asked(vendor, "Ur, please"))
    assert said.model_dump() == {"city": "Ur", "people": 65000}
    assert len(stage.vendors.ledger(vendor.name)) == 3
    assert "that is a village" in str(stage.vendors.requests(vendor.name)[-1]["body"])


def test_parallel_calls_become_several_models(base_url: str, vendor: Vendor) -> None:
    client = _client(base_url, instructor.Mode.PARALLEL_TOOLS)
    said = client.create(response_model=Iterable[Weather | City], **_asked(vendor, "call both city=Bonn people=300000"))
    assert list(said) == [Weather(city="Bonn"), City(city="Bonn", people=300000)]


@pytest.mark.parametrize("mode", [instructor.Mode.TOOLS, instructor.Mode.JSON_SCHEMA], ids=lambda mode: mode.value)
def test_a_stream_fills_a_model_piece_by_piece(base_url: str, vendor: Vendor, mode: instructor.Mode) -> None:
    pieces = list(
        _client(base_url, mode).create_partial(response_model=City, **_asked(vendor, "city=Lima people=10000000"))
    )
    assert pieces[-1].model_dump() == {"city": "Lima", "people": 10000000}


def test_a_stream_of_models_comes_one_by_one(stage: Stage, vendor: Vendor) -> None:
    arguments = '{"tasks": [{"city": "Oslo", "people": 700000}, {"city": "Bergen", "people": 290000}]}'
    stage.vendors.script(vendor.name, {"tool_calls": [{"name": "IterableCity", "arguments": arguments}]})
    said = _client(stage.base_url).create_iterable(response_model=City, **_asked(vendor, "two cities"))
    assert [city.city for city in said] == ["Oslo", "Bergen"]


def test_usage_is_told_with_the_model(base_url: str, vendor: Vendor) -> None:
    said, completion = _client(base_url).create_with_completion(response_model=City, **_asked(vendor, "city=Kyiv"))
    assert said.city == "Kyiv"
    assert completion.usage.total_tokens == completion.usage.prompt_tokens + completion.usage.completion_tokens > 0
