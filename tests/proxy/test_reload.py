"""The price table is looked at again and again; each test looks by itself, and waits for nothing."""

import asyncio
import os
from pathlib import Path

import pytest
import structlog

from proxy.catalog import Catalog, load
from proxy.reload import Watcher, difference

ENTRY = "{{provider: p, model: {name}, limits: {{context: 9, max_output: 9}}, prices: [{price}]}}"
PRICE = '{{source: s, per_mtok: {{input: "{dollars}", output: "1"}}}}'


def table(**dollars: str) -> str:
    """A price table: name of a model -> its price of input; empty: not known."""
    entries = [
        ENTRY.format(name=name, price=PRICE.format(dollars=figure) if figure else "")
        for name, figure in dollars.items()
    ]
    return "models: [" + ", ".join(entries) + "]"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "pricing.yaml"
    file.write_text(table(m="1"))
    return file


@pytest.fixture
def taken() -> list[Catalog]:
    return []


@pytest.fixture
def watcher(path, taken) -> Watcher:
    return Watcher(path, load, taken.append, known=load(path.read_bytes()))


@pytest.fixture
def logs():
    with structlog.testing.capture_logs() as lines:
        yield lines


def costs(catalog: Catalog) -> list[int | None]:
    return [row.per_mtok.input for model in catalog.models for row in model.prices]


async def test_a_table_that_is_as_before_is_not_taken_again(watcher, taken, logs):
    assert [await watcher.look() for _ in range(4)] == [False] * 4
    assert (taken, logs) == ([], [])


async def test_a_table_that_is_known_is_not_read_a_second_time(path, taken):
    """At a start that would cost more than all the rest of it but the imports."""
    read: list[bytes] = []

    def counted(content: bytes) -> Catalog:
        read.append(content)
        return load(content)

    watcher = Watcher(path, counted, taken.append, known=counted(path.read_bytes()))
    assert [await watcher.look() for _ in range(4)] == [False] * 4
    assert len(read) == 1


async def test_without_a_known_one_the_first_is_taken(path, taken, logs):
    watcher = Watcher(path, load, taken.append)
    assert [await watcher.look(), await watcher.look()] == [True, False]
    assert costs(taken[0]) == [1_000_000]
    assert logs == [{"event": "prices loaded", "log_level": "info", "file": str(path), "models": 1}]


async def test_a_change_before_the_first_look_is_not_missed(path, watcher, taken):
    path.write_text(table(m="2"))
    assert await watcher.look()
    assert costs(taken[0]) == [2_000_000]


def in_place(path: Path, text: str) -> None:
    path.write_text(text)


def replaced(path: Path, text: str) -> None:
    fresh = path.with_suffix(".new")
    fresh.write_text(text)
    fresh.replace(path)


def same_age_and_size(path: Path, text: str) -> None:
    """As by `rsync --times`: only the inode tells."""
    stamp = path.stat()
    fresh = path.with_suffix(".new")
    fresh.write_text(text)
    os.utime(fresh, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    fresh.replace(path)


@pytest.mark.parametrize("write", [in_place, replaced, same_age_and_size])
async def test_a_changed_table_is_taken_and_said_however_it_was_written(write, path, watcher, taken, logs):
    await watcher.look()
    await watcher.look()
    write(path, table(m="3" if write is same_age_and_size else "3.0"))
    assert await watcher.look()
    assert not await watcher.look()
    assert [costs(catalog) for catalog in taken] == [[3_000_000]]
    (line,) = logs
    assert (line["event"], line["log_level"], line["prices_of"]) == ("prices loaded", "info", "p/m")


async def test_links_that_are_swapped_as_kubernetes_does_are_followed(tmp_path, taken):
    for name, dollars in (("..one", "1"), ("..two", "2")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "pricing.yaml").write_text(table(m=dollars))
    (tmp_path / "..data").symlink_to("..one")
    path = tmp_path / "pricing.yaml"
    path.symlink_to("..data/pricing.yaml")
    watcher = Watcher(path, load, taken.append, known=load(path.read_bytes()))
    assert not await watcher.look()
    assert not await watcher.look()
    (tmp_path / "..fresh").symlink_to("..two")
    (tmp_path / "..fresh").replace(tmp_path / "..data")
    assert await watcher.look()
    assert costs(taken[0]) == [2_000_000]


async def test_a_file_written_twice_within_one_tick_of_its_clock_is_seen_at_the_next_look(path, watcher, taken):
    path.write_text(table(m="2"))
    stamp = path.stat()
    assert await watcher.look()
    path.write_text(table(m="3"))
    os.utime(path, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    assert await watcher.look()
    assert costs(taken[-1]) == [3_000_000]


async def test_a_touched_file_is_not_taken_again(path, watcher, taken):
    await watcher.look()
    os.utime(path, ns=(1, 1))
    assert not await watcher.look()
    assert taken == []


async def test_other_words_for_the_same_are_not_a_change(path, watcher, taken, logs):
    path.write_text(f"# as before\n{table(m='1.0')}")
    assert not await watcher.look()
    assert (taken, logs) == ([], [])


async def test_a_broken_table_is_told_once_each_fault_a_line_and_the_one_before_stays(path, watcher, taken, logs):
    path.write_text(table(m="-1", n="x"))
    assert [await watcher.look() for _ in range(3)] == [False] * 3
    assert taken == []
    assert [line["log_level"] for line in logs] == ["error", "error"]
    assert [line["fault"][:15] for line in logs] == ["models[0] p/m.p", "models[1] p/n.p"]
    path.write_text("models: [")
    await watcher.look()
    assert len(logs) == 3
    path.write_text(table(m="4"))
    assert await watcher.look()
    assert costs(taken[0]) == [4_000_000]


async def test_a_broken_table_that_is_mended_to_what_it_was_is_no_change(path, watcher, taken):
    path.write_text("models: [")
    await watcher.look()
    path.write_text(table(m="1"))
    assert not await watcher.look()
    assert taken == []


async def test_a_file_that_is_gone_is_told_once_and_taken_when_it_is_back(path, watcher, taken, logs):
    path.unlink()
    assert [await watcher.look() for _ in range(3)] == [False] * 3
    assert [line["fault"] for line in logs] == ["No such file or directory"]
    path.write_text(table(m="5"))
    assert await watcher.look()
    path.unlink()
    await watcher.look()
    assert [line["log_level"] for line in logs] == ["error", "info", "error"]


async def test_started_it_looks_by_itself_until_it_is_stopped(path):
    came = asyncio.Event()
    async with Watcher(path, load, lambda _: came.set(), seconds=0.001) as watcher:
        await came.wait()
        came.clear()
        path.write_text(table(m="2.5"))  # of another size: both may be written within one tick of the file's clock
        await came.wait()
    assert "prices" not in {task.get_name() for task in asyncio.all_tasks()}
    await watcher.stop()  # once more does no harm


async def test_whoever_takes_may_fail_and_the_next_table_is_looked_at_all_the_same(path, logs):
    seen: list[Catalog] = []
    done = asyncio.Event()

    def take(catalog: Catalog) -> None:
        seen.append(catalog)
        if len(seen) == 1:
            path.write_text(table(m="2"))
            raise RuntimeError("a fault of ours")
        done.set()

    async with Watcher(path, load, take, seconds=0.001):
        await done.wait()
    assert costs(seen[-1]) == [2_000_000]
    assert logs[0]["event"] == "prices not looked at"


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ({"a": "1"}, {"a": "1"}, {"models": 1, "added": 0, "gone": 0, "repriced": 0}),
        ({"a": "1"}, {"b": "1"}, {"models": 1, "added": 1, "gone": 1, "repriced": 0}),
        ({"a": "1"}, {"a": ""}, {"models": 1, "added": 0, "gone": 0, "repriced": 1, "prices_of": "p/a"}),
        (
            {f"m{n}": "1" for n in range(22)},
            {f"m{n}": "2" for n in range(22)},
            {
                "models": 22,
                "added": 0,
                "gone": 0,
                "repriced": 22,
                "prices_of": ", ".join(f"p/m{n}" for n in range(20)) + " and 2 more",
            },
        ),
    ],
    ids=["nothing", "models", "unknown", "many"],
)
def test_a_change_is_told_by_numbers_and_a_few_names(before, after, said):
    assert difference(load(table(**before).encode()), load(table(**after).encode())) == said
