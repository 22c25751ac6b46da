"""The short imports of the SDKs: the same classes as the whole ones, and those where anything is unexpected."""

from __future__ import annotations

import subprocess
import sys

import pytest

from conftest import Cli


def python(cli: Cli, script: str) -> str:
    """Run a script in a fresh interpreter and return what it printed."""
    done = subprocess.run(
        [sys.executable, "-c", script], env=cli.environment({}), cwd=cli.folder, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_pipeline_service_comes_alone(cli: Cli) -> None:
    modules = python(
        cli,
        "import sys; from run_kfp.fast_imports import import_pipeline_service\n"
        "service = import_pipeline_service()\n"
        "service.PipelineJob(display_name='x')\n"
        "print(*[name for name in sys.modules if name.startswith('google.cloud.aiplatform_v1.services.')])",
    ).split()

    services = {name.split(".")[4] for name in modules}
    assert services == {"pipeline_service"}


@pytest.mark.parametrize("package", ["google.cloud.aiplatform_v1", "google.cloud.aiplatform"])
def test_who_imports_the_package_later_gets_it_whole_with_the_same_classes(cli: Cli, package: str) -> None:
    printed = python(
        cli,
        "from run_kfp.fast_imports import import_pipeline_service\n"
        "service = import_pipeline_service()\n"
        f"import {package}\n"
        "from google.cloud import aiplatform_v1\n"
        "import google.cloud.aiplatform_v1.types\n"
        "assert aiplatform_v1.JobServiceClient\n"
        "assert aiplatform_v1.types.CustomJob\n"
        "names = ['PipelineServiceClient', 'PipelineJob', 'PipelineFailurePolicy', 'EncryptionSpec']\n"
        "print(all(getattr(service, name) is getattr(aiplatform_v1, name) for name in names))\n",
    )

    assert printed == "True\n"


def test_a_package_that_is_there_is_taken(cli: Cli) -> None:
    printed = python(
        cli,
        "from google.cloud import aiplatform_v1\n"
        "from run_kfp.fast_imports import import_pipeline_service\n"
        "print(import_pipeline_service().PipelineJob is aiplatform_v1.PipelineJob)",
    )

    assert printed == "True\n"


def test_the_whole_package_comes_where_the_short_way_fails(cli: Cli) -> None:
    """Another layout of the SDK: its packages are not found where they are looked for."""
    printed = python(
        cli,
        "from run_kfp import fast_imports\n"
        "class Nowhere:\n"
        "    find_spec = staticmethod(lambda *_: None)\n"
        "fast_imports.PathFinder = Nowhere\n"
        "service = fast_imports.import_pipeline_service()\n"
        "from google.cloud import aiplatform_v1\n"
        "assert aiplatform_v1.JobServiceClient\n"
        "print(service.PipelineJob is aiplatform_v1.PipelineJob)",
    )

    assert printed == "True\n"


def test_the_whole_package_comes_where_the_short_way_fails_half_way(cli: Cli) -> None:
    printed = python(
        cli,
        "import importlib, types\n"
        "from run_kfp import fast_imports\n"
        "real, failed = importlib.import_module, []\n"
        "def stumbling(name):\n"
        "    if name.endswith('encryption_spec') and not failed:\n"
        "        failed.append(name)\n"
        "        raise ImportError(name)\n"
        "    return real(name)\n"
        "fast_imports.importlib = types.SimpleNamespace(import_module=stumbling)\n"
        "service = fast_imports.import_pipeline_service()\n"
        "from google.cloud import aiplatform_v1\n"
        "assert failed and aiplatform_v1.JobServiceClient\n"
        "print(service.PipelineJob is aiplatform_v1.PipelineJob)",
    )

    assert printed == "True\n"


def test_kfp_is_imported_again_where_the_switch_left_out_too_much(cli: Cli) -> None:
    printed = python(
        cli,
        "import os, sys\n"
        "from run_kfp import fast_imports\n"
        "real, failed = fast_imports._whole_kfp, []\n"
        "def stumbling():\n"
        "    if not failed:\n"
        "        failed.append(True)\n"
        "        raise AttributeError('dsl')\n"
        "    return real()\n"
        "fast_imports._whole_kfp = stumbling\n"
        "kfp = fast_imports.import_kfp(whole=False)\n"
        "assert '_KFP_RUNTIME' not in os.environ\n"
        "print(kfp.Client.__name__)",
    )

    assert printed == "Client\n"


def test_the_switch_of_the_environment_is_left_as_it_was(cli: Cli) -> None:
    script = (
        "import os\nfrom run_kfp.fast_imports import import_kfp\n"
        "os.environ['_KFP_RUNTIME'] = 'as it was'\n"
        "import_kfp(whole=False)\nprint(os.environ['_KFP_RUNTIME'])"
    )

    assert python(cli, script) == "as it was\n"


def test_help_screens_come_without_markdown(cli: Cli) -> None:
    printed = python(
        cli,
        "import sys\n"
        "from run_kfp.fast_imports import import_help_screens\n"
        "import_help_screens()\n"
        "print('typer.rich_utils' in sys.modules, 'markdown_it' in sys.modules, 'rich.markdown' in sys.modules)\n"
        "from rich.markdown import Markdown\n"
        "from rich.traceback import Traceback\n"
        "print(Markdown.__module__, Traceback.__module__, hasattr(Traceback, 'from_exception'))",
    )
    assert printed == "True False False\nrich.markdown rich.traceback True\n"


def test_help_screens_are_the_same_where_the_short_import_fails(cli: Cli) -> None:
    whole = python(
        cli,
        "import typer.rich_utils\n"  # imported whole before: nothing is left out
        "from run_kfp.cli import execute\n"
        "execute(['run', '--help'])",
    )
    assert cli("run", "--help").out == whole


def test_help_screens_that_cannot_be_imported_in_part_are_imported_whole(cli: Cli) -> None:
    printed = python(
        cli,
        "import sys\n"
        "from run_kfp import fast_imports\n"
        "fast_imports._NOT_FOR_HELP['rich.panel'] = 'Nothing'\n"
        "fast_imports.import_help_screens()\n"
        "print('typer.rich_utils' in sys.modules)\n"
        "from run_kfp.cli import execute\n"
        "sys.exit(execute(['list', '--help']))",
    )
    assert printed.startswith("False\n")
    assert "--registry" in printed
