"""What can be known without asking anybody: from the registry, the settings, the values and the compiled file."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from run_kfp.findings import Finding
from run_kfp.machines import Machines
from run_kfp.preflight.context import CheckContext
from run_kfp.preflight.offline.caching import check_caching
from run_kfp.preflight.offline.calls import check_calls
from run_kfp.preflight.offline.identity import check_identity
from run_kfp.preflight.offline.references import check_references
from run_kfp.preflight.offline.resources import check_resources
from run_kfp.preflight.offline.structure import check_structure
from run_kfp.preflight.offline.values import check_values, check_written


def check_offline(
    context: CheckContext, machines: Machines, environ: Mapping[str, str], holds_secret: Callable[[str], bool]
) -> Iterator[Finding]:
    """Check a call; no network, no SDK.

    Args:
        context: what would be submitted.
        machines: the machine table.
        environ: for where logins of other programs lie.
        holds_secret: whether a text holds the value of a secret that this call knows, in any of its forms.
    """
    yield from check_references(context)
    yield from check_calls(context)
    yield from check_structure(context)
    yield from check_caching(context)
    yield from check_resources(context, machines)
    yield from check_values(context)
    yield from check_written(context, holds_secret)
    yield from check_identity(context, environ)
