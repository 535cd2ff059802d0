"""Files are complete or absent."""

import csv
import errno
import os
import stat

import pytest

from cnn_zoo.errors import UserError
from cnn_zoo.files import NOT_WRITABLE, NotWritableError, refuse_existing, whole_file, write_csv


def test_a_file_takes_its_place_once_it_is_complete(tmp_path):
    path = tmp_path / "new" / "file.txt"
    with whole_file(path) as part:
        part.write_text("1")
        assert not path.exists() and part.suffix == ".txt"
    assert path.read_text() == "1" and list(path.parent.iterdir()) == [path]


def test_a_file_is_on_the_disk_before_it_takes_its_place(tmp_path, monkeypatch):
    path, synced, fsync = tmp_path / "file.txt", [], os.fsync

    def record(descriptor):
        synced.append((stat.S_ISREG(os.fstat(descriptor).st_mode), path.exists()))
        fsync(descriptor)

    monkeypatch.setattr("os.fsync", record)
    with whole_file(path) as part:
        part.write_text("1")
    assert synced == [(True, False)]


@pytest.mark.parametrize("code", sorted(NOT_WRITABLE), ids=lambda code: errno.errorcode[code])
def test_a_file_that_cannot_be_written_leaves_the_old_one(code, tmp_path):
    path = tmp_path / "file.txt"
    path.write_text("old")
    with pytest.raises(UserError) as raised, whole_file(path) as part:
        part.write_text("half")
        raise OSError(code, os.strerror(code))
    message = f"{path} cannot be written ({os.strerror(code)}); the file that was there is unchanged."
    assert str(raised.value) == message
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


def test_a_folder_that_cannot_be_made_is_told(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(NotWritableError, match="a.txt cannot be written"), whole_file(tmp_path / "file" / "a.txt"):
        pass


def test_the_message_names_the_file_that_the_user_asked_for(tmp_path):
    with (
        pytest.raises(UserError, match="outer.txt cannot be written .No space"),
        whole_file(tmp_path / "outer.txt"),
        whole_file(tmp_path / "inner.txt"),
    ):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("error", [KeyboardInterrupt(), ValueError("mine"), ConnectionResetError("theirs")])
def test_other_errors_pass_and_leave_nothing(error, tmp_path):
    with pytest.raises(type(error)) as raised, whole_file(tmp_path / "file.txt") as part:
        part.write_text("half")
        raise error
    assert raised.value is error and list(tmp_path.iterdir()) == []


def test_a_csv_file_has_the_columns_of_its_last_row(tmp_path):
    write_csv(tmp_path / "rows.csv", [{"a": 1, "b": "x, y", "old": 0}, {"a": 2, "b": 'with "quotes"'}])
    with open(tmp_path / "rows.csv", newline="", encoding="utf-8") as file:
        assert list(csv.DictReader(file)) == [{"a": "1", "b": "x, y"}, {"a": "2", "b": 'with "quotes"'}]


def test_an_existing_file_is_replaced_only_on_request(tmp_path):
    refuse_existing(tmp_path / "file.txt", overwrite=False)
    (tmp_path / "file.txt").touch()
    refuse_existing(tmp_path / "file.txt", overwrite=True)
    with pytest.raises(UserError, match="file.txt already exists; add --overwrite to replace it"):
        refuse_existing(tmp_path / "file.txt", overwrite=False)
