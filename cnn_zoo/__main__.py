"""List the commands, or run one of them: python -m cnn_zoo [COMMAND …]."""

import ast
import sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

from cnn_zoo.command_line.run import run
from cnn_zoo.errors import UserError

COMMANDS = {
    "fit": "cnn_zoo.fit",
    "test": "cnn_zoo.test",
    "summary": "cnn_zoo.summary",
    "predict": "cnn_zoo.predict",
    "explain": "cnn_zoo.explain",
    "export": "cnn_zoo.export",
    "sweep": "cnn_zoo.sweep.__main__",
    "search": "cnn_zoo.search.__main__",
    "report": "cnn_zoo.report.__main__",
    "benchmark": "cnn_zoo.benchmark.__main__",
}


def first_line(module: str) -> str:
    """Return the first line of a command's docstring, without importing the command."""
    spec = find_spec(module)
    assert spec and spec.origin
    docstring = ast.get_docstring(ast.parse(Path(spec.origin).read_text(encoding="utf-8"))) or ""
    return docstring.splitlines()[0]


def main(arguments: list[str]) -> None:
    """Run the command that the first argument names with the other arguments; list the commands if there is none."""
    name = arguments[0] if arguments else "--help"
    if name in ("-h", "--help"):
        print("python -m cnn_zoo COMMAND [--help] …\n")
        for command, module in COMMANDS.items():
            print(f"  {command:10} {first_line(module)}")
        return
    if name not in COMMANDS:
        raise UserError(f"There is no command {name!r}; choose one of {', '.join(COMMANDS)}.")
    import_module(COMMANDS[name]).main(arguments[1:])


def console_script() -> None:
    """Run `cnn-zoo COMMAND …`."""
    sys.path.insert(0, "")  # as for python -m: networks in a file of the current folder can be imported
    run(main)


if __name__ == "__main__":
    console_script()
