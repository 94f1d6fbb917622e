"""What Stripe has to hear so that what stands there is what was counted here: cancels, and a difference (S4-039, S4-041)."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

# Stripe cancels an event within a day of receiving it; what is asked for in the last hour may come too late.
CANCELLABLE = timedelta(hours=23)
# Stripe tells two sendings of one identifier from each other for a day: later nobody may send it once more.
REPEATABLE = timedelta(hours=23)
# Stripe takes an event of the past 35 days; the last hour of them is not relied on.
TAKEN = timedelta(days=35) - timedelta(hours=1)
# Beyond so many digits Stripe refuses a value (docs.stripe.com/changelog/dahlia/2026-04-22).
DIGITS_MAX = 15
# Of an identifier at Stripe.
IDENTIFIER_MAX = 100
NOTHING = Decimal(0)


@dataclass(frozen=True)
class Standing:
    """A value that stands at Stripe, or is on its way there; `first_sent_at` is None where it was not tried yet."""

    number: int
    value: Decimal
    first_sent_at: datetime | None

    def is_cancellable(self, *, at: datetime) -> bool:
        """Say whether Stripe will still cancel it."""
        return self.first_sent_at is None or at < self.first_sent_at + CANCELLABLE


@dataclass(frozen=True)
class Correction:
    """What to send: the numbers of the values to cancel, and what to report beside; a negative value takes back what no cancel reaches."""

    cancels: tuple[int, ...]
    value: Decimal


def correction(*, counted: Decimal, standing: Sequence[Standing], settled: Decimal, at: datetime) -> Correction:
    """Return what makes the sum at Stripe what was counted. `standing` is in the order of sending; `settled` is counted as reported without being there.

    What is too much is cancelled, newest first, as far as Stripe cancels; the rest is the value of one more report.
    """
    total = sum((one.value for one in standing), settled)
    cancels = []
    for one in reversed(standing):
        if total <= counted:
            break
        if one.value > 0 and one.is_cancellable(at=at):
            cancels.append(one.number)
            total -= one.value
    return Correction(tuple(cancels), counted - total)


def identifier_of(*, meter: str, subscription: str, source: str, ordinal: int) -> str:
    """Return by what Stripe knows a report: the same for the same fact, whoever makes it and when (S4-017, S4-018)."""
    whole = f"{meter}:{subscription}:{source}:{ordinal}"
    if len(whole) <= IDENTIFIER_MAX:
        return whole
    digest = hashlib.sha256(whole.encode()).hexdigest()
    return f"{whole[: IDENTIFIER_MAX - len(digest) - 1]}:{digest}"


def value_text(*, value: Decimal) -> str:
    """Return a quantity as Stripe takes it: a numeric string without an exponent (S4-053)."""
    text = f"{value:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def has_too_many_digits(*, value: Decimal) -> bool:
    """Say whether Stripe would refuse a value for its length."""
    return len(value_text(value=value).lstrip("-").replace(".", "").lstrip("0")) > DIGITS_MAX
