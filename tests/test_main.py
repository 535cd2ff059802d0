"""`python -m cnn_zoo`: the list of commands, and their start."""

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
