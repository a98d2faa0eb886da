"""A cache that is damaged, half written, wanted by several or without room is never trained on."""

import json
import multiprocessing
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from erlangen.datamodules.files.cache import cached_arrays
from erlangen.errors import UserError

ARRAYS = {"z": np.arange(5000, dtype=np.uint8), "pos": np.linspace(0, 1, 3000).reshape(-1, 3)}


class Builder:
    """Counts how often it is asked."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self) -> dict[str, np.ndarray]:
        self.calls += 1
        return ARRAYS


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    cached_arrays(tmp_path / "set" / "cache", Builder())
    return tmp_path / "set" / "cache"


def read(folder: Path, builder: Builder) -> None:
    arrays = cached_arrays(folder, builder)
    assert arrays.keys() == ARRAYS.keys()
    for name, array in ARRAYS.items():
        np.testing.assert_array_equal(arrays[name], array)
        assert arrays[name].dtype == array.dtype


def test_an_intact_cache_is_read_and_not_built(folder: Path) -> None:
    builder = Builder()
    read(folder, builder)
    assert builder.calls == 0
    assert sorted(path.name for path in folder.parent.iterdir()) == [".cache.lock", "cache"]


def flip_a_byte(folder: Path) -> None:
    data = bytearray((folder / "pos.npy").read_bytes())
    data[-1000] ^= 1
    (folder / "pos.npy").write_bytes(data)


def truncate(folder: Path) -> None:
    os.truncate(folder / "pos.npy", 500)


def remove(folder: Path) -> None:
    (folder / "z.npy").unlink()


def cut_manifest(folder: Path) -> None:
    os.truncate(folder / "manifest.json", 30)


def scramble_manifest(folder: Path) -> None:
    (folder / "manifest.json").write_bytes(b"\xff\xfe\x00")


def empty_manifest(folder: Path) -> None:
    (folder / "manifest.json").write_text("{}")


@pytest.mark.parametrize(
    "damage", [flip_a_byte, truncate, remove, cut_manifest, scramble_manifest, empty_manifest], ids=lambda f: f.__name__
)
def test_any_damage_is_found_said_and_repaired(folder: Path, damage, caplog: pytest.LogCaptureFixture) -> None:
    damage(folder)
    builder = Builder()
    read(folder, builder)
    assert builder.calls == 1
    assert "is damaged" in caplog.text
    read(folder, builder)
    assert builder.calls == 1


def test_what_the_manifest_does_not_name_is_not_read(folder: Path) -> None:
    np.save(folder / "stranger.npy", np.zeros(3))
    read(folder, Builder())


def build_slowly(folder: Path, calls: Path) -> None:
    def build() -> dict[str, np.ndarray]:
        with calls.open("a") as file:
            file.write("x")
        time.sleep(0.3)
        return ARRAYS

    read(folder, build)


def test_several_processes_build_it_once(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    arguments = (tmp_path / "cache", tmp_path / "calls")
    processes = [context.Process(target=build_slowly, args=arguments) for _ in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(30)
    assert [process.exitcode for process in processes] == [0] * 4
    assert (tmp_path / "calls").read_text() == "x"


def test_a_builder_killed_half_way_leaves_nothing_that_is_believed(tmp_path: Path) -> None:
    def die() -> dict[str, np.ndarray]:
        unfinished = tmp_path / ".cache.partial"
        unfinished.mkdir()
        (unfinished / "z.npy").write_bytes(b"half of it")
        os.kill(os.getpid(), signal.SIGKILL)
        return {}

    process = multiprocessing.get_context("fork").Process(target=cached_arrays, args=(tmp_path / "cache", die))
    process.start()
    process.join(30)
    assert process.exitcode == -signal.SIGKILL
    builder = Builder()
    read(tmp_path / "cache", builder)
    assert builder.calls == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == [".cache.lock", "cache"]


def test_a_cache_without_room_ends_in_one_line(tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; import numpy as np; from erlangen.errors import UserError\n"
        "from erlangen.datamodules.files.cache import cached_arrays\n"
        "try: cached_arrays(Path(sys.argv[1]), lambda: {'z': np.zeros(100_000)})\n"
        "except UserError as error: sys.exit(str(error))"
    )

    def little_room() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))

    command = [sys.executable, "-c", script, str(tmp_path / "cache")]
    done = subprocess.run(command, preexec_fn=little_room, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert f"cannot write the cache {tmp_path / 'cache'}" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "cache").exists()


def test_a_cache_where_no_folder_can_be_ends_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UserError, match="cannot write the cache .* \\(see paths.data\\)"):
        cached_arrays(tmp_path / "file" / "set" / "cache", Builder())


def test_what_goes_wrong_in_building_is_not_taken_for_a_full_disk(tmp_path: Path) -> None:
    def build() -> dict[str, np.ndarray]:
        raise OSError("the archive is no archive")

    with pytest.raises(OSError, match="no archive"):
        cached_arrays(tmp_path / "cache", build)


def test_the_manifest_holds_a_checksum_of_every_file(folder: Path) -> None:
    hashes = json.loads((folder / "manifest.json").read_text())
    assert sorted(hashes) == ["pos.npy", "z.npy"]
    assert all(len(value) == 64 for value in hashes.values())
