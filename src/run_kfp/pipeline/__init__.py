"""A pipeline: compiled from containers of a registry, or read from a file compiled before.

`values` is what it is; `reader` and `compiler` make one, `factories` calls a user's Python for the compiler; `spec` and
`guard` stand between a text and its pipeline spec.
"""

from run_kfp.pipeline.compiler import compile_pipeline, resource_faults
from run_kfp.pipeline.reader import read_pipeline, settle
from run_kfp.pipeline.spec import Spec
from run_kfp.pipeline.values import CompiledPipeline, Parameter, Step

__all__ = [
    "CompiledPipeline",
    "Parameter",
    "Spec",
    "Step",
    "compile_pipeline",
    "read_pipeline",
    "resource_faults",
    "settle",
]
