"""Compare accuracy: the recipes with whole-batch augmentation and with torchvision image by image.

python experiments/benchmarks/same_accuracy.py --runs FOLDER [--seeds 3] [NAME …] | tee same_accuracy.txt

Both draw from the same distribution (crop, flip, rotation and shift of the recipe's strength); the per-image transforms
run in two workers. Epochs are fewer than the recipes' own. A run that already exists is not repeated. Test accuracy,
mean ± sample standard deviation over the seeds. same_accuracy.txt was made with OMP_NUM_THREADS=1.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
V2 = "torchvision.transforms.v2"
FLIP = {"class_path": f"{V2}.RandomHorizontalFlip"}
AFFINE = {"degrees": 10, "translate": [0.08, 0.08], "interpolation": "bilinear"}
RECIPES: dict[str, tuple[int, list[dict[str, Any]]]] = {  # epochs; `augment` as torchvision transforms
    "mnist/lenet5": (4, [{"class_path": f"{V2}.RandomAffine", "init_args": AFFINE}]),
    "fashion_mnist/lenet5": (4, [{"class_path": f"{V2}.RandomCrop", "init_args": {"size": 28, "padding": 1}}, FLIP]),
    "cifar10/simple_cnn": (
        3,
        [
            {"class_path": f"{V2}.RandomCrop", "init_args": {"size": 32, "padding": 2, "padding_mode": "reflect"}},
            FLIP,
        ],
    ),
}


def accuracy(recipe: str, per_image: bool, seed: int, runs: Path) -> float:
    """Return the test accuracy of a run, after making the run if it does not exist."""
    epochs, transforms = RECIPES[recipe]
    name = f"{recipe}_{'per_image' if per_image else 'batches'}_seed{seed}"
    card = runs / name / "version_0" / "result.json"
    if not card.exists():
        config = ROOT / "experiments" / f"{recipe}.yaml"
        words = ["--seed_everything", str(seed), "--trainer.max_epochs", str(epochs), "--experiment", name]
        words += ["--trainer.default_root_dir", str(runs), "--export", "null", "--confusion_pictures", "null"]
        with tempfile.NamedTemporaryFile("w", suffix=".yaml") as more:
            if per_image:
                data = yaml.safe_load(config.read_text())["data"]
                data["init_args"] |= {"augment": None, "transforms": transforms, "num_workers": 2}
                yaml.safe_dump({"data": data}, more)
            more.flush()
            configs = ["--config", str(config), *(["--config", more.name] if per_image else [])]
            subprocess.run([sys.executable, "-m", "cnn_zoo.fit", *configs, *words], cwd=ROOT, check=True, stdout=2)
    return json.loads(card.read_text())["test_accuracy"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", default=list(RECIPES), help=", ".join(RECIPES))
    parser.add_argument("--runs", type=Path, required=True, help="folder of the runs")
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    for recipe in options.names:
        for per_image in (False, True):
            reached = [accuracy(recipe, per_image, seed, options.runs.resolve()) for seed in range(options.seeds)]
            mean, deviation = statistics.mean(reached), statistics.stdev(reached)
            how = "per image" if per_image else "in batches"
            epochs = RECIPES[recipe][0]
            print(f"{recipe:22} {epochs:2} epochs, {how:10} {mean:.2%} ± {deviation:.2%}  {reached}", flush=True)


if __name__ == "__main__":
    main()
