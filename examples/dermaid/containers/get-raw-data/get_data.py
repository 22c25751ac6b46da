"""Container 1: writes images of skin lesions and two tables on them to the bucket.

The images are drawn, not photographed: three kinds of lesion that differ in colour, outline and size, with an overlap,
so that a model can learn them and cannot get all of them right. The same seed gives the same bytes.

Variables: GCS_BUCKET_NAME; DERMAID_IMAGES, how many to draw; DERMAID_SEED, an integer.
Writes raw_images/ISIC_<number>.png, isic_data/labels.csv and isic_data/metadata.csv.
"""

from __future__ import annotations

import csv
import io
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from google.cloud import storage
from PIL import Image

SIZE = 48
"""Pixels of a side."""

UPLOADS = 8
"""Uploads at a time."""


@dataclass(frozen=True)
class Kind:
    """A kind of lesion: how often it is seen, and the means of what is drawn."""

    share: float
    colour: tuple[float, float, float]
    """Red, green, blue, from 0 to 1."""
    radius: float
    """Of the image's half side."""
    ragged: float
    """How far the outline leaves a circle, as a part of the radius."""
    age: float
    """Years."""


KINDS = {
    "melanoma": Kind(0.25, (0.30, 0.17, 0.15), 0.58, 0.26, 62),
    "nevus": Kind(0.50, (0.45, 0.27, 0.18), 0.42, 0.07, 41),
    "keratosis": Kind(0.25, (0.56, 0.42, 0.28), 0.54, 0.14, 66),
}


def draw(kind: Kind, random: np.random.Generator) -> npt.NDArray[np.uint8]:
    """A lesion on skin: SIZE × SIZE × 3 bytes."""
    axis = np.linspace(-1, 1, SIZE)
    x, y = np.meshgrid(axis, axis)
    centre = random.normal(0, 0.10, 2)
    angle, distance = np.arctan2(y - centre[1], x - centre[0]), np.hypot(x - centre[0], y - centre[1])
    radius = kind.radius * random.normal(1, 0.16) * np.ones_like(angle)
    for wave in range(2, 7):
        height, turn = random.normal(0, 0.7) / wave, random.uniform(0, 2 * np.pi)
        radius += kind.radius * kind.ragged * height * np.cos(wave * angle + turn)

    skin = np.array([0.86, 0.67, 0.56]) * random.normal(1, 0.06)
    colour = np.array(kind.colour) * random.normal(1, 0.15) + random.normal(0, 0.045, 3)
    inside = 1 / (1 + np.exp((distance - radius) / 0.05))
    picture = skin + inside[..., None] * (colour - skin)
    for _ in range(random.poisson(2)):  # hairs
        slope, offset = random.normal(0, 1), random.uniform(-1, 1)
        picture[np.abs(y - slope * x - offset) < 0.03] *= 0.5
    picture *= 1 - 0.18 * (x**2 + y**2)[..., None] * random.uniform(0, 1)  # the lens is darker at the rim
    picture += random.normal(0, 0.03, picture.shape)
    return np.asarray(np.clip(picture * 255, 0, 255), dtype=np.uint8)


def png(pixels: npt.NDArray[np.uint8]) -> bytes:
    """The pixels as a PNG file."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def table(head: list[str], rows: list[list[str]]) -> str:
    """A CSV file."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerows([head, *rows])
    return buffer.getvalue()


def main() -> int:
    """Draw, describe, upload; gives the exit code."""
    bucket_name = os.environ["GCS_BUCKET_NAME"]
    count, seed = int(os.environ["DERMAID_IMAGES"]), int(os.environ["DERMAID_SEED"])
    print(f"drawing {count} images with seed {seed}", flush=True)
    random = np.random.default_rng(seed)
    names = list(KINDS)
    drawn = random.choice(len(names), size=count, p=[kind.share for kind in KINDS.values()])

    images: dict[str, bytes] = {}
    labels, metadata = [], []
    for number, index in enumerate(drawn):
        name, kind = f"ISIC_{number:07d}", KINDS[names[index]]
        images[name] = png(draw(kind, random))
        labels.append([name, *("1" if column == index else "0" for column in range(len(names)))])
        age = int(np.clip(random.normal(kind.age, 13) // 5 * 5, 5, 90))
        site = str(random.choice(["back", "leg", "arm", "face"]))
        metadata.append([name, str(age), str(random.choice(["female", "male"])), site])

    bucket = storage.Client().bucket(bucket_name)
    for stale in bucket.list_blobs(prefix="raw_images/"):
        if stale.name.removeprefix("raw_images/").removesuffix(".png") not in images:
            stale.delete()

    def upload(name: str) -> None:
        bucket.blob(f"raw_images/{name}.png").upload_from_string(images[name], content_type="image/png")

    with ThreadPoolExecutor(UPLOADS) as pool:
        for done, _ in enumerate(pool.map(upload, images), start=1):
            if done % 100 == 0 or done == count:
                print(f"uploaded {done} of {count} images to gs://{bucket_name}/raw_images/", flush=True)
    for name, text in {
        "labels.csv": table(["image", *names], labels),
        "metadata.csv": table(["image", "age_approx", "sex", "anatom_site_general"], metadata),
    }.items():
        bucket.blob(f"isic_data/{name}").upload_from_string(text, content_type="text/csv")
        print(f"wrote gs://{bucket_name}/isic_data/{name}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
