"""Parameters and MACs (convolution and linear, one image) of every network.

From 224 px on there are 1000 classes, below 10; 28 px means 1 channel, else there are 3.
What has no source beside it is our own count. Sources: T torchvision's num_params and _ops; P the paper; C the course;
K pytorchcv's counts: parameters alone for DenseNet-40, DenseNet-BC-100 and HarDNet, since its "FLOPs / 2" of these
(210.80 M, 298.45 M, .4375 G, .7889 G, 4.256 G, 9.089 G) also counts batch norms, activations and pooling.
"""

from cnn_zoo.backbones import ZOO

COMPLEXITY = [
    # name, arguments, image_size, parameters, MACs
    ("mlp", {}, 28, 535_818, 535_040),  # by hand: 784-512-256-10
    ("lab_cnn", {}, 28, 885, 53_430),  # C
    ("lab_cnn", {}, 32, 1_305, 192_300),
    ("lenet5", {}, 28, 61_706, 416_520),  # P, C
    ("simple_cnn", {}, 32, 60_554, 5_644_288),  # C
    ("alexnet", {}, 224, 61_100_840, 714_188_480),  # T
    ("alexnet", {}, 32, 4_816_714, 222_761_984),
    ("vgg11", {"batch_norm": False}, 224, 132_863_336, 7_609_090_048),  # T
    ("vgg13", {"batch_norm": False}, 224, 133_047_848, 11_308_466_176),  # T
    ("vgg16", {"batch_norm": False}, 224, 138_357_544, 15_470_264_320),  # T
    ("vgg19", {"batch_norm": False}, 224, 143_667_240, 19_632_062_464),  # T
    ("vgg11", {}, 224, 132_868_840, 7_609_090_048),  # T
    ("vgg13", {}, 224, 133_053_736, 11_308_466_176),  # T
    ("vgg16", {}, 224, 138_365_992, 15_470_264_320),  # T
    ("vgg19", {}, 224, 143_678_248, 19_632_062_464),  # T
    ("vgg11", {}, 32, 9_231_114, 152_769_536),
    ("vgg16", {}, 32, 14_728_266, 313_201_664),
    ("nin", {}, 32, 966_986, 222_486_528),  # K: parameters; MACs by hand (the often-quoted 222.97 M is 0.2 % more)
    ("nin", {}, 224, 7_595_176, 1_100_188_800),
    ("googlenet", {"five_by_five": False}, 224, 6_624_904, 1_498_376_192),  # T
    ("googlenet", {"five_by_five": False, "aux": True}, 224, 13_004_888, 1_498_376_192),  # T: parameters
    ("googlenet", {}, 224, 7_005_832, 1_582_671_872),
    ("googlenet", {}, 32, 5_983_402, 479_700_992),
    ("resnet18", {}, 224, 11_689_512, 1_814_073_344),  # T
    ("resnet34", {}, 224, 21_797_672, 3_663_761_408),  # T
    ("resnet50", {}, 224, 25_557_032, 4_089_184_256),  # T
    ("resnet101", {}, 224, 44_549_160, 7_801_405_440),  # T
    ("resnet152", {}, 224, 60_192_808, 11_513_626_624),  # T
    ("resnet18", {}, 32, 11_173_962, 555_422_720),  # K
    ("resnet20", {}, 32, 269_722, 40_551_040),  # K
    ("resnet32", {}, 32, 464_154, 68_862_592),  # K
    ("resnet44", {}, 32, 658_586, 97_174_144),  # K
    ("resnet56", {}, 32, 853_018, 125_485_696),  # K
    ("resnet110", {}, 32, 1_727_962, 252_887_680),  # K
    ("resnet20", {"shortcut": "B"}, 32, 272_474, 40_813_184),  # K
    ("resnet56", {"shortcut": "B"}, 32, 855_770, 125_747_840),  # K
    ("resnet110", {"shortcut": "B"}, 32, 1_730_714, 253_149_824),  # K
    ("resnet9", {}, 32, 6_573_130, 379_261_952),  # its author: 6.6 M
    ("resnet9", {"width": 16, "stem_stride": 2}, 32, 412_954, 6_010_112),
    ("plain20", {}, 32, 269_722, 40_551_040),  # as resnet20: its shortcuts have no parameters
    ("plain32", {}, 32, 464_154, 68_862_592),
    ("plain44", {}, 32, 658_586, 97_174_144),
    ("plain56", {}, 32, 853_018, 125_485_696),
    ("plain34", {}, 224, 21_623_848, 3_644_493_824),  # resnet34 less its three projections
    ("densenet121", {}, 224, 7_978_856, 2_834_161_664),  # T
    ("densenet161", {}, 224, 28_681_000, 7_727_907_072),  # T
    ("densenet169", {}, 224, 14_149_480, 3_359_843_328),  # T
    ("densenet201", {}, 224, 20_013_928, 4_291_365_888),  # T
    ("densenet40_k12", {}, 32, 599_050, 205_906_452),  # K
    ("densenet_bc100_k12", {}, 32, 769_162, 287_929_692),  # K, P: .8 M
    ("mobilenet_v1", {}, 224, 4_231_976, 568_740_352),  # P: 4.2 M, 569 M
    ("mobilenet_v1", {"width": 0.75}, 224, 2_585_560, 325_400_448),  # P: 2.6 M, 325 M
    ("mobilenet_v1", {"width": 0.5}, 224, 1_331_592, 149_497_088),  # P: 1.3 M, 149 M
    ("mobilenet_v1", {"width": 0.25}, 224, 470_072, 41_030_272),  # P: .5 M, 41 M
    ("mobilenet_v1", {"separable": False}, 224, 29_294_088, 4_867_293_184),  # P: 29.3 M, 4866 M without the last layer
    ("mobilenet_v2", {}, 224, 3_504_872, 300_774_272),  # T
    ("mobilenet_v3_small", {}, 224, 2_542_856, 56_510_400),  # T
    ("mobilenet_v3_large", {}, 224, 5_483_032, 216_589_760),  # T
    ("shufflenet_v1", {}, 224, 1_865_728, 137_460_672),  # P: 1.9 M, 138 M (137 M in its Table 1)
    ("shufflenet_v1", {"groups": 8}, 224, 2_434_768, 138_365_952),  # the authors: 2.4 M, 138 M
    ("shufflenet_v1", {"width": 0.5}, 224, 718_324, 37_589_856),  # P: .7 M, 38 M
    ("shufflenet_v1", {"width": 1.5}, 224, 3_442_168, 292_443_552),  # P: 3.4 M, 292 M
    ("shufflenet_v1", {"width": 2.0}, 224, 5_450_776, 524_045_184),  # P: 5.4 M, 524 M
    ("shufflenet_v2", {"width": 0.5}, 224, 1_366_792, 40_476_448),  # T
    ("shufflenet_v2", {}, 224, 2_278_604, 144_907_992),  # T
    ("shufflenet_v2", {"width": 1.5}, 224, 3_503_624, 295_759_392),  # T
    ("shufflenet_v2", {"width": 2.0}, 224, 7_393_996, 583_253_464),  # T
    ("efficientnet", {}, 224, 5_288_548, 385_814_752),  # T: b0
    ("efficientnet", {"width": 1.1, "depth": 1.2, "dropout": 0.3}, 288, 9_109_994, 1_087_529_456),  # T: b2
    # T: b0 to b7, each at the resolution it was made for
    ("efficientnet_b0", {}, 224, 5_288_548, 385_814_752),
    ("efficientnet_b1", {}, 240, 7_794_184, 686_802_832),
    ("efficientnet_b2", {}, 288, 9_109_994, 1_087_529_456),
    ("efficientnet_b3", {}, 300, 12_233_232, 1_827_141_392),
    ("efficientnet_b4", {}, 380, 19_341_616, 4_393_771_024),
    ("efficientnet_b5", {}, 456, 30_389_784, 10_266_384_752),
    ("efficientnet_b6", {}, 528, 43_040_704, 19_067_593_536),
    ("efficientnet_b7", {}, 600, 66_347_960, 37_745_884_192),
    ("hardnet39ds", {}, 224, 3_488_228, 429_471_474),  # K, P: 3.5 M
    ("hardnet68ds", {}, 224, 4_180_602, 775_281_526),  # K, P: 4.2 M
    ("hardnet68", {}, 224, 17_565_348, 4_246_114_304),  # K, P: 17.6 M
    ("hardnet85", {}, 224, 36_670_212, 9_074_081_584),  # K, P: 36.7 M
]

DEEPER = {  # the code of another, deeper or wider
    *("resnet34", "resnet101", "resnet152", "resnet32", "resnet44", "resnet56", "resnet110", "vgg13", "vgg16", "vgg19"),
    *("plain32", "plain34", "plain44", "plain56", "densenet161", "densenet169", "densenet201", "hardnet85"),
    *(f"efficientnet_b{i}" for i in range(1, 8)),
}
FAMILIES = sorted(set(ZOO) - DEEPER)
