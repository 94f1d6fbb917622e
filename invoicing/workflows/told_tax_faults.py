"""What is wrong with taxes that Stripe Tax decided: lines that are taxed otherwise than the answers they name, answers that say otherwise than Stripe sent."""

from collections.abc import Iterator, Sequence
from zoneinfo import ZoneInfo

from billing_site.kernel.errors import BillingError
from billing_site.kernel.period import Period, as_utc
from invoicing.core.tax import LineTax, tax_day
from invoicing.core.told_tax import differs_from_told, rates_document
from invoicing.invoices.models import Invoice, InvoiceLine, LineKind
from invoicing.invoices.taxes import is_payment, line_tax
from invoicing.tax.inquiries import TaxAnswer
from invoicing.tax.stripe_answers import NotReadable, read_answer
from invoicing.tax.stripe_tax import StripeTax

CHUNK = 500


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
    named = tax.get("answers")
    if named is None:
        # A sale of credit is told to be untaxed without asking anybody.
        return []
    if tax.get("provider") != StripeTax.name:
        return ["it names answers of Stripe Tax, which did not decide"]
    answers = (
        TaxAnswer.objects.filter(inquiry__customer=invoice.customer_id).defer("body").in_bulk(list(named.values()))
    )
    found = []
    for line in lines:
        # What corrects an issued line, or takes off what was invoiced before, is taxed as that one was.
        if line.kind == LineKind.CORRECTION or line.progressive_id is not None or is_payment(line=line):
            continue
        stored = [line_tax(row=row) for row in sorted(line.taxes.all(), key=lambda row: row.ordinal)]
        day = _day(invoice, line)
        answer = answers.get(named.get(day, 0))
        if stored and (answer is None or not answer.kind):
            found.append(f"line {line.position} names no answer about {day}")
        elif stored and answer is not None and _differs(answer, stored):
            found.append(f"line {line.position} is taxed otherwise than answer {answer.pk} about {day} tells")
    return found


def _differs(answer: TaxAnswer, stored: Sequence[LineTax]) -> bool:
    try:
        return differs_from_told(told=answer.told, stored=stored)
    except (BillingError, KeyError, TypeError, ValueError, ArithmeticError, AssertionError):
        return True


def _day(invoice: Invoice, line: InvoiceLine) -> str:
    """Return the day whose rates a line has; what is invoiced once has no span that ends."""
    span = (
        Period(as_utc(line.service_start), as_utc(line.service_end)) if line.service_start < line.service_end else None
    )
    if span is None:
        return line.service_end.astimezone(ZoneInfo(invoice.timezone)).date().isoformat()
    return tax_day(service_period=span, timezone=invoice.timezone).isoformat()
