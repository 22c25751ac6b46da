#!/bin/sh
# Builds the image of run-kfp and opens a shell in it: the current folder is /work there, the secrets are at /secrets,
# read-only. What is given after the script's name runs instead of the shell:
#
#   sh docker-shell.sh run-kfp -r 1 -r 2 -r 3 -r 4 -t dataset_v22
#
# Read from the environment:
#   SECRETS_DIR           the secrets folder; else secrets/ or ../secrets/ of the current folder
#   RUN_KFP_BASE          another base image: a Debian with gcloud and Python 3.11 or later
#   RUN_KFP_IMAGE         the name that the image gets; else run-kfp
#   RUN_KFP_DOCKER_ARGS   more arguments for `docker run`, split at spaces: --network host
# and the settings in `passed`. docker-shell.bat does the same on Windows: change both.
set -eu

# Passed by name, so that no value stands on a command line. No secret is among them: a container's environment can be
# read with `docker inspect`.
passed='GCP_PROJECT GCP_REGION GCS_BUCKET_NAME GCS_SERVICE_ACCOUNT NUM_GPU WHYLABS_DEFAULT_ORG_ID
    WHYLABS_DEFAULT_DATASET_ID RUN_KFP_REGISTRY GOOGLE_APPLICATION_CREDENTIALS NO_COLOR'

say() {
    printf 'docker-shell: %s\n' "$*" >&2
}

stop() {
    say "$*"
    exit 2
}

is_set() {
    eval "[ -n \"\${$1:-}\" ]"
}

# `cd` would look for a relative folder in CDPATH first, print where it found it, and take `-` for the last one.
unset CDPATH
folder() {
    case $1 in
    /*) (cd "$1" && pwd) ;;
    *) (cd "./$1" && pwd) ;;
    esac
}

here=$(folder "$(dirname -- "$0")")
work=$(pwd)
image=${RUN_KFP_IMAGE:-run-kfp}
case $image in
-*) stop "RUN_KFP_IMAGE is not the name of an image: $image" ;;
esac

command -v docker >/dev/null || stop "docker not found: install it (https://docs.docker.com/get-docker/)"
security=$(docker info --format '{{.SecurityOptions}}' 2>/dev/null) ||
    stop "the Docker daemon does not answer: start Docker, or join the docker group (see \`docker info\`)"

if is_set SECRETS_DIR; then
    [ -d "$SECRETS_DIR" ] || stop "SECRETS_DIR is not a folder: $SECRETS_DIR"
    secrets=$(folder "$SECRETS_DIR")
elif [ -d secrets ]; then
    secrets=$work/secrets
elif [ -d ../secrets ]; then
    secrets=$(folder ../secrets)
else
    secrets=
    say "no secrets folder, continuing without: \`cp -r '$here/secrets.example' secrets\` creates one to fill in"
fi

docker build ${RUN_KFP_BASE:+--build-arg "BASE=$RUN_KFP_BASE"} --tag "$image" "$here" >&2 ||
    stop "the image was not built: see the output of the builder above"

# "$@" is the caller's command; the arguments of `docker run` are put in front of it, the last ones first.
set -- "$image" "$@"

# mount SOURCE TARGET: sets `bind` to what `docker run` needs to show a file or folder of this machine, read-only unless
# it is the work folder.
mount() {
    case $1 in
    *,*) stop "docker cannot mount a path that contains a comma: $1" ;;
    esac
    bind=type=bind,source=$1,target=$2
    if [ "$2" != /work ]; then
        bind=$bind,readonly
    fi
}

if is_set RUN_KFP_DOCKER_ARGS; then
    set -f # a * is for docker, and not the names of the files here
    # shellcheck disable=SC2086 # split at spaces, as the head of this file says
    set -- $RUN_KFP_DOCKER_ARGS "$@"
    set +f
fi

if [ -n "$secrets" ]; then
    login=$secrets/git.env
    beside=$(dirname "$secrets")/git.env
    if [ ! -f "$login" ] && [ -f "$beside" ]; then
        # Nothing can be mounted into a folder that is read-only, so /secrets is put together from single files.
        login=$beside
        set -- --tmpfs /secrets:ro "$@"
        for file in "$login" "$secrets"/*; do
            if [ -f "$file" ]; then
                mount "$file" "/secrets/$(basename "$file")"
                set -- --mount "$bind" "$@"
            fi
        done
    else
        mount "$secrets" /secrets
        set -- --mount "$bind" "$@"
    fi
    set -- --env RUN_KFP_SECRETS=/secrets "$@"

    # Where they lie in the work folder as well, they are not writable there either.
    for path in "$secrets" "$login"; do
        case $path in
        "$secrets"/*) ;;
        "$work"/*)
            mount "$path" "/work/${path#"$work"/}"
            set -- --mount "$bind" "$@"
            ;;
        esac
    done

    # missing VARIABLE FILE: a secret that only the environment has
    missing() {
        if is_set "$1" && [ ! -f "$2" ]; then
            say "$1 is set, but secrets are not passed by environment: write it to $2 (see secrets.example)"
        fi
    }
    missing WANDB_API_KEY "$secrets/wandb.txt"
    missing WHYLABS_API_KEY "$secrets/whylabs.txt"
    missing GIT_LOGIN "$login"
fi

# Paths of this machine become those in the container.
if is_set GOOGLE_APPLICATION_CREDENTIALS; then
    key=$GOOGLE_APPLICATION_CREDENTIALS
    if [ -f "$key" ]; then
        mount "$(folder "$(dirname -- "$key")")/$(basename -- "$key")" /credentials/key.json
        set -- --mount "$bind" "$@"
    else
        say "GOOGLE_APPLICATION_CREDENTIALS is not a file: $key"
    fi
    export GOOGLE_APPLICATION_CREDENTIALS=/credentials/key.json
fi
if is_set RUN_KFP_REGISTRY; then
    case $RUN_KFP_REGISTRY in
    "$work"/*) export RUN_KFP_REGISTRY="/work/${RUN_KFP_REGISTRY#"$work"/}" ;;
    /* | ../*) stop "RUN_KFP_REGISTRY must be in the current folder: $RUN_KFP_REGISTRY" ;;
    esac
fi
for name in $passed; do
    if is_set "$name"; then
        set -- --env "$name" "$@"
    fi
done

# What the container writes to the work folder belongs to the caller; in a rootless Docker that is the container's root.
case $security in
*rootless*) user=0:0 ;;
*) user=$(id -u):$(id -g) ;;
esac
mount "$work" /work
set -- --user "$user" --mount "$bind" "$@"

if [ -t 0 ] && [ -t 1 ]; then
    set -- --interactive --tty "$@"
fi
exec docker run --rm --init "$@"
