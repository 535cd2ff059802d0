"""The work of the command: measure subnets, choose one for each budget, and test those."""

import argparse
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Any

import torch

from cnn_zoo.analysis import plots
from cnn_zoo.backbones.once_for_all import Architecture
from cnn_zoo.callbacks.run_trainer import load_checkpoint_weights
from cnn_zoo.command_line.lightning_cli import CLI
from cnn_zoo.data.module import ImageData
from cnn_zoo.errors import UserError
from cnn_zoo.files import require_writable
from cnn_zoo.formats.run_folder import RunFolder, locked
from cnn_zoo.search.budget import Budget, read_budgets, ship
from cnn_zoo.search.evolve import evolve
from cnn_zoo.search.latency import Latency
from cnn_zoo.search.pictures import DIMENSIONS, draw_dimensions, draw_front, held
from cnn_zoo.search.ridge import kendall_tau
from cnn_zoo.search.subnets import Subnet, Subnets, best_of, fingerprint
from cnn_zoo.tasks import Supernet

ON_CPU = ["--trainer.accelerator=cpu", "--trainer.devices=1", "--trainer.num_nodes=1", "--trainer.strategy=auto"]
SILENT_SECONDS = 30  # between two lines where there is no terminal


def load_supernet(checkpoint: Path, overrides: Sequence[str] = ()) -> tuple[Supernet, ImageData, dict[str, Any]]:
    """Return a trained supernet, its data module, set up for training, and its configuration.

    Raises:
        UserError: There is no such checkpoint, it is no supernet, or there are no validation images.
    """
    if not checkpoint.is_file():
        raise UserError(f"There is no checkpoint {checkpoint}; RUN/checkpoints contains best.ckpt and last.ckpt.")
    run = RunFolder.of_checkpoint(checkpoint)
    config = run.read_config()
    cli = CLI(["--config", str(run.config), *ON_CPU, "--ckpt_path", str(checkpoint), *overrides], training=False)
    if not isinstance(cli.model, Supernet):
        raise UserError(
            f"{checkpoint} is a {config.get('model', {}).get('backbone')}, not a supernet; train one with "
            "python -m cnn_zoo.fit --config experiments/cifar10/ofa.yaml."
        )
    load_checkpoint_weights(cli.model, str(checkpoint))
    data = cli.datamodule
    data.prepare_data()
    data.setup("fit")
    if not len(data.sets["val"][1]):
        raise UserError("A search needs validation images; give it some, such as --data.val_fraction 0.1.")
    return cli.model.eval(), data, config


class Search:
    """A search in the subnets of one supernet.

    Args:
        options: Those of the command.
        overrides: Keys of the configuration with other values.

    Raises:
        UserError: There is no such checkpoint, it is no supernet, or the table is of another one.
    """

    def __init__(self, options: argparse.Namespace, overrides: Sequence[str]) -> None:
        self.options = options
        self.budgets = read_budgets({cost: getattr(options, f"max_{cost}") for cost in ("macs", "params", "ms")})
        task, self.data, self.config = load_supernet(options.ckpt, overrides)
        self.out = options.out or options.ckpt.parent.parent / "subnets"
        table = self.out / "subnets.csv"
        require_writable(table, overwrite=True)
        self.subnets = Subnets(task, self.data, table, fingerprint(options.ckpt, self.data))
        self.latency: Latency | None = None
        for budget in self.budgets:
            self.require_possible(budget)

    def require_possible(self, budget: Budget) -> None:
        """Raise UserError if the smallest subnet does not keep a budget that is known without timing it."""
        costs = self.subnets.costs(self.subnets.space.smallest)._asdict()
        for cost, bound in budget.bounds.items():
            if cost in costs and costs[cost] > bound:
                raise UserError(f"--max_{cost} is {bound:,.6g}, but the smallest subnet has {costs[cost]:,} {cost}.")

    # The table

    def fill_table(self) -> None:
        """Measure the first subnets."""
        plan = self.subnets.planned(self.options.samples, self.options.seed)
        known = sum(str(architecture) in self.subnets.measured for architecture, _ in plan)
        rest = "; the others are measured now" if known < len(plan) else ""
        print(f"{known} of {len(plan)} subnets are in {self.subnets.table}{rest}.")
        with progress("subnets measured", len(plan) - known) as advance:
            for architecture, kind in plan:
                if str(architecture) not in self.subnets.measured:
                    self.subnets.measure(architecture, kind)
                    advance()

    def describe_predictor(self) -> str:
        """Return how well the accuracy of a subnet is predicted from all other measured subnets."""
        subnets = list(self.subnets.measured.values())
        accuracies = torch.tensor([subnet.val_accuracy for subnet in subnets], dtype=torch.float64)
        left_out = self.subnets.predictor().left_out
        error = 100 * float((left_out - accuracies).abs().mean())
        tau = kendall_tau(left_out, accuracies)
        tau_macs = kendall_tau([subnet.macs for subnet in subnets], accuracies)
        return (
            f"Predicted from the other {len(subnets) - 1} subnets, the accuracy of a subnet is {error:.2f} points off; "
            f"Kendall's tau is {tau:.2f} (by MACs alone {tau_macs:.2f})."
        )

    # A budget

    def choose(self, budget: Budget) -> Subnet:
        """Return the best measured subnet within a budget, after measuring the most promising ones."""
        for number in range(self.options.rounds):
            random = Random(f"{self.options.seed} {budget.name} {number}")
            ranked = evolve(self.subnets.space, self.fits(budget), self.predict_accuracy(), random)
            new = [architecture for architecture in ranked if str(architecture) not in self.subnets.measured]
            with progress(f"{budget}, round {number + 1}", self.options.finalists) as advance:
                for architecture in new[: self.options.finalists]:
                    self.subnets.measure(architecture, "found")
                    advance()
            if self.latency and "ms" in budget.bounds:
                known = [architecture for architecture in ranked if str(architecture) in self.subnets.measured]
                self.latency.time(known[: self.options.finalists])
        chosen = best_of(self.within(budget, self.subnets.measured.values()))
        if chosen is None:
            raise UserError(f"No measured subnet has {budget}; more --rounds or --finalists may find one.")
        return chosen

    def predict_accuracy(self) -> Callable[[Sequence[Architecture]], list[float]]:
        """Return a function that predicts the validation accuracies of subnets."""
        predictor = self.subnets.predictor()
        return lambda architectures: predictor(self.subnets.features(architectures)).tolist()

    def fits(self, budget: Budget) -> Callable[[Architecture], bool]:
        """Return a function that tells whether a subnet keeps a budget, by its predicted time if the budget has one.

        Raises:
            UserError: Not even the smallest subnet keeps it.
        """
        predict_ms = self.predict_ms() if "ms" in budget.bounds else None

        def fits(architecture: Architecture) -> bool:
            costs: dict[str, float] = dict(self.subnets.costs(architecture)._asdict())
            if predict_ms:
                costs["ms"] = predict_ms(architecture)
            return budget.allows(costs)

        if predict_ms and not fits(self.subnets.space.smallest):
            smallest = predict_ms(self.subnets.space.smallest)
            raise UserError(
                f"--max_ms is {budget.bounds['ms']:g}, but the smallest subnet takes about {smallest:.3g} ms."
            )
        return fits

    def make_latency(self) -> Latency:
        """Return the times of the subnets that this machine has timed before."""
        return Latency(self.subnets, self.options.runs_as, self.options.batch_size, self.out)

    def predict_ms(self) -> Callable[[Architecture], float]:
        """Return a function that predicts the milliseconds of a subnet; the first call times some subnets for it."""
        if self.latency is None:
            self.latency = self.make_latency()
        latency = self.latency
        with progress("subnets timed", None) as advance:
            predictor = latency.predictor(advance)
        return lambda architecture: float(predictor(latency.features([architecture]))[0])

    def within(self, budget: Budget, subnets: Iterable[Subnet]) -> Iterator[Subnet]:
        """Yield those of the measured subnets that keep a budget. Of a time only what was timed counts."""
        milliseconds = self.latency.milliseconds if self.latency else {}
        for subnet in subnets:
            costs = {
                "macs": subnet.macs,
                "params": subnet.params,
                "ms": milliseconds.get(subnet.architecture, float("inf")),
            }
            if budget.allows(costs):
                yield subnet

    # The results

    def ship(self, budget: Budget, chosen: Subnet) -> list[str]:
        """Write the run folder of a budget; return the row of the printed table."""
        uniform = best_of(self.within(budget, held(self.subnets.measured, self.subnets.space, None)))
        facts: dict[str, Any] = {
            "budget": budget.bounds,
            "supernet": str(self.options.ckpt),
            "uniform_val_accuracy": uniform.val_accuracy if uniform else None,
        }
        milliseconds = self.latency.milliseconds.get(chosen.architecture) if self.latency else None
        if milliseconds is not None:
            facts |= {"ms": milliseconds, "ms_runs_as": self.options.runs_as, "ms_batch_size": self.options.batch_size}
        test_accuracy = ship(self.subnets, chosen, RunFolder(self.out / budget.name), self.config, facts)
        return [
            str(budget),
            chosen.architecture,
            f"{chosen.params:,}",
            f"{chosen.macs:,}",
            "" if milliseconds is None else f"{milliseconds:.3g}",
            f"{chosen.val_accuracy:.2%}",
            f"{uniform.val_accuracy:.2%}" if uniform else "",
            f"{test_accuracy:.2%}",
        ]

    def worth(self, bound: float) -> str:
        """Return what is lost within a number of MACs when a dimension is held at its largest choice."""
        measured, space = self.subnets.measured, self.subnets.space
        best = best_of(subnet for subnet in held(measured, space, None) if subnet.macs <= bound)
        if best is None:
            return f"No uniform subnet that was measured has {bound:,.0f} MACs or less."
        losses = []
        for dimension in DIMENSIONS:
            kept = best_of(subnet for subnet in held(measured, space, dimension) if subnet.macs <= bound)
            loss = f"{100 * (best.val_accuracy - kept.val_accuracy):.2f} points" if kept else "everything (too large)"
            losses.append(f"{dimension} {loss}")
        return (
            f"What the best uniform subnet within {bound:,.0f} MACs loses if one dimension stays at its largest: "
            f"{', '.join(losses)}."
        )


def search(options: argparse.Namespace, overrides: Sequence[str]) -> None:
    """Run the command. Every measurement is kept at once, so that a stopped search continues."""
    found = Search(options, overrides)
    found.out.mkdir(parents=True, exist_ok=True)
    with locked(RunFolder(found.out), "searches", "choose another folder with --out"):
        found.fill_table()
        print(found.describe_predictor())
        chosen = [(budget, found.choose(budget)) for budget in found.budgets]
        measured, space = found.subnets.measured, found.subnets.space
        milliseconds = (found.latency or found.make_latency()).milliseconds  # those of an earlier search, too
        figures = {
            "front.png": draw_front(list(measured.values()), milliseconds, [subnet for _, subnet in chosen]),
            "dimensions.png": draw_dimensions(measured, space),
        }
        for name, figure in figures.items():
            plots.save_figure(figure, found.out / name, dpi=144)
        for bound in dict.fromkeys(budget.bounds["macs"] for budget in found.budgets if "macs" in budget.bounds):
            print(found.worth(bound))
        rows = [found.ship(budget, subnet) for budget, subnet in chosen]  # the test set is first read here
    if rows:
        print_table(rows)
        example = found.out / found.budgets[0].name / "config.yaml"
        print(f"Fine-tune one: python -m cnn_zoo.fit --config {example}")
    print(f"Pictures: {', '.join(str(found.out / name) for name in figures)}")


def print_table(rows: Sequence[Sequence[str]]) -> None:
    """Print a row for each budget, whatever the width of the terminal; columns without a value are left out."""
    lines = [("budget", "subnet", "parameters", "MACs", "ms", "validation", "best uniform", "test"), *rows]
    shown = [column for column in zip(*lines, strict=True) if any(column[1:])]
    widths = [max(map(len, column)) for column in shown]
    for line in zip(*shown, strict=True):
        texts = [cell.ljust(width) for cell, width in zip(line[:2], widths[:2], strict=True)]
        numbers = [cell.rjust(width) for cell, width in zip(line[2:], widths[2:], strict=True)]
        print("  ".join([*texts, *numbers]))


@contextmanager
def progress(what: str, total: int | None) -> Iterator[Callable[[], object]]:
    """Yield a function to call after each piece of work: a bar on a terminal, or else a line now and then.

    After the last piece another line has the seconds.

    Args:
        what: What is counted.
        total: The number of pieces; None if it is not known.
    """
    if sys.stderr.isatty():
        from tqdm import tqdm

        with tqdm(desc=what, total=total, disable=total == 0) as bar:
            yield bar.update
        return
    done, started = 0, time.monotonic()
    told = started

    def advance() -> None:
        nonlocal done, told
        done += 1
        if time.monotonic() - told > SILENT_SECONDS:
            told = time.monotonic()
            print(f"{what}: {done}" if total is None else f"{what}: {done} of {total}", flush=True)

    yield advance
    if done:
        print(f"{what}: {done} in {time.monotonic() - started:.0f} s", flush=True)
