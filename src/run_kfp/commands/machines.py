"""The machine table, to look at."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from run_kfp.errors import InputError, did_you_mean
from run_kfp.lines import Text
from run_kfp.machines import (
    Machines,
    accelerator_rows,
    accelerators_like,
    find_accelerator,
    load_machines,
    machine_rows,
)
from run_kfp.natural import natural
from run_kfp.preflight.offline.resources import region_hint
from run_kfp.resolve import find_registry

if TYPE_CHECKING:
    from run_kfp.terminal import Screen


def machines_table(screen: Screen, registry: Path | None, region: str | None, accelerator: str | None) -> None:
    """Show the machine table, with what the registry corrects of it.

    Raises:
        InputError: the registry or its machine table cannot be read, or a name is not in the table.
    """
    found = find_registry(registry, os.environ)
    table = load_machines(found.machines_file)
    if region is not None and region not in table.regions:
        raise InputError(f"{table.source} has no region {region!r}", region_hint(region, table))
    if accelerator is not None and accelerator not in table.accelerators:
        found_name = find_accelerator(table, accelerator)
        if found_name is None:
            like = accelerators_like(table, accelerator)
            hint = "" if like else did_you_mean(accelerator, table.accelerators)
            hint = hint or f"it has {', '.join(like or table.accelerators)}"
            raise InputError(f"{table.source} has no accelerator {accelerator!r}", hint)
        accelerator = found_name
    machines = machine_rows(table, region=region, accelerator=accelerator)
    accelerators = [row for row in accelerator_rows(table, region=region) if accelerator in (None, row["accelerator"])]
    screen.data(source=table.source, machines=machines, accelerators=accelerators, regions=sorted(table.regions))
    screen.show(machine_lines(table, machines, accelerators, region))


def machine_lines(
    table: Machines,
    machines: Sequence[Mapping[str, Any]],
    accelerators: Sequence[Mapping[str, Any]],
    region: str | None,
) -> Iterator[Text]:
    """Show the rows of the machines and of the accelerators; `region` is the one that they were chosen by."""
    yield Text.assemble((table.source, "bold"), f"  {'in ' + region if region else 'all regions'}")
    yield Text("")
    for row in machines:
        known = row["vcpus"] is not None and row["memory_gb"] is not None
        size = f"{row['vcpus']:>4} vCPU  {row['memory_gb']:>6} GB" if known else f"{'size not known':>20}"
        takes = "; ".join(f"{'/'.join(map(str, counts))} × {name}" for name, counts in row["accelerators"].items())
        yield Text.assemble("  ", (f"{row['machine']:<22}", "bold"), size, (f"   {takes}" if takes else "", "dim"))
    yield Text("")
    for row in accelerators:
        counts = f"{'/'.join(map(str, row['counts']))} a machine" if row["counts"] else "machines not known"
        quota = "" if row["default_quota"] is None else f"; default quota {row['default_quota']}"
        yield Text.assemble(
            "  ",
            (f"{row['accelerator']:<22}", "bold"),
            counts,
            quota if row["supported"] else f"; support ended {row['end_of_support'] or ''}".rstrip(),
            (f"   {', '.join(sorted(row['regions'], key=natural))}" if region is None else "", "dim"),
        )
