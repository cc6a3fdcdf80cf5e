"""What was written to the journal is found again, whatever died in the meantime and wherever it was cut off."""

import itertools
import json
import os
import random
import shutil
import stat
import subprocess
import sys
import threading
import zlib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.base import Usage
from proxy import journal as room
from proxy.journal import Found, Journal, JournalError
from proxy.journal.log import BEGIN, MOST_OPEN, sealed
from proxy.ledger import Entry, encode
from tests.tollhouse import PATIENCE, ROOT, surroundings

NOW = 1_795_392_000.0  # 2026-11-23 00:00 UTC
DAY = 86_400
TODAY = "2026-11-23"


def entry(id: str, at: int = 0, **more) -> Entry:
    fields = {"provider": "openai", "model": "gpt-4o", "user": "zwölf", "usage": Usage(in_text=3), "cost": 7, **more}
    return Entry(id=id, request=id, at=at, **fields)


def opened(directory: Path, replica: str = "one", wall: float = NOW, **more) -> tuple[Journal, Found]:
    journal = Journal(directory, replica, wall=lambda: wall, **more)
    return journal, journal.open()


def left_behind(directory: Path, *rows: str, begun: tuple[str, ...] = (), replica: str = "one") -> None:
    """The file of a process that wrote these and died: nothing is delivered, nothing closed but by the end of it."""
    journal, _ = opened(directory, replica)
    for id in begun:
        journal.begin(entry(id))
    for id in rows:
        journal.append(entry(id))
    drop(journal)


def drop(journal: Journal) -> None:
    """Let go of the files as a death would: without a checkpoint."""
    journal._unlock()


def said(found: Found) -> tuple[list[str], list[str]]:
    return [row.id for row in found.undelivered], [row.id for row in found.begun]


def record(letter: bytes, body: bytes) -> bytes:
    """A line whose checksum is good, whatever it says."""
    return b"%08x %b %b" % (zlib.crc32(letter + b" " + body), letter, body)


def file_of(directory: Path, name: str = f"{TODAY}.one.log") -> Path:
    return directory / name


def letters(file: Path) -> str:
    return "".join(line[9] for line in file.read_text(encoding="utf-8").splitlines())


STORIES = [
    ("a row that was not delivered", [("append", "a")], ["a"], []),
    ("a row that was delivered, with no checkpoint since", [("append", "a"), ("delivered", "a")], ["a"], []),
    ("a row that was delivered", [("append", "a"), ("delivered", "a"), ("checkpoint",)], [], []),
    (
        "a row that was delivered after a checkpoint",
        [("append", "a"), ("checkpoint",), ("delivered", "a"), ("checkpoint",)],
        [],
        [],
    ),
    ("a begin", [("begin", "a")], [], ["a"]),
    ("a begin that a checkpoint names", [("begin", "a"), ("checkpoint",)], [], ["a"]),
    ("a begin that ended", [("begin", "a"), ("append", "a")], ["a"], []),
    ("a begin that ended after a checkpoint", [("begin", "a"), ("checkpoint",), ("append", "a")], ["a"], []),
    (
        "a begin that ended and was delivered",
        [("begin", "a"), ("checkpoint",), ("append", "a"), ("delivered", "a"), ("checkpoint",)],
        [],
        [],
    ),
    (
        "one of three delivered",
        [("append", "a"), ("append", "b"), ("append", "c"), ("delivered", "b"), ("checkpoint",)],
        ["a", "c"],
        [],
    ),
    (
        "rows before and after two checkpoints",
        [("append", "a"), ("checkpoint",), ("begin", "b"), ("append", "c"), ("checkpoint",), ("append", "d")],
        ["a", "c", "d"],
        ["b"],
    ),
]


@pytest.mark.parametrize(("story", "rows", "begun"), [case[1:] for case in STORIES], ids=[case[0] for case in STORIES])
def test_a_restart_finds_what_was_open_and_nothing_else(story, rows, begun, tmp_path):
    journal, found = opened(tmp_path)
    assert found == Found([], [], [])
    for verb, *words in story:
        getattr(journal, verb)(*([entry(words[0])] if verb in ("append", "begin") else [words] if words else []))
    drop(journal)
    again, found = opened(tmp_path)
    assert said(found) == (rows, begun)
    assert found.undelivered == [entry(id) for id in rows]
    assert again.undelivered == len(rows)
    again.close()
    third, found = opened(tmp_path)
    assert said(found) == (rows, begun), "a second restart finds the same"
    third.close()


def test_what_was_found_and_dealt_with_is_not_found_again(tmp_path):
    left_behind(tmp_path, "a", begun=("b",), replica="dead")
    journal, found = opened(tmp_path)
    assert said(found) == (["a"], ["b"])
    journal.append(entry("b", orphan=True))
    journal.delivered(["a", "b"])
    journal.close()
    assert opened(tmp_path)[1] == Found([], [], [])


@pytest.mark.parametrize("order", list(itertools.permutations([True, False])))
def test_of_an_orphan_and_its_true_row_the_true_one_is_told(order, tmp_path):
    journal, _ = opened(tmp_path)
    for orphan in order:
        journal.append(entry("a", orphan=orphan))
    drop(journal)
    assert opened(tmp_path)[1].undelivered == [entry("a")]


def test_a_begin_of_yesterday_ends_with_the_row_of_today(tmp_path):
    now, yesterday = [NOW + DAY - 1], file_of(tmp_path)
    journal = Journal(tmp_path, "one", wall=lambda: now[0])
    journal.open()
    journal.append(entry("waits"))
    journal.begin(entry("a"))
    journal.begin(entry("b"))
    journal.begin(entry("c"))
    journal.checkpoint()
    now[0] += 1
    journal.append(entry("c"))
    journal.delivered(["c"])
    journal.checkpoint()
    assert letters(yesterday) == "rbbbcc"
    journal.append(entry("a"))
    assert sorted(file.name for file in tmp_path.iterdir()) == [yesterday.name, "2026-11-24.one.log"]
    drop(journal)
    again, found = opened(tmp_path, wall=NOW + DAY)
    assert said(found) == (["waits", "a"], ["b"]), "though yesterday's file does not know of it"
    again.append(entry("b"))
    again.delivered(["a"])
    again.checkpoint()
    assert letters(yesterday) == "rbbbccc"
    drop(again)
    assert said(opened(tmp_path, wall=NOW + DAY)[1]) == (["waits", "b"], [])


def test_a_checkpoint_of_a_file_with_much_open_is_not_written(tmp_path):
    journal, _ = opened(tmp_path)
    for number in range(MOST_OPEN + 1):
        journal.append(entry(str(number)))
    journal.checkpoint()
    assert "c" not in letters(file_of(tmp_path))
    journal.delivered(["0"])
    journal.checkpoint()
    assert letters(file_of(tmp_path)).endswith("rc")
    drop(journal)
    assert said(opened(tmp_path)[1])[0] == [str(number) for number in range(1, MOST_OPEN + 1)]


def test_checkpoints_stay_shorter_than_what_they_save(tmp_path):
    journal, _ = opened(tmp_path)
    for number in range(100):
        journal.begin(entry(f"long-lived-{number:050}"))
    for number in range(100):
        journal.append(entry(str(number)))
        journal.delivered([str(number)])
        journal.checkpoint()
    written = file_of(tmp_path).read_bytes().splitlines()
    marks = sum(len(line) for line in written if line[9:10] == b"c")
    assert 0 < marks < sum(map(len, written)) / 2
    journal.close()
    assert letters(file_of(tmp_path)).endswith("c"), "the last one is written all the same"


def test_a_restart_reads_from_what_is_open_on(tmp_path):
    journal, _ = opened(tmp_path)
    for number in range(50):
        journal.append(entry(str(number)))
    journal.delivered([str(number) for number in range(49)])
    journal.checkpoint()
    drop(journal)
    lines = file_of(tmp_path).read_bytes().splitlines(keepends=True)
    broken = [line[::-1].strip() + b"\n" for line in lines]
    file_of(tmp_path).write_bytes(b"".join(broken[:49] + lines[49:]))
    assert opened(tmp_path)[1] == Found([entry("49")], [], []), "what is before is not looked at"


def test_a_clients_words_do_not_pass_for_a_checkpoint(tmp_path):
    sly = ' c {"start":[0,0],"end":999999,"begun":[],"rows":[]}'
    journal, _ = opened(tmp_path)
    journal.append(entry("a", user=sly))
    journal.append(entry("b", user=f"\n00000000{sly}\n"))
    drop(journal)
    assert said(opened(tmp_path)[1])[0] == ["a", "b"]


# ---- damage -----------------------------------------------------------------------------------------------------


def history(directory: Path) -> tuple[bytes, list[tuple[list[str], list[str]]]]:
    """The bytes of a file, and what is open after each of its lines."""
    journal, _ = opened(directory)
    file = file_of(directory)
    states: list[tuple[list[str], list[str]]] = [([], [])]

    def note(rows: list[str], begun: list[str]) -> None:
        assert file.read_bytes().count(b"\n") == len(states)
        states.append((rows, begun))

    journal.append(entry("a"))
    note(["a"], [])
    journal.begin(entry("b"))
    note(["a"], ["b"])
    journal.delivered(["a"])
    journal.checkpoint()
    note([], ["b"])
    journal.append(entry("c", user="ü\n c {"))
    note(["c"], ["b"])
    journal.append(entry("b"))
    note(["c", "b"], [])
    journal.delivered(["c"])
    journal.checkpoint()
    note(["b"], [])
    journal.begin(entry("d"))
    note(["b"], ["d"])
    drop(journal)
    return file.read_bytes(), states


def test_a_file_cut_at_any_byte_gives_back_exactly_the_records_that_were_whole(tmp_path):
    data, states = history(tmp_path / "whole")
    for end in range(len(data) + 1):
        directory = tmp_path / str(end)
        directory.mkdir()
        file_of(directory).write_bytes(data[:end])
        journal, found = opened(directory)
        assert said(found) == states[data[:end].count(b"\n")], end
        assert found.damaged == []
        journal.append(entry("next"))
        drop(journal)
        again, found = opened(directory)
        assert found.damaged == [], "the next record stands on a line of its own"
        assert found.undelivered[-1].id == "next"
        drop(again)


@settings(deadline=None)  # it goes to a disk, and others do too
@given(st.data())
def test_a_flipped_byte_costs_one_line_and_is_reported(tmp_path_factory, data):
    directory = tmp_path_factory.mktemp("journal")
    left_behind(directory, *"abcdef")
    content = bytearray(file_of(directory).read_bytes())
    lines = bytes(content).splitlines(keepends=True)
    place = data.draw(st.integers(0, len(content) - 1))
    content[place] ^= data.draw(st.integers(1, 255))
    line = next(n for n, end in enumerate(itertools.accumulate(map(len, lines))) if place < end)
    more = content.count(b"\n") - len(lines)  # it parted a line in two (1), or made one of two (-1)
    file_of(directory).write_bytes(content)
    journal, found = opened(directory)
    lost = {line, line + 1} if more < 0 else {line}
    assert [row.id for row in found.undelivered] == [id for number, id in enumerate("abcdef") if number not in lost]
    # The last line, if it is a broken one, is taken for torn and cut off without a word.
    broken = [number for number in range(line, line + 1 + max(more, 0)) if number < len(lines) + more - 1]
    assert found.damaged == [f"{TODAY}.one.log:{number + 1}" for number in broken]
    drop(journal)
    shutil.rmtree(directory)


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"short",
        b"\x00" * 100,
        b"\xff" * 9,
        b"00000000 r {}",
        record(b"r", b'{"id":1}'),
        record(b"c", b"[]"),
        record(b"x", b"{}"),
    ],
    ids=["empty", "short", "zeros", "not text", "a bad checksum", "no row", "no checkpoint", "of a later version"],
)
def test_a_line_that_says_nothing_is_skipped_and_reported(line, tmp_path):
    left_behind(tmp_path, "a", "b")
    first, second = file_of(tmp_path).read_bytes().splitlines()
    file_of(tmp_path).write_bytes(b"\n".join([first, line, second, b""]))
    journal, found = opened(tmp_path)
    assert said(found) == (["a", "b"], [])
    assert found.damaged == [f"{TODAY}.one.log:2"]
    assert [[row.id for row in page] for page in journal.rows(0)] == [["a", "b"]]
    journal.close()


# ---- death ------------------------------------------------------------------------------------------------------

BUSY = """
import os, random, sys, threading, time
from pathlib import Path
from proxy.journal import Journal
from proxy.ledger import Entry
journal = Journal(Path(sys.argv[1]), "busy", wall=time.time)
journal.open()
dice = random.Random(int(sys.argv[2]))
def keep():
    while True:
        journal.checkpoint()
threading.Thread(target=keep, daemon=True).start()
for number in range(10**9):
    entry = Entry(id=str(number), request="r", provider="p", model="m", cost=1)
    if dice.random() < 0.5:
        journal.begin(entry)
        os.write(1, b"b%d\\n" % number)
        if dice.random() < 0.1:
            continue
    journal.append(entry)
    os.write(1, b"r%d\\n" % number)
    if dice.random() < 0.8:
        os.write(1, b"d%d\\n" % number)  # said before, since nobody knows how far the next line comes
        journal.delivered([str(number)])
"""


@pytest.mark.parametrize("seed", range(6))
def test_a_process_that_is_killed_loses_nothing_of_what_it_said_was_written(seed, tmp_path):
    child = subprocess.Popen(
        [sys.executable, "-c", BUSY, str(tmp_path), str(seed)],
        cwd=ROOT, env=surroundings({}), stdout=subprocess.PIPE,
    )  # fmt: skip
    assert child.stdout is not None
    heard = [child.stdout.readline() for _ in range(random.Random(seed).randrange(1, 3_000))]
    child.kill()
    heard += child.stdout.readlines()
    assert child.wait(PATIENCE) == -9
    child.stdout.close()
    words: dict[str, set[str]] = {letter: set() for letter in "brd"}
    for line in heard:
        words[chr(line[0])].add(line[1:-1].decode())
    journal, found = opened(tmp_path)
    rows, begun = map(set, said(found))
    assert words["r"] - words["d"] <= rows
    surely = words["b"] - words["r"] - rows
    assert surely <= begun
    assert len(begun - surely) <= 1, "the last may have been written and not been said"
    assert found.damaged == []
    assert words["r"] <= {row.id for page in journal.rows(0) for row in page}, "delivered or not, a store can be told"
    journal.close()


START = """
import sys, time
from pathlib import Path
from proxy.journal import Journal
journal = Journal(Path(sys.argv[1]), sys.argv[2], wall=lambda: 1795392000.0)
print("ready", flush=True)
sys.stdin.readline()
found = journal.open()
print(*(row.id for row in found.undelivered), flush=True)
sys.stdin.readline()
"""


@pytest.mark.parametrize("replicas", [["a", "b", "c"], ["same", "same", "same"]], ids=["of many names", "of one name"])
def test_of_processes_that_start_at_once_each_dead_file_is_adopted_by_exactly_one(replicas, tmp_path):
    dead = [str(number) for number in range(40)]
    for id in dead:
        left_behind(tmp_path, id, replica=f"dead{id}")
    children = [
        subprocess.Popen(
            [sys.executable, "-c", START, str(tmp_path), replica],
            cwd=ROOT, env=surroundings({}), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1,
        )
        for replica in replicas
    ]  # fmt: skip
    try:
        pipes = [(child.stdin, child.stdout) for child in children]
        assert all(out and out.readline() == "ready\n" for _, out in pipes)
        for into, _ in pipes:
            print("go", file=into)
        found = [out.readline().split() if out else [] for _, out in pipes]
        assert sorted(itertools.chain(*found)) == sorted(dead)
        journal, later = opened(tmp_path, "same")
        assert later.undelivered == [], "while they live, their files are left alone"
        journal.close()
    finally:
        for child in children:
            child.communicate("end\n", timeout=PATIENCE)
    journal, later = opened(tmp_path)
    assert sorted(said(later)[0]) == sorted(dead), "and nothing was lost with them"
    journal.close()


FULL = """
import json, resource, sys
from pathlib import Path
from proxy.journal import Journal, JournalError
from proxy.ledger import Entry
def entry(id):
    return Entry(id=id, request="r", provider="p", model="m", cost=1)
journal = Journal(Path(sys.argv[1]), "one", wall=lambda: 1795392000.0)
journal.open()
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), resource.RLIM_INFINITY))
written, errors = [], []
for number in range(12):
    for act in (journal.begin, journal.append)[number > 8 :]:
        try:
            act(entry(str(number)))
        except JournalError as error:
            errors.append(str(error))
        else:
            written.append([act.__name__, str(number)])
    try:
        journal.checkpoint()
    except JournalError as error:
        errors.append(str(error))
    if number == 8:
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
print(json.dumps([written, errors]), flush=True)
import os
os._exit(0)
"""


@pytest.mark.parametrize("limit", [1, 100, *range(1_000, 1_012), 1_100])
def test_a_full_disk_is_said_and_what_comes_after_stands_on_a_fresh_line(limit, tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", FULL, str(tmp_path), str(limit)],
        cwd=ROOT, env=surroundings({}), capture_output=True, timeout=PATIENCE,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    written, errors = json.loads(done.stdout)
    journal, found = opened(tmp_path)
    rows, begun = map(set, said(found))
    known = {id for verb, id in written if verb == "append"}
    assert {"9", "10", "11"} <= known <= rows
    assert {id for verb, id in written if verb == "begin"} - rows <= begun, "no record was written onto a torn one"
    assert errors
    assert all("could not be written" in error for error in errors)
    assert {error.split(" could")[0] for error in errors} >= {"the row of 8", "the begin of 8"}
    journal.close()


BATCH = """
import json, os, resource, sys
from pathlib import Path
from proxy.journal import Journal, JournalError
from proxy.ledger import Entry
def entry(id):
    return Entry(id=id, request="r", provider="p", model="m", cost=1)
journal = Journal(Path(sys.argv[1]), "one", wall=lambda: 1795392000.0)
journal.open()
journal.begin(entry("c"))
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), resource.RLIM_INFINITY))
try:
    journal.begin(entry("a"), ended=[entry("b"), entry("c"), entry("d")])
except JournalError as error:
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]) + 10, resource.RLIM_INFINITY))
    try:
        journal.append(entry("z"))
    except JournalError as again:
        assert "the row of z could" in str(again)
    else:
        raise AssertionError("the end of a torn line was taken for a record")
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    open_ones = sorted(journal._logs[-1].begun), sorted(journal._logs[-1].rows)
    journal.checkpoint(last=True)
    journal.append(entry("e"), entry("f"))
    print(json.dumps([str(error), *open_ones]), flush=True)
os._exit(0)
"""


@pytest.mark.parametrize("whole", range(4))
@pytest.mark.parametrize("beyond", [0, 1, 40])
def test_of_a_batch_that_the_disk_cannot_take_what_is_whole_counts_and_the_rest_is_said(whole, beyond, tmp_path):
    size = len(*sealed(BEGIN, [encode(Entry(id="a", request="r", provider="p", model="m", cost=1))]))
    done = subprocess.run(
        [sys.executable, "-c", BATCH, str(tmp_path), str(size * (1 + whole) + beyond)],
        cwd=ROOT, env=surroundings({}), capture_output=True, timeout=PATIENCE,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    error, begun, rows = json.loads(done.stdout)
    first, rest = ["the begin of a", "the row of b", "the row of c", "the row of d"][whole], 3 - whole
    assert error.startswith(first + (f", and {rest} behind it," if rest else "") + " could not be written to ")
    assert (begun, rows) == [(["c"], []), (["a", "c"], []), (["a", "c"], ["b"]), (["a"], ["b", "c"])][whole]
    journal, found = opened(tmp_path)
    assert tuple(map(sorted, said(found))) == ([*rows, "e", "f"], begun), "and what comes after stands on a fresh line"
    assert len(found.damaged) == (2 if beyond else 1)
    journal.close()


def test_rows_that_are_written_together_are_found_like_others(tmp_path):
    journal, _ = opened(tmp_path)
    journal.begin(entry("a"))
    journal.append(entry("b"))
    journal.begin(entry("x"), entry("y"), ended=[entry("a"), entry("c")])
    journal.append(entry("d"), entry("e", orphan=True), entry("e"))
    assert letters(file_of(tmp_path)) == "brbbrrrrr"
    journal.delivered(["b", "c"])
    journal.checkpoint()
    drop(journal)
    journal, found = opened(tmp_path)
    assert said(found) == (["a", "d", "e"], ["x", "y"])
    assert not found.undelivered[-1].orphan
    assert found.damaged == []
    journal.close()


# ---- files ------------------------------------------------------------------------------------------------------


def test_only_the_owner_can_read_it(tmp_path):
    before = os.umask(0)
    try:
        journal, _ = opened(tmp_path / "data" / "journal")
        journal.append(entry("a"))
        modes = {stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "data" / "journal").iterdir()}
        assert modes == {0o600}
        assert stat.S_IMODE((tmp_path / "data" / "journal").stat().st_mode) == 0o700
        journal.close()
    finally:
        os.umask(before)


def test_a_directory_that_was_open_to_others_is_closed_to_them(tmp_path):
    tmp_path.chmod(0o755)
    opened(tmp_path)[0].close()
    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o700


@pytest.mark.parametrize(
    ("replica", "name"),
    [("one", "one"), ("../../etc/x y", ".._.._etc_x_y"), ("ü" * 200, "_" * 100), ("", "")],
)
def test_the_name_of_a_replica_stays_in_the_directory(replica, name, tmp_path):
    journal, _ = opened(tmp_path / "j", replica)
    journal.append(entry("a"))
    assert [file.name for file in (tmp_path / "j").iterdir()] == [f"{TODAY}.{name}.log"]
    journal.close()


def test_processes_of_one_name_have_a_file_each(tmp_path):
    journals = [opened(tmp_path)[0] for _ in range(3)]
    for journal in journals:
        journal.append(entry("a"))
    assert sorted(file.name for file in tmp_path.iterdir()) == [
        f"{TODAY}.one.2.log", f"{TODAY}.one.3.log", f"{TODAY}.one.log",
    ]  # fmt: skip
    for journal in journals:
        journal.close()


def test_a_restart_on_the_same_day_writes_on_in_the_same_file(tmp_path):
    for _ in range(3):
        journal, _ = opened(tmp_path)
        journal.append(entry("a"))
        journal.close()
    assert len(list(tmp_path.iterdir())) == 1


def test_what_was_never_written_to_leaves_no_file(tmp_path):
    (tmp_path / f"{TODAY}.dead.log").touch()
    journal, _ = opened(tmp_path)
    assert list(tmp_path.iterdir()) == [file_of(tmp_path)]
    journal.close()
    assert list(tmp_path.iterdir()) == []


def test_what_is_no_file_of_the_journal_is_left_alone(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / f"{TODAY}.log").write_text("mine")
    journal, found = opened(tmp_path)
    assert found == Found([], [], [])
    journal.close()
    assert {file.read_text() for file in tmp_path.iterdir()} == {"mine"}


def test_rows_come_back_in_pages_from_our_files_and_those_of_the_dead(tmp_path):
    left_behind(tmp_path, "dead", replica="dead")
    other, _ = opened(tmp_path, "living")
    other.delivered(["dead"])
    other.append(entry("theirs"))
    drop(other)
    left_behind(tmp_path, "old", replica="another")
    living, _ = opened(tmp_path, "living")
    journal, _ = opened(tmp_path)
    for number in range(room.PAGE * 2 + 1):
        journal.append(entry(str(number), at=number))
        journal.begin(entry("begun", at=number))
    journal.delivered(["0"])
    pages = list(journal.rows(1))
    assert [len(page) for page in pages] == [room.PAGE, room.PAGE]
    assert [row.id for page in pages for row in page] == [str(number) for number in range(1, room.PAGE * 2 + 1)]
    pages_of_now = journal.rows(1)
    next(pages_of_now)
    journal.append(entry("later", at=2))
    assert "later" not in [row.id for page in pages_of_now for row in page]
    assert sorted(row.id for page in living.rows(0) for row in page) == ["dead", "old", "theirs"]
    living.close()
    journal.close()


def test_rows_that_are_asked_for_while_others_are_written_are_whole(tmp_path):
    journal, _ = opened(tmp_path)
    ids = [str(number) for number in range(5_000)]

    def write() -> None:
        for id in ids:
            journal.append(entry(id))

    writer = threading.Thread(target=write)
    writer.start()
    rows: list[str] = []
    while len(rows) < len(ids):
        seen, done = rows, not writer.is_alive()
        journal.sync()
        rows = [row.id for page in journal.rows(0) for row in page]
        assert rows == ids[: len(rows)]
        assert len(rows) >= len(seen)
        assert len(rows) == len(ids) or not done
    writer.join()
    journal.close()


@pytest.mark.parametrize(
    ("keep", "delivered", "age", "stays"),
    [
        (True, ["a"], 41, False),
        (True, ["a"], 40, True),
        (True, [], 400, True),
        (False, ["a"], 1, False),
        (False, [], 400, True),
    ],
    ids=["delivered and old", "delivered", "old", "delivered, where nothing is kept", "old, where nothing is kept"],
)
@pytest.mark.parametrize("whose", ["one", "dead"])
def test_a_file_goes_when_all_of_it_is_delivered_and_it_is_old(keep, delivered, age, stays, whose, tmp_path):
    left_behind(tmp_path, "a", begun=("a",), replica=whose)
    journal, _ = opened(tmp_path, wall=NOW + age * DAY, keep=keep)
    journal.delivered(delivered)
    journal.prune(40)
    assert file_of(tmp_path, f"{TODAY}.{whose}.log").exists() == stays
    assert [row.id for page in journal.rows(0) for row in page] == (["a"] if stays else [])
    journal.append(entry("b"))
    journal.close()
    assert said(opened(tmp_path, wall=NOW + age * DAY)[1])[0] == [*(["a"] if stays and not delivered else []), "b"]


def test_a_file_with_an_attempt_that_never_ended_stays(tmp_path):
    left_behind(tmp_path, begun=("a",))
    journal, _ = opened(tmp_path, wall=NOW + 400 * DAY)
    journal.prune(40)
    assert file_of(tmp_path).exists()
    journal.append(entry("a"))
    journal.prune(40)
    assert not file_of(tmp_path).exists()
    journal.close()


def test_where_nothing_is_kept_a_large_file_is_followed_by_another(tmp_path, monkeypatch):
    monkeypatch.setattr(room, "LARGEST", 1_000)
    journal, _ = opened(tmp_path, keep=False)
    for number in range(30):
        journal.append(entry(str(number)))
        journal.delivered([str(number)])
    assert len(list(tmp_path.iterdir())) > 3
    journal.prune(40)
    assert len(list(tmp_path.iterdir())) == 1
    journal.append(entry("last"))
    drop(journal)
    assert said(opened(tmp_path)[1])[0][-1] == "last"


def test_when_no_new_file_can_be_made_the_old_one_goes_on(tmp_path):
    now = [NOW]
    journal = Journal(tmp_path / "j", "one", wall=lambda: now[0])
    journal.open()
    (tmp_path / "j").rename(tmp_path / "moved")
    now[0] += DAY
    journal.append(entry("a"))
    (tmp_path / "moved").rename(tmp_path / "j")
    journal.append(entry("b"))
    now[0] += 60
    journal.append(entry("c"))
    drop(journal)
    assert letters(tmp_path / "j" / f"{TODAY}.one.log") == "rr"
    assert letters(tmp_path / "j" / "2026-11-24.one.log") == "r"


def test_a_file_that_was_deleted_before_it_was_locked_is_not_written_to(tmp_path, monkeypatch):
    """Another process may prune between our `open` and our lock: what we wrote then would be gone with us."""
    real, first = os.open, [True]

    def open_and_lose(path, flags, *mode):
        fd = real(path, flags, *mode)
        if first.pop() if first else False:
            os.unlink(path)
        return fd

    monkeypatch.setattr(os, "open", open_and_lose)
    journal, _ = opened(tmp_path)
    journal.append(entry("a"))
    drop(journal)
    assert said(opened(tmp_path)[1])[0] == ["a"]


@pytest.mark.parametrize("act", ["begin", "append"])
def test_a_journal_that_is_not_open_says_so(act, tmp_path):
    journal = Journal(tmp_path, "one", wall=lambda: NOW)
    with pytest.raises(JournalError, match="not open"):
        getattr(journal, act)(entry("a"))
    journal.open()
    journal.close()
    with pytest.raises(JournalError, match="not open"):
        getattr(journal, act)(entry("a"))
    journal.close()
    journal.sync()
    journal.checkpoint()
    journal.delivered(["a"])
    assert list(journal.rows(0)) == []


def test_a_directory_that_cannot_be_made_is_said(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(JournalError, match="cannot be opened"):
        opened(tmp_path / "file" / "journal")


def test_a_failed_opening_deletes_nothing_and_holds_no_lock(tmp_path):
    left_behind(tmp_path, "a", replica="dead")
    (tmp_path / f"{TODAY}.directory.log").mkdir()
    with pytest.raises(JournalError, match="directory"):
        opened(tmp_path)
    (tmp_path / f"{TODAY}.directory.log").rmdir()
    assert said(opened(tmp_path)[1])[0] == ["a"]


def test_a_disk_that_fails_is_said_and_tried_again(tmp_path, monkeypatch):
    journal, _ = opened(tmp_path)
    journal.append(entry("a"))
    broken: int | None = None
    synced: list[int] = []

    def fsync(fd: int) -> None:
        kind = stat.S_IFMT(os.fstat(fd).st_mode)
        if kind == broken:
            raise OSError(5, "Input/output error")
        synced.append(kind)

    monkeypatch.setattr(os, "fsync", fsync)
    for kind, act in itertools.product((stat.S_IFDIR, stat.S_IFREG), (journal.sync, journal.checkpoint)):
        broken = kind
        with pytest.raises(JournalError, match="Input/output error"):
            act()
    broken = None
    synced.clear()
    journal.checkpoint()
    assert synced == [stat.S_IFREG]
    assert letters(file_of(tmp_path)) == "rc"
    journal.sync()
    assert synced == [stat.S_IFREG] * 2, "the checkpoint itself"
    journal.sync()
    assert len(synced) == 2, "nothing new, nothing done"
    journal.close()


def test_a_new_file_is_on_the_disk_with_its_name_and_the_last_one_to_its_last_byte(tmp_path, monkeypatch):
    above, directory = tmp_path / "data", tmp_path / "data" / "journal"
    synced: list[os.stat_result] = []
    monkeypatch.setattr(os, "fsync", lambda fd: synced.append(os.fstat(fd)))
    journal, _ = opened(directory)
    journal.append(entry("a"))
    journal.sync()
    assert [now.st_ino for now in synced] == [path.stat().st_ino for path in (directory, above, file_of(directory))]
    journal.append(entry("b"))
    journal.close()
    assert synced[-1].st_ino == file_of(directory).stat().st_ino
    assert synced[-1].st_size == file_of(directory).stat().st_size


def test_a_day_begins_with_a_file_that_nobody_wrote_to(tmp_path):
    now = [NOW]
    journal = Journal(tmp_path, "one", wall=lambda: now[0])
    journal.open()
    other, _ = opened(tmp_path, wall=NOW + DAY)
    other.append(entry("theirs"))
    drop(other)  # it died, and nobody has read its file yet
    now[0] += DAY
    journal.append(entry("ours"))
    journal.delivered(["ours"])
    journal.close()
    assert letters(tmp_path / "2026-11-24.one.2.log") == "rc"
    assert said(opened(tmp_path, wall=NOW + DAY)[1])[0] == ["theirs"]
