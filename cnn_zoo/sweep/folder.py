"""The files in the folder of a study."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cnn_zoo.errors import UserError
from cnn_zoo.files import read_text

LARGEST_RESULT = 32_000_000  # bytes of result.json


@dataclass(frozen=True)
class StudyFolder:
    """The paths in the folder of a study."""

    path: Path

    @property
    def yaml(self) -> Path:
        """A copy of the study's YAML."""
        return self.path / "study.yaml"

    @property
    def journal(self) -> Path:
        """Optuna's storage."""
        return self.path / "journal.log"

    @property
    def lock(self) -> Path:
        """The file that is locked while a worker takes a trial, or writes the table."""
        return self.path / "locks" / "study.lock"

    def trial_lock(self, number: int) -> Path:
        """The file that is locked while a worker trains or tests a trial."""
        return self.path / "locks" / f"{number:04d}.lock"

    def log(self, number: int) -> Path:
        """The file with the output of a trial."""
        return self.path / "logs" / f"{number:04d}.txt"

    def metrics(self, number: int) -> Path:
        """The metrics of a trial without a test."""
        return self.path / "logs" / f"{number:04d}.json"

    @property
    def table(self) -> Path:
        """A row for each run."""
        return self.path / "table.csv"

    @property
    def page(self) -> Path:
        """The results as a page."""
        return self.path / "index.html"

    @property
    def curves(self) -> Path:
        """The picture of all training curves."""
        return self.path / "curves.png"

    @property
    def picture(self) -> Path:
        """The picture of the results."""
        return self.path / "study.png"


@contextmanager
def writing(folder: StudyFolder) -> Iterator[None]:
    """Turn the error of a folder that cannot be written into a UserError."""
    try:
        yield
    except OSError as error:
        raise UserError(
            f"{folder.path} cannot be written ({error.strerror}); make room, or choose another --out."
        ) from error


def read_json(path: Path) -> dict[str, Any] | None:
    """Return the content of a result card or of a trial's metrics; None if the file does not exist."""
    return json.loads(read_text(path, LARGEST_RESULT)) if path.is_file() else None
