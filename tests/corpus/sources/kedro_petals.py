# mypy: ignore-errors
# (kedro-vertexai has no annotations that a checker may read)
"""A Kedro project compiled by the generator of kedro-vertexai 1.0: kedro_petals.py PROJECT FILE [PARAMS]

The project has four nodes (clean_petals_node; then features_node and statistics_node; train_node after the features,
tagged `large`), parameters, and a conf/base/vertexai.yml with limits for `__default__` and `large`.
"""

import sys
from pathlib import Path

from kedro.framework.session import KedroSession
from kedro.framework.startup import bootstrap_project
from kedro_vertexai.config import PluginConfig
from kedro_vertexai.generator import PipelineGenerator
from kfp.compiler import Compiler

project, target, params = Path(sys.argv[1]), sys.argv[2], "".join(sys.argv[3:])
bootstrap_project(project)
with KedroSession.create(project_path=project, env="base") as session:
    context = session.load_context()
    config = PluginConfig.model_validate(context.config_loader["vertexai"])
    generator = PipelineGenerator(config, "petals", context, "petals-run")
    made = generator.generate_pipeline("__default__", config.run_config.image, "", params=params)
    Compiler().compile(made, target)
