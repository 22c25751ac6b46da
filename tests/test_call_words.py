"""What is said of calls, a table: each row is a command and arguments, and how each finding begins."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from run_kfp.findings import Finding, Severity
from run_kfp.limits import LONGEST_ARGUMENT
from run_kfp.preflight.context import CheckContext
from run_kfp.preflight.offline.bounds import check_bounds
from run_kfp.preflight.offline.calls import check_calls
from run_kfp.preflight.offline.spec import Spec
from specs import FILE, context_of_spec, registry, step_spec

TAG = "{{$.inputs.parameters['tag']}}"


def several(containers: Iterable[dict[str, Any]]) -> CheckContext:
    """Return a file with a step for each container, s0, s1, …; each has an input `tag`."""
    spec = step_spec({})
    tasks, components, executors = {}, {}, {}
    for number, container in enumerate(containers):
        name = f"s{number}"
        tasks[name] = {"componentRef": {"name": f"comp-{name}"}, "taskInfo": {"name": name}}
        components[f"comp-{name}"] = {
            "executorLabel": f"exec-{name}",
            "inputDefinitions": {"parameters": {"tag": {"parameterType": "STRING"}}},
        }
        executors[f"exec-{name}"] = {"container": {"image": "busybox:1.36", **container}}
    spec["root"]["dag"]["tasks"], spec["components"] = tasks, components
    spec["deploymentSpec"]["executors"] = executors
    return context_of_spec(spec, registry_text=registry(""))


def line(found: Finding) -> str:
    mark = {Severity.ERROR: "error", Severity.WARNING: "warning"}.get(found.severity, "note")
    return f"{mark} {found.code} {found.place.rpartition('.')[2]}: {found.message[:70]} → {found.hint[:50]}".rstrip()


def of_steps(findings: Iterable[Finding], count: int) -> list[list[str]]:
    """Sort findings by the step that their place names."""
    told: list[list[str]] = [[] for _ in range(count)]
    for found in findings:
        if number := re.search(r"\bexec-s(\d+)\b|\btasks\.s(\d+)\b", found.place):
            told[int(number[1] or number[2])].append(line(found))
    return told


def of_calls(calls: Iterable[str]) -> dict[str, list[str]]:
    """Map `COMMAND | ARGUMENTS`, two JSON lists without their brackets, to what is said of the call."""
    texts = list(calls)
    pairs = [[json.loads(f"[{part}]") for part in text.replace("TAG", TAG).split(" | ")] for text in texts]
    context = several({"command": command, "args": args} for command, args in pairs)
    return dict(zip(texts, of_steps(check_calls(context), len(texts)), strict=True))


def test_scripts() -> None:
    expected = {
        '"sh", "-c" | "echo TAG"': [
            "warning RK-CALL-SHELL-PLACEHOLDER args: a script contains the value "
            'of tag → keep the script constant, write "$1" in it, and gi'
        ],
        '"sh", "-c", "TAG" | ': [],
        '"sh", "-c", "echo \\"a" | ': [
            "error RK-CALL-QUOTES command: missing closing quote in a shell script → close the quote"
        ],
        '"bash", "-c" | "echo \\"a # b"': [],
        ' | "-c", "echo \\"a"': [
            "warning RK-CALL-QUOTES args: missing closing quote in a shell script → close the quote"
        ],
        '"sh", "-c" | "python", "a.py"': [
            "warning RK-CALL-SHELL-WORDS args: the shell runs 'python' "
            "alone: a script is one word, and the next is $ → write the "
            "line as one word, or remove the shell: ["
        ],
        '"sh", "-c" | "python", "a.py", "b", "c"': [
            "warning RK-CALL-SHELL-WORDS args: the shell runs "
            "'python' alone: a script is one word, and the next "
            "is $ → write the line as one word, or remove the "
            "shell: ["
        ],
        '"sh", "-c" | "python", "a.py", "b", "c", "d"': [
            "warning RK-CALL-SHELL-WORDS args: the shell "
            "runs 'python' alone: a script is one word, and "
            "the next is $ → write the line as one word, or "
            "remove the shell"
        ],
        '"sh", "-c" | "python", "an argument"': [
            "warning RK-CALL-SHELL-WORDS args: the shell runs "
            "'python' alone: a script is one word, and the next is $ "
            "→ write the line as one word, or remove the shell"
        ],
        '"sh", "-c" | "python", "python3"': [
            "warning RK-CALL-SHELL-WORDS args: the shell runs 'python' "
            "alone: a script is one word, and the next is $ → write the "
            "line as one word, or remove the shell: ["
        ],
        '"sh", "-c" | "python", "python"': [],
        '"sh", "-c" | "python", "--"': [],
        '"sh", "-c" | "python train.py", "--lr", "1"': [
            "warning RK-CALL-SHELL-WORDS args: the script "
            'does not use what follows it (--lr …) → add "$@" '
            "to the script, and a word for $0 after it"
        ],
        '"sh", "-c" | "python train.py", "--lr=1"': [
            "warning RK-CALL-SHELL-WORDS args: the script does "
            'not use what follows it (--lr …) → add "$@" to the '
            "script, and a word for $0 after it"
        ],
        '"sh", "-c" | "python train.py", "-"': [],
        '"sh", "-c" | "python train.py", "name"': [],
        '"sh", "-c" | "echo $HOME", "--lr"': [],
        '"sh", "-c" | "echo $1", "a"': [
            "warning RK-CALL-SHELL-WORDS args: $1 is empty: the first word "
            "after a script is $0, and 1 word follows → write a word for $0 "
            'before the values: ["-c", \'pro'
        ],
        '"sh", "-c" | "echo $1", "a", "b"': [],
        '"sh", "-c" | "echo $2", "a", "b"': [
            "warning RK-CALL-SHELL-WORDS args: $2 is empty: the first "
            "word after a script is $0, and 2 words follow → write a "
            'word for $0 before the values: ["-c", \'pro'
        ],
        '"sh", "-c" | "echo ${2}", "a"': [
            "warning RK-CALL-SHELL-WORDS args: $2 is empty: the first word "
            "after a script is $0, and 1 word follows → write a word for $0 "
            'before the values: ["-c", \'pro'
        ],
        '"sh", "-c" | "echo ${1:-x}", "a"': [],
        '"sh", "-c" | "echo ${1#x}", "a"': [
            "warning RK-CALL-SHELL-WORDS args: $1 is empty: the first "
            "word after a script is $0, and 1 word follows → write a word "
            'for $0 before the values: ["-c", \'pro'
        ],
        '"sh", "-c" | "echo $1"': [],
        '"sh", "-c" | "echo $0 $1", "a"': [],
        '"sh", "-c" | "echo \\"$@\\"", "--lr"': [
            "warning RK-CALL-SHELL-WORDS args: --lr is $0, which $@ "
            "does not hold → write a word for $0 before the values: "
            '["-c", \'pro'
        ],
        '"sh", "-c" | "echo \\"$@\\"", "TAG"': [
            "warning RK-CALL-SHELL-WORDS args: the first value is $0, "
            "which $@ does not hold → write a word for $0 before the "
            'values: ["-c", \'pro'
        ],
        '"sh", "-c" | "echo \\"$@\\"", "a"': [],
        '"sh", "-c" | "awk \\u0027{print $1}\\u0027 f", "a"': [],
        '"sh", "-c" | "echo \\"it\\u0027s $1\\"", "a"': [
            "warning RK-CALL-SHELL-WORDS args: $1 is empty: "
            "the first word after a script is $0, and 1 word "
            "follows → write a word for $0 before the "
            'values: ["-c", \'pro'
        ],
        '"sh", "-c" | "shift; echo $1", "a"': [],
        ' | "-c", "echo $1", "a"': [
            "note RK-CALL-SHELL-WORDS args: $1 is empty: the first word after a "
            "script is $0, and 1 word follows → write a word for $0 before the "
            'values: ["-c", \'pro'
        ],
    }
    assert of_calls(expected) == expected


def test_words() -> None:
    expected = {
        '"python train.py" | ': [
            "warning RK-CALL-ONE-WORD command: its first word is python train.py, "
            'with a space: no shell splits it → write ["python", "train.py"]'
        ],
        '"/opt/my program/run" | ': [
            "note RK-CALL-ONE-WORD command: its first word is /opt/my "
            "program/run, with a space: no shell splits i → nothing to do, if "
            "the path of the program has a sp"
        ],
        '"/usr/bin/python train.py" | ': [
            "warning RK-CALL-ONE-WORD command: its first word is "
            "/usr/bin/python train.py, with a space: no shell spl → write "
            '["/usr/bin/python", "train.py"]'
        ],
        '"run \\"a" | ': [
            'warning RK-CALL-ONE-WORD command: its first word is run "a, with a space: no '
            "shell splits it → write each word as a separate string"
        ],
        '"run --token x" | ': [
            "warning RK-CALL-ONE-WORD command: its first word is run --token x, with a "
            "space: no shell splits it → write each word as a separate string"
        ],
        '"{x y" | ': [],
        '"python" | "python", "a.py"': [
            "warning RK-CALL-TWICE args: start with 'python', and command "
            "with 'python' → remove it from args, or remove command"
        ],
        '"python", "a.py" | "python"': [
            "warning RK-CALL-TWICE args: start with 'python', and command "
            "with 'python' → remove it from args, or remove command"
        ],
        '"train" | "train", "a.py"': [],
        '"sh", "-c", "exec \\"$@\\"" | "sh", "sh"': [],
        ' | "python train.py"': [
            "note RK-CALL-ONE-WORD args: 'python train.py …' is one word, unless the "
            'image\'s ENTRYPOINT is a sh → write ["python", "train.py"]'
        ],
        ' | "train now"': [],
        ' | "python train.py", "x"': [],
        '"train" | "--lr 0.1"': [
            "warning RK-CALL-ONE-WORD args: --lr and its value are in one string → "
            'write "--lr" and the value as two strings, or join'
        ],
        ' | "--lr 0.1"': [
            "note RK-CALL-ONE-WORD args: --lr and its value are in one string, unless the image's ENTRYPOINT sp → "
            "write each option and its value as two strings"
        ],
        '"train" | "--lr {x}"': [],
        '"train" | "$HOME/data"': [
            "warning RK-CALL-VARIABLE args: $HOME would arrive unexpanded: no shell is called → "
            "make it an input of the component, or call a shell"
        ],
        '"train" | "--out=$(BUCKET)/a"': [
            "note RK-CALL-VARIABLE args: $(BUCKET) would arrive unexpanded: no shell is called → "
            "make it an input of the component, or call a shell"
        ],
        ' | "$HOME"': [
            "note RK-CALL-VARIABLE args: $HOME would arrive unexpanded: no shell is called, unless the image's  → "
            "make it an input of the component, or call a shell"
        ],
        '"train" | "%HOME%"': [
            "note RK-CALL-VARIABLE args: %HOME% would arrive unexpanded: no shell is called → "
            "make it an input of the component, or call a shell"
        ],
        '"train" | "~/x"': [
            "warning RK-CALL-VARIABLE args: ~ would arrive unexpanded: no shell is called → "
            "make it an input of the component, or call a shell"
        ],
        '"train" | "~"': [],
        '"train" | "${data}"': [],
        '"train" | "gs://$BUCKET/a b"': [],
        '"train" | "\\u2013lr", "\\u2014-rate", "a\\u2013b"': [
            "warning RK-CALL-TYPOGRAPHY args: –lr starts with a long dash → retype the dashes",
            "warning RK-CALL-TYPOGRAPHY args: —-rate starts with a long dash → retype the dashes",
        ],
        '"train" | "\\u201ca b\\u201d"': [
            "note RK-CALL-TYPOGRAPHY args: a value is in curly quotes → remove the quotes"
        ],
        '"sh", "-c" | "train \\u2013lr \\u201cx\\u201d"': [
            "note RK-CALL-TYPOGRAPHY args: –lr starts with a long dash → retype the dashes"
        ],
        '"CMD", "x" | ': [
            "warning RK-CALL-DOCKER-OPTION command: begins with 'CMD', a word of a Dockerfile → remove it"
        ],
        ' | "ENTRYPOINT", "x"': [
            "warning RK-CALL-DOCKER-OPTION args: start with 'ENTRYPOINT', a Dockerfile instruction → remove it"
        ],
        '"docker", "run" | "x"': [
            "warning RK-CALL-DOCKER-OPTION command: begins with 'docker run': a "
            "step runs its image itself, and has no Doc → name the image under "
            "image, and write command and"
        ],
        '"docker", "compose", "up" | ': [
            "warning RK-CALL-DOCKER-OPTION command: begins with 'docker "
            "compose': a step runs its image itself, and has no → name the "
            "image under image, and write command and"
        ],
        '"docker", "version" | ': [],
        ' | "--rm"': [
            "warning RK-CALL-DOCKER-OPTION args: begin with '--rm', an option of `docker run` → "
            "remove it: arguments go to the program in the imag"
        ],
        ' | "--rm", "-it", "image"': [
            "warning RK-CALL-DOCKER-OPTION args: begin with '--rm -it', options "
            "of `docker run` → remove them: arguments go to the program in the "
            "im"
        ],
        ' | "-e", "MODE=x", "x"': [
            "note RK-CALL-DOCKER-OPTION args: begin with '-e MODE=…', an option of "
            "`docker run` → remove it: arguments go to the program in the imag"
        ],
        ' | "-v", "/a:/b", "x"': [
            "warning RK-CALL-DOCKER-OPTION args: begin with '-v /a:/b', an option "
            "of `docker run` → remove it: arguments go to the program in the imag"
        ],
        ' | "-d", "x"': [],
        ' | "-d", "--name", "x"': [],
        '"sh" | "python"': [
            "warning RK-CALL-SHELL-WORDS args: sh takes 'python' for the name of a file: "
            '-c is missing → write "sh", "-c" and the line as one word'
        ],
        '"sh", "train.sh" | ': [],
        '"sh" | "train.sh now"': [
            "warning RK-CALL-SHELL-WORDS args: sh takes 'train.sh now' for the name "
            'of a file: -c is missing → write "sh", "-c" and the line as one word'
        ],
        '"sh" | "/a b/train.sh"': [],
        '"sh", "-s" | "python"': [],
        '"bash", "-x" | "python x"': [
            "warning RK-CALL-SHELL-WORDS args: bash takes 'python x' for the "
            'name of a file: -c is missing → write "bash", "-c" and the line as '
            "one word"
        ],
        ' | "sh", "cd x"': [
            "note RK-CALL-SHELL-WORDS args: sh takes 'cd x' for the name of a file: -c is "
            'missing → write "sh", "-c" and the line as one word'
        ],
        '"sh" | ""': [],
        '"cd", "x" | ': [
            "warning RK-CALL-NO-SHELL command: cd: only a shell knows this, and none reads "
            'it → write the line as one word behind a shell: ["sh",'
        ],
        '"train", "&&", "test" | ': [
            "warning RK-CALL-NO-SHELL command: &&: only a shell knows this, and "
            'none reads it → write the line as one word behind a shell: ["sh",'
        ],
        '"train" | "a", ">", "/tmp/out"': [
            "warning RK-CALL-NO-SHELL command: >: only a shell knows this, "
            "and none reads it → write the line as one word behind a "
            'shell: ["sh",'
        ],
        '"train" | "a", ">", "b"': [],
        '"train" | "a", "|", "tee", "x"': [
            "warning RK-CALL-NO-SHELL command: |: only a shell knows this, "
            "and none reads it → write the line as one word behind a "
            'shell: ["sh",'
        ],
        '"train" | "a", "|", "b"': [],
        '"train" | "--op", "&&"': [],
        '"train" | "a", "2>/dev/null"': [
            "warning RK-CALL-NO-SHELL command: 2>/dev/null: only a shell "
            "knows this, and none reads it → write the line as one word "
            'behind a shell: ["sh",'
        ],
        ' | "a", "||", "b", "&&"': [
            "note RK-CALL-NO-SHELL args: ||, &&: only a shell knows these, and none reads it, unless the image' → "
            'write the line as one word behind a shell: ["sh",'
        ],
        '"train", "{\\"IfPresent\\": {\\"InputName\\": \\"tag\\", \\"Then\\": [\\"x\\"]}}" | ': [
            "warning RK-CALL-COMMAND-PLACEHOLDER command: contains an IfPresent placeholder → move it into args"
        ],
        '"train", "{IfPresent" | ': [],
    }
    assert of_calls(expected) == expected


def test_environments() -> None:
    def of(*entries: Any) -> list[str]:
        context = several([{"command": ["train"], "env": list(entries)}])
        return of_steps(check_calls(context), 1)[0]

    def pair(name: Any, value: Any = "x") -> dict[str, Any]:
        return {"name": name, "value": value}

    assert of(pair("A"), pair("a.b"), pair("_1")) == [
        "error RK-ENV-NAME env: 'a.b' is not a C identifier → use letters, digits and underscores"
    ]
    assert of(pair("A"), pair("A"), pair("1A"), pair(""), pair("A B")) == [
        "error RK-ENV-NAME env: '1A' is not a C identifier → use letters, digits and underscores",
        "error RK-ENV-NAME env: an entry has no name → name it, or remove it",
        "error RK-ENV-NAME env: 'A B' is not a C identifier → use letters, digits and underscores",
    ]
    assert of(
        pair("A", TAG), pair("B", "$(A)"), pair("C", "$$(A)"), pair("D", "{{channel:x}}"), pair("E", "{{$.x}}")
    ) == [
        "warning RK-ENV-PLACEHOLDER env: A refers to an input or output, and the variables of a step are "
        "litera → hand the value over in args",
        "note RK-ENV-EXPANSION env: B refers to $(A) → write $$(…) where the text is meant",
        "error RK-ENV-PLACEHOLDER env: D waits for a parameter, which nothing puts there → hand the value over in args",
    ]
    assert of(pair("A", "$A:/bin"), pair("B", "${B}"), pair("C", "$$C"), pair("D", "$HOME/x"), pair("E", "a$HOME")) == [
        "warning RK-CALL-VARIABLE A: $A stays in A unexpanded → write the complete value",
        "warning RK-CALL-VARIABLE B: ${B} stays in B unexpanded → write the complete value",
        "note RK-CALL-VARIABLE D: $HOME stays in D unexpanded, unless the program expands it → write the "
        "value, or { param = … }",
    ]
    assert of(pair("TF_CONFIG"), pair("AIP_MODEL_DIR"), pair("AIP_HTTP_HANDLER_PORT"), pair("PORT")) == [
        "warning RK-ENV-RESERVED env: TF_CONFIG is a variable that Vertex AI sets itself → choose another name",
        "warning RK-ENV-RESERVED env: AIP_HTTP_HANDLER_PORT is a variable that Vertex AI sets itself → "
        "choose another name",
    ]
    assert of(*(pair(f"A{number}") for number in range(100))) == []
    assert of(*(pair(f"A{number}") for number in range(101))) == [
        "error RK-ENV-MANY env: 101 variables, and at most 100 are taken → put them into a file"
    ]


# ── bounds ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def of_bounds(spec: dict[str, Any], **more: Any) -> list[str]:
    context = context_of_spec(spec, registry_text=registry(""), faults=[], **more)
    return [line(found) for found in check_bounds(context, Spec(context.pipeline.spec, FILE))]


def test_retries() -> None:
    def of(policy: Any) -> list[str]:
        return of_bounds(step_spec({}, retryPolicy=policy))

    assert of({}) == []
    assert of({"maxRetryCount": 10, "backoffFactor": 0.5, "backoffDuration": "3600s", "backoffMaxDuration": "0s"}) == []
    assert of({"maxRetryCount": 11, "backoffDuration": "3601s", "backoffMaxDuration": "604800.5s"}) == [
        "note RK-RETRY maxRetryCount: is 11: a step that always fails would run 12 times, each on a paid "
        "mac → two or three are enough for temporary failures",
        'note RK-RETRY backoffDuration: is 3601 seconds; Vertex AI waits 3600 at most → write "3600s"',
        "warning RK-TASK-TIME backoffMaxDuration: backoffMaxDuration is 7 days, and a task ends after 7 → "
        "let the step write checkpoints, and split it",
    ]
    assert of({"maxRetryCount": 0.0, "backoffMaxDuration": "604800s"}) == [
        'note RK-RETRY backoffMaxDuration: is 604800 seconds; Vertex AI waits 3600 at most → write "3600s"'
    ]
    assert of({"maxRetryCount": -1, "backoffFactor": 0, "backoffDuration": "60", "backoffMaxDuration": 60}) == [
        "error RK-RETRY maxRetryCount: is -1, and takes an integer from 0 → write 0 for none",
        "error RK-RETRY backoffFactor: is 0, and takes a number above 0 → write 2.0",
        "error RK-RETRY backoffDuration: is '60', and takes seconds with an s → write \"60s\" for a minute",
        'error RK-RETRY backoffMaxDuration: is 60, and takes seconds with an s → write "60s" for a minute',
    ]
    assert of({"maxRetryCount": True, "backoffFactor": True, "backoffDuration": "1.5s"}) == [
        "error RK-RETRY maxRetryCount: is True, and takes an integer from 0 → write 0 for none",
        "error RK-RETRY backoffFactor: is True, and takes a number above 0 → write 2.0",
    ]
    assert of({"maxRetryCount": TAG, "backoffFactor": TAG, "backoffDuration": TAG}) == [
        "error RK-RETRY maxRetryCount: waits for a parameter → write a literal, and recompile when it changes",
        "error RK-RETRY backoffFactor: waits for a parameter → write a literal, and recompile when it changes",
        "error RK-RETRY backoffDuration: waits for a parameter → write a literal, and recompile when it changes",
    ]


def loop(items: int, **task: Any) -> dict[str, Any]:
    """Return a spec with a loop over so many items; each runs two tasks that take and give three artifacts."""
    spec = step_spec({})
    artifacts: dict[str, Any] = {"artifacts": {"data": {}}}
    inner = {"componentRef": {"name": "comp-step"}, "inputs": artifacts, "taskInfo": {"name": "step"}}
    spec["components"]["comp-step"]["outputDefinitions"] = artifacts
    spec["components"]["comp-loop"] = {"dag": {"tasks": {"one": inner, "two": {**inner, "inputs": {}}}}}
    iterator = {"items": {"raw": json.dumps(list(range(items)))}, "itemInput": "item"}
    spec["root"]["dag"]["tasks"] = {
        "loop": {
            "componentRef": {"name": "comp-loop"},
            "parameterIterator": iterator,
            "taskInfo": {"name": "l"},
            **task,
        }
    }
    return spec


def test_how_much_a_pipeline_holds() -> None:
    assert of_bounds(loop(300)) == []
    assert of_bounds(loop(301)) == [
        "note RK-LIMIT-PARALLEL yaml: root: 602 tasks could run side by side, and 600 do → nothing to do, "
        "if waiting is acceptable"
    ]
    assert of_bounds(loop(301, iteratorPolicy={"parallelismLimit": 300})) == []
    assert of_bounds(loop(301, iteratorPolicy={"parallelismLimit": 0})) == [
        "note RK-LIMIT-PARALLEL yaml: root: 602 tasks could run side by side, and 600 do → nothing to do, "
        "if waiting is acceptable"
    ]
    assert of_bounds(loop(301, dependentTasks=["x"])) == [
        "note RK-LIMIT-PARALLEL yaml: root: 602 tasks could run side by side, and 600 do → nothing to do, "
        "if waiting is acceptable"
    ]
    limited = {"iteratorPolicy": {"parallelismLimit": 1}}
    assert of_bounds(loop(3333, **limited)) == []
    assert of_bounds(loop(3334, **limited)) == [
        "error RK-LIMIT-ARTIFACTS yaml: root: the job has 10,002 artifacts, and at most 10,000 are "
        "allowed → split them over several pipelines, or process seve"
    ]
    assert of_bounds(loop(3334, triggerPolicy={"condition": "true"}, **limited)) == [
        "warning RK-LIMIT-ARTIFACTS yaml: root: the job has 10,002 artifacts, and at most 10,000 are "
        "allowed → split them over several pipelines, or process seve"
    ]
    assert of_bounds(loop(5001, **limited)) == [
        "error RK-LIMIT-TASKS yaml: root: the job has 10,002 tasks, and at most 10,000 are allowed → "
        "split them over several pipelines, or process seve",
        "error RK-LIMIT-ARTIFACTS yaml: root: the job has 15,003 artifacts, and at most 10,000 are "
        "allowed → split them over several pipelines, or process seve",
    ]


def test_nested_loops() -> None:
    spec = loop(50_000, iteratorPolicy={"parallelismLimit": 1})
    outer = spec["root"]["dag"]["tasks"]["loop"]
    spec["components"]["comp-outer"] = {"dag": {"tasks": {"loop": {**outer}}}}
    spec["root"]["dag"]["tasks"] = {"outer": {**outer, "componentRef": {"name": "comp-outer"}}}

    assert of_bounds(spec) == [
        "error RK-LIMIT-TASKS yaml: root: the job has more than a billion tasks, and at most 10,000 are "
        "allowed → split them over several pipelines, or process seve",
        "error RK-LIMIT-ARTIFACTS yaml: root: the job has more than a billion artifacts, and at most "
        "10,000 are allo → split them over several pipelines, or process seve",
    ]


def test_artifacts_of_a_task() -> None:
    def of(inputs: int, outputs: int) -> list[str]:
        spec = step_spec({}, inputs={"artifacts": {f"i{number}": {} for number in range(inputs)}})
        spec["components"]["comp-step"]["outputDefinitions"] = {"artifacts": {f"o{n}": {} for n in range(outputs)}}
        return of_bounds(spec)

    assert of(60, 40) == []
    assert of(60, 41) == [
        "error RK-LIMIT-ARTIFACTS step: has 101 artifacts as inputs and outputs; at most 100 are allowed "
        "→ put files into a folder that is one artifact"
    ]


def test_lengths_of_values() -> None:
    def of(size: int) -> list[str]:
        text = "é" + "x" * (size - 2)
        task = {
            "inputs": {"parameters": {"a": {"runtimeValue": {"constant": text}}, "b": {"componentInputParameter": "p"}}}
        }
        spec = step_spec({"args": [text]}, **task)
        declared = {"p": {"parameterType": "STRING", "defaultValue": text}}
        listed = {"q": {"parameterType": "LIST", "defaultValue": ["x" * (size - 4)]}}
        spec["root"]["inputDefinitions"] = {"parameters": {**declared, **listed}}
        return of_bounds(spec, params={"p": text})

    assert of(LONGEST_ARGUMENT - 1) == []
    assert of(LONGEST_ARGUMENT) == [
        "warning RK-VALUE-LONG -p: p: the value of p has 131,072 bytes; from 131,072 on it fits into no "
        "argu → upload it (gcloud storage cp FILE gs://BUCKET/FILE",
        "warning RK-VALUE-LONG defaultValue: the default of p has 131,072 bytes; from 131,072 on it fits "
        "into no ar → upload it (gcloud storage cp FILE gs://BUCKET/FILE",
        "warning RK-VALUE-LONG defaultValue: the default of q has 131,072 bytes; from 131,072 on it fits "
        "into no ar → upload it (gcloud storage cp FILE gs://BUCKET/FILE",
        "warning RK-VALUE-LONG a: the constant for a has 131,072 bytes; from 131,072 on it fits into no  "
        "→ upload it (gcloud storage cp FILE gs://BUCKET/FILE",
        "error RK-VALUE-LONG args[0]: has 131,072 bytes; Linux takes fewer than 131,072 in one argument → "
        "put it into a file of the image or of the bucket",
    ]


def test_the_size_of_the_file() -> None:
    context = context_of_spec(step_spec({}), registry_text=registry(""))

    def of(size: int) -> list[str]:
        text = context.pipeline.text
        larger = replace(context, pipeline=replace(context.pipeline, text=f"{text}#{'x' * (size - len(text) - 1)}"))
        return [line(found) for found in check_bounds(larger, Spec(context.pipeline.spec, FILE))]

    assert of(4 * 2**20) == []
    assert of(4 * 2**20 + 1) == [
        "warning RK-SPEC-SIZE yaml: the file: has 4.0 MiB, and more than 4 MiB may be refused → write "
        "loops as loops, and put long constants into"
    ]


def test_times_of_custom_jobs() -> None:
    def of(seconds: int) -> list[str]:
        return of_bounds(step_spec({"args": [json.dumps({"scheduling": {"timeout": f"{seconds}s"}})]}))

    assert of(7 * 86400) == []
    assert of(7 * 86400 + 1) == [
        "warning RK-TASK-TIME args: timeout is 7 days, and a task ends after 7 → let the step write "
        "checkpoints, and split it"
    ]
