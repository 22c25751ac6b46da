"""Fetches the file of the shards' paths: `fetch_paths.py <bucket> <file>`."""

import sys

from google.cloud import storage

bucket, target = sys.argv[1:]
storage.Client().bucket(bucket).blob("tf_records/paths.txt").download_to_filename(target)
