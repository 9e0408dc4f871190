"""Where a shared table lies: a folder that ends in .lance, or a prefix of an S3 bucket."""

from __future__ import annotations

import ipaddress
import os
import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from qvsearch.errors import QvsearchError

S3 = "s3://"
SUFFIX = ".lance"  # of a table on a disk
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")
_ENDPOINTS = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT")
# A server that does not answer is an error after seconds, not after LanceDB's three minutes.
_LIMITS = {"connect_timeout": "10s", "client_max_retries": "3", "client_retry_timeout": "30"}


@dataclass(frozen=True, slots=True)
class Address:
    """The address of a table: `uri` is an absolute path, or `s3://BUCKET/PREFIX`."""

    uri: str

    @property
    def is_remote(self) -> bool:
        """Whether it is in object storage."""
        return self.uri.startswith(S3)

    def __str__(self) -> str:
        """Return the address as the user writes it."""
        return self.uri


def is_address(text: str) -> bool:
    """Return whether a text names a shared table, and not a library."""
    return _is_s3(text) or text.rstrip("/").endswith(SUFFIX)


def _is_s3(text: str) -> bool:
    return text[: len(S3)].lower() == S3  # schemes have no case (RFC 3986)


def read_address(text: str) -> Address:
    """Return the address in a text; raises QvsearchError for an invalid one."""
    scheme = _SCHEME.match(text)
    if _is_s3(text):
        bucket, _, prefix = text[len(S3) :].strip("/").partition("/")
        if not _BUCKET.fullmatch(bucket) or not prefix or not prefix.isprintable():
            raise QvsearchError(f"{text} is not a place in S3; write s3://BUCKET/NAME")
        return Address(f"{S3}{bucket}/{prefix}")
    if scheme:
        raise QvsearchError(
            f"{scheme[0]} is not supported; write s3://BUCKET/NAME, or a path that ends in .lance"
        )
    if not is_address(text) or text.rstrip("/") == SUFFIX or "\0" in text:
        raise QvsearchError(
            f"{text!r} is not the place of a table;"
            " write a path that ends in .lance, or s3://BUCKET/NAME"
        )
    return Address(str(Path(text).expanduser().absolute()))


def storage_options(address: Address) -> dict[str, str]:
    """Return what LanceDB needs beside AWS's own variables, which it reads itself.

    Plain http is allowed for endpoints on this computer or in a private network, and elsewhere if
    AWS_ALLOW_HTTP is true. Raises QvsearchError for another one.
    """
    if not address.is_remote:
        return {}
    options = dict(_LIMITS)
    endpoint = next((os.environ[name] for name in _ENDPOINTS if os.environ.get(name)), None)
    if endpoint is None:
        return options
    parts = urlsplit(endpoint)
    shown = endpoint.replace(f"{parts.netloc.rpartition('@')[0]}@", "")  # may hold a password
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise QvsearchError(f"the endpoint {shown!r} of S3 is not an http or https address")
    if parts.scheme == "http" and not (_is_private(parts.hostname) or _allows_http()):
        raise QvsearchError(
            f"the endpoint {shown} would send pictures and keys unencrypted;"
            " use https, or set AWS_ALLOW_HTTP=true"
        )
    region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or "us-east-1"
    return options | {
        "endpoint": endpoint,
        "region": region,
        "allow_http": str(parts.scheme == "http").lower(),
    }


def check_parent(folder: Path) -> None:
    """Raise QvsearchError if a folder cannot be created; LanceDB's texts are hard to read."""
    if folder.exists() and not folder.is_dir():
        raise QvsearchError(f"{folder} is a file, and a table is a folder; give another name")
    if folder.is_dir():
        nearest = folder
    elif folder.parent.is_dir():
        nearest = folder.parent
    else:
        raise QvsearchError(f"{folder.parent} is not there; mount it, or create it first")
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise QvsearchError(f"cannot write to {folder}: no permission to write to {nearest}")


def _is_private(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_private
    except ValueError:
        return False


def _allows_http() -> bool:
    return os.environ.get("AWS_ALLOW_HTTP", "").lower() in ("1", "true")
