"""What a running period will come to: the usage of its meters up to its end, and what may be said about why."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from decimal import Decimal
from fractions import Fraction
from typing import Literal

from moneyed import Money

from billing_site.kernel.money import EXACT, plain
from billing_site.kernel.words import counted
from invoicing.core.adjusting import adjust
from invoicing.core.contract import Charge, ContractSnapshot, RatedLine, Usage
from invoicing.core.detail import SizeUsage
from invoicing.core.forecast import forecast
from invoicing.core.rating import rate_charge
from invoicing.core.spend import spend_of_lines

STEP = Decimal("0.000001")
Extreme = Literal["low", "expected", "high"]
EXTREMES: tuple[Extreme, ...] = ("low", "expected", "high")
NOTHING = Fraction(0)


@dataclass(frozen=True)
class MeterHistory:
    """What a meter counted by the customer's days: the whole days up to today, oldest first, and today so far.

    `adds_up` says that a period's usage is the sum of its days; what a maximum will be cannot be told from days.
    """

    known: tuple[Fraction, ...]
    today: Fraction
    adds_up: bool


@dataclass(frozen=True)
class MeterOutlook:
    """What is expected to be used in addition until the service of a charge ends: `day_count` days with today."""

    name: str
    unit: str
    adds_up: bool
    day_count: int
    low: Fraction = NOTHING
    expected: Fraction = NOTHING
    high: Fraction = NOTHING
    week_count: int = 0
    growth: Fraction | None = None

    @property
    def more(self) -> Decimal:
        """What is expected in whole units, few with two decimals: nobody knows the rest."""
        digits = 0 if self.expected >= 10 else 2
        return Decimal((self.expected * 10**digits + Fraction(1, 2)).__floor__()).scaleb(-digits)

    @property
    def text(self) -> str:
        """Say why, in one sentence."""
        if not self.day_count:
            return f"{self.name}: nothing more is counted in this period."
        if not self.adds_up:
            return f"{self.name}: as it is now; what it counts does not add up by day."
        whole, _, rest = plain(self.more).partition(".")
        more = f"{int(whole):,}{'.' + rest if rest else ''} {counted(self.unit, 2)}" if self.more else "nothing"
        days = (
            "today"
            if self.day_count == 1
            else f"today and {self.day_count - 1} {counted('day', self.day_count - 1)} more"
        )
        said = f"{self.name}: {more} expected in {days}, like the last {self.week_count} weeks"
        if self.growth is None:
            return f"{said}."
        percent = int(abs(self.growth) * 100)
        if not percent:
            return f"{said}; the last week was like the one before."
        return f"{said}; the last week was {percent:,} % {'above' if self.growth > 0 else 'below'} the one before."


@dataclass(frozen=True)
class SpendForecast:
    """What a period is expected to cost: a range, what is most to be expected of it, and why, meter by meter."""

    low: Money
    expected: Money
    high: Money
    meters: tuple[MeterOutlook, ...]

    @property
    def reason(self) -> str:
        """Say why in sentences."""
        if not self.meters:
            return "Only fixed fees are charged in this period."
        return " ".join(meter.text for meter in self.meters)


def project_spend(
    *,
    snapshot: ContractSnapshot,
    lines: Sequence[RatedLine],
    histories: Mapping[str, MeterHistory],
    days: Mapping[str, tuple[date, date]],
    today: date,
) -> SpendForecast:
    """Rate the contract with what each meter will have counted at the end of its service, low, expected and high.

    `histories` are those of the charges for usage, by reference; `days` the first and last day of each charge's service, by its reference, where the
    customer is. The range is that of the rated figures: with volume prices less usage may cost more.
    Raises NotEnoughHistory.
    """
    outlooks = {
        charge.reference: _outlook(charge, histories[charge.reference], *days[charge.reference], today)
        for charge in snapshot.charges
        if charge.meter is not None
    }
    figures = {extreme: _spend(snapshot, lines, outlooks, extreme) for extreme in EXTREMES}
    return SpendForecast(
        low=min(figures.values()),
        expected=figures["expected"],
        high=max(figures.values()),
        meters=tuple(outlooks.values()),
    )


def _outlook(charge: Charge, history: MeterHistory, first_day: date, last_day: date, today: date) -> MeterOutlook:
    first = max(first_day, today)
    day_count = max((last_day - first).days + 1, 0)
    if not day_count or not history.adds_up:
        return MeterOutlook(charge.name, charge.unit, history.adds_up, day_count)
    until = forecast(known=history.known, first_day=today, day_count=(last_day - today).days + 1)
    before = forecast(known=history.known, first_day=today, day_count=(first - today).days)
    of_today = forecast(known=history.known, first_day=today, day_count=1 if first == today else 0)
    used = history.today if first == today else NOTHING

    def more(extreme: Extreme) -> Fraction:
        """Return the days from tomorrow on, and what is left of today's."""
        today_whole: Fraction = getattr(of_today, extreme)
        later: Fraction = getattr(until, extreme) - getattr(before, extreme) - today_whole
        return later + max(today_whole - used, NOTHING)

    return MeterOutlook(
        name=charge.name,
        unit=charge.unit,
        adds_up=True,
        day_count=day_count,
        low=more("low"),
        expected=more("expected"),
        high=more("high"),
        week_count=len(until.weeks),
        growth=until.growth,
    )


def _spend(
    snapshot: ContractSnapshot, lines: Sequence[RatedLine], outlooks: Mapping[str, MeterOutlook], extreme: Extreme
) -> Money:
    rated = tuple(
        rate_charge(
            charge=charge,
            usage=line.usage
            and usage_grown(
                usage=line.usage, to=Fraction(line.usage.quantity) + getattr(outlooks[charge.reference], extreme)
            ),
            currency=snapshot.currency,
        )
        for charge, line in zip(snapshot.charges, lines, strict=True)
    )
    adjusted = adjust(terms=snapshot.terms, lines=rated, currency=snapshot.currency)
    return spend_of_lines(lines=rated, adjustments=adjusted, currency=snapshot.currency, at=snapshot.period.end)


def usage_grown(*, usage: Usage, to: Fraction) -> Usage:
    """Return usage that has grown to a quantity, to six decimals; its groups grow in proportion, and still add up to it.

    So do the events of each size, in number and sum. Where groups or sizes are needed and nothing was used yet, nobody
    knows of what there will be more: it stays nothing.
    """
    quantity = _decimal(to)
    if usage.groups is None and usage.by_size is None:
        return replace(usage, quantity=quantity)
    if not usage.quantity:
        return usage
    growth = Fraction(quantity) / Fraction(usage.quantity)
    if usage.by_size is not None:
        sizes = _sizes_grown(usage.by_size, growth)
        return replace(usage, quantity=sizes.quantity, by_size=sizes)
    assert usage.groups is not None, "one of them there is"
    groups = tuple(replace(group, quantity=_decimal(Fraction(group.quantity) * growth)) for group in usage.groups)
    return replace(usage, quantity=sum((group.quantity for group in groups), Decimal(0)), groups=groups)


def _sizes_grown(sizes: SizeUsage, growth: Fraction) -> SizeUsage:
    def of(name: str) -> tuple[int, Decimal]:
        count = (Fraction(getattr(sizes, f"{name}_count")) * growth + Fraction(1, 2)).__floor__()
        return count, _decimal(Fraction(getattr(sizes, f"{name}_quantity")) * growth)

    return SizeUsage(*of("below"), *of("between"), *of("above"))


def _decimal(exact: Fraction) -> Decimal:
    return EXACT.divide(Decimal(exact.numerator), Decimal(exact.denominator)).quantize(STEP, context=EXACT)
