"""The README and docs/ are true: their commands and snippets run, and their tables are those of the code."""

import ast
import json
import re
import shlex
import shutil
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from conftest import ROOT
from PIL import Image

from cnn_zoo import __main__ as cnn_zoo
from cnn_zoo.benchmark.training import make_parser
from cnn_zoo.callbacks.defaults import DEFAULT_CALLBACKS

PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]
PAGES = [page for page in PAGES if "_build" not in page.parts]
CI = (ROOT / ".ci" / "run").read_text()

INSTALLS = "installs packages, which needs a network"
STEP_OF_CI = "is a step of .ci/run, which calls this test"
SHELL = "changes the shell alone"
SERVES = "serves until it is stopped"
NOT_RUN = {  # the first words of commands that cannot run in a test, and why
    "pip install": INSTALLS,
    "python3 -m venv": STEP_OF_CI,
    "ruff": STEP_OF_CI,
    "mypy": STEP_OF_CI,
    "sphinx-build": STEP_OF_CI,
    "python -m pytest": STEP_OF_CI,
    "source": SHELL,
    "tensorboard": SERVES,
}
ONLY_PARSED = {  # words of our commands whose configuration is parsed, and nothing more
    "--trainer.devices": "needs four GPUs",
    "MLFlowLogger": "needs mlflow",
    "WandbLogger": "needs wandb",
    "benchmark --config": "trains in five processes; test_training_benchmark.py runs it",
}
NO_FILES = "--export null --network_pictures null"
SMALL = f"{NO_FILES} --trainer.max_epochs 1 --trainer.limit_train_batches 2 --trainer.limit_val_batches 1"
SMALL += " --trainer.limit_test_batches 1 --data.batch_size 8 --confusion_pictures null --calibration null"
RUN = "runs/quickstart/version_0"  # what a reader writes instead of RUN
RUN_EPOCHS = 3  # of the fixture finished_run


class Command(NamedTuple):
    """A command on a page: `.venv/bin/pip install -e .` without its folder, as words."""

    page: str
    words: tuple[str, ...]

    def __str__(self) -> str:
        return shlex.join(self.words)

    @property
    def ours(self) -> tuple[str, ...] | None:
        """The words after `python -m cnn_zoo`, of which the first is the command; None if it is another program."""
        if self.words[:2] == ("python", "-m") and self.words[2].partition(".")[0] == "cnn_zoo":
            name = self.words[2].partition(".")[2]
            return (name, *self.words[3:]) if name else self.words[3:]
        return self.words[1:] if self.words[0] == "cnn-zoo" else None


def code_blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def commands() -> list[Command]:
    """Return the commands in the `sh` blocks of all pages, each once."""
    found = {}
    for page in PAGES:
        for block in code_blocks(page, "sh"):
            for line in block.replace("\\\n", " ").splitlines():
                part: list[str] = []
                for word in [*shlex.split(line, comments=True), "&&"]:
                    if word != "&&":
                        part.append(word)
                    elif part:
                        words = (part[0].removeprefix(".venv/bin/"), *part[1:])
                        found.setdefault(words, Command(str(page.relative_to(ROOT)), words))
                        part = []
    return list(found.values())


COMMANDS = commands()
OURS = [command for command in COMMANDS if command.ours is not None]
OTHERS = [command for command in COMMANDS if command.ours is None]


@pytest.fixture
def reader(finished_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder as a reader of the documentation has it: experiments, two finished runs, a few images and course.py."""
    (tmp_path / "experiments").symlink_to(ROOT / "experiments")
    for dataset, folder in (("FashionMNIST", RUN), ("CIFAR10", "runs/other/version_0")):
        shutil.copytree(finished_run, tmp_path / folder)
        card = tmp_path / folder / "result.json"
        card.write_text(json.dumps(json.loads(card.read_text()) | {"dataset": dataset}))
    for name in ("photo.jpg", "folder/a.png", *(f"my_images/{c}/{i}.png" for c in ("cat", "dog") for i in range(12))):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.effect_noise((70, 60), len(name)).save(path)
    (tmp_path / "course.py").write_text(code_blocks(ROOT / "docs" / "add-a-network.md", "python")[0])
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def small_version(words: tuple[str, ...]) -> list[str]:
    """Return the words of one of our commands with a reader's RUN, and so small that it takes seconds."""
    name, *options = (word.replace("RUN/", f"{RUN}/") for word in words)
    text = " ".join([name, *options])
    if any(word in text for word in ONLY_PARSED):
        if name == "benchmark":
            name, options = "fit", make_parser().parse_known_args(options)[1]  # without --rounds and --steps
        return [name, *options, "--print_config"]
    if name == "benchmark":  # a small network: ResNet-18's export alone takes ten seconds
        return [name, *(word.replace("resnet18", "lenet5") for word in options), "--rounds", "1"]
    if name == "sweep":  # test_sweep.py trains a study, and test_experiments.py checks those of real data
        if "quickstart.yaml" not in text:
            return [name, "--help"]
        return [name, *(word for word in options if word != "--dry_run"), "--dry_run"]
    if name == "search":  # test_search.py trains a supernet and searches in it
        return [name, "--help"]
    if name == "summary":  # test_summary.py runs it with all networks, and compares the table with docs/zoo.md
        return [name, *("lenet5" if word == "all" else word for word in options)]
    if name != "fit" or any(word.endswith(("help", "--print_config")) for word in options):
        return [name, *options]
    if "--ckpt_path" in options:
        epochs = ["--trainer.max_epochs", str(RUN_EPOCHS)] if "last" in options else []  # its schedule has ended
        return [name, *options, *epochs, *NO_FILES.split()]
    sample = [] if {"ImageFolder", "cnn_zoo.data.ImageFolder"} & set(options) else ["--data.sample", "true"]
    epochs = ["--trainer.max_epochs", "3"] if "--finetuning.until_epoch" in options else []  # it has stages
    return [name, *options, *SMALL.split(), *epochs, *sample]


@pytest.mark.parametrize("command", OURS, ids=str)
def test_our_commands_run(command, reader, invoke, monkeypatch):
    monkeypatch.setattr(torch, "compile", lambda model, **_: model)  # the compiler would take most of the time
    result = invoke(cnn_zoo.main, *(small_version(command.ours) if command.ours else []))
    assert result.status == 0, result.err
    assert "error:" not in result.err


@pytest.mark.parametrize("command", OTHERS, ids=str)
def test_other_commands_are_known(command):
    reason = next((why for first, why in NOT_RUN.items() if f"{command} ".startswith(f"{first} ")), None)
    assert reason, f"{command} in {command.page} is in no category"
    if reason == STEP_OF_CI:
        assert str(command) in CI
    if reason == INSTALLS:
        extras = re.search(r"\[(.*)\]", str(command))
        pyproject = (ROOT / "pyproject.toml").read_text()
        assert all(f"\n{extra} = [" in pyproject for extra in (extras.group(1).split(",") if extras else ()))
    if reason == SERVES:
        assert shutil.which(command.words[0]) or __import__(command.words[0])


SNIPPETS = [(page, i) for page in PAGES for i in range(len(code_blocks(page, "python")))]


@pytest.mark.parametrize(("page", "number"), SNIPPETS, ids=lambda value: getattr(value, "stem", str(value)))
def test_python_snippets_run(page, number, reader, capsys):
    source = code_blocks(page, "python")[number].replace("RUN/", f"{RUN}/")
    exec(compile(source, str(page), "exec"), {"__name__": "snippet"})


def test_the_readme_is_one_page():
    assert len((ROOT / "README.md").read_text().splitlines()) <= 140


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_pictures_and_paths_exist(page):
    text = page.read_text()
    links = [target for target in re.findall(r"\]\(([^)#]+)[^)]*\)", text) if not target.startswith("http")]
    paths = re.findall(r"`((?:cnn_zoo|docs|experiments|tests|\.ci)/[\w./-]*)`", text)
    assert [target for target in links if not (page.parent / target).exists()] == []
    assert [path for path in paths if not (ROOT / path).exists()] == []


def test_every_default_callback_is_explained():
    keys = re.findall(r"^\| `(\w+)` \|", (ROOT / "docs" / "train.md").read_text(), re.MULTILINE)
    assert keys == list(DEFAULT_CALLBACKS)


def test_the_tree_is_that_of_the_package():
    (tree,) = code_blocks(ROOT / "docs" / "architecture.md", "")
    of_package = tree.split("experiments/")[0].splitlines()[1:]
    names, folder = set(), ""
    for line in of_package:
        at_top = line.startswith("  ") and not line.startswith("    ")
        for name in re.findall(r"(?<=  )([\w/]+\.py|\w+/)(?=\s|$)", line):
            folder = name if at_top and name.endswith("/") else "" if at_top else folder
            names.add(name if at_top else folder + name)
    package = ROOT / "cnn_zoo"
    assert {name for name in names if not (package / name).exists()} == set()
    modules = {str(path.relative_to(package)) for path in package.rglob("*.py") if path.parent.name != "backbones"}
    listed_as_folders = {"report", "benchmark"}
    missing = {m for m in modules - names if Path(m).parts[0] not in listed_as_folders and Path(m).stem != "__init__"}
    assert missing == set()


def message_templates() -> set[str]:
    """Return every text in the package, with … for the parts that are filled in."""
    texts = set()
    for path in (ROOT / "cnn_zoo").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.JoinedStr):
                texts.add("".join(str(part.value) if isinstance(part, ast.Constant) else "…" for part in node.values))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                texts.add(node.value)
    return texts


def test_the_messages_are_those_of_the_package():
    documented = re.findall(r"^\| `(.+?)` \|", (ROOT / "docs" / "messages.md").read_text(), re.MULTILINE)
    assert len(documented) > 30
    assert set(documented) - message_templates() == set()
