"""The folder that a training leaves."""

import errno
import fcntl
import subprocess
import sys

import pytest
from conftest import QUICK, ROOT

from cnn_zoo.errors import UserError
from cnn_zoo.formats.run_folder import RunFolder, locked, make_run, newest_run, read_config, removed_if_empty


def test_the_paths_are_those_of_a_finished_run(finished_run):
    folder = RunFolder(finished_run)
    files = (folder.config, folder.card, folder.metrics, folder.curves, folder.onnx, folder.weights)
    assert all(path.is_file() for path in (*files, folder.best, folder.last))
    assert folder.previous.parent == folder.checkpoints and not folder.previous.exists()


def test_it_is_found_from_a_checkpoint(finished_run, monkeypatch):
    monkeypatch.chdir(finished_run / "checkpoints")
    assert RunFolder.of_checkpoint("best.ckpt").config.samefile(finished_run / "config.yaml")


def test_the_configuration_is_that_of_the_run(finished_run):
    config = RunFolder(finished_run).read_config()
    assert config["model"]["backbone"] == "lenet5" and config["trainer"]["max_epochs"] == 3
    assert read_config(QUICK)["data"]["init_args"] == {"sample": True, "batch_size": 50}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "There is no configuration"),
        (b"model: [", "cannot be read"),
        (b"model: \xff\xfe", "cannot be read"),
        (b"[1, 2]", "does not contain keys with values"),
        (b"", "does not contain keys with values"),
        (b"model: !!python/object/apply:os.mkdir [ran]", "cannot be read"),
        (
            b"a: &a [x, x]\n" + b"".join(b"%c: &%c [*%c, *%c]\n" % (c + 1, c + 1, c, c) for c in range(97, 121)),
            "100,000",
        ),
        (b"a: &a [*a]", "those of its aliases included"),
        (b"a: " + 60 * b"[" + 60 * b"]", "a depth of 50"),
        (b"a: " + 1_000_000 * b"x", "more than 1 MB"),
    ],
)
def test_what_is_not_a_configuration_is_refused(content, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = RunFolder(tmp_path)
    if content is not None:
        folder.config.write_bytes(content)
    with pytest.raises(UserError, match=message) as refusal:
        folder.read_config()
    assert str(folder.config) in str(refusal.value) and "\n" not in str(refusal.value)
    assert not (tmp_path / "ran").exists()


def test_a_configuration_may_have_aliases(tmp_path):
    (tmp_path / "config.yaml").write_text("a: &a {b: 1}\nc: *a\nd: {<<: *a, e: 2}\n")
    assert read_config(tmp_path / "config.yaml") == {"a": {"b": 1}, "c": {"b": 1}, "d": {"b": 1, "e": 2}}


def test_the_newest_run_has_the_highest_number_and_a_last_checkpoint(tmp_path):
    for name in ("version_2", "version_10", "version_11", "version_x", "other"):
        RunFolder(tmp_path / name).checkpoints.mkdir(parents=True)
    assert newest_run(tmp_path) is None
    for name in ("version_2", "version_10", "version_x", "other"):
        RunFolder(tmp_path / name).last.touch()
    assert newest_run(tmp_path) == RunFolder(tmp_path / "version_10")
    assert newest_run(tmp_path / "nothing") is None


def test_a_new_run_has_the_next_number_and_a_folder(tmp_path):
    (tmp_path / "a" / "b" / "version_7").mkdir(parents=True)
    (tmp_path / "a" / "b" / "version_x").mkdir()
    assert [make_run(tmp_path / "a" / "b").path.name for _ in range(2)] == ["version_8", "version_9"]
    assert make_run(tmp_path / "new").path == tmp_path / "new" / "version_0"
    assert (tmp_path / "new" / "version_0").is_dir()


def test_two_processes_get_two_folders(tmp_path, monkeypatch):
    make_run(tmp_path)
    monkeypatch.setattr("cnn_zoo.formats.run_folder.runs_of", lambda experiment: {})  # as before the other's folder
    assert make_run(tmp_path).path.name == "version_1"


@pytest.mark.parametrize("file", [None, "metrics.csv"])
def test_a_run_that_fails_leaves_its_folder_only_if_a_file_is_in_it(file, tmp_path):
    run = make_run(tmp_path / "experiment")
    with pytest.raises(KeyboardInterrupt), removed_if_empty(run):
        if file:
            (run.path / file).touch()
        raise KeyboardInterrupt
    assert run.path.is_dir() == (tmp_path / "experiment").is_dir() == bool(file)


# Processes at the same time

CODE = """
import pathlib, sys
from cnn_zoo.formats.run_folder import RunFolder, locked, make_run
folder = pathlib.Path(sys.argv[1])
"""
MAKE_RUNS = """
print(flush=True)
sys.stdin.readline()
for _ in range(20):
    print(make_run(folder).path.name)
"""
HOLD_THE_LOCK = """
with locked(RunFolder(folder)):
    print(flush=True)
    sys.stdin.read()
"""


def start(code, folder):
    """Start a process; return it when it waits for its input."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    process = subprocess.Popen([sys.executable, "-c", CODE + code, folder], cwd=ROOT, **pipes)
    process.stdout.readline()
    return process


def test_no_two_processes_make_the_same_folder(tmp_path):
    processes = [start(MAKE_RUNS, tmp_path / "experiment") for _ in range(3)]
    for process in processes:
        process.stdin.write("\n")
        process.stdin.flush()
    names = [name for process in processes for name in process.communicate()[0].split()]
    assert sorted(names) == sorted(f"version_{number}" for number in range(60))


def test_a_process_locks_its_folder_until_it_ends_even_if_it_is_killed(tmp_path):
    run, process = RunFolder(tmp_path), start(HOLD_THE_LOCK, tmp_path)
    with pytest.raises(UserError, match=f"Process {process.pid} on .* trains in {tmp_path}; wait"), locked(run):
        pass
    process.kill()
    process.communicate()
    assert run.lock.exists()
    with locked(run):
        pass
    assert not run.lock.exists()


def test_a_disk_without_locks_costs_one_line(tmp_path, monkeypatch, capsys):
    def refuse(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "lockf", refuse)
    with locked(RunFolder(tmp_path)):
        pass
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"{tmp_path} cannot be locked (No locks available); take care")
