"""A small, strict Google Cloud Storage on loopback: buckets are folders, objects are files in them.

It speaks as much of the JSON API as Google's and gcsfs's clients use for plain objects: create and get a bucket;
upload (media, multipart, resumable), get, list, download (ranges), delete. What it does not know (a method, a query
parameter) it refuses by name and never ignores. Sums that a client sends are checked against what arrived.

Source: https://cloud.google.com/storage/docs/json_api/v1, …/docs/performing-resumable-uploads.
No logins are asked for, so it belongs on loopback. Content types and custom metadata are forgotten when it ends.
"""

from __future__ import annotations

import base64
import hashlib
import json
import mimetypes
import re
import secrets
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import parse_qsl, unquote, urlsplit

from .loopback import BadRequestError, Handler, Server

CHUNK = 256 * 1024
"""Bytes. Every chunk of a resumable upload but the last is a multiple of it (performing-resumable-uploads)."""
PAGE = 1000
"""Objects of one page of a listing, at most (objects.list, maxResults)."""

_BUCKET = re.compile(r"[a-z0-9][a-z0-9._-]{1,61}[a-z0-9]")
_RANGE = re.compile(r"bytes=(\d+)-(\d*)|bytes=-(\d+)")
_CONTENT_RANGE = re.compile(r"bytes (?:(\d+)-(\d+)|\*)/(\d+|\*)")

_AS_FILES = "This store keeps objects as files and cannot keep the name"

_COMMON = {"alt", "prettyPrint", "fields", "projection", "userProject", "key", "quotaUser"}
_CONDITIONS = {"ifGenerationMatch", "ifGenerationNotMatch", "generation"}
_LISTING = {"prefix", "delimiter", "maxResults", "pageToken", "startOffset", "endOffset", "includeTrailingDelimiter"}


def _crc_table() -> tuple[int, ...]:
    table = []
    for value in range(256):
        for _ in range(8):
            value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)
        table.append(value)
    return tuple(table)


_TABLE = _crc_table()


def crc32c(data: bytes) -> int:
    """CRC-32C (Castagnoli) of `data`: RFC 3720, appendix B.4; the sum that Cloud Storage keeps of every object."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc = _TABLE[(crc ^ byte) & 0xFF] ^ crc >> 8
    return crc ^ 0xFFFFFFFF


class _RefusedError(Exception):
    """An answer that is not 200: its status and words."""

    def __init__(self, status: int, words: str) -> None:
        super().__init__(words)
        self.status = status


@dataclass
class _Upload:
    """A resumable upload under way."""

    bucket: str
    resource: dict[str, Any]
    conditions: Mapping[str, str]
    data: bytearray = field(default_factory=bytearray)


class ObjectStore:
    """The buckets below a folder. Its methods may be called from several threads."""

    def __init__(self, folder: Path) -> None:
        """Serve the buckets that are folders of `folder`, which is made if it is missing."""
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self._lock = threading.RLock()
        self._generation = time.time_ns() // 1000
        self._resources: dict[tuple[str, str], dict[str, Any]] = {}
        self._uploads: dict[str, _Upload] = {}
        for bucket in sorted(path for path in folder.iterdir() if path.is_dir()):
            for path in sorted(path for path in bucket.rglob("*") if path.is_file()):
                name = path.relative_to(bucket).as_posix()
                self._resources[bucket.name, name] = self._describe(bucket.name, name, path.read_bytes(), {})

    def create_bucket(self, bucket: str) -> dict[str, Any]:
        """Make an empty bucket; gives its resource."""
        if not _BUCKET.fullmatch(bucket):
            raise _RefusedError(400, f"Invalid bucket name: {bucket!r}")
        with self._lock:
            if (self.folder / bucket).exists():
                raise _RefusedError(409, "Your previous request to create the named bucket succeeded")
            (self.folder / bucket).mkdir()
        return self.bucket(bucket)

    def bucket(self, bucket: str) -> dict[str, Any]:
        """The resource of a bucket that exists."""
        if not _BUCKET.fullmatch(bucket) or not (self.folder / bucket).is_dir():
            raise _RefusedError(404, "The specified bucket does not exist.")
        return {
            "kind": "storage#bucket",
            "id": bucket,
            "name": bucket,
            "location": "US-EAST1",
            "locationType": "region",
            "storageClass": "STANDARD",
        }

    def put(self, bucket: str, name: str, data: bytes, given: Mapping[str, Any], conditions: Mapping[str, str]) -> Any:
        """Write an object and give its resource; `given` is what the client says of it, sums included."""
        path = self._path(bucket, name)
        with self._lock:
            made = self._describe(bucket, name, data, given)
            for key in ("md5Hash", "crc32c"):
                if given.get(key) not in (None, made[key]):
                    raise _RefusedError(400, f"Provided {key} {given[key]!r} doesn't match calculated {made[key]!r}.")
            self._check(self._resources.get((bucket, name)), conditions)
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(data)
            except OSError as error:  # a file where a folder is wanted: "a" and "a/b" are both objects in the cloud
                raise _RefusedError(400, f"{_AS_FILES} {name!r}: {error}") from None
            self._resources[bucket, name] = made
        return made

    def resource(self, bucket: str, name: str, conditions: Mapping[str, str]) -> dict[str, Any]:
        """The resource of an object that exists."""
        self.bucket(bucket)
        with self._lock:
            found = self._resources.get((bucket, name))
            if found is None:
                raise _RefusedError(404, f"No such object: {bucket}/{name}")
            self._check(found, conditions)
            return found

    def content(self, bucket: str, name: str, conditions: Mapping[str, str]) -> tuple[dict[str, Any], bytes]:
        """An object's resource and its bytes."""
        with self._lock:
            return self.resource(bucket, name, conditions), self._path(bucket, name).read_bytes()

    def delete(self, bucket: str, name: str, conditions: Mapping[str, str]) -> None:
        """Remove an object that exists."""
        with self._lock:
            self.resource(bucket, name, conditions)
            del self._resources[bucket, name]
            self._path(bucket, name).unlink()

    def page(self, bucket: str, query: Mapping[str, str]) -> dict[str, Any]:
        """One page of a listing; page tokens are the last name of the page before."""
        self.bucket(bucket)
        prefix, delimiter = query.get("prefix", ""), query.get("delimiter", "")
        after = base64.urlsafe_b64decode(query.get("pageToken", "")).decode()
        limit = min(int(query.get("maxResults", PAGE)), PAGE)
        items: list[dict[str, Any]] = []
        prefixes: list[str] = []
        with self._lock:
            here = sorted((name, made) for (owner, name), made in self._resources.items() if owner == bucket)
        answer: dict[str, Any] = {"kind": "storage#objects"}
        last = after
        for name, made in here:
            rest = name.removeprefix(prefix)
            if not name.startswith(prefix) or name < query.get("startOffset", ""):
                continue
            if "endOffset" in query and name >= query["endOffset"]:
                continue
            head, found, _ = rest.partition(delimiter) if delimiter else (rest, "", "")
            entry = prefix + head + found if found else name
            if entry <= after or (found and entry in prefixes):
                continue
            if len(items) + len(prefixes) >= limit:
                answer["nextPageToken"] = base64.urlsafe_b64encode(last.encode()).decode()
                break
            last = entry
            if found:
                prefixes.append(entry)
            else:
                items.append(made)
        return {**answer, **({"items": items} if items else {}), **({"prefixes": prefixes} if prefixes else {})}

    def start_upload(self, bucket: str, resource: dict[str, Any], conditions: Mapping[str, str]) -> str:
        """Begin a resumable upload; gives its id."""
        self._path(bucket, str(resource.get("name", "")))
        key = secrets.token_urlsafe(24)
        with self._lock:
            self._uploads[key] = _Upload(bucket, resource, conditions)
        return key

    def continue_upload(self, key: str, content_range: str, data: bytes) -> dict[str, Any] | int:
        """Take a chunk; gives the object's resource after the last, else how many bytes have arrived."""
        match = _CONTENT_RANGE.fullmatch(content_range) if content_range else None
        if content_range and match is None:
            raise _RefusedError(400, f"Content-Range {content_range!r} is not understood")
        with self._lock:
            upload = self._uploads.get(key)
            if upload is None:
                raise _RefusedError(404, "There is no such upload")
            total = len(data) if match is None else None if match[3] == "*" else int(match[3])
            if match is None or match[1] is not None:
                first = 0 if match is None else int(match[1])
                if match is not None and int(match[2]) - first + 1 != len(data):
                    raise _RefusedError(400, f"{content_range} is not the length of the body, {len(data)} bytes")
                if first != len(upload.data):
                    raise _RefusedError(400, f"the chunk begins at {first}; {len(upload.data)} bytes have arrived")
                upload.data += data
                if len(upload.data) != total and len(data) % CHUNK:
                    raise _RefusedError(400, f"a chunk of {len(data)} bytes is no multiple of {CHUNK}")
            if len(upload.data) != total:
                return len(upload.data)
            del self._uploads[key]
        name = str(upload.resource["name"])
        made: dict[str, Any] = self.put(upload.bucket, name, bytes(upload.data), upload.resource, upload.conditions)
        return made

    def _path(self, bucket: str, name: str) -> Path:
        self.bucket(bucket)
        if not name or len(name.encode()) > 1024 or any(part in ("", ".", "..") for part in name.split("/")):
            raise _RefusedError(400, f"{_AS_FILES} {name!r}")
        if "\0" in name or "\\" in name:
            raise _RefusedError(400, f"{_AS_FILES} {name!r}")
        return self.folder.joinpath(bucket, *name.split("/"))

    def _describe(self, bucket: str, name: str, data: bytes, given: Mapping[str, Any]) -> dict[str, Any]:
        now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        md5 = hashlib.md5(data, usedforsecurity=False).digest()
        guessed = mimetypes.guess_type(name)[0] or "application/octet-stream"
        self._generation += 1
        return {
            "kind": "storage#object",
            "id": f"{bucket}/{name}",
            "name": name,
            "bucket": bucket,
            "generation": str(self._generation),
            "metageneration": "1",
            "contentType": given.get("contentType") or guessed,
            "storageClass": "STANDARD",
            "size": str(len(data)),
            "md5Hash": base64.b64encode(md5).decode(),
            "crc32c": base64.b64encode(crc32c(data).to_bytes(4, "big")).decode(),
            "etag": base64.b64encode(str(self._generation).encode()).decode(),
            "timeCreated": now,
            "updated": now,
            **({"metadata": given["metadata"]} if given.get("metadata") else {}),
        }

    @staticmethod
    def _check(found: Mapping[str, Any] | None, conditions: Mapping[str, str]) -> None:
        generation = str(found["generation"]) if found else "0"
        if conditions.get("generation", generation) != generation:
            raise _RefusedError(404, "No such object: that generation is not kept")
        if conditions.get("ifGenerationMatch", generation) != generation:
            raise _RefusedError(412, "At least one of the pre-conditions you specified did not hold.")
        if conditions.get("ifGenerationNotMatch") == generation:
            raise _RefusedError(304, "Not modified")


class _StorageHandler(Handler):
    store: ClassVar[ObjectStore]

    def do_GET(self) -> None:
        self._serve()

    do_POST = do_PUT = do_DELETE = do_PATCH = do_HEAD = do_GET

    def _serve(self) -> None:
        try:
            body = self.body()
            self._route(body)
        except (BadRequestError, UnicodeError) as error:
            self.close_connection = True  # where the next request begins is not known
            self._refuse(400, str(error))
        except _RefusedError as error:
            self._refuse(error.status, str(error))
        except ValueError as error:
            self._refuse(400, f"{type(error).__name__}: {error}")

    def _route(self, body: bytes) -> None:
        parts = urlsplit(self.path)
        query = dict(parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query)))
        match [self.command, *(unquote(part) for part in parts.path.strip("/").split("/"))]:
            case ["POST", "storage", "v1", "b"]:
                self._known(query, {"project"})
                self._json(self.store.create_bucket(str(json.loads(body)["name"])))
            case ["GET", "storage", "v1", "b", bucket]:
                self._known(query, set())
                self._json(self.store.bucket(bucket))
            case ["GET", "storage", "v1", "b", bucket, "o"]:
                self._known(query, _LISTING)
                self._json(self.store.page(bucket, query))
            case ["GET", "storage" | "download", *_] if query.get("alt") == "media":
                self._known(query, _CONDITIONS)
                self._download(*self.store.content(*self._object(parts.path), query))
            case ["GET", "storage", "v1", "b", bucket, "o", name]:
                self._known(query, _CONDITIONS)
                self._json(self.store.resource(bucket, name, query))
            case ["DELETE", "storage", "v1", "b", bucket, "o", name]:
                self._known(query, _CONDITIONS)
                self.store.delete(bucket, name, query)
                self.answer(204)
            case ["POST", "upload", "storage", "v1", "b", bucket, "o"]:
                self._known(query, {*_CONDITIONS, "uploadType", "name"})
                self._upload(bucket, query, body)
            case ["PUT", "upload", "storage", "v1", "b", bucket, "o"] if "upload_id" in query:
                self._known(query, {"uploadType", "upload_id"})
                self._chunk(self.store.continue_upload(query["upload_id"], self.headers.get("Content-Range", ""), body))
            case _:
                raise _RefusedError(501, f"This store does not know {self.command} {parts.path}")

    @staticmethod
    def _object(path: str) -> tuple[str, str]:
        """Bucket and name of a path …/b/<bucket>/o/<name>."""
        match = re.fullmatch(r"/(?:download/)?storage/v1/b/([^/]+)/o/([^/]+)", path)
        if match is None:
            raise _RefusedError(501, f"This store does not know GET {path}")
        return unquote(match[1]), unquote(match[2])

    @staticmethod
    def _known(query: Mapping[str, str], allowed: set[str]) -> None:
        if unknown := sorted(set(query) - allowed - _COMMON):
            raise _RefusedError(400, f"This store does not know the query parameter {unknown[0]!r} here")

    def _upload(self, bucket: str, query: Mapping[str, str], body: bytes) -> None:
        kind = self.headers.get("Content-Type", "")
        match query.get("uploadType"):
            case "media":
                self._json(self.store.put(bucket, query["name"], body, {"contentType": kind}, query))
            case "multipart":
                resource, content = _two_parts(kind, body)
                self._json(self.store.put(bucket, resource["name"], content, resource, query))
            case "resumable":
                resource = json.loads(body or b"{}")
                resource.setdefault("name", query.get("name"))
                resource.setdefault("contentType", self.headers.get("X-Upload-Content-Type"))
                key = self.store.start_upload(bucket, resource, query)
                place = (
                    f"http://{self.headers['Host']}/upload/storage/v1/b/{bucket}/o?uploadType=resumable&upload_id={key}"
                )
                self.answer(200, headers={"Location": place, "X-GUploader-UploadID": key})
            case other:
                raise _RefusedError(400, f"uploadType {other!r} is not known")

    def _chunk(self, result: dict[str, Any] | int) -> None:
        if not isinstance(result, int):
            self._json(result)
        else:
            self.answer(308, headers={"Range": f"bytes=0-{result - 1}"} if result else {})

    def _download(self, resource: Mapping[str, Any], data: bytes) -> None:
        headers = {
            "Content-Type": str(resource["contentType"]),
            "ETag": str(resource["etag"]),
            "X-Goog-Generation": str(resource["generation"]),
            "X-Goog-Hash": f"crc32c={resource['crc32c']},md5={resource['md5Hash']}",
            "X-Goog-Stored-Content-Encoding": "identity",
            "X-Goog-Stored-Content-Length": str(len(data)),
        }
        asked = self.headers.get("Range")
        if asked is None:
            self.answer(200, data, headers)
            return
        match = _RANGE.fullmatch(asked)
        if match is None:
            raise _RefusedError(400, f"Range {asked!r} is not understood")
        first = int(match[1]) if match[1] else max(len(data) - int(match[3]), 0)
        last = min(int(match[2]), len(data) - 1) if match[2] else len(data) - 1
        if first > last:
            raise _RefusedError(416, "Request range not satisfiable")
        headers["Content-Range"] = f"bytes {first}-{last}/{len(data)}"
        self.answer(206, data[first : last + 1], headers)

    def _json(self, value: Mapping[str, Any]) -> None:
        self.answer(200, json.dumps(value).encode(), {"Content-Type": "application/json; charset=UTF-8"})

    def _refuse(self, status: int, words: str) -> None:
        if status == 304:  # has no body
            self.answer(304)
            return
        error = {"code": status, "message": words, "errors": [{"message": words, "domain": "global"}]}
        self.answer(status, json.dumps({"error": error}).encode(), {"Content-Type": "application/json"})


def _two_parts(kind: str, body: bytes) -> tuple[dict[str, Any], bytes]:
    """The resource and the content of a multipart/related body (RFC 2046; some clients end lines with LF alone)."""
    found = re.search(r'^multipart/related;.*boundary="?([^";]+)', kind)
    if found is None:
        raise _RefusedError(400, "a multipart upload is multipart/related and names its boundary")
    boundary = b"--" + found[1].encode()
    newline = b"\r\n" if body.startswith(boundary + b"\r\n") else b"\n"
    parts = [part.partition(newline * 2) for part in body.split(boundary)]
    if len(parts) != 4 or not parts[1][1] or not parts[2][1]:
        raise _RefusedError(400, "a multipart upload has two parts: the resource and the content")
    resource = dict(json.loads(parts[1][2]))
    for line in parts[2][0].decode("latin-1").splitlines():
        name, _, value = line.partition(":")
        if name.lower() == "content-type":
            resource.setdefault("contentType", value.strip())
    return resource, parts[2][2].removesuffix(newline)


class ObjectStoreServer(Server):
    """The object store of `folder` over HTTP; the clients find it through STORAGE_EMULATOR_HOST."""

    def __init__(self, folder: Path, host: str = "127.0.0.1") -> None:
        self.store = ObjectStore(folder)
        super().__init__(type("StorageHandler", (_StorageHandler,), {"store": self.store}), host)
