"""What ties recurring revenue to the books: the fees that were invoiced are its rates by their shares, and with all other lines what was booked."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from fractions import Fraction

from django.db.models import Q, QuerySet, Sum
from django.db.models.fields.json import KeyTextTransform
from moneyed import Money

from billing_site.kernel.money import round_money, total
from billing_site.kernel.period import Period, as_utc
from invoicing.core.contract import PriceModel
from invoicing.core.posting import RECEIVABLE, TAX_PAYABLE
from invoicing.core.recurring import FeeInForce
from invoicing.invoices.models import Invoice, InvoiceLine, InvoiceStatus, LineKind, TaxLine
from invoicing.ledger.models import JournalEntry
from invoicing.ledger.queries import postings_of
from invoicing.reports.booked import invoices_booked
from invoicing.reports.report import Tie

# What an issue books beside the lines of the invoice.
NOT_OF_LINES = (RECEIVABLE, TAX_PAYABLE)
INSTANT = timedelta(microseconds=1)


def currencies_invoiced(*, span: Period, entity: str) -> set[str]:
    """Return the currencies of the invoices that were issued in a span, by one legal entity where it is not empty."""
    return set(_invoices(span, entity).values_list("currency", flat=True).distinct())


@dataclass(frozen=True)
class _FeeLine:
    """A line for a fee: what the rate in force makes of it, what it came to, and whether its invoice is void by now.

    `whole` is what all of its period costs, `monthly` what that is in a month, at the rate that was in force when its service began.
    """

    fee: tuple[int, str]
    again: Money
    invoiced: Money
    is_void: bool
    whole: Fraction
    monthly: Fraction


def recurring_ties(
    *,
    fees: Mapping[int, Sequence[FeeInForce]],
    currency: str,
    span: Period,
    customer: int | None,
    closing: Money | None,
    entity: str,
) -> tuple[Tie, ...]:
    """Return how the fees behind recurring revenue tie to the invoices issued in a span, and these to the ledger.

    The first: each fee line of an invoice that stands is the rate in force when its service began, times the share of the period that it
    covers, rounded once. The second: these fees, those of void invoices and all other lines are what the issues credited; it is of all
    customers, and left out where one was asked for. The third, of a span that is one month and ends with `closing`: what parts fees from MRR.
    """
    lines = list(_fees_again(fees, currency, span, customer, entity))
    standing = [line for line in lines if not line.is_void]
    invoiced = total((line.invoiced for line in standing), currency)
    again = total((line.again for line in standing), currency)
    ties = [Tie("fees at the rates in force", again, invoiced, "fees on invoices issued in these months")]
    if customer is None:
        of_void = total((one.invoiced for one in lines if one.is_void), currency)
        ties.append(_with_ledger(invoiced, of_void, currency, span, entity))
    if closing is not None:
        ties.append(_bridge(fees, standing, closing, span))
    return tuple(ties)


def _with_ledger(invoiced: Money, of_void: Money, currency: str, span: Period, entity: str) -> Tie:
    """Return how fees tie to what the issue of the same invoices credited."""
    lines = InvoiceLine.objects.filter(invoice__in=_invoices(span, entity), currency=currency)
    of_lines = round_money(lines.aggregate(sum=Sum("amount"))["sum"] or Decimal(0), currency)
    issues = (
        postings_of(entity=entity)
        .filter(
            entry__kind=JournalEntry.Kind.ISSUE,
            entry__booked_at__gte=span.start,
            entry__booked_at__lt=span.end,
            currency=currency,
        )
        .exclude(account__code__in=NOT_OF_LINES)
    )
    booked = round_money(-(issues.aggregate(sum=Sum("amount"))["sum"] or Decimal(0)), currency)
    others = of_lines - invoiced - of_void
    void = f", {_text(of_void)} of fees on invoices that are void" if of_void.amount else ""
    words = f"these fees{void} and {_text(others)} of other lines"
    # Tax that comes on top stands beside the lines; what they contain is the tax office's.
    taxes = TaxLine.objects.filter(line__invoice__in=_invoices(span, entity), currency=currency, inclusive=True)
    contained = round_money(taxes.aggregate(sum=Sum("amount"))["sum"] or Decimal(0), currency)
    if contained.amount:
        words = f"{words}, without {_text(contained)} of tax in them"
    return Tie(words, of_lines - contained, booked, "what their issue credited in the ledger")


def _bridge(fees: Mapping[int, Sequence[FeeInForce]], lines: Sequence[_FeeLine], closing: Money, span: Period) -> Tie:
    """Return what parts the fees on a month's invoices from MRR at its end, each part worked out from the lines for itself: fees that had ended,
    fees that were not invoiced or more than once, periods that are no month or not whole, changed prices; cents of rounding are what is left.
    """
    currency = closing.currency.code
    monthly: dict[tuple[int, str], Fraction] = {}
    for fee in (one for mine in fees.values() for one in mine if one.holds_at(span.end - INSTANT)):
        name = (fee.subscription, fee.price_key)
        monthly[name] = monthly.get(name, Fraction(0)) + fee.monthly
    invoiced = total((line.invoiced for line in lines), currency)
    ended = total((line.invoiced for line in lines if line.fee not in monthly), currency)
    running = [line for line in lines if line.fee in monthly]
    # The last line of a fee stands for its month.
    last = list({line.fee: line for line in running}.values())

    def money(parts: Iterable[Fraction]) -> Money:
        return round_money(sum(parts, Fraction(0)), currency)

    seen = {line.fee for line in running}
    explained = (
        (ended, "of fees that had ended by then, or were paused"),
        (-money(one for name, one in monthly.items() if name not in seen), "not invoiced in the month"),
        (money(Fraction(line.invoiced.amount) - line.whole for line in running), "of periods that are not whole"),
        (money(line.whole - line.monthly for line in running), "of periods that are no month"),
        (money(line.monthly for line in running) - money(line.monthly for line in last), "of more than one period"),
        (money(line.monthly - monthly[line.fee] for line in last), "of prices that have changed"),
    )
    rounding = invoiced - closing - total((amount for amount, _ in explained), currency)
    parts = (*explained, (rounding, "of rounding"))
    named = [f"{_text(amount)} {words}" for amount, words in parts if amount.amount]
    first = f"MRR of {_text(closing)} at the month's end"
    about = " and ".join(filter(None, (", ".join((first, *named[:-1])), *named[-1:])))
    bridged = total((closing, *(amount for amount, _ in parts)), currency)
    return Tie(about, bridged, invoiced, "fees on invoices issued in these months")


def _text(amount: Money) -> str:
    return f"{amount.currency.code} {amount.amount:,}"


def _fees_again(
    fees: Mapping[int, Sequence[FeeInForce]], currency: str, span: Period, customer: int | None, entity: str
) -> Iterator[_FeeLine]:
    """Yield the fee lines of a span with what the rates in force make of them."""
    known: dict[tuple[int, str], list[FeeInForce]] = {}
    for mine in fees.values():
        for fee in mine:
            known.setdefault((fee.subscription, fee.price_key), []).append(fee)
    lines = InvoiceLine.objects.filter(
        invoice__in=_invoices(span, entity), currency=currency, kind=LineKind.CHARGE, price__model=PriceModel.FLAT.value
    )
    if customer is not None:
        lines = lines.filter(Q(invoice__customer=customer) | Q(subscription__customer=customer))
    share = KeyTextTransform("share", "rated__inputs")
    rows = (
        lines.annotate(share=share)
        .order_by("service_start", "id")
        .values_list("subscription_id", "price__key", "service_start", "share", "amount", "invoice__status")
    )
    for subscription, price_key, service_start, share_text, amount, status in rows.iterator():
        began = as_utc(service_start)
        fees_then = [fee for fee in known.get((subscription, price_key), ()) if fee.holds_at(began)][:1]
        rate = sum((fee.period_amount for fee in fees_then), Fraction(0))
        yield _FeeLine(
            (subscription, price_key),
            round_money(rate * Fraction(share_text), currency),
            round_money(getattr(amount, "amount", amount), currency),
            status == InvoiceStatus.VOID,
            whole=rate,
            monthly=sum((fee.monthly for fee in fees_then), Fraction(0)),
        )


def _invoices(span: Period, entity: str) -> "QuerySet[Invoice]":
    invoices = invoices_booked(start=span.start, end=span.end)
    return invoices.filter(customer__legal_entity__key=entity) if entity else invoices
