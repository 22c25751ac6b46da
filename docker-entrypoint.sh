#!/bin/sh
# Entrypoint of the image: logs gcloud in where that is of use, then becomes the command given, or a shell.
# Nothing that is missing here stops the command: one line says what, and it goes on.
set -eu

share=/opt/run-kfp/share/run-kfp
key=${GOOGLE_APPLICATION_CREDENTIALS:-/secrets/ac215-dermaid.json}
GCLOUD_SECONDS=20 # gcloud tries again for minutes where there is no network

say() {
    printf 'docker-entrypoint: %s\n' "$*" >&2
}

# Whether the command may ask Google for something. run-kfp's offline calls must not wait for gcloud.
asks_google() {
    [ "${1:-}" = run-kfp ] || return 0
    shift
    for word in "$@"; do
        case $word in
        --compile-only | --dry-run | --offline | --local | --help | -h | --version | --show-completion) return 1 ;;
        list | init | schema | explain | machines | trust | runs | watch | logs | cancel) return 1 ;;
        esac
    done
}

# Print the values of GCP_PROJECT and GCP_REGION, a line each: the environment's, else those in .env.
project_and_region() {
    /opt/run-kfp/bin/python -I - <<'PYTHON'
import os
from pathlib import Path
from run_kfp.settings import read_env_file

values = {**read_env_file(Path(".env"), []), **os.environ}
print(values.get("GCP_PROJECT") or "", values.get("GCP_REGION") or "", sep="\n")
PYTHON
}

# gcloud takes both from variables as well, at once and without a call of it; what it printed is empty if unset.
set_project_and_region() {
    values=$(project_and_region) || return 0
    project=$(printf '%s\n' "$values" | sed -n 1p)
    region=$(printf '%s\n' "$values" | sed -n 2p)
    [ -z "$project" ] || export CLOUDSDK_CORE_PROJECT="${CLOUDSDK_CORE_PROJECT:-$project}"
    [ -z "$region" ] || export CLOUDSDK_COMPUTE_REGION="${CLOUDSDK_COMPUTE_REGION:-$region}" \
        CLOUDSDK_AI_REGION="${CLOUDSDK_AI_REGION:-$region}"
}

log_in() {
    if grep -q '<.*>' "$key"; then
        say "$key is still a placeholder: replace it with the key of your service account"
        return
    fi
    if ! command -v gcloud >/dev/null; then
        say "no gcloud in this image: continuing without; run-kfp itself does not need it"
        return
    fi
    # Not through a pipe: what gcloud left behind could hold it open. `timeout` ends its whole process group, and kills
    # what does not hear; where that takes it along, the status is 137.
    status=0
    output=$(mktemp 2>/dev/null) || output=/dev/null
    timeout -k 2 "$((GCLOUD_SECONDS - 3))" \
        gcloud auth activate-service-account --quiet --key-file="$key" >"$output" 2>&1 </dev/null || status=$?
    words=$(cat "$output")
    [ "$output" = /dev/null ] || rm -f "$output"
    case $status in
    0) ;;
    124 | 137) say "gcloud could not log in with $key within $GCLOUD_SECONDS s (no network?): continuing without" ;;
    *) say "gcloud could not log in with $key: $(printf '%s\n' "$words" | grep -m 1 ERROR | cut -c 1-200)" ;;
    esac
}

if [ ! -d /secrets ] || ! ls /secrets >/dev/null 2>&1; then
    say "the folder mounted at /secrets is not readable by user $(id -u): continuing without its files"
elif [ -f "$key" ] && [ -r "$key" ]; then
    export GOOGLE_APPLICATION_CREDENTIALS="$key"
    if asks_google "$@"; then
        log_in
    fi
elif [ -e "$key" ]; then
    say "$key is not readable by user $(id -u): continuing without; \`chmod u+r\` it, or own it"
elif asks_google "$@"; then
    say "no service account key at $key: continuing without; put it into the secrets folder"
fi
if asks_google "$@"; then
    set_project_and_region
fi

if [ $# -gt 0 ]; then
    exec "$@"
elif command -v bash >/dev/null; then
    exec bash --rcfile "$share/bashrc"
else
    exec sh
fi
