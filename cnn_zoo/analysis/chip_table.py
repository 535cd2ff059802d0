"""The costs of networks on a chip as rows: of a table for people, a CSV file and a picture."""

from collections.abc import Mapping, Sequence
from typing import Any

from cnn_zoo.analysis.chip import Chip
from cnn_zoo.analysis.chip_costs import LEVELS, OperationCost, operation_costs, total_costs
from cnn_zoo.analysis.graph import Graph

UNITS = {  # key of a row: its title for people
    "layer": "layer",
    "network": "network",
    "kind": "kind",
    "macs": "MACs",
    "weights_kb": "weights kB",
    "alive_kb": "alive kB",
    "sram_kb": "SRAM kB",
    "flash_kb": "flash kB",
    "dram_kb": "{memory} kB",
    "buffer_kb": "buffer kB",
    "cycles": "cycles",
    "latency_ms": "ms",
    "utilization": "used %",
    "intensity": "MACs/B",
    "bound": "bound",
    "energy_uj": "µJ",
}
LAYER_COLUMNS: tuple[str, ...] = (
    "layer",
    "kind",
    "macs",
    "weights_kb",
    "alive_kb",
    "dram_kb",
    "buffer_kb",
    "cycles",
    "utilization",
)
LAYER_COLUMNS += ("intensity", "bound", "energy_uj")
NETWORK_COLUMNS: tuple[str, ...] = (
    "network",
    "macs",
    "flash_kb",
    "sram_kb",
    "dram_kb",
    "buffer_kb",
    "latency_ms",
    "utilization",
)
NETWORK_COLUMNS += ("intensity", "bound", "energy_uj")
TEXTS = ("layer", "network", "kind", "bound")


def layer_rows(graph: Graph, chip: Chip) -> list[dict[str, Any]]:
    """Return a row for each operation, with LAYER_COLUMNS and more columns for the CSV file."""
    return [layer_row(cost, chip) for cost in operation_costs(graph, chip)]


def layer_row(cost: OperationCost, chip: Chip) -> dict[str, Any]:
    row = {
        "layer": cost.name,
        "kind": cost.kind,
        "macs": cost.macs,
        "weights_kb": cost.weight_bytes / 1e3,
        "alive_kb": cost.alive_bytes / 1e3,
        "dram_kb": cost.dram_bytes / 1e3,
        "buffer_kb": cost.buffer_bytes / 1e3,
        "compute_cycles": cost.compute_cycles,
        "memory_cycles": cost.memory_cycles,
        "cycles": cost.cycles,
        "utilization": cost.macs / (chip.macs_per_cycle * cost.cycles) if cost.cycles else 0.0,
        "intensity": cost.intensity,
        "bound": cost.bound,
        "energy_uj": cost.energy,
    }
    return row | {f"{level}_uj": cost.energy_uj[level] for level in LEVELS}


def network_row(name: str, graph: Graph, chip: Chip) -> dict[str, Any]:
    """Return the row of a whole network, with NETWORK_COLUMNS and more columns for the CSV file."""
    costs = operation_costs(graph, chip)
    totals = total_costs(costs, chip)
    macs, dram_bytes = sum(cost.macs for cost in costs), sum(cost.dram_bytes for cost in costs)
    memory_bound = sum(cost.cycles for cost in costs if cost.bound == "memory")
    row = {"network": name, "macs": macs, **totals}
    row |= {
        "buffer_kb": sum(cost.buffer_bytes for cost in costs) / 1e3,
        "cycles": sum(cost.cycles for cost in costs),
        "intensity": macs / dram_bytes if dram_bytes else 0.0,
        "bound": "memory" if memory_bound > sum(cost.cycles for cost in costs) / 2 else "compute",
    }
    return row | {f"{level}_uj": sum(cost.energy_uj[level] for cost in costs) for level in LEVELS}


def column_title(column: str, chip: Chip) -> str:
    """Return the title of a column for people."""
    return UNITS[column].format(memory=chip.outer_memory)


def cell(row: Mapping[str, Any], column: str) -> str:
    """Return a value as a person reads it."""
    value = row[column]
    if column in TEXTS:
        return str(value)
    if column in ("macs", "cycles"):
        return f"{value:,.0f}" if value else ""
    if column == "utilization":
        return f"{100 * value:.1f}" if value else ""
    if column in ("intensity", "latency_ms", "energy_uj"):
        return f"{value:,.2f}"
    return f"{value:,.1f}"


def describe_totals(row: Mapping[str, Any], chip: Chip) -> str:
    """Return sentences on a whole network."""
    fits = "which fit" if row["sram_kb"] * 1e3 <= chip.buffer_bytes else "which do NOT fit"
    milliwatts = row["energy_uj"] / row["latency_ms"] if row["latency_ms"] else 0.0
    shares = {level: row[f"{level}_uj"] / row["energy_uj"] for level in LEVELS} if row["energy_uj"] else {}
    by_level = ", ".join(f"{level_name(level, chip)} {share:.0%}" for level, share in shares.items() if share >= 0.005)
    each_mac = row["energy_uj"] * 1e6 / row["macs"] if row["macs"] else 0.0
    return "\n".join(
        [
            f"Memory: {row['flash_kb']:,.1f} kB of weights and biases; at most {row['sram_kb']:,.1f} kB of activations "
            f"at a time, {fits} in the {chip.buffer_bytes / 1e3:,.1f} kB on the chip.",
            f"Time: {row['cycles']:,.0f} cycles, {row['latency_ms']:,.2f} ms at {chip.clock_mhz:g} MHz; "
            f"{row['utilization']:.1%} of {chip.macs_per_cycle:.3g} MACs per cycle are used.",
            f"Traffic: {row['dram_kb']:,.1f} kB of {chip.outer_memory}, {row['buffer_kb']:,.1f} kB of buffer; "
            f"{row['intensity']:.2f} MACs per byte of {chip.outer_memory}, compute-bound from {chip.ridge:.3g} on.",
            f"Energy, an estimate: {row['energy_uj']:,.2f} µJ per image, {each_mac:,.1f} pJ per MAC, "
            f"{milliwatts:,.1f} mW ({by_level}).",
        ]
    )


def level_name(level: str, chip: Chip) -> str:
    """Return the name of a level of energy for people."""
    return {"mac": "MAC", "dram": chip.outer_memory}.get(level, level)


def picture_points(rows: Sequence[Mapping[str, Any]], chip: Chip) -> list[dict[str, Any]]:
    """Return what `plots.chip_picture` draws for each row."""
    return [
        {
            "name": row.get("layer") or row.get("network") or row["kind"],
            "macs": row["macs"],
            "intensity": row["intensity"],
            "achieved": row["utilization"] * chip.macs_per_cycle,
            "bound": row["bound"],
            "energy": {level_name(level, chip): row[f"{level}_uj"] for level in LEVELS},
        }
        for row in rows
    ]


def markdown_rows(rows: Sequence[Mapping[str, Any]], columns: Sequence[str], chip: Chip) -> str:
    """Return a Markdown table of these columns."""
    lines = [
        "| " + " | ".join(column_title(column, chip) for column in columns) + " |",
        "|" + "|".join("---" if column in TEXTS else "---:" for column in columns) + "|",
    ]
    lines += ["| " + " | ".join(cell(row, column) for column in columns) + " |" for row in rows]
    return "\n".join(lines)
