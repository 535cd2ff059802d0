"""Write a folder of JPEGs of several sizes, as people have them, from the bundled sample of CIFAR-10.

    python experiments/own_images.py FOLDER [ROOT]

FOLDER receives train/CLASS/ with 100 and test/CLASS/ with 25 images of each of the last five classes. With ROOT, the
folder of the whole data set in torchvision's layout, the test has all 1,000. A network that learned the first five
classes is then fine-tuned by one command:

    python -m cnn_zoo.fit --config experiments/cifar10/first_five.yaml
    RUN=runs/cifar10/first_five/version_0
    python -m cnn_zoo.fit --config $RUN/config.yaml --model.weights $RUN --like $RUN --data ImageFolder \
        --data.root FOLDER --data.classes null --data.batch_size 25 --model.scheduler_args.max_lr 0.02
"""

import argparse
from pathlib import Path
from random import Random

from PIL import Image, ImageOps
from torch import Tensor

from cnn_zoo.data import CIFAR10

CLASSES: list[int | str] = ["dog", "frog", "horse", "ship", "truck"]
SIDES = (40, 320)  # the smallest and the largest side of the square picture, in pixels
LONGEST = 1.6  # the longer side of a file, as a multiple of the shorter one
QUALITY = (60, 95)


def write_picture(path: Path, pixels: Tensor, random: Random) -> None:
    """Write an image uint8 (H, W, 3) as a JPEG of random size, shape and quality. The picture is in its middle."""
    side = random.randint(*SIDES)
    width, height = random.choice([(side, side), (round(side * random.uniform(1, LONGEST)), side)])
    if random.random() < 0.5:
        width, height = height, width
    picture = Image.fromarray(pixels.numpy()).resize((side, side), Image.Resampling.BICUBIC)
    ImageOps.pad(picture, (width, height), color="gray").save(path, quality=random.randint(*QUALITY))


def write_folder(folder: Path, images: Tensor, labels: Tensor, names: tuple[str, ...], random: Random) -> None:
    """Write images uint8 (N, H, W, 3) into one folder for each class."""
    for number, (pixels, label) in enumerate(zip(images, labels.tolist(), strict=True)):
        path = folder / names[label] / f"{number:05d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_picture(path, pixels, random)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, metavar="FOLDER")
    parser.add_argument("root", nargs="?", metavar="ROOT")
    options = parser.parse_args(arguments)
    sample = CIFAR10(sample=True, classes=CLASSES, val_fraction=0)
    sample.setup("fit")
    tested = CIFAR10(root=options.root, sample=options.root is None, classes=CLASSES)
    tested.setup("test")
    random = Random(0)
    write_folder(options.folder / "train", *sample.sets["train"], sample.classes, random)
    write_folder(options.folder / "test", *tested.sets["test"], sample.classes, random)


if __name__ == "__main__":
    main()
