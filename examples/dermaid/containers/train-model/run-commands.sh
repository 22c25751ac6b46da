#!/bin/bash
# Container 4: gets the file of the shards' paths at a tag and trains on those shards.
#   run-commands.sh <GCP_PROJECT> <GCS_BUCKET_NAME> <GIT_LOGIN> <WANDB_API_KEY> <tag> <NUM_GPU>
# Variables: GIT_REPOSITORY, the repository's host and path; STORAGE_EMULATOR_HOST, if the bucket is an emulated one.
set -euo pipefail

if [ $# -ne 6 ]; then
  echo "train-model: expects <GCP_PROJECT> <GCS_BUCKET_NAME> <GIT_LOGIN> <WANDB_API_KEY> <tag> <NUM_GPU>; $# arguments came" >&2
  exit 2
fi
project=$1 bucket=$2 GIT_LOGIN=$3 WANDB_API_KEY=$4 tag=$5 gpus=$6
export GIT_LOGIN WANDB_API_KEY

# Nothing of the machine's own settings takes part, and nothing is left behind.
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
export HOME=$scratch GIT_CONFIG_NOSYSTEM=1 GIT_TERMINAL_PROMPT=0 LC_ALL=C
# gcsfs would ask what kind of bucket it is over gRPC, which needs more rights than objects do and no emulator answers.
export GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT=false
export DVC_NO_ANALYTICS=1 DVC_GLOBAL_CONFIG_DIR=$scratch/dvc DVC_SITE_CACHE_DIR=$scratch/dvc-site

echo "project $project, bucket $bucket, tag $tag"
clone-repository "$scratch/repository"
if ! git -C "$scratch/repository" rev-parse --quiet --verify "refs/tags/$tag" >/dev/null; then
  echo "train-model: there is no tag '$tag' in $GIT_REPOSITORY" >&2
  exit 1
fi
remote=()
if [ -n "${STORAGE_EMULATOR_HOST-}" ]; then
  remote=(--remote-config allow_anonymous_login=true)
fi
echo "dvc get paths.txt --rev $tag"
dvc get "$scratch/repository" paths.txt --rev "$tag" --out "$scratch/paths.txt" "${remote[@]+"${remote[@]}"}"
echo "got $(wc -l <"$scratch/paths.txt") paths of commit $(git -C "$scratch/repository" rev-parse --short "$tag^{commit}")"

# On matrices this small, several threads wait for each other more than they work.
export OPENBLAS_NUM_THREADS=1
python train_model.py "$bucket" "$scratch/paths.txt" "$tag" "$gpus"
