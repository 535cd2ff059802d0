"""The command sweep: a study runs, goes on, is refused, and leaves its table, page and picture."""

import csv
import json
import shutil

import pytest
import yaml
from conftest import QUICK, assert_refused

from cnn_zoo.command_line.run import run
from cnn_zoo.sweep.__main__ import main

SMALL = {
    "trainer.max_epochs": 1,
    "trainer.limit_train_batches": 3,
    "export": None,
    "network_pictures": None,
    "confusion_pictures": None,
}
STUDY = {
    "base": str(QUICK),
    "overrides": SMALL,
    "seeds": [0, 1],
    "arms": {"lenet": {}, "perceptron": {"model.backbone": "mlp"}, "no number": {"model.optimizer_args.lr": 1e30}},
}


def write_study(folder, **keys):
    path = folder / "some.yaml"
    path.write_text(yaml.safe_dump(STUDY | keys, sort_keys=False))
    return path


def rows(out):
    with open(out / "table.csv", newline="") as file:
        return list(csv.DictReader(file))


def sweep(folder, *words, **keys):
    run(main, ["--config", str(write_study(folder, **keys)), "--out", str(folder / "out"), "--jobs", "2", *words])
    return folder / "out"


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The folder of a study of three arms, of which one fails, and its YAML. No test may change it."""
    folder = tmp_path_factory.mktemp("study")
    scheduler = {"model.scheduler": None}  # otherwise it sets the rate of the arm that fails
    return sweep(folder, overrides=SMALL | scheduler)


@pytest.fixture
def study(finished, tmp_path):
    """A copy of the finished study that a test may change."""
    shutil.copytree(finished.parent, tmp_path, dirs_exist_ok=True)
    return tmp_path / "out"


def test_the_table_has_a_row_for_each_run(finished):
    found = rows(finished)
    assert [(row["arm"], row["seed"]) for row in found] == [(arm, seed) for seed in "01" for arm in STUDY["arms"]]
    assert [row["state"] for row in found] == 2 * ["finished", "finished", "failed"]
    card = json.loads((finished / found[1]["run"] / "result.json").read_text())
    assert found[1]["backbone"] == card["backbone"] == "mlp"
    for column in ("params", "macs", "test_accuracy", "val_accuracy"):
        assert float(found[1][column]) == pytest.approx(card[column])
    assert float(found[1]["seconds"]) == card["train_seconds"]


def test_a_run_that_fails_keeps_its_sentence(finished):
    assert "is not finite" in rows(finished)[2]["message"] or "nan" in rows(finished)[2]["message"].lower()


def test_page_and_pictures_are_there(finished):
    page = (finished / "index.html").read_text()
    assert "Study out" in page and "perceptron" in page and page.count("<svg") == 2
    assert (finished / "study.png").is_file()


def test_the_same_command_runs_nothing_twice(study, invoke):
    before = {path: path.stat().st_mtime_ns for path in study.rglob("result.json")}
    result = invoke(main, "--config", study.parent / "some.yaml", "--out", study)
    assert result.status == 0
    assert "4 finished, 2 failed" in result.out
    assert before == {path: path.stat().st_mtime_ns for path in study.rglob("result.json")}


def test_failed_runs_start_once_more_on_request(study, invoke):
    result = invoke(main, "--config", study.parent / "some.yaml", "--out", study, "--retry_failed")
    assert "2 failed runs start once more" in result.out
    assert "no number, seed 0: failed" in result.out
    assert len(rows(study)) == 6


def test_a_folder_that_was_removed_loses_no_number(study, invoke):
    before = rows(study)
    shutil.rmtree(study / before[0]["run"])
    invoke(main, "--config", study.parent / "some.yaml", "--out", study)
    after = rows(study)
    assert after[0]["message"] == "its folder was removed; these figures are from the study's own record"
    assert after[0]["test_accuracy"] == before[0]["test_accuracy"]
    assert not (study / before[0]["run"]).exists()


def test_the_folder_of_another_study_is_refused(study, invoke):
    other = write_study(study.parent, overrides=SMALL)
    assert_refused(invoke(main, "--config", other, "--out", study), "has the run 'lenet, seed 0' with other settings")
    lacking = write_study(study.parent, arms={"other": {}}, overrides=SMALL)
    assert_refused(invoke(main, "--config", lacking, "--out", study), "has the run 'lenet, seed 0', which")


def test_status_and_markdown(study, invoke):
    words = ("--config", study.parent / "some.yaml", "--out", study)
    status = invoke(main, *words, "--status").out
    assert status.startswith("4 finished, 2 failed\nno number, seed 0: failed ")
    table = invoke(main, *words, "--markdown").out
    assert table.startswith("| arm | runs | test accuracy (%) | difference to the baseline [95 %] |")
    assert "| lenet | 2 |" in table and "no number" not in table
    assert_refused(invoke(main, *words[:2], "--out", study / "no", "--status"), "There is no study in")


def test_a_dry_run_lists_the_runs_and_leaves_nothing(tmp_path, invoke, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = write_study(tmp_path, arms={"lenet": {}})
    result = invoke(main, "--config", path, "--dry_run")
    lines = result.out.splitlines()
    assert lines[0].split()[:5] == ["lenet,", "seed", "0", "61,706", "parameters"]
    assert lines[-1].startswith("2 runs, about ")
    assert [file.name for file in tmp_path.iterdir()] == ["some.yaml"]


def test_a_dry_run_estimates_an_arm_with_stages(tmp_path, invoke):
    stages = {"trainer.max_epochs": 3, "finetuning.freeze": "stem", "finetuning.until_epoch": 2}
    result = invoke(main, "--config", write_study(tmp_path, seeds=[0], arms={"staged": stages}), "--dry_run")
    assert result.status == 0 and "1 runs, about " in result.out


def test_a_folder_that_cannot_be_made_is_refused(tmp_path, invoke):
    (tmp_path / "file").write_text("")
    path = write_study(tmp_path, arms={"lenet": {}})
    result = invoke(main, "--config", path, "--out", tmp_path / "file" / "out")
    assert_refused(result, "cannot be written (Not a directory); choose another --out")


def test_a_search_tests_the_selected_run_alone(tmp_path):
    space = {"model.backbone": ["lenet5", "mlp", "simple_cnn"]}
    search = {"space": space, "sampler": "grid", "trials": 3, "constraints": ["params <= 100000"]}
    keys = {"arms": None, "seeds": [0], "search": search}
    out = sweep(tmp_path, overrides=SMALL, **keys)
    found = rows(out)
    assert [row["backbone"] for row in found] == ["lenet5", "simple_cnn"]  # a perceptron has too many parameters
    best = max(found, key=lambda row: float(row["val_accuracy"]))
    assert [row["arm"] for row in found if row["test_accuracy"]] == [best["arm"]]
    assert (out / best["run"] / "result.json").is_file()
    assert best["selected"] == "True"
    assert len(list(out.rglob("result.json"))) == 1
