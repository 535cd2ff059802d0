"""A wheel of the repository has everything that the package needs outside the clone."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import QUICK, ROOT

SOURCES = ("cnn_zoo", "LICENSE", "README.md", "pyproject.toml")


def run(folder: Path, *words: object, **environment: str) -> str:
    """Run Python with these words in a folder, and return its stdout."""
    done = subprocess.run(
        [sys.executable, *map(str, words)],
        cwd=folder,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder into which the wheel alone is installed. Nothing is downloaded, and the repository stays as it is."""
    folder = tmp_path_factory.mktemp("wheel")
    sources = folder / "sources"  # setuptools writes into the folder that it builds from
    sources.mkdir()
    for name in SOURCES:
        path = ROOT / name
        if path.is_dir():
            shutil.copytree(path, sources / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(path, sources / name)
    offline = ("--quiet", "--no-deps", "--no-index", "--disable-pip-version-check")
    run(folder, "-m", "pip", "wheel", *offline, "--no-build-isolation", "--wheel-dir", folder, sources)
    (wheel,) = folder.glob("*.whl")
    run(folder, "-m", "pip", "install", *offline, "--target", folder / "installed", wheel)
    return folder / "installed"


def test_the_wheel_has_every_file_of_the_package(installed):
    def files(package: Path) -> set[str]:
        paths = (path.relative_to(package) for path in package.rglob("*") if path.is_file())
        return {str(path) for path in paths if "__pycache__" not in path.parts}

    assert files(installed / "cnn_zoo") == files(ROOT / "cnn_zoo")


def test_the_quick_start_of_the_wheel_learns_outside_the_clone(installed, tmp_path):
    where = run(tmp_path, "-c", "import cnn_zoo; print(cnn_zoo.__file__)", PYTHONPATH=str(installed))
    assert Path(where.strip()).is_relative_to(installed)

    script = installed / "bin" / "cnn-zoo"
    shown = run(tmp_path, script, "fit", "--config", QUICK, PYTHONPATH=str(installed))
    assert "epoch  15/15" in shown and "test accuracy" in shown
    folder = tmp_path / "runs" / "quickstart" / "version_0"
    assert json.loads((folder / "result.json").read_text())["test_accuracy"] > 0.75
    assert (folder / "model.onnx").is_file()
    run(tmp_path, script, "report", "runs", PYTHONPATH=str(installed))
    assert "lenet5" in (tmp_path / "report" / "index.html").read_text()
