"""What a user can type wrong on the command line or in a YAML.

Each mistake ends with status 2 and one sentence that names it. No traceback is shown, no run is lost, nothing is run.
"""

import hashlib
import shutil

import pytest
from conftest import QUICK, assert_refused
from PIL import Image

from cnn_zoo import fit
from cnn_zoo.command_line.messages import SYNONYMS, near_miss, one_sentence

WORDS = [
    ("--model.backbone resnet19", "no backbone 'resnet19' in the zoo; did you mean resnet9 or resnet18"),
    ("--model.backbone my.net", "'my.net' cannot be imported"),
    ("--model.backbone os.getcwd", "os.getcwd gives an object of the type str; it must give a torch.nn.Module"),
    ("--model.backbone torchvision/resnet19", "no classification network 'resnet19'"),
    ("--model.backbone torch.nn.Identity", "torch.nn.Identity gives (2, 1, 28, 28) for 2 images of 1 x 28 x 28"),
    ("--model.backbone_args 3", "model.backbone_args must be dict"),
    ("--model.backbone_args.width 2", "lenet5 takes no argument 'width'; it accepts num_classes"),
    ("--model.backbone_args.activation rleu", "no activation 'rleu'"),
    ("--model.bakbone x", "no key 'model.bakbone'; did you mean 'model.backbone'"),
    ("--model.num_classes 7", "model.num_classes"),
    ("--model.loss hinge", "model.loss must be cross_entropy or mse"),
    ("--model.label_smoothing 2", "model.label_smoothing is 2.0; it must be from 0 to below 1"),
    ("--data.augment.mixup -1", "augment.mixup is -1.0"),
    ("--model.optimizer SDG", "'SDG' cannot be imported"),
    ("--model.optimizer torch.optim.SDG", "'torch.optim.SDG' cannot be imported"),
    ("--model.optimizer torch.nn.Linear", "torch.nn.Linear needs the argument 'out_features'"),
    ("--model.optimizer_args.lrr 1", "takes no argument 'lrr'"),
    ("--model.optimizer SparseAdam --model.scheduler null", "SparseAdam, which takes sparse gradients alone; use Adam"),
    ("--model.optimizer_args.lr -1", "model.optimizer_args.lr is -1; a learning rate is a number above 0"),
    ("--model.optimizer_args.lr 0", "model.optimizer_args.lr is 0; a learning rate"),
    ("--model.optimizer_args.lr nan", "model.optimizer_args.lr is 'nan'; a learning rate"),
    ("--model.optimizer_args.lr .nan", "model.optimizer_args.lr is nan; a learning rate"),
    ("--model.scheduler_args.max_lr high", "model.scheduler_args.max_lr is 'high'; a learning rate"),
    ("--model.scheduler_args.max_lr -1", "model.scheduler_args.max_lr is -1; a learning rate"),
    (
        "--model.scheduler StepLR --model.scheduler_args.step_size 0",
        "scheduler_args.step_size is 0; a length must be above 0",
    ),
    ("--model.scheduler CosineAnnealingLR --model.scheduler_args.T_max -3", "scheduler_args.T_max is -3; a length"),
    (
        '--model.scheduler MultiStepLR --model.scheduler_args={"milestones":[1],"gamma":"half"}',
        "schedule MultiStepLR fails with model.scheduler_args",
    ),
    ("--model.scheduler ExponentialLR --model.scheduler_args.gamma -1", "the learning rate -0.004 after 1 of its"),
    ("--model.scheduler warmup_cosine --model.scheduler_args.warmup 2", "scheduler_args.warmup is 2; it must be a"),
    ("--weights x", "no key 'weights'; did you mean 'model.weights'?"),
    ("--model.weights x", "There are no weights 'x': it must be a run folder, a file of weights, or weights of torch"),
    ("--lr 1", "no key 'lr'; did you mean 'model.optimizer_args.lr'?"),
    ("--data.workers 2", "takes no option 'workers'; did you mean 'num_workers'?"),
    ("--model.scheduler_args.max_lr 1e30", "loss became nan at step 1"),
    ("--model.scheduler_interval week", "model.scheduler_interval must be step or epoch"),
    ("--trainer.max_epoch 3", "'trainer.max_epoch'; did you mean 'trainer.max_epochs'? --help lists the usual keys"),
    ("--trainer.max_epochs many", "trainer.max_epochs must be int"),
    ("--trainer.max_epochs -5", "`max_epochs` must be a non-negative integer or -1"),
    ("--trainer.max_time soon", "'soon'"),
    ("--trainer.accelerator abacus", "'abacus'"),
    ("--trainer.devices 0 --trainer.accelerator cpu", "devices='0'"),
    ("--trainer.strategy magic", "'magic'"),
    ("--trainer.precision 7", "trainer.precision must be"),
    ("--trainer.limit_train_batches -1", "limit_train_batches"),
    ("--trainer.accumulate_grad_batches 0", "trainer.accumulate_grad_batches is 0; it must be at least 1"),
    ("--trainer.accelerator tpu", "torch_xla"),
    (
        "--trainer.precision 16-mixed --trainer.accelerator cpu",
        "precision is 16-mixed, which a CPU does not",
    ),
    ("--trainer.precision 16-true --trainer.accelerator cpu", "precision is 16-true, which a CPU does not have"),
    ("--trainer.gradient_clip_val -1", "trainer.gradient_clip_val is -1; it must be at least 0"),
    ("--trainer.min_epochs 50", "trainer.min_epochs is 50, more than trainer.max_epochs, which is 15"),
    ("--trainer.val_check_interval 0", "trainer.val_check_interval is 0"),
    ("--trainer.default_root_dir=", "trainer.default_root_dir is empty"),
    ("--trainer.default_root_dir=/proc/runs", "/proc/runs/quickstart/version_0 cannot be made"),
    ("--ema.update_every_n_steps 0", "ema.update_every_n_steps is 0; it must be at least 1"),
    ("--early_stopping.patience -1", "early_stopping.patience is -1; it must be at least 0"),
    ("--early_stopping.patience 5000000000", "it must be at least 0 and at most 1,000,000,000"),
    ("--checkpoint.every_n_epochs 0", "checkpoint.every_n_epochs is 0; it must be at least 1"),
    ("--calibration.bins 0", "calibration.bins is 0; it must be from 1 to 1,000"),
    ("--quality.bins 0", "calibration.bins is 0"),
    ("--data.root= --data.sample false", "data.root is empty"),
    ("--data.image_size 2000000000", "image_size is 2000000000; it must be from 1 to 10,000 px"),
    (
        "--data.image_size 10000 --data.batch_size 1500 --model.backbone resnet20",
        "A batch of 1500 images of 10000 px takes 600.0 GB, more than 10% of the memory",
    ),
    ("--data.augment.crop 28", "augment.crop is 28; it must be from 0 (off) to 27 for images of 28 x 28 px"),
    ("--data.augment.cutout 29", "augment.cutout is 29; it must be from 0 (off) to 28"),
    ("--data.batch_size 1 --model.backbone resnet20", "data.batch_size is 1, but resnet20 has batch norms"),
    (
        "--data.transforms=[{'class_path':'torch.nn.Flatten'}]",
        "data.transforms make 1 x 784 of an image",
    ),
    ("--data.transforms=[{'class_path':'torch.nn.Softmax'}]", "data.transforms cannot be used: "),
    ("--trainer.check_val_every_n_epoch 0", "trainer.check_val_every_n_epoch is 0"),
    ("--trainer.profiler nothing", "profiler"),
    ("--seed_everything -1", "-1 is not in bounds"),
    ("--data.batchsize 3", "takes no option 'batchsize'; did you mean 'batch_size'"),
    ("--data.batch_size many", "data.batch_size must be int"),
    ("--data.batch_size 0", "data.batch_size is 0; it must be at least 1"),
    ("--data.batch_size 2000", "more than the 1833 training images"),
    ("--data.val_fraction 2", "data.val_fraction is 2"),
    ("--data.val_fraction 0.0001", "leaves 2000 images for training and 0 for validation"),
    ("--data.folds 5", "data.folds is 5 and data.fold is None; give both or neither"),
    ("--data.folds 5 --data.fold 0 --data.val_fraction 0.1", "data.folds is 5 and data.val_fraction is 0.1; give one"),
    ("--data.train_fraction 0.01", "more than the"),
    ("--data.split_seed -1", "data.split_seed is -1"),
    ("--data.num_workers -1", "data.num_workers is -1"),
    ("--data.progressive 400", "data.progressive is 400; it must be from 4 to the image's 28 px"),
    ("--data.progressive 16", "lenet5 accepts no images of 16 px"),
    ("--data.progressive 16 --trainer.max_epochs -1", "data.progressive grows with the epochs; set"),
    ("--trainer.val_check_interval 5000", "`val_check_interval` (5000) must be less than or equal to the number of"),
    ("--data.augment.cop 4", "takes no option 'cop'; did you mean 'crop'"),
    ("--data.augment.crop -4", "augment.crop is -4"),
    ("--data.augment.crop 40 --data.augment.padding reflect", "augment.crop is 40"),
    ("--data.augment.flip nan", "data.augment.flip must be float or alternate, not 'nan'"),
    ("--data.augment.padding mirror", "data.augment.padding must be zero or reflect"),
    ("--data CIFAR11", "data must be a class by its import path"),
    ("--data nowhere.Data", "nowhere.Data cannot be made: No module named 'nowhere'"),
    ("--data torch.nn.Linear", "data must be a kind of ImageData by its import path"),
    ("--data cnn_zoo.data.ImageFolder", "cannot be made: the following arguments are required: root"),
    ("--data.sample false --data.root /dev/null/data", "is not in /dev/null/data"),
    ("--early_stopping.patince 3", "takes no option 'patince'; did you mean 'patience'"),
    ("--early_stopping.patience soon", "early_stopping.patience must be int"),
    ("--early_stopping.mode up", "early_stopping.mode must be min or max"),
    ("--early_stopping.monitor val/acc", "early_stopping.monitor is 'val/acc'; it must be one of train/loss"),
    ("--checkpoint.monitor val/acc", "checkpoint.monitor is 'val/acc'"),
    ("--export os.system", "export must be a kind of Export by its import path"),
    ("--export int8", "export is a group of keys, not 'int8'; set some of --export.opset"),
    ("--ema 0.99", "ema is a group of keys, not '0.99'; set some of --ema."),
    ("--data.augment 4", "data.augment is a group of keys, not '4'; set some of --data.augment.crop"),
    ("--finetuning [stem]", "finetuning is a group of keys, not \"['stem']\"; set some of --finetuning.freeze"),
    ("--prune 0.5", "prune is a group of keys, not '0.5'; set some of --prune.macs, --prune.params, --prune.sram"),
    ("--ema.decay 2", "Invalid decay value 2.0"),
    ("--config nowhere.yaml", "nowhere.yaml"),
    ("--config /", "not a file: '/'"),
    ("stray.yaml", "unrecognized arguments: stray.yaml"),
    ("--ckpt_path nowhere.ckpt", "There is no checkpoint 'nowhere.ckpt'"),
    ("--ckpt_path=", "There is no checkpoint ''"),
]
YAMLS = [
    ("modle: {backbone: lenet5}", "modle"),
    ("model: [", "parsing"),
    ("model: {backbone: resnet19}", "no backbone 'resnet19'"),
    ("[1, 2]", "[1, 2]"),
    ("trainer: [1]", "trainer must be keys with values"),
    ("data: {class_path: cnn_zoo.data.MNIST, init_args: {smaple: true}}", "did you mean 'sample'"),
    ("data: {class_path: os.system, init_args: {command: mkdir ran}}", "data must be a kind of ImageData"),
    ("export: {class_path: subprocess.Popen, init_args: {args: [mkdir, ran]}}", "export must be a kind of Export"),
    ("model: !!python/object/apply:os.mkdir [ran]", "python/object/apply:os.mkdir' is refused"),
    ("model: {backbone: !!python/name:os.mkdir }", "python/name:os.mkdir' is refused"),
    ("model: {backbone_args: !!python/object/new:os.mkdir [ran]}", "python/object/new:os.mkdir' is refused"),
    (b"model: {backbone: \xff\xfe}", "'utf-8' codec can't decode"),
    (b"\x00\x01\x02", "control characters are not allowed"),
]


def digests(folder):
    return {path: hashlib.md5(path.read_bytes()).hexdigest() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def runs(finished_run, tmp_path_factory):
    """A folder with one finished run, which no mistake may touch."""
    runs = tmp_path_factory.mktemp("runs")
    shutil.copytree(finished_run, runs / "quickstart" / "version_0")
    return runs


@pytest.fixture
def check_refused(runs, tmp_path, monkeypatch, invoke):
    """Check that `fit` refuses the quick start's configuration with these words, and that the finished run is kept."""
    monkeypatch.setattr("cnn_zoo.data.FashionMNIST.sources", ("http://127.0.0.1:9",))
    monkeypatch.chdir(tmp_path)

    def check(message, *words):
        before = digests(runs)
        result = invoke(fit.main, "--config", QUICK, "--trainer.default_root_dir", runs, *words)
        assert_refused(result, message)
        assert before.items() <= digests(runs).items()
        assert not (tmp_path / "ran").exists()  # the folder that malicious YAMLs would make

    return check


@pytest.mark.parametrize(("words", "message"), WORDS, ids=[words for words, _ in WORDS])
def test_a_mistake_on_the_command_line(words, message, check_refused):
    check_refused(message, *words.split())


@pytest.mark.parametrize(("text", "message"), YAMLS, ids=[str(text)[:60] for text, _ in YAMLS])
def test_a_mistake_in_a_yaml(text, message, check_refused, tmp_path):
    (tmp_path / "wrong.yaml").write_bytes(text if isinstance(text, bytes) else text.encode())
    check_refused(message, "--config", tmp_path / "wrong.yaml")


@pytest.mark.parametrize(
    ("second_image", "words", "message"),
    [
        (b"not an image", [], "b/1.png cannot be read"),
        (None, ["--data.image_size=8"], "at least 12 px, but image_size is 8"),
        (None, ["--data.batch_size=50"], "more than the"),
    ],
)
def test_a_mistake_in_a_folder_of_images(second_image, words, message, check_refused, tmp_path):
    folder = tmp_path / "images"
    for name, gray in (("a", 1), ("b", 2)):
        (folder / name).mkdir(parents=True)
        for i in range(9):
            Image.new("RGB", (40, 40), (gray,) * 3).save(folder / name / f"{i}.png")
    if second_image:
        (folder / "b" / "1.png").write_bytes(second_image)
    data = ["--data", "cnn_zoo.data.ImageFolder", "--data.root", folder, "--data.image_size", 32]
    check_refused(message, *data, *words)


def test_a_command_without_a_configuration(invoke):
    assert_refused(invoke(fit.main), "model.backbone, data must be given; name a YAML file, --config FILE.yaml")


@pytest.mark.parametrize(
    ("word", "meant"),
    [
        ("model.bakbone", "model.backbone"),
        ("modle.backbone", "model.backbone"),
        ("max_epochs", "trainer.max_epochs"),
        ("model.max_epochs", "trainer.max_epochs"),
        ("color", "color"),
        ("epochs", "trainer.max_epochs"),
        ("trainer.gpus", "trainer.devices"),
        ("seed", "seed_everything"),
        ("model.learning_rate", "model.optimizer_args.lr"),
        ("pretrained", "model.weights"),
    ],
)
def test_the_key_that_was_meant_is_suggested(word, meant):
    assert (
        near_miss(word, ["model.backbone", "model.loss", "trainer.max_epochs", "color"]) == f" did you mean {meant!r}?"
    )


@pytest.mark.parametrize("word", ["model.glass", "shape", "model.los_angeles", "lr2"])
def test_a_word_of_another_meaning_is_not_suggested(word):
    assert near_miss(word, ["model.backbone", "model.loss", "size", "ema"]) == ""


def test_each_synonym_means_a_key_that_exists(invoke):
    keys = "".join(
        invoke(fit.main, *words).out for words in (["--help", "all"], ["--early_stopping.help"], ["--finetuning.help"])
    )
    for meant in SYNONYMS.values():
        assert meant.partition("_args")[0] in keys  # the arguments are those of the network or the optimizer


@pytest.mark.parametrize(
    ("message", "sentence"),
    [
        ("A text\n  that no pattern  matches", "A text that no pattern matches"),
        ('Parser key "a":\n  Errors:\n    - the first\n    - the second', "the first"),
    ],
)
def test_an_unknown_message_becomes_one_line(message, sentence):
    assert one_sentence(message, []) == sentence
