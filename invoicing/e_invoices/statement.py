"""An issued invoice as EN 16931 states it: each line with what is taken off it, its VAT category, and the sums of each category.

It says what was issued, and nothing of what was paid later: the same invoice gives the same statement for ever.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from typing import Any
from zoneinfo import ZoneInfo

from moneyed import Money

from billing_site.kernel.errors import Conflict
from billing_site.kernel.money import from_minor_units, round_money, total
from invoicing.core.languages import Language, language_of
from invoicing.core.tax import TaxKind
from invoicing.core.tax_rules import EUROPEAN_UNION
from invoicing.invoices.consumers import account_of, with_consumers
from invoicing.invoices.line_words import LineWords, words_of_lines
from invoicing.invoices.models import STATED, Invoice, InvoiceKind, InvoiceLine, InvoiceStatus, TaxLine, TaxState
from invoicing.invoices.queries import period_shown, replaced_by, taken_off_by
from invoicing.invoices.taxes import lines_paying

# Who states invoices by EN 16931: the Union, the Economic Area, and who takes part in Peppol with its rules.
STATING = EUROPEAN_UNION | {"IS", "LI", "NO", "CH", "GB"}
# Prices and quantities that are finer would be rounded in the file, and no longer come to the line's amount.
PLACES_MAX = 4
MICROSECOND = timedelta(microseconds=1)


class VatCategory(StrEnum):
    """Why a line bears VAT or does not (UNTDID 5305, as far as EN 16931 knows it)."""

    STANDARD = "S"
    ZERO = "Z"
    EXEMPT = "E"
    REVERSE_CHARGE = "AE"
    OUTSIDE_SCOPE = "O"


CATEGORIES = {
    TaxKind.REVERSE_CHARGE: VatCategory.REVERSE_CHARGE,
    TaxKind.EXEMPT: VatCategory.EXEMPT,
    TaxKind.OUTSIDE_SCOPE: VatCategory.OUTSIDE_SCOPE,
    TaxKind.UNTAXED: VatCategory.OUTSIDE_SCOPE,
}


@dataclass(frozen=True)
class Party:
    """A side of the sale; `address` are its lines as they were typed, `vat_number` with its country."""

    name: str
    address: tuple[str, ...]
    country: str
    vat_number: str
    email: str


@dataclass(frozen=True)
class Vat:
    """By which category and rate a line is taxed; `rate` is a fraction of one, `reason` says why nothing is owed."""

    category: VatCategory
    rate: Decimal
    reason: str


@dataclass(frozen=True)
class Allowance:
    """What something takes off a line: a discount, a maximum spend, a commitment that was paid before; not negative."""

    reason: str
    amount: Money


@dataclass(frozen=True)
class StatedLine:
    """A line: `quantity` × `price`, less its allowances, is its net `amount`. A price is never negative, a quantity may be.

    `account` is the key of the account that is billed to the buyer, `account_name` what it was called; "" of the buyer's own.
    """

    number: int
    name: str
    description: str
    quantity: Decimal
    price: Decimal
    allowances: tuple[Allowance, ...]
    amount: Money
    vat: Vat
    days: tuple[date, date] | None
    account: str = ""
    account_name: str = ""


@dataclass(frozen=True)
class VatSum:
    """What all lines of one category and rate come to, and the VAT on it."""

    vat: Vat
    taxable: Money
    tax: Money


@dataclass(frozen=True)
class Corrected:
    """An invoice of before: the one that a credit note corrects, or one that an invoice replaces or takes off."""

    number: str
    issued_on: date


@dataclass(frozen=True)
class EInvoice:
    """All that an e-invoice, or a credit note that `corrects` an invoice, says; `prepaid` is what credit that was bought before has paid, `due` what is left to pay at issue.

    `preceding` are the void invoice that it replaces and the progressive invoices that it takes off; `is_partial` says that it is one.
    """

    number: str
    issued_on: date
    due_on: date | None
    days: tuple[date, date] | None
    currency: str
    seller: Party
    buyer: Party
    buyer_reference: str
    bank: str
    payment_terms: str
    lines: tuple[StatedLine, ...]
    sums: tuple[VatSum, ...]
    prepaid: Money
    corrects: Corrected | None = None
    preceding: tuple[Corrected, ...] = ()
    is_partial: bool = False

    @property
    def net(self) -> Money:
        """Return the sum of the lines."""
        return total((line.amount for line in self.lines), self.currency)

    @property
    def tax(self) -> Money:
        """Return all VAT."""
        return total((one.tax for one in self.sums), self.currency)

    @property
    def due(self) -> Money:
        """Return what is left to pay at issue."""
        return self.net + self.tax - self.prepaid


def lines_with_taxes(*, invoice: Invoice) -> list[InvoiceLine]:
    """Read the lines of an invoice in their order, each with its taxes and whose it is."""
    return list(with_consumers(invoice.lines.order_by("position")).prefetch_related("taxes"))


def why_no_e_invoice(*, invoice: Invoice) -> str:
    """Say why there is no e-invoice of an invoice; "" where there is one."""
    if invoice.number is None or invoice.status == InvoiceStatus.VOID:
        return "only an issued invoice that is not void has one"
    if invoice.tax_state != TaxState.TAXED:
        return "it was issued without a word about tax: set where the seller is and how it is taxed"
    if (country := _document(invoice)["seller"]["country"]) not in STATING:
        return f"a seller in {country} does not state invoices by EN 16931"
    if TaxLine.objects.filter(line__invoice=invoice, ordinal__gt=1).exists():
        return "a line has several taxes, and EN 16931 knows one"
    return ""


def e_invoice_of(*, invoice: Invoice) -> EInvoice:
    """Return the statement of an issued invoice; raises Conflict (no_e_invoice) that says why there is none."""
    if why := why_no_e_invoice(invoice=invoice):
        raise Conflict(f"there is no e-invoice of {invoice}: {why}", field="number", code="no_e_invoice")
    lines = lines_with_taxes(invoice=invoice)
    words = words_of_lines(lines=lines, language=language_of(code=invoice.language))
    return stated(invoice=invoice, lines=lines, words=words)


def stated(*, invoice: Invoice, lines: Sequence[InvoiceLine], words: Mapping[int, LineWords]) -> EInvoice:
    """Return the statement of an invoice that has an e-invoice, from its lines with their taxes, and their words by id."""
    assert invoice.number is not None and invoice.issued_at is not None, "an issued invoice has a number and a time"
    zone, language = ZoneInfo(invoice.timezone), language_of(code=invoice.language)
    payments = lines_paying(invoice=invoice, lines=lines)
    period = period_shown(invoice=invoice)
    found = EInvoice(
        number=invoice.number,
        issued_on=invoice.issued_at.astimezone(zone).date(),
        due_on=invoice.due_date,
        days=None if period is None else days_of(period.start, period.end, zone),
        currency=invoice.currency,
        seller=seller_of(invoice),
        buyer=buyer_of(invoice),
        buyer_reference=invoice.customer.key,
        bank=str(invoice.seller.get("bank", "")),
        payment_terms=language.say("Please name {number} when you pay.", number=invoice.number),
        lines=tuple(_stated([line for line in lines if line not in payments], words, zone, language)),
        sums=tuple(_sums(invoice, language)),
        prepaid=total((line.amount * -1 for line in payments), invoice.currency),
        preceding=tuple(
            Corrected(str(one.number), one.issued_at.astimezone(zone).date())
            for one in _preceding(invoice, lines)
            if one is not None and one.issued_at is not None
        ),
        is_partial=invoice.kind == InvoiceKind.PROGRESSIVE,
    )
    assert found.due == round_money(invoice.total.amount, invoice.currency), (
        "the e-invoice asks for what the invoice asks"
    )
    return found


def _preceding(invoice: Invoice, lines: Sequence[InvoiceLine]) -> Iterator[Invoice | None]:
    yield replaced_by(invoice=invoice)
    if any(line.progressive_id for line in lines):
        yield from taken_off_by(invoice=invoice)


def _stated(
    lines: Sequence[InvoiceLine], words: Mapping[int, LineWords], zone: ZoneInfo, language: Language
) -> Iterator[StatedLine]:
    """Yield the lines; what takes something off single lines stands with these."""
    off: dict[str, list[Allowance]] = {}
    for line in lines:
        for part in line.rated.get("parts", ()):
            amount = round_money(Decimal(part["amount"]["amount"]), line.currency)
            off.setdefault(part["reference"], []).append(Allowance(words[line.pk]["description"], amount))
    for line in lines:
        # What takes all that it is off other lines has nothing of its own to state, and may have no tax.
        tax = next(iter(line.taxes.all()), None)
        if tax is None:
            continue
        net = round_money(tax.taxable.amount, line.currency)
        if line.rated.get("parts") and not net.amount:
            continue
        quantity, price, allowances = _priced(line, net, off.get(line.rated["inputs"]["reference"], []), tax)
        yield StatedLine(
            number=line.position,
            name=words[line.pk]["description"],
            description=words[line.pk]["explanation"],
            quantity=quantity,
            price=price,
            allowances=allowances,
            amount=net,
            vat=vat_of_tax(tax, language),
            days=None if line.kind in STATED else days_of(line.service_start, line.service_end, zone),
            account=(account := account_of(line=line)),
            account_name=(line.invoice.accounts or {}).get(account, account),
        )


def _priced(
    line: InvoiceLine, net: Money, off: Sequence[Allowance], tax: TaxLine
) -> tuple[Decimal, Decimal, tuple[Allowance, ...]]:
    """Return quantity, price and allowances that come to the net amount, exactly.

    Where a line has no single price for a unit (tiers, prices that contain VAT), it is one piece of its amount.
    """
    taken = total((one.amount for one in off), line.currency)
    if tax.inclusive or line.amount.amount < 0 or line.amount - taken != net:
        return Decimal(-1 if net.amount < 0 else 1), abs(net.amount), ()
    steps = line.rated["steps"]
    price = Decimal(steps[0]["unit_amount"]) if len(steps) == 1 else Decimal(0)
    if price and price * line.quantity == line.amount.amount and fits_in_file(price) and fits_in_file(line.quantity):
        return line.quantity, price, tuple(off)
    return Decimal(1), line.amount.amount, tuple(off)


def fits_in_file(number: Decimal) -> bool:
    """Say whether a price or a quantity is written without being rounded."""
    return round(number, PLACES_MAX) == number


def _sums(invoice: Invoice, language: Language) -> Iterator[VatSum]:
    """Yield one sum for each category and rate: places and names of the tax are not told apart."""
    nothing = from_minor_units(0, invoice.currency)
    found: dict[Vat, tuple[Money, Money]] = {}
    for one in _document(invoice)["summary"]:
        vat = _vat(TaxKind(one["kind"]), Decimal(one["rate"]), language.told(one["reason"]))
        taxable, tax = found.get(vat, (nothing, nothing))
        found[vat] = (
            taxable + round_money(Decimal(one["taxable"]["amount"]), invoice.currency),
            tax + round_money(Decimal(one["amount"]["amount"]), invoice.currency),
        )
    for vat, (taxable, tax) in found.items():
        yield VatSum(vat, taxable, tax)


def vat_of_tax(tax: TaxLine, language: Language) -> Vat:
    """Return the category and rate of a stored tax, and why nothing is owed."""
    return _vat(TaxKind(tax.kind), tax.rate, language.told(tax.reason))


def _vat(kind: TaxKind, rate: Decimal, reason: str) -> Vat:
    if kind is TaxKind.TAXED:
        return Vat(VatCategory.STANDARD if rate else VatCategory.ZERO, rate, "")
    return Vat(CATEGORIES[kind], Decimal(0), reason)


def seller_of(invoice: Invoice) -> Party:
    """Return who sells, as copied onto a taxed invoice."""
    told, party = invoice.seller, _document(invoice)["seller"]
    number = party["number"] or told.get("tax_id", "")
    return Party(told.get("name", ""), _lines(told.get("address", "")), party["country"], number, told.get("email", ""))


def buyer_of(invoice: Invoice) -> Party:
    """Return who buys, as copied onto a taxed invoice."""
    party = _document(invoice)["customer"]
    return Party(
        name=invoice.customer_name,
        address=_lines(invoice.customer_address),
        country=party["country"],
        vat_number=party["number"],
        email=invoice.customer_email,
    )


def _document(invoice: Invoice) -> dict[str, Any]:
    document = invoice.tax
    assert document is not None, "a taxed invoice says how"
    return dict(document)


def _lines(text: str) -> tuple[str, ...]:
    return tuple(line.strip() for line in text.splitlines() if line.strip())


def days_of(start: datetime, end: datetime, zone: ZoneInfo) -> tuple[date, date]:
    """Return the first and the last day of a half-open time in a zone, both included."""
    first, last = start.astimezone(zone).date(), (end.astimezone(zone) - MICROSECOND).date()
    return first, max(first, last)
