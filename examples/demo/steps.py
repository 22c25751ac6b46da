"""The four steps of the demo: a small data set, its shards, a version of it, and a model trained on that version.

    python steps.py STEP ARGUMENTS…

The arguments are those of the packaged registry's containers. The bucket is the folder `buckets/NAME` beside this file.
"""

import csv
import hashlib
import json
import random
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

HERE = Path(__file__).resolve().parent
KINDS = {"benign": (3.2, 1.1), "malignant": (5.1, 2.4)}  # the middle of each kind's diameter and asymmetry
SHARD = 100  # records


def get_raw_data(bucket: str) -> None:
    """Draws measurements of 600 lesions; the same ones each time."""
    draw = random.Random(22)
    rows = [
        (kind, round(draw.gauss(diameter, 0.8), 3), round(draw.gauss(asymmetry, 0.5), 3))
        for kind, (diameter, asymmetry) in KINDS.items()
        for _ in range(300)
    ]
    draw.shuffle(rows)
    with made(bucket, "raw_data/lesions.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("kind", "diameter", "asymmetry"), *rows])
    print(f"{len(rows)} rows in gs://{bucket}/raw_data/lesions.csv")


def preprocess_data(bucket: str, organization: str, key: str, dataset: str) -> None:
    """Splits the rows into shards for training, validation and test, and writes the list of them."""
    with (folder(bucket) / "raw_data" / "lesions.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    shards = []
    for split, part in {"train": rows[:400], "val": rows[400:500], "test": rows[500:]}.items():
        for first in range(0, len(part), SHARD):
            name = f"records/{split}/{first // SHARD:04}.jsonl"
            lines = [json.dumps(row) for row in part[first : first + SHARD]]
            made(bucket, name).write_text("\n".join(lines) + "\n", encoding="utf-8")
            print(f"wrote gs://{bucket}/{name}: {len(lines)} records")
            shards.append(name)
    made(bucket, "records/paths.json").write_text(json.dumps(shards), encoding="utf-8")
    print(f"profile for {organization}/{dataset}, sent with the key {key}")  # the log shows *** for the key


def versioning(project: str, bucket: str, login: str, tag: str) -> None:
    """Records the hash of each shard under the tag."""
    paths = json.loads((folder(bucket) / "records" / "paths.json").read_text(encoding="utf-8"))
    hashes = {path: hashlib.sha256((folder(bucket) / path).read_bytes()).hexdigest() for path in paths}
    made(bucket, f"versions/{tag}.json").write_text(json.dumps(hashes, indent=2), encoding="utf-8")
    print(f"tagged {len(hashes)} files of {project} as {tag}")
    print(f"WARNING: a careless program prints its login: {login}")


def train_model(project: str, bucket: str, login: str, key: str, tag: str, gpus: str) -> None:
    """Trains a nearest-centroid model on the shards of the tag, after a look at their hashes."""
    records: dict[str, list[dict[str, str]]] = {"train": [], "test": [], "val": []}
    version = json.loads((folder(bucket) / "versions" / f"{tag}.json").read_text(encoding="utf-8"))
    for path, expected in version.items():
        content = (folder(bucket) / path).read_bytes()
        if hashlib.sha256(content).hexdigest() != expected:
            sys.exit(f"{path} is not the file that {tag} names")
        records[path.split("/")[1]] += map(json.loads, content.decode("utf-8").splitlines())
    print(f"data {tag}: {', '.join(f'{len(rows)} {split}' for split, rows in records.items())}; {gpus} GPUs")
    centroids = {kind: middle([row for row in records["train"] if row["kind"] == kind]) for kind in KINDS}
    accuracy = {split: measured(centroids, rows) for split, rows in records.items()}
    print(f"accuracy: {accuracy['val']:.1%} of validation, {accuracy['test']:.1%} of test")
    model = {"project": project, "tag": tag, "centroids": centroids, "accuracy": accuracy}
    made(bucket, f"models/{tag}/model.json").write_text(json.dumps(model, indent=2), encoding="utf-8")
    print(f"wrote gs://{bucket}/models/{tag}/model.json")


def point(row: dict[str, str]) -> tuple[float, float]:
    """The two measurements of a row."""
    return float(row["diameter"]), float(row["asymmetry"])


def middle(rows: Sequence[dict[str, str]]) -> tuple[float, float]:
    """The mean of each measurement."""
    points = [point(row) for row in rows]
    return sum(x for x, _ in points) / len(points), sum(y for _, y in points) / len(points)


def measured(centroids: dict[str, tuple[float, float]], rows: Sequence[dict[str, str]]) -> float:
    """The share of rows whose nearest centroid is that of their kind."""

    def nearest(row: dict[str, str]) -> str:
        x, y = point(row)
        return min(centroids, key=lambda kind: (x - centroids[kind][0]) ** 2 + (y - centroids[kind][1]) ** 2)

    return sum(nearest(row) == row["kind"] for row in rows) / len(rows)


def folder(bucket: str) -> Path:
    """The folder that stands in for the bucket."""
    return HERE / "buckets" / bucket


def made(bucket: str, name: str) -> Path:
    """The path of an object, in a folder that exists."""
    path = folder(bucket) / name
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


STEPS: dict[str, Callable[..., None]] = {
    "get-raw-data": get_raw_data,
    "preprocess-data": preprocess_data,
    "versioning": versioning,
    "train-model": train_model,
}

if __name__ == "__main__":
    STEPS[sys.argv[1]](*sys.argv[2:])
