"""Asking vendors whether they take our keys: what each answer means."""

import pytest

from adapters.base import Vendor
from proxy import live
from proxy.environment import Secret
from proxy.providers import Provider

VENDORS: tuple[Vendor, ...] = ("openai", "anthropic", "gemini")
CANARY = "canary-key"


def providers(simulator, key: str = CANARY) -> list[Provider]:
    return [
        Provider(name=vendor, vendor=vendor, base_url=getattr(simulator, vendor), key=Secret(key)) for vendor in VENDORS
    ]


def test_a_good_key_is_taken_and_costs_nothing(simulator):
    assert live.ask(providers(simulator)) == dict.fromkeys(VENDORS)
    assert [(request["method"], request["path"]) for request in simulator.requests()] == [
        ("GET", "/v1/models"),
        ("GET", "/v1/models"),
        ("GET", "/v1beta/models"),
    ]
    assert simulator.totals() in ({}, {vendor: {} for vendor in VENDORS})


def test_nobody_is_asked_if_nobody_is_configured():
    assert live.ask([]) == {}


def test_a_key_that_is_refused_is_said_to_be_in_whatever_words_a_vendor_refuses_it(simulator):
    assert live.ask(providers(simulator, "bad-canary")) == {
        "openai": "key refused (status 401)",
        "anthropic": "key refused (status 401)",
        "gemini": "key refused (status 400)",  # and 400 for a bad request, too: only the body tells
    }


def test_one_that_wants_a_key_though_there_is_none_is_told(simulator):
    provider = Provider(name="ollama", vendor="openai", base_url=simulator.openai, key=None)
    assert live.ask([provider]) == {"ollama": "a key is wanted (status 401)"}
    assert "authorization" not in simulator.requests()[0]["headers"]


def test_the_key_goes_into_the_header_of_the_vendors_own(simulator):
    provider = Provider(
        name="azure", vendor="openai", base_url=simulator.openai, key=Secret(CANARY), key_header="api-key"
    )
    live.ask([provider])
    assert simulator.requests()[0]["headers"]["api-key"] == CANARY


def test_one_that_does_not_answer_in_time_is_unreachable(simulator):
    url = simulator.control + "/wait?in_progress=9&timeout=9&x="  # it waits for what does not come
    provider = Provider(name="openai", vendor="openai", base_url=url, key=Secret(CANARY))
    said = live.ask([provider], seconds=0.05)["openai"]
    assert said == f"unreachable (no answer from {url} in 0.05 seconds)"


@pytest.mark.parametrize("vendor", VENDORS)
def test_one_that_refuses_connections_is_unreachable(simulator, vendor):
    simulator.fault(vendor, "refuse")
    said = live.ask(providers(simulator))
    told = said.pop(vendor)
    assert told is not None
    assert told.startswith("unreachable (")
    assert getattr(simulator, vendor) in told
    assert set(said.values()) == {None}


@pytest.mark.parametrize("vendor", VENDORS)
def test_a_page_where_a_vendor_should_be_is_no_word_on_the_key(simulator, vendor):
    provider = Provider(name=vendor, vendor=vendor, base_url=simulator.control + "/elsewhere", key=Secret(CANARY))
    assert live.ask([provider]) == {vendor: f"unreachable ({provider.base_url} answers with status 404)"}


def test_a_url_that_only_looks_like_one_is_unreachable():
    provider = Provider(name="openai", vendor="openai", base_url="http://xn--a", key=Secret(CANARY))
    said = live.ask([provider])["openai"]
    assert said is not None
    assert said.startswith("unreachable (")


def test_no_finding_holds_a_key(simulator):
    simulator.fault("openai", "refuse")
    assert "canary" not in str(live.ask(providers(simulator, "bad-canary")))
