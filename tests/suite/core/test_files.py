"""Files are written whole or not at all."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from suite.core.files import remove_unfinished, replace_file, write_json, write_text


def test_a_file_takes_the_place_of_the_one_before(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_json({"a": 1}, path)
    assert path.read_text() == '{\n "a": 1\n}'
    with replace_file(path) as beside:
        beside.write_text("new")
        assert path.read_text() != "new" and beside.parent == tmp_path
    assert path.read_text() == "new" and list(tmp_path.iterdir()) == [path]
    write_text("λ", path)
    assert path.read_bytes() == "λ".encode()


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_an_error_leaves_the_file_before_and_nothing_else(tmp_path: Path, error: type[BaseException]) -> None:
    path = tmp_path / "a"
    path.write_text("old")
    with pytest.raises(error), replace_file(path) as beside:
        beside.write_text("half")
        raise error
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


def test_what_a_full_disk_left_is_removed_once_nobody_can_be_writing_it(tmp_path: Path) -> None:
    old, fresh, hidden, plain = (
        tmp_path / name for name in (".last.pt.4242", ".record.json.17", ".note", "record.json")
    )
    for path in (old, fresh, hidden, plain):
        path.write_text("half")
    folder = tmp_path / ".snap.1"
    folder.mkdir()
    for path in (old, hidden, plain, folder):
        os.utime(path, (time.time() - 120,) * 2)
    remove_unfinished(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {fresh.name, hidden.name, plain.name, folder.name}
