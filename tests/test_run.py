"""The start and the end of every command."""

import argparse
import errno
import subprocess
import sys

import pytest
from conftest import ROOT, assert_refused

import cnn_zoo
from cnn_zoo.command_line.run import ArgumentParser, help_width, in_width, positive_int, run, user_error_behind
from cnn_zoo.errors import UserError
from cnn_zoo.files import NOT_WRITABLE


def raising(error):
    """Return a command that raises an error."""

    def main(arguments):
        raise error

    return main


def test_a_command_that_returns_has_status_0(invoke):
    result = invoke(lambda arguments: print(arguments), "--count", 3)
    assert (result.status, result.out, result.err) == (0, "['--count', '3']\n", "")


def test_without_a_list_the_arguments_are_those_of_the_process(monkeypatch):
    got = []
    monkeypatch.setattr(sys, "argv", ["a_command", "--count", "3"])
    run(got.extend)
    assert got == ["--count", "3"]


def test_a_user_error_is_one_line_and_status_2(invoke):
    result = invoke(raising(UserError("The number is 0; it must be at least 1.")))
    assert_refused(result, "error: The number is 0; it must be at least 1.")
    assert result.err.count("\n") == 1


def test_a_user_error_behind_another_error_is_told(invoke):
    def main(arguments):
        try:
            raise UserError("There is no backbone.")
        except UserError as error:
            raise ValueError("wrapped") from error

    assert_refused(invoke(main), "There is no backbone.")


@pytest.mark.parametrize("code", sorted(NOT_WRITABLE))
def test_a_file_that_cannot_be_written_is_told_in_one_line(code, invoke):
    assert_refused(invoke(raising(OSError(code, "reason", "a/file.txt"))), "a/file.txt cannot be written (reason)")


def test_a_full_disk_without_a_name_is_told_in_one_line(invoke):
    assert_refused(invoke(raising(OSError(errno.ENOSPC, "No space left"))), "A file cannot be written (No space left)")


@pytest.mark.parametrize("error", [ValueError("ours"), OSError(errno.ECONNRESET, "reset"), FileNotFoundError("gone")])
def test_an_error_of_the_program_keeps_its_traceback(error):
    with pytest.raises(type(error), match=str(error).replace("[", r"\[").replace("]", r"\]")):
        run(raising(error), [])


def test_ctrl_c_has_status_130(invoke):
    assert invoke(raising(KeyboardInterrupt())) == (130, "", "")


def test_ctrl_c_that_lightning_turned_into_an_exit_has_status_130(invoke):
    def main(arguments):
        try:
            raise KeyboardInterrupt
        except KeyboardInterrupt:
            sys.exit(1)

    assert invoke(main).status == 130


@pytest.mark.parametrize("status", [0, 1, 143])
def test_an_exit_of_the_command_is_kept(status, invoke):
    assert invoke(raising(SystemExit(status))).status == status


def test_no_user_error_is_found_where_there_is_none():
    assert user_error_behind(ValueError("ours")) is None and user_error_behind(None) is None


# Arguments


@pytest.fixture
def parser():
    parser = ArgumentParser("count", "Count things.\n\npython -m cnn_zoo.count [--number N]")
    parser.add_argument("--number", type=positive_int, default=1)
    return parser


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--nmber", "3"], "unrecognized arguments: --nmber 3"),
        (["--num", "3"], "unrecognized arguments: --num 3"),  # no abbreviations
        (["--number", "0"], "argument --number: must be a whole number from 1, not '0'"),
        (["--number", "-1"], "argument --number: "),
        (["--number", "9999999999"], "argument --number: must be at most 1,000,000,000, not '9999999999'"),
        (["--number", "1.5"], "argument --number: must be a whole number from 1, not '1.5'"),
        (["--number", "many"], "argument --number: must be a whole number from 1, not 'many'"),
        (["--number"], "argument --number: expected one argument"),
    ],
)
def test_a_wrong_argument_is_refused_with_a_hint(words, message, parser, invoke):
    result = invoke(lambda arguments: print(parser.parse_args(arguments)), *words)
    assert_refused(result, message)
    assert result.err.endswith("; --help lists the options.\n")


def test_a_right_argument_is_converted(parser):
    assert parser.parse_args(["--number", "12"]) == argparse.Namespace(number=12)


def test_help_is_usage_and_description(parser, invoke):
    result = invoke(parser.parse_args, "--help")
    assert result.status == 0
    assert result.out.startswith("usage: python -m cnn_zoo.count ")
    assert "Count things.\n\npython -m cnn_zoo.count [--number N]\n" in result.out


def test_prose_is_wrapped_and_commands_stay_lines(monkeypatch):
    monkeypatch.setenv("COLUMNS", "20")
    text = "Words of a paragraph\nin lines.\n\npython -m cnn_zoo.count THINGS\npython -m x\n\n  name  meaning\nMore."
    assert in_width(text).splitlines() == [
        "Words of a paragraph",
        "in lines.",
        "",
        "python -m",
        "    cnn_zoo.count",
        "    THINGS",
        "python -m x",
        "",
        "  name  meaning",
        "More.",
    ]


@pytest.mark.parametrize(("columns", "width"), [("80", 80), ("300", 100)])
def test_a_help_is_as_wide_as_the_terminal_up_to_100(columns, width, monkeypatch):
    monkeypatch.setenv("COLUMNS", columns)
    assert help_width() == width


def test_a_reader_that_wants_no_more_ends_a_command_quietly(invoke):
    assert invoke(raising(BrokenPipeError())) == (141, "", "")


@pytest.mark.parametrize("text", ["CUDA out of memory. Tried", "DefaultCPUAllocator: can't allocate memory: 9 bytes"])
def test_a_lack_of_memory_is_told_in_one_line(text, invoke):
    assert_refused(
        invoke(raising(RuntimeError(text))), "There is not enough memory for this; choose smaller images, batches"
    )


def test_a_path_is_shown_as_text(invoke):
    assert_refused(
        invoke(raising(OSError(errno.EACCES, "denied", b"a/file.txt"))), "error: a/file.txt cannot be written"
    )


def test_ctrl_c_during_the_imports_of_a_command_is_silent():
    """The signal comes while `cnn_zoo.fit` imports lightning: this finder sends it."""
    code = (
        "import os, runpy, signal, sys\n"
        "class Finder:\n"
        "    def find_spec(name, path, target=None):\n"
        "        if name == 'lightning': os.kill(os.getpid(), signal.SIGINT)\n"
        "sys.meta_path.insert(0, Finder)\n"
        "sys.orig_argv = ['python', '-m', 'cnn_zoo.fit']\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # a job in the background ignores it
        "runpy.run_module('cnn_zoo.fit', run_name='__main__')"
    )
    process = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert (process.returncode, process.stdout, process.stderr) == (130, "", "")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["python", "-m", "cnn_zoo.fit"], True),
        (["python", "-X", "dev", "-m", "cnn_zoo"], True),
        (["python", ".venv/bin/cnn-zoo", "fit"], True),
        (["python", "-m", "course.train"], False),
        (["python", "-m", "course.train", "cnn-zoo"], False),
        (["python"], False),
        (["python", "train.py"], False),
    ],
)
def test_only_a_command_of_the_package_changes_ctrl_c(words, expected):
    assert cnn_zoo.runs_command(words) is expected
