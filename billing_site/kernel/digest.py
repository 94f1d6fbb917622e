"""Canonical bytes and SHA-256 digests: what a proof compares."""

import hashlib
import json
from typing import Any


def canonical(document: Any) -> bytes:
    """Write a JSON document as canonical bytes: sorted keys, no spaces, UTF-8, no floats."""
    _refuse_floats(document)
    return json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def digest_of(document: Any) -> str:
    """Return the SHA-256 of the canonical bytes as 64 hexadecimal digits."""
    return hashlib.sha256(canonical(document)).hexdigest()


def _refuse_floats(document: Any) -> None:
    assert not isinstance(document, float), f"a float cannot be part of a proof: {document!r}"
    if isinstance(document, dict):
        for member in document.values():
            _refuse_floats(member)
    elif isinstance(document, list | tuple):
        for member in document:
            _refuse_floats(member)
