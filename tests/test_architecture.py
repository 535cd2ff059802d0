"""The arrows between the rooms of the package, drawn from the imports, point one way."""

import ast
import sys
from pathlib import Path

import pytest
from conftest import ROOT

PACKAGE = ROOT / "cnn_zoo"
LEVELS = {  # a room may import from lower levels alone
    "errors": 0,
    "files": 1,
    "imports": 1,
    "backbones": 2,
    "analysis": 3,
    "quantization": 3,
    "data": 4,
    "tasks": 4,
    "formats": 5,
    "callbacks": 6,
    "command_line": 7,
}
COMMAND = 8  # every other module or folder is a command
STUDY = 9  # a study and a search compare their runs by the means of the report
TORCH_FREE = ("__init__", "__main__", "errors", "files", "imports", "analysis/plots", "analysis/labels")
TORCH_FREE += ("analysis/chip", "analysis/chip_picture")
TORCH_FREE += ("formats/run_folder", "formats/description", "formats/old_names")
TORCH_FREE += ("command_line/run", "command_line/process")
MODULES = sorted(PACKAGE.rglob("*.py"))


def imported(path: Path) -> set[str]:
    """Return the modules that a file imports anywhere, with full dotted names."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} has a relative import"
            found.add(node.module)
            if node.module == "cnn_zoo":
                found |= {f"cnn_zoo.{alias.name}" for alias in node.names}
    return found


def room(module: str) -> str:
    """Return the folder or file right below the package: cnn_zoo.data.mnist is in the room data."""
    return module.split(".")[1] if "." in module else ""


def room_of_file(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def level(name: str) -> int:
    return STUDY if name in ("sweep", "search") else LEVELS.get(name, COMMAND)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_module_imports_only_from_its_room_or_a_lower_level(path):
    own = room_of_file(path)
    if own == "__init__":  # loads its functions lazily; test_create.py checks that importing it imports nothing
        return
    for module in imported(path):
        other = room(module) if module.startswith("cnn_zoo.") else ""
        is_module = (PACKAGE / other).is_dir() or (PACKAGE / f"{other}.py").is_file()  # or a function of __init__.py
        if other and other != own and is_module:
            assert level(other) < level(own), f"{own} imports {module}"


def test_a_turned_arrow_would_be_found():
    assert level("fit") > level("command_line") > level("callbacks") > level("formats") > level("data")
    assert level("data") == level("tasks") > level("analysis") > level("backbones") > level("files") > level("errors")


def test_the_flat_level_is_the_commands_and_three_helpers():
    from cnn_zoo.__main__ import COMMANDS

    names = {path.name.removesuffix(".py") for path in PACKAGE.iterdir() if path.suffix == ".py" or path.is_dir()}
    names -= {"__pycache__", "__init__", "__main__"}
    assert names == set(LEVELS) | set(COMMANDS)


def top_level_imports(path: Path) -> set[str]:
    """Return the first words of the modules that a file imports when it is itself imported."""
    found = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module.split(".")[0])
    return found


@pytest.mark.parametrize("path", sorted((PACKAGE / "backbones").glob("*.py")), ids=lambda path: path.name)
def test_backbones_are_plain_torch(path):
    assert top_level_imports(path) - {"torch", "cnn_zoo"} <= sys.stdlib_module_names


@pytest.mark.parametrize("name", TORCH_FREE)
def test_modules_that_every_command_imports_need_no_torch(name):
    heavy = {"torch", "lightning", "torchvision", "fvcore", "matplotlib", "onnxruntime"}
    assert not top_level_imports(PACKAGE / f"{name}.py") & heavy


def test_lightning_private_names_are_used_in_one_file():
    """An attribute with an underscore is private; on `trainer` and on its loops only one file may use one."""
    for path in MODULES:
        if path.name == "lightning_private.py":
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Attribute) and node.attr.startswith("_") and not node.attr.startswith("__"):
                owner = ast.unparse(node.value)
                assert not owner.endswith(("trainer", "fit_loop", "epoch_loop")), f"{path}: {owner}.{node.attr}"


def test_no_file_is_over_300_lines():
    long = {str(path): len(path.read_text().splitlines()) for path in [*MODULES, *(ROOT / "tests").glob("*.py")]}
    assert {path: lines for path, lines in long.items() if lines > 300} == {}
