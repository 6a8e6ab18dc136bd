"""Files are written whole or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from suite.core.files import replace_file, write_json, write_text


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
