"""TFRecord files of `tf.train.Example` messages, without TensorFlow.

A file is a row of records: length (8 bytes, little-endian), masked CRC-32C of the length (4 bytes), data, masked
CRC-32C of the data (4 bytes). Source: https://www.tensorflow.org/tutorials/load_data/tfrecord; the messages are those
of tensorflow/core/example/{example,feature}.proto.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import google_crc32c
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

_MASK = 0xA282EAD8


class RecordError(ValueError):
    """A TFRecord file is damaged; the text says where."""


def pack(examples: Iterable[bytes]) -> bytes:
    """The content of a TFRecord file that holds these records."""
    return b"".join(_record(data) for data in examples)


def unpack(content: bytes) -> Iterator[bytes]:
    """The records of a TFRecord file.

    Raises:
        RecordError: it is cut off, or a sum does not fit.
    """
    at = 0
    while at < len(content):
        head = content[at : at + 12]
        if len(head) < 12:
            raise RecordError(f"the file ends in the head of a record, at byte {at}")
        (length,) = struct.unpack("<Q", head[:8])
        if struct.pack("<I", masked_crc(head[:8])) != head[8:]:
            raise RecordError(f"the sum of a length does not fit, at byte {at}")
        data = content[at + 12 : at + 12 + length]
        if struct.pack("<I", masked_crc(data)) != content[at + 12 + length : at + 16 + length]:
            raise RecordError(f"the sum of a record does not fit, or it is cut off, at byte {at}")
        yield data
        at += 16 + length


def masked_crc(data: bytes) -> int:
    """TensorFlow's masked CRC-32C: rotated right by 15 bits, plus a constant (tensorflow/core/lib/hash/crc32c.h)."""
    crc = int(google_crc32c.value(data))
    return ((crc >> 15 | crc << 17) + _MASK) & 0xFFFFFFFF


def encode(features: Mapping[str, bytes | int | float]) -> bytes:
    """A serialised `tf.train.Example`; each feature is a list of one value."""
    message = _Example()
    for name, value in sorted(features.items()):
        feature = message.features.feature[name]
        if isinstance(value, bytes):
            feature.bytes_list.value.append(value)
        elif isinstance(value, int):
            feature.int64_list.value.append(value)
        else:
            feature.float_list.value.append(value)
    return bytes(message.SerializeToString(deterministic=True))


def decode(data: bytes) -> dict[str, Any]:
    """The first value (bytes, int or float) of each feature of a serialised `tf.train.Example`."""
    features = _Example.FromString(data).features.feature
    return {name: getattr(feature, feature.WhichOneof("kind")).value[0] for name, feature in features.items()}


def _record(data: bytes) -> bytes:
    length = struct.pack("<Q", len(data))
    return length + struct.pack("<I", masked_crc(length)) + data + struct.pack("<I", masked_crc(data))


def _example_class() -> Any:
    """The class of `tensorflow.Example`, built from a description as protoc would write it."""
    field = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="dermaid/example.proto", package="tensorflow", syntax="proto3")

    lists = {"BytesList": field.TYPE_BYTES, "FloatList": field.TYPE_FLOAT, "Int64List": field.TYPE_INT64}
    for name, kind in lists.items():
        file.message_type.add(name=name).field.add(name="value", number=1, label=field.LABEL_REPEATED, type=kind)

    feature = file.message_type.add(name="Feature")
    feature.oneof_decl.add(name="kind")
    for number, (name, list_type) in enumerate(
        (("bytes_list", "BytesList"), ("float_list", "FloatList"), ("int64_list", "Int64List")), start=1
    ):
        feature.field.add(
            name=name,
            number=number,
            label=field.LABEL_OPTIONAL,
            type=field.TYPE_MESSAGE,
            type_name=f".tensorflow.{list_type}",
            oneof_index=0,
        )

    features = file.message_type.add(name="Features")
    entry = features.nested_type.add(name="FeatureEntry")
    entry.options.map_entry = True
    entry.field.add(name="key", number=1, label=field.LABEL_OPTIONAL, type=field.TYPE_STRING)
    one_feature = {"type": field.TYPE_MESSAGE, "type_name": ".tensorflow.Feature"}
    entry.field.add(name="value", number=2, label=field.LABEL_OPTIONAL, **one_feature)
    entry_type = {"type": field.TYPE_MESSAGE, "type_name": ".tensorflow.Features.FeatureEntry"}
    features.field.add(name="feature", number=1, label=field.LABEL_REPEATED, **entry_type)

    features_type = {"type": field.TYPE_MESSAGE, "type_name": ".tensorflow.Features"}
    file.message_type.add(name="Example").field.add(
        name="features", number=1, label=field.LABEL_OPTIONAL, **features_type
    )
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("tensorflow.Example"))


_Example = _example_class()
