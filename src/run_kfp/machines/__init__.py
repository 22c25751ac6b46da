"""The machines of Vertex AI as data (`table`), and which of them a step gets for its limits (`choice`)."""

from run_kfp.machines.choice import GIB, MAX_CPUS, MAX_MEMORY, Choice, QuotaUse, choose, either, most, plain, quota_uses
from run_kfp.machines.table import (
    Accelerator,
    Machines,
    accelerator_rows,
    accelerators_like,
    find_accelerator,
    load_machines,
    machine_rows,
)

__all__ = [
    "GIB",
    "MAX_CPUS",
    "MAX_MEMORY",
    "Accelerator",
    "Choice",
    "Machines",
    "QuotaUse",
    "accelerator_rows",
    "accelerators_like",
    "choose",
    "either",
    "find_accelerator",
    "load_machines",
    "machine_rows",
    "most",
    "plain",
    "quota_uses",
]
