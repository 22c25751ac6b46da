#!/bin/bash
# Container 3: puts the file of the shards' paths under DVC and gives that version a Git tag.
#   run-commands.sh <GCP_PROJECT> <GCS_BUCKET_NAME> <GIT_LOGIN> <tag>
# Variables: GIT_REPOSITORY, the repository's host and path; STORAGE_EMULATOR_HOST, if the bucket is an emulated one.
set -euo pipefail

if [ $# -ne 4 ]; then
  echo "versioning: expects <GCP_PROJECT> <GCS_BUCKET_NAME> <GIT_LOGIN> <tag>; $# arguments came" >&2
  exit 2
fi
project=$1 bucket=$2 GIT_LOGIN=$3 tag=$4
export GIT_LOGIN
if ! git check-ref-format "refs/tags/$tag" || [ "${tag#-}" != "$tag" ]; then
  echo "versioning: '$tag' cannot be the name of a Git tag" >&2
  exit 2
fi

# Nothing of the machine's own settings takes part, and nothing is left behind.
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
export HOME=$scratch GIT_CONFIG_NOSYSTEM=1 GIT_TERMINAL_PROMPT=0 LC_ALL=C
export GIT_AUTHOR_NAME=versioning GIT_AUTHOR_EMAIL=versioning@dermaid.invalid
export GIT_COMMITTER_NAME=$GIT_AUTHOR_NAME GIT_COMMITTER_EMAIL=$GIT_AUTHOR_EMAIL
# gcsfs would ask what kind of bucket it is over gRPC, which needs more rights than objects do and no emulator answers.
export GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT=false
export DVC_NO_ANALYTICS=1 DVC_GLOBAL_CONFIG_DIR=$scratch/dvc DVC_SITE_CACHE_DIR=$scratch/dvc-site
scripts=$PWD

echo "project $project, bucket $bucket, tag $tag"
clone-repository "$scratch/repository"
cd "$scratch/repository"
if git rev-parse --quiet --verify "refs/tags/$tag" >/dev/null; then
  echo "versioning: the tag '$tag' exists in $GIT_REPOSITORY and stays what it is; choose another" >&2
  exit 1
fi

# Not --quiet: it hides DVC's errors too.
[ -d .dvc ] || dvc init >/dev/null
dvc remote add --force --default bucket "gs://$bucket/dvc_store" >/dev/null
if [ -n "${STORAGE_EMULATOR_HOST-}" ]; then
  dvc config --local remote.bucket.allow_anonymous_login true
fi
python "$scripts/fetch_paths.py" "$bucket" paths.txt
dvc add paths.txt >/dev/null
dvc push >/dev/null
echo "pushed $(wc -l <paths.txt) paths to gs://$bucket/dvc_store"

git add .dvc .dvcignore .gitignore paths.txt.dvc
git diff --cached --quiet || git commit --quiet --message "Data of $tag"
git tag --annotate --message "Data of $tag" "$tag"
git push --quiet --atomic origin HEAD "refs/tags/$tag"
echo "pushed commit $(git rev-parse --short HEAD) and tag $tag"
