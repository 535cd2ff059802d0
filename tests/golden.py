"""The parameters and MACs of every network.

MACs are those of convolutions and linear layers for one image. From 224 px on there are 1000 classes, below 10. At
28 px an image has 1 channel, else 3.

A comment names the published source that gives the same numbers; a line without one has our own count alone.
"torchvision" is its num_params and _ops. "pytorchcv" gives the parameters alone for DenseNet-40, DenseNet-BC-100 and
HarDNet: its "FLOPs / 2" of these (210.80 M, 298.45 M, .4375 G, .7889 G, 4.256 G, 9.089 G) also counts batch norms,
activations and pooling.
"""

from typing import Any, NamedTuple

from cnn_zoo.backbones import ZOO


class Golden(NamedTuple):
    """The cost of one network at one image size."""

    name: str
    arguments: dict[str, Any]
    px: int
    parameters: int
    macs: int


GOLDEN = [
    Golden("mlp", {}, px=28, parameters=535_818, macs=535_040),  # by hand: 784-512-256-10
    Golden("lab_cnn", {}, px=28, parameters=885, macs=53_430),  # course
    Golden("lab_cnn", {}, px=32, parameters=1_305, macs=192_300),
    Golden("lenet5", {}, px=28, parameters=61_706, macs=416_520),  # paper, course
    Golden("lenet5", {"c1": 2, "c3": 4, "c5": 8, "f6": 8}, px=28, parameters=1_226, macs=60_144),  # by hand
    Golden("simple_cnn", {}, px=32, parameters=60_554, macs=5_644_288),  # course
    Golden("stacked_cnn", {}, px=32, parameters=72_954, macs=9_880_192),  # by hand
    Golden("stacked_cnn", {"kernel_size": 5, "depth": 1}, px=32, parameters=66_074, macs=7_783_040),
    Golden("stacked_cnn", {"separable": True, "batch_norm": False}, px=32, parameters=10_682, macs=1_804_928),
    Golden("alexnet", {}, px=224, parameters=61_100_840, macs=714_188_480),  # torchvision
    Golden("alexnet", {}, px=32, parameters=4_816_714, macs=222_761_984),
    Golden("vgg11", {"batch_norm": False}, px=224, parameters=132_863_336, macs=7_609_090_048),  # torchvision
    Golden("vgg13", {"batch_norm": False}, px=224, parameters=133_047_848, macs=11_308_466_176),  # torchvision
    Golden("vgg16", {"batch_norm": False}, px=224, parameters=138_357_544, macs=15_470_264_320),  # torchvision
    Golden("vgg19", {"batch_norm": False}, px=224, parameters=143_667_240, macs=19_632_062_464),  # torchvision
    Golden("vgg11", {}, px=224, parameters=132_868_840, macs=7_609_090_048),  # torchvision
    Golden("vgg13", {}, px=224, parameters=133_053_736, macs=11_308_466_176),  # torchvision
    Golden("vgg16", {}, px=224, parameters=138_365_992, macs=15_470_264_320),  # torchvision
    Golden("vgg19", {}, px=224, parameters=143_678_248, macs=19_632_062_464),  # torchvision
    Golden("vgg11", {}, px=32, parameters=9_231_114, macs=152_769_536),
    Golden("vgg16", {}, px=32, parameters=14_728_266, macs=313_201_664),
    # pytorchcv: parameters; MACs by hand (the often-quoted 222.97 M is 0.2 % more)
    Golden("nin", {}, px=32, parameters=966_986, macs=222_486_528),
    Golden("nin", {}, px=224, parameters=7_595_176, macs=1_100_188_800),
    Golden("googlenet", {"five_by_five": False}, px=224, parameters=6_624_904, macs=1_498_376_192),  # torchvision
    # torchvision: parameters
    Golden("googlenet", {"five_by_five": False, "aux": True}, px=224, parameters=13_004_888, macs=1_498_376_192),
    Golden("googlenet", {}, px=224, parameters=7_005_832, macs=1_582_671_872),
    Golden("googlenet", {}, px=32, parameters=5_983_402, macs=479_700_992),
    Golden("resnet18", {}, px=224, parameters=11_689_512, macs=1_814_073_344),  # torchvision
    Golden("resnet34", {}, px=224, parameters=21_797_672, macs=3_663_761_408),  # torchvision
    Golden("resnet50", {}, px=224, parameters=25_557_032, macs=4_089_184_256),  # torchvision
    Golden("resnet101", {}, px=224, parameters=44_549_160, macs=7_801_405_440),  # torchvision
    Golden("resnet152", {}, px=224, parameters=60_192_808, macs=11_513_626_624),  # torchvision
    Golden("resnet18", {}, px=32, parameters=11_173_962, macs=555_422_720),  # pytorchcv
    # MLPerf Tiny: 77,706 and 480,330 after folding, 12.5 M and 76.5 M; a batch norm has two parameters, a bias one
    Golden("resnet8", {}, px=32, parameters=77_946, macs=12_501_632),
    Golden("resnet8", {"width": 40}, px=32, parameters=480_930, macs=76_473_920),
    Golden("resnet20", {}, px=32, parameters=269_722, macs=40_551_040),  # pytorchcv
    Golden("resnet32", {}, px=32, parameters=464_154, macs=68_862_592),  # pytorchcv
    Golden("resnet44", {}, px=32, parameters=658_586, macs=97_174_144),  # pytorchcv
    Golden("resnet56", {}, px=32, parameters=853_018, macs=125_485_696),  # pytorchcv
    Golden("resnet110", {}, px=32, parameters=1_727_962, macs=252_887_680),  # pytorchcv
    Golden("resnet20", {"shortcut": "B"}, px=32, parameters=272_474, macs=40_813_184),  # pytorchcv
    Golden("resnet56", {"shortcut": "B"}, px=32, parameters=855_770, macs=125_747_840),  # pytorchcv
    Golden("resnet110", {"shortcut": "B"}, px=32, parameters=1_730_714, macs=253_149_824),  # pytorchcv
    Golden("resnet9", {}, px=32, parameters=6_573_130, macs=379_261_952),  # its author: 6.6 M
    Golden("resnet9", {"width": 16, "stem_stride": 2}, px=32, parameters=412_954, macs=6_010_112),
    Golden("plain20", {}, px=32, parameters=269_722, macs=40_551_040),  # as resnet20: its shortcuts have no parameters
    Golden("plain32", {}, px=32, parameters=464_154, macs=68_862_592),
    Golden("plain44", {}, px=32, parameters=658_586, macs=97_174_144),
    Golden("plain56", {}, px=32, parameters=853_018, macs=125_485_696),
    Golden("plain34", {}, px=224, parameters=21_623_848, macs=3_644_493_824),  # resnet34 less its three projections
    Golden("densenet121", {}, px=224, parameters=7_978_856, macs=2_834_161_664),  # torchvision
    Golden("densenet161", {}, px=224, parameters=28_681_000, macs=7_727_907_072),  # torchvision
    Golden("densenet169", {}, px=224, parameters=14_149_480, macs=3_359_843_328),  # torchvision
    Golden("densenet201", {}, px=224, parameters=20_013_928, macs=4_291_365_888),  # torchvision
    Golden("densenet40_k12", {}, px=32, parameters=599_050, macs=205_906_452),  # pytorchcv
    Golden("densenet_bc100_k12", {}, px=32, parameters=769_162, macs=287_929_692),  # pytorchcv, paper: .8 M
    Golden("mobilenet_v1", {}, px=224, parameters=4_231_976, macs=568_740_352),  # paper: 4.2 M, 569 M
    Golden("mobilenet_v1", {"width": 0.75}, px=224, parameters=2_585_560, macs=325_400_448),  # paper: 2.6 M, 325 M
    Golden("mobilenet_v1", {"width": 0.5}, px=224, parameters=1_331_592, macs=149_497_088),  # paper: 1.3 M, 149 M
    Golden("mobilenet_v1", {"width": 0.25}, px=224, parameters=470_072, macs=41_030_272),  # paper: .5 M, 41 M
    Golden("mobilenet_v1", {"width": 0.25}, px=96, parameters=215_642, macs=7_491_712),  # MLPerf Tiny's, 10 classes
    # paper: 29.3 M, 4866 M without the last layer
    Golden("mobilenet_v1", {"separable": False}, px=224, parameters=29_294_088, macs=4_867_293_184),
    Golden("mobilenet_v2", {}, px=224, parameters=3_504_872, macs=300_774_272),  # torchvision
    Golden("mobilenet_v3_small", {}, px=224, parameters=2_542_856, macs=56_510_400),  # torchvision
    Golden("mobilenet_v3_large", {}, px=224, parameters=5_483_032, macs=216_589_760),  # torchvision
    Golden("ofa", {}, px=32, parameters=448_890, macs=20_457_472),
    Golden("ofa", {"architecture": "20px 3x3 | 3x3 | 3x3"}, px=32, parameters=59_730, macs=1_446_424),
    Golden("ofa", {}, px=224, parameters=3_602_392, macs=557_099_808),
    # paper: 1.9 M, 138 M (137 M in its Table 1)
    Golden("shufflenet_v1", {}, px=224, parameters=1_865_728, macs=137_460_672),
    Golden("shufflenet_v1", {"groups": 8}, px=224, parameters=2_434_768, macs=138_365_952),  # the authors: 2.4 M, 138 M
    Golden("shufflenet_v1", {"width": 0.5}, px=224, parameters=718_324, macs=37_589_856),  # paper: .7 M, 38 M
    Golden("shufflenet_v1", {"width": 1.5}, px=224, parameters=3_442_168, macs=292_443_552),  # paper: 3.4 M, 292 M
    Golden("shufflenet_v1", {"width": 2.0}, px=224, parameters=5_450_776, macs=524_045_184),  # paper: 5.4 M, 524 M
    Golden("shufflenet_v2", {"width": 0.5}, px=224, parameters=1_366_792, macs=40_476_448),  # torchvision
    Golden("shufflenet_v2", {}, px=224, parameters=2_278_604, macs=144_907_992),  # torchvision
    Golden("shufflenet_v2", {"width": 1.5}, px=224, parameters=3_503_624, macs=295_759_392),  # torchvision
    Golden("shufflenet_v2", {"width": 2.0}, px=224, parameters=7_393_996, macs=583_253_464),  # torchvision
    Golden("efficientnet", {}, px=224, parameters=5_288_548, macs=385_814_752),  # torchvision: b0
    # torchvision: b2
    Golden(
        "efficientnet", {"width": 1.1, "depth": 1.2, "dropout": 0.3}, px=288, parameters=9_109_994, macs=1_087_529_456
    ),
    # torchvision: b0 to b7, each at the resolution it was made for
    Golden("efficientnet_b0", {}, px=224, parameters=5_288_548, macs=385_814_752),
    Golden("efficientnet_b1", {}, px=240, parameters=7_794_184, macs=686_802_832),
    Golden("efficientnet_b2", {}, px=288, parameters=9_109_994, macs=1_087_529_456),
    Golden("efficientnet_b3", {}, px=300, parameters=12_233_232, macs=1_827_141_392),
    Golden("efficientnet_b4", {}, px=380, parameters=19_341_616, macs=4_393_771_024),
    Golden("efficientnet_b5", {}, px=456, parameters=30_389_784, macs=10_266_384_752),
    Golden("efficientnet_b6", {}, px=528, parameters=43_040_704, macs=19_067_593_536),
    Golden("efficientnet_b7", {}, px=600, parameters=66_347_960, macs=37_745_884_192),
    Golden("hardnet39ds", {}, px=224, parameters=3_488_228, macs=429_471_474),  # pytorchcv, paper: 3.5 M
    Golden("hardnet68ds", {}, px=224, parameters=4_180_602, macs=775_281_526),  # pytorchcv, paper: 4.2 M
    Golden("hardnet68", {}, px=224, parameters=17_565_348, macs=4_246_114_304),  # pytorchcv, paper: 17.6 M
    Golden("hardnet85", {}, px=224, parameters=36_670_212, macs=9_074_081_584),  # pytorchcv, paper: 36.7 M
]

# Networks that share their code with another one of the zoo and are deeper or wider.
DEEPER = {
    "vgg13",
    "vgg16",
    "vgg19",
    "resnet34",
    "resnet101",
    "resnet152",
    "resnet32",
    "resnet44",
    "resnet56",
    "resnet110",
    "plain32",
    "plain34",
    "plain44",
    "plain56",
    "densenet161",
    "densenet169",
    "densenet201",
    "efficientnet_b1",
    "efficientnet_b2",
    "efficientnet_b3",
    "efficientnet_b4",
    "efficientnet_b5",
    "efficientnet_b6",
    "efficientnet_b7",
    "hardnet85",
}
FAMILIES = sorted(set(ZOO) - DEEPER)
