"""Objects by their import path, and calls with arguments that a user gave."""

import re

import pytest
import torch

from cnn_zoo.errors import UserError
from cnn_zoo.imports import accepted_by, call_checked, import_object


def half(number: int, *, rest: int = 0) -> float:
    return (number + rest) / 2


def test_an_object_is_imported_by_its_path():
    assert import_object("torch.optim.SGD") is torch.optim.SGD


def test_a_name_without_a_dot_is_looked_up_in_modules():
    assert import_object("SGD", ["math", "torch.optim"]) is torch.optim.SGD


@pytest.mark.parametrize("path", ["no_such_package.name", "torch.no_such_name", "torch", ".torch", "torch.", ""])
def test_a_wrong_path_is_refused(path):
    with pytest.raises(UserError, match=f"^{re.escape(repr(path))} cannot be imported .* give the full path"):
        import_object(path)


def test_a_file_that_fails_is_refused_with_its_line(tmp_path, monkeypatch):
    (tmp_path / "own_broken.py").write_text("import torch\nclass Net(nn.Module):\n    pass\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(UserError, match=r"name 'nn' is not defined \(own_broken.py, line 2\)"):
        import_object("own_broken.Net")


def test_a_function_is_called():
    assert call_checked(half, "half", 3, rest=1) == 2


def test_an_unknown_argument_is_refused_with_the_known_ones():
    with pytest.raises(UserError, match=r"^half takes no argument 'rets'; it accepts rest\.$"):
        call_checked(half, "half", 3, rets=1)


def test_a_missing_argument_is_named():
    with pytest.raises(UserError, match=r"^half needs the argument 'number'; it accepts number, rest\.$"):
        call_checked(half, "half", rest=1)


def test_only_the_arguments_that_a_function_takes_are_kept():
    assert accepted_by(half, {"number": 1, "size": 2}) == {"number": 1}
    assert accepted_by(dict_of, {"number": 1, "size": 2}) == {"number": 1, "size": 2}


def test_a_class_that_fails_is_refused_with_the_line_of_its_code():
    class Broken:
        def __init__(self):
            self.size = self.missing

    with pytest.raises(UserError, match=r"has no attribute 'missing' \(test_imports.py, line \d+\)$"):
        call_checked(Broken, "Broken")


def test_any_argument_is_passed_to_a_function_that_takes_any():
    assert call_checked(dict_of, "dict_of", a=1) == {"a": 1}


def dict_of(**arguments: int) -> dict[str, int]:
    return arguments


@pytest.mark.parametrize("rest", ["one", None])
def test_a_value_that_does_not_work_is_refused(rest):
    with pytest.raises(UserError, match="^half cannot be built with {'rest': "):
        call_checked(half, "half", 3, rest=rest)


def test_what_cannot_be_called_is_refused():
    with pytest.raises(UserError, match="^pi cannot be built with {}: 3.14 is not a callable object"):
        call_checked(3.14, "pi")


def test_the_sentence_of_a_user_error_is_kept():
    def refuse() -> None:
        raise UserError("Too small.")

    with pytest.raises(UserError, match=r"^Too small\.$"):
        call_checked(refuse, "refuse")
