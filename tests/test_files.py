"""Files are complete or absent."""

import csv
import errno
import os
import stat

import pytest

from cnn_zoo.errors import UserError
from cnn_zoo.files import (
    NOT_WRITABLE,
    NotWritableError,
    printable,
    read_text,
    require_writable,
    whole_file,
    write_csv,
)


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
    require_writable(tmp_path / "file.txt", overwrite=False)
    (tmp_path / "file.txt").touch()
    require_writable(tmp_path / "file.txt", overwrite=True)
    with pytest.raises(UserError, match="file.txt already exists; add --overwrite to replace it"):
        require_writable(tmp_path / "file.txt", overwrite=False)


def test_a_place_that_is_impossible_is_refused_before_the_work(tmp_path):
    (tmp_path / "file").touch()
    require_writable(tmp_path / "new" / "folder" / "file.txt", overwrite=False)
    assert not (tmp_path / "new").exists()
    with pytest.raises(UserError, match="file/new.txt cannot be written"):
        require_writable(tmp_path / "file" / "new.txt", overwrite=True)


def test_a_text_is_read_up_to_its_limit(tmp_path):
    (tmp_path / "file.txt").write_text("größe", encoding="utf-8")
    assert read_text(tmp_path / "file.txt", 7) == "größe"
    with pytest.raises(UserError, match="file.txt has more than 6e-06 MB, which is the limit for this file"):
        read_text(tmp_path / "file.txt", 6)


def test_a_pipe_a_device_and_a_folder_are_not_read(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "zero").symlink_to("/dev/zero")
    for path in (tmp_path / "pipe", tmp_path / "zero", tmp_path):
        with pytest.raises(UserError, match=f"{path.name} is not a regular file"):
            read_text(path, 10)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("größe 1/2.png", "größe 1/2.png"),
        ("a\nb\0", "a\\nb\\x00"),
        ("\x1b[31m", "\\x1b[31m"),
        (os.fsdecode(b"caf\xe9"), "caf\\xe9"),
        ("\ud800", "\\ud800"),
    ],
)
def test_names_are_shown_as_text(text, shown):
    assert printable(text) == shown
    assert shown.encode()


def test_a_name_that_is_no_text_is_no_reason_to_lose_a_csv_file(tmp_path):
    write_csv(tmp_path / "rows.csv", [{"file": os.fsdecode(b"caf\xe9")}])
    assert (tmp_path / "rows.csv").read_text(encoding="utf-8") == "file\ncaf\\udce9\n"
