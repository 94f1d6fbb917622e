"""The terms of a coupon as documents say them, in the catalog file, the API and the admin alike: read strictly."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from billing_site.kernel.errors import FieldError
from billing_site.kernel.model import AMOUNT_DIGITS, AMOUNT_PLACES
from billing_site.kernel.money import exponent, plain
from billing_site.kernel.text import is_storable
from invoicing.catalog.coupon import PERCENT_PLACES, PERIODS_MAX, POSITION_DEFAULT, CouponDuration
from invoicing.catalog.effective import moment_mistake
from invoicing.core.numbers import Mistake, read_number
from metering.core.parsing import read_moment

CODE_PATTERN = re.compile(r"[A-Z0-9][A-Z0-9_-]{0,59}")
COUPON_FIELDS = (
    "code",
    "name",
    "percent_off",
    "amount_off",
    "currency",
    "minimum_amount",
    "duration",
    "periods",
    "plans",
    "prices",
    "redeem_by",
    "max_redemptions",
    "position",
)
WHOLE_MAX = {"periods": PERIODS_MAX, "max_redemptions": 2_000_000_000, "position": 30_000}


@dataclass(frozen=True)
class CouponEntry:
    """The terms of one coupon."""

    code: str
    name: str
    percent_off: Decimal | None = None
    amount_off: Decimal | None = None
    currency: str = ""
    minimum_amount: Decimal = Decimal(0)
    duration: str = CouponDuration.ONCE.value
    periods: int | None = None
    plans: tuple[str, ...] = ()
    prices: tuple[str, ...] = ()
    redeem_by: datetime | None = None
    max_redemptions: int | None = None
    position: int = POSITION_DEFAULT


def read_coupon(*, document: Any, path: str = "") -> tuple[CouponEntry, list[FieldError]]:
    """Read the terms of a coupon strictly: codes are upper-cased, numbers exact; returns every mistake with its place.

    Percentages are written as people say them: "20" takes off a fifth.
    """
    reader = _Reader(document if isinstance(document, Mapping) else {}, f"{path}." if path else "")
    if not isinstance(document, Mapping):
        reader.errors.append(FieldError(path or "coupon", "wrong_type", "must be an object"))
        return CouponEntry("", ""), reader.errors
    entry = reader.entry()
    return entry, reader.errors


class _Reader:
    """Collects every mistake of one document instead of stopping at the first."""

    def __init__(self, document: Mapping[str, Any], prefix: str) -> None:
        self.document, self.prefix = document, prefix
        self.errors: list[FieldError] = []

    def wrong(self, name: str, code: str, message: str) -> None:
        self.errors.append(FieldError(f"{self.prefix}{name}", code, message))

    def entry(self) -> CouponEntry:
        for name in self.document:
            if name not in COUPON_FIELDS:
                self.wrong(str(name), "unknown", f"is not known here; known are {', '.join(COUPON_FIELDS)}")
        code = self.text("code", 60).strip().upper()
        if code and not CODE_PATTERN.fullmatch(code):
            self.wrong("code", "invalid", "use 1 to 60 letters, digits, _ and -, beginning with a letter or digit")
        entry = CouponEntry(
            code=code,
            name=self.text("name", 200, default=code),
            percent_off=self.percentage("percent_off"),
            currency=(currency := self.currency()),
            amount_off=self.amount("amount_off", currency),
            minimum_amount=self.amount("minimum_amount", currency) or Decimal(0),
            duration=self.text("duration", 20, default=CouponDuration.ONCE.value),
            periods=self.whole("periods"),
            plans=self.keys("plans"),
            prices=self.keys("prices"),
            redeem_by=self.moment("redeem_by"),
            max_redemptions=self.whole("max_redemptions"),
            position=self.whole("position", least=0) if self.document.get("position") is not None else POSITION_DEFAULT,  # type: ignore[arg-type]
        )
        self.check_together(entry)
        return entry

    def check_together(self, entry: CouponEntry) -> None:
        """Tell what only several fields together say wrong."""
        given = [name for name in ("percent_off", "amount_off") if self.document.get(name) is not None]
        if len(given) != 1:
            code, message = (
                ("required", "is missing: a coupon takes off a percentage or an amount")
                if not given
                else (
                    "not_allowed",
                    "does not stand beside amount_off: a coupon takes off a percentage or an amount",
                )
            )
            self.wrong("percent_off", code, message)
        if not self.document.get("currency") and any(
            self.document.get(name) for name in ("amount_off", "minimum_amount")
        ):
            self.wrong("currency", "required", "is missing: an amount has a currency")
        if entry.duration not in CouponDuration.values:
            self.wrong("duration", "unknown", f"must be one of {', '.join(CouponDuration.values)}")
        elif entry.duration == CouponDuration.REPEATING and self.document.get("periods") is None:
            self.wrong("periods", "required", "is missing: a repeating coupon says for how many billing periods")
        elif entry.duration != CouponDuration.REPEATING and self.document.get("periods") is not None:
            self.wrong("periods", "not_allowed", "belongs to a repeating coupon only")

    def text(self, name: str, limit: int, *, default: str | None = None) -> str:
        value = self.document.get(name, default)
        if value is None:
            self.wrong(name, "required", "is missing")
        elif not isinstance(value, str) or not value.strip() or len(value) > limit or not is_storable(value):
            if default != "" or value != "":
                self.wrong(name, "wrong_type", f"must be a text of 1 to {limit} characters")
        else:
            return value
        return ""

    def number(self, name: str) -> Decimal | None:
        if self.document.get(name) is None:
            return None
        number = read_number(self.document[name])
        if isinstance(number, Mistake):
            self.wrong(name, number.code, number.message)
            return None
        return number

    def percentage(self, name: str) -> Decimal | None:
        number = self.number(name)
        if number is None:
            return None
        if not 0 < number <= 100:
            self.wrong(name, "out_of_range", "must be more than 0 and at most 100")
        elif number != round(number, PERCENT_PLACES):
            self.wrong(name, "too_precise", f"must have at most {PERCENT_PLACES} digits after the point")
        else:
            return number
        return None

    def amount(self, name: str, currency: str) -> Decimal | None:
        number = self.number(name)
        if number is None:
            return None
        if number == 0 and name == "amount_off":
            self.wrong(name, "out_of_range", "must be more than 0")
        elif number >= 10 ** (AMOUNT_DIGITS - AMOUNT_PLACES):
            self.wrong(name, "too_large", f"must have at most {AMOUNT_DIGITS - AMOUNT_PLACES} digits before the point")
        elif currency and number != round(number, exponent(currency)):
            self.wrong(name, "too_precise", f"must be whole minor units: {plain(number)} {currency} cannot be paid")
        else:
            return number
        return None

    def currency(self) -> str:
        value = self.document.get("currency") or ""
        try:
            if value:
                exponent(value if isinstance(value, str) else "")
        except KeyError:
            self.wrong("currency", "unknown", "must be an ISO 4217 code such as EUR")
            return ""
        return str(value)

    def whole(self, name: str, *, least: int = 1) -> int | None:
        value = self.document.get(name)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= WHOLE_MAX[name]:
            self.wrong(name, "invalid", f"must be a whole number from {least} to {WHOLE_MAX[name]:,}")
            return None
        return value

    def keys(self, name: str) -> tuple[str, ...]:
        value = self.document.get(name) or []
        if not isinstance(value, list | tuple) or not all(
            isinstance(key, str) and 0 < len(key) <= 100 for key in value
        ):
            self.wrong(name, "wrong_type", "must be a list of keys")
            return ()
        return tuple(dict.fromkeys(value))

    def moment(self, name: str) -> datetime | None:
        value = self.document.get(name)
        if isinstance(value, str):
            try:
                value = read_moment(text=value)
            except ValueError:
                value = False
        if value is not None and (not isinstance(value, datetime) or value.utcoffset() is None):
            self.wrong(name, "not_a_time", "must be a time with an offset: 2026-07-01T00:00:00Z")
            return None
        if value is not None and (mistake := moment_mistake(moment=value, field=name)) is not None:
            self.wrong(name, mistake.code, mistake.message)
            return None
        return value
