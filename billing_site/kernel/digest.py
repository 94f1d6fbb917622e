"""Canonical bytes and SHA-256 digests: what a proof compares."""

import hashlib
from typing import Any

import msgspec


def _written(value: Any) -> str:
    """Return text of a type of its own as text; nothing else comes here."""
    return str.__str__(value)


_ENCODER = msgspec.json.Encoder(order="sorted", enc_hook=_written)
TEXT = frozenset({str})
# Most of a document is of these, and is asked no further.
PLAIN = frozenset({str, int, bool, type(None)})


def canonical(document: Any) -> bytes:
    """Write a JSON document as canonical bytes: sorted keys, no spaces, UTF-8, no floats, keys are text."""
    _refuse_ambiguity(document)
    return _ENCODER.encode(document)


def digest_of(document: Any) -> str:
    """Return the SHA-256 of the canonical bytes as 64 hexadecimal digits."""
    return hashlib.sha256(canonical(document)).hexdigest()


def _refuse_ambiguity(document: Any) -> None:
    """Refuse what JSON would write inexactly, not at all, or in the same way as something else: floats, other types, keys that are not text."""
    within = [document]
    # What is found within is put behind, until all of it is looked at.
    for one in within:
        if isinstance(one, dict):
            assert TEXT.issuperset(map(type, one)) or all(isinstance(key, str) for key in one), (
                f"a key of a proof is text: {list(one)!r}"
            )
            if not PLAIN.issuperset(map(type, one.values())):
                within += [member for member in one.values() if type(member) not in PLAIN]
        elif isinstance(one, list | tuple):
            within += [member for member in one if type(member) not in PLAIN]
        else:
            is_known = one is None or isinstance(one, str | int)
            assert is_known, f"a float, or what JSON does not know, cannot be part of a proof: {one!r}"
