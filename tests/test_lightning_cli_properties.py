"""Configurations that hypothesis makes up: printed as given, read as printed, unknown keys refused."""

import contextlib
import io
import string
from unittest.mock import patch

import pytest
import yaml
from conftest import QUICK
from hypothesis import given
from hypothesis import strategies as st

from cnn_zoo.command_line.lightning_cli import CLI
from cnn_zoo.errors import UserError

seeds = st.integers(0, 2**32 - 1)
parts = st.floats(0, 1, allow_subnormal=False)


@pytest.fixture(scope="module")
def parser():
    """The commands' parser, without anything built."""
    with patch.object(CLI, "instantiate_classes"):
        return CLI(["--config", str(QUICK)]).parser


def told(parser, words):
    """Exit status, and what is said on stdout and stderr."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), pytest.raises(SystemExit) as exit:
        parser.parse_args([str(word) for word in words])
    return exit.value.code, out.getvalue(), err.getvalue()


def in_one_line(value):
    """Return a value as YAML in one line."""
    return yaml.safe_dump(value, default_flow_style=True, width=1e9).splitlines()[0]


def value_at(config, key):
    for part in key.split("."):
        config = config.get("init_args", config) if part not in config else config
        config = config[part]
    return config


OVERRIDES = {
    "seed_everything": seeds,
    "experiment": st.text(string.ascii_letters, min_size=1),
    "model.label_smoothing": parts,
    "model.loss": st.sampled_from(["cross_entropy", "mse"]),
    "model.test_flip": st.booleans(),
    "model.backbone": st.sampled_from(["lenet5", "resnet18", "my_package.my_net"]),
    "model.optimizer_args": st.dictionaries(st.text(string.ascii_lowercase, min_size=1), st.integers() | parts),
    "data.batch_size": st.integers(1, 10_000),
    "data.val_fraction": st.none() | parts,
    "data.augment.crop": st.integers(0, 8),
    "data.augment.flip": parts,
    "data.augment.padding": st.sampled_from(["zero", "reflect"]),
    "trainer.max_epochs": st.integers(-1, 1000),
    "trainer.gradient_clip_val": st.none() | st.floats(0, 1e6),
    "early_stopping.patience": st.integers(0, 100),
    "checkpoint.every_n_epochs": st.integers(1, 5),
    "ema.decay": parts,
}


@given(st.fixed_dictionaries({}, optional=OVERRIDES))
def test_a_configuration_is_printed_as_it_was_given_and_read_as_it_was_printed(parser, tmp_path_factory, overrides):
    words = [f"--{key}={in_one_line(value)}" for key, value in overrides.items()]
    status, printed, said = told(parser, ["--config", QUICK, *words, "--print_config"])
    assert (status, said) == (0, "")
    config = yaml.safe_load(printed)
    assert {key: value_at(config, key) for key in overrides} == overrides
    file = tmp_path_factory.mktemp("printed") / "config.yaml"
    file.write_text(printed)
    assert told(parser, ["--config", file, "--print_config"]) == (0, printed, "")


GROUPS = ["", "model.", "trainer.", "data.", "data.augment.", "early_stopping.", "checkpoint.", "export.", "curves."]


@given(st.sampled_from(GROUPS), st.text(string.ascii_lowercase + "_", min_size=1, max_size=12), st.text(max_size=5))
def test_an_unknown_key_gets_one_sentence(parser, group, name, value):
    key = group + "not_" + name  # no key begins so
    with pytest.raises(UserError) as refused:
        parser.parse_args(["--config", str(QUICK), f"--{key}={value}"])
    said = str(refused.value)
    assert "\n" not in said
    assert "not_" + name in said and ("There is no key" in said or "takes no option" in said)
