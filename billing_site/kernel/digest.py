"""Canonical bytes and SHA-256 digests: what a proof compares."""

import hashlib
import json
from typing import Any


def canonical(document: Any) -> bytes:
    """Write a JSON document as canonical bytes: sorted keys, no spaces, UTF-8, no floats, keys are text."""
    _refuse_ambiguity(document)
    return json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def digest_of(document: Any) -> str:
    """Return the SHA-256 of the canonical bytes as 64 hexadecimal digits."""
    return hashlib.sha256(canonical(document)).hexdigest()


def _refuse_ambiguity(document: Any) -> None:
    """Refuse what JSON would write inexactly or in the same way as something else: floats, keys that are not text."""
    assert not isinstance(document, float), f"a float cannot be part of a proof: {document!r}"
    if isinstance(document, dict):
        for key, member in document.items():
            assert isinstance(key, str), f"a key of a proof is text: {key!r}"
            _refuse_ambiguity(member)
    elif isinstance(document, list | tuple):
        for member in document:
            _refuse_ambiguity(member)
