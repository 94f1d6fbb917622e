"""The checks before an invoice of a period is issued (S3-053, S1-096): each gives a finding in a sentence with its figures, or none.

They look at money and usage of the invoice against what the customer was invoiced before; days of unusual usage come from
`core/anomaly.py` and are only named here. A check says nothing where there is too little to compare with.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from fractions import Fraction

from moneyed import Money

from billing_site.kernel.money import is_rounded, plain, total
from billing_site.kernel.period import Period
from billing_site.kernel.words import counted
from invoicing.core.contract import AdjustmentKind, AssembledInvoice

# What is usual is the middle of so many invoices, and of no fewer than the second figure.
USUAL_INVOICES = 6
USUAL_INVOICES_MIN = 3
NAMED_MAX = 3


class Check(StrEnum):
    """What is looked at before an invoice is issued."""

    SPIKE = "spike"
    DROP = "drop"
    SILENT_METER = "silent_meter"
    UNMATCHED = "unmatched"
    FIRST_BILL = "first_bill"
    MISSING_DATA = "missing_data"
    CURRENCY = "currency"
    NEGATIVE_LINE = "negative_line"
    EDITED = "edited"
    RELEASED_TOTAL = "released_total"


@dataclass(frozen=True)
class CheckTerms:
    """What a check is called and looks for; `threshold` is the sentence around its figure, "" where it has none."""

    title: str
    asks: str
    threshold: str = ""
    usual: Decimal | None = None
    low: Decimal = Decimal(0)
    high: Decimal = Decimal(0)
    is_whole: bool = False
    is_on: bool = True
    takes_two: bool = False


CHECKS: dict[Check, CheckTerms] = {
    Check.SPIKE: CheckTerms(
        "Spike",
        "The charges are far above the usual amount: the middle of up to six invoices before, of three at least.",
        "held from {} × the usual amount on",
        Decimal(3),
        Decimal("1.1"),
        Decimal(1000),
    ),
    Check.DROP: CheckTerms(
        "Drop to zero",
        "The charges are nothing, or next to nothing, where the invoices before charged something.",
        "held up to {} of the usual amount (0 is nothing at all, 0.1 a tenth)",
        Decimal(0),
        Decimal(0),
        Decimal("0.9"),
    ),
    Check.SILENT_METER: CheckTerms(
        "Silent meter",
        "A meter that the invoices before counted has no events in this period.",
        "held where the last {} invoices counted it",
        Decimal(3),
        Decimal(1),
        Decimal(USUAL_INVOICES),
        is_whole=True,
    ),
    Check.UNMATCHED: CheckTerms(
        "Unmatched events",
        "Events of this period were accepted and are on no invoice: no meter counts them, or no plan charges for them.",
        "held from {} unmatched on",
        Decimal(1),
        Decimal(1),
        Decimal(1_000_000),
        is_whole=True,
    ),
    Check.FIRST_BILL: CheckTerms(
        "First bill",
        "Nothing was issued to this customer before. Switch it on while invoices are new to the house and looked at by hand.",
        is_on=False,
    ),
    Check.MISSING_DATA: CheckTerms(
        "Missing data", "Something that the invoice needs is not known of the customer: where it is sent to."
    ),
    Check.CURRENCY: CheckTerms(
        "Currency", "An amount has more decimals than its currency, or is in another than the customer's."
    ),
    Check.NEGATIVE_LINE: CheckTerms(
        "Negative line",
        "A charge is negative, or corrections of earlier invoices take off much of what is charged."
        " Discounts and credit are agreed and not looked at.",
        "held where corrections take {} of what is charged, or more (0.8 is four fifths)",
        Decimal("0.8"),
        Decimal("0.01"),
        Decimal(1),
    ),
    Check.EDITED: CheckTerms(
        "Changed by hand",
        "Somebody has changed a line of the draft, or added one: another person looks at it.",
        takes_two=True,
    ),
    Check.RELEASED_TOTAL: CheckTerms(
        "Other than released", "Somebody released this invoice, and by now its total is another."
    ),
}


@dataclass(frozen=True)
class Rule:
    """Whether a check is made, its threshold, and whether what it held is released by two, however small."""

    is_on: bool
    threshold: Decimal | None
    takes_two: bool = False

    def binds(self, after: "Rule") -> bool:
        """Say whether two people set it to `after`: nobody alone takes the second person away from what this check holds, or holds other drafts by it."""
        return self.is_on and self.takes_two and after != self


RULES = {check: Rule(terms.is_on, terms.usual, terms.takes_two) for check, terms in CHECKS.items()}


@dataclass(frozen=True)
class EarlierInvoice:
    """An issued invoice: what its charges came to before anything was taken off, and the meters that counted something."""

    period: Period
    charged: Money
    meters: frozenset[str]


@dataclass(frozen=True)
class UnmatchedEvents:
    """Events of a period that no invoice holds: what they are, why, and how many."""

    what: str
    why: str
    event_count: int


@dataclass(frozen=True)
class GateFacts:
    """What the checks know beside the invoice; `earlier` newest first, `unusual` in words, `released` the total once released."""

    currency: str
    earlier: tuple[EarlierInvoice, ...] = ()
    unmatched: tuple[UnmatchedEvents, ...] = ()
    unusual: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    released: Money | None = None


@dataclass(frozen=True)
class Finding:
    """What a check found, as a sentence with its figures."""

    check: Check
    message: str


def findings_about(*, invoice: AssembledInvoice, facts: GateFacts, rules: Mapping[Check, Rule]) -> tuple[Finding, ...]:
    """Make the checks that are on, in their order, and return what they find."""
    found = []
    for check, look in _LOOKS.items():
        rule = rules[check]
        if rule.is_on and (message := look(invoice, facts, rule.threshold or Decimal(0))):
            found.append(Finding(check, message))
    return tuple(found)


def charged_by(*, invoice: AssembledInvoice) -> Money:
    """Return what the charges come to before discounts, credit and corrections: what invoices are compared by."""
    return total((line.amount for line in invoice.lines), invoice.currency)


def usual_amount(*, invoice: AssembledInvoice, earlier: tuple[EarlierInvoice, ...]) -> tuple[Fraction, int] | None:
    """Return the middle of what was charged for periods of about this length, and of how many; None of fewer than three."""
    length = invoice.period.end - invoice.period.start
    alike = sorted(
        Fraction(one.charged.amount)
        for one in earlier[:USUAL_INVOICES]
        if length <= 2 * (one.period.end - one.period.start) <= 4 * length
    )
    if len(alike) < USUAL_INVOICES_MIN:
        return None
    return (alike[(len(alike) - 1) // 2] + alike[len(alike) // 2]) / 2, len(alike)


def _spike(invoice: AssembledInvoice, facts: GateFacts, threshold: Decimal) -> str:
    usual, charged = usual_amount(invoice=invoice, earlier=facts.earlier), charged_by(invoice=invoice)
    if usual is None or usual[0] <= 0 or Fraction(charged.amount) < Fraction(threshold) * usual[0]:
        return ""
    times = Fraction(charged.amount) / usual[0]
    days = f"; nobody has looked into unusual usage: {_first(facts.unusual)}" if facts.unusual else ""
    return (
        f"{_words(charged)} charged, {_rounded(times)} × the usual {_about(usual[0], charged)}"
        f" (the middle of the {usual[1]} invoices before){days}"
    )


def _drop(invoice: AssembledInvoice, facts: GateFacts, threshold: Decimal) -> str:
    usual, charged = usual_amount(invoice=invoice, earlier=facts.earlier), charged_by(invoice=invoice)
    if usual is None or usual[0] <= 0 or Fraction(charged.amount) > Fraction(threshold) * usual[0]:
        return ""
    return f"{_words(charged)} charged, {_about(usual[0], charged)} is usual (the middle of the {usual[1]} invoices before)"


def _silent_meter(invoice: AssembledInvoice, facts: GateFacts, threshold: Decimal) -> str:
    before = facts.earlier[: int(threshold)]
    if len(before) < threshold:
        return ""
    counted_now = {line.meter for line in invoice.lines if line.usage is not None and line.usage.event_count}
    charged = {line.meter for line in invoice.lines if line.meter is not None}
    silent = sorted(meter for meter in charged - counted_now if all(meter in one.meters for one in before))
    if not silent:
        return ""
    number = len(before)
    where = "the invoice before" if number == 1 else f"each of the {number} invoices before"
    return f"no events of {_first(silent)} in this period; {where} counted some"


def _unmatched(invoice: AssembledInvoice, facts: GateFacts, threshold: Decimal) -> str:
    number = sum(one.event_count for one in facts.unmatched)
    if not number or number < threshold:
        return ""
    kinds = _first([f"{one.event_count:,} {one.what} ({one.why})" for one in facts.unmatched])
    return (
        f"{number:,} {counted('event', number)} of this period {'is' if number == 1 else 'are'} on no invoice: {kinds}"
    )


def _first_bill(invoice: AssembledInvoice, facts: GateFacts, threshold: Decimal) -> str:
    return "" if facts.earlier else f"the first invoice of this customer, over {_words(invoice.total)}"


def _missing_data(invoice: AssembledInvoice, facts: GateFacts, threshold: Decimal) -> str:
    return f"not known of the customer: {_first(facts.missing)}" if facts.missing else ""


def _currency(invoice: AssembledInvoice, facts: GateFacts, threshold: Decimal) -> str:
    if invoice.currency != facts.currency:
        return f"it is in {invoice.currency}, the customer pays in {facts.currency}"
    amounts = [invoice.total, invoice.subtotal, *(line.amount for line in invoice.lines)]
    wrong = [one for one in amounts if one.currency.code != invoice.currency or not is_rounded(one)]
    return f"no amount of {invoice.currency}: {_first([_words(one) for one in wrong])}" if wrong else ""


def _negative_line(invoice: AssembledInvoice, facts: GateFacts, threshold: Decimal) -> str:
    negative = [line for line in invoice.lines if line.amount.amount < 0]
    if negative:
        return "a charge is negative: " + _first([f"{one.description} {_words(one.amount)}" for one in negative])
    charged = charged_by(invoice=invoice)
    taken = total((line.amount for line in invoice.corrections), invoice.currency)
    if taken.amount >= 0 or charged.amount <= 0 or -taken.amount < threshold * charged.amount:
        return ""
    percent = _rounded(Fraction(-taken.amount) / Fraction(charged.amount) * 100)
    return f"corrections of earlier invoices take {_words(-taken)} off {_words(charged)} charged, {percent} %"


def _edited(invoice: AssembledInvoice, facts: GateFacts, threshold: Decimal) -> str:
    edits = [line for line in invoice.adjustments if line.kind is AdjustmentKind.EDIT]
    return f"changed by hand: {_first([f'{one.description} {_words(one.amount)}' for one in edits])}" if edits else ""


def _released_total(invoice: AssembledInvoice, facts: GateFacts, threshold: Decimal) -> str:
    if facts.released is None or facts.released == invoice.total:
        return ""
    return f"it was released over {_words(facts.released)}, it is {_words(invoice.total)} by now"


_LOOKS: dict[Check, Callable[[AssembledInvoice, GateFacts, Decimal], str]] = {
    Check.SPIKE: _spike,
    Check.DROP: _drop,
    Check.SILENT_METER: _silent_meter,
    Check.UNMATCHED: _unmatched,
    Check.FIRST_BILL: _first_bill,
    Check.MISSING_DATA: _missing_data,
    Check.CURRENCY: _currency,
    Check.NEGATIVE_LINE: _negative_line,
    Check.EDITED: _edited,
    Check.RELEASED_TOTAL: _released_total,
}
assert set(_LOOKS) == set(CHECKS) == set(Check), "each check has its terms and its look"


def _words(amount: Money) -> str:
    return f"{amount.currency.code} {plain(amount.amount)}"


def _about(amount: Fraction, like: Money) -> str:
    """Write the middle of some amounts, which may lie between two minor units, to the cent."""
    return f"{like.currency.code} {_rounded(amount, 2)}"


def _rounded(number: Fraction, places: int = 1) -> str:
    scaled = round(number * 10**places)
    return plain(Decimal(scaled).scaleb(-places))


def _first(words: list[str] | tuple[str, ...]) -> str:
    more = len(words) - NAMED_MAX
    return ", ".join(words[:NAMED_MAX]) + (f" and {more} more" if more > 0 else "")
