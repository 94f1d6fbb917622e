"""What ties recurring revenue to the books: the fees that were invoiced are its rates by their shares, and with all other lines what was booked."""

from collections.abc import Mapping, Sequence
from datetime import datetime
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
from invoicing.invoices.models import Invoice, InvoiceLine, LineKind, TaxLine
from invoicing.ledger.models import JournalEntry, Posting
from invoicing.reports.booked import invoices_booked
from invoicing.reports.report import Tie

# What an issue books beside the lines of the invoice.
NOT_OF_LINES = (RECEIVABLE, TAX_PAYABLE)


def currencies_invoiced(*, span: Period) -> set[str]:
    """Return the currencies of the invoices that were issued in a span."""
    return set(_invoices(span).values_list("currency", flat=True).distinct())


def recurring_ties(
    *, fees: Mapping[int, Sequence[FeeInForce]], currency: str, span: Period, customer: int | None
) -> tuple[Tie, ...]:
    """Return how the fees behind recurring revenue tie to the invoices issued in a span, and these to the ledger.

    The first: each fee line is the rate in force when its service began, times the share of the period that it covers, rounded once. The second:
    fees and all other lines are what the issues credited; it is of all customers, and left out where one was asked for.
    """
    by_rates, invoiced = _fees_again(fees, currency, span, customer)
    first = Tie("fees at the rates in force", by_rates, invoiced, "fees on invoices issued in these months")
    if customer is not None:
        return (first,)
    lines = InvoiceLine.objects.filter(invoice__in=_invoices(span), currency=currency)
    of_lines = round_money(lines.aggregate(sum=Sum("amount"))["sum"] or Decimal(0), currency)
    issues = Posting.objects.filter(
        entry__kind=JournalEntry.Kind.ISSUE,
        entry__booked_at__gte=span.start,
        entry__booked_at__lt=span.end,
        currency=currency,
    ).exclude(account__code__in=NOT_OF_LINES)
    booked = round_money(-(issues.aggregate(sum=Sum("amount"))["sum"] or Decimal(0)), currency)
    words = f"these fees and {currency} {(of_lines - invoiced).amount:,} of other lines"
    # Tax that comes on top stands beside the lines; what they contain is the tax office's.
    taxes = TaxLine.objects.filter(line__invoice__in=_invoices(span), currency=currency, inclusive=True)
    contained = round_money(taxes.aggregate(sum=Sum("amount"))["sum"] or Decimal(0), currency)
    if contained.amount:
        words = f"{words}, without {currency} {contained.amount:,} of tax in them"
    return first, Tie(words, of_lines - contained, booked, "what their issue credited in the ledger")


def _fees_again(
    fees: Mapping[int, Sequence[FeeInForce]], currency: str, span: Period, customer: int | None
) -> tuple[Money, Money]:
    """Return what the rates in force make of the fee lines of a span, and what these came to."""
    known: dict[tuple[int, str], list[FeeInForce]] = {}
    for mine in fees.values():
        for fee in mine:
            known.setdefault((fee.subscription, fee.price_key), []).append(fee)
    lines = InvoiceLine.objects.filter(
        invoice__in=_invoices(span), currency=currency, kind=LineKind.CHARGE, price__model=PriceModel.FLAT.value
    )
    if customer is not None:
        lines = lines.filter(Q(invoice__customer=customer) | Q(subscription__customer=customer))
    share = KeyTextTransform("share", "rated__inputs")
    rows = lines.annotate(share=share).values_list("subscription_id", "price__key", "service_start", "share", "amount")
    again, invoiced = [], []
    for subscription, price_key, service_start, share_text, amount in rows.iterator():
        rate = _rate_at(known.get((subscription, price_key), ()), as_utc(service_start))
        again.append(round_money(rate * Fraction(share_text), currency))
        invoiced.append(round_money(getattr(amount, "amount", amount), currency))
    return total(again, currency), total(invoiced, currency)


def _rate_at(fees: Sequence[FeeInForce], moment: datetime) -> Fraction:
    return next((fee.period_amount for fee in fees if fee.holds_at(moment)), Fraction(0))


def _invoices(span: Period) -> "QuerySet[Invoice]":
    return invoices_booked(start=span.start, end=span.end)
