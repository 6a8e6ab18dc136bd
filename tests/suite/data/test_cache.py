"""The decoded copy: right, made once, never half-made, never stale, and shared. Real files, real processes."""

from __future__ import annotations

import errno
import hashlib
import itertools
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import PIL
import pytest
from PIL import Image

from suite.core.errors import UserError
from suite.data import cache
from suite.data import source as image_source
from suite.data.cache import entry_path, load_decoded_part
from suite.data.source import Arrays, ImageFiles

SHAPE = (3, 8, 8)
CLASSES = 3
COUNT = 12


class Counted(ImageFiles):
    """Photographs below a folder, a class each folder; `seen` hears of every decoded row first."""

    seen: ClassVar[Callable[[int], Any]] = staticmethod(lambda row: None)

    def decode(self, row: int) -> Any:
        Counted.seen(row)
        return super().decode(row)


def source(root: Path, shape: tuple[int, int, int] = SHAPE) -> Counted:
    files = sorted(root.glob("*/*.png"))
    return Counted(str(root), shape, files, np.array([int(file.parent.name) for file in files], np.int64), "squash")


def opened(root: Path, shape: tuple[int, int, int] = SHAPE, **options: Any) -> Any:
    return load_decoded_part(source(root, shape), "tiny-train", CLASSES, **options)


def place(root: Path) -> Path:
    found = entry_path(source(root), "tiny-train")
    assert found is not None
    return found


def direct(root: Path) -> Any:
    part = source(root)
    return np.stack([ImageFiles.decode(part, row) for row in range(len(part.files))])


def in_cache() -> list[str]:
    """What lies in the cache directory, without the entries' own names."""
    directory = cache.cache_directory()
    return sorted(path.name[len("tiny-train-") + 16 :] for path in directory.iterdir()) if directory.is_dir() else []


def paint(file: Path, seed: int, side: int = 10) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (side, side, 3), np.uint8)).save(file)


@pytest.fixture(autouse=True)
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GRAFTBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(image_source, "ROWS", 4)  # several chunks
    return tmp_path / "cache"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for row in range(COUNT):
        paint(tmp_path / "photographs" / str(row % CLASSES) / f"{row:04}.png", row)
    return tmp_path / "photographs"


@pytest.fixture
def rows(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The rows decoded by this process, as they come."""
    seen: list[int] = []
    monkeypatch.setattr(Counted, "seen", staticmethod(seen.append))
    return seen


# --- what it gives ---------------------------------------------------------------------------------------------


def test_images_labels_and_moments_are_those_of_the_files(root: Path) -> None:
    heard: list[tuple[int, int]] = []
    part, images = opened(root, progress=lambda done, of: heard.append((done, of))), direct(root)
    assert np.array_equal(part.images, images) and part.images.dtype == np.uint8
    assert part.labels.tolist() == sorted(row % CLASSES for row in range(COUNT)) and part.labels.dtype == np.int64
    assert np.allclose(part.mean, (images / 255).mean((0, 2, 3)), rtol=1e-12, atol=0)
    assert np.allclose(part.std, (images / 255).std((0, 2, 3)), rtol=1e-12, atol=0)
    assert heard == [(4, 12), (8, 12), (12, 12)]


@pytest.mark.parametrize("value", [0, 1, 77, 255])
def test_a_constant_channel_has_deviation_one(value: int) -> None:
    images = np.full((7, 1, 3, 3), value, np.uint8)
    part = load_decoded_part(Arrays("flat", (1, 3, 3), [], lambda: (images, np.zeros(7, np.int64))), "flat-train", 1)
    assert part.mean == (value / 255,) and part.std == (1.0,)


def test_the_digest_is_sha256_of_the_images_then_the_labels(directory: Path) -> None:
    images = np.arange(8, dtype=np.uint8).reshape(2, 1, 2, 2)
    tiny = Arrays("made", (1, 2, 2), [], lambda: (images, np.array([0, 1])))  # no files: synthetic
    pinned = "23664e743d97dbeb"  # printf '\x00..\x07' and the labels, 8 bytes each, | sha256sum
    assert load_decoded_part(tiny, "tiny-train", 2, keep_images=False).digest == pinned
    assert load_decoded_part(tiny, "tiny-train", 2).digest == pinned
    shutil.rmtree(directory)
    assert load_decoded_part(tiny, "tiny-train", 2).digest == pinned


def test_a_warm_open_maps_and_decodes_nothing(root: Path, rows: list[int]) -> None:
    opened(root)
    assert sorted(rows) == list(range(COUNT))
    warm = opened(root, progress=lambda done, of: pytest.fail("decodes again"))
    assert len(rows) == COUNT and isinstance(warm.images, np.memmap)
    assert np.array_equal(warm.images, np.load(place(root) / "images.npy"))


def test_writing_to_the_array_leaves_the_file_alone(root: Path) -> None:
    part = opened(root)
    part.images[:] = 0
    assert np.array_equal(opened(root).images, direct(root)) and direct(root).any()


def test_another_resolution_is_another_entry(root: Path) -> None:
    opened(root)
    assert opened(root, (3, 4, 4)).images.shape == (COUNT, 3, 4, 4)
    assert opened(root).images.shape == (COUNT, *SHAPE)


def test_images_can_be_left_out_and_added_later(root: Path, rows: list[int]) -> None:
    slim = opened(root, keep_images=False)
    assert slim.images is None and not (place(root) / "images.npy").exists()
    assert opened(root, keep_images=False).digest == slim.digest and len(rows) == COUNT
    full = opened(root)
    assert len(rows) == 2 * COUNT and np.array_equal(full.images, direct(root))
    again = opened(root, keep_images=False)
    assert len(rows) == 2 * COUNT and again.images is None and (place(root) / "images.npy").exists()
    for part in (full, again):
        assert (part.digest, part.mean, part.std) == (slim.digest, slim.mean, slim.std)
    assert in_cache() == ["", ".lock"]


# --- killed ----------------------------------------------------------------------------------------------------


def killed_at(step: int, root: Path, told: Path, **options: Any) -> bool:
    """Decodes in a forked process that kills itself just before its step-th step; False: it came to its end."""
    child = os.fork()
    if child:
        _, status = os.waitpid(child, 0)
        assert status == 0 or os.WTERMSIG(status) == signal.SIGKILL
        return status != 0
    steps = itertools.count(1)
    with told.open("w") as log:

        def before(what: str) -> None:
            print(what, file=log, flush=True)
            if next(steps) == step:
                os.kill(os.getpid(), signal.SIGKILL)
                time.sleep(60)

        def telling(what: str, function: Any) -> Any:
            def told_first(*given: Any, **named: Any) -> Any:
                before(what)
                return function(*given, **named)

            return told_first

        Counted.seen = staticmethod(lambda row: before("decode"))
        os.fsync = telling("fsync", os.fsync)
        os.posix_fallocate = telling("reserve", os.posix_fallocate)
        Path.rename = telling("rename", Path.rename)  # type: ignore[method-assign]
        Path.mkdir = telling("mkdir", Path.mkdir)  # type: ignore[method-assign]
        shutil.rmtree = telling("rmtree", shutil.rmtree)
        try:
            opened(root, **options)
            os._exit(0)
        finally:
            os._exit(3)


def test_killed_at_any_step_leaves_nothing_half_made(
    root: Path, directory: Path, tmp_path: Path, rows: list[int]
) -> None:
    wanted, told = direct(root), tmp_path / "told"
    for step in itertools.count(1):
        if not killed_at(step, root, told):
            break
        steps = told.read_text().split()
        # The parent directory is synced after the second rename: what lies there now is the whole entry.
        finished = steps.count("rename") == 2 and steps[-1] != "rename"
        assert (entry_path(source(root), "tiny-train") is not None) == finished, steps
        rows.clear()
        assert np.array_equal(opened(root).images, wanted)
        assert sorted(rows) == ([] if finished else list(range(COUNT))), steps
        assert in_cache() == ["", ".lock"]
        shutil.rmtree(directory)
    steps = told.read_text().split()
    assert steps.count("decode") == COUNT and steps.count("fsync") == 7 and steps.count("rename") == 2
    assert steps[-1] == "fsync" and step == len(steps) + 1  # every one of them was tried


def test_killed_while_replacing_leaves_the_old_the_new_or_none(
    root: Path, directory: Path, tmp_path: Path, rows: list[int]
) -> None:
    changed, told, outcomes = root / "0" / "0000.png", tmp_path / "told", set()
    opened(root)
    old = direct(root)
    shutil.copytree(directory, tmp_path / "before")
    paint(changed, 99, side=11)
    new = direct(root)
    for step in itertools.count(1):
        if not killed_at(step, root, told, accept_changes=True):
            break
        found = entry_path(source(root), "tiny-train")
        lying = None if found is None else np.load(found / "images.npy")
        outcome = "none" if lying is None else "old" if np.array_equal(lying, old) else "new"
        assert outcome != "new" or (lying is not None and np.array_equal(lying, new))
        outcomes.add(outcome)
        if outcome == "old":
            with pytest.raises(UserError, match=r"0000\.png has changed"):
                opened(root)
        rows.clear()
        assert np.array_equal(opened(root, accept_changes=outcome == "old").images, new)
        assert len(rows) == (0 if outcome == "new" else COUNT)
        assert in_cache() == ["", ".lock"], told.read_text()
        shutil.rmtree(directory)
        shutil.copytree(tmp_path / "before", directory)
    assert outcomes == {"old", "none", "new"}
    assert told.read_text().split()[-2:] == ["fsync", "rmtree"]


def test_who_waits_takes_over_from_a_killed_decoder(root: Path, tmp_path: Path) -> None:
    ready = tmp_path / "ready"
    first = os.fork()
    if not first:
        Counted.seen = staticmethod(lambda row: (ready.touch(), time.sleep(60)) if row == 6 else None)
        try:
            opened(root)
        finally:
            os._exit(0)
    wait_for(ready.exists)
    second = os.fork()
    if not second:
        try:
            os._exit(0 if np.array_equal(opened(root).images, direct(root)) else 1)
        finally:
            os._exit(2)
    time.sleep(0.3)
    assert os.waitpid(second, os.WNOHANG) == (0, 0)  # waits, and doesn't decode beside the first
    os.kill(first, signal.SIGKILL)
    os.waitpid(first, 0)
    assert os.waitpid(second, 0)[1] == 0
    assert in_cache() == ["", ".lock"]


# --- together --------------------------------------------------------------------------------------------------

TRIAL = """
import os, sys, time
from pathlib import Path
from test_cache import Counted, opened
root, go, log = map(Path, sys.argv[1:])
def seen(row):
    with log.open("a") as file:
        file.write(f"{row}\\n")
    time.sleep(0.02)
Counted.seen = staticmethod(seen)
print("ready", flush=True)
while not go.exists():
    time.sleep(0.001)
print(opened(root).images.sum(), flush=True)
sys.stdin.read()
"""


def wait_for(happened: Callable[[], bool], seconds: float = 30) -> None:
    until = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < until, "waited in vain"
        time.sleep(0.005)


@pytest.fixture
def start() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts a Python process that can import this file; ended with the test."""
    started: list[subprocess.Popen[str]] = []

    def starting(code: str, *args: object) -> subprocess.Popen[str]:
        env = os.environ | {"PYTHONPATH": str(Path(__file__).parent), "OPENBLAS_NUM_THREADS": "1"}
        command = [sys.executable, "-c", code, *map(str, args)]
        started.append(subprocess.Popen(command, env=env, stdin=-1, stdout=-1, text=True))
        return started[-1]

    yield starting
    for process in started:
        process.kill()
        process.communicate()


def line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def test_twenty_that_start_together_decode_once(root: Path, tmp_path: Path, start: Any) -> None:
    go, log = tmp_path / "go", tmp_path / "log"
    trials = [start(TRIAL, root, go, log) for _ in range(20)]
    assert [line(trial) for trial in trials] == ["ready"] * 20
    go.touch()
    assert [line(trial) for trial in trials] == [str(direct(root).sum())] * 20
    assert sorted(map(int, log.read_text().split())) == list(range(COUNT))
    assert in_cache() == ["", ".lock"]


READER = """
import sys
import numpy as np
from suite.data.cache import load_decoded_part
from suite.data.source import Arrays
part = load_decoded_part(Arrays("noise", (3, 64, 64), [], lambda: sys.exit("decodes")), "noise-train", 1)
print(part.images.sum(), flush=True)
sys.stdin.read()
"""


def pss(pid: int, file: Path) -> int:
    """KiB of the process's mappings of a file, every page shared out among those that map it."""
    total, ours = 0, False
    for entry in Path(f"/proc/{pid}/smaps").read_text().splitlines():
        key, *rest = entry.split()
        if not key.endswith(":"):
            ours = entry.endswith(str(file))
        elif key == "Pss:" and ours:
            total += int(rest[0])
    return total


def test_ten_trials_share_the_pages_of_one(start: Any) -> None:
    images = np.random.default_rng(0).integers(0, 256, (1000, 3, 64, 64), np.uint8)
    noise = Arrays("noise", (3, 64, 64), [], lambda: (images, np.zeros(1000, np.int64)))
    load_decoded_part(noise, "noise-train", 1)
    entry = entry_path(noise, "noise-train")
    assert entry is not None
    file = entry / "images.npy"
    readers = [start(READER)]
    assert line(readers[0]) == str(images.sum())
    alone = pss(readers[0].pid, file)
    assert alone >= 0.99 * images.nbytes / 1024  # all of it is touched
    readers += [start(READER) for _ in range(9)]
    assert {line(reader) for reader in readers[1:]} == {str(images.sum())}
    together = [pss(reader.pid, file) for reader in readers]
    assert min(together) > 0 and sum(together) <= 1.1 * alone


# --- torn ------------------------------------------------------------------------------------------------------


def cut(name: str, keep: int) -> Callable[[Path], None]:
    return lambda entry: os.truncate(entry / name, keep if keep >= 0 else (entry / name).stat().st_size + keep)


def altered_labels(entry: Path) -> None:
    np.save(entry / "labels.npy", np.load(entry / "labels.npy")[::-1])


def another_shape(entry: Path) -> None:
    np.save(entry / "images.npy", np.load(entry / "images.npy").reshape(COUNT, 3, 4, 16))


def grown(entry: Path) -> None:
    with (entry / "images.npy").open("ab") as file:
        file.write(b"\0")


def altered_manifest(entry: Path) -> None:
    manifest = json.loads((entry / "manifest.json").read_text())
    manifest["mean"][0] += 0.1
    (entry / "manifest.json").write_text(json.dumps(manifest))


TORN: dict[str, Callable[[Path], object]] = {
    "images one byte short": cut("images.npy", -1),
    "images empty": cut("images.npy", 0),
    "images within the header": cut("images.npy", 20),
    "images gone": lambda entry: (entry / "images.npy").unlink(),
    "images too long": grown,
    "images of another shape": another_shape,
    "labels short": cut("labels.npy", -8),
    "labels empty": cut("labels.npy", 0),
    "labels gone": lambda entry: (entry / "labels.npy").unlink(),
    "labels altered": altered_labels,
    "manifest short": cut("manifest.json", -10),
    "manifest empty": cut("manifest.json", 0),
    "manifest gone": lambda entry: (entry / "manifest.json").unlink(),
    "manifest altered": altered_manifest,
    "manifest without content": lambda entry: (entry / "manifest.json").write_text("{}"),
    "manifest a list": lambda entry: (entry / "manifest.json").write_text("[1]"),
    "manifest not text": lambda entry: (entry / "manifest.json").write_bytes(b"\xff\0"),
}


@pytest.mark.parametrize("how", TORN)
def test_a_torn_entry_is_made_again(root: Path, rows: list[int], how: str) -> None:
    before = opened(root)
    rows.clear()
    TORN[how](place(root))
    after = opened(root)
    assert sorted(rows) == list(range(COUNT)) and np.array_equal(after.images, direct(root))
    assert (after.digest, after.mean, after.std) == (before.digest, before.mean, before.std)
    assert np.array_equal(after.labels, source(root).labels)
    assert in_cache() == ["", ".lock"]
    opened(root)
    assert len(rows) == COUNT


@pytest.mark.parametrize("owner, name, value", [(cache, "RULE", 1000), (PIL, "__version__", "0.0")])
def test_another_rule_or_pillow_decodes_again(
    root: Path, rows: list[int], monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, value: Any
) -> None:
    opened(root)
    monkeypatch.setattr(owner, name, value)
    opened(root)
    opened(root)
    assert len(rows) == 2 * COUNT


def test_an_entry_replaced_while_it_is_opened_is_not_mixed(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old, mapped = opened(root).digest, cache.Entry._map_images

    def replaced_first(self: Any, shape: Any) -> Any:
        monkeypatch.setattr(cache.Entry, "_map_images", mapped)
        paint(root / "1" / "0001.png", 77, side=12)
        opened(root, accept_changes=True)
        return mapped(self, shape)

    monkeypatch.setattr(cache.Entry, "_map_images", replaced_first)
    part = opened(root)
    found = hashlib.sha256(part.images.tobytes() + part.labels.tobytes()).hexdigest()[:16]
    assert part.digest == found != old


# --- changed ---------------------------------------------------------------------------------------------------


def later(file: Path) -> None:
    state = file.stat()
    os.utime(file, ns=(state.st_atime_ns, state.st_mtime_ns + 1))


def flip_a_pixel(file: Path) -> None:
    """Another pixel in as many bytes."""
    size = file.stat().st_size
    with Image.open(file) as image:
        pixels = np.array(image)
    first = int(pixels[0, 0, 0])
    for step in range(100, 156):  # enough to be seen after resizing
        pixels[0, 0, 0] = (first + step) % 256
        Image.fromarray(pixels).save(file)
        if file.stat().st_size == size:
            break
    assert file.stat().st_size == size
    later(file)


CHANGES: dict[str, tuple[str, Callable[[Path], None]]] = {
    "0/new.png was added": ("0/new.png", lambda file: paint(file, 50)),
    "1/0004.png is gone": ("1/0004.png", lambda file: file.unlink()),
    "2/0005.png has changed": ("2/0005.png", lambda file: paint(file, 51, side=14)),
    "2/0008.png has changed": ("2/0008.png", flip_a_pixel),  # same size
}


@pytest.mark.parametrize("keep_images", [True, False])
@pytest.mark.parametrize("what", CHANGES)
def test_changed_files_are_refused_by_name_until_accepted(root: Path, what: str, keep_images: bool) -> None:
    before = opened(root, keep_images=keep_images)
    file, change = CHANGES[what]
    change(root / file)
    for keep in (True, False):  # also where images would have to be added
        with pytest.raises(UserError) as refusal:
            opened(root, keep_images=keep)
        assert f"{root}/{what}" in str(refusal.value) and "`graftbench data warm STUDY`" in str(refusal.value)
    after = opened(root, keep_images=keep_images, accept_changes=True)
    assert len(after.labels) == len(source(root).files)
    assert after.digest != before.digest
    assert np.array_equal(opened(root, keep_images=keep_images).labels, after.labels)
    assert np.array_equal(opened(root).images, direct(root))


@pytest.mark.parametrize("keep_images", [True, False])
def test_touched_files_are_looked_at_again_and_taken_for_what_they_are(
    root: Path, monkeypatch: pytest.MonkeyPatch, keep_images: bool
) -> None:
    before = opened(root, keep_images=keep_images)
    later(root / "2/0008.png")
    seen: list[int] = []
    monkeypatch.setattr(Counted, "seen", staticmethod(seen.append))
    assert opened(root, keep_images=keep_images).digest == before.digest and len(seen) == COUNT
    assert opened(root, keep_images=keep_images).digest == before.digest and len(seen) == COUNT, "the second is warm"


def test_a_file_that_vanished_since_the_listing_is_named(root: Path) -> None:
    listed = source(root)
    listed.files[3].unlink()
    with pytest.raises(UserError, match=listed.files[3].name):
        load_decoded_part(listed, "tiny-train", CLASSES)


def test_files_that_change_while_they_are_decoded_are_refused(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = source(root).files[0]
    monkeypatch.setattr(Counted, "seen", staticmethod(lambda row: later(first) if row == COUNT - 1 else None))
    with pytest.raises(UserError, match="changed while it was being decoded; run the command again"):
        opened(root)
    assert in_cache() == [".lock"]


def test_files_that_change_while_they_are_read_as_an_array_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "array"
    file.write_bytes(b"1")

    def read() -> Any:
        later(file)  # between the read and the decoding
        return np.zeros((2, 1, 2, 2), np.uint8), np.zeros(2, np.int64)

    with pytest.raises(UserError, match="changed while"):
        load_decoded_part(Arrays("array", (1, 2, 2), [file], read), "tiny-train", 1)


def test_names_that_are_no_text_can_be_cached_and_named(root: Path) -> None:
    odd = Path(os.fsdecode(os.fsencode(root / "0") + b"/\xff\n.png"))
    shutil.copy(root / "0" / "0000.png", odd)
    assert len(opened(root).labels) == COUNT + 1
    odd.write_bytes(b"broken")
    with pytest.raises(UserError, match="has changed"):
        opened(root)
    with pytest.raises(UserError, match="can't be decoded"):
        opened(root, accept_changes=True)


# --- unusable --------------------------------------------------------------------------------------------------


def test_all_unreadable_images_are_listed(root: Path, directory: Path) -> None:
    broken = [source(root).files[row] for row in (2, 9)]
    broken[0].write_bytes(b"no image")
    os.truncate(broken[1], broken[1].stat().st_size // 2)
    with pytest.raises(UserError) as refusal:
        opened(root)
    (listed,) = directory.glob("*.txt")
    lines = listed.read_text().splitlines()
    assert [row.split("\t")[0] for row in lines] == [str(file) for file in broken]
    assert all("can't be decoded" in row for row in lines)
    assert str(refusal.value).startswith(f"{broken[0]} can't be decoded") and str(listed) in str(refusal.value)
    assert "2 images are unusable" in str(refusal.value)
    assert in_cache() == ["-unreadable.txt", ".lock"]
    for file in broken:
        paint(file, 1)
    assert len(opened(root).labels) == COUNT
    assert in_cache() == ["", ".lock"]  # the list of what is repaired is gone


def test_labels_outside_the_classes_are_refused(root: Path) -> None:
    for classes in (2, 1):
        with pytest.raises(
            UserError, match=rf"/{classes}/\d+.png has label {classes}, outside 0..{classes - 1}; repair"
        ):
            load_decoded_part(source(root), "tiny-train", classes)
    assert in_cache() == [".lock"]
    opened(root)
    with pytest.raises(UserError, match=r"has label 2, outside 0\.\.1"):
        load_decoded_part(source(root), "tiny-train", 2)  # from the entry


def test_a_part_without_images_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="has no images"):
        opened(tmp_path / "nothing")


def test_what_a_source_refuses_leaves_nothing(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(row: int) -> None:
        raise UserError("the archive is broken; fetch it again")

    monkeypatch.setattr(Counted, "seen", staticmethod(refuse))
    with pytest.raises(UserError, match="the archive is broken"):
        opened(root)
    assert in_cache() == [".lock"]


# --- the disk --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("reserves", [True, False])
@pytest.mark.parametrize(
    "shape, allowed",
    [(SHAPE, 100), (SHAPE, 5000), ((3, 1, 1), 2600)],
    ids=["in the header", "in the images", "in the list of files"],
)
def test_a_full_disk_is_a_sentence_and_leaves_nothing(
    root: Path, directory: Path, monkeypatch: pytest.MonkeyPatch, reserves: bool, shape: Any, allowed: int
) -> None:
    def unsupported(*given: Any) -> None:
        raise OSError(errno.EOPNOTSUPP, "not here")

    if not reserves:
        monkeypatch.setattr(os, "posix_fallocate", unsupported)
    for row in range(COUNT, 60):
        paint(root / "0" / f"{row:04}.png", row)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (allowed, limits[1]))  # EFBIG; Python ignores the signal
    try:
        with pytest.raises(UserError) as refusal:
            opened(root, shape)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert str(directory) in str(refusal.value) and "File too large" in str(refusal.value)
    assert "set GRAFTBENCH_CACHE" in str(refusal.value)
    assert in_cache() == [".lock"]
    assert len(opened(root, shape).labels) == COUNT + 48


TINY_DISK = """
import sys
from pathlib import Path
from test_cache import Counted, in_cache, opened
from suite.core.errors import UserError
import subprocess
root, disk = map(Path, sys.argv[1:])
def refused(*shape):
    try:
        opened(root, shape)
    except UserError as refusal:
        return str(refusal)
    sys.exit("not refused")
print(refused(3, 64, 64))
print(in_cache())
opened(root)
subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
Counted.seen = staticmethod(lambda row: sys.exit("decodes"))
print(opened(root).images.sum())
print(refused(3, 5, 5))
(root / "0" / "0000.png").unlink()
print(refused(3, 8, 8))
"""


def test_a_tiny_disk_and_a_read_only_one(root: Path, directory: Path) -> None:
    directory.mkdir()
    mounted = ["unshare", "-m", "sh", "-c", 'mount -t tmpfs -o size=64k none "$0" && exec "$@"', str(directory)]
    if shutil.which("unshare") is None or subprocess.run([*mounted, "true"], capture_output=True).returncode:
        pytest.skip("needs the right to mount: neither a full nor a read-only disk was tried")
    total = direct(root).sum()
    env = os.environ | {"PYTHONPATH": str(Path(__file__).parent)}
    command = [*mounted, sys.executable, "-c", TINY_DISK, str(root), str(directory)]
    done = subprocess.run(command, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    full, left, found, read_only, changed = done.stdout.splitlines()
    assert str(directory) in full and "No space left on device" in full and "GRAFTBENCH_CACHE" in full
    assert left == "['.lock']" and found == str(total)
    assert str(directory) in read_only and "Read-only file system" in read_only and "GRAFTBENCH_CACHE" in read_only
    assert "0000.png is gone" in changed


def test_a_file_where_the_cache_should_be_is_named(root: Path, directory: Path, monkeypatch: Any) -> None:
    directory.write_text("a file")
    for below in (directory, directory / "below"):
        monkeypatch.setenv("GRAFTBENCH_CACHE", str(below))
        with pytest.raises(UserError, match=rf"^cache: {directory}.* can't be used .*set GRAFTBENCH_CACHE"):
            opened(root)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EIO, errno.ENOLCK])
def test_what_the_disk_says_becomes_a_sentence(number: int) -> None:
    with pytest.raises(UserError) as refusal, cache.disk_errors(Path("/cache/tiny"), 3 * 2**20):
        raise OSError(number, os.strerror(number))
    assert str(refusal.value) == (
        f"cache: /cache/tiny can't be used ({os.strerror(number)}); set GRAFTBENCH_CACHE to a directory on a writable "
        "disk with 3 MiB free"
    )


def test_a_label_that_a_table_gives_is_watched(root: Path) -> None:
    """The labels of image files may come from a table that nobody named as watched."""
    opened(root)
    files = sorted(root.glob("*/*.png"))
    labels = np.array([int(file.parent.name) for file in files], np.int64)
    labels[5] = (labels[5] + 1) % CLASSES
    corrected = ImageFiles(str(root), SHAPE, files, labels, "squash")
    sentence = rf"{files[5]} had label \d and has {labels[5]} since it was decoded .* `graftbench data warm STUDY`"
    with pytest.raises(cache.Changed, match=sentence):
        load_decoded_part(corrected, "tiny-train", CLASSES)
    accepted = load_decoded_part(corrected, "tiny-train", CLASSES, accept_changes=True)
    assert accepted.labels.tolist() == labels.tolist()
    assert load_decoded_part(corrected, "tiny-train", CLASSES).digest == accepted.digest


def test_other_images_of_the_same_watched_files_are_noticed(root: Path) -> None:
    """Which of the watched files a row is may come from a table that nobody named as watched."""
    watched = sorted(root.glob("*/*.png"))
    labels = np.zeros(3, np.int64)

    def part(*rows: int) -> ImageFiles:
        return ImageFiles(str(root), SHAPE, [watched[row] for row in rows], labels[: len(rows)], "squash", watched)

    before: Any = load_decoded_part(part(0, 1, 2), "tiny-train", CLASSES)
    for rows in ((0, 1, 5), (1, 0, 2), (0, 1), (0, 1, 2)[:1]):
        with pytest.raises(cache.Changed, match="has other images, or has them in another order"):
            load_decoded_part(part(*rows), "tiny-train", CLASSES)
    assert load_decoded_part(part(0, 1, 2), "tiny-train", CLASSES).digest == before.digest
    swapped: Any = load_decoded_part(part(1, 0, 2), "tiny-train", CLASSES, accept_changes=True)
    assert np.array_equal(swapped.images[[1, 0, 2]], before.images)


def test_equal_images_have_equal_hashes(root: Path, directory: Path) -> None:
    first, second, other = root / "0" / "0000.png", root / "1" / "copy.png", root / "2" / "0002.png"
    shutil.copy(first, second)
    part = opened(root)
    names = [file.name for file in sorted(root.glob("*/*.png"))]
    assert part.hashes.shape == (COUNT + 1, 16)
    one, copy, third = (part.hashes[names.index(file.name)].tobytes() for file in (first, second, other))
    assert one == copy != third
    assert len({row.tobytes() for row in part.hashes}) == COUNT
    again = opened(root)
    assert np.array_equal(again.hashes, part.hashes)
    (place(root) / "hashes.npy").write_bytes(b"torn")
    assert np.array_equal(opened(root).hashes, part.hashes)  # decoded anew


def test_what_pillow_warns_of_is_counted(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def warn(row: int) -> None:
        if row < 2:
            for _ in range(3):  # of one image still
                warnings.warn("odd metadata", UserWarning, stacklevel=1)

    monkeypatch.setattr(Counted, "seen", staticmethod(warn))
    assert opened(root).warned == {"odd metadata": 2}
    assert opened(root).warned == {"odd metadata": 2}  # from the copy
