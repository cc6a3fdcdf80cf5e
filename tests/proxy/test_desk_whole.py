"""A file that is there whole or not at all: real files, real rights."""

import os
import stat
from pathlib import Path

import pytest

from proxy.desk.trouble import USAGE, Trouble
from proxy.desk.whole import whole


class Broken(Exception):
    """What breaks a download."""


def left(directory: Path) -> set[str]:
    return {path.name for path in directory.iterdir()}


def test_it_is_there_when_it_is_whole_and_nothing_is_left_beside_it(tmp_path):
    with whole(tmp_path / "x.csv") as file:
        file.write(b"half")
        assert not (tmp_path / "x.csv").exists()
        file.write(b" and half")
    assert (tmp_path / "x.csv").read_bytes() == b"half and half"
    assert left(tmp_path) == {"x.csv"}


def broken(path: Path) -> None:
    with whole(path) as file:
        file.write(b"half")
        raise Broken


def test_one_that_breaks_leaves_what_was_there(tmp_path):
    (tmp_path / "x.csv").write_bytes(b"old")
    with pytest.raises(Broken):
        broken(tmp_path / "x.csv")
    assert (tmp_path / "x.csv").read_bytes() == b"old"
    assert left(tmp_path) == {"x.csv"}


def test_one_that_breaks_leaves_nothing_where_nothing_was(tmp_path):
    with pytest.raises(Broken):
        broken(tmp_path / "x.csv")
    assert left(tmp_path) == set()


def test_a_file_keeps_its_rights_and_a_link_stays_one(tmp_path):
    (tmp_path / "real").write_bytes(b"old")
    (tmp_path / "real").chmod(0o640)
    (tmp_path / "link").symlink_to("real")
    with whole(tmp_path / "link") as file:
        file.write(b"new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_bytes() == b"new"
    assert stat.S_IMODE((tmp_path / "real").stat().st_mode) == 0o640


def test_a_new_file_has_the_rights_that_new_files_have(tmp_path):
    (tmp_path / "usual").write_bytes(b"")
    with whole(tmp_path / "x.csv"):
        pass
    assert (tmp_path / "x.csv").stat().st_mode == (tmp_path / "usual").stat().st_mode


def test_a_long_name_is_no_longer_beside_its_place(tmp_path):
    name = "x" * 250
    with whole(tmp_path / name) as file:
        file.write(b"new")
    assert left(tmp_path) == {name}


def test_what_is_no_file_is_written_to_as_it_is():
    with whole(Path(os.devnull)) as file:
        file.write(b"gone")
    assert stat.S_ISCHR(os.stat(os.devnull).st_mode)


@pytest.mark.parametrize(
    ("name", "why"),
    [
        pytest.param("none/x.csv", "No such file or directory", id="a directory that is not there"),
        pytest.param("file/x.csv", "Not a directory", id="a file in place of a directory"),
        pytest.param(".", "Is a directory", id="a directory itself"),
    ],
)
def test_where_nothing_can_be_written_it_is_said(tmp_path, name, why):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(Trouble, match=f"cannot be written: {why}") as caught, whole(tmp_path / name):
        pass
    assert caught.value.code == USAGE
