"""What TensorBoard shows of a run, and its files when a training continues."""

import json
from types import SimpleNamespace

import pytest
from events import read_events
from lightning.pytorch import Trainer
from lightning.pytorch.loggers import CSVLogger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams import plugin_data_pb2

from cnn_zoo.callbacks.tensorboard import TensorBoard, cut_event_files, event_file_sizes, tensorboard


@pytest.fixture
def logger(tmp_path):
    return TensorBoard(tmp_path, "experiment", default_hp_metric=False)


@pytest.fixture
def make_trainer(tmp_path):
    """Make a trainer with these loggers."""
    usual = {"default_root_dir": tmp_path, "enable_checkpointing": False, "enable_progress_bar": False}
    return lambda logger: Trainer(accelerator="cpu", logger=logger, **usual)


# What it shows


@pytest.mark.parametrize("metric", ["accuracy", "loss"])
def test_training_validation_and_test_are_lines_of_one_chart(metric, finished_run):
    tags = set(read_events(finished_run).scalars)
    assert {f"{stage}/curves/{metric}" for stage in ("train", "val", "test")} <= tags


def test_nothing_that_is_constant_is_a_chart(finished_run):
    charts = {tag.partition("/")[2] for tag in read_events(finished_run).scalars}
    assert charts == {"curves/accuracy", "curves/loss", "curves/loss_step", "curves/lr"}


def test_a_metric_of_no_stage_is_shown_under_its_name(logger, tmp_path):
    logger.log_metrics({"seconds": 1.5}, step=3)
    logger.flush()
    (event,) = read_events(tmp_path / "experiment" / "version_0").scalars["seconds"]
    assert (event.step, event.value) == (3, 1.5)


def test_the_learning_rate_of_a_second_group_is_a_chart_of_its_own(logger, tmp_path):
    logger.log_metrics({"lr-SGD": 0.1}, step=0)
    logger.log_metrics({"lr-SGD/pg2": 0.2}, step=0)
    logger.flush()
    assert set(read_events(tmp_path / "experiment" / "version_0").scalars) == {"train/curves/lr", "train/curves/lr pg2"}


def test_the_loss_is_logged_by_step(quick_fit):
    folder, _ = quick_fit("--trainer.max_epochs=2", "--trainer.limit_train_batches=5", "--trainer.log_every_n_steps=3")
    assert [event.step for event in read_events(folder).scalars["train/curves/loss_step"]] == [3, 6, 9]


@pytest.fixture(scope="module")
def row(finished_run):
    """The row of a run in the HParams tab: the values by column, and the metrics."""
    values, metrics = {}, {}
    for path in finished_run.glob("events.out.tfevents.*"):
        events = EventAccumulator(str(path)).Reload()
        try:
            contents = events.PluginTagToContent("hparams").values()
        except KeyError:  # another file has the row
            continue
        for content in contents:
            data = plugin_data_pb2.HParamsPluginData.FromString(content)
            for name, value in data.session_start_info.hparams.items():
                values[name] = value.string_value or value.number_value
            metrics |= {
                info.display_name: f"{info.name.group}/{info.name.tag}" for info in data.experiment.metric_infos
            }
    return values, metrics


def test_the_table_of_runs_has_the_recipe_and_its_costs(row, finished_run):
    card = json.loads((finished_run / "result.json").read_text())
    recipe = {"backbone": "lenet5", "backbone.activation": "relu", "dataset": card["dataset"], "batch_size": 50}
    recipe |= {"epochs": 3, "seed": 0, "precision": "32-true", "optimizer.lr": 0.004, "scheduler.max_lr": 0.004}
    costs = {key: card[key] for key in ("params", "macs", "train_seconds")}
    assert (recipe | costs).items() <= row[0].items()


def test_the_metrics_of_the_table_are_charts_of_the_run(row, finished_run):
    assert set(row[1]) == {"test accuracy", "test loss", "last val accuracy"}
    assert set(row[1].values()) <= set(read_events(finished_run).scalars)


# Its writer


def test_the_writer_is_that_of_its_logger(make_trainer, logger):
    assert tensorboard(make_trainer(logger)) is logger.experiment


def test_the_writer_is_found_among_several_loggers(make_trainer, logger, tmp_path):
    assert tensorboard(make_trainer([CSVLogger(tmp_path), logger])) is logger.experiment


def test_there_is_no_writer_with_another_logger(make_trainer, tmp_path):
    assert tensorboard(make_trainer(CSVLogger(tmp_path))) is None
    assert tensorboard(make_trainer(False)) is None


def test_there_is_no_writer_on_another_rank(logger):
    assert tensorboard(SimpleNamespace(is_global_zero=False, loggers=[logger])) is None


def test_a_logger_that_waits_writes_nothing_until_it_begins(tmp_path):
    logger = TensorBoard(tmp_path, "experiment", default_hp_metric=False, wait=True)
    logger.log_hyperparams({"backbone": "lenet5"})
    logger.experiment.add_scalar("loss", 1.0)
    logger.save()
    assert list(tmp_path.iterdir()) == []
    logger.begin()
    names = {path.name.partition(".")[0] for path in (tmp_path / "experiment" / "version_0").iterdir()}
    assert names == {"events", "hparams"}


# When a training continues


def test_the_sizes_are_those_after_everything_was_written(make_trainer, logger, tmp_path):
    trainer, folder = make_trainer(logger), tmp_path / "experiment" / "version_0"
    logger.log_metrics({"train/loss": 1.0}, step=0)
    sizes = event_file_sizes(trainer, folder)
    assert {name.rpartition("/")[0] for name in sizes} == {"", "train"}
    assert sizes == {name: (folder / name).stat().st_size for name in sizes} == event_file_sizes(trainer, folder)


def test_event_files_are_cut_to_the_checkpoint(tmp_path):
    (tmp_path / "val").mkdir()
    contents = {"1": b"12345", "2": b"123", "3": b"younger"}
    files = {f"events.out.tfevents.{name}": content for name, content in contents.items()}
    files |= {"val/events.out.tfevents.1": b"123", "val/events.out.tfevents.2": b"younger than the checkpoint"}
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    sizes = {"events.out.tfevents.1": 4, "events.out.tfevents.2": 9, "val/events.out.tfevents.1": 2}
    cut_event_files(tmp_path, sizes)
    kept = {str(path.relative_to(tmp_path)): path.read_bytes() for path in tmp_path.rglob("events*")}
    assert kept == {
        "events.out.tfevents.1": b"1234",
        "events.out.tfevents.2": b"123",
        "val/events.out.tfevents.1": b"12",
    }
