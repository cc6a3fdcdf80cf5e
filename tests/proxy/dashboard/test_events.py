"""What listeners hear, how many there may be, and when they are shown out."""

import asyncio
import json
import time

import pytest

from proxy.admin.session import Sessions, sign
from proxy.auth import Keyring
from proxy.dashboard import events
from proxy.dashboard.events import MOST
from proxy.dashboard.snapshot import audience
from proxy.environment import Secret
from tests.proxy.accounts import Hand
from tests.proxy.dashboard.looking import KEY, Listener, hall
from tests.proxy.dashboard.test_snapshot import PARTS


@pytest.fixture
async def looking(tmp_path):
    async with hall(tmp_path) as found:
        yield found


async def test_first_all_of_it_then_only_the_parts_that_changed(looking):
    listener = Listener(looking)
    first = await listener.heard(1)
    assert first.keys() == PARTS
    looking.hear(model="gpt-4o")
    second = await listener.heard(2)
    assert {"at", "series", "decisions"} <= second.keys()
    assert not {"about", "providers", "turns"} & second.keys()
    assert sum(second["series"]["requests"]) == 1
    await listener.leave()
    assert listener.status == 200
    assert listener.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert listener.headers["cache-control"] == "no-store"
    assert listener.headers["x-accel-buffering"] == "no"
    assert "content-security-policy" in listener.headers


async def test_whoever_leaves_is_not_counted_any_more(looking):
    listeners = [Listener(looking) for _ in range(3)]
    for one in listeners:
        await one.heard(1)
    assert audience(looking.app).listeners == 3
    for one in listeners:
        await one.leave()
    assert audience(looking.app).listeners == 0


async def test_whoever_is_cut_off_is_not_counted_any_more(looking):
    listener = Listener(looking)
    await listener.heard(1)
    listener.task.cancel()
    await asyncio.gather(listener.task, return_exceptions=True)
    assert audience(looking.app).listeners == 0


async def test_there_is_room_for_so_many_and_then_again(looking):
    listeners = [Listener(looking) for _ in range(MOST)]
    for one in listeners:
        await one.heard(1)
    late = Listener(looking)
    await late.over()
    assert late.status == 503
    assert json.loads(late.body)["error"]["code"] == "too_many_listeners"
    await listeners[0].leave()
    again = Listener(looking)
    await again.heard(1)
    for one in (*listeners[1:], again):
        await one.leave()


async def test_it_ends_when_the_process_drains_and_nobody_new_comes(looking):
    listener = Listener(looking)
    await listener.heard(1)
    looking.app.state.draining = True
    await listener.over()
    assert listener.status == 200
    late = Listener(looking)
    await late.over()
    assert late.status == 503


async def test_a_session_that_is_over_is_shown_out(looking):
    wall = [time.time()]
    looking.app.state.sessions = Sessions(Secret(KEY), wall=lambda: wall[0])
    listener = Listener(looking, cookie=sign(KEY, int(wall[0]), "nonce"))
    await listener.heard(1)
    wall[0] += 3_600
    await listener.over()
    assert listener.status == 200


async def test_another_admin_key_shows_everybody_out(looking):
    listener = Listener(looking)
    await listener.heard(1)
    looking.app.state.admin = Keyring([Secret("another")])
    await listener.over()


async def test_nobody_listens_without_the_key(looking):
    listener = Listener(looking, key=False)
    await listener.over()
    assert listener.status == 401


@pytest.mark.parametrize("method", ["POST", "DELETE", "HEAD"])
async def test_only_get_listens(looking, method):
    listener = Listener(looking, method=method)
    await listener.over()
    assert listener.status == 405


async def test_whoever_does_not_read_what_he_is_told_loses_his_place(looking):
    async def send(_):
        await asyncio.Event().wait()

    listener = events.Listener(audience(looking.app), send, Hand(), patience=0.01)
    with pytest.raises(asyncio.CancelledError):
        await listener.tell()


async def test_where_nothing_happens_somebody_still_hears_that_we_are_here(looking):
    """A connection of which nothing is heard would be taken for dead, by what is on the way and by the page."""
    hand, said = Hand(), []

    async def send(message):
        said.append(message["body"])

    listener = events.Listener(audience(looking.app), send, hand)
    await listener.tell()
    assert len(said) == 1
    for seconds, heard in ((14.0, 1), (1.0, 2), (14.9, 2), (0.1, 3)):
        hand.now += seconds
        await listener.tell()
        assert len(said) == heard
    assert said[1:] == [b"event: still\ndata: {}\n\n"] * 2
