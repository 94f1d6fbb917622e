"""Read JSON bodies without losing a digit and without trusting them."""

import json
from collections.abc import Iterable, Mapping
from decimal import Decimal, InvalidOperation
from typing import IO, Any

from django.conf import settings
from rest_framework.parsers import BaseParser

from billing_site.kernel.errors import FieldError, InvalidFields, Malformed, TooLarge

DEPTH_MAX = 32
DIGITS_MAX = 200


class ExactJSONParser(BaseParser):
    """JSON in, with Decimal for fractions; what is ambiguous or absurd is Malformed (400)."""

    media_type = "application/json"

    def parse(
        self, stream: IO[bytes], media_type: str | None = None, parser_context: Mapping[str, Any] | None = None
    ) -> Any:
        """Return the decoded body of a request."""
        body = stream.read(settings.REQUEST_BYTES_MAX + 1)
        if len(body) > settings.REQUEST_BYTES_MAX:
            raise TooLarge(f"a body may have at most {settings.REQUEST_BYTES_MAX} bytes")
        return exact_json(body)


def exact_json(body: bytes) -> Any:
    """Decode JSON (RFC 8259) exactly: integers as int, other numbers as Decimal, nothing as float.

    Raises Malformed for what is not UTF-8 or not JSON, for NaN and Infinity, a name twice in one
    object, numbers of more than 200 digits, more than 32 levels; InvalidFields for text that
    PostgreSQL cannot hold (U+0000).
    """
    try:
        document = json.loads(
            body.decode("utf-8"),
            parse_float=_exact,
            parse_int=_whole,
            parse_constant=_refuse_constant,
            object_pairs_hook=_without_duplicates,
        )
    except UnicodeDecodeError as problem:
        raise Malformed(f"the body is not UTF-8 (byte {problem.start})") from None
    except json.JSONDecodeError as problem:
        raise Malformed(
            f"the body is not JSON: {problem.msg} (line {problem.lineno}, column {problem.colno})"
        ) from None
    except RecursionError:
        raise Malformed(f"the body is nested deeper than {DEPTH_MAX} levels") from None
    _check_members(document)
    return document


def _exact(text: str) -> Decimal:
    try:
        number = Decimal(text[:DIGITS_MAX])
        if len(text) <= DIGITS_MAX and abs(number.adjusted()) <= DIGITS_MAX:
            return number
    except InvalidOperation:  # an exponent beyond what Decimal can hold
        pass
    raise Malformed(f"the number {text[:30]} has too many digits")


def _whole(text: str) -> int:
    if len(text) > DIGITS_MAX:
        raise Malformed(f"the number {text[:30]}... has too many digits")
    return int(text)


def _refuse_constant(name: str) -> None:
    raise Malformed(f"{name} is not a JSON number")


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise Malformed(f"the name {_readable(twice)} appears twice in one object")
    return members


def _check_members(document: Any) -> None:
    """Walk the document level by level, so that no depth can exhaust the stack."""
    nul: list[FieldError] = []
    level: list[tuple[str, Any]] = [("", document)]
    for _ in range(DEPTH_MAX + 1):
        nul += [
            FieldError(path or "body", "invalid", "must not contain the NUL character")
            for path, value in level
            if isinstance(value, str) and not _storable(value)
        ]
        containers = [(path, value) for path, value in level if isinstance(value, dict | list)]
        level = [member for path, value in containers for member in _members(path, value)]
    if containers:
        raise Malformed(f"the body is nested deeper than {DEPTH_MAX} levels")
    if nul:
        raise InvalidFields(tuple(nul[:100]))


def _members(path: str, value: dict[str, Any] | list[Any]) -> Iterable[tuple[str, Any]]:
    if isinstance(value, list):
        return [(f"{path}[{index}]", member) for index, member in enumerate(value)]
    for name in value:
        if not _storable(name):
            raise Malformed(f"the name {_readable(name)} contains the NUL character")
    return [(f"{path}.{name}" if path else name, member) for name, member in value.items()]


def _storable(text: str) -> bool:
    """Say whether PostgreSQL can hold the text; raises Malformed for half of a surrogate pair."""
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            raise Malformed("the body holds half of a surrogate pair, which is not a character") from None
    return "\x00" not in text


def _readable(name: str) -> str:
    return ascii(name[:60])
