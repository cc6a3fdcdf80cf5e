"""What is shown at one moment; over a real store, and without one."""

from typing import Any

import pytest

from adapters.base import Failure, Kind
from proxy import __version__
from proxy.dashboard.snapshot import DECISIONS
from proxy.health import Outcome
from proxy.series import KEPT
from proxy.store import Settlement
from proxy.telemetry import Attempt
from tests.proxy.accounts import entry
from tests.proxy.dashboard.looking import Hall, hall

PARTS = {"at", "about", "headline", "providers", "turns", "budgets", "costs", "series", "decisions"}
BROKEN = Outcome(failure=Failure(Kind.TRANSIENT, "broke"))


@pytest.fixture
async def looking(tmp_path):
    async with hall(tmp_path) as found:
        yield found


async def opened(found: Hall, model: str = "gpt-4o") -> None:
    """Its circuit is open now."""
    for _ in range(3):
        ticket = await found.fleet.begin("openai", model)
        assert ticket is not None
        found.fleet.end(ticket, BROKEN)


async def test_on_the_first_day_all_is_there_and_empty(looking):
    said = await looking.snapshot()
    assert said.keys() == PARTS
    assert said["about"] == {"replica": "here", "version": __version__, "signed_in": True}
    assert said["headline"] == {"level": "idle", "text": "Ready. No request has come yet", "lines": []}
    assert [(one["name"], one["line"]["level"]) for one in said["providers"]] == [("openai", "idle"), ("groq", "idle")]
    assert said["turns"] == []
    assert [(row["name"], row["projection"]["used_at_end_usd"] in ("0", None)) for row in said["budgets"]] == [
        ("daily", True)
    ]
    assert said["costs"]["today"]["spent_usd"] == "0"
    assert said["series"]["requests"] == [0] * KEPT
    assert said["decisions"] == {"kept": 0, "latest": []}


async def test_it_is_not_kept_by_anybody_on_the_way(looking):
    answer = await looking.http.get("/dashboard/snapshot")
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["content-type"] == "application/json"


async def test_what_was_served_is_seen(looking):
    await looking.store.settle([Settlement(entry(cost=500_000_000, user="<b>alice</b>", status=200))])
    looking.hear(model="gpt-4o", attempts=[Attempt("openai", "gpt-4o", "ok", 1.0)], cost_nano=500_000_000)
    said = await looking.snapshot()
    assert said["budgets"][0]["spent_usd"] == "0.5"
    assert said["costs"]["today"]["by"]["user"]["top"][0]["value"] == "<b>alice</b>"
    assert sum(said["series"]["requests"]) == 1
    assert said["decisions"]["latest"][0]["model"] == "gpt-4o"


async def test_a_provider_that_fails_is_in_every_part(looking):
    looking.hear(attempts=[Attempt("groq", "x", "ok", 1.0)])
    await opened(looking)
    await looking.pulse.round()
    said = await looking.snapshot()
    assert said["headline"]["level"] == "bad"
    assert said["headline"]["lines"][0]["why"] == (
        "3 failures in a row, the last one: an error of its own; traffic goes to groq"
    )
    assert said["providers"][0]["line"]["what"] == "is failing"
    assert said["providers"][0]["health"]["models"]["gpt-4o"]["state"] == "open"
    assert [(turn["model"], turn["state"]) for turn in said["turns"]] == [("gpt-4o", "open")]


async def test_at_most_so_many_decisions_are_shown(looking):
    for n in range(DECISIONS + 5):
        looking.hear(request_id=f"req_{n}")
    said = (await looking.snapshot())["decisions"]
    assert said["kept"] == DECISIONS + 5
    assert len(said["latest"]) == DECISIONS
    assert said["latest"][0]["request_id"] == f"req_{DECISIONS + 4}"


async def test_without_the_store_all_else_is_there(looking):
    await looking.store.close()
    looking.hear(model="gpt-4o")
    said = await looking.snapshot()
    assert (said["budgets"], said["costs"]) == ([], None)
    assert said["headline"]["level"] == "bad"
    assert [line["subject"] for line in said["headline"]["lines"]] == ["The store"]
    assert sum(said["series"]["requests"]) == 1


async def test_what_was_known_of_money_stays_while_the_store_is_away(looking):
    await looking.store.settle([Settlement(entry(cost=500_000_000, status=200))])
    await looking.pulse.refresh(0.0)
    await looking.store.close()
    await looking.pulse.refresh(0.0)
    said = await looking.snapshot()
    assert said["costs"]["today"]["spent_usd"] == "0.5"
    assert said["headline"]["lines"][0]["since"] is not None


async def test_a_process_that_drains_says_so(looking):
    looking.app.state.draining = True
    assert (await looking.snapshot())["headline"]["lines"][0]["what"] == "is shutting down"


@pytest.mark.parametrize("path", ["/dashboard/snapshot", "/dashboard/events"])
@pytest.mark.parametrize("headers", [{"authorization": ""}, {"authorization": "Bearer wrong"}], ids=["none", "wrong"])
async def test_nobody_sees_it_without_the_key(looking, path, headers):
    answer = await looking.http.get(path, headers=headers)
    assert answer.status_code == 401
    assert answer.json()["error"]["code"] == "invalid_api_key"


async def test_a_session_opens_it(looking):
    looking.http.headers.pop("authorization")
    assert (await looking.http.post("/dashboard/session", json={"key": "admin-key"})).status_code == 204
    assert (await looking.http.get("/dashboard/snapshot")).status_code == 200


async def test_where_no_key_is_configured_nobody_signs_in(tmp_path):
    async with hall(tmp_path, key=None) as found:
        found.http.headers.pop("authorization")
        assert (await found.snapshot())["about"]["signed_in"] is False


async def test_no_secret_is_in_it(looking):
    looking.hear(model="gpt-4o", attempts=[Attempt("openai", "gpt-4o", "key", 1.0, "refused")])
    answer = await looking.http.get("/dashboard/snapshot")
    assert "admin-key" not in answer.text


async def test_one_snapshot_does_for_all_who_look_at_once(looking):
    first: Any = await looking.snapshot()
    looking.hear()
    second = await looking.snapshot()
    assert {**first, "at": None} == {**second, "at": None}
