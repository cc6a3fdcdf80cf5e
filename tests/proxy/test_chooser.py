"""Whom a request may be sent to: the catalog's candidates as they stand, and what becomes of it when those cannot."""

import asyncio
import json
import os
from typing import Any

import pytest

from adapters.base import Capabilities, Kind, Target, Usage
from adapters.envelope import Envelope, seal
from proxy.catalog import REMEMBERED, Catalog
from proxy.chooser import losses
from proxy.health import Outcome
from proxy.health.ratelimit import Window
from proxy.routing import OTHER, Need
from tests.proxy.accounts import until
from tests.proxy.desk import EACH, ONCE, QUICK, Desk, after, desk, refuses, well

# ---- where there is nothing to choose --------------------------------------------------------------------------------


PLAIN = Need(prompt=10, least=5, cap=20)
NOON = 1_795_000_000
ILL = ("nothing", "a is open", "b is open", "a is limited", "c has little left", "a was reset")


async def befall(at: Desk, ill: str) -> None:
    fleet = at.gate.trips.fleet
    if ill in ("a is open", "b is open"):
        await at.hear(ill[0], Kind.KEY)
    elif ill == "a is limited":
        await at.hear("a", Kind.RATE_LIMITED, 60.0)
    elif ill == "c has little left":
        ticket = await fleet.begin("c", "cm")
        assert ticket is not None
        now = fleet.now()
        fleet.end(ticket, Outcome(windows={"requests": Window(100, 0.0, now, now + 60_000)}))
    elif ill == "a was reset":
        await at.hear("a", Kind.KEY)
        await fleet.reset("a")


@pytest.mark.parametrize("ill", ILL)
@pytest.mark.parametrize("name", ["am", "a/am", "pair", "all"])
async def test_what_is_remembered_of_a_choice_is_what_would_be_chosen(tmp_path, ill, name):
    needs = {
        "plain": PLAIN,
        "next to nothing": Need(),
        "long": Need(prompt=10, least=5, cap=9_000),
        "too long": Need(prompt=10_000_000, least=5_000_000),
        "pictures": Need(prompt=10, images=True),
        "a task": Need(prompt=10, task="speed"),
    }
    async with desk(tmp_path, lacking={"b": "input: [text]"}) as at:
        await befall(at, ill)
        chooser = at.gate.chooser
        route, said = chooser.route(name), set()
        for what, need in [*needs.items(), *needs.items()]:
            found = chooser.quiet(route, need, caller="me", when=NOON)
            if found is not None:
                choice, decision = found
                usual = chooser.choose(route, need, chooser.candidates(route, need, caller="me", when=NOON))
                assert [one.target for one in choice.order] == [one.target for one in usual.order]
                assert not usual.out
                assert decision.order == tuple(one.name for one in usual.order)
                said.add(what)
        by_name = name in ("am", "a/am")
        assert ("plain" in said) is (
            by_name and (ill in ("nothing", "a was reset") or (name == "a/am" and ill[0] != "a"))
        )
        assert "a task" not in said
        assert "too long" not in said


async def test_prices_are_those_of_the_day(tmp_path):
    async with desk(tmp_path) as at:
        chooser = at.gate.chooser
        route = chooser.route("am")
        first = chooser.quiet(route, PLAIN, caller="", when=NOON)
        again = chooser.quiet(route, PLAIN, caller="", when=NOON + 1)
        later = chooser.quiet(route, PLAIN, caller="", when=NOON + 86_400)
        assert first is not None
        assert again is not None
        assert later is not None
        assert first[0] is again[0]
        assert first[0] is not later[0]


async def test_names_are_not_remembered_without_end_nor_beyond_their_table(tmp_path):
    async with desk(tmp_path) as at:
        chooser = at.gate.chooser
        known = chooser.route("am")
        assert chooser.route("am") is known
        for number in range(REMEMBERED + 5):
            chooser.route(f"a/{number}")
        assert len(chooser.known) == REMEMBERED
        assert chooser.quiet(known, PLAIN, caller="", when=NOON) is None, "it was forgotten: then it is chosen anew"
        at.gate.chooser.book.take(Catalog(chooser.book.catalog.models))
        assert chooser.route("am") is not known


# ---- what a candidate is shown as -----------------------------------------------------------------------------------


def letter(**more: Any) -> Envelope:
    return seal(json.dumps({"model": "m", "messages": [{"role": "user", "content": "Hi"}], **more}).encode())


def shown(at: Desk, name: str, **more: Any) -> list[Any]:
    chooser = at.gate.chooser
    return chooser.candidates(chooser.route(name), Need(), caller="me", when=1_795_000_000, **more)


async def test_a_candidate_stands_as_the_fleet_sees_it_and_costs_what_the_table_says(tmp_path):
    async with desk(tmp_path) as at:
        await at.hear("a", Kind.KEY)
        at.gate.chooser.habits.learn("me", "bm", Usage(in_text=100, out_text=40))
        first, second = shown(at, "pair")
        assert (first.name, first.standing.state, second.standing.state) == ("a/am", "open", "closed")
        assert first.price is not None
        assert (first.model, first.known, first.stand_in, first.weight, first.most) == ("am", True, False, 1, None)
        assert second.expected.output < first.expected.output, "what it has said lately"
        [other] = at.gate.chooser.candidates(at.gate.chooser.route("b/bm"), Need(), caller="you", when=1_795_000_000)
        assert second.expected.output < other.expected.output, "to this caller"


async def test_who_was_asked_for_by_name_goes_before_who_stands_in(tmp_path):
    async with desk(tmp_path) as at:
        assert [(one.name, one.stand_in) for one in shown(at, "am")] == [
            ("a/am", False),
            ("b/bm", True),
            ("c/cm", True),
        ]
        assert [(one.name, one.stand_in) for one in shown(at, "a/am")] == [("a/am", False)]
        assert [one.stand_in for one in shown(at, "all")] == [False, False, False]


async def test_weights_and_places_are_those_of_the_group(tmp_path):
    config = "aliases: {both: {models: [{model: a/am, weight: 3}, {model: b/bm, max_in_flight: 2}]}}\n"
    async with desk(tmp_path, config) as at:
        assert [(one.weight, one.most) for one in shown(at, "both")] == [(3, None), (1, 2)]


async def test_a_group_goes_to_who_can_do_it(tmp_path):
    parts = [{"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}}]
    said = {"messages": [{"role": "user", "content": parts}]}
    async with desk(tmp_path, ONCE, lacking={"a": "input: [text]"}) as at:
        assert (await at.asked("pair", **said)).headers["x-tollhouse-provider"] == "b"
        assert (await at.asked("am", **said)).headers["x-tollhouse-provider"] == "a", "by name: it may say so itself"


async def test_names_that_clients_make_up_take_no_room(tmp_path):
    """Each has a way of its own otherwise, for ever."""
    async with desk(tmp_path, ONCE) as at:
        fleet, ways = at.gate.trips.fleet, []
        for _ in range(30):
            name = f"a/{os.urandom(8).hex()}"
            [candidate] = shown(at, name)
            assert (candidate.model, candidate.price, candidate.known) == (OTHER, None, False)
            await at.asked(name, user=os.urandom(8).hex())
            ways.append(len(fleet._ways))
        assert len(set(ways)) == 1
        assert len(at.gate.chooser.habits._known) <= 4_096


async def test_parameters_that_would_be_lost_are_counted_only_where_that_decides(tmp_path):
    lacking = {"a": "refused: [seed, verbosity]", "b": "refused: [n]"}
    asked = letter(seed=1, verbosity="low", n=2)
    async with desk(tmp_path, lacking=lacking, strategy="cost") as at:
        assert [one.losses for one in shown(at, "all", envelope=asked)] == [2, 1_000, 0]
        assert [one.losses for one in shown(at, "all", envelope=letter())] == [0, 0, 0]
        assert [one.losses for one in shown(at, "am", envelope=asked)] == [0, 0, 0], "it is asked for by name"
        client = await at.asked("all", seed=1, verbosity="low", n=2)
        assert client.headers["x-tollhouse-provider"] == "c"
    async with desk(tmp_path, lacking=lacking) as at:
        assert [one.losses for one in shown(at, "all", envelope=asked)] == [0, 0, 0]


@pytest.mark.parametrize("vendor", ["openai", "anthropic", "gemini"])
def test_an_image_that_is_not_fetched_yet_is_no_loss(vendor):
    target = Target(
        provider=vendor, vendor=vendor, model="m", capabilities=Capabilities(), context=10_000, max_output=1_000
    )
    parts = [{"type": "image_url", "image_url": {"url": "https://example.org/a.png"}}]
    assert losses(letter(messages=[{"role": "user", "content": parts}]), target) == 0
    assert losses(None, target) == 0


def test_what_no_vendor_would_take_is_no_loss_of_one():
    target = Target(
        provider="gemini", vendor="gemini", model="m", capabilities=Capabilities(), context=10_000, max_output=1_000
    )
    assert losses(letter(messages=[]), target) == losses(letter(messages="?"), target) == 0


# ---- what others cannot is no word of who was out -------------------------------------------------------------------

UNABLE = {"b": "refused: [n]", "c": "refused: [n]"}


async def test_what_a_stand_in_cannot_is_not_told_of_the_named_one_that_is_limited(tmp_path):
    async with desk(tmp_path, QUICK, lacking=UNABLE) as at:
        at.a.plays.append(refuses(429, retry_after="0.3"))
        client = await at.asked("am", n=2)
        assert (client.status, client.headers["x-tollhouse-provider"]) == (200, "a")
        decision = at.records[-1].decision
        assert decision is not None
        assert decision.order == ("b/bm", "c/cm", "a/am")
        assert decision.waited > 0
        assert [outcome for outcome in at.outcomes() if outcome[0] == "a"] == [("a", "rate_limited"), ("a", "ok")]
    assert [(row.provider, row.last, row.cost) for row in await at.rows()] == [("a", False, 0), ("a", True, EACH)]


async def test_it_is_told_when_the_named_one_listens_again_if_that_is_too_long(tmp_path):
    async with desk(tmp_path, QUICK, lacking=UNABLE) as at:
        await at.hear("a", Kind.RATE_LIMITED, 60)
        client = await at.asked("am", n=2)
        assert (client.status, client.code) == (429, "rate_limit_exceeded")
        assert 50 <= int(client.headers["retry-after"]) <= 60
        assert at.a.heard == []


@pytest.mark.parametrize("kind", [Kind.KEY, Kind.MODEL], ids=["the whole provider", "the model alone"])
async def test_the_named_one_is_asked_though_its_circuit_is_open_if_nobody_else_can(tmp_path, kind):
    async with desk(tmp_path, QUICK, lacking=UNABLE) as at:
        await at.hear("a", kind)
        client = await at.asked("am", n=2)
        assert (client.status, client.headers["x-tollhouse-provider"]) == (200, "a")
        assert at.records[-1].decision is not None
        assert at.records[-1].decision.least_bad
        at.a.plays.append(refuses(503))
        client = await at.asked("am", n=2)
        assert (client.status, client.code) == (503, None), "its own word"


async def test_what_the_named_one_cannot_is_refused_whoever_is_out(tmp_path):
    async with desk(tmp_path, QUICK, lacking={"a": "refused: [n]"}) as at:
        await at.hear("b", Kind.RATE_LIMITED, 0.2)
        client = await at.asked("am", n=2)
        assert (client.status, client.code) == (400, "unsupported_parameter")
        assert at.c.heard == []


async def test_where_nobody_was_named_who_is_limited_is_waited_for_if_the_others_cannot(tmp_path):
    async with desk(tmp_path, QUICK, lacking={"a": "refused: [n]"}) as at:
        await at.hear("b", Kind.RATE_LIMITED, 0.2)
        client = await at.asked("pair", n=2)
        assert (client.status, client.headers["x-tollhouse-provider"]) == (200, "b")


async def test_a_larger_window_that_is_limited_is_waited_for_and_a_smaller_one_is_not(tmp_path):
    too_long = "HTTP says so"

    def complains(code: str) -> Any:
        async def play(call: Any) -> None:
            await call.head(400, content_type="application/json")
            await call.say(json.dumps({"error": {"message": too_long, "type": "invalid_request_error", "code": code}}))

        return play

    async with desk(tmp_path, QUICK, contexts={"a": 20_000, "b": 10_000, "c": 90_000}) as at:
        at.a.usual = complains("context_length_exceeded")
        await at.hear("b", Kind.RATE_LIMITED, 0.2)
        await at.hear("c", Kind.RATE_LIMITED, 0.2)
        client = await at.asked("all")
        assert (client.status, client.headers["x-tollhouse-provider"]) == (200, "c")
        assert at.b.heard == []
        await at.hear("b", Kind.RATE_LIMITED, 0.2)
        client = await at.asked("pair")
        assert (client.status, client.code) == (400, "context_length_exceeded")
        assert at.b.heard == []


async def test_who_is_limited_is_waited_for_if_there_is_no_money_for_the_others(tmp_path):
    async with desk(tmp_path, QUICK + "budgets: [{provider: b, daily: '0.0000001'}]\n") as at:
        at.a.plays.append(refuses(429, retry_after="0.3"))
        client = await at.asked()
        assert (client.status, client.headers["x-tollhouse-provider"]) == (200, "a")
        await at.hear("a", Kind.KEY)
        client = await at.asked()
        assert (client.status, client.code) == (429, "budget_exceeded"), "a sick one is not asked for want of money"


async def test_who_could_not_take_it_at_any_hour_is_not_asked_for_others(tmp_path):
    """`b` takes no images: that it is the only one left does not make it see."""
    async with desk(tmp_path, QUICK + "budgets: [{provider: a, daily: '0.0000001'}]\n",
                    lacking={"b": "input: [text]"}) as at:  # fmt: skip
        parts = [{"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}}]
        client = await at.asked("pair", messages=[{"role": "user", "content": parts}])
        assert (client.status, client.code) == (429, "budget_exceeded")
        assert at.b.heard == []


async def test_a_failure_that_others_could_have_mended_is_told_as_it_is(tmp_path):
    async with desk(tmp_path, ONCE) as at:
        await at.hear("b", Kind.RATE_LIMITED, 0.2)
        at.a.usual = refuses(500)
        client = await at.asked()
        assert client.status == 502
        assert at.b.heard == []


# ---- all are out ----------------------------------------------------------------------------------------------------


async def test_a_named_model_whose_only_provider_is_open_is_asked_all_the_same(tmp_path):
    async with desk(tmp_path, ONCE) as at:
        await at.hear("a", Kind.KEY)
        client = await at.asked("a/am")
        assert client.status == 200
        assert at.records[-1].decision is not None
        assert at.records[-1].decision.least_bad


async def test_who_has_all_its_places_taken_is_waited_for(tmp_path):
    go = asyncio.Event()
    config = "aliases: {narrow: {models: [{model: a/am, max_in_flight: 1}]}}\n" + QUICK
    async with desk(tmp_path, config) as at:
        at.a.plays.append(after(go, well))
        first = at.ask("narrow")
        await at.a.there.wait()
        second = at.ask("narrow")
        await until(lambda: at.gate.trips.queue._waiting)
        assert len(at.a.heard) == 1
        go.set()
        assert ((await first.end()).status, (await second.end()).status) == (200, 200)
