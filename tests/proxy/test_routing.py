"""The order of the candidates, by strategy."""

from pathlib import Path

from proxy import providers, settings
from proxy.catalog import ProviderRow, load
from proxy.routing import STRATEGIES

CATALOG = load((Path(__file__).resolve().parents[2] / "pricing.yaml").read_bytes())
ROWS = [ProviderRow(name=vendor, vendor=vendor) for vendor in providers.VENDORS]


def test_fallback_keeps_the_order_of_the_catalog():
    route = CATALOG.route("gpt-4o", ROWS, primary="anthropic", fallback=True)
    order = STRATEGIES["fallback"](route)
    assert order == route.candidates
    assert [target.provider for target in order] == ["openai", "anthropic", "gemini"]


def test_each_strategy_that_can_be_set_has_its_row():
    assert set(settings.STRATEGIES) == set(STRATEGIES)
