"""Values that hypothesis makes up for numeric keys: a run or one sentence, never a traceback.

python -m pytest -n 0 tests/test_fuzz.py --hypothesis-profile=long --hypothesis-seed=1 tries more of them.
"""

import math

from conftest import QUICK
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cnn_zoo import fit

SHORT = [
    *("--model.backbone=mlp", "--model.backbone_args={hidden: [4]}", "--trainer.max_epochs=1", "--export=null"),
    *(f"--trainer.limit_{stage}_batches=1" for stage in ("train", "val", "test")),
    *(f"--{key}=null" for key in ("network_pictures", "confusion_pictures", "calibration", "complexity")),
]
FLOATS = st.sampled_from([0.0, -1.0, 0.5, 1.0, 1e-300, 1e30, math.inf, -math.inf, math.nan]) | st.floats()
INTEGERS = st.sampled_from([0, -1, 1, 2, 3, 2**31, 2**63, -(2**63)]) | st.integers()
FLOAT_KEYS = [
    "model.label_smoothing",
    "model.optimizer_args.lr",
    "model.optimizer_args.weight_decay",
    "model.scheduler_args.max_lr",
    "model.scheduler_args.pct_start",
    "data.val_fraction",
    "data.train_fraction",
    *(f"data.augment.{name}" for name in ("flip", "vertical_flip", "resized_crop", "rotate", "translate")),
    *(f"data.augment.{name}" for name in ("brightness", "contrast", "noise", "erasing", "mixup", "cutmix")),
    "trainer.gradient_clip_val",
    "trainer.val_check_interval",
    "trainer.overfit_batches",
    "early_stopping.min_delta",
    "ema.decay",
    "model.optimizer_args.eps",
    "export.tolerance",
]
INTEGER_KEYS = [
    "seed_everything",
    "data.batch_size",
    "data.split_seed",
    "data.folds",
    "data.fold",
    "data.images_per_class",
    "data.progressive",
    "data.image_size",
    "data.augment.crop",
    "data.augment.cutout",
    "trainer.accumulate_grad_batches",
    "trainer.check_val_every_n_epoch",
    "trainer.log_every_n_steps",
    "trainer.min_epochs",
    "trainer.num_sanity_val_steps",
    "early_stopping.patience",
    "checkpoint.every_n_epochs",
    "ema.update_every_n_steps",
]
OVERRIDES = {key: FLOATS for key in FLOAT_KEYS} | {key: INTEGERS for key in INTEGER_KEYS}


@settings(max_examples=settings().max_examples // 4, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_number_is_used_or_refused_in_one_sentence(data, invoke, tmp_path):
    keys = data.draw(st.lists(st.sampled_from(sorted(OVERRIDES)), min_size=1, max_size=2, unique=True))
    words = [f"--{key}={data.draw(OVERRIDES[key])}" for key in keys]
    result = invoke(fit.main, "--config", QUICK, *SHORT, *words, "--trainer.default_root_dir", tmp_path)
    assert result.status in (0, 2), words
    if result.status == 2:
        assert [line for line in result.err.splitlines() if line.startswith("error: ")] == result.err.splitlines()[-1:]
        assert "Traceback" not in result.err
