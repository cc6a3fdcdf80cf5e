"""Three replicas, one set of managed keys: what is done to a key at one of them holds at all, within a second."""

import asyncio
import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from typing import Any

import openai
import pytest

from proxy.simulator import Simulator
from tests.money.fleet import Fleet
from tests.redis_server import RedisServer, redis_server
from tests.reliability.conftest import ADMIN, HEALTH
from tests.reliability.crowd import MODEL
from tests.reliability.watch import PATIENCE, until

SPREAD = 1.0  # seconds in which all replicas refuse a key that was revoked: the product's promise
_AGAIN = 0.01  # seconds between two looks
MANAGED = {"TOLLHOUSE_MANAGED_KEYS": "true"}
Start = Callable[..., Fleet]


def admin(url: str, method: str, path: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """An act of who runs it. Raises `urllib.error.HTTPError`."""
    headers = {"authorization": f"Bearer {ADMIN}", "content-type": "application/json"}
    data = json.dumps(body).encode() if body is not None else None
    request = urllib.request.Request(url + path, data, headers, method=method)
    with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
        return dict(json.loads(answer.read()))


def heard(url: str, key: str) -> str:
    """What a client hears who presents this key: "ok", or the error's code and message."""
    request = urllib.request.Request(f"{url}/v1/models", headers={"authorization": f"Bearer {key}"})
    try:
        urllib.request.urlopen(request, timeout=PATIENCE).close()
    except urllib.error.HTTPError as error:
        told = json.loads(error.read())["error"]
        return f"{told['code']}: {told['message']}"
    return "ok"


def everywhere(fleet: Fleet, key: str) -> list[str]:
    return [heard(url, key) for url in fleet.urls]


async def since(fleet: Fleet, key: str, expected: str, began: float) -> list[float]:
    """After how many seconds each of them said so; asked again and again, all at the same time."""

    async def one(url: str) -> float:
        while not (await asyncio.to_thread(heard, url, key)).startswith(expected):
            assert time.time() - began < PATIENCE, f"never {expected!r} at {url}"
            await asyncio.sleep(_AGAIN)  # looked at again, not waited blindly: nobody tells a stranger
        return time.time() - began

    return list(await asyncio.gather(*map(one, fleet.urls)))


def told(seconds: list[float]) -> str:
    return ", ".join(f"{1000 * one:.0f} ms" for one in seconds)


def complete(url: str, key: str, model: str = MODEL) -> str:
    """What the official SDK hears."""
    with openai.OpenAI(base_url=f"{url}/v1", api_key=key, max_retries=0) as client:
        messages: Any = [{"role": "user", "content": "words 3"}]
        answer = client.chat.completions.create(model=model, messages=messages)
        return answer.choices[0].message.content or ""


@pytest.fixture(scope="module", params=["redis", pytest.param("file", marks=pytest.mark.long)])
def _fleet(request: pytest.FixtureRequest, _vendors: Simulator) -> Iterator[Fleet]:
    with ExitStack() as stack:
        store = stack.enter_context(redis_server()).url if request.param == "redis" else None
        environ = {"TOLLHOUSE_ADMIN_KEY": ADMIN, **MANAGED}
        yield stack.enter_context(Fleet(_vendors, 3, redis=store, config=HEALTH, environ=environ))


@pytest.fixture
def fleet(_fleet: Fleet, vendors: Simulator) -> Fleet:
    """One for several tests: each has keys of its own, for a name that was used once cannot be used again."""
    return _fleet


def status(url: str, name: str) -> str:
    return str({one["name"]: one["status"] for one in admin(url, "GET", "/keys")["keys"]}[name])


async def test_a_key_that_is_made_at_one_works_at_all_and_is_refused_by_all_once_it_is_revoked(
    fleet: Fleet, capsys: pytest.CaptureFixture[str]
) -> None:
    assert {answer.partition(":")[0] for answer in everywhere(fleet, "nobody")} == {"invalid_api_key"}
    began = time.time()
    key = admin(fleet.urls[0], "POST", "/keys", {"name": "alice", "user": "alice", "models": ["gpt-4o*"]})["key"]
    known = await since(fleet, key, "ok", began)
    for url in fleet.urls:
        assert await asyncio.to_thread(complete, url, key)
        with pytest.raises(openai.PermissionDeniedError, match=r"It may ask for: gpt-4o\*"):
            await asyncio.to_thread(complete, url, key, "gpt-4.1-mini")
    began = time.time()
    assert admin(fleet.urls[2], "DELETE", "/keys/alice")["status"] == "revoked"
    refused = await since(fleet, key, "invalid_api_key: This API key was revoked.", began)
    with capsys.disabled():
        print(f"\na key that was made is known after {told(known)}; one that was revoked refused after {told(refused)}")
    assert max(refused) <= SPREAD
    assert max(known) <= SPREAD
    with pytest.raises(openai.AuthenticationError):
        complete(fleet.urls[0], key)
    assert [status(url, "alice") for url in fleet.urls] == ["revoked"] * 3


async def test_the_first_key_closes_a_ring_that_was_open_at_all_replicas_and_for_good(
    replicas: Start, store: str | None
) -> None:
    fleet = replicas(store)
    assert everywhere(fleet, "nobody") == ["ok"] * 3
    key = admin(fleet.urls[0], "POST", "/keys", {"name": "alice"})["key"]
    began = time.time()
    assert max(await since(fleet, "nobody", "invalid_api_key", began)) <= SPREAD
    assert everywhere(fleet, key) == ["ok"] * 3
    admin(fleet.urls[1], "DELETE", "/keys/alice")
    await since(fleet, key, "invalid_api_key", time.time())
    await asyncio.to_thread(fleet.revive, 0)
    assert {answer.partition(":")[0] for answer in everywhere(fleet, "nobody")} == {"invalid_api_key"}


async def test_a_key_that_is_rotated_at_one_is_rotated_for_all(fleet: Fleet) -> None:
    old = admin(fleet.urls[0], "POST", "/keys", {"name": "rosa"})["key"]
    await since(fleet, old, "ok", time.time())
    new = admin(fleet.urls[1], "POST", "/keys/rosa/rotate", {"grace_seconds": 600})["key"]
    await since(fleet, new, "ok", time.time())
    assert everywhere(fleet, old) == ["ok"] * 3
    newest = admin(fleet.urls[2], "POST", "/keys/rosa/rotate")["key"]
    began = time.time()
    await since(fleet, newest, "ok", began)
    assert max(await since(fleet, new, "invalid_api_key", began)) <= SPREAD


async def test_a_replica_that_comes_later_knows_all_keys(fleet: Fleet) -> None:
    good = admin(fleet.urls[0], "POST", "/keys", {"name": "early"})["key"]
    gone = admin(fleet.urls[0], "POST", "/keys", {"name": "gone"})["key"]
    admin(fleet.urls[0], "DELETE", "/keys/gone")
    await asyncio.to_thread(fleet.revive, 2)
    assert heard(fleet.urls[2], good) == "ok"
    assert "revoked" in heard(fleet.urls[2], gone)


async def test_a_redis_that_comes_back_empty_brings_no_revoked_key_back_and_loses_none(
    replicas: Start, redis: RedisServer, capsys: pytest.CaptureFixture[str]
) -> None:
    fleet = replicas(redis.url, environ=MANAGED)
    good = admin(fleet.urls[0], "POST", "/keys", {"name": "alice"})["key"]
    gone = admin(fleet.urls[1], "POST", "/keys", {"name": "bob"})["key"]
    for key in (good, gone):
        await since(fleet, key, "ok", time.time())
    admin(fleet.urls[2], "DELETE", "/keys/bob")
    await since(fleet, gone, "invalid_api_key", time.time())
    redis.kill()
    assert everywhere(fleet, good) == ["ok"] * 3, "what is known is good while the store is away"
    assert not [answer for answer in everywhere(fleet, gone) if answer == "ok"]
    await asyncio.to_thread(redis.start)
    back = time.time()
    for house in fleet.houses:
        await asyncio.to_thread(house.wait_log, "keys put up again", timeout=PATIENCE)
    with capsys.disabled():
        print(f"\nall keys stand in an empty Redis after {time.time() - back:.1f} s")
    await asyncio.to_thread(fleet.revive, 0)
    for answers in (everywhere(fleet, good), [heard(fleet.urls[0], good)]):
        assert set(answers) == {"ok"}
    assert all("revoked" in answer for answer in everywhere(fleet, gone))
    began = time.time()
    admin(fleet.urls[0], "DELETE", "/keys/alice")
    assert max(await since(fleet, good, "invalid_api_key: This API key was revoked.", began)) <= SPREAD


async def test_a_key_that_is_revoked_while_redis_is_away_is_refused_there_at_once_and_by_all_when_it_is_back(
    replicas: Start, redis: RedisServer
) -> None:
    fleet = replicas(redis.url, environ=MANAGED)
    key = admin(fleet.urls[0], "POST", "/keys", {"name": "alice"})["key"]
    await since(fleet, key, "ok", time.time())
    redis.kill()
    with pytest.raises(urllib.error.HTTPError, match="503"):
        admin(fleet.urls[1], "DELETE", "/keys/alice")
    assert "revoked" in heard(fleet.urls[1], key)
    await asyncio.to_thread(redis.start)  # empty: the others put up that it is good, and it does not hold
    await until(lambda: all("revoked" in answer for answer in everywhere(fleet, key)), "all refuse it")
    for url in fleet.urls:
        assert [one["status"] for one in admin(url, "GET", "/keys")["keys"]] == ["revoked"]


async def test_who_started_without_its_store_lets_only_keys_of_the_environment_in(
    replicas: Start, redis: RedisServer
) -> None:
    redis.stop()
    fleet = replicas(redis.url, 1, environ={"TOLLHOUSE_CLIENT_KEYS": "of-the-environment"})
    assert heard(fleet.urls[0], "of-the-environment") == "ok"
    assert heard(fleet.urls[0], "another").startswith("key_store_unavailable")
    await asyncio.to_thread(redis.start)
    await until(lambda: heard(fleet.urls[0], "another").startswith("invalid_api_key"), "the store was read")


async def test_no_text_of_a_key_is_in_the_log(fleet: Fleet) -> None:
    key = admin(fleet.urls[0], "POST", "/keys", {"name": "nora"})["key"]
    await since(fleet, key, "ok", time.time())
    assert await asyncio.to_thread(complete, fleet.urls[0], key)
    admin(fleet.urls[0], "DELETE", "/keys/nora")
    await asyncio.to_thread(fleet.houses[0].wait_log, "key revoked", timeout=PATIENCE, key="nora")
    assert not any(key[6:] in house.stdout + house.stderr for house in fleet.houses)
