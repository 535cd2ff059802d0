"""Every experiment is a valid configuration, tells how it is run and what it measured, and takes training steps."""

import json
import math
import re

import pytest
import yaml
from conftest import ROOT, fit_quick  # noqa: F401

from cnn_zoo import fit

EXPERIMENTS = sorted((ROOT / "experiments").rglob("*.yaml"))
NAMES = [str(path.relative_to(ROOT / "experiments")) for path in EXPERIMENTS]
