"""The bucket and the Git host of the example, under Google's own client and under git."""

from __future__ import annotations

import base64
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import google.cloud.storage as storage
import pytest
from google.api_core import exceptions
from google.auth.credentials import AnonymousCredentials

from example import GitServer, ObjectStore, ObjectStoreServer, create_repository, tfrecord

BIG = bytes(range(256)) * 2600
"""More than two chunks of a resumable upload, and not a multiple of one."""


@pytest.fixture
def bucket(tmp_path: Path) -> Iterator[storage.Bucket]:
    server = ObjectStoreServer(tmp_path / "buckets")
    with server.running():
        client = storage.Client(
            project="p",
            credentials=AnonymousCredentials(),
            client_options={"api_endpoint": f"http://127.0.0.1:{server.port}"},
        )
        yield client.create_bucket("a-bucket")
        client.close()


def test_an_object_comes_back_byte_for_byte(bucket: storage.Bucket, tmp_path: Path) -> None:
    for data in (b"", b"x", b"ends in a line\r\n", b"\r\n--half a boundary\r\n\r\n"):
        blob = bucket.blob("a folder/ö.bin")
        blob.upload_from_string(data)
        assert bucket.blob("a folder/ö.bin").download_as_bytes() == data
        assert (tmp_path / "buckets/a-bucket/a folder/ö.bin").read_bytes() == data


def test_a_resumable_upload_arrives_in_chunks_and_a_range_of_it_can_be_read(bucket: storage.Bucket) -> None:
    blob = bucket.blob("big.bin", chunk_size=256 * 1024)
    blob.upload_from_string(BIG, checksum="crc32c")
    assert bucket.blob("big.bin").download_as_bytes(checksum="crc32c") == BIG
    assert bucket.blob("big.bin").download_as_bytes(start=300_000, end=300_009) == BIG[300_000:300_010]


def test_a_listing_has_pages_prefixes_and_folders(bucket: storage.Bucket) -> None:
    for name in ("a/1", "a/2", "a/b/3", "c"):
        bucket.blob(name).upload_from_string(name)
    assert [blob.name for blob in bucket.list_blobs(page_size=2)] == ["a/1", "a/2", "a/b/3", "c"]
    assert [blob.name for blob in bucket.list_blobs(prefix="a/b")] == ["a/b/3"]
    folder = bucket.list_blobs(prefix="a/", delimiter="/", page_size=1)
    assert [blob.name for blob in folder] == ["a/1", "a/2"]
    assert folder.prefixes == {"a/b/"}


def test_a_deleted_object_is_gone_and_a_missing_one_is_not_found(bucket: storage.Bucket) -> None:
    bucket.blob("a").upload_from_string("a")
    bucket.blob("a").delete()
    with pytest.raises(exceptions.NotFound):
        bucket.blob("a").download_as_bytes()
    with pytest.raises(exceptions.NotFound):
        bucket.client.bucket("another-bucket").blob("a").upload_from_string("a")


def test_an_object_that_must_be_new_is_not_written_twice(bucket: storage.Bucket) -> None:
    bucket.blob("a").upload_from_string("one", if_generation_match=0)
    with pytest.raises(exceptions.PreconditionFailed):
        bucket.blob("a").upload_from_string("two", if_generation_match=0)
    assert bucket.blob("a").download_as_bytes() == b"one"


def test_content_that_does_not_fit_its_sum_is_refused(bucket: storage.Bucket) -> None:
    blob = bucket.blob("a")
    blob.md5_hash = base64.b64encode(bytes(16)).decode()
    with pytest.raises(exceptions.BadRequest, match="doesn't match"):
        blob.upload_from_string("a", checksum=None)


@pytest.mark.parametrize("name", ["../a", "a//b", "a/../../b", "."])
def test_no_name_leaves_the_folder_of_its_bucket(bucket: storage.Bucket, name: str) -> None:
    with pytest.raises(exceptions.BadRequest, match="cannot keep the name"):
        bucket.blob(name).upload_from_string("a")


def test_what_the_store_does_not_know_is_refused_by_name(bucket: storage.Bucket) -> None:
    bucket.blob("a").upload_from_string("a")
    with pytest.raises(exceptions.BadRequest, match="softDeleted"):
        list(bucket.list_blobs(soft_deleted=True))
    with pytest.raises(exceptions.MethodNotImplemented, match="copyTo"):
        bucket.copy_blob(bucket.blob("a"), bucket, "b")


def test_a_store_that_starts_anew_has_its_objects(bucket: storage.Bucket, tmp_path: Path) -> None:
    bucket.blob("a/b").upload_from_string("kept")
    assert ObjectStore(tmp_path / "buckets").content("a-bucket", "a/b", {})[1] == b"kept"


@pytest.fixture
def git_server(tmp_path: Path) -> Iterator[GitServer]:
    create_repository(tmp_path / "git" / "data.git")
    server = GitServer(tmp_path / "git", "someone", "t0ken")
    with server.running():
        yield server


def git_clone(server: GitServer, login: str, target: Path) -> subprocess.CompletedProcess[str]:
    url = f"http://{login}127.0.0.1:{server.port}/data.git"
    return subprocess.run(
        ["git", "-c", "credential.helper=", "clone", url, target],
        env={"PATH": "/usr/local/bin:/usr/bin:/bin", "GIT_TERMINAL_PROMPT": "0", "HOME": str(target), "LC_ALL": "C"},
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_git_host_lets_in_who_has_the_token(git_server: GitServer, tmp_path: Path) -> None:
    done = git_clone(git_server, "someone:t0ken@", tmp_path / "clone")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "clone" / "README.md").is_file()


@pytest.mark.parametrize("login", ["", "someone:wrong@", "other:t0ken@"])
def test_the_git_host_lets_no_one_else_in(git_server: GitServer, tmp_path: Path, login: str) -> None:
    done = git_clone(git_server, login, tmp_path / "clone")
    assert done.returncode == 128
    assert "Authentication failed" in done.stderr or "could not read Username" in done.stderr


def test_the_git_host_serves_no_file_of_a_repository(git_server: GitServer) -> None:
    request = urllib.request.Request(f"http://127.0.0.1:{git_server.port}/data.git/config")
    request.add_header("Authorization", "Basic " + base64.b64encode(b"someone:t0ken").decode())
    with pytest.raises(urllib.error.HTTPError, match="404") as caught:
        urllib.request.urlopen(request, timeout=10)
    caught.value.close()


def test_an_example_has_the_bytes_that_protobuf_defines() -> None:
    # Example.features(1) { feature(1) { key(1): "label", value(2) { int64_list(3) { value(1): 1, packed } } } }
    assert tfrecord.encode({"label": 1}) == b"\x0a\x10\x0a\x0e\x0a\x05label\x12\x05\x1a\x03\x0a\x01\x01"
    every: dict[str, bytes | int | float] = {"image": bytes(range(256)), "label": -1, "age": 0.5}
    assert tfrecord.decode(tfrecord.encode(every)) == every


def test_a_damaged_record_is_found() -> None:
    content = tfrecord.pack([b"one", b"", b"three"])
    assert list(tfrecord.unpack(content)) == [b"one", b"", b"three"]
    for at in range(len(content)):
        damaged = content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]
        with pytest.raises(tfrecord.RecordError):
            list(tfrecord.unpack(damaged))
    for end in range(1, 15):
        with pytest.raises(tfrecord.RecordError):
            list(tfrecord.unpack(content[:end]))
