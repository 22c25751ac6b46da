"""Trains a small network on the shards that a file of paths names: `train_model.py <bucket> <paths> <tag> <gpus>`.

One hidden layer, in NumPy, on pixels and age; a few seconds. Writes model.npz and metrics.json to models/<tag>/.
The key of Weights & Biases (WANDB_API_KEY) is looked at and not used: no service is called.
"""

from __future__ import annotations

import io
import json
import os
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import tfrecord
from google.cloud import storage

EPOCHS = 40
BATCH = 32
HIDDEN = 48
RATE = 2e-3
DECAY = 1e-3
"""Weight decay."""

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Data:
    """The examples of one split."""

    inputs: Array
    labels: npt.NDArray[np.int64]
    kinds: dict[int, str]


def load(bucket: storage.Bucket, paths: Iterable[str]) -> Data:
    """Read the shards at these gs:// paths; every sum in them is checked."""
    inputs, labels, kinds = [], [], {}
    for path in paths:
        content = bucket.blob(path.removeprefix(f"gs://{bucket.name}/")).download_as_bytes()
        for record in tfrecord.unpack(content):
            example = tfrecord.decode(record)
            pixels = np.frombuffer(example["image"], dtype=np.uint8) / 255
            inputs.append(np.append(pixels, example["age"] / 100))
            labels.append(example["label"])
            kinds[example["label"]] = example["kind"].decode()
    return Data(np.array(inputs), np.array(labels), kinds)


class Network:
    """Inputs, one hidden layer of rectifiers, a softmax over the kinds; trained with Adam (Kingma and Ba, 2015)."""

    def __init__(self, train: Data, random: np.random.Generator) -> None:
        self.mean, self.scale = train.inputs.mean(0), train.inputs.std(0) + 1e-6
        width, kinds = train.inputs.shape[1], len(train.kinds)
        self.weights = [
            random.normal(0, np.sqrt(2 / width), (width, HIDDEN)),
            np.zeros(HIDDEN),
            random.normal(0, np.sqrt(2 / HIDDEN), (HIDDEN, kinds)),
            np.zeros(kinds),
        ]
        self._first = [np.zeros_like(weight) for weight in self.weights]
        self._second = [np.zeros_like(weight) for weight in self.weights]
        self._steps = 0

    def predict(self, inputs: Array) -> tuple[Array, Array]:
        """The hidden layer and the probabilities of the kinds."""
        first, first_bias, second, second_bias = self.weights
        hidden = np.maximum((inputs - self.mean) / self.scale @ first + first_bias, 0)
        scores = hidden @ second + second_bias
        powers = np.exp(scores - scores.max(1, keepdims=True))
        return hidden, powers / powers.sum(1, keepdims=True)

    def step(self, inputs: Array, labels: npt.NDArray[np.int64]) -> float:
        """One step of Adam on a batch; gives its loss before it (cross entropy)."""
        hidden, found = self.predict(inputs)
        wrong = found.copy()
        wrong[np.arange(len(labels)), labels] -= 1
        wrong /= len(labels)
        back = (wrong @ self.weights[2].T) * (hidden > 0)
        scaled = (inputs - self.mean) / self.scale
        self._steps += 1
        for index, gradient in enumerate((scaled.T @ back, back.sum(0), hidden.T @ wrong, wrong.sum(0))):
            self._first[index] = 0.9 * self._first[index] + 0.1 * gradient
            self._second[index] = 0.999 * self._second[index] + 0.001 * gradient**2
            mean = self._first[index] / (1 - 0.9**self._steps)
            spread = np.sqrt(self._second[index] / (1 - 0.999**self._steps))
            self.weights[index] -= RATE * (mean / (spread + 1e-8) + DECAY * self.weights[index])
        return float(-np.log(found[np.arange(len(labels)), labels] + 1e-12).mean())

    def accuracy(self, data: Data) -> float:
        """The part of the examples whose kind it finds."""
        return float((self.predict(data.inputs)[1].argmax(1) == data.labels).mean())


def main(bucket_name: str, paths_file: str, tag: str, gpus: str) -> int:
    """Load, train, measure, upload; gives the exit code."""
    key = os.environ.get("WANDB_API_KEY", "")
    if not key:
        print("train-model: WANDB_API_KEY did not arrive", file=sys.stderr)
        return 1
    print(f"Weights & Biases: a key of {len(key)} characters; not called", flush=True)
    print(f"NUM_GPU is {gpus}: this network is small enough for the CPU", flush=True)

    paths = Path(paths_file).read_text(encoding="utf-8").split()
    bucket = storage.Client().bucket(bucket_name)
    splits = ("train", "val", "test")
    train, val, test = (load(bucket, [path for path in paths if f"/{split}/" in path]) for split in splits)
    sizes = {"train": len(train.labels), "val": len(val.labels), "test": len(test.labels)}
    print("examples: " + ", ".join(f"{size} {split}" for split, size in sizes.items()), flush=True)

    random = np.random.default_rng(0)
    network = Network(train, random)
    best, kept = -1.0, [weight.copy() for weight in network.weights]
    for epoch in range(1, EPOCHS + 1):
        order = random.permutation(len(train.labels))
        batches = [order[start : start + BATCH] for start in range(0, len(order), BATCH)]
        loss = float(np.mean([network.step(train.inputs[batch], train.labels[batch]) for batch in batches]))
        accuracy = network.accuracy(val)
        if accuracy > best:
            best, kept = accuracy, [weight.copy() for weight in network.weights]
        if epoch % 10 == 0:
            print(f"epoch {epoch:3d}: loss {loss:.3f}, accuracy on val {accuracy:.3f}", flush=True)
    network.weights = kept

    chance = float(np.bincount(test.labels).max() / len(test.labels))
    metrics = {
        "tag": tag,
        "accuracy": round(network.accuracy(test), 4),
        "chance": round(chance, 4),
        "examples": sizes,
        "kinds": [train.kinds[index] for index in sorted(train.kinds)],
        "shards": paths,
    }
    print(f"accuracy on test {metrics['accuracy']:.3f}; always the most frequent kind: {chance:.3f}", flush=True)

    buffer = io.BytesIO()
    first, first_bias, second, second_bias = network.weights
    np.savez(
        buffer,
        mean=network.mean,
        scale=network.scale,
        first=first,
        first_bias=first_bias,
        second=second,
        second_bias=second_bias,
    )
    model = bucket.blob(f"models/{tag}/model.npz")
    model.upload_from_string(buffer.getvalue(), content_type="application/octet-stream")
    bucket.blob(f"models/{tag}/metrics.json").upload_from_string(json.dumps(metrics), content_type="application/json")
    print(f"wrote gs://{bucket_name}/models/{tag}/", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
