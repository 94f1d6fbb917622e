"""Numbers from outside, read strictly: exact decimals that fit numeric(38, 12), never a float."""

import re
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from billing_site.kernel.money import EXACT

INTEGER_DIGITS_MAX = 26
DECIMALS_MAX = 12
LIMIT = 10**INTEGER_DIGITS_MAX
PLAIN_DECIMAL = re.compile(r"[+-]?[0-9]+(\.[0-9]+)?")
NOT_FINITE = re.compile(r"[+-]?(nan|snan|inf|infinity)", re.IGNORECASE)
# Longer texts are refused unread.
CHARACTERS_MAX = 100


@dataclass(frozen=True)
class Mistake:
    """Why something is not an acceptable number: a stable code, and what to do."""

    code: str
    message: str


MUST_BE_TEXT = Mistake("wrong_type", 'must be a decimal string such as "12.50"; a float cannot say it exactly')
NOT_A_NUMBER = Mistake("not_a_number", 'must be a plain decimal such as "12.50"')
MUST_BE_FINITE = Mistake("not_finite", "must be a finite number")
NEGATIVE = Mistake("negative", "must not be negative")
TOO_LARGE = Mistake("too_large", f"must have at most {INTEGER_DIGITS_MAX} digits before the point")
TOO_PRECISE = Mistake("too_precise", f"must have at most {DECIMALS_MAX} digits after the point")


def read_number(value: Any) -> Decimal | Mistake:
    """Return an exact number that is not negative, or the mistake: from a string, an int or a Decimal."""
    number = _decimal(value)
    if isinstance(number, Mistake):
        return number
    if not number.is_finite():
        return MUST_BE_FINITE
    if number < 0:
        return NEGATIVE
    if number >= LIMIT:
        return TOO_LARGE
    # The cheap look at the magnitude comes first: 1E-999999 would be a million digits to strip.
    if number and (number.adjusted() < -DECIMALS_MAX or _decimals(number) > DECIMALS_MAX):
        return TOO_PRECISE
    return number if number else Decimal(0)


def _decimal(value: Any) -> Decimal | Mistake:
    if isinstance(value, bool) or not isinstance(value, str | int | Decimal):
        return MUST_BE_TEXT
    if isinstance(value, Decimal):
        return value
    if isinstance(value, int):
        return Decimal(value) if abs(value) < LIMIT else TOO_LARGE if value > 0 else NEGATIVE
    if NOT_FINITE.fullmatch(value):
        return MUST_BE_FINITE
    if len(value) > CHARACTERS_MAX or not PLAIN_DECIMAL.fullmatch(value):
        return NOT_A_NUMBER
    return Decimal(value)


def _decimals(number: Decimal) -> int:
    """Return how many decimals the number has, without trailing zeros."""
    exponent = number.normalize(EXACT).as_tuple().exponent
    assert isinstance(exponent, int), "a finite number has an exponent"
    return max(-exponent, 0)
