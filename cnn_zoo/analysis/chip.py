"""An accelerator or microcontroller: the figures from which the cost of a network on it follows."""

import difflib
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import Any

import yaml

from cnn_zoo.errors import UserError
from cnn_zoo.files import printable, read_text

PRESETS = {path.stem: path for path in sorted((Path(__file__).parent / "chips").glob("*.yaml"))}
DATAFLOWS: dict[str, tuple[str, ...]] = {  # each with the figures that only it needs
    "row_stationary": ("neighbor_pj", "filters_per_pe", "weights_per_pe"),
    "weight_stationary": (),
    "plain_loads": (),
}
TEXTS = ("dataflow", "outer_memory")
WHOLE: tuple[str, ...] = ("rows", "columns", "buffer_bytes", "weight_bits", "activation_bits", "bias_bits")
WHOLE += ("filters_per_pe", "weights_per_pe")
MAY_BE_ZERO = ("mac_pj", "register_pj", "neighbor_pj", "buffer_pj_per_byte", "dram_pj_per_byte")
TOTALS = ("sram_kb", "flash_kb", "dram_kb", "latency_ms", "utilization", "energy_uj")  # of a network on a chip
LARGEST_FILE = 100_000  # bytes


@dataclass(frozen=True, kw_only=True)
class Chip:
    """The figures of a chip. Its YAML file has the source of each one.

    Args:
        dataflow: A key of DATAFLOWS: which operands stay where while the array computes, see `analysis.dataflow`.
        rows, columns: The array of processing elements (PEs).
        cycles_per_mac: The cycles that a PE needs for a multiply-accumulate (MAC).
        buffer_bytes: The on-chip memory that all PEs share: a global buffer, a scratchpad, or the SRAM.
        outer_memory: The name of the memory behind the buffer: DRAM or flash.
        dram_bytes_per_cycle: The bandwidth of the outer memory.
        bias_bits: The bits of a bias and of a partial sum.
        mac_pj, register_pj, neighbor_pj: The energy of a MAC, of a register access, and of a transfer to the
            neighboring PE, in picojoules.
        buffer_pj_per_byte, dram_pj_per_byte: The energy to read or write a byte of the buffer and the outer memory.
        filters_per_pe: The filters whose weights a PE keeps in its registers at a time.
        weights_per_pe: The number of weights that fit in the registers of a PE.
    """

    name: str
    dataflow: str
    rows: int
    columns: int
    cycles_per_mac: float
    clock_mhz: float
    buffer_bytes: int
    outer_memory: str
    dram_bytes_per_cycle: float
    weight_bits: int
    activation_bits: int
    bias_bits: int
    mac_pj: float
    register_pj: float
    buffer_pj_per_byte: float
    dram_pj_per_byte: float
    neighbor_pj: float = 0
    filters_per_pe: int = 1
    weights_per_pe: int = 1

    @property
    def macs_per_cycle(self) -> float:
        """The peak of the whole array."""
        return self.rows * self.columns / self.cycles_per_mac

    @property
    def ridge(self) -> float:
        """The MACs for each byte of the outer memory from which on a layer is compute-bound."""
        return self.macs_per_cycle / self.dram_bytes_per_cycle


def load_chip(name: str | Path) -> Chip:
    """Return a preset by its name (`eyeriss`), or the chip of a YAML file.

    Raises:
        UserError: There is no such chip, or the file lacks a figure, has an unknown one or a wrong value.
    """
    name = str(name)
    path = PRESETS.get(name)
    if path is None:
        path = Path(name)
        if path.suffix not in (".yaml", ".yml"):
            raise UserError(f"There is no chip {printable(repr(name))}; {near_misses(name, PRESETS)}.")
    try:
        figures = yaml.safe_load(read_text(path, LARGEST_FILE))
    except OSError as error:
        raise UserError(f"There is no chip file {printable(name)}; {near_misses(path.stem, PRESETS)}.") from error
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise UserError(f"{printable(name)} is not a YAML file of figures, one FIGURE: VALUE a line.") from error
    if not isinstance(figures, dict):
        raise UserError(f"{printable(name)} is not a YAML file of figures, one FIGURE: VALUE a line.")
    return Chip(name=path.stem, **checked_figures(figures, printable(name)))


def near_misses(name: str, presets: dict[str, Path]) -> str:
    """Return the end of a message about a chip that does not exist."""
    near = difflib.get_close_matches(name, presets)
    if near:
        return f"did you mean {' or '.join(near)}"
    return f"choose {', '.join(presets)}, or give a YAML file of your own"


def checked_figures(figures: dict[Any, Any], source: str) -> dict[str, Any]:
    """Return the figures if they are complete and possible.

    Raises:
        UserError: They are not.
    """
    known = [field.name for field in fields(Chip) if field.name != "name"]
    for figure in figures:
        if figure not in known:
            near = difflib.get_close_matches(str(figure), known, 1)
            hint = f"did you mean {near[0]}" if near else f"the figures are {', '.join(known)}"
            raise UserError(f"{source} has an unknown figure {printable(repr(figure))}; {hint}.")
    dataflow = figures.get("dataflow")
    if dataflow is not None and dataflow not in DATAFLOWS:
        raise UserError(f"{source} has the dataflow {printable(repr(dataflow))}; choose {', '.join(DATAFLOWS)}.")
    required = [field.name for field in fields(Chip) if field.default is MISSING and field.name != "name"]
    required += DATAFLOWS.get(dataflow or "", ())
    missing = [figure for figure in required if figures.get(figure) is None]
    if missing:
        raise UserError(f"{source} lacks {', '.join(missing)}; each figure needs a line such as {missing[0]}: VALUE.")
    for figure, value in figures.items():
        if figure not in TEXTS:
            require_number(figure, value, source)
    return figures


def require_number(figure: str, value: Any, source: str) -> None:
    """Raise UserError unless a figure has a finite number in its range."""
    if figure in WHOLE:
        if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value < 1e15:
            raise UserError(f"{source} has {figure}: {printable(value)}; it must be a whole number from 1.")
        return
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    is_in_range = is_number and (0 < value < 1e15 or (value == 0 and figure in MAY_BE_ZERO))
    if not is_in_range:
        least = "0 or above" if figure in MAY_BE_ZERO else "above 0"
        raise UserError(f"{source} has {figure}: {printable(value)}; it must be a number {least}.")
