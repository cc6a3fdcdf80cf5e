"""The table of adapters."""

import typing

import pytest

from adapters import ADAPTERS
from adapters.base import Endpoint, Vendor


def test_every_vendor_serves_every_endpoint():
    vendors, endpoints = typing.get_args(Vendor), typing.get_args(Endpoint)
    assert set(ADAPTERS) == {(vendor, endpoint) for vendor in vendors for endpoint in endpoints}


@pytest.mark.parametrize("adapter", ADAPTERS.values(), ids=[f"{vendor}-{endpoint}" for vendor, endpoint in ADAPTERS])
def test_an_adapter_has_one_header_with_the_key_in_it(adapter):
    values = list(adapter.headers("the-key").values())
    assert sum("the-key" in value for value in values) == 1


def test_keys_go_where_the_vendors_want_them():
    sent = {vendor: dict(adapter.headers("k")) for (vendor, _), adapter in ADAPTERS.items()}
    assert sent["openai"] == {"authorization": "Bearer k"}
    assert sent["anthropic"]["x-api-key"] == "k"
    assert sent["anthropic"]["anthropic-version"] == "2023-06-01"
    assert sent["gemini"] == {"x-goog-api-key": "k"}
