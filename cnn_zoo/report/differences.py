"""The configuration keys in which runs differ."""

import re
from collections.abc import Sequence
from typing import Any

from cnn_zoo.report.runs import Run, short_text

IGNORED_KEYS = {  # each has a column of its own or says nothing about the recipe
    "experiment",
    "seed_everything",
    "model.backbone",
    "data",
    "data.sample",
    "data.root",
    "data.split_seed",
    "data.fold",
    "data.num_workers",
    "ckpt_path",
    "trainer.default_root_dir",
    "trainer.log_every_n_steps",
    "checkpoint.dirpath",
}
IGNORED_PARTS = (  # with all keys below them: callbacks and logger change no number of a training
    "calibration",
    "complexity",
    "confusion_pictures",
    "curves",
    "export",
    "learning_rate_monitor",
    "network_pictures",
    "result_card",
    "trainer.enable_progress_bar",
    "trainer.logger",
)


def is_ignored(key: str) -> bool:
    """Return whether a key says nothing about the recipe."""
    return key in IGNORED_KEYS or any(f"{key}.".startswith(f"{part}.") for part in IGNORED_PARTS)


def relevant_keys(config: dict[str, Any]) -> dict[str, Any]:
    """Return the keys that distinguish recipes, with their values.

    None counts as missing, because the configurations of earlier versions lack keys.
    """
    return {key: value for key, value in config.items() if not is_ignored(key) and value is not None}


def short_value(value: Any) -> str:
    """Return SGD for torch.optim.SGD, 15 for 15.0, and a dash for a key that is not set."""
    if value is None:
        return "–"
    text = str(value).removesuffix(".0") if isinstance(value, float) else str(value)
    is_import_path = isinstance(value, str) and re.fullmatch(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+", text)
    return short_text(text.rpartition(".")[2] if is_import_path else text)


def differing_keys(runs: Sequence[Run]) -> list[str]:
    """Return the keys in which the runs' configurations differ, in the configuration's own order."""
    configs = [run.config for run in runs if run.config]
    keys = dict.fromkeys(key for config in configs for key in config)
    return [key for key in keys if not is_ignored(key) and key_differs(key, configs)]


def key_differs(key: str, configs: Sequence[dict[str, Any]]) -> bool:
    """Return whether configurations differ in a key.

    A configuration in which the key is None or absent has no value.

    - Two different values: the key differs.
    - No value, or the same value everywhere: it does not.
    - One value, but not everywhere, and a part above the key differs (`early_stopping` for `early_stopping.patience`):
      it does not, because the part above explains it.
    - Only zero, and absent elsewhere, as in the configurations of earlier versions: it does not.
    - One value, but not everywhere, in all other cases: the key differs.
    """
    given = {config[key] for config in configs if config.get(key) is not None}
    lacking = [config for config in configs if config.get(key) is None]
    if len(given) > 1:
        return True
    if not given or not lacking or part_above_differs(key, configs):
        return False
    only_zero_is_given = not any(given)
    return not (only_zero_is_given and all(key not in config for config in lacking))


def part_above_differs(key: str, configs: Sequence[dict[str, Any]]) -> bool:
    """Return whether configurations differ in `early_stopping`, for the key `early_stopping.patience`."""
    parts = key.split(".")
    above = [".".join(parts[:i]) for i in range(1, len(parts))]
    return any(len({config.get(part) for config in configs}) > 1 for part in above)
