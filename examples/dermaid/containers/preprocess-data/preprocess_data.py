"""Container 2: makes TFRecord shards of the raw images, and a file of the shards' paths.

Variables: GCS_BUCKET_NAME; WHYLABS_DEFAULT_ORG_ID, WHYLABS_API_KEY, WHYLABS_DEFAULT_DATASET_ID, which are looked at and
not used: no service is called.
Writes tf_records/{train,val,test}/0000.tfrecords … and tf_records/paths.txt, one gs:// path a line.
"""

from __future__ import annotations

import csv
import hashlib
import io
import os
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import tfrecord
from google.cloud import storage
from PIL import Image

SIDE = 24
"""Pixels of a side after scaling."""

SHARD = 64
"""Examples of a shard, at most."""

SPLITS = {"train": 70, "val": 15, "test": 15}
"""Percent of the images."""

WHYLABS = ("WHYLABS_DEFAULT_ORG_ID", "WHYLABS_API_KEY", "WHYLABS_DEFAULT_DATASET_ID")
PATHS = "tf_records/paths.txt"


def split_of(name: str) -> str:
    """The split of an image: by its name alone, so that it stays in it when others come or go."""
    place = int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big") % 100
    for split, percent in SPLITS.items():
        if place < percent:
            return split
        place -= percent
    raise AssertionError("the splits are 100 percent")


def example(name: str, png: bytes, label: int, kind: str, age: float) -> bytes:
    """One image as a serialised tf.train.Example: SIDE × SIDE × 3 bytes, and what the tables say of it."""
    pixels = Image.open(io.BytesIO(png)).convert("RGB").resize((SIDE, SIDE), Image.Resampling.BOX)
    return tfrecord.encode(
        {
            "image": np.asarray(pixels, dtype=np.uint8).tobytes(),
            "name": name.encode(),
            "label": label,
            "kind": kind.encode(),
            "age": age,
            "side": SIDE,
        }
    )


def main() -> int:
    """Read, convert, upload; gives the exit code."""
    missing = [name for name in WHYLABS if not os.environ.get(name)]
    if missing:
        print(f"preprocess-data: {', '.join(missing)} did not arrive", file=sys.stderr)
        return 1
    key = os.environ["WHYLABS_API_KEY"]
    org, dataset = os.environ["WHYLABS_DEFAULT_ORG_ID"], os.environ["WHYLABS_DEFAULT_DATASET_ID"]
    print(f"WhyLabs: organisation {org}, data set {dataset}, a key of {len(key)} characters; not called", flush=True)

    bucket_name = os.environ["GCS_BUCKET_NAME"]
    bucket = storage.Client().bucket(bucket_name)
    labels = list(csv.DictReader(io.StringIO(bucket.blob("isic_data/labels.csv").download_as_text())))
    rows = list(csv.DictReader(io.StringIO(bucket.blob("isic_data/metadata.csv").download_as_text())))
    metadata = {row["image"]: row for row in rows}
    kinds = [column for column in labels[0] if column != "image"]
    print(f"{len(labels)} images of {len(kinds)} kinds: {', '.join(kinds)}", flush=True)

    def read(row: dict[str, str]) -> tuple[str, bytes]:
        name = row["image"]
        png = bucket.blob(f"raw_images/{name}.png").download_as_bytes()
        label = next(index for index, kind in enumerate(kinds) if row[kind] == "1")
        return split_of(name), example(name, png, label, kinds[label], float(metadata[name]["age_approx"]))

    with ThreadPoolExecutor(8) as pool:
        examples = list(pool.map(read, labels))
    print(f"read and scaled {len(examples)} images to {SIDE} × {SIDE}", flush=True)

    paths = []
    for split in SPLITS:
        records = [record for place, record in examples if place == split]
        for number, start in enumerate(range(0, len(records), SHARD)):
            name = f"tf_records/{split}/{number:04d}.tfrecords"
            content = tfrecord.pack(records[start : start + SHARD])
            bucket.blob(name).upload_from_string(content, content_type="application/octet-stream")
            paths.append(f"gs://{bucket_name}/{name}")
    for stale in bucket.list_blobs(prefix="tf_records/"):
        if stale.name != PATHS and f"gs://{bucket_name}/{stale.name}" not in paths:
            stale.delete()
    bucket.blob(PATHS).upload_from_string("".join(f"{path}\n" for path in paths), content_type="text/plain")
    counts = Counter(place for place, _ in examples)
    print(f"wrote {len(paths)} shards: " + ", ".join(f"{counts[split]} {split}" for split in SPLITS), flush=True)
    print(f"wrote gs://{bucket_name}/{PATHS}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
