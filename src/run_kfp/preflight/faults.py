"""The mistakes that the layers below refuse themselves, as findings: a call that cannot even become a plan."""

from __future__ import annotations

from collections.abc import Mapping

from run_kfp.errors import Fault
from run_kfp.preflight.findings import Code, Finding, Severity, When


def _code(
    name: str, group: str, title: str, otherwise: str, explanation: str, source: str, when: When = When.COMPILE
) -> Code:
    return Code(name, group, title, Severity.ERROR, when, otherwise, explanation, source)


_OURS = "run-kfp's own rules"

CODES: Mapping[str, Code] = {
    code.name: code
    for code in (
        _code(
            "RK-CALL",
            "call",
            "flags that do not fit together",
            "the call is refused: it says two things at once, or nothing",
            "Every flag is read as it is typed, and none is silently ignored. Where two flags contradict each other, "
            "or one means nothing without another, the call is refused, so that nobody relies on something that did "
            "not happen.\n\n`run-kfp --help` shows the flags in groups.",
            _OURS,
        ),
        _code(
            "RK-SELECTION",
            "call",
            "a container that the registry does not have",
            "there is nothing to compile for it",
            "`-r` takes the index or the name of a container of the registry, a range of indices (1-4) or a list "
            "(1,3). The order given is the order of the chain, and a container named twice runs twice.\n\n`run-kfp "
            "list` shows what there is.",
            _OURS,
        ),
        _code(
            "RK-FILE",
            "files",
            "a file that cannot be read",
            "what it holds is not taken into account",
            "The file is missing, unreadable for this user, or not text in UTF-8. A file saved by an editor on "
            "Windows in another encoding is the usual reason for the last.",
            _OURS,
        ),
        _code(
            "RK-ENV-FILE",
            "files",
            "a line of an env file that is not NAME=VALUE",
            "the line would be passed over, and its variable would be missing",
            "An env file (`.env`, `git.env`) has one NAME=VALUE a line. A value that holds spaces, quotes or # stands "
            "in quotes; nothing in it is expanded.",
            "python-dotenv, https://saurabh-kumar.com/python-dotenv/",
            When.RUN,
        ),
        _code(
            "RK-REGISTRY",
            "registry",
            "a registry file that breaks its own rules",
            "the registry is refused as a whole",
            "The registry is TOML with the tables [pipeline], [settings], [containers.N], [params.NAME], "
            "[secrets.NAME] and [check]. Unknown keys are mistakes, because a misspelt key would be a setting that "
            "never applies. docs/registry.md describes every key.",
            "docs/registry.md",
        ),
        _code(
            "RK-RESOURCE-PARAM",
            "resources",
            "a parameter that is no resource",
            "the step cannot be compiled",
            'A resource may refer to a parameter ({ param = "num_gpu" }). Vertex AI takes literals there, so the '
            "parameter is "
            "resolved when compiling: from -p, its variable, or its default. Its value has to be a number of CPUs, an "
            "amount of memory or a number of accelerators, as the key asks.",
            "https://docs.cloud.google.com/vertex-ai/docs/pipelines/machine-types",
        ),
        _code(
            "RK-FACTORY",
            "registry",
            "a Python factory that makes no usable component",
            "the step cannot be compiled",
            '`factory = "package.module:function"` names a function beside the registry file that returns a KFP '
            "component. "
            "Its inputs are strings, and each has the name of a parameter or secret of the registry.",
            "docs/registry.md",
        ),
        _code(
            "RK-PIPELINE-FILE",
            "files",
            "a file that is no compiled pipeline",
            "Vertex AI would refuse it with other words, or the SDK with a traceback",
            "-f takes what `run-kfp --compile-only` or `kfp dsl compile` writes: one pipeline spec of KFP v2 in YAML "
            "or JSON. A whole PipelineJob, a Workflow of KFP v1 or Argo, and a Python file are none.",
            "google-cloud-aiplatform 2.7, pipeline_jobs.py; probes",
            When.SUBMIT,
        ),
        _code(
            "RK-DAG-CYCLE",
            "structure",
            "tasks that wait for each other, or for none that exists",
            "Vertex AI accepts the job and fails it within a minute",
            "Each task of a DAG starts when those have ended that it names in dependentTasks or takes outputs from. A "
            "circle, or a name that no task has, can never start. kfp compiles neither: such a file was changed by "
            "hand or by another tool.",
            "https://github.com/kubeflow/pipelines/blob/master/api/v2alpha1/pipeline_spec.proto",
            When.CREATE,
        ),
        _code(
            "RK-PARAM-UNKNOWN",
            "parameters",
            "a parameter that the pipeline does not have",
            "the SDK refuses the submission: “The pipeline parameter … is not found in the pipeline job input "
            "definitions”",
            "A name after -p is a parameter that a chosen container refers to, or one that the registry declares.",
            "google-cloud-aiplatform 2.7, runtime_config_builder.py",
            When.SUBMIT,
        ),
        _code(
            "RK-PARAM-MISSING",
            "parameters",
            "a parameter without a value",
            "Vertex AI accepts the job and fails it: the step lacks an input",
            "A value comes from -p NAME=VALUE, from the variable that the registry names, or from its default there. "
            "The tag has no default on purpose: nobody is to overwrite a data set by forgetting -t.",
            "google-cloud-aiplatform 2.7: PipelineJob does not look for missing parameters; probes",
            When.CREATE,
        ),
        _code(
            "RK-PARAM-TYPE",
            "parameters",
            "a value of another type than the pipeline declares",
            "Vertex AI accepts the job and fails it within a minute",
            "A parameter of a compiled file has a type: STRING, NUMBER_INTEGER, NUMBER_DOUBLE, BOOLEAN, LIST or "
            "STRUCT. The "
            'text of a value is read as that type: 3, 0.5, true, [1, 2], {"a": 1}.',
            "https://github.com/kubeflow/pipelines/blob/master/api/v2alpha1/pipeline_spec.proto (ParameterType)",
            When.CREATE,
        ),
        _code(
            "RK-SETTING-MISSING",
            "settings",
            "a setting that every submission needs",
            "there is no job without it",
            "Settings come from flags, then the environment, then .env, then [settings] of the registry. "
            "docs/settings.md lists all of them with their variables.",
            "https://docs.cloud.google.com/vertex-ai/docs/pipelines/configure-project",
            When.SUBMIT,
        ),
        _code(
            "RK-ACCOUNT-MISSING",
            "settings",
            "no service account for the steps",
            "the steps run as the Compute Engine default account, often an editor of the whole project",
            "Vertex AI takes the Compute Engine default account for a run that names none. run-kfp asks for one, so "
            "that nobody hands out the rights of a whole project by leaving a setting out.",
            "https://docs.cloud.google.com/vertex-ai/docs/pipelines/configure-project#service-account",
            When.SILENT,
        ),
        _code(
            "RK-SETTING-FORMAT",
            "settings",
            "a setting of a form that it cannot have",
            "Vertex AI refuses the job, or fails it within a minute",
            "Each setting has a form: a project id, a region such as us-east1, a bucket without gs://, the e-mail of "
            "a service account. The message names the form and where the value came from.",
            "docs/settings.md",
            When.SUBMIT,
        ),
        _code(
            "RK-LABEL",
            "settings",
            "a label that Google does not take",
            "Vertex AI refuses the job",
            "Keys and values of labels have up to 64 lower-case letters, digits, _ and -; a key begins with a letter; "
            "a run takes 64 labels, one of which is run-kfp's own.",
            "google/cloud/aiplatform/v1/pipeline_job.proto",
            When.SUBMIT,
        ),
        _code(
            "RK-JOB-ID",
            "settings",
            "a job id that Vertex AI does not take",
            "the SDK refuses it: “Generated job ID … is illegal”",
            "A job id has up to 128 lower-case letters, digits and dashes and begins with a letter. Without --job-id, "
            "run-kfp makes a fresh one from the pipeline's name, the time and a random part.",
            "https://docs.cloud.google.com/vertex-ai/docs/reference/rest/v1/projects.locations.pipelineJobs/create",
            When.SUBMIT,
        ),
        _code(
            "RK-SECRETS-FOLDER",
            "secrets",
            "a secrets folder that does not exist",
            "no secret is found in it",
            "The folder of the secret files is --secrets-dir, else the variable RUN_KFP_SECRETS, else the first of "
            "./secrets, ../secrets and /secrets that exists. One that is named has to be there.",
            _OURS,
            When.RUN,
        ),
        _code(
            "RK-SECRET-MISSING",
            "secrets",
            "a secret that is nowhere",
            "the container starts, works for minutes, and fails at its first login",
            "A secret is looked for in its environment variable, then in its file in the secrets folder, then on a "
            "line of its env file; the message lists the places. Only the secrets of chosen containers are asked for.",
            "docs/registry.md",
            When.RUN,
        ),
        _code(
            "RK-SECRET-VALUE",
            "secrets",
            "a secret whose value cannot be right",
            "the container starts, works for minutes, and fails at its first login",
            "The value is empty, too short to be a key, begins or ends with white space, holds a line break from "
            "copying, or is still the text of a template. It is never shown.\n\nThe same code tells of a secret whose "
            "value is a word of the run's own settings: it would be hidden wherever that word stands.",
            _OURS,
            When.RUN,
        ),
        _code(
            "RK-SECRET-TYPED",
            "secrets",
            "a secret on the command line",
            "it stays in the shell's history and stands in the list of processes",
            "Secrets come from the environment, from files of the secrets folder or from an env file, never from a "
            "flag.",
            _OURS,
            When.SILENT,
        ),
    )
}


def finding_of(fault: Fault, codes: Mapping[str, Code]) -> Finding:
    """Tell a fault of a lower layer as a finding.

    Args:
        fault: its message may begin with its place, which is not repeated.
        codes: every code by its name.
    """
    return codes[fault.code](fault.place, fault.message.removeprefix(f"{fault.place}: "), fault.hint, Severity.ERROR)
