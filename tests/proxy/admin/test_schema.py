"""The description of the doors: that it is OpenAPI, that it names all of them, and that its examples are answers."""

import warnings
from collections.abc import Iterator
from typing import Any

import httpx
import jsonschema
import msgspec
import pytest
from litestar import Litestar
from litestar.routes import HTTPRoute

from proxy import __version__, admin, api, dashboard
from proxy.admin.doors import DOORS, Door
from proxy.admin.examples import EXAMPLES
from proxy.admin.schema import document

ALL = (*api.HANDLERS, *admin.HANDLERS, *dashboard.HANDLERS)
METHODS = {"get", "post", "put", "patch", "delete"}


def application(*handlers: Any) -> Litestar:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Litestar's, of words of its own
        return Litestar(
            handlers, exception_handlers={Exception: api.refuse}, openapi_config=admin.OPENAPI, logging_config=None
        )


@pytest.fixture(scope="module")
def app() -> Litestar:
    return application(*ALL)


@pytest.fixture(scope="module")
def said(app: Litestar) -> dict[str, Any]:
    return msgspec.json.decode(msgspec.json.encode(document(app)), type=dict[str, Any])


def operations(said: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for path, item in said["paths"].items():
        assert item.keys() <= METHODS
        yield from ((f"{method.upper()} {path}", operation) for method, operation in item.items())


def refs(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if isinstance(value.get("$ref"), str):
            yield value["$ref"]
        for part in value.values():
            yield from refs(part)
    elif isinstance(value, list):
        for part in value:
            yield from refs(part)


def test_it_is_openapi_3_1_of_this_version(said):
    assert said["openapi"].startswith("3.1")
    assert said["info"]["version"] == __version__
    for name, schema in said["components"]["schemas"].items():
        jsonschema.Draft202012Validator.check_schema(schema)
        assert "\n" not in schema.get("description", ""), name


def test_every_door_is_described_and_nothing_else(app, said):
    """A new door wants a row in `proxy.admin.doors`. Pages are no doors."""
    there = {
        f"{method} {route.path_format}"
        for route in app.routes
        if isinstance(route, HTTPRoute)
        for method in route.route_handler_map
        if method != "OPTIONS" and not route.path.startswith("/dashboard")
    }
    pages = {operation for operation in DOORS if "/dashboard" in operation}
    assert there | pages | {"POST /v1/chat/completions"} == DOORS.keys()
    assert dict(operations(said)).keys() == DOORS.keys()


def test_each_operation_says_who_may_come_in_and_has_a_name_of_its_own(said):
    found = dict(operations(said))
    assert len({operation["operationId"] for operation in found.values()}) == len(found)
    for name, operation in found.items():
        assert operation["summary"], name
        assert operation["description"], name
        assert operation["tags"][0] in {tag["name"] for tag in said["tags"]}, name
        schemes = {scheme for option in operation["security"] for scheme in option}
        assert schemes <= said["components"]["securitySchemes"].keys(), name
        guarded = name.partition(" ")[2].startswith(("/providers", "/keys", "/metrics"))
        assert ("adminKey" in schemes) == guarded, name


def test_every_refusal_is_openais_error_object(said):
    for name, operation in operations(said):
        for status, response in operation["responses"].items():
            if status.startswith("2") or name == "GET /readyz":
                continue
            schema = response["content"]["application/json"]["schema"]
            assert schema == {"$ref": "#/components/schemas/ErrorAnswer"}, (name, status)
    assert said["components"]["schemas"]["Error"]["required"] == ["message", "type", "param", "code"]


def test_every_reference_leads_somewhere(said):
    known = {f"#/components/schemas/{name}" for name in said["components"]["schemas"]}
    assert set(refs(said)) <= known


def test_parameters_are_constrained_and_have_examples_that_fit(said):
    seen = set()
    for name, operation in operations(said):
        for parameter in operation.get("parameters", ()):
            seen.add((parameter["in"], parameter["name"]))
            assert parameter["description"], name
            jsonschema.validate(parameter["example"], parameter["schema"])
    assert seen >= {("query", "start_date"), ("query", "top"), ("query", "limit"), ("path", "provider")}


@pytest.mark.parametrize("name", DOORS)
def test_the_example_of_a_body_fits(said, name):
    body = dict(operations(said))[name].get("requestBody")
    if body is None:
        assert DOORS[name].body is None
        return
    content = body["content"]["application/json"]
    schema = {**content["schema"], "components": said["components"]}
    jsonschema.validate(content["examples"]["one"]["value"], schema)


@pytest.mark.parametrize("name", [door.id for door in DOORS.values() if door.answers.get("application/json")])
def test_the_example_of_an_answer_fits(said, name):
    """Strictly: members that are not described would be faults."""
    if name.startswith("key") or name == "openapi":
        return  # written by the rooms of the keys; this document is its own example
    (operation,) = (found for found in dict(operations(said)).values() if found["operationId"] == name)
    content = operation["responses"]["200"]["content"]["application/json"]
    jsonschema.validate(content["examples"]["one"]["value"], {**content["schema"], "components": said["components"]})


def test_each_example_is_of_a_door():
    assert EXAMPLES.keys() <= {door.id for door in DOORS.values()}


async def test_it_is_served_and_nothing_of_anybody_else_with_it(app):
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as asker:
        answer = await asker.get("/openapi.json")
        assert answer.status_code == 200
        assert answer.headers["content-type"] == "application/json"
        assert answer.content == (await asker.get("/openapi.json")).content
        for url in ("/openapi", "/schema", "/schema/redoc", "/schema/swagger", "/docs", "/openapi/openapi.json"):
            assert (await asker.get(url)).status_code == 404, url
    assert "://" not in answer.text.replace("http://127.0.0.1", "").replace("https://api.openai.com", "")


def test_a_table_of_doors_without_a_route_describes_nothing():
    assert isinstance(next(iter(DOORS.values())), Door)
    small = application(api.models)
    assert list(document(small)["paths"]) == ["/v1/models"]
