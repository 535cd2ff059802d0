"""`python -m cnn_zoo`: the list of commands, and their start."""

import os
import subprocess
import sys

import pytest
from conftest import QUICK, ROOT, assert_refused, run_python

from cnn_zoo.__main__ import COMMANDS, main


@pytest.mark.parametrize("words", [(), ("--help",), ("-h",)])
def test_each_command_is_listed_with_one_line(words, invoke):
    result = invoke(main, *words)
    assert result.status == 0
    lines = result.out.splitlines()
    for command in COMMANDS:
        (line,) = [line for line in lines if line.startswith(f"  {command} ")]
        sentence = line.removeprefix(f"  {command}").strip()
        assert sentence[0].isupper() and sentence.endswith(".") and len(line) <= 120


def test_the_list_is_complete():
    files = {path.stem for path in (ROOT / "cnn_zoo").glob("*.py") if "if __name__ ==" in path.read_text()}
    folders = {path.parent.name for path in (ROOT / "cnn_zoo").glob("*/__main__.py")}
    assert set(COMMANDS) == (files | folders) - {"__main__"}


def test_an_unknown_command_is_refused(invoke):
    assert_refused(invoke(main, "train"), "There is no command 'train'; choose one of fit, test, ")


def test_the_script_finds_a_network_in_the_current_folder(tmp_path):
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "cnn-zoo.py").write_text("from cnn_zoo.__main__ import console_script; console_script()")
    (tmp_path / "script_course.py").write_text("from torch import nn\n\nNet = nn.Flatten\n")
    command = [sys.executable, "bin/cnn-zoo.py", "summary", "script_course.Net"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert "script_course.Net gives (2, 3072) for 2 images" in done.stderr


def test_a_command_gets_the_other_arguments(invoke):
    result = invoke(main, "fit", "--config", QUICK, "--trainer.max_epochs=7", "--print_config")
    assert result.status == 0
    assert "max_epochs: 7" in result.out


def test_a_mistake_in_a_command_is_told_as_by_the_command_itself(invoke):
    assert_refused(invoke(main, "summary", "resnet19"), "no backbone 'resnet19'")


def test_listing_imports_no_torch():
    done = run_python("cnn_zoo", env={"PYTHONPROFILEIMPORTTIME": "1", "PATH": ""})
    assert done.returncode == 0
    assert " cnn_zoo.command_line.run" in done.stderr and " torch" not in done.stderr
