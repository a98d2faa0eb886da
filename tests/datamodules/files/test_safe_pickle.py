"""A pickle is a program: what it asks for is not run."""

import os
import pickle
import sys
from pathlib import Path

import numpy as np
import pytest

from erlangen.datamodules.files import safe_pickle
from erlangen.errors import UserError


class Call:
    """Pickles as a call of any function."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def load(content: bytes):
    return safe_pickle.load(content, safe_pickle.ARRAYS, "the file")


@pytest.mark.parametrize("protocol", range(5))
@pytest.mark.parametrize("dtype", ["u1", "<i8", "<f8", "?"])
def test_arrays_and_containers_come_through(protocol: int, dtype: str) -> None:
    value = {b"data": np.arange(12).reshape(3, 4).astype(dtype), b"labels": [1, 2], b"name": b"caf\xc3\xa9"}
    read = load(pickle.dumps(value, protocol))
    np.testing.assert_array_equal(read[b"data"], value[b"data"])
    assert read[b"data"].dtype == value[b"data"].dtype
    assert (read[b"labels"], read[b"name"]) == (value[b"labels"], value[b"name"])


@pytest.mark.parametrize("protocol", range(6))
def test_a_command_is_refused_and_not_run(tmp_path: Path, protocol: int) -> None:
    marker = tmp_path / "run"
    content = pickle.dumps({b"data": Call(os.system, f"touch {marker}")}, protocol)
    with pytest.raises(UserError, match=rf"{os.system.__module__}\.system.*nothing was run"):
        load(content)
    assert not marker.exists()
    pickle.loads(content)
    assert marker.exists(), "the planted command works where it is run"


@pytest.mark.parametrize("function", [eval, exec, getattr, __import__, np.load, np.fromfile, open])
def test_nothing_off_the_list_is_found(function) -> None:
    with pytest.raises(UserError, match="nothing was run"):
        load(pickle.dumps(Call(function, "1")))


def test_a_name_inside_an_allowed_one_is_refused() -> None:
    content = b"\x80\x04\x8c\x05numpy\x8c\x10ndarray.__base__\x93."
    assert pickle.loads(content) is object
    with pytest.raises(UserError, match=r"numpy\.ndarray\.__base__"):
        load(content)


def test_modules_are_not_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "this", raising=False)
    with pytest.raises(UserError, match="this.d"):
        load(b"cthis\nd\n.")
    assert "this" not in sys.modules


def test_arrays_of_objects_and_other_codecs_are_refused() -> None:
    with pytest.raises(UserError, match="array of object"):
        load(pickle.dumps(np.array([{}, None], dtype=object), 2))
    with pytest.raises(UserError, match="codec"):
        load(pickle.dumps(Call(__import__("_codecs").encode, "x", "rot13"), 2))
    with pytest.raises(UserError, match="outside the file"):
        load(b"Pfile\n.")


@pytest.mark.parametrize("content", [b"", b"\x80\x02}", b"no pickle at all", pickle.dumps(list(range(999)))[:-9]])
def test_a_damaged_pickle_is_named(content: bytes) -> None:
    with pytest.raises(UserError, match="the file is no intact pickle"):
        load(content)


def test_an_entry_may_be_a_stand_in() -> None:
    content = pickle.dumps(Call(os.system, "true"))
    allowed = {(os.system.__module__, "system"): lambda command: f"would run {command}"}
    assert safe_pickle.load(content, allowed, "the file") == "would run true"
