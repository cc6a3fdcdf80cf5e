"""Load as production sends it, in small: who asks for what is decided by a seeded rng, what came back is written down.

The sizes follow the medians and the spread of a published trace of conversations (Azure, 2023: 1020 tokens of prompt
and 129 of answer in the median, log-normal in both); nothing of the trace itself is in here. The simulated model
echoes the user's words, which begin with the request's tag: an answer that went to the wrong client is seen.
"""

import asyncio
import itertools
import math
import random
import re
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any

import aiohttp
import msgspec

from tests.money.truth import table

PROMPT, ANSWER = (1020, 0.98, 14_050), (129, 0.86, 1_000)  # median in tokens, sigma of the logarithm, and the most
WORD = 4 / 3  # tokens of a word, about: they are short ones
MODELS = (
    ("openai", "gpt-4o-mini"), ("openai", "gpt-4.1"), ("openai", "gpt-5.4-mini"), ("anthropic", "claude-haiku-4-5"),
    ("anthropic", "claude-sonnet-5-5"), ("gemini", "gemini-2.5-flash"), ("gemini", "gemini-3-flash-preview"),
)  # fmt: skip
VENDORS = dict((model, vendor) for vendor, model in MODELS)
USERS = ("", "alice", "bob", "carol")
COME_AGAIN = ("budget_store_unavailable", "server_shutting_down")  # said before anything is forwarded
PERSISTENCE, _BACKOFF = 8, 0.25  # times, and seconds more each time
_LEXICON = re.findall(
    r"\S+",
    "river stone lamp seven window quiet orange paper north salt winter garden copper letter morning bridge glass "
    "harbour yellow thread cloud pepper music engine island velvet marble shadow candle forest naïve Straße 漢字 🙂",
)
_TEXT = random.Random(20261123).choices(_LEXICON, k=60_000)  # prompts are pieces of it
_SHARED = 0  # where the system prompt begins that many requests have in common
_PATIENCE = 120.0  # seconds until a request that hangs fails a test


class Wish(msgspec.Struct, frozen=True, kw_only=True):
    """A request to be made. `leave`: the client hangs up after so many events of a stream; `hurry`: after so many
    seconds without an answer."""

    tag: str
    model: str
    system: str
    text: str
    stream: bool = False
    cap: int | None = None
    user: str = ""
    leave: int | None = None
    hurry: float | None = None
    effort: str | None = None

    @property
    def echo(self) -> str:
        """What the simulated model says to it, if nothing cuts it short."""
        return f"Echo: {self.text}"

    @property
    def body(self) -> dict[str, Any]:
        """The request in OpenAI's words."""
        turns = [("system", self.system), ("user", self.text)]
        said: dict[str, Any] = {
            "model": self.model,
            "messages": [{"role": role, "content": content} for role, content in turns if content],
        }
        optional = {"max_completion_tokens": self.cap, "user": self.user, "reasoning_effort": self.effort}
        said |= {name: value for name, value in optional.items() if value}
        if self.stream:
            said |= {"stream": True, "stream_options": {"include_usage": True}}
        return said


class Heard(msgspec.Struct, kw_only=True):
    """What came of a wish. `status` 0: no answer began; `broken`: why the connection ended, if it was not us."""

    wish: Wish
    order: int = 0  # in which the answers ended
    status: int = 0
    code: str | None = None
    message: str = ""
    cost: str | None = None  # the header, in dollars
    usage: dict[str, Any] | None = None
    text: str = ""
    finish: str | None = None
    left: bool = False
    broken: str | None = None
    again: int = 0  # how often the client was told to come again, and did

    @property
    def whole(self) -> bool:
        """An answer that came to its end."""
        return self.status == 200 and not self.left and self.broken is None and self.code is None

    @property
    def complaint(self) -> str | None:
        """What is wrong with the answer, beside being none: its text is not its request's, or it just stops."""
        if self.status != 200:
            return None if not self.text else f"{self.wish.tag}: text with status {self.status}"
        fits = self.text == self.wish.echo if self.finish == "stop" else self.wish.echo.startswith(self.text)
        if not fits:
            return f"{self.wish.tag}: another's answer ({self.finish}): {self.text[:80]!r}"
        if self.whole and self.finish not in ("stop", "length"):
            return f"{self.wish.tag}: ended without a word: {self.finish}"
        return None


def mix(
    rng: random.Random,
    count: int,
    *,
    models: Sequence[str] = tuple(VENDORS),
    leaving: float = 0.1,
    scale: float = 1.0,
    prefix: str = "r",
) -> list[Wish]:
    """`count` requests: half of them streams, half with a cap; a fifth begins as others do; `leaving` hang up early.

    `scale` makes all of them shorter or longer.
    """
    return [_wish(rng, f"{prefix}-{number}", rng.choice(models), leaving, scale) for number in range(count)]


def _wish(rng: random.Random, tag: str, model: str, leaving: float, scale: float) -> Wish:
    stream = rng.random() < 0.5
    answer = _size(rng, ANSWER, scale)
    leave = hurry = None
    if rng.random() < leaving:
        if stream and rng.random() < 0.7:
            leave = rng.randint(1, 40)
        else:
            hurry = rng.uniform(0, 0.03)
    return Wish(
        tag=tag,
        model=model,
        system=_piece(rng, _size(rng, PROMPT, scale), shared=rng.random() < 0.2),
        text=f"tag={tag} {_piece(rng, answer)}",
        stream=stream,
        cap=rng.choice((64, 256, answer + 64, 4096)) if rng.random() < 0.5 else None,
        user=rng.choice(USERS),
        leave=leave,
        hurry=hurry,
        effort=rng.choice((None, "low", "high")) if model.startswith("gpt-5") else None,
    )


def _size(rng: random.Random, shape: tuple[int, float, int], scale: float) -> int:
    median, sigma, most = shape
    return max(8, int(scale * min(most, rng.lognormvariate(math.log(median), sigma))))


def _piece(rng: random.Random, tokens: int, shared: bool = False) -> str:
    start = _SHARED if shared else rng.randrange(len(_TEXT) - 12_000)
    return " ".join(_TEXT[start : start + int(tokens / WORD) + 1])


def foreseen(wishes: Iterable[Wish]) -> int:
    """About what they would cost if nobody left and no budget stood in the way: to choose a budget by. Nano-dollars."""
    total = 0
    for wish in wishes:
        model = table().find(VENDORS[wish.model], wish.model)
        assert model is not None
        rates = model.prices[-1].per_mtok
        prompt, answer = (int(len(text.split()) * WORD) for text in (f"{wish.system} {wish.text}", wish.echo))
        total += (prompt * (rates.input or 0) + min(answer, wish.cap or answer) * (rates.output or 0)) // 1_000
    return total


async def run(
    wishes: Sequence[Wish],
    places: Sequence[str],
    *,
    clients: int,
    moments: Mapping[int, Callable[[], Awaitable[None]]] | None = None,
) -> list[Heard]:
    """Make all requests, at most `clients` at once, at the `places` (base URLs) in turn; in the order of `wishes`.

    `places` may change meanwhile. `moments`: what happens once so many answers are in, while the others go on.
    """
    queue = iter(zip(itertools.count(), wishes, strict=False))
    found: dict[int, Heard] = {}
    ended = itertools.count(1)
    timeout = aiohttp.ClientTimeout(total=_PATIENCE)
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(timeout=timeout, connector=connector, read_bufsize=1 << 20) as session:

        async def client() -> None:
            for number, wish in queue:
                heard = found[number] = await _somewhere(session, places, number, wish)
                heard.order = next(ended)
                if moments and (moment := moments.get(heard.order)):
                    await moment()

        async with asyncio.TaskGroup() as group:
            for _ in range(clients):
                group.create_task(client())
    return [found[number] for number in range(len(wishes))]


async def _somewhere(session: aiohttp.ClientSession, places: Sequence[str], number: int, wish: Wish) -> Heard:
    """As a balancer and an SDK do: where nobody listens, the next place is asked; who is told to come again, does."""
    away = again = 0
    for place in itertools.cycle([*places[number % len(places) :], *places[: number % len(places)]]):
        heard = await _ask(session, place, wish)
        heard.again = again
        if heard.broken == aiohttp.ClientConnectorError.__name__ and away < len(places) - 1:
            away += 1
        elif heard.code in COME_AGAIN and again < PERSISTENCE:
            away, again = 0, again + 1
            await asyncio.sleep(_BACKOFF * again)
        else:
            break
    return heard


async def _ask(session: aiohttp.ClientSession, place: str, wish: Wish) -> Heard:
    heard = Heard(wish=wish)
    heads = {"authorization": "Bearer client-key"}
    request = session.post(f"{place}/v1/chat/completions", json=wish.body, headers=heads)
    try:
        async with asyncio.timeout(wish.hurry) as hurry:
            async with request as response:
                hurry.reschedule(None)  # an answer has begun: now it is waited for
                heard.status, heard.cost = response.status, response.headers.get("x-tollhouse-cost-usd")
                if response.content_type == "text/event-stream":
                    await _listen(response, heard)
                else:
                    _take(heard, await response.json())
    except TimeoutError:
        if wish.hurry is None:
            raise
        heard.left = True
    except (aiohttp.ClientError, ConnectionError) as error:
        heard.broken = type(error).__name__
    return heard


async def _listen(response: aiohttp.ClientResponse, heard: Heard) -> None:
    """Hear a stream to its end, or as long as the client stays."""
    events = 0
    async for line in response.content:
        if not line.startswith(b"data: ") or line.startswith(b"data: [DONE]"):
            continue
        _take(heard, msgspec.json.decode(line[6:]))
        events += 1
        if events == heard.wish.leave:
            heard.left = True
            response.close()
            return


def _take(heard: Heard, said: dict[str, Any]) -> None:
    """Write down a whole answer, an event of one, or an error."""
    if error := said.get("error"):
        heard.code, heard.message = error.get("code") or error.get("type"), error["message"]
        return
    for choice in said["choices"]:
        words = choice.get("delta") or choice.get("message") or {}
        heard.text += words.get("content") or ""
        heard.finish = choice["finish_reason"] or heard.finish
    heard.usage = said.get("usage") or heard.usage
