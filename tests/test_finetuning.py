"""Parts of the network stay frozen for some epochs, exactly, also when the training continues."""

import json

import pytest
import torch
from conftest import QUICK, assert_refused, fit_quick
from lightning.pytorch import Callback
from torch import nn

from cnn_zoo import create_model, fit, load_backbone, test
from cnn_zoo.callbacks.finetuning import Finetuning
from cnn_zoo.errors import UserError

OFF = ["--network_pictures=null", "--confusion_pictures=null", "--calibration=null", "--learning_rate_monitor=null"]
FEW = ["--trainer.limit_train_batches=3", "--trainer.limit_val_batches=1", "--trainer.limit_test_batches=1"]
SIMPLE = ["--model.backbone=simple_cnn", "--model.optimizer_args.weight_decay=0.1", *OFF, *FEW]  # with batch norms
STAGED = [*SIMPLE, "--export=null", "--trainer.max_epochs=3", "--data.augment.flip=alternate"]
STAGED += ["--finetuning.freeze=[stem,stages]", "--finetuning.until_epoch=[2,1]", "--finetuning.rates={stem: 0.1}"]
NET = create_model("simple_cnn", num_classes=10, in_channels=1, image_size=28)


def saved(root, name="last"):
    (path,) = root.rglob(f"{name}.ckpt")
    return torch.load(path, weights_only=True)


# What is frozen


@pytest.mark.parametrize(
    ("freeze", "until", "by_epoch"),
    [
        ("stem", None, [["stem"]] * 4),
        ("stem,stages.0", 2, [["stem", "stages.0"]] * 2 + [[]] * 2),
        (["stem", "stages.0"], [3, 1], [["stem", "stages.0"], ["stem"], ["stem"], []]),
        ("stem, head", [None, 1], [["stem", "head"], ["stem"], ["stem"], ["stem"]]),
        (None, None, [[]] * 4),
    ],
)
def test_what_is_frozen_follows_from_the_epoch(freeze, until, by_epoch):
    callback = Finetuning(freeze, until)
    assert [callback.frozen_parts(epoch) for epoch in range(4)] == by_epoch


class Watch(Callback):
    """A callback that notes what learns in each step: gradients, modes of batch norms, and weights after it."""

    def __init__(self):
        self.steps = []

    def on_train_batch_end(self, trainer, task, *_):
        model = task.backbone
        self.steps.append(
            {
                "epoch": trainer.current_epoch,
                "gradients": {name.split(".")[0] for name, p in model.named_parameters() if p.requires_grad},
                "training": {name.split(".")[0] for name, m in model.named_modules() if norms(m) and m.training},
                "tensors": {name: tensor.clone() for name, tensor in model.state_dict().items()},
            }
        )


def norms(module):
    return isinstance(module, nn.BatchNorm2d)


@pytest.fixture(scope="module")
def staged(tmp_path_factory):
    """A staged training, never stopped: its checkpoints' folder."""
    root = tmp_path_factory.mktemp("staged")
    fit_quick(root, *STAGED, "--ema.decay=0.5")
    return root


def test_parts_thaw_at_their_epochs(train):
    watch = Watch()
    train("--config", QUICK, *[word for word in STAGED if "export" not in word], callbacks=[watch])
    learning = [{"head"}, {"stages", "head"}, {"stem", "stages", "head"}]
    all_norms = {name.split(".")[0] for name, module in NET.named_modules() if norms(module)}
    before = None
    for step in watch.steps:
        epoch = step["epoch"]
        assert step["gradients"] == learning[epoch] and step["training"] == all_norms & learning[epoch]
        changed = {n.split(".")[0] for n, t in step["tensors"].items() if before and not torch.equal(t, before[n])}
        assert before is None or changed == learning[epoch]
        before = step["tensors"]
    assert len(watch.steps) == 9


def test_the_average_of_frozen_weights_is_the_weights(tmp_path):
    words = [*SIMPLE, "--export=null", "--finetuning.freeze=body", "--ema.decay=0.3", "--trainer.max_epochs=2"]
    fit_quick(tmp_path, *words)
    checkpoint = saved(tmp_path)
    for name, average in checkpoint["state_dict"].items():
        same = torch.equal(average, checkpoint["current_model_state"][name])
        assert same == ("head" not in name), name


# Exactly continued


def outcome(root):
    checkpoint = saved(root)
    (metrics,) = root.rglob("metrics.csv")
    (optimizer,) = checkpoint["optimizer_states"]
    states = [checkpoint["state_dict"], checkpoint["current_model_state"], optimizer["state"]]
    groups = [{key: value for key, value in group.items() if key != "params"} for group in optimizer["param_groups"]]
    return metrics.read_text(), groups, states


@pytest.mark.parametrize(("epoch", "batch"), [(0, 2), (1, 0), (1, 1)])  # the edge, both sides; inside
def test_a_stop_inside_and_at_the_edge_of_a_stage_changes_nothing(epoch, batch, staged, invoke, tmp_path):
    words = ["--config", QUICK, *STAGED, "--ema.decay=0.5", "--trainer.default_root_dir", tmp_path]
    stop = json.dumps([{"class_path": "conftest.StopAt", "init_args": {"epoch": epoch, "batch": batch}}])
    assert invoke(fit.main, *words, f"--trainer.callbacks={stop}").status == 143
    assert invoke(fit.main, *words, "--ckpt_path=last").status == 0
    (metrics, groups, states), (old_metrics, old_groups, old_states) = outcome(tmp_path), outcome(staged)
    assert (metrics, groups) == (old_metrics, old_groups)
    torch.testing.assert_close(states, old_states, rtol=0, atol=0)


def test_another_stage_is_refused_when_a_training_continues(staged, invoke):
    (last,) = staged.rglob("last.ckpt")
    words = ["--config", last.parents[1] / "config.yaml", "--ckpt_path", last, "--finetuning.until_epoch=[2,2]"]
    assert_refused(invoke(fit.main, *words), "finetuning.until_epoch is [2, 2], but that of")


# What the run tells


def test_frozen_parameters_are_counted_and_listed(tmp_path):
    _, card = fit_quick(tmp_path, *SIMPLE, "--export=null", "--finetuning.freeze=body", "--trainer.max_epochs=1")
    body = sum(p.numel() for name, p in NET.named_parameters() if not name.startswith("head."))
    total = sum(p.numel() for p in NET.parameters())
    assert card["frozen"] == [{"part": "body", "until_epoch": None, "params": body}]
    assert (card["params"], card["trainable_params"]) == (total, total - body)


def test_the_stages_are_told(invoke, tmp_path):
    out = invoke(fit.main, "--config", QUICK, *STAGED, "--trainer.default_root_dir", tmp_path).out
    assert "Frozen from epoch 1 on: stem, stages (" in out
    assert "Frozen from epoch 2 on: stem (" in out and "Frozen from epoch 3 on: nothing (0 of" in out
    assert "stem until epoch 2 (" in out


# A run that started from another one


@pytest.fixture
def tuned(finished_run, tmp_path):
    """A fine-tuned run in another folder, after the run that it started from was deleted."""
    source = tmp_path / "source" / "checkpoints"
    source.mkdir(parents=True)
    best = source / "best.ckpt"
    best.write_bytes((finished_run / "checkpoints" / "best.ckpt").read_bytes())
    words = ["--data=MNIST", "--data.sample=true", *OFF, *FEW, "--finetuning.freeze=body"]
    folder, card = fit_quick(tmp_path / "runs", f"--model.weights={source.parent}", *words)
    best.unlink()
    moved = tmp_path / "elsewhere"
    folder.rename(moved)
    return moved, card, finished_run


def test_what_a_fine_tuned_run_leaves_stands_alone(tuned, invoke, tmp_path, monkeypatch):
    folder, card, source = tuned
    monkeypatch.chdir(tmp_path)
    best = folder / "checkpoints" / "best.ckpt"
    for path in (best, folder / "backbone.safetensors"):
        body = load_backbone(path).stem.state_dict().items()
        theirs = load_backbone(source / "backbone.safetensors").stem.state_dict()
        assert all(torch.equal(tensor, theirs[name]) for name, tensor in body)
    result = invoke(test.main, "--config", folder / "config.yaml", "--ckpt_path", best, *FEW)
    assert result.status == 0 and json.loads(result.out.splitlines()[-1])["test_accuracy"] == card["test_accuracy"]
    words = ["--config", folder / "config.yaml", "--ckpt_path", folder / "checkpoints" / "last.ckpt"]
    assert invoke(fit.main, *words, "--trainer.max_epochs=2").status == 0
    again = torch.load(best, weights_only=True)["hyper_parameters"]["weights"]
    assert again == card["weights"] and len(again["sha256"]) == 64


# Refusals


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            "--finetuning.freeze=stme",
            "finetuning.freeze names the part 'stme', which does not exist in this network; did",
        ),
        (
            "--finetuning.freeze=body,head",
            "finetuning.freeze is body, head, which is the whole network; leave a part out",
        ),
        ("--finetuning.freeze=stem --finetuning.until_epoch=2", "is 2 for stem, but the training has 2 epochs, so it"),
        ("--finetuning.freeze=stem --finetuning.until_epoch=0", "finetuning.until_epoch is 0 for stem; it must be at"),
        ("--finetuning.until_epoch=1", "finetuning.until_epoch is 1, but nothing is frozen; set finetuning.freeze."),
        ("--finetuning.freeze=stem --finetuning.until_epoch=[1,2]", "has 2 numbers, but finetuning.freeze has 1 parts"),
        ("--finetuning.rates={foot:0.1}", "finetuning.rates names the part 'foot', which does not exist"),
        ("--finetuning.rates={head:0}", "finetuning.rates.head is 0.0; it must be above 0"),
    ],
)
def test_refusals_leave_nothing(words, message, invoke, tmp_path):
    words = [word.replace(":0", ": 0") for word in words.split()]
    root = ["--trainer.default_root_dir", tmp_path / "runs", "--trainer.max_epochs=2"]
    assert_refused(invoke(fit.main, "--config", QUICK, *root, *words), message)
    assert not (tmp_path / "runs").exists()


THAW = ["--finetuning.freeze=stem", "--finetuning.until_epoch=1"]


def test_a_part_that_thaws_after_the_last_step_is_refused(invoke, tmp_path):
    words = ["--config", QUICK, *THAW, "--trainer.max_steps=36", "--trainer.default_root_dir", tmp_path]  # an epoch
    message = "finetuning.until_epoch is 1 for stem, but the training has 1 epochs, so it would never learn"
    assert_refused(invoke(fit.main, *words), message)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("accumulated", [1, 2])
def test_a_part_may_thaw_in_the_last_epoch_that_the_steps_reach(accumulated, train):
    words = [*THAW, "--trainer.max_epochs=-1", "--trainer.max_steps=4", "--model.scheduler=null"]
    cli = train("--config", QUICK, *SIMPLE, *words, f"--trainer.accumulate_grad_batches={accumulated}")
    assert cli.trainer.global_step == 4 and all(p.requires_grad for p in cli.model.backbone.parameters())


def test_a_network_may_have_parameters_that_never_learn():
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    model[1].requires_grad_(False)
    with pytest.raises(UserError, match="which is the whole network"):
        Finetuning("0").check(model, 3)
