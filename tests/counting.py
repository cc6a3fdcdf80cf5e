"""What a request costs, counted and not timed: `python -m tests.counting < scenes.json` serves requests in its own
process, through the application's ASGI door, and prints what each took.

Counted are calls (of Python and of C, as `sys.setprofile` sees them) and steps (bytecode instructions, as
`sys.settrace` sees them: a loop that calls nobody shows too), on the thread of the event loop; and what JSON was read
and written, in bytes. For the latter msgspec's and json's own names are replaced before anything of ours is imported:
in this process, which is made for it. The vendor is a thread of its own, and is not counted.

What the clock sets off (beats, what is gathered ten times a second) is nobody's cost, and falls into a request or not
as the machine has time: so the clock of the loop stands still while requests are counted, and no timer runs out.
"""

import asyncio
import json
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from statistics import median_low
from types import CodeType, FrameType
from typing import Any

import msgspec

READ: list[int] = []  # bytes of each JSON text that was read
WRITTEN: list[int] = []  # and written
_TOKENIZER = "tokenizer.py"
ROUNDS = 24
GENEROUS = 30  # seconds: for a hang to be told from an answer, not for measuring
_BATCH = 250  # rows of one transaction


def _counted(act: Callable[..., Any], sizes: list[int], size: Callable[[Any, Any], int]) -> Callable[..., Any]:
    def counting(first: Any, *rest: Any, **named: Any) -> Any:
        done = act(first, *rest, **named)
        sizes.append(size(first, done))
        return done

    return counting


def _size_read(said: Any, _: Any) -> int:
    return len(said.encode() if isinstance(said, str) else memoryview(said))


def _size_written(_: Any, said: Any) -> int:
    return len(said)


class _Decoder:
    real = msgspec.json.Decoder

    def __init__(self, *words: Any, **named: Any) -> None:
        made = self.real(*words, **named)
        self.type = made.type
        self.decode = _counted(made.decode, READ, _size_read)
        self.decode_lines = _counted(made.decode_lines, READ, _size_read)

    def __class_getitem__(cls, _: Any) -> Any:
        return cls


class _Encoder:
    real = msgspec.json.Encoder

    def __init__(self, *words: Any, **named: Any) -> None:
        made = self.real(*words, **named)
        self.encode = _counted(made.encode, WRITTEN, _size_written)
        self.encode_lines = _counted(made.encode_lines, WRITTEN, _size_written)
        self.encode_into = made.encode_into


def install() -> None:
    """From now on all JSON is counted: before our modules take the names that they use."""
    taken: dict[str, Any] = {
        "Decoder": _Decoder,
        "Encoder": _Encoder,
        "decode": _counted(msgspec.json.decode, READ, _size_read),
        "encode": _counted(msgspec.json.encode, WRITTEN, _size_written),
    }
    for name, counting in taken.items():
        setattr(msgspec.json, name, counting)
    json.loads = _counted(json.loads, READ, _size_read)


class Loop(asyncio.SelectorEventLoop):
    """An event loop whose clock can be stopped: whoever waits for a time then waits on."""

    _behind = 0.0  # seconds in which it stood still
    _stopped: float | None = None

    def time(self) -> float:
        """Seconds."""
        return super().time() - self._behind if self._stopped is None else self._stopped

    @contextmanager
    def still(self) -> Iterator[None]:
        """Stop the clock for what is done within; afterwards it goes on from there."""
        self._stopped = stopped = self.time()
        try:
            yield
        finally:
            self._behind, self._stopped = super().time() - stopped, None


class Count:
    """Calls, steps, and calls into the tokenizer, while it is on; `calls` and `steps` are those of the task that
    counts and of callbacks, `all_calls` are the loop's, with what other tasks do of this request, or of none."""

    def __init__(self) -> None:
        self.calls = self.steps = self.all_calls = self.tokenized = 0
        self._ours = (None, asyncio.current_task())

    def _profile(self, frame: FrameType, event: str, _: Any) -> None:
        if event in ("call", "c_call"):
            self.all_calls += 1
            self.calls += _task() in self._ours
            if event == "call" and _is_tokenizer(frame.f_code):
                self.tokenized += 1

    def _trace(self, frame: FrameType, event: str, _: Any) -> Any:
        if event == "call":  # also when a coroutine goes on
            if _task() not in self._ours:
                return None
            frame.f_trace_opcodes, frame.f_trace_lines = True, False
        elif event == "opcode":
            self.steps += 1
        return self._trace

    @contextmanager
    def on(self) -> Iterator[None]:
        """Count what is done within."""
        sys.settrace(self._trace)
        sys.setprofile(self._profile)
        try:
            yield
        finally:
            sys.setprofile(None)
            sys.settrace(None)


def _task() -> Any:
    """The task that runs; None in a callback, or where no loop runs."""
    try:
        return asyncio.current_task()
    except RuntimeError:
        return None


def _is_tokenizer(code: CodeType) -> bool:
    return code.co_filename.endswith(_TOKENIZER) and code.co_name != "__init__"


class Door:
    """The application, asked as a server would ask it."""

    def __init__(self, app: Any) -> None:
        self._app = app

    async def ask(self, path: str, body: bytes, key: str = "", **headers: str) -> tuple[int, bytes]:
        """POST it; the status, and the whole answer."""
        given = {"host": "localhost", "content-length": str(len(body)), "content-type": "application/json", **headers}
        if key:
            given["authorization"] = f"Bearer {key}"
        scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "method": "POST",
            "scheme": "http",
            "path": path,
            "raw_path": path.encode(),
            "query_string": b"",
            "root_path": "",
            "headers": [(name.encode(), value.encode()) for name, value in given.items()],
            "client": ("127.0.0.1", 1),
            "server": ("127.0.0.1", 2),
            "extensions": {},
        }
        messages: list[Any] = [{"type": "http.request", "body": body, "more_body": False}]
        heard: list[Any] = []
        over = asyncio.Event()

        async def receive() -> Any:
            if messages:
                return messages.pop()
            await over.wait()
            return {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            heard.append(message)

        await self._app(scope, receive, send)
        over.set()
        return heard[0]["status"], b"".join(message.get("body", b"") for message in heard[1:])


async def fill(store: Any, number: int) -> None:
    """So many rows of other people's requests, settled long ago (that is a second)."""
    from proxy.ledger import Entry  # only here, and below: after `install`
    from proxy.store import Settlement, StoreError

    now = await store.now()
    common: dict[str, Any] = {"at": now, "provider": "openai", "model": "gpt-4o-mini", "status": 200, "cost": 1_000}
    for begun in range(0, number, _BATCH):
        names = [(f"req_{n:x}", f"key-{n % 50}") for n in range(begun, min(number, begun + _BATCH))]
        rows = [Entry(id=f"{request}/1", request=request, key=key, **common) for request, key in names]
        async with asyncio.timeout(GENEROUS):
            while True:  # an id is settled once, however often it is asked
                try:
                    await store.settle([Settlement(row) for row in rows])
                    break
                except StoreError:
                    await asyncio.sleep(0.05)


@asynccontextmanager
async def served(environ: dict[str, str], config: str) -> Any:
    """An application of ours, open."""
    from proxy.app import build
    from proxy.log import configure
    from proxy.settings import load

    with tempfile.TemporaryDirectory(prefix="tollhouse-counting-") as directory:
        path = Path(directory) / "config.yaml"
        path.write_text(config or "{}")
        settings = load({"TOLLHOUSE_DATA_DIR": directory, **environ}, config=str(path))
        configure("json", "info")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Litestar's, of words of its own
            app = build(settings)
        async with app.lifespan():
            yield app


async def warm(door: Door, body: bytes, key: str) -> None:
    """Ask until it is answered: a store that is new has to be told first what replicas know. Then a few times more:
    first sights are remembered."""
    while (await door.ask("/v1/chat/completions", body, key))[0] == 503:  # noqa: ASYNC110  # it has no bell
        await asyncio.sleep(0.02)
    for _ in range(3):
        await door.ask("/v1/chat/completions", body, key)


async def count(door: Door, asked: dict[str, Any]) -> dict[str, Any]:
    """The same request, again and again. Calls, steps: the median; and the mean of all calls. JSON: as in the last
    round."""
    body, key = asked["body"].encode(), asked.get("key", "")
    calls: list[int] = []
    steps: list[int] = []
    all_calls: list[int] = []
    tokenized, answer, loop = 0, b"", asyncio.get_running_loop()
    assert isinstance(loop, Loop)
    async with asyncio.timeout(GENEROUS * 2):
        await warm(door, body, key)
        while len(calls) < ROUNDS:
            READ.clear()
            WRITTEN.clear()
            one = Count()
            with loop.still(), one.on():
                status, answer = await door.ask("/v1/chat/completions", body, key)
            if status == 503:  # the store has let us wait: this machine is busy, and we are slow
                await warm(door, body, key)
                continue
            if status != 200:
                raise SystemExit(f"{status}: {answer.decode()}")
            calls.append(one.calls)
            steps.append(one.steps)
            all_calls.append(one.all_calls)
            tokenized += one.tokenized
    return {
        "calls": median_low(calls),
        "steps": median_low(steps),
        "mean_calls": sum(all_calls) / ROUNDS,
        "tokenized": tokenized,
        "read": list(READ),
        "written": list(WRITTEN),
        "sent": len(body),
        "answer": answer.decode(),
    }


async def scene(told: dict[str, Any]) -> dict[str, Any]:
    """One application, and what is asked of it. `keys`: managed ones that are made beforehand, the last one's text is
    used; `rows`: of the ledger, that were there before."""
    async with served(told["environ"], told.get("config", "")) as app:
        door, key = Door(app), told.get("key", "")
        for number in range(told.get("keys", 0)):
            wanted = json.dumps({"name": f"somebody-{number}", "daily": "1000"}).encode()
            status, made = await door.ask("/keys", wanted, told["environ"]["TOLLHOUSE_ADMIN_KEY"])
            if status != 201:
                raise SystemExit(f"{status}: {made.decode()}")
            key = json.loads(made)["key"]
        if told.get("rows"):
            async with asyncio.timeout(GENEROUS):
                await warm(door, next(iter(told["asks"].values()))["body"].encode(), key)
            await fill(app.state["store"], told["rows"])
        return {name: await count(door, {"key": key, **asked}) for name, asked in told["asks"].items()}


def main() -> None:
    scenes: dict[str, Any] = json.load(sys.stdin)
    install()
    found = {}
    for name, told in scenes.items():
        with asyncio.Runner(loop_factory=Loop) as runner:
            found[name] = runner.run(scene(told))
    print(json.dumps({"scenes": found, "modules": sorted(sys.modules)}))


if __name__ == "__main__":
    main()
