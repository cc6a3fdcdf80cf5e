"""Managed keys of several replicas on one board: over the plain board, a real SQLite file, and a real Redis."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace
from structlog.testing import capture_logs

from proxy import keys
from proxy.environment import Secret
from proxy.fleet import Fleet
from proxy.keys import Fault, Key, Terms
from proxy.keys.index import KeyRevoked, KeyTaken, KeyUnknown
from proxy.roster import PEPPER, PREFIX, Roster
from proxy.store import KEPT, Board, Notice, Notices, StoreError
from proxy.store.redis import RedisStore
from proxy.store.sqlite import SqliteStore
from tests.proxy.accounts import Hand
from tests.proxy.plain_board import Paper, PlainBoard
from tests.proxy.replicas import GENEROUS, NOW, fleet_on, until
from tests.redis_server import RedisServer, redis_server

AT = int(NOW * 1000)
HOUR = 3_600_000


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    with redis_server() as server:
        yield server


@pytest.fixture
def clock() -> Hand:
    """Of the replicas, and of the plain board."""
    return Hand(NOW)


class Place:
    """A board, three ways to it, and how it is made to forget."""

    def __init__(self, kind: str, boards: list[Board], wipe: Callable[[], Any]) -> None:
        self.kind, self.boards, self.wipe = kind, boards, wipe


@pytest.fixture(params=["plain", "sqlite", "redis"])
async def place(request: pytest.FixtureRequest, tmp_path: Path, clock: Hand) -> AsyncIterator[Place]:
    async with AsyncExitStack() as stack:
        if request.param == "plain":
            paper = Paper(clock)
            yield Place("plain", [PlainBoard(paper) for _ in range(3)], paper.wipe)
        elif request.param == "sqlite":
            path = tmp_path / "tollhouse.db"
            files = [SqliteStore(path) for _ in range(3)]
            for file in files:
                await file.open()
                stack.push_async_callback(file.close)

            def wipe_file() -> None:
                with sqlite3.connect(path) as connection:
                    connection.execute("DELETE FROM board")
                connection.close()

            yield Place("sqlite", [*files], wipe_file)
        else:
            server: RedisServer = request.getfixturevalue("server")
            stores = [RedisStore(server.url, replica=f"r{n}", timeout=5) for n in range(3)]
            for store in stores:
                stack.push_async_callback(store.close)
            await stores[0]._redis.flushall()  # what the tests before have left
            yield Place("redis", [*stores], lambda: server.restart())


class Replica:
    """A roster, and who looks at the board for it."""

    def __init__(self, board: Board, clock: Hand, *, secret: str | None = None, name: str = "a") -> None:
        self.heard: list[Key] = []
        self.fleet: Fleet = fleet_on(board, clock, replica=name)
        self.roster = Roster(board, Secret(secret) if secret else None, wall=clock, changed=self.heard.append)
        self.fleet.exchange.readers.append(self.roster)

    async def open(self) -> None:
        await self.roster.open()
        await self.fleet.open()

    async def close(self) -> None:
        await self.fleet.close()
        await self.roster.close()

    def knows(self, text: str, now: int = AT) -> str | None:
        """The name of who presents this, if he may come in."""
        key = self.roster.find(text, now)
        return key.name if key else None


@pytest.fixture
async def replicas(place: Place, clock: Hand) -> AsyncIterator[list[Replica]]:
    """With their tasks: what is done at one is heard by the others by itself."""
    found = [Replica(board, clock, name=f"r{n}") for n, board in enumerate(place.boards)]
    for replica in found:
        await replica.open()
    yield found
    for replica in found:
        await replica.close()


async def everywhere(replicas: list[Replica], text: str, name: str | None) -> None:
    await until(lambda: {replica.knows(text) for replica in replicas} == {name})


async def standing(board: Board) -> dict[str, bytes]:
    """What is kept on the board; asked again while a server that was just started refuses."""
    async with asyncio.timeout(GENEROUS):
        while True:
            try:
                notices = await board.notices(0)
                return {key: notice.text for key, notice in notices.changed.items() if key.startswith(KEPT)}
            except StoreError:
                await asyncio.sleep(0.01)


async def put_up(board: Board, count: int) -> dict[str, bytes]:
    """What stands on the board, once so many notices do."""
    async with asyncio.timeout(GENEROUS):
        while True:
            if len(found := await standing(board)) >= count:
                return found
            await asyncio.sleep(0.01)  # looked at again, not waited blindly


# ---- made, changed, revoked -----------------------------------------------------------------------------------------


async def test_a_key_that_is_made_at_one_is_known_to_all(replicas: list[Replica]) -> None:
    assert not any(replica.roster.closed for replica in replicas)
    key, text = await replicas[0].roster.create("alice", Terms(user="alice", daily=5))
    assert text.startswith(keys.PREFIX)
    assert len(text) == len(keys.PREFIX) + 43, "32 bytes"
    assert (key.name, key.user, key.hint, key.created) == ("alice", "alice", text[-4:], AT)
    await everywhere(replicas, text, "alice")
    assert all(replica.roster.closed and replica.roster.all() == [key] for replica in replicas)
    assert [replica.heard for replica in replicas] == [[key]] * 3
    assert {replica.knows(text + "x") for replica in replicas} == {None}


async def test_the_text_of_a_key_is_not_kept(place: Place, replicas: list[Replica]) -> None:
    _, text = await replicas[0].roster.create("alice", Terms())
    found = await standing(place.boards[1])
    assert set(found) == {PREFIX + "alice", PEPPER}
    assert not any(text.encode() in kept or text[len(keys.PREFIX) :].encode() in kept for kept in found.values())
    assert text not in repr(vars(replicas[0].roster)) + repr(replicas[0].roster.all())


async def test_a_key_that_is_revoked_at_one_is_refused_by_all(replicas: list[Replica]) -> None:
    _, text = await replicas[0].roster.create("alice", Terms())
    await everywhere(replicas, text, "alice")
    key = await replicas[1].roster.revoke("alice")
    assert (key.revoked, replicas[1].knows(text)) == (AT, None)
    await everywhere(replicas, text, None)
    assert {replica.roster.state(text, AT) for replica in replicas} == {"revoked"}
    assert [key.name for key in replicas[2].roster.all()] == ["alice"]
    assert all(replica.roster.closed for replica in replicas), "the ring does not open again"


async def test_to_revoke_it_again_is_no_act(place: Place, replicas: list[Replica]) -> None:
    await replicas[0].roster.create("alice", Terms())
    key = await replicas[0].roster.revoke("alice")
    before = await place.boards[0].notices(0)
    assert await replicas[0].roster.revoke("alice") == key
    assert (await place.boards[0].notices(0)).serial == before.serial


async def test_a_key_that_is_rotated_is_known_by_its_new_text_and_for_a_while_by_the_old_one(
    replicas: list[Replica],
) -> None:
    _, old = await replicas[0].roster.create("alice", Terms(team="news"))
    await everywhere(replicas, old, "alice")
    key, new = await replicas[1].roster.rotate("alice", 3_600)
    assert (key.team, key.hint, new == old) == ("news", new[-4:], False)
    await everywhere(replicas, new, "alice")
    for replica in replicas:
        assert [replica.knows(old, AT + after) for after in (0, HOUR - 1, HOUR)] == ["alice", "alice", None]
        assert replica.knows(new, AT + HOUR) == "alice"
    _, newest = await replicas[2].roster.rotate("alice")
    await everywhere(replicas, newest, "alice")
    assert {replica.roster.state(new, AT) for replica in replicas} == {"replaced"}


async def test_a_key_that_is_changed_at_one_is_changed_for_all(replicas: list[Replica]) -> None:
    _, text = await replicas[0].roster.create("alice", Terms(daily=5, user="alice"))
    await everywhere(replicas, text, "alice")
    key = await replicas[2].roster.change("alice", Terms(daily=9))
    assert (key.daily, key.user) == (9, "alice")
    await until(lambda: all(replica.roster.get("alice") == key for replica in replicas))
    assert [replica.heard[-1] for replica in replicas] == [key] * 3


async def test_changes_at_several_at_once_are_all_made(replicas: list[Replica]) -> None:
    """Whoever comes second reads again, and makes his change of what he finds."""
    _, text = await replicas[0].roster.create("alice", Terms())
    await everywhere(replicas, text, "alice")
    one, two, three = (replica.roster for replica in replicas)
    await asyncio.gather(
        one.change("alice", Terms(daily=1)),
        two.change("alice", Terms(team="t")),
        three.change("alice", Terms(user="u")),
    )
    whole = (1, "t", "u")
    await until(
        lambda: all((k.daily, k.team, k.user) == whole for r in (one, two, three) if (k := r.get("alice")) is not None)
    )


async def test_a_name_that_two_ask_for_at_once_is_given_to_one(replicas: list[Replica]) -> None:
    answers = await asyncio.gather(
        *(replica.roster.create("alice", Terms()) for replica in replicas), return_exceptions=True
    )
    given = [answer for answer in answers if not isinstance(answer, BaseException)]
    assert len(given) == 1
    assert sum(isinstance(answer, KeyTaken) for answer in answers) == 2
    await everywhere(replicas, given[0][1], "alice")


async def test_keys_that_several_make_at_once_are_all_known_to_all(replicas: list[Replica]) -> None:
    """Also the first ones of all, before there is anything to hash them with."""
    made = await asyncio.gather(*(replica.roster.create(f"k{n}", Terms()) for n, replica in enumerate(replicas)))
    for key, text in made:
        await everywhere(replicas, text, key.name)


async def test_names_that_cannot_be_had_are_said(replicas: list[Replica]) -> None:
    roster = replicas[0].roster
    await roster.create("alice", Terms())
    await roster.revoke("alice")
    with pytest.raises(KeyTaken):
        await roster.create("alice", Terms())
    with pytest.raises(Fault):
        await roster.create("key-1", Terms())
    with pytest.raises(KeyRevoked):
        await roster.rotate("alice")
    with pytest.raises(KeyRevoked):
        await roster.change("alice", Terms())
    for act in (roster.rotate("bob"), roster.revoke("bob"), roster.change("bob", Terms())):
        with pytest.raises(KeyUnknown):
            await act


async def test_who_comes_later_reads_what_stands_there(place: Place, replicas: list[Replica], clock: Hand) -> None:
    _, good = await replicas[0].roster.create("alice", Terms())
    _, gone = await replicas[0].roster.create("bob", Terms())
    await replicas[0].roster.revoke("bob")
    late = Roster(place.boards[1], None, wall=clock)
    await late.open()
    await late.close()
    assert late.read
    assert (late.find(good, AT) == late.get("alice"), late.find(gone, AT)) == (True, None)


async def test_with_a_secret_of_ours_nothing_is_kept_that_hashes_keys(place: Place, clock: Hand) -> None:
    one, other, stranger = (
        Replica(board, clock, secret=secret)
        for board, secret in zip(place.boards, ["pepper", "pepper", "salt"], strict=True)
    )
    for replica in (one, other, stranger):
        await replica.open()
    key, text = await one.roster.create("alice", Terms())
    assert key.digest == keys.digest(text, b"pepper")
    await everywhere([one, other], text, "alice")
    assert set(await standing(place.boards[0])) == {PREFIX + "alice"}
    assert stranger.knows(text) is None
    for replica in (one, other, stranger):
        await replica.close()


# ---- a board that was forgotten -------------------------------------------------------------------------------------


async def test_a_board_that_was_forgotten_is_told_again_and_no_revoked_key_comes_back(
    place: Place, replicas: list[Replica], clock: Hand
) -> None:
    _, good = await replicas[0].roster.create("alice", Terms(team="news"))
    _, gone = await replicas[0].roster.create("bob", Terms())
    await everywhere(replicas, gone, "bob")
    await replicas[1].roster.revoke("bob")
    await everywhere(replicas, gone, None)
    before = await standing(place.boards[0])
    place.wipe()
    assert await put_up(place.boards[0], 3) == before
    late = Roster(place.boards[2], None, wall=clock)
    await late.open()
    await late.close()
    assert late.find(good, AT) == replicas[0].roster.get("alice")
    assert late.state(gone, AT) == "revoked"
    for replica in replicas:
        assert (replica.knows(good), replica.knows(gone)) == ("alice", None)


async def test_what_is_done_while_the_board_is_being_told_again_holds(place: Place, replicas: list[Replica]) -> None:
    texts = [(await replicas[0].roster.create(f"k{n}", Terms()))[1] for n in range(20)]
    await everywhere(replicas, texts[-1], "k19")
    place.wipe()
    async with asyncio.timeout(GENEROUS):
        while True:
            try:
                await replicas[1].roster.revoke("k7")
                _, new = await replicas[2].roster.create("new", Terms())
                break
            except StoreError:  # a server that was just started refuses
                await asyncio.sleep(0.01)
    await put_up(place.boards[0], 22)
    await everywhere(replicas, new, "new")
    await everywhere(replicas, texts[7], None)
    await everywhere(replicas, texts[8], "k8")
    assert keys.decode((await standing(place.boards[0]))[PREFIX + "k7"]).revoked


# ---- what one replica makes of what it hears ------------------------------------------------------------------------


@pytest.fixture
def paper(clock: Hand) -> Paper:
    return Paper(clock)


class Counted(PlainBoard):
    """`looks`: how often somebody looked, whether he saw anything or not."""

    looks = 0

    async def notices(self, since: int) -> Notices:
        self.looks += 1
        return await super().notices(since)


@pytest.fixture
def board(paper: Paper) -> Counted:
    return Counted(paper, look_seconds=0.01)


@pytest.fixture
async def alone(board: PlainBoard, clock: Hand) -> AsyncIterator[Roster]:
    roster = Roster(board, None, wall=clock)
    await roster.open()
    yield roster
    await roster.close()


def noted(paper: Paper, name: str) -> Key:
    return keys.decode(paper.standing[PREFIX + name].text)


async def test_a_store_that_is_away_at_the_start_is_read_when_it_is_back(board: Counted, clock: Hand) -> None:
    other = Roster(board, None, wall=clock)
    await other.open()
    _, text = await other.create("alice", Terms())
    await other.close()
    roster = Roster(board, None, wall=clock)
    board.away = True
    looks = board.looks
    with capture_logs() as logs:
        await roster.open()
        await until(lambda: board.looks > looks + 3)
        assert not roster.read
        assert roster.find(text, AT) is None
        board.away = False
        await until(lambda: roster.read)
        await until(lambda: len(logs) == 2)
    assert roster.find(text, AT) is not None
    await roster.close()
    assert [line["event"] for line in logs] == ["keys not shared", "keys shared again"]


async def test_a_store_that_never_answers_holds_up_nobody(board: PlainBoard, clock: Hand) -> None:
    board.shut = asyncio.Event()
    roster = Roster(board, None, wall=clock)
    with capture_logs() as logs:
        async with asyncio.timeout(GENEROUS):
            await roster.open()
    assert not roster.read
    assert [(line["event"], line["why"]) for line in logs] == [("keys not shared", "no answer in time")]
    await roster.close()


async def test_a_store_that_goes_away_later_takes_nobodys_key(alone: Roster, board: PlainBoard) -> None:
    _, text = await alone.create("alice", Terms())
    board.away = True
    assert alone.find(text, AT) is not None


async def test_a_board_with_nothing_on_it_was_read_all_the_same(alone: Roster) -> None:
    assert alone.read
    assert not alone.closed


@pytest.mark.parametrize("act", ["create", "rotate", "change"])
async def test_what_nobody_can_be_told_of_is_not_done(alone: Roster, board: PlainBoard, act: str) -> None:
    key, text = await alone.create("alice", Terms())
    board.away = True
    acts = {
        "create": lambda: alone.create("bob", Terms()),
        "rotate": lambda: alone.rotate("alice"),
        "change": lambda: alone.change("alice", Terms(user="a")),
    }
    with pytest.raises(StoreError, match="the store is away"):
        await acts[act]()
    assert alone.all() == [key]
    assert alone.find(text, AT) == key


async def test_a_key_is_revoked_here_at_once_and_the_others_are_told_when_the_store_is_back(
    alone: Roster, board: PlainBoard, paper: Paper
) -> None:
    _, text = await alone.create("alice", Terms())
    board.away = True
    with capture_logs(), pytest.raises(StoreError):
        await alone.revoke("alice")
    assert alone.state(text, AT) == "revoked"
    assert not noted(paper, "alice").revoked
    with capture_logs(), pytest.raises(StoreError):
        await alone.revoke("alice")  # done here, but not told: to ask again is no lie
    board.away = False
    await until(lambda: bool(noted(paper, "alice").revoked))
    assert noted(paper, "alice") == alone.get("alice") == await alone.revoke("alice")


async def test_an_act_of_which_nobody_heard_is_found_to_be_done(alone: Roster, board: PlainBoard, paper: Paper) -> None:
    """The first answer is lost: the second try finds its own work, and does not do it twice."""

    class Deaf(PlainBoard):
        async def pin(self, key: str, serial: int, text: bytes, *, ring: bool) -> Notice:
            self.mute = not self.mute  # each first answer is lost
            return await super().pin(key, serial, text, ring=ring)

    roster = Roster(Deaf(paper), None, wall=Hand(NOW))
    await roster.open()
    key, text = await roster.create("alice", Terms())
    assert roster.find(text, AT) == key == noted(paper, "alice")
    rotated, new = await roster.rotate("alice", 60)
    assert rotated.digest_before == key.digest
    assert (rotated.revision, roster.find(new, AT)) == (2, rotated)
    assert (await roster.change("alice", Terms(user="a"))).revision == 3
    assert (await roster.revoke("alice")).revision == 4
    assert noted(paper, "alice") == roster.get("alice")
    await roster.close()


async def test_who_is_outrun_tries_again_and_gives_up_in_the_end(alone: Roster, board: PlainBoard) -> None:
    await alone.create("alice", Terms())
    board.rivals = 3
    assert (await alone.change("alice", Terms(user="a"))).user == "a"
    board.rivals = 1_000
    with pytest.raises(StoreError, match="quicker"):
        await alone.change("alice", Terms(user="b"))


async def test_a_notice_that_is_gone_says_that_all_were_forgotten(alone: Roster, paper: Paper) -> None:
    """Also where the board itself does not say so."""
    await alone.create("alice", Terms())
    bob, _ = await alone.create("bob", Terms())
    paper.standing.clear()
    assert (await alone.change("alice", Terms(user="a"))).user == "a"
    await until(lambda: len(paper.standing) == 3)
    assert noted(paper, "alice").user == "a"
    assert noted(paper, "bob") == bob


async def test_a_board_that_was_forgotten_is_told_once_and_what_hashes_keys_first(
    alone: Roster, board: PlainBoard, paper: Paper
) -> None:
    for name in ("alice", "bob", "carol"):
        await alone.create(name, Terms())
    before = dict(paper.standing)
    paper.wipe()
    pins = board.pins
    with capture_logs() as logs:
        alone.forget()
        await until(lambda: bool(logs))
        alone.forget()  # it stands there: nothing is changed
        await until(lambda: len(logs) == 2)
    assert [(line["event"], line["notices"]) for line in logs] == [("keys put up again", 4)] * 2
    assert {key: notice.text for key, notice in paper.standing.items()} == {k: n.text for k, n in before.items()}
    assert min(paper.standing, key=lambda key: paper.standing[key].serial) == PEPPER
    assert board.pins == pins + 8
    await alone.change("alice", Terms(user="a"))
    assert board.pins == pins + 9, "what was said is not said again"


async def test_an_answer_of_a_board_that_was_forgotten_meanwhile_is_none(
    alone: Roster, board: PlainBoard, paper: Paper
) -> None:
    await alone.create("alice", Terms())
    board.stuck = asyncio.Event()
    act = asyncio.create_task(alone.change("alice", Terms(user="a")))
    await until(lambda: noted(paper, "alice").user == "a")
    paper.wipe()
    alone.forget()
    board.stuck.set()
    board.stuck = None
    assert (await act).user == "a"
    await until(lambda: PEPPER in paper.standing and noted(paper, "alice").user == "a")


async def test_a_revoked_key_stays_so_whatever_the_board_says(alone: Roster, paper: Paper) -> None:
    """A server that came back with what it knew an hour ago."""
    key, text = await alone.create("alice", Terms())
    await alone.revoke("alice")
    alone.hear(PREFIX + "alice", paper.put(PREFIX + "alice", keys.encode(replace(key, revision=9))))
    assert alone.state(text, AT) == "revoked"
    await until(lambda: bool(noted(paper, "alice").revoked))


async def test_what_was_heard_late_is_not_taken_for_news(alone: Roster, board: PlainBoard, paper: Paper) -> None:
    await alone.create("alice", Terms())
    old = paper.standing[PREFIX + "alice"]
    changed = await alone.change("alice", Terms(user="a"))
    alone.hear(PREFIX + "alice", old)
    assert alone.get("alice") == changed
    pins = board.pins
    await alone.change("alice", Terms(user="b"))
    assert board.pins == pins + 1, "what stands there is known"


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"\xff\x00", id="bytes"),
        pytest.param(b"{}", id="no key"),
        pytest.param(b"[1]", id="a list"),
        pytest.param(keys.encode(Key(name="bob", digest="0" * 64, hint="", created=0)), id="a key of another name"),
    ],
)
async def test_a_notice_that_cannot_be_read_is_said_once_and_changes_nothing(
    alone: Roster, paper: Paper, text: bytes
) -> None:
    key, secret = await alone.create("alice", Terms())
    with capture_logs() as logs:
        for _ in range(2):
            alone.hear(PREFIX + "alice", paper.put(PREFIX + "alice", text))
    assert [line["event"] for line in logs] == ["key not understood, what was known stays"]
    assert secret not in repr(logs)
    assert alone.find(secret, AT) == key
    assert alone.all() == [key]
    revoked = await alone.revoke("alice")
    assert noted(paper, "alice") == revoked, "what is known here takes its place"


async def test_a_ring_that_was_open_is_closed_by_a_key_that_cannot_be_read(alone: Roster, paper: Paper) -> None:
    with capture_logs():
        alone.hear(PEPPER, paper.put(PEPPER, b"{"))
        assert not alone.closed, "that is no key"
        alone.hear(PREFIX + "alice", paper.put(PREFIX + "alice", b"{"))
        alone.hear(PEPPER, paper.put(PEPPER, msgspec.json.encode(["00" * 32])))
    assert [alone.closed] == [True]
    assert alone.all() == []
    with pytest.raises(KeyTaken):
        await alone.create("alice", Terms())


async def test_a_notice_that_can_be_read_again_is_as_any_other(alone: Roster, paper: Paper) -> None:
    """And the next that cannot is news again."""
    key, _ = await alone.create("alice", Terms())
    with capture_logs() as logs:
        for text in (b"{", keys.encode(key), b"{", keys.encode(key)):
            alone.hear(PREFIX + "alice", paper.put(PREFIX + "alice", text))
    assert len(logs) == 2
    assert alone.all() == [key]


async def test_other_notices_are_nobodys_keys(alone: Roster, paper: Paper) -> None:
    with capture_logs() as logs:
        alone.hear(f"{KEPT}other", paper.put(f"{KEPT}other", b"{"))
    assert not logs
    assert not alone.closed


# ---- what keys are hashed with --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [b"", b"{}", b"[]", b'["zz"]', b'["00"]', b"[1]", msgspec.json.encode(["00" * 32] * 17)],
    ids=["nothing", "an object", "none", "no hex", "too short", "a number", "too many"],
)
async def test_a_pepper_that_cannot_be_read_is_not_put_out_of_the_way(alone: Roster, paper: Paper, text: bytes) -> None:
    """Somebody else may be able to read it, and have keys that need it."""
    with capture_logs() as logs:
        alone.hear(PEPPER, paper.put(PEPPER, text))
        with pytest.raises(StoreError, match=PEPPER):
            await alone.create("alice", Terms())
    assert len(logs) == 1
    assert not alone.closed
    assert paper.standing[PEPPER].text == text


async def test_with_a_secret_of_ours_nobody_believes_what_others_put_up_to_hash_keys_with(
    board: PlainBoard, paper: Paper, clock: Hand
) -> None:
    """Who may write to the store, but has no secret of ours, cannot make a key."""
    roster = Roster(board, Secret("pepper"), wall=clock)
    await roster.open()
    _, text = await roster.create("alice", Terms())
    theirs = b"t" * 32
    roster.hear(PEPPER, paper.put(PEPPER, msgspec.json.encode([theirs.hex()])))
    forged = Key(name="mallory", digest=keys.digest("sk-mallory", theirs), hint="", created=0)
    roster.hear(PREFIX + "mallory", paper.put(PREFIX + "mallory", keys.encode(forged)))
    assert roster.find("sk-mallory", AT) is None
    paper.wipe()
    roster.forget()
    await until(lambda: len(paper.standing) == 2)
    assert PEPPER not in paper.standing
    assert roster.find(text, AT) is not None
    await roster.close()


async def test_of_two_boards_that_knew_nothing_of_each_other_both_peppers_are_good(
    alone: Roster, board: PlainBoard, paper: Paper, clock: Hand
) -> None:
    """A server that came back empty, where somebody who knows nothing makes a key before it is told again."""
    _, old = await alone.create("old", Terms())
    paper.wipe()
    fresh = Roster(board, None, wall=clock)
    await fresh.open()
    _, new = await fresh.create("new", Terms())
    alone.forget()
    for key, notice in list(paper.standing.items()):
        alone.hear(key, notice)
    await until(lambda: len(paper.standing) == 3)
    await until(lambda: len(msgspec.json.decode(paper.standing[PEPPER].text)) == 2)
    for key, notice in paper.standing.items():
        fresh.hear(key, notice)
    for roster in (alone, fresh):
        assert [roster.find(text, AT) is not None for text in (old, new)] == [True, True]
    await fresh.close()


async def test_texts_are_like_no_other(alone: Roster) -> None:
    texts = {(await alone.create(f"k{n}", Terms()))[1] for n in range(50)}
    assert len(texts) == 50


async def test_now_is_the_clocks(alone: Roster, clock: Hand) -> None:
    clock.now = 12.3456
    assert alone.now() == 12_345
