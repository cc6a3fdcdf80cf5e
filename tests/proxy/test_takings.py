"""What a request takes of its key's quota in the end, however it ends; and where its time went."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from proxy.auth import Caller
from proxy.downstream import Downstream
from proxy.quota import Quota
from tests.proxy.desk import (
    GENEROUS,
    ONCE,
    PROMPT,
    ROLE,
    SAID,
    USAGE,
    Call,
    Desk,
    Play,
    after,
    desk,
    refuses,
    words,
)

# One token a minute: what is owed is told in minutes, and no test takes one.
SLOW = Caller(key="ci", quota=Quota(tokens=1))
HEARD = "word " * 80  # 400 bytes, which are 100 tokens


async def taken(directory: Path, then: Callable[[Desk], Awaitable[None]], config: str = ONCE) -> tuple[int, int]:
    """Tokens that one request has taken, and those of its prompt as they are guessed."""
    async with desk(directory, config) as ours:
        ours.caller = SLOW
        await then(ours)
    async with desk(directory) as ours:  # by now the store has heard of it
        ours.caller = SLOW
        answer = await ours.asked("one", stream=True)
        if answer.status == 200:
            return 0, 0
        said = json.loads(answer.text)["error"]["message"]
        return -(-int(answer.headers["retry-after"]) // 60), int(said.partition("this request takes ")[2].split(".")[0])


async def leaves(ours: Desk, play: Play, until: str = "") -> None:
    ours.a.plays.append(play)
    client = ours.ask("one", stream=True)
    async with asyncio.timeout(GENEROUS):
        await (client.hears(until) if until else ours.a.there.wait())
    client.leave()
    await client.end()


def speaking(usage: object) -> Play:
    async def play(call: Call) -> None:
        await call.head(content_type="text/event-stream")
        await call.say({**ROLE, "usage": usage}, *words(*HEARD.split(" ")[:-1]), *words(" " * 79, "END"))
        await asyncio.Event().wait()

    return play


async def test_a_whole_answer_takes_what_the_vendor_told(tmp_path: Path) -> None:
    async def whole(ours: Desk) -> None:
        assert (await ours.asked("one", stream=True)).status == 200

    assert (await taken(tmp_path, whole))[0] == PROMPT + SAID


async def test_a_stream_that_is_left_takes_its_prompt_and_what_was_heard_and_not_what_the_words_were_wrapped_in(
    tmp_path: Path,
) -> None:
    tokens, prompt = await taken(tmp_path, lambda ours: leaves(ours, speaking(None), "END"))
    assert prompt > 0
    assert tokens == prompt + 100


async def test_what_a_vendor_told_at_the_beginning_is_not_all_that_was_heard(tmp_path: Path) -> None:
    early = {**USAGE, "completion_tokens": 1, "total_tokens": PROMPT + 1}
    tokens, _ = await taken(tmp_path, lambda ours: leaves(ours, speaking(early), "END"))
    assert tokens == PROMPT + 100


async def test_who_leaves_before_the_answer_takes_the_prompt(tmp_path: Path) -> None:
    tokens, prompt = await taken(tmp_path, lambda ours: leaves(ours, after(asyncio.Event(), refuses())))
    assert tokens == prompt > 0


@pytest.mark.parametrize("status", [400, 500])
async def test_what_a_vendor_turned_down_takes_nothing(tmp_path: Path, status: int) -> None:
    async def refused(ours: Desk) -> None:
        ours.a.usual = refuses(status)
        assert (await ours.asked("one", stream=True)).status >= 400

    assert await taken(tmp_path, refused) == (0, 0)


async def test_what_a_budget_turned_down_takes_nothing(tmp_path: Path) -> None:
    async def refused(ours: Desk) -> None:
        assert (await ours.asked("one", stream=True)).status == 429

    assert await taken(tmp_path, refused, f'{ONCE}budgets: [{{key: ci, daily: "0.000000001"}}]\n') == (0, 0)


# ---- where the time went -----------------------------------------------------------------------------------------


class Ticking:
    """A clock that goes on by a millisecond whenever somebody looks at it, and by what a test adds."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        self.now += 0.001
        return self.now


async def test_a_letter_that_was_long_on_its_way_is_no_time_of_ours(tmp_path: Path) -> None:
    clock = Ticking()
    letter = json.dumps({"model": "one", "messages": [{"role": "user", "content": "Hello"}]}).encode()
    halves = [letter[:20], letter[20:]]
    said: list[Any] = []

    async def receive() -> Any:
        if not halves:
            await asyncio.Event().wait()
        clock.now += 5.0
        return {"type": "http.request", "body": halves.pop(0), "more_body": bool(halves)}

    async def send(message: Any) -> None:
        said.append(message)

    async with desk(tmp_path, clock=clock) as ours, asyncio.timeout(GENEROUS):
        scope: Any = {"type": "http", "method": "POST", "headers": []}
        await ours.gate.serve(Downstream(scope, receive, send), lambda _: ours.caller)
    (record,) = ours.records
    assert said[0]["status"] == 200
    assert (record.first_part or 0) > 10_000
    assert (record.timings.overhead or 0) < 5_000


async def test_the_time_of_a_hold_that_was_refused_is_that_of_a_hold(tmp_path: Path) -> None:
    budget = 'budgets: [{provider: a, daily: "0.000000001"}]\n'
    async with desk(tmp_path, budget, clock=Ticking()) as ours:
        assert (await ours.asked("pair")).status == 200
        assert ours.outcomes() == [("a", "budget"), ("b", "ok")]
    (record,) = ours.records
    assert record.timings.hold > 1.5  # one millisecond is that of the second, to whom no budget applies
