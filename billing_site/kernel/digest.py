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
    members: Any = ()
    if isinstance(document, dict):
        for key in document:
            assert isinstance(key, str), f"a key of a proof is text: {key!r}"
        members = document.values()
    elif isinstance(document, list | tuple):
        members = document
    for member in members:
        # Most of a document is plain text, which is never asked.
        if type(member) is not str:
            _refuse_ambiguity(member)
