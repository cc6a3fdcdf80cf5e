"""What would be chosen, and why: the words for each case by tables, the choice itself over real stores."""

import asyncio
import json
import time
from pathlib import Path
from typing import Any

import pytest

from adapters.base import Capabilities, Failure, Headroom, Kind, Target
from proxy.catalog import Group, Route
from proxy.explain import Explained, conclusion, explain, lines, run, to_json
from proxy.fleet import Fleet
from proxy.health import Outcome, Standing
from proxy.health.ratelimit import told
from proxy.prices import Micro, Price, Rates
from proxy.routing import Candidate, Choice, Expected, Need, Out
from proxy.settings import Settings, load
from proxy.store import Store, open_store
from tests.redis_server import RedisServer, redis_server
from tests.tollhouse import PATIENCE
from tests.tollhouse import run as tollhouse

NOON = 1_795_435_200_000  # 2026-11-23T12:00:00Z
PRICE = Price(source="s", per_mtok=Rates(input=Micro(2_000_000), output=Micro(8_000_000)))


def candidate(name: str, **fields: Any) -> Candidate:
    provider, _, model = name.partition("/")
    target = Target(
        provider=provider, vendor="openai", model=model, capabilities=Capabilities(), context=9_000, max_output=900
    )
    return Candidate(**{"target": target, "model": model, "price": PRICE, **fields})


A, B, C = candidate("a/x"), candidate("b/y"), candidate("c/z", price=None)


def explained(*order: Candidate, firsts: dict[str, float] | None = None, **fields: Any) -> Explained:
    choice = {name: fields.pop(name) for name in ("out", "wait", "least_bad") if name in fields}
    return Explained(
        **{
            "asked": "x",
            "at": NOON,
            "strategy": "fallback",
            "route": Route(asked="x", candidates=()),
            "need": Need(prompt=1_000),
            "choice": Choice(order=order, **choice),
            "firsts": firsts or {candidate.name: 1.0 for candidate in order[:1]},
            "queue": 10.0,
            **fields,
        }
    )


HALF_OPEN = Standing(state="half_open", scope="provider", since=NOON - 9_000, until=NOON - 1, why="key")
OPEN = Standing(state="open", since=NOON - 1, until=NOON + 299_999, why="timeout")


@pytest.mark.parametrize(
    ("found", "said"),
    [
        pytest.param(
            explained(A, B, C), "a/x would be asked first; if it fails, b/y, then c/z.", id="one after the other"
        ),
        pytest.param(explained(A), "a/x would be asked first, and nobody after it.", id="one alone"),
        pytest.param(
            explained(candidate("a/x", standing=HALF_OPEN), B),
            "a/x would be asked first (as a probe, if there is a place for one); if it fails, b/y.",
            id="a circuit that is half-open",
        ),
        pytest.param(
            explained(A, B, firsts={"a/x": 0.652, "b/y": 0.348}),
            "The dice decide who would be asked first: a/x for about 65%, b/y for about 35% of all requests.",
            id="dice",
        ),
        pytest.param(
            explained(candidate("a/x", standing=OPEN), least_bad=True),
            "All circuits are open: a/x is the least bad, and would be asked all the same.",
            id="nobody is well",
        ),
        pytest.param(
            explained(wait=NOON + 2_500),
            "Nobody can be asked before 2026-11-23T12:00:02.500Z: a request waits for that, if its deadline allows, "
            "else it is refused.",
            id="all are rate limited, but not for long",
        ),
        pytest.param(
            explained(wait=NOON + 10_000),
            "Nobody can be asked before 2026-11-23T12:00:10.000Z: a request waits for that, if its deadline allows, "
            "else it is refused.",
            id="all are rate limited, for as long as anybody waits",
        ),
        pytest.param(
            explained(wait=NOON + 10_001),
            "Nobody can be asked before 2026-11-23T12:00:10.001Z: no request waits for so long (10 s), it is refused.",
            id="all are rate limited, and for long",
        ),
        pytest.param(
            explained(wait=NOON + 1, queue=0.0),
            "Nobody can be asked before 2026-11-23T12:00:00.001Z: no request waits for so long (0 s), it is refused.",
            id="all are rate limited, and nobody waits",
        ),
        pytest.param(
            explained(),
            "Nobody can be asked: a request is refused.",
            id="nobody, and nobody knows until when",
        ),
    ],
)
def test_the_last_line_says_it_all(found, said):
    assert conclusion(found) == said
    assert list(lines(found))[-2:] == ["", said]
    assert to_json(found)["conclusion"] == said


def test_a_table_for_people():
    out = (
        Out(name="d/longer-name", why="open", said="circuit open since 11:59:59Z (timeout)", since=NOON - 1_000),
        Out(name="e/v", why="unfit", said="it takes no images"),
    )
    found = explained(
        candidate("a/x", standing=Standing(first=420.4), expected=Expected(600.0)),
        candidate("b/y-long", standing=Standing(share=0.4)),
        candidate("c/z", price=None, standing=HALF_OPEN),
        candidate("d/w", standing=OPEN),
        out=out,
        notes=("Something is not known.",),
        route=Route(asked="x", candidates=(), group=Group(name="smart", members=())),
        need=Need(prompt=12_000, task="creative", stream=True),
        strategy="cost",
    )
    assert list(lines(found)) == [
        "x: strategy cost, group smart, task creative; 12,000 tokens in, streamed; 2026-11-23T12:00:00.000Z",
        "Something is not known.",
        "",
        "   candidate  expected cost                  state                                                 first part",
        "1  a/x        USD 0.0288 for 600 tokens out  closed                                                420 ms",
        "2  b/y-long   USD 0.028 for 500 tokens out   closed, slow start with 40%                           not known",
        "3  c/z        not known                      half-open: probes only (provider: key)                not known",
        "4  d/w        USD 0.028 for 500 tokens out   open until 2026-11-23T12:04:59.999Z (model: timeout)  not known",
        "",
        "  out, or after the others  why",
        "  d/longer-name             open: circuit open since 11:59:59Z (timeout)",
        "  e/v                       unfit: it takes no images",
        "",
        "a/x would be asked first; if it fails, b/y-long, then c/z, then d/w.",
    ]


def test_where_dice_decide_there_is_a_column_for_it():
    found = explained(A, B, C, firsts={"a/x": 0.652, "b/y": 0.348})
    table = list(lines(found))[2:6]
    assert [line.split()[-1] for line in table[1:]] == ["65%", "35%", "0%"]
    assert table[0].endswith("first part  asked first")


def test_for_machines():
    out = (Out(name="d/w", why="open", said="open", since=NOON, until=NOON + 1),)
    found = explained(
        candidate("a/x", standing=Standing(first=420.44), expected=Expected(600.4), stand_in=True),
        C,
        out=out,
        firsts={"a/x": 0.9, "c/z": 0.1},
        notes=("note",),
        need=Need(prompt=1_000, task="speed", stream=True),
        route=Route(asked="x", candidates=(), group=Group(name="smart", members=())),
    )
    said = to_json(found)
    first, second = said.pop("order")
    assert {key: first[key] for key in ("name", "expected_cost_usd", "expected_output_tokens", "asked_first")} == {
        "name": "a/x",
        "expected_cost_usd": "0.0068",
        "expected_output_tokens": 600,
        "asked_first": 0.9,
    }
    assert (first["stand_in"], second["stand_in"]) == (True, False)
    assert first["standing"]["expected_first_part_ms"] == 420.4
    assert (second["expected_cost_usd"], second["asked_first"]) == (None, 0.1)
    said["out"] = [(one["name"], one["why"], one["until"]) for one in said["out"]]
    assert said == {
        "model": "x",
        "at": "2026-11-23T12:00:00.000Z",
        "strategy": "fallback",
        "group": "smart",
        "task": "speed",
        "tokens": 1_000,
        "stream": True,
        "out": [("d/w", "open", "2026-11-23T12:00:00.001Z")],
        "least_bad": False,
        "wait_until": None,
        "dice": True,
        "notes": ["note"],
        "conclusion": conclusion(found),
    }


def test_for_machines_nobody_at_once():
    said = to_json(explained(wait=NOON + 1))
    assert (said["wait_until"], said["group"], said["order"]) == ("2026-11-23T12:00:00.001Z", None, [])


# --- over real stores

NEED = Need(prompt=1_000, least=1_000)
KEYS = {"OPENAI_API_KEY": "sk-openai-canary", "ANTHROPIC_API_KEY": "sk-ant-canary", "GEMINI_API_KEY": "AIza-canary"}


@pytest.fixture(scope="module")
def server():
    with redis_server() as server:
        yield server


@pytest.fixture(params=["sqlite", "redis"])
def environ(request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, str]:
    environ = {**KEYS, "TOLLHOUSE_DATA_DIR": str(tmp_path / "data")}
    if request.param == "redis":
        server: RedisServer = request.getfixturevalue("server")
        server.restart()  # it comes back empty
        environ["REDIS_URL"] = server.url
    return environ


def settings(environ: dict[str, str], config: str | None = None) -> Settings:
    if config is None:
        return load(environ)
    file = Path(environ["TOLLHOUSE_DATA_DIR"]).parent / "config.yaml"
    file.write_text(config)
    return load(environ, config=str(file))


def store_of(settings: Settings) -> Store:
    return open_store(settings.redis_url.reveal() if settings.redis_url else None, settings.data_dir, "served")


async def serve(settings: Settings, *ends: tuple[str, Outcome], when: str = "closed") -> None:
    """A replica that serves these requests, each when its model is in that state, and is gone."""
    store = store_of(settings)
    await store.open()
    fleet = Fleet(store, settings.health, replica="served", clock=time.monotonic, wall=time.time)
    await fleet.exchange.join()
    for name, outcome in ends:
        provider, _, model = name.partition("/")
        deadline = time.monotonic() + PATIENCE
        while fleet.standing(provider, model).state != when:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.01)
        ticket = await fleet.begin(provider, model)
        assert ticket is not None
        fleet.end(ticket, outcome)
    await fleet.close()
    await store.close()


def failed(kind: Kind, **fields: Any) -> Outcome:
    return Outcome(failure=Failure(kind, "so it is", **fields))


def names(found: Explained) -> list[str]:
    return [candidate.name for candidate in found.choice.order]


GPT, CLAUDE, FLASH = "openai/gpt-4o", "anthropic/claude-sonnet-5-5", "gemini/gemini-3.8-flash"


async def test_an_open_circuit_that_a_replica_has_told_of_is_out_and_says_why(environ):
    config = settings(environ)
    await serve(config, *[(GPT, failed(Kind.TRANSIENT))] * 5, *[(FLASH, Outcome(first=40.0, whole=90.0))] * 3)
    found = await explain(config, "gpt-4o", NEED)
    assert names(found) == [FLASH, CLAUDE]
    assert [(out.name, out.why) for out in found.choice.out] == [(GPT, "open")]
    assert found.choice.order[0].standing.first == pytest.approx(40.0)
    assert (found.notes, found.dice, found.strategy) == ((), False, "fallback")
    assert abs(found.at / 1_000 - time.time()) < 60


async def test_a_provider_whose_key_is_refused_is_out_with_all_its_models(environ):
    config = settings(environ)
    await serve(config, (GPT, failed(Kind.KEY)))
    assert GPT not in names(await explain(config, "gpt-4o", NEED))
    found = await explain(config, "openai/gpt-4o-mini", NEED)
    assert found.choice.least_bad
    assert conclusion(found).startswith("All circuits are open: openai/gpt-4o-mini is the least bad")


async def test_a_model_that_is_rate_limited_is_waited_for_if_it_is_alone(environ):
    config = settings(environ)
    await serve(config, (GPT, failed(Kind.RATE_LIMITED, retry_after=60.0)))
    found = await explain(config, GPT, NEED)
    assert found.choice.order == ()
    assert found.firsts == {}
    assert conclusion(found).startswith("Nobody can be asked before 20")
    assert conclusion(found).endswith("no request waits for so long (10 s), it is refused.")
    assert to_json(found)["wait_until"] is not None


async def test_a_limit_without_room_for_so_many_tokens_is_seen(environ):
    config = settings(environ)
    now = int(time.time() * 1_000)
    windows = {"tokens": told(Headroom(limit=100_000, remaining=5_000, reset=3_600.0), now)}
    await serve(config, (GPT, Outcome(whole=10.0, windows=windows)))
    assert names(await explain(config, "gpt-4o", NEED))[0] == GPT
    more = Need(prompt=50_000, least=50_000)
    assert [out.why for out in (await explain(config, "gpt-4o", more)).choice.out] == ["limited"]


async def test_it_chooses_by_the_strategy_the_tasks_and_the_groups_of_the_configuration(environ):
    yaml = f"""
aliases:
  smart: {{models: [{GPT}, {CLAUDE}], strategy: capability}}
  cheap: {{models: [{CLAUDE}, {FLASH}], strategy: cost}}
  both: {{models: [{{model: {GPT}, weight: 3}}, {CLAUDE}], strategy: load_balance}}
tasks: {{speed: anthropic}}
"""
    config = settings(environ, yaml)
    found = await explain(config, "smart", Need(prompt=9, task="speed"))
    assert (names(found), found.strategy) == ([CLAUDE, GPT], "capability")
    assert names(await explain(config, "smart", Need(prompt=9, task="analytical"))) == [GPT, CLAUDE]
    assert names(await explain(config, "cheap", NEED)) == [FLASH, CLAUDE]
    found = await explain(config, "both", NEED)
    assert found.dice
    assert names(found) == [GPT, CLAUDE], "the one that is asked most often is shown first"
    assert found.firsts == {GPT: pytest.approx(0.75, abs=0.06), CLAUDE: pytest.approx(0.25, abs=0.06)}
    assert list(found.firsts) == [GPT, CLAUDE]
    assert found.notes[-1:] == ("Requests in flight are each replica's own; none are counted here.",)


async def test_it_knows_who_is_primary_and_whether_others_may_stand_in(tmp_path):
    environ = {**KEYS, "TOLLHOUSE_DATA_DIR": str(tmp_path / "data")}
    assert names(await explain(settings({**environ, "PRIMARY_LLM_PROVIDER": "anthropic"}), "auto", NEED))[0] == CLAUDE
    alone = settings({**environ, "ENABLE_LLM_FALLBACK": "false"})
    assert names(await explain(alone, "gpt-4o", NEED)) == [GPT]


@pytest.mark.parametrize(
    ("seconds", "dice"),
    [
        pytest.param(3_600, True, id="a slow start gives it a part of the requests"),
        pytest.param(0, False, id="without a slow start it has all of them again"),
    ],
)
async def test_the_circuits_of_the_configuration_are_those_it_goes_by(environ, seconds, dice):
    policy = f"{{consecutive: 1, cooldown: 0.05, probes: 1, slow_start: {seconds}}}"
    config = settings(environ, f"health: {policy}")
    await serve(config, (GPT, failed(Kind.TRANSIENT)))
    await serve(config, (GPT, Outcome(whole=10.0)), when="half_open")
    found = await explain(config, "gpt-4o", NEED)
    assert found.dice is dice
    assert GPT in found.firsts
    assert sum(found.firsts.values()) == pytest.approx(1.0)


async def test_two_askings_say_the_same(environ):
    config = settings(environ, f"aliases: {{both: {{models: [{GPT}, {CLAUDE}], strategy: load_balance}}}}")
    one, two = [await explain(config, "both", NEED) for _ in range(2)]
    assert one.firsts == two.firsts
    assert names(one) == names(two)


async def test_nothing_is_changed_by_asking(environ):
    config = settings(environ)
    await serve(config, *[(GPT, failed(Kind.TRANSIENT))] * 5)

    async def board() -> Any:
        store = store_of(config)
        await store.open()
        notices = await store.notices(0)
        await store.close()
        return notices.serial, notices.changed

    before = await board()
    await explain(config, "gpt-4o", NEED)
    assert await board() == before


async def test_a_store_that_is_not_there_yet_is_not_made(tmp_path):
    config = settings({**KEYS, "TOLLHOUSE_DATA_DIR": str(tmp_path / "data")})
    found = await explain(config, "gpt-4o", NEED)
    assert names(found) == [GPT, FLASH, CLAUDE]
    assert found.notes == (f"There is no store in {tmp_path / 'data'} yet: nothing is known of anybody's health.",)
    assert not (tmp_path / "data").exists()


async def test_a_store_that_cannot_be_read_is_said(tmp_path):
    (tmp_path / "tollhouse.db").write_bytes(b"no database" * 100)
    found = await explain(settings({**KEYS, "TOLLHOUSE_DATA_DIR": str(tmp_path)}), "gpt-4o", NEED)
    assert names(found)[0] == GPT
    assert len(found.notes) == 1
    assert found.notes[0].startswith("The store cannot be reached (")


async def test_a_redis_that_is_away_is_said_without_its_password(server, tmp_path):
    server.restart()
    url = server.url.replace("redis://", "redis://:canary@")
    server.stop()
    try:
        found = await explain(settings({**KEYS, "TOLLHOUSE_DATA_DIR": str(tmp_path), "REDIS_URL": url}), "gpt-4o", NEED)
    finally:
        server.start()
    assert names(found)[0] == GPT
    assert len(found.notes) == 1
    assert "The store cannot be reached (Redis: ConnectionError)" in found.notes[0]
    assert "canary" not in json.dumps(to_json(found))


def test_the_exit_code_and_the_line_of_a_name_that_nobody_serves(tmp_path, capsys):
    config = settings({**KEYS, "TOLLHOUSE_DATA_DIR": str(tmp_path / "data")})
    assert run(config, "nonsense", NEED, as_json=True) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err == "tollhouse: The model `nonsense` does not exist here. GET /v1/models lists those that do.\n"
    assert not (tmp_path / "data").exists()
    assert run(config, "gpt-4o", NEED, as_json=False) == 0
    out, err = capsys.readouterr()
    assert (out.splitlines()[0].partition(":")[0], err) == ("gpt-4o", "")


# --- the command


def command(*words: str, tmp_path: Path, **environ: str) -> tuple[int, str, str]:
    done = tollhouse("explain", *words, environ={**KEYS, "TOLLHOUSE_DATA_DIR": str(tmp_path / "data"), **environ})
    return done.returncode, done.stdout, done.stderr


def test_the_command_says_the_same_to_people_and_to_machines(tmp_path):
    words = ["auto", "--task", "creative", "--tokens", "2000", "--stream"]
    code, text, err = command(*words, tmp_path=tmp_path, LLM_ROUTING_STRATEGY="capability")
    assert (code, err) == (0, "")
    assert text.startswith("auto: strategy capability, task creative; 2,000 tokens in, streamed; 20")
    code, out, err = command(*words, "--json", tmp_path=tmp_path, LLM_ROUTING_STRATEGY="capability")
    assert (code, err) == (0, "")
    said = json.loads(out)
    assert (said["task"], said["tokens"], said["stream"]) == ("creative", 2_000, True)
    assert said["order"][0]["name"].startswith("anthropic/")
    assert text.splitlines()[-1] == said["conclusion"]


def test_a_prompt_that_is_too_long_for_a_model_takes_it_out(tmp_path):
    (tmp_path / "config.yaml").write_text(f"aliases: {{both: [{GPT}, {CLAUDE}]}}")
    words = ["both", "--json", "--config", str(tmp_path / "config.yaml")]
    _, out, _ = command(*words, "--tokens", "100000", tmp_path=tmp_path)
    assert json.loads(out)["out"] == []
    _, out, _ = command(*words, "--tokens", "200000", tmp_path=tmp_path)
    assert [(out["name"], out["why"]) for out in json.loads(out)["out"]] == [(GPT, "unfit")]


def test_what_is_logged_by_the_way_is_not_mixed_into_the_answer(tmp_path):
    with redis_server({"maxmemory-policy": "allkeys-lru"}) as server:  # of which a store warns
        code, out, err = command("gpt-4o", "--json", tmp_path=tmp_path, REDIS_URL=server.url)
    assert (code, err) == (0, "")
    assert json.loads(out)["notes"] == []


def test_without_a_word_a_prompt_has_a_thousand_tokens(tmp_path):
    _, out, _ = command("gpt-4o", "--json", tmp_path=tmp_path)
    said = json.loads(out)
    assert (said["tokens"], said["stream"], said["task"]) == (1_000, False, None)


def test_the_configuration_may_be_a_file(tmp_path):
    (tmp_path / "config.yaml").write_text(f"aliases: {{mine: [{CLAUDE}]}}")
    code, out, _ = command("mine", "--config", str(tmp_path / "config.yaml"), tmp_path=tmp_path)
    assert code == 0
    assert out.splitlines()[-1] == f"{CLAUDE} would be asked first, and nobody after it."


@pytest.mark.parametrize(
    ("words", "environ", "said"),
    [
        pytest.param(["nonsense"], {}, "tollhouse: The model `nonsense` does not exist here.", id="no such model"),
        pytest.param(
            ["gpt-4o", "--config", "/nowhere.yaml"], {}, "tollhouse: /nowhere.yaml: ", id="a bad configuration"
        ),
        pytest.param(
            ["gpt-4o"], dict.fromkeys(KEYS, ""), "No vendor is configured", id="nobody to forward anything to"
        ),
    ],
)
def test_what_cannot_be_explained_is_exit_code_2_and_a_clear_line(tmp_path, words, environ, said):
    code, out, err = command(*words, tmp_path=tmp_path, **environ)
    assert (code, out) == (2, "")
    assert err.startswith(said)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "the following arguments are required: MODEL"),
        (["m", "--task", "sing"], "argument --task: invalid choice: 'sing'"),
        (["m", "--tokens", "many"], "argument --tokens: expected a number of tokens, at most nine digits; got 'many'"),
        (["m", "--tokens=-1"], "argument --tokens: expected a number of tokens"),
        (["m", "--tokens", "1" * 5_000], "argument --tokens: expected a number of tokens"),
    ],
)
def test_what_is_not_understood_is_told_in_a_line(tmp_path, words, said):
    code, _, err = command(*words, tmp_path=tmp_path)
    assert code == 2
    assert said in err.splitlines()[-1]
