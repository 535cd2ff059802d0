"""The phases in which a supernet is trained."""

import pytest

from cnn_zoo.analysis.space import Space
from cnn_zoo.errors import UserError
from cnn_zoo.tasks.phases import PROGRESSIVE_SHRINKING, Phase, read_phases

SPACE = Space.of(32)
ALL = {"share": 1, "kernel": 2, "depth": 3, "expand": 3}


def test_the_usual_phases_open_kernels_then_depths_then_widths():
    phases = read_phases(PROGRESSIVE_SHRINKING, SPACE)
    opened = [(phase.kernel, phase.depth, phase.expand) for phase in phases]
    assert opened == [(1, 1, 1), (2, 1, 1), (2, 2, 1), (2, 3, 1), (2, 3, 2), (2, 3, 3)]
    assert [phase.shrinks for phase in phases] == [False, True, True, True, True, True]


def test_a_phase_is_short_by_default():
    assert read_phases([{"share": 2}, ALL], SPACE)[0] == Phase(share=2)


@pytest.mark.parametrize(
    ("dimension", "name"), [("kernels", "kernel"), ("depths", "depth"), ("expands", "expand"), ("resolutions", "")]
)
def test_one_key_switches_a_dimension_off(dimension, name):
    space = Space.of(32, {dimension: [getattr(SPACE, dimension)[-1]]})
    phases = read_phases(PROGRESSIVE_SHRINKING, space)
    assert {getattr(phase, name) for phase in phases if name} <= {1}


@pytest.mark.parametrize(
    ("phases", "message"),
    [
        ([], "model.phases is empty"),
        ([{"rate": 1}], r"model.phases\[0\] is .*; it must have a share, and accepts share, rate, kernel"),
        ([{"share": 1, "width": 2}], "must have a share, and accepts"),
        ([{"share": 0}], r"model.phases\[0\].share is 0; it must be a number above 0"),
        ([{"share": 1}, ALL | {"rate": 0}], r"model.phases\[1\].rate is 0; it must be a number above 0"),
        ([{"share": "long"}], "share is 'long'; it must be a number above 0"),
        ([ALL | {"kernel": 3}], r"kernel is 3, but model.space.kernels has 2 choices"),
        ([ALL | {"expand": 4}], r"expand is 4, but model.space.expands has 3 choices"),
        ([ALL | {"subnets": 0}], "subnets is 0; it must be a whole number from 1"),
        ([ALL | {"depth": 1.5}], "depth is 1.5; it must be a whole number from 1"),
        ([ALL | {"sandwich": 1}], "sandwich is 1; it must be true or false"),
        ([ALL, {"share": 1}], "never opens all choices .* the last phase needs kernel: 2, depth: 3, expand: 3"),
    ],
)
def test_impossible_phases_are_refused(phases, message):
    with pytest.raises(UserError, match=message):
        read_phases(phases, SPACE)
