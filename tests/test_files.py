"""Files are whole or absent, on a full disk too."""

import errno
import os
import stat

import pytest
import torch
from tensorboard.summary.writer.record_writer import RecordWriter

from cnn_zoo.errors import UserError
from cnn_zoo.files import whole_file

FEW = ["--trainer.limit_train_batches", 5, "--trainer.limit_val_batches", 2, "--trainer.limit_test_batches", 2]


def test_a_file_takes_its_place_when_it_is_whole(tmp_path, monkeypatch):
    path, synced, fsync = tmp_path / "new" / "file.txt", [], os.fsync
    monkeypatch.setattr("os.fsync", lambda fd: (synced.append(stat.S_ISREG(os.fstat(fd).st_mode)), fsync(fd)))
    with whole_file(path) as part:
        part.write_text("1")
        assert not path.exists()
    assert path.read_text() == "1" and synced == [True]


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES])
def test_what_cannot_be_written_leaves_what_was_there(tmp_path, code):
    path = tmp_path / "file.txt"
    path.write_text("old")
    with (
        pytest.raises(UserError, match=f"file.txt cannot be written .{os.strerror(code)}"),
        whole_file(path) as part,
    ):
        part.write_text("half")
        raise OSError(code, os.strerror(code))
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("error", [KeyboardInterrupt(), ValueError("mine"), ConnectionResetError("theirs")])
def test_other_errors_pass_and_leave_nothing_half_written(tmp_path, error):
    with pytest.raises(type(error)), whole_file(tmp_path / "file.txt") as part:
        part.write_text("half")
        raise error
    assert list(tmp_path.iterdir()) == []


def full(name, after):
    """os.replace of a disk that is full when the file `name` is written for the time after `after` times."""
    replace, times = os.replace, []

    def fail(source, target):
        if os.path.basename(target) == name:
            times.append(target)
            if len(times) > after:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        replace(source, target)

    return fail


@pytest.mark.parametrize(
    ("name", "after", "kept"),  # the step up to which the training is kept
    [
        ("config.yaml", 0, None),
        ("hparams.yaml", 0, None),
        ("last.ckpt", 0, None),
        ("last.ckpt", 1, 0),
        ("last.ckpt", 2, 5),
        ("best.ckpt", 0, 0),
        ("metrics.csv", 1, 5),
        ("curves.png", 0, 10),
        ("backbone.safetensors", 0, 10),
        ("model.onnx", 0, 10),
        ("result.json", 0, 10),
    ],
)
def test_a_full_disk_costs_no_finished_epoch(name, after, kept, quick_fit, tmp_path, capsys, monkeypatch):
    exported = name in ("backbone.safetensors", "model.onnx")
    few = FEW if exported else [*FEW, "--export", "null"]
    with monkeypatch.context() as patch, pytest.raises(SystemExit) as exit:
        patch.setattr("os.replace", full(name, after))
        quick_fit(*few)
    err = capsys.readouterr().err
    assert exit.value.code == 2 and "Traceback" not in err
    (said,) = [line for line in err.splitlines() if line.startswith("error: ")]
    assert f"{name} cannot be written (No space left on device)" in said
    assert list(tmp_path.rglob(".*.part*")) == []
    steps = [torch.load(path, weights_only=True)["global_step"] for path in tmp_path.rglob("last.ckpt")]
    assert steps == ([] if kept is None else [kept])
    assert (f"up to step {kept} is kept; go on with: python -m cnn_zoo.fit --config" in err) == (kept is not None)

    folder, card = quick_fit(*few, "--ckpt_path", "last")
    assert card["epochs"] == 2 and len((folder / "metrics.csv").read_text().splitlines()) == 3


def test_a_full_disk_under_tensorboard(quick_fit, capsys, monkeypatch):
    write, records = RecordWriter.write, []

    def fail(self, data):
        records.append(data)
        if len(records) > 12:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        write(self, data)

    with monkeypatch.context() as patch, pytest.raises(SystemExit) as exit:
        patch.setattr(RecordWriter, "write", fail)
        quick_fit(*FEW, "--export", "null", "--trainer.max_epochs", 4)
    err = capsys.readouterr().err
    assert exit.value.code == 2 and "Traceback" not in err and "go on with: " in err
    assert "cannot be written (No space left on device)" in err.splitlines()[-1]
    _, card = quick_fit(*FEW, "--export", "null", "--trainer.max_epochs", 4, "--ckpt_path", "last")
    assert card["epochs"] == 4
