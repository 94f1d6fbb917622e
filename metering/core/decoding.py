"""Decode JSON exactly: no digit is lost, nothing ambiguous gets through, no bytes do harm."""

import json
import re
from collections.abc import Iterable, Sequence
from decimal import Decimal, InvalidOperation
from typing import Any

import msgspec

from billing_site.kernel.errors import Malformed

_decoder = msgspec.json.Decoder(float_hook=Decimal)
# What careless writers of JSON put for a number that is none, and the name that it stands under.
_NOT_A_NUMBER = re.compile(rb'"(\w{1,60})"\s*:\s*(-?(?:NaN|Infinity|nan|inf))\b')


def decode_json(document: bytes) -> Any:
    """Return a JSON document (RFC 8259, UTF-8) with integers as int and every other number as Decimal.

    Raises Malformed for what is not JSON, for absurdly deep or long documents, and for a name that
    stands twice in one object: which of the two was meant nobody can say.
    """
    try:
        decoded = _decoder.decode(document)
    except UnicodeDecodeError as error:
        raise Malformed(f"this is not UTF-8 (byte {error.start})") from None
    except msgspec.MsgspecError as error:
        if constant := _NOT_A_NUMBER.search(document):
            name, value = (part.decode() for part in constant.groups())
            raise Malformed(f"must be a number, {value} is none (and not JSON)", field=name) from None
        raise Malformed(f"this is not JSON: {error}") from None
    except RecursionError:
        raise Malformed("this JSON is nested too deeply") from None
    except InvalidOperation:
        raise Malformed("this JSON contains a number with an absurd exponent") from None
    # The decoder lets the last of two equal names win. Counting quotation marks finds any string that
    # vanished; only a document with escapes, or with a repetition, needs the slower second reading.
    if b"\\" in document or document.count(b'"') != 2 * _count_strings(decoded):
        _refuse_repeated_names(document)
    return decoded


def _count_strings(value: Any) -> int:
    if isinstance(value, str):
        return 1
    members: Iterable[Any]
    if isinstance(value, dict):
        found, members = len(value), value.values()
    elif isinstance(value, list):
        found, members = 0, value
    else:
        return 0
    for member in members:
        # Most members are strings: they are counted here, without a call.
        found += 1 if type(member) is str else _count_strings(member)
    return found


def _refuse_repeated_names(document: bytes) -> None:
    # Numbers were read already; here they stay text, so that their length costs nothing.
    json.loads(document, object_pairs_hook=_unrepeated, parse_int=str, parse_float=str)


def _unrepeated(pairs: Sequence[tuple[str, Any]]) -> None:
    names = [name for name, _ in pairs]
    if len(set(names)) < len(names):
        repeated = next(name for position, name in enumerate(names) if name in names[:position])
        raise Malformed(f"the name {repeated[:60]!r} stands twice in one object")
