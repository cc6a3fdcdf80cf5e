"""What `docs/savings.md` says of the strategies is what the product does, on a slice of the trace."""

from functools import cache

import pytest

from proxy.catalog import load
from tests.reliability import savings
from tests.reliability.savings import CLAIM, DATES, PLANS, SLICE, Bill, Bills, together

CATALOG = load((savings.ROOT / "pricing.yaml").read_bytes())
TRAFFIC = savings.requests(SLICE)


@cache
def found() -> Bills:
    return savings.bills(CATALOG, TRAFFIC, PLANS, DATES[0])


def test_the_page_has_what_the_slice_comes_to():
    page = savings.PAGE.read_text(encoding="utf-8")
    _, _, last = page.partition(f"## The first {SLICE:,}\n")
    assert last.rstrip().endswith("\n".join(savings.table(found()))), "run `make savings`, then read the change"


def test_the_page_tells_where_the_claim_holds():
    page = savings.PAGE.read_text(encoding="utf-8")
    head = next(savings.claims(found()))
    assert page.count(head) == len(DATES)
    for row in list(savings.claims(found()))[2:]:
        assert row.rpartition(" | ")[2] in page


# Against whom the seed's claim holds, and against whom it does not, because nobody is cheaper than he is.
@pytest.mark.parametrize(
    ("primary", "class_", "least", "most"),
    [
        ("gemini", "fast", 0.70, 0.80),
        ("gemini", "standard", 0.0, 0.0),
        ("gemini", "frontier", 0.0, 0.0),
        ("openai", "fast", 0.0, 0.001),
        ("openai", "standard", 0.55, 0.65),
        ("openai", "frontier", 0.75, 0.85),
        ("anthropic", "fast", 0.0, 0.001),
        ("anthropic", "standard", 0.55, 0.65),
        ("anthropic", "frontier", 0.45, 0.55),
    ],
)
def test_cost_saves_against_a_primary_that_is_not_the_cheapest_of_its_class(primary, class_, least, most):
    rows = found()[class_]
    assert least - 1e-9 <= savings.saving(rows["cost"], rows[f"always {primary}"]) <= most + 1e-9


@pytest.mark.parametrize(("primary", "holds"), [("gemini", False), ("openai", True), ("anthropic", True)])
def test_over_all_classes_the_claim_holds_but_against_the_default(primary, holds):
    saved = savings.saving(together(found(), "cost"), together(found(), f"always {primary}"))
    assert (saved >= CLAIM) is holds


@pytest.mark.parametrize("class_", savings.CLASSES)
def test_not_to_know_how_long_an_answer_will_be_costs_nothing_at_these_prices(class_):
    rows = found()[class_]
    assert rows["in hindsight"].total <= rows["cost"].total <= rows["in hindsight"].total * 1.001


@pytest.mark.parametrize("class_", savings.CLASSES)
def test_who_cannot_do_it_is_not_asked(class_):
    audio = sum(request.need.audio for request in TRAFFIC)
    assert audio > 0
    for vendor in ("openai", "anthropic"):
        assert found()[class_][f"always {vendor}"].served == {vendor: SLICE - audio, "gemini": audio}


def bill(total: int) -> Bill:
    return Bill(total, found()["fast"]["cost"].served)


@pytest.mark.parametrize(
    ("fast", "standard", "expected"),
    [
        pytest.param((50, 100), (70, 100), 0.0, id="it holds for both"),
        pytest.param((50, 100), (90, 100), 0.5, id="one makes up for the other"),
        pytest.param((90, 100), (90, 100), None, id="it holds for none"),
    ],
)
def test_the_share_that_makes_the_claim_hold(fast, standard, expected):
    made = {"fast": fast, "standard": standard}
    bills: Bills = {
        class_: {"cost": bill(pair[0]), "always": bill(pair[1])}
        for class_ in savings.CLASSES
        if (pair := made.get(class_))
    }
    assert savings.least_share(bills, "fast", "standard", "always") == pytest.approx(expected)


def test_the_trace_is_whole():
    everything = savings.requests()
    assert len(everything) == 19_366
    assert sum(request.usage.prompt for request in everything) == 22_361_870
    assert sum(request.output for request in everything) == 4_088_665
    assert [request.at for request in everything] == sorted(request.at for request in everything)
