"""The doors to managed keys, over two replicas that share a real store."""

import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from litestar import Litestar
from litestar.datastructures import State
from structlog.testing import capture_logs

from proxy import keys
from proxy.admin.keys import HANDLERS, LARGEST
from proxy.api import refuse
from proxy.auth import Keyring
from proxy.environment import Secret
from proxy.roster import Roster
from proxy.store import Board
from proxy.store.sqlite import SqliteStore
from tests.proxy.accounts import Hand
from tests.proxy.plain_board import Paper, PlainBoard
from tests.proxy.replicas import NOW

AT = int(NOW * 1000)
ADMIN = {"authorization": "Bearer admin-key"}
FOUR = {"message", "type", "param", "code"}
DOORS = [
    ("POST", "/keys"),
    ("GET", "/keys"),
    ("GET", "/keys/alice"),
    ("PATCH", "/keys/alice"),
    ("POST", "/keys/alice/rotate"),
    ("DELETE", "/keys/alice"),
]
ALICE = {
    "name": "alice",
    "user": "alice@example.org",
    "agent": "editor",
    "team": "news",
    "expires": "90d",
    "models": ["gpt-4o*", "auto"],
    "daily": "12.50",
    "monthly": "100",
    "requests_per_minute": 60,
    "tokens_per_minute": 100_000,
    "concurrent": 5,
}
SHOWN = {
    **ALICE,
    "status": "active",
    "created": "2026-11-18T11:06:40.000Z",
    "expires": "2027-02-16T11:06:40.000Z",
    "daily": "12.5",
    "revoked": None,
    "previous_until": None,
}


class Place(NamedTuple):
    """A client of the doors, and what is behind them."""

    http: httpx.AsyncClient
    roster: Roster
    ring: Keyring

    async def made(self, **members: Any) -> dict[str, Any]:
        answer = await self.http.post("/keys", json={"name": "alice", **members})
        assert answer.status_code == 201
        said: dict[str, Any] = answer.json()
        return said

    def caller(self, text: str) -> str:
        """Who it is that presents this."""
        return self.ring.admit(f"Bearer {text}").key

    def why(self, text: str) -> str:
        """Why who presents this may not come in."""
        return self.roster.state(text, self.roster.now())


@asynccontextmanager
async def place_on(board: Board, clock: Hand, replica: str = "one") -> AsyncIterator[Place]:
    roster = Roster(board, None, wall=clock)
    await roster.open()
    ring = Keyring((), roster)
    state = {"roster": roster, "replica": replica, "admin": Keyring([Secret("admin-key")])}
    app = Litestar(
        HANDLERS, exception_handlers={Exception: refuse}, openapi_config=None, logging_config=None, state=State(state)
    )
    transport = httpx.ASGITransport(app)  # type: ignore[arg-type]  # Litestar's scopes are typed more narrowly
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost:8080", headers=ADMIN) as http:
        try:
            yield Place(http, roster, ring)
        finally:
            await roster.close()


@pytest.fixture
def clock() -> Hand:
    return Hand(NOW)


@pytest.fixture
async def place(tmp_path: Path, clock: Hand) -> AsyncIterator[Place]:
    """On a real file."""
    store = SqliteStore(tmp_path / "tollhouse.db")
    await store.open()
    async with place_on(store, clock) as found:
        yield found
    await store.close()


@pytest.fixture
def board(clock: Hand) -> PlainBoard:
    """One that can be taken away."""
    return PlainBoard(Paper(clock), look_seconds=0.01)


@pytest.fixture
async def moody(board: PlainBoard, clock: Hand) -> AsyncIterator[Place]:
    async with place_on(board, clock) as found:
        yield found


def error(answer: httpx.Response, status: int) -> dict[str, Any]:
    assert answer.status_code == status
    said: dict[str, Any] = answer.json()["error"]
    assert said.keys() == FOUR
    return said


# --- who may come in


@pytest.mark.parametrize(("method", "url"), DOORS)
async def test_every_door_asks_for_the_admin_key(place: Place, method: str, url: str) -> None:
    text = (await place.made())["key"]
    for wrong in ("", "Bearer other", f"Bearer {text}"):
        answer = await place.http.request(method, url, headers={"authorization": wrong}, json={"name": "bob"})
        assert error(answer, 401)["code"] == "invalid_api_key"
    assert (place.caller(text), len(place.roster.all())) == ("alice", 1)


# --- made and shown


async def test_a_key_is_made_and_shown_once(place: Place) -> None:
    answer = await place.http.post("/keys", json=ALICE)
    assert answer.status_code == 201
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["content-type"].startswith("application/json")
    said = answer.json()
    text = said.pop("key")
    assert said == {**SHOWN, "hint": text[-4:]}
    assert text.startswith(keys.PREFIX)
    assert place.caller(text) == "alice"
    one, all_of_them = await place.http.get("/keys/alice"), await place.http.get("/keys")
    assert (one.status_code, one.json()) == (200, said)
    assert (all_of_them.status_code, all_of_them.json()) == (200, {"keys": [said]})
    for answer in (one, all_of_them):
        assert answer.headers["cache-control"] == "no-store"
        assert text not in answer.text
        assert "digest" not in answer.text


async def test_a_name_is_all_that_a_key_needs(place: Place) -> None:
    said = await place.made()
    nothing = {name for name, value in said.items() if value is None}
    assert nothing == ALICE.keys() - {"name"} | {"revoked", "previous_until"}
    assert place.caller(said["key"]) == "alice"


async def test_all_keys_are_listed_by_name_those_revoked_too(place: Place) -> None:
    assert (await place.http.get("/keys")).json() == {"keys": []}
    for name in ("carol", "alice", "bob"):
        await place.made(name=name)
    await place.http.delete("/keys/bob")
    listed = (await place.http.get("/keys")).json()["keys"]
    assert [(key["name"], key["status"]) for key in listed] == [
        ("alice", "active"),
        ("bob", "revoked"),
        ("carol", "active"),
    ]


async def test_a_key_expires(place: Place, clock: Hand) -> None:
    text = (await place.made(expires="1h"))["key"]
    clock.now += 3_600
    assert (await place.http.get("/keys/alice")).json()["status"] == "expired"
    assert place.why(text) == "expired"


@pytest.mark.parametrize(
    ("body", "param", "said"),
    [
        pytest.param({}, "name", "missing required field `name`", id="no name"),
        pytest.param({"name": "Alice"}, "name", "1 to 63 of a-z", id="a name that none may have"),
        pytest.param({"name": "key-1"}, "name", "TOLLHOUSE_CLIENT_KEYS", id="a name of the environment's"),
        pytest.param({"name": 5}, "name", "Expected `str`, got `int`", id="a number for a name"),
        pytest.param({"name": "a", "budget": 5}, "budget", "unknown field `budget`", id="a member that nobody knows"),
        pytest.param({"name": "a", "digest": "0" * 64}, "digest", "unknown field", id="a digest"),
        pytest.param({"name": "a", "daily": "0"}, "daily", "expected USD", id="a budget of nothing"),
        pytest.param({"name": "a", "daily": 0.1}, "daily", "got `float`", id="a budget that is not exact"),
        pytest.param({"name": "a", "monthly": "x"}, "monthly", "expected USD", id="a budget that is no number"),
        pytest.param({"name": "a", "expires": "2020-01-01"}, "expires", "a time to come", id="an end in the past"),
        pytest.param({"name": "a", "models": [5]}, "models", "Expected `str`", id="a number for a pattern"),
        pytest.param({"name": "a", "models": []}, "models", "null for all", id="no pattern"),
        pytest.param({"name": "a", "concurrent": 0}, "concurrent", "null for no limit", id="no place"),
        pytest.param([], None, "Expected `object`", id="a list"),
        pytest.param(None, None, "Expected `object`", id="null"),
    ],
)
async def test_what_cannot_be_had_is_a_400_that_names_its_member(
    place: Place, body: Any, param: str | None, said: str
) -> None:
    found = error(await place.http.post("/keys", content=json.dumps(body)), 400)
    assert (found["type"], found["param"]) == ("invalid_request_error", param)
    assert said in found["message"]
    assert place.roster.all() == []


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b'"\xff"', b"\x00", b"[" * 5_000])
async def test_what_is_no_json_is_a_400(place: Place, body: bytes) -> None:
    error(await place.http.post("/keys", content=body), 400)


async def test_a_body_that_is_too_large_is_refused(place: Place) -> None:
    assert error(await place.http.post("/keys", content=b" " * (LARGEST + 1)), 413)["code"] == "request_too_large"


async def test_a_name_is_given_once(place: Place) -> None:
    text = (await place.made())["key"]
    found = error(await place.http.post("/keys", json={"name": "alice"}), 409)
    assert (found["type"], found["code"], found["param"]) == ("invalid_request_error", "key_exists", "name")
    assert place.caller(text) == "alice"
    await place.http.delete("/keys/alice")
    error(await place.http.post("/keys", json={"name": "alice"}), 409)


@pytest.mark.parametrize(("method", "url"), DOORS)
async def test_a_parameter_that_nobody_knows_is_a_400_and_nothing_is_done(place: Place, method: str, url: str) -> None:
    text = (await place.made())["key"]
    answer = await place.http.request(method, f"{url}?force=1", json={"name": "bob"})
    assert error(answer, 400)["param"] == "force"
    assert (place.caller(text), len(place.roster.all())) == ("alice", 1)


# --- changed, rotated, revoked


async def test_what_is_named_is_changed_and_null_takes_away(place: Place) -> None:
    said = (await place.http.post("/keys", json=ALICE)).json()
    answer = await place.http.patch("/keys/alice", json={"daily": "7", "team": None, "models": None})
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "no-store"
    after = {**said, "daily": "7", "team": None, "models": None}
    del after["key"]
    assert answer.json() == (await place.http.get("/keys/alice")).json() == after
    caller = place.ring.admit(f"Bearer {said['key']}")
    assert (caller.user, caller.team, caller.models) == ("alice@example.org", "", ())


@pytest.mark.parametrize("body", [{"name": "bob"}, {"revoked": None}, {"daily": "-1"}, {"hint": "x"}, []])
async def test_what_cannot_be_changed_is_a_400(place: Place, body: Any) -> None:
    before = await place.made()
    error(await place.http.patch("/keys/alice", json=body), 400)
    del before["key"]
    assert (await place.http.get("/keys/alice")).json() == before


async def test_a_key_gets_another_text_and_the_old_one_is_good_no_more(place: Place) -> None:
    old = await place.made(team="news")
    answer = await place.http.post("/keys/alice/rotate")
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "no-store"
    new = answer.json()
    assert (new["team"], new["hint"], new["previous_until"]) == ("news", new["key"][-4:], None)
    assert place.caller(new["key"]) == "alice"
    assert place.why(old["key"]) == "replaced"


async def test_the_old_text_may_be_good_for_a_while(place: Place, clock: Hand) -> None:
    old = (await place.made())["key"]
    answer = await place.http.post("/keys/alice/rotate", json={"grace_seconds": 60})
    assert answer.json()["previous_until"] == "2026-11-18T11:07:40.000Z"
    assert place.caller(old) == place.caller(answer.json()["key"]) == "alice"
    clock.now += 60
    assert place.why(old) == "replaced"
    assert place.caller(answer.json()["key"]) == "alice"


@pytest.mark.parametrize(
    "body", [{"grace_seconds": -1}, {"grace_seconds": 604_801}, {"grace_seconds": "5"}, {"grace": 5}, [5]]
)
async def test_a_grace_that_cannot_be_had_is_a_400(place: Place, body: Any) -> None:
    text = (await place.made())["key"]
    error(await place.http.post("/keys/alice/rotate", json=body), 400)
    assert place.caller(text) == "alice"


async def test_the_longest_grace_is_a_week(place: Place) -> None:
    await place.made()
    answer = await place.http.post("/keys/alice/rotate", json={"grace_seconds": 604_800})
    assert answer.json()["previous_until"] == "2026-11-25T11:06:40.000Z"


async def test_a_key_is_revoked_for_good(place: Place, clock: Hand) -> None:
    text = (await place.made())["key"]
    answer = await place.http.delete("/keys/alice")
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "no-store"
    said = answer.json()
    assert (said["status"], said["revoked"]) == ("revoked", "2026-11-18T11:06:40.000Z")
    assert place.why(text) == "revoked"
    clock.now += 60
    again = await place.http.delete("/keys/alice")
    assert (again.status_code, again.json()) == (200, said)
    for answer in (
        await place.http.post("/keys/alice/rotate"),
        await place.http.patch("/keys/alice", json={"daily": "5"}),
    ):
        found = error(answer, 409)
        assert (found["code"], found["param"]) == ("key_revoked", None)


@pytest.mark.parametrize(("method", "url"), [door for door in DOORS if "alice" in door[1]])
async def test_a_key_that_never_was_is_a_404(place: Place, method: str, url: str) -> None:
    found = error(await place.http.request(method, url, json={}), 404)
    assert (found["type"], found["code"], found["param"]) == ("invalid_request_error", "key_not_found", "key")
    assert "'alice'" in found["message"]


async def test_what_is_done_at_one_replica_is_done_at_the_other(tmp_path: Path, clock: Hand) -> None:
    async with AsyncExitStack() as stack:
        places = []
        for name in ("one", "two"):
            store = SqliteStore(tmp_path / "tollhouse.db")
            await store.open()
            stack.push_async_callback(store.close)
            places.append(await stack.enter_async_context(place_on(store, clock, name)))
        one, two = places
        text = (await one.made())["key"]
        assert error(await two.http.post("/keys", json={"name": "alice"}), 409)["code"] == "key_exists"
        assert two.caller(text) == "alice", "who was refused the name has heard of the key"
        await two.http.delete("/keys/alice")
        found = error(await one.http.patch("/keys/alice", json={"daily": "5"}), 409)
        assert found["code"] == "key_revoked", "who comes second reads again"


# --- a store that is away


@pytest.mark.parametrize(("method", "url"), DOORS)
async def test_who_never_read_the_store_says_so(board: PlainBoard, clock: Hand, method: str, url: str) -> None:
    board.away = True
    with capture_logs():
        async with place_on(board, clock) as place:
            found = error(await place.http.request(method, url, json={"name": "bob"}), 503)
    assert (found["type"], found["code"]) == ("server_error", "key_store_unavailable")


async def test_what_nobody_could_be_told_of_is_a_503(moody: Place, board: PlainBoard) -> None:
    text = (await moody.made())["key"]
    board.away = True
    for method, url in [("POST", "/keys"), ("PATCH", "/keys/alice"), ("POST", "/keys/alice/rotate")]:
        body = {"POST": {"name": "bob"}, "PATCH": {"daily": "5"}}[method] if "rotate" not in url else {}
        with capture_logs() as logs:
            found = error(await moody.http.request(method, url, json=body), 503)
        assert (found["type"], found["code"]) == ("server_error", "key_store_unavailable")
        assert "nobody knows whether it was done" in found["message"]
        assert [line["event"] for line in logs] == ["key not written"]
    assert moody.caller(text) == "alice"
    assert (await moody.http.get("/keys")).status_code == 200, "what is known is told"


async def test_a_key_that_only_this_replica_has_revoked_is_said_to_be(moody: Place, board: PlainBoard) -> None:
    text = (await moody.made())["key"]
    board.away = True
    with capture_logs():
        found = error(await moody.http.delete("/keys/alice"), 503)
    assert "on this replica only (one)" in found["message"]
    assert moody.why(text) == "revoked"
    board.away = False
    with capture_logs():
        assert (await moody.http.delete("/keys/alice")).json()["status"] == "revoked"
    notice = (await board.notices(0)).changed["keep:key:alice"]
    assert keys.decode(notice.text).revoked


# --- what is said of it


async def test_each_act_is_logged_and_no_text_of_a_key(place: Place) -> None:
    with capture_logs() as logs:
        texts = [(await place.made())["key"]]
        await place.http.patch("/keys/alice", json={"daily": "5", "concurrent": None})
        texts.append((await place.http.post("/keys/alice/rotate", json={"grace_seconds": 5})).json()["key"])
        await place.http.delete("/keys/alice")
    assert [(line["event"], line["key"], line["by"]) for line in logs] == [
        ("key created", "alice", "admin"),
        ("key changed", "alice", "admin"),
        ("key rotated", "alice", "admin"),
        ("key revoked", "alice", "admin"),
    ]
    assert (logs[1]["terms"], logs[2]["grace_seconds"]) == (("daily", "concurrent"), 5)
    assert not any(text[len(keys.PREFIX) :] in repr(logs) for text in texts)


members = st.fixed_dictionaries(
    {},
    optional={
        name: st.none() | st.text(max_size=8) | st.integers(-5, 5) | st.lists(st.text(max_size=5), max_size=3)
        for name in [*ALICE, "other"]
    },
)


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(members, st.sampled_from(DOORS), st.booleans())
async def test_whatever_is_asked_is_answered_and_never_by_a_fault_of_ours(moody: Place, body, door, there):
    if there and moody.roster.get("alice") is None:
        await moody.made()
    method, url = door
    answer = await moody.http.request(method, url, json=body)
    assert answer.status_code < 500
    assert answer.status_code < 300 or answer.json()["error"].keys() == FOUR
