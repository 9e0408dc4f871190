"""What LanceDB's errors mean to a user."""

from __future__ import annotations

import re
from urllib.parse import quote

_CONFLICT = re.compile("conflict|too many concurrent|concurrent modification", re.IGNORECASE)
_REASONS = (  # what LanceDB's long texts mean
    (r"No space left|StorageFull|os error 28\b", "no space is left there; free some"),
    (r"Permission denied|Read-only file system|os error (13|30)\b", "permission denied"),
    (
        r"AccessDenied|Forbidden|\b403\b|SignatureDoesNotMatch|InvalidAccessKeyId|Unauthorized",
        "the keys have no right to it; check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY"
        " and the bucket's policy",
    ),
    (
        r"Failed to resolve region",
        "the region of its bucket cannot be found; check its name and the network, or set"
        " AWS_REGION",
    ),
    (r"NoSuchBucket|bucket does not exist", "there is no such bucket; create it first"),
    (
        r"CredentialsNotLoaded|no providers in chain|Failed to get AWS credentials|credential",
        "there are no keys; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
    ),
    (
        r"error sending request|[Cc]onnection|dns|timed? ?out|HTTP error|error trying to connect",
        "the server does not answer; check the network and AWS_ENDPOINT_URL",
    ),
    (
        r"[Nn]ot found|NotFound|os error 2\b|failed to fill|LanceError\(IO\)|[Cc]orrupt|magic",
        "a file of it is missing or damaged; if it is being published now, try again",
    ),
)


def is_conflict(error: Exception) -> bool:
    """Return whether a commit failed only because of another one at the same time."""
    return _CONFLICT.search(str(error)) is not None


def reason_of(error: Exception, address: str) -> str:
    """Return what an error of LanceDB means, else its first line.

    The address of the table does not count: a folder may be called `not found`.
    """
    text = str(error)
    for place in (address, quote(address)):
        text = text.replace(place, "").replace(place.lstrip("/"), "")
    for pattern, reason in _REASONS:
        if re.search(pattern, text):
            return reason
    return text.strip().splitlines()[0][:300] if text.strip() else type(error).__name__
