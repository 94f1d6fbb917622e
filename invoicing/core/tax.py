"""Tax: what treatments make of the amounts of an invoice's lines, rounded as the law of the seller's country asks.

It is computed once, of what discounts and promotional credit have left of each line. Whoever decides about treatments (our own
table, or another provider) says rates and reasons only; every amount comes from here, and can be computed again from what is stored.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from decimal import Decimal
from enum import StrEnum
from fractions import Fraction
from zoneinfo import ZoneInfo

from moneyed import Money

from billing_site.kernel.errors import BillingError
from billing_site.kernel.money import exponent, from_minor_units, is_rounded, round_money, total
from billing_site.kernel.period import Period

LAST_MOMENT = timedelta(microseconds=1)


class TaxGivenBack(BillingError):
    """Corrections would give back more tax than the invoice owes."""

    status = 409
    code = "tax_given_back"


class TaxKind(StrEnum):
    """Why a line is taxed, or is not."""

    TAXED = "taxed"
    REVERSE_CHARGE = "reverse_charge"
    EXEMPT = "exempt"
    OUTSIDE_SCOPE = "outside_scope"
    UNTAXED = "untaxed"


class TaxRounding(StrEnum):
    """Where tax is rounded: on each line, or once for all lines of one rate."""

    PER_LINE = "per_line"
    PER_INVOICE = "per_invoice"


@dataclass(frozen=True)
class RateOfTax:
    """One tax of one place; `rate` is a fraction of one."""

    jurisdiction: str
    name: str
    rate: Decimal

    def __post_init__(self) -> None:
        assert 0 <= self.rate < 1, f"a rate of tax is a fraction of one: {self.rate}"


@dataclass(frozen=True)
class TaxTreatment:
    """How a line is taxed: by which rates, added to its amount or contained in it; `reason` is the sentence that the law asks for."""

    kind: TaxKind
    rates: tuple[RateOfTax, ...]
    inclusive: bool = False
    reason: str = ""
    evidence: str = ""

    def __post_init__(self) -> None:
        assert self.rates, "each treatment says where, also where nothing is owed"
        assert self.kind is TaxKind.TAXED or not any(one.rate for one in self.rates), "what is not taxed has no rate"
        assert self.kind is TaxKind.TAXED or self.reason, "why there is no tax is told"

    @property
    def rate(self) -> Fraction:
        """What all its taxes come to, as a fraction of the net amount."""
        return sum((Fraction(one.rate) for one in self.rates), Fraction(0))


@dataclass(frozen=True)
class TaxParty:
    """A side of the sale as tax law sees it: where it is, and by which number it is known there."""

    country: str
    region: str = ""
    number: str = ""


@dataclass(frozen=True)
class TaxTerms:
    """What was decided about one invoice: the treatment of each day on which a service ends, and of what corrects lines that were issued.

    `answers` names by day the row that keeps what a provider outside told about it; nothing where our own table decides.
    """

    provider: str
    rounding: TaxRounding
    seller: TaxParty
    customer: TaxParty
    timezone: str
    by_day: Mapping[date, TaxTreatment]
    corrected: Mapping[str, TaxTreatment]
    answers: Mapping[date, int] = field(default_factory=dict)

    def treatment_of(self, *, reference: str, service_period: Period) -> TaxTreatment:
        """Return the treatment of a line: that of the line which it corrects, or of the day on which its service ends."""
        if reference in self.corrected:
            return self.corrected[reference]
        return self.by_day[tax_day(service_period=service_period, timezone=self.timezone)]


@dataclass(frozen=True)
class TaxMissing:
    """What has to be known before tax can be computed, in words, and nobody has said yet."""

    provider: str
    problems: tuple[str, ...]

    def __post_init__(self) -> None:
        assert self.problems, "what is missing is named"


@dataclass(frozen=True)
class TaxBase:
    """What is left of one line to be taxed, and how."""

    reference: str
    amount: Money
    treatment: TaxTreatment


@dataclass(frozen=True)
class LineTax:
    """One tax of one line: the amount it is owed of, and what is owed; both signed."""

    reference: str
    kind: TaxKind
    jurisdiction: str
    name: str
    rate: Decimal
    inclusive: bool
    taxable: Money
    amount: Money
    reason: str = ""
    evidence: str = ""


@dataclass(frozen=True)
class TaxSum:
    """What all lines of one rate come to on an invoice."""

    kind: TaxKind
    jurisdiction: str
    name: str
    rate: Decimal
    inclusive: bool
    reason: str
    evidence: str
    taxable: Money
    amount: Money


@dataclass(frozen=True)
class InvoiceTax:
    """The tax of an invoice: by line and rate; without lines where something is missing that it depends on."""

    decided: TaxTerms | TaxMissing
    currency: str
    lines: tuple[LineTax, ...] = ()

    @property
    def missing(self) -> tuple[str, ...]:
        """What has to be known first."""
        return self.decided.problems if isinstance(self.decided, TaxMissing) else ()

    @property
    def amount(self) -> Money:
        """All tax, whether it comes on top of the lines or is contained in them."""
        return total((line.amount for line in self.lines), self.currency)

    @property
    def added(self) -> Money:
        """The tax that comes on top of the lines."""
        return total((line.amount for line in self.lines if not line.inclusive), self.currency)


def tax_day(*, service_period: Period, timezone: str) -> date:
    """Return the day whose rates hold for a service: the one on which it ends, in the customer's zone."""
    return (service_period.end.astimezone(ZoneInfo(timezone)) - LAST_MOMENT).date()


def tax_lines(*, bases: Sequence[TaxBase], rounding: TaxRounding, currency: str) -> tuple[LineTax, ...]:
    """Return each tax of each line, in their order; the parts add up to what is owed of each rate.

    Rounded per invoice, what all lines of one rate owe is rounded once and split by largest remainder, so that no line is a
    minor unit away from its own share. Contained tax is taken out of the amount: net and tax are the amount again.
    """
    for base in bases:
        assert is_rounded(base.amount) and base.amount.currency.code == currency, "a base is money of the invoice"
    owed = [(base, rate) for base in bases for rate in base.treatment.rates]
    exact = [_exact(base, rate) for base, rate in owed]
    amounts = [round_money(amount, currency) for amount in exact]
    if rounding is TaxRounding.PER_INVOICE:
        for places in _by_rate(owed):
            together = round_together(amounts=[exact[place] for place in places], currency=currency)
            for place, amount in zip(places, together, strict=True):
                amounts[place] = amount
    contained = {base.reference: total((), currency) for base in bases}
    for (base, _), amount in zip(owed, amounts, strict=True):
        if base.treatment.inclusive:
            contained[base.reference] += amount
    return tuple(
        LineTax(
            reference=base.reference,
            kind=base.treatment.kind,
            jurisdiction=rate.jurisdiction,
            name=rate.name,
            rate=rate.rate,
            inclusive=base.treatment.inclusive,
            taxable=base.amount - contained[base.reference],
            amount=amount,
            reason=base.treatment.reason,
            evidence=base.treatment.evidence,
        )
        for (base, rate), amount in zip(owed, amounts, strict=True)
    )


def round_together(*, amounts: Sequence[Fraction], currency: str) -> list[Money]:
    """Round the sum of exact amounts once, and split it so that each part is its amount rounded down or up.

    Largest remainder first, ties to the earlier part; a negative sum mirrors the positive one, so that a credit undoes it part by part.
    """
    scale = 10 ** exponent(currency)
    sign = -1 if sum(amounts, Fraction(0)) < 0 else 1
    units = [sign * amount * scale for amount in amounts]
    whole = (sum(units, Fraction(0)) + Fraction(1, 2)).__floor__()
    parts = [unit.__floor__() for unit in units]
    by_remainder = sorted(range(len(parts)), key=lambda index: (parts[index] - units[index], index))
    rest = whole - sum(parts)
    assert 0 <= rest <= sum(part != unit for part, unit in zip(parts, units, strict=True)), "only remainders are split"
    for index in by_remainder[:rest]:
        parts[index] += 1
    assert sum(parts) == whole, "the parts must sum to the whole"
    return [from_minor_units(sign * part, currency) for part in parts]


def tax_summary(*, lines: Sequence[LineTax], currency: str) -> tuple[TaxSum, ...]:
    """Return what the lines of each rate come to, in the order in which rates occur."""
    groups: dict[tuple[object, ...], list[LineTax]] = {}
    for line in lines:
        groups.setdefault(_summed_by(line), []).append(line)
    return tuple(
        TaxSum(
            kind=group[0].kind,
            jurisdiction=group[0].jurisdiction,
            name=group[0].name,
            rate=group[0].rate,
            inclusive=group[0].inclusive,
            reason=group[0].reason,
            evidence=group[0].evidence,
            taxable=total((line.taxable for line in group), currency),
            amount=total((line.amount for line in group), currency),
        )
        for group in groups.values()
    )


def _summed_by(line: LineTax) -> tuple[object, ...]:
    return (line.kind, line.jurisdiction, line.name, line.rate, line.inclusive, line.reason, line.evidence)


def _exact(base: TaxBase, rate: RateOfTax) -> Fraction:
    """Return what one rate makes of a base: a part of it where it is contained, on top of it where not."""
    amount, share = Fraction(base.amount.amount), Fraction(rate.rate)
    return amount * share / (1 + base.treatment.rate) if base.treatment.inclusive else amount * share


def _by_rate(owed: Sequence[tuple[TaxBase, RateOfTax]]) -> list[list[int]]:
    """Return the places of what is rounded together: one tax of one place at one rate, added or contained."""
    groups: dict[tuple[object, ...], list[int]] = {}
    for place, (base, rate) in enumerate(owed):
        treatment = base.treatment
        groups.setdefault((treatment.kind, rate, treatment.inclusive, treatment.reason, treatment.evidence), []).append(
            place
        )
    return list(groups.values())
