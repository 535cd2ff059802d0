"""One training whose largest network contains all others."""

import json

import pytest
import torch
import yaml
from conftest import assert_refused
from lightning.pytorch import Callback

from cnn_zoo import export, fit, load_backbone, test
from cnn_zoo.analysis.elastic import make_transforms
from cnn_zoo.errors import UserError
from cnn_zoo.tasks import Supernet, supernet

SPACE = {"resolutions": [8, 12], "kernels": [3, 5], "depths": [1, 2], "expands": [2, 3]}
PHASES = [
    {"share": 2},
    {"share": 1, "rate": 0.5, "kernel": 2},
    {"share": 2, "rate": 0.5, "kernel": 2, "depth": 2, "subnets": 2},
    {"share": 2, "rate": 0.5, "kernel": 2, "depth": 2, "expand": 2, "subnets": 2},
]
SANDWICH = [{"share": 1, "kernel": 2, "depth": 2, "expand": 2, "sandwich": True}]
SGD = {"lr": 0.1, "momentum": 0.9, "weight_decay": 1e-4}
FEW = {"limit_train_batches": 7, "limit_val_batches": 2, "limit_test_batches": 2}
RECIPE = {
    "task": "Supernet",
    "model": {"space": SPACE, "phases": PHASES, "optimizer_args": SGD},
    "data": {"class_path": "MNIST", "init_args": {"sample": True, "batch_size": 16, "augment": {"crop": 2}}},
    "trainer": {"max_epochs": 2, "logger": False, "enable_progress_bar": False, **FEW},
    **{name: None for name in ("early_stopping", "export", "confusion_pictures", "network_pictures", "calibration")},
}
SIZES = {"num_classes": 10, "in_channels": 1, "image_size": 28}


@pytest.fixture(autouse=True)
def few_calibration_images(monkeypatch):
    monkeypatch.setattr(supernet, "CALIBRATION_IMAGES", 40)
    monkeypatch.setattr(supernet, "PLAIN_BATCH", 20)


@pytest.fixture
def config(tmp_path):
    """Return the path of the recipe, with other values for some keys of its groups."""

    def write(**changes):
        recipe = {key: value | changes[key] if key in changes else value for key, value in RECIPE.items()}
        path = tmp_path / "ofa.yaml"
        path.write_text(yaml.safe_dump(recipe))
        return path

    return write


def make(**arguments):
    """Return a task that no trainer has."""
    return Supernet(**SIZES, **{"space": SPACE, "phases": PHASES, "optimizer_args": {"lr": 0.1}} | arguments)


class Watch(Callback):
    """A callback that notes when each phase is entered, and how the network and its teacher are then."""

    def __init__(self):
        self.entered, self.momenta, self.sorted, self.teacher = [], [], [], None

    def on_fit_start(self, trainer, task):
        enter, sort = task.enter, supernet.sort_channels
        supernet.sort_channels = lambda network, expand: (self.sorted.append(expand), sort(network, expand))

        def watched(number):
            before = {name: tensor.clone() for name, tensor in task.backbone.named_parameters()}
            enter(number)
            self.entered.append((number, trainer.global_step))
            self.momenta.append(len(trainer.optimizers[0].state))
            self.teacher = self.teacher or before

        task.enter = watched
        self.restore = lambda: setattr(supernet, "sort_channels", sort)

    def on_fit_end(self, trainer, task):
        self.restore()


# What is trained


@pytest.mark.parametrize("number", range(4))
def test_a_phase_draws_from_its_open_choices(number):
    task = make()
    task.phase = number
    phase = task.phases[number]
    opened = task.space.opened(phase.kernel, phase.depth, phase.expand)
    drawn = [list(task.drawn(step)) for step in range(30)]
    assert {len(subnets) for subnets in drawn} == {phase.subnets}
    assert all(subnet in opened for subnets in drawn for subnet in subnets)
    assert {subnet.resolution for subnets in drawn for subnet in subnets} == {8, 12}


def test_the_draws_follow_from_seed_and_step_alone():
    torch.manual_seed(5)
    task, other = make(phases=SANDWICH, distill=0.5), make(phases=SANDWICH, distill=0.5)
    drawn = [list(task.drawn(step)) for step in range(8)]
    torch.rand(100)
    assert drawn == [list(other.drawn(step)) for step in range(8)]
    torch.manual_seed(6)
    assert drawn != [list(task.drawn(step)) for step in range(8)]


def test_a_sandwich_is_the_largest_the_smallest_and_some_between():
    task = make(phases=SANDWICH)
    largest, smallest, between = task.drawn(0)
    assert (largest, smallest) == (task.space.largest, task.space.smallest) and between in task.space
    assert task.teacher is None


def batch_of_four():
    torch.manual_seed(0)
    return torch.rand(4, 1, 28, 28), torch.tensor([0, 1, 2, 3])


def step_of(task, monkeypatch, step=0):
    """Return the loss of a step outside of a trainer, after its gradients."""
    monkeypatch.setattr(Supernet, "global_step", step)
    loss = task.training_step(batch_of_four(), 0)
    loss.backward()
    return loss


def test_the_first_phase_trains_no_transform_and_needs_no_teacher(monkeypatch):
    task = make(space=SPACE | {"resolutions": [12]})
    loss = step_of(task, monkeypatch)
    assert all(parameter.grad is not None for parameter in task.backbone.parameters())
    assert all(matrix.grad is None for matrix in task.transforms.values())
    images, labels = batch_of_four()
    torch.testing.assert_close(loss, task.loss(task.backbone(images), labels))


def test_in_a_later_phase_half_of_the_loss_is_the_comparison_with_the_teacher(monkeypatch):
    task = make()
    task.phase = 1
    assert not any(parameter.requires_grad for parameter in task.teacher.parameters())
    taught = step_of(task, monkeypatch)
    (architecture,) = task.drawn(0)
    images, labels = batch_of_four()
    logits = task.skeleton(architecture, supernet.subnet_weights(*task.weights(), architecture), images)
    answers = task.teacher.eval()(images).softmax(1)
    soft = -(answers * logits.log_softmax(1)).sum(1).mean()
    torch.testing.assert_close(taught, (soft + task.loss(logits, labels)) / 2)


def test_all_unused_weights_have_no_gradient(monkeypatch):
    task = make(phases=[PHASES[-1]], distill=0.0)
    step_of(task, monkeypatch)
    used = {f"{i}_{j}" for subnet in task.drawn(0) for i, stage in enumerate(subnet.stages) for j in range(len(stage))}
    for name, parameter in task.backbone.named_parameters():
        words = name.split(".")
        assert (parameter.grad is None) == (words[0] == "stages" and f"{words[1]}_{words[2]}" not in used)


def test_the_largest_network_of_a_sandwich_teaches_without_a_gradient_of_its_own(monkeypatch):
    losses = []
    task = make(phases=SANDWICH, distill=1.0)
    monkeypatch.setattr(
        supernet.F, "cross_entropy", lambda logits, target, **_: (losses.append(target), logits.sum())[1]
    )
    step_of(task, monkeypatch)
    hard, soft = [t for t in losses if t.ndim == 1], [t for t in losses if t.ndim == 2]
    assert len(hard) == 3 and len(soft) == 2 and not any(target.requires_grad for target in soft)


# A whole training


@pytest.mark.parametrize("accumulated", [1, 2])
def test_each_phase_is_entered_once_and_momenta_are_forgotten(accumulated, train, config):
    watch = Watch()
    words = ["--config", config(), f"--trainer.accumulate_grad_batches={accumulated}"]
    cli = train(*words, callbacks=[watch])
    ends = {1: [(1, 4), (2, 6), (3, 10)], 2: [(1, 2), (2, 3), (3, 6)]}[accumulated]
    assert watch.entered == ends and watch.sorted == [3] and watch.momenta == [0, 0, 0]
    teacher = dict(cli.model.teacher.named_parameters())
    assert all(torch.equal(teacher[name], tensor) for name, tensor in watch.teacher.items())


def test_sixty_steps_teach_the_smallest_network(train, config):
    space = SPACE | {"depths": [1]}
    model = {"space": space, "phases": SANDWICH, "optimizer_args": {"lr": 0.1, "momentum": 0.9}}
    trainer = {"max_epochs": 2, "limit_train_batches": 30, "limit_val_batches": 6}
    cli = train("--config", config(model=model, trainer=trainer))
    metrics = cli.trainer.callback_metrics
    assert metrics["val/accuracy_smallest"] > 0.3 and metrics["val/accuracy_largest"] > 0.3


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The run folder of the recipe."""
    root = tmp_path_factory.mktemp("trained")
    (root / "ofa.yaml").write_text(yaml.safe_dump(RECIPE))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(supernet, "CALIBRATION_IMAGES", 40)
        patch.setattr(supernet, "PLAIN_BATCH", 20)
        fit.main(["--config", str(root / "ofa.yaml"), "--trainer.default_root_dir", str(root)])
    return root / "ofa" / "version_0"


def test_the_best_checkpoint_is_that_of_the_largest_network(trained, invoke):
    card = json.loads((trained / "result.json").read_text())
    best = trained / "checkpoints" / "best.ckpt"
    network = load_backbone(best)
    assert card["backbone_args"] == {"architecture": "12px 5x3 5x3 | 5x3 5x3 | 5x3 5x3"}
    assert card["params"] == sum(parameter.numel() for parameter in network.parameters())
    saved = torch.load(best, weights_only=True)["state_dict"]
    statistics = saved["backbone.stem.1.1.running_var"]
    assert torch.equal(network.stem[1][1].running_var, statistics) and not (statistics == 1).any()
    words = ["--config", trained / "config.yaml", "--ckpt_path", best]
    assert json.loads(invoke(test.main, *words).out.splitlines()[-1])["test_accuracy"] == card["test_accuracy"]


def test_the_largest_network_is_exported(trained, invoke, tmp_path):
    best = trained / "checkpoints" / "best.ckpt"
    out = tmp_path / "largest.safetensors"
    result = invoke(export.main, "--ckpt", best, "--format", "safetensors", "--out", out)
    assert result.status == 0, result.err
    images = torch.rand(2, 1, 28, 28)
    with torch.no_grad():
        torch.testing.assert_close(load_backbone(out)(images), load_backbone(best)(images))


def test_a_run_contains_all_that_a_search_needs(trained):
    header = (trained / "metrics.csv").read_text().splitlines()[0]
    assert {"val/accuracy", "val/accuracy_largest", "val/accuracy_smallest"} <= set(header.split(","))
    checkpoint = torch.load(trained / "checkpoints" / "best.ckpt", weights_only=True)
    assert checkpoint["hyper_parameters"]["space"] == SPACE
    names = {f"transforms.{name}" for name in make_transforms(make().space)}
    assert names <= set(checkpoint["state_dict"])


# A training that was stopped


def numbers_of(root):
    """Return metrics.csv and all numbers of the last checkpoint that a training depends on."""
    (metrics,), (last,) = root.rglob("metrics.csv"), root.rglob("last.ckpt")
    checkpoint = torch.load(last, weights_only=True)
    (optimizer,) = checkpoint["optimizer_states"]
    return metrics.read_text(), [checkpoint["phase"], checkpoint["state_dict"], optimizer["state"]]


@pytest.mark.parametrize(
    ("stop", "status"),
    [({"batch": 2}, 143), ({"batch": 4}, 143), ({"batch": 4, "kill": True}, 130)],
    ids=["at the edge of a phase", "inside a phase", "killed"],
)
def test_a_stopped_training_ends_as_one_that_was_never_stopped(stop, status, trained, config, invoke, tmp_path):
    words = ["--config", config(), "--trainer.default_root_dir", tmp_path]
    callbacks = json.dumps([{"class_path": "test_resume.StopAt", "init_args": stop}])
    assert invoke(fit.main, *words, f"--trainer.callbacks={callbacks}").status == status
    assert invoke(fit.main, *words, "--ckpt_path=last").status == 0
    metrics, numbers = numbers_of(tmp_path)
    whole_metrics, whole_numbers = numbers_of(trained)
    assert metrics == whole_metrics
    torch.testing.assert_close(numbers, whole_numbers, rtol=0, atol=0)


# Refusals


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"distill": 2}, "model.distill is 2; it must be from 0"),
        ({"phases": [PHASES[-1]]}, "trains subnets before there is a teacher; set sandwich: true"),
        ({"optimizer_args": {"lr": 0.0}}, "model.optimizer_args.lr is 0.0; a learning rate is a number above 0"),
        ({"warmup": 2}, "model.warmup is 2; it must be a number from 0 to 1"),
    ],
)
def test_arguments_that_cannot_work_are_refused(arguments, message):
    with pytest.raises(UserError, match=message):
        make(**arguments)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--ema.decay=0.9"], "ema is set, but does not work with the task Supernet"),
        (["--finetuning.freeze=stem"], "finetuning is set, but does not work with the task Supernet"),
        (["--prune.macs=0.5"], "prune is set, but does not work with the task Supernet"),
        (["--data.progressive=16"], "data.progressive is set, but does not work with the task Supernet"),
        (["--trainer.strategy=ddp"], "use ddp_find_unused_parameters_true"),
        (["--trainer.accelerator=cpu", "--trainer.devices=2"], "trainer.strategy is auto on 2 devices, but a step"),
        (["--model.compile=true"], "There is no key 'model.compile'"),
        (["--task=LeNet"], "'LeNet' cannot be imported"),
        (["--task=torch.nn.ReLU"], "task is 'torch.nn.ReLU'; it must be Classification, Supernet"),
        (["--task=Classification"], "There is no key 'model.space"),
    ],
)
def test_keys_that_do_not_work_with_a_supernet_are_refused(words, message, invoke, config, tmp_path):
    result = invoke(fit.main, "--config", config(), *words, "--trainer.default_root_dir", tmp_path)
    assert_refused(result, message)
