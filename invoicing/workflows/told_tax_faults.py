"""What is wrong with taxes that Stripe Tax decided: lines that are taxed otherwise than the answers they name, answers that say otherwise than Stripe sent."""

from collections.abc import Iterator, Sequence
from datetime import date, datetime
from zoneinfo import ZoneInfo

from billing_site.kernel.errors import BillingError
from billing_site.kernel.period import Period, as_utc
from invoicing.core.tax import LineTax, tax_day
from invoicing.core.told_tax import differs_from_told, rates_document
from invoicing.invoices.models import Invoice, InvoiceKind, InvoiceLine, LineKind
from invoicing.invoices.taxes import is_payment, line_tax
from invoicing.tax.inquiries import TaxAnswer
from invoicing.tax.stripe_answers import NotReadable, read_answer
from invoicing.tax.stripe_tax import StripeTax, is_same_month

CHUNK = 500
UNASKED = (LineKind.CORRECTION, LineKind.TOP_UP)


def answer_faults() -> Iterator[tuple[str, str]]:
    """Yield each answer that tells other rates than what Stripe sent says."""
    for answer in TaxAnswer.objects.exclude(kind="").order_by("id").iterator(chunk_size=CHUNK):
        subject = f"answer {answer.pk} of Stripe Tax"
        try:
            sent = read_answer(body=answer.body or {})
        except NotReadable as problem:
            yield subject, problem.message
            continue
        if (sent.kind, rates_document(told=sent), sent.is_registered) != (
            answer.kind,
            answer.rates,
            answer.is_registered,
        ):
            yield subject, "it tells other rates than Stripe sent"


def told_differences(*, invoice: Invoice, lines: Sequence[InvoiceLine]) -> list[str]:
    """Compare the taxes of an invoice's lines with the answers that the invoice names by day, and say what differs; nothing of one that somebody else decided."""
    tax = invoice.tax or {}
    if tax.get("provider") != StripeTax.name:
        return ["it names answers of Stripe Tax, which did not decide"] if "answers" in tax else []
    named = tax.get("answers", {})
    told = TaxAnswer.objects.filter(inquiry__customer=invoice.customer_id).select_related("inquiry").defer("body")
    answers = told.in_bulk(list(named.values()))
    found = []
    for line in lines:
        # A sale of credit is told to be untaxed without asking anybody; what corrects an issued line, or takes off what was
        # invoiced before, is taxed as that one was.
        if line.kind in UNASKED or line.progressive_id is not None or is_payment(line=line):
            continue
        stored = [line_tax(row=row) for row in sorted(line.taxes.all(), key=lambda row: row.ordinal)]
        day = _day(invoice, line.service_start, line.service_end)
        answer = answers.get(named.get(day.isoformat(), 0))
        if stored and (answer is None or not answer.kind):
            found.append(f"line {line.position} names no answer about {day}")
        elif stored and answer is not None and _differs(answer, stored):
            found.append(f"line {line.position} is taxed otherwise than answer {answer.pk} about {day} tells")
        elif stored and answer is not None and not is_same_month(answer.inquiry.day, _asked(invoice, day)):
            found.append(f"line {line.position} of {day} is taxed by answer {answer.pk} about {answer.inquiry.day}")
    return found


def _differs(answer: TaxAnswer, stored: Sequence[LineTax]) -> bool:
    try:
        return differs_from_told(told=answer.told, stored=stored)
    except (BillingError, KeyError, TypeError, ValueError, ArithmeticError, AssertionError):
        return True


def _asked(invoice: Invoice, day: date) -> date:
    """Return the day whose rates were asked for: of what is charged in advance that on which the invoice's period ends."""
    if invoice.kind != InvoiceKind.PERIOD:
        return day
    return min(day, _day(invoice, invoice.period_start, invoice.period_end))


def _day(invoice: Invoice, start: datetime, end: datetime) -> date:
    """Return the day whose rates a span has; what is invoiced once has no span that ends."""
    if start >= end:
        return end.astimezone(ZoneInfo(invoice.timezone)).date()
    return tax_day(service_period=Period(as_utc(start), as_utc(end)), timezone=invoice.timezone)
