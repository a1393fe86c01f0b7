"""Arrow's file systems by path and URI: disks, object stores, and whatever else fsspec knows.

Arrow reads `s3://`, `gs://`, `abfs://` and `hdfs://` itself; any other scheme goes through fsspec. Credentials, region
and endpoint come the standard way of each store: for S3 the AWS environment (`AWS_ENDPOINT_URL`, `AWS_REGION`,
`AWS_ACCESS_KEY_ID`, ...), or the query of the URI
(`s3://bucket/folder?endpoint_override=host:9000&scheme=http&region=us-east-1`).
"""

import os
import random
import time
from collections.abc import Callable
from functools import lru_cache
from typing import Any, TypeVar
from urllib.parse import parse_qsl, unquote, unquote_to_bytes, urlsplit

import pyarrow as pa
import pyarrow.fs as pafs

from ops.errors import ConfigurationError

FILE_SCHEME = "file://"
OBJECT_SCHEMES = ("s3", "gs", "gcs", "abfs", "abfss")
"""Stores without folders, which can put conditionally."""
ARROW_SCHEMES = (*OBJECT_SCHEMES, "hdfs", "viewfs")
_ATTEMPTS = 3
"""Times Arrow tries a request to S3 by itself."""
_PAUSES_S = (0.5, 1.0, 2.0, 4.0, 8.0)
"""Before a request that failed is repeated; up to half as long again, or half as long, by chance."""
R = TypeVar("R")
_TRUE = ("1", "true", "yes")


def patiently(work: Callable[[], R]) -> R:
    """The result of a request to a store, repeated some times where it fails, but not where something does not exist.

    Raises:
        OSError: the last failure.
    """
    for pause_s in _PAUSES_S:
        try:
            return work()
        except FileNotFoundError:
            raise
        except OSError:
            time.sleep(pause_s * random.uniform(0.5, 1.5))  # noqa: S311
    return work()


def local_path_of(uri: str) -> str:
    """The path of a percent-encoded `file://` URI."""
    return os.fsdecode(unquote_to_bytes(uri.removeprefix(FILE_SCHEME)))


def resolve(uri: str) -> tuple[pafs.FileSystem, str]:
    """Arrow's file system of a path or URI, and the path in it.

    Raises:
        OSError: the store cannot be reached.
        ConfigurationError: the scheme or an option of the URI is unknown.
    """
    if "://" not in uri:
        return pafs.LocalFileSystem(), uri
    parts = urlsplit(uri)
    if parts.scheme in ARROW_SCHEMES:
        try:
            filesystem, base = _arrow_filesystem(parts.scheme, parts.netloc, parts.query)
        except (pa.ArrowInvalid, ValueError, TypeError) as error:
            raise ConfigurationError(f"{uri.split('?')[0]}: not a usable location ({error})") from error
        return filesystem, (base.rstrip("/") + unquote(parts.path)).rstrip("/")
    import fsspec

    fsspec_class(parts.scheme)
    filesystem, path = fsspec.core.url_to_fs(uri)
    return pafs.PyFileSystem(pafs.FSSpecHandler(filesystem)), str(path).rstrip("/")


@lru_cache(maxsize=64)
def _arrow_filesystem(scheme: str, netloc: str, query: str) -> tuple[pafs.FileSystem, str]:
    """One connection pool a process and bucket, and the bucket's name in it."""
    if scheme != "s3":
        return pafs.FileSystem.from_uri(f"{scheme}://{netloc}/" + (f"?{query}" if query else ""))
    account, _, bucket = netloc.rpartition("@")
    options = s3_options(account, query)
    if not options.keys() & {"region", "endpoint_override"}:
        options["region"] = pafs.resolve_s3_region(bucket)
    retry = pafs.AwsStandardS3RetryStrategy(max_attempts=_ATTEMPTS)
    # Without the delayed opening a small file is three requests.
    return pafs.S3FileSystem(**options, allow_delayed_open=True, retry_strategy=retry), bucket


def s3_options(account: str, query: str) -> dict[str, Any]:
    """Options of Arrow's S3 client out of a URI's account and query and the environment, as its `from_uri` does."""
    options: dict[str, Any] = dict(parse_qsl(query, strict_parsing=bool(query)))
    for name in ("allow_bucket_creation", "allow_bucket_deletion", "force_virtual_addressing"):
        if name in options:
            options[name] = options[name].lower() in _TRUE
    if account:
        key, _, secret = account.partition(":")
        options |= {"access_key": unquote(key), "secret_key": unquote(secret)}
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    if endpoint and "endpoint_override" not in options:
        options["scheme"], _, options["endpoint_override"] = endpoint.rstrip("/").rpartition("://")
    region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
    return options if "region" in options or not region else options | {"region": region}


def fsspec_class(scheme: str) -> Any:
    """The class that fsspec has for a scheme.

    Raises:
        ConfigurationError: it has none, or one that is not installed.
    """
    import fsspec

    try:
        return fsspec.get_filesystem_class(scheme)
    except (ValueError, ImportError) as error:
        raise ConfigurationError(f"{scheme}://: {error}") from error
