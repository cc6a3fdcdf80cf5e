"""deploy/redis against a real Redis: its configuration starts, its user may do what a replica does and nothing else,
and a node of a cluster serves as one that stands alone."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from pathlib import Path

import pytest
from redis import Redis
from redis.exceptions import NoPermissionError

from proxy.budget import Ask, Granted, Limit
from proxy.feedback import Feedback
from proxy.ledger import Entry, labels
from proxy.quota import Entered, Entering, Quota
from proxy.store import Lost, Settlement, StoreError
from proxy.store.redis import RedisStore
from tests.redis_server import RedisServer, redis_server

DEPLOY = Path(__file__).resolve().parent.parent / "deploy" / "redis"
PATIENCE = 20.0
DAILY = Limit("daily", "all", "day", 1_000)


def shipped() -> Mapping[str, str]:
    """redis.conf without what a test says otherwise: where it listens, and where its files are."""
    lines = (DEPLOY / "redis.conf").read_text(encoding="utf-8").splitlines()
    words = dict(line.split(maxsplit=1) for line in lines if line and not line.startswith("#"))
    return {name: value.strip('"') for name, value in words.items() if name not in ("port", "dir")}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """As it is shipped, with the password filled in, and somebody who may look at what was denied."""
    users = tmp_path_factory.mktemp("redis") / "users.acl"
    text = (DEPLOY / "users.acl").read_text(encoding="utf-8").replace("PASSWORD", "p4ss")
    users.write_text(f"{text}user watcher on nopass ~* &* +@all\n", encoding="utf-8")
    with redis_server({**shipped(), "aclfile": str(users)}) as server:
        yield server


def url(server: RedisServer, user: str) -> str:
    return server.url.replace("//", f"//{user}@")


async def every_verb(url: str) -> None:
    """All that a replica asks of its store, each at least once."""
    store = RedisStore(url, timeout=5, quiet=0, pause=0.001)

    async def nothing() -> AsyncIterator[Sequence[Settlement]]:
        yield ()

    async with asyncio.timeout(PATIENCE):
        await store.open()
        with pytest.raises(Lost):
            await store.beat()
        await store.recover(nothing(), [])
        await store.beat()
        entry = Entry(id="r/1", request="r", provider="openai", model="gpt", key="k")
        granted = await store.hold(Ask(entry=entry, limits=(DAILY,), least=10, most=10))
        assert isinstance(granted, Granted)
        row = Entry(id="r/1", request="r", provider="openai", model="gpt", key="k", at=granted.at, cost=3)
        await store.settle([Settlement(row, (DAILY,))])
        assert (await store.counters(labels(granted.at)[0]))["all"].spent == 3
        assert await store.judge(Feedback(request="r", key="k", score=1))
        assert [found.id async for page in store.rows(0, 2**52) for found in page] == ["r/1"]
        quota = Quota(requests=5, concurrent=5)
        assert isinstance(await store.enter(Entering(key="k", id="r", quota=quota, tokens=0, seconds=60)), Entered)
        await store.leave("k", "r", quota, 0)
        await store.remember({"state": "text"}, 60)
        assert await store.recall(["state"]) == {"state": "text"}
        await store.bell()  # subscribed
        assert (await store.pin("key", 0, b"text", ring=True)).ours
        await store.bell()  # rung
        assert (await store.notices(0)).changed["key"].text == b"text"
        assert await store.expired() == []
        await store.prune(400)
        await store.prune(-1)  # even what is young
        await store.close()


async def test_the_user_that_is_shipped_may_do_all_that_a_replica_does(server):
    await every_verb(url(server, "tollhouse:p4ss"))
    with Redis.from_url(url(server, "watcher:any")) as watcher:
        assert watcher.acl_log() == []


@pytest.mark.parametrize(
    ("user", "words"),
    [
        ("tollhouse:p4ss", ["GET", "somebody"]),
        ("tollhouse:p4ss", ["FLUSHALL"]),
        ("tollhouse:p4ss", ["KEYS", "*"]),
        ("tollhouse:p4ss", ["CONFIG", "GET", "*"]),
        ("tollhouse:p4ss", ["ACL", "LIST"]),
        ("tollhouse:p4ss", ["PUBLISH", "somebody", "x"]),
        ("default:any", ["GET", "{tollhouse}:board"]),
        ("default:any", ["INFO"]),
    ],
)
def test_and_nothing_else(server, user, words):
    with Redis.from_url(url(server, user), protocol=2) as client, pytest.raises(NoPermissionError):
        client.execute_command(*words)


async def test_a_wrong_password_is_a_store_error_that_does_not_show_it(server):
    store = RedisStore(url(server, "tollhouse:wr0ng"), timeout=5)
    with pytest.raises(StoreError) as caught:
        await store.open()
    assert "wr0ng" not in str(caught.value)
    await store.close()


def test_what_is_shipped_keeps_money_on_disk_and_never_evicts_it(server):
    with Redis.from_url(url(server, "watcher:any"), decode_responses=True) as watcher:
        found = watcher.config_get("append*", "maxmemory*")
    assert found["appendonly"] == "yes"
    assert found["appendfsync"] == "everysec"
    assert found["maxmemory-policy"] == "noeviction"
    assert int(found["maxmemory"]) > 0


async def test_the_node_of_a_cluster_that_has_our_slot_serves_as_one_that_stands_alone():
    """All keys are in one slot: no act needs another node."""
    with redis_server({"cluster-enabled": "yes", "cluster-require-full-coverage": "no"}) as node:
        with Redis.from_url(node.url) as client:
            slot = client.execute_command("CLUSTER", "KEYSLOT", "{tollhouse}")
            client.execute_command("CLUSTER", "ADDSLOTS", slot)
            deadline = asyncio.get_running_loop().time() + PATIENCE
            while "cluster_state:ok" not in str(client.execute_command("CLUSTER", "INFO")):
                assert asyncio.get_running_loop().time() < deadline
                await asyncio.sleep(0.01)  # asked again, not waited blindly
        await every_verb(node.url)


async def test_a_node_that_does_not_have_our_slot_is_a_store_error():
    """It says where the slot is; nobody follows."""
    with redis_server({"cluster-enabled": "yes"}) as node:
        store = RedisStore(node.url, timeout=5)
        await store.open()
        with pytest.raises(StoreError):
            await store.beat()
        await store.close()
