"""The load itself: it is what it says, always the same, and it sees an answer that went astray."""

import random
import statistics

import pytest

from tests.money import load
from tests.money.fleet import nano
from tests.money.load import Heard, Wish, mix, run
from tests.money.truth import truth
from tests.tollhouse import Tollhouse, environ_of

ECHO = "Echo: tag=a river stone"
WISH = Wish(tag="a", model="gpt-4o-mini", system="", text="tag=a river stone")


def test_the_same_seed_makes_the_same_load_and_another_one_another():
    assert mix(random.Random(1), 50) == mix(random.Random(1), 50) != mix(random.Random(2), 50)


def test_the_load_has_the_sizes_of_the_trace_and_something_of_everything():
    wishes = mix(random.Random(7), 2_000)
    assert 900 < statistics.median(len(wish.system.split()) for wish in wishes) * load.WORD < 1_150
    assert 115 < statistics.median(len(wish.text.split()) for wish in wishes) * load.WORD < 145
    assert {wish.model for wish in wishes} == set(load.VENDORS)
    assert {(wish.stream, wish.cap is None) for wish in wishes} == {
        (a, b) for a in (True, False) for b in (True, False)
    }
    assert 100 < sum(wish.leave is not None or wish.hurry is not None for wish in wishes) < 300
    assert len({wish.tag for wish in wishes}) == 2_000
    assert load.foreseen(wishes) > 1_000_000_000


@pytest.mark.parametrize(
    ("heard", "complaint"),
    [
        (Heard(wish=WISH, status=200, text=ECHO, finish="stop"), None),
        (Heard(wish=WISH, status=200, text=ECHO[:9], finish="length"), None),
        (Heard(wish=WISH, status=200, text=ECHO[:9], left=True), None),
        (Heard(wish=WISH, status=200, text=ECHO[:9], broken="ClientPayloadError"), None),
        (Heard(wish=WISH, status=200, text=ECHO[:9], code="upstream_timeout"), None),
        (Heard(wish=WISH, status=429, code="budget_exceeded"), None),
        (Heard(wish=WISH, status=200, text=ECHO[:9], finish="stop"), "another's answer"),
        (Heard(wish=WISH, status=200, text="Echo: tag=b", finish="length"), "another's answer"),
        (Heard(wish=WISH, status=200, text=ECHO), "ended without a word"),
        (Heard(wish=WISH, status=503, text=ECHO), "text with status 503"),
    ],
)
def test_an_answer_that_is_not_its_requests_is_complained_of(heard, complaint):
    assert heard.complaint is None if complaint is None else complaint in (heard.complaint or "")


@pytest.fixture(scope="module")
def house(_vendors):
    with Tollhouse.start(environ_of(_vendors)) as running:
        yield running


async def test_all_are_answered_and_each_by_what_it_cost(vendors, house):
    """The header of a whole answer, the usage that was told, and the vendors' ledger agree to the nano-dollar."""
    seen: list[int] = []

    async def moment() -> None:
        seen.append(1)

    wishes = mix(random.Random(3), 120, scale=0.3)
    answers = await run(wishes, [house.url], clients=12, moments={60: moment})
    assert [heard.complaint for heard in answers if heard.complaint] == []
    assert [heard.wish for heard in answers] == wishes
    assert {heard.status for heard in answers if not heard.left} == {200}
    assert any(heard.left and heard.text for heard in answers)
    assert any(heard.left and not heard.status for heard in answers)
    assert seen == [1]
    assert sorted(heard.order for heard in answers) == list(range(1, 121))
    assert vendors.wait(in_progress=0)
    bill = truth(vendors.ledger())
    plain = [heard for heard in answers if heard.whole and not heard.wish.stream]
    assert len(plain) > 30
    for heard in plain:
        assert heard.cost is not None
        assert bill.tags[heard.wish.tag] == nano(heard.cost), heard.wish
    for heard in answers:
        if heard.whole:
            assert heard.usage is not None
            assert heard.usage["completion_tokens"] <= (heard.wish.cap or 10**9)


@pytest.mark.parametrize(("alive", "broken", "status"), [(True, None, 200), (False, "ClientConnectorError", 0)])
async def test_where_nobody_listens_the_next_place_is_asked(vendors, house, alive, broken, status):
    places = ["http://127.0.0.1:9", house.url if alive else "http://127.0.0.1:9"]
    answers = await run(mix(random.Random(5), 8, leaving=0, scale=0.1), places, clients=3)
    assert {(heard.broken, heard.status) for heard in answers} == {(broken, status)}
