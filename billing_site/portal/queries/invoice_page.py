"""The page of one invoice: its lines with usage by day, checked again this moment, and what happened to it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from zoneinfo import ZoneInfo

from django.core.exceptions import ObjectDoesNotExist
from moneyed import Money

from billing_site.kernel.errors import NotFound
from billing_site.kernel.money import EXACT, wire
from billing_site.kernel.period import Period
from billing_site.portal.phrases import phrase, spoken
from billing_site.portal.queries.invoices import InvoiceRow, invoice_row, issued_invoices
from billing_site.portal.queries.lines import (
    Check,
    LineSection,
    LineView,
    part_of_period,
    steps_of,
    with_shared_days,
)
from billing_site.portal.queries.usage import DailyUsage, usage_by_day, utc_period
from billing_site.portal.words import channel_text, refusal_text, situation_text
from dunning.arrangements.queries import objected_to
from invoicing.core.contract import ENGINE_VERSION
from invoicing.core.events_behind import EventsBehind
from invoicing.core.proof import rated_again
from invoicing.credit_notes.models import CreditNote
from invoicing.customers.models import Customer, SettlementChannel
from invoicing.e_invoices.statement import why_no_e_invoice
from invoicing.invoices.consumers import consumer_of, sections_of
from invoicing.invoices.event_roots import events_of_lines
from invoicing.invoices.line_words import LineWords, words_of_lines
from invoicing.invoices.models import STATED, Invoice, InvoiceLine, InvoiceStatus, LineKind
from invoicing.invoices.queries import taken_off_by, taking_off
from invoicing.invoices.sealing import line_digest
from invoicing.invoices.taxes import TaxRow, amount_before_tax, lines_paying, tax_notes, tax_sums
from invoicing.payments.disputes import is_frozen
from invoicing.payments.queries import is_payable_online, is_push_refused, is_withdrawn, with_paid_back
from invoicing.payments.refund import RefundStatus
from invoicing.payments.reversal import ReversalCause
from invoicing.workflows.explain_invoice import NOT_RATABLE, prove_line, prove_tax
from invoicing.write_offs.models import RecoveryCause
from metering.archiving.absent import EventsArchived
from metering.queries import usage_by_date

# All lines of a page together: counting so many raw events again takes a second or less.
EVENTS_COUNTED_MAX = 50_000


@dataclass(frozen=True)
class Happening:
    """One thing that happened to an invoice."""

    at: datetime
    text: str
    amount: Money | None = None


@dataclass(frozen=True)
class InvoicePage:
    """Everything on the page; `recounted` are the raw events that were counted again for it, `rooted` those under its root.

    `asks_for_card` where Stripe did not take it to charge what the customer has left.
    `taken_off` are the progressive invoices that it takes off, `taking_off` the invoices that take it off.
    """

    row: InvoiceRow
    zone: ZoneInfo
    at: datetime
    situation: str
    bank: str
    service_days: tuple[date, date] | None
    lines: tuple[LineView, ...]
    sections: tuple[LineSection, ...]
    happenings: tuple[Happening, ...]
    recounted: EventsBehind
    rooted: EventsBehind
    credit_notes: tuple[CreditNote, ...]
    before_tax: Money
    has_e_invoice: bool
    taxes: tuple[TaxRow, ...]
    tax_notes: tuple[str, ...]
    payments: tuple[tuple[str, Money], ...]
    tax_check: Check
    is_payable_online: bool
    asks_for_card: bool
    taken_off: tuple[Invoice, ...] = ()
    taking_off: tuple[Invoice, ...] = ()

    @property
    def check(self) -> Check:
        """Return the worst that any line, or the tax, has shown; an invoice without lines is equal to itself."""
        checks = [*(line.check for line in self.lines), self.tax_check]
        for worst in (Check.DIFFERENT, Check.NOT_POSSIBLE, Check.RECALCULATED):
            if worst in checks:
                return worst
        return Check.EQUAL


def invoice_page(*, customer: Customer, number: str, at: datetime) -> InvoicePage:
    """Return the page of one of the customer's invoices; raises NotFound for any other number."""
    invoice = invoice_of(customer=customer, number=number)
    row = invoice_row(invoice=invoice, at=at)
    zone = ZoneInfo(invoice.timezone)
    refusals = list(invoice.payment_failures.order_by("occurred_at", "id"))
    charged = _is_charged_automatically(invoice)
    not_taken = charged and is_push_refused(invoice=invoice)
    automatic = charged and not not_taken
    lines = list(
        invoice.lines.select_related(
            "invoice__customer",
            "price__plan_version__plan",
            "subscription__customer",
            "correction__original__invoice__customer",
            "correction__original__subscription__customer",
        ).order_by("position")
    )
    # Stripe's page asks for all of it.
    payable_online = is_payable_online(invoice=invoice) and not objected_to(invoice_ids=[invoice.pk])
    few_events = sum(line.event_count for line in lines) <= EVENTS_COUNTED_MAX
    payments = lines_paying(invoice=invoice, lines=lines)
    priced = [line for line in lines if line not in payments]
    service_days, views = with_shared_days(
        lines=[line_view(line, counted_again=few_events, zone=zone) for line in priced]
    )
    return InvoicePage(
        row=row,
        zone=zone,
        at=at,
        situation=situation_text(
            row=row,
            charged_automatically=automatic,
            refused_because=refusal_text(code=refusals[-1].code) if refusals else "",
            payable_online=payable_online,
            not_taken=not_taken,
        ),
        bank=str(invoice.seller.get("bank", "")) if _is_transferred(row, automatic=automatic) else "",
        service_days=service_days,
        lines=views,
        sections=_sections(invoice, priced, views),
        happenings=_happenings(invoice, [(refusal.occurred_at, refusal.code) for refusal in refusals]),
        recounted=events_of_lines(lines=lines if few_events else ()),
        rooted=events_of_lines(lines=[line for line in lines if line.events_root]),
        credit_notes=tuple(with_paid_back(notes=invoice.credit_notes.all()).order_by("id")),
        before_tax=amount_before_tax(invoice=invoice, lines=payments),
        has_e_invoice=not why_no_e_invoice(invoice=invoice),
        taxes=tuple(tax_sums(invoice=invoice, language=spoken())),
        tax_notes=tuple(tax_notes(invoice=invoice, language=spoken())),
        payments=tuple((_words(line)["description"], line.amount) for line in payments),
        taken_off=tuple(taken_off_by(invoice=invoice)) if any(line.progressive_id for line in lines) else (),
        taking_off=tuple(taking_off(invoice=invoice).exclude(status=InvoiceStatus.DRAFT)) if row.is_progressive else (),
        is_payable_online=payable_online,
        asks_for_card=not_taken and row.open.amount > 0,
        tax_check=Check.DIFFERENT if prove_tax(invoice=invoice) else Check.EQUAL,
    )


def _is_transferred(row: InvoiceRow, *, automatic: bool) -> bool:
    """Say whether the page tells where to transfer it to; what was written off is charged by nobody."""
    return row.invoice.status == InvoiceStatus.WRITTEN_OFF or (bool(row.open.amount) and not automatic)


def _sections(invoice: Invoice, lines: Sequence[InvoiceLine], views: Sequence[LineView]) -> tuple[LineSection, ...]:
    """Return the lines by account; none where the invoice is of one customer alone."""
    view_of = {line.pk: view for line, view in zip(lines, views, strict=True)}
    return tuple(
        LineSection(one.name, tuple(view_of[line.pk] for line in one.lines), one.subtotal)
        for one in sections_of(invoice=invoice, lines=lines)
    )


def invoice_of(*, customer: Customer, number: str) -> Invoice:
    """Return one of the customer's invoices; raises NotFound for any other number."""
    found = None
    if "\x00" not in number:
        invoices = issued_invoices(customer=customer).select_related("customer__stripe_customer")
        found = invoices.filter(number=number).first()
    if found is None:
        raise NotFound(phrase("you have no invoice {number}", number=number), field="number")
    return found


def _is_charged_automatically(invoice: Invoice) -> bool:
    """Say whether Stripe has a payment method to charge, as it was told last, or will be told of one; not while a payment is disputed, nor what it collects no more."""
    if invoice.settlement_channel != SettlementChannel.STRIPE or is_frozen(customer_id=invoice.customer_id):
        return False
    if is_withdrawn(invoice=invoice):
        return False
    try:
        return bool(invoice.customer.stripe_customer.payment_method)
    except ObjectDoesNotExist:
        return bool(invoice.customer.payment_method)


def line_view(line: InvoiceLine, *, counted_again: bool, zone: ZoneInfo) -> LineView:
    """Return an issued line as its customer reads it, checked again: with its raw events where they are to be counted."""
    invoice = line.invoice
    if line.kind in STATED:
        return _stated_line(line)
    service = utc_period(start=line.service_start, end=line.service_end)
    check, difference = _check(line, counted_again=counted_again)
    is_charge = line.kind == LineKind.CHARGE
    usage = _usage(line, service, as_known=counted_again, zone=zone) if line.meter_key and is_charge else None
    words = _words(line)
    return LineView(
        name=words["description"],
        metered=bool(line.meter_key),
        quantity=line.quantity,
        unit=line.unit,
        amount=line.amount,
        explanation=words["explanation"],
        steps=steps_of(steps=words["steps"], explanation=words["explanation"]),
        days=part_of_period(
            service=service, period=utc_period(start=invoice.period_start, end=invoice.period_end), zone=zone
        ),
        usage=usage,
        event_count=line.event_count,
        late=EXACT.subtract(usage.total, line.quantity) if usage else Decimal(0),
        check=check,
        difference=difference,
        events_root=line.events_root,
        position=line.position if line.meter_key else 0,
    )


def _stated_line(line: InvoiceLine) -> LineView:
    """Return what was invoiced once: its quantity has no usage behind it, and no days."""
    check, difference = _check(line, counted_again=False)
    words = _words(line)
    return LineView(
        name=words["description"],
        metered=False,
        quantity=line.quantity,
        unit=line.unit,
        amount=line.amount,
        explanation=words["explanation"],
        steps=steps_of(steps=words["steps"], explanation=words["explanation"]),
        days=None,
        check=check,
        difference=difference,
    )


def _words(line: InvoiceLine) -> LineWords:
    return words_of_lines(lines=[line], language=spoken())[line.pk]


def _usage(line: InvoiceLine, service: Period, *, as_known: bool, zone: ZoneInfo) -> DailyUsage | None:
    """Return a line's usage by day: counted from the raw events that were known then, or from today's windows.

    Where the raw events are archived the windows tell; None where even they need events for half an hour at an edge.
    """
    try:
        counted = usage_by_date(
            meter_key=line.meter_key,
            customer_id=consumer_of(line=line),
            period=service,
            zone=zone,
            known_through=line.known_through if as_known else None,
        )
    except EventsArchived:
        return _usage(line, service, as_known=False, zone=zone) if as_known else None
    return usage_by_day(
        name=_words(line)["description"], unit=line.unit, counted=counted, service=service, until=service.end, zone=zone
    )


def _check(line: InvoiceLine, *, counted_again: bool) -> tuple[Check, str]:
    """Check a line and tell the first difference: with its raw events where they are few enough, otherwise its seal and its arithmetic."""
    if line_digest(line=line) != line.digest:
        return Check.DIFFERENT, phrase("the line is not what was sealed: its digest differs")
    if line.rated["inputs"]["engine"] != ENGINE_VERSION:
        return Check.NOT_POSSIBLE, ""
    if counted_again or not line.meter_key:
        proof = prove_line(line=line)
        if not proof.archived:
            return (Check.EQUAL, "") if proof.equal else (Check.DIFFERENT, proof.differences[0])
    try:
        again = rated_again(line.rated["inputs"])
    except NOT_RATABLE:
        return Check.DIFFERENT, phrase("it cannot be calculated again")
    if again == line.rated and again["amount"] == wire(line.amount):
        return Check.RECALCULATED, ""
    return Check.DIFFERENT, f"calculated again it comes to {again['amount']['amount']}"


def _happenings(invoice: Invoice, refusals: list[tuple[datetime, str]]) -> tuple[Happening, ...]:
    return tuple(sorted(_all_happenings(invoice, refusals), key=lambda happening: happening.at))


def _all_happenings(invoice: Invoice, refusals: list[tuple[datetime, str]]) -> Iterator[Happening]:
    assert invoice.issued_at is not None, "a draft is not shown"
    yield Happening(invoice.issued_at, phrase("Invoice issued"), invoice.total)
    for at, code in refusals:
        yield Happening(at, phrase("Charge did not go through: {why}", why=refusal_text(code=code)))
    for payment in invoice.payments.select_related("reversal").order_by("received_at", "id"):
        how = channel_text(channel=payment.channel)
        yield Happening(payment.received_at, phrase("Payment received, {how}", how=how), payment.amount)
        if (reversal := getattr(payment, "reversal", None)) is not None:
            if reversal.cause == ReversalCause.RETURNED:
                told = phrase("Payment taken back, returned by your bank")
            else:
                told = phrase("Payment taken back, recorded by mistake")
            yield Happening(reversal.reversed_at, told, payment.amount)
    for given_up in invoice.write_offs.order_by("id"):
        yield Happening(given_up.written_off_at, phrase("Written off: no longer asked for"), given_up.amount)
        for back in given_up.recoveries.filter(cause=RecoveryCause.REVERSAL):
            yield Happening(back.recovered_at, phrase("Asked for again"), back.amount)
    for note in invoice.credit_notes.order_by("id"):
        yield Happening(note.issued_at, phrase("Credited, {number}", number=note.number), note.total)
        for refund in note.refunds.filter(status=RefundStatus.PAID).order_by("id"):
            assert refund.paid_at is not None, "what is paid back is so since a moment"
            yield Happening(refund.paid_at, phrase("Paid back to you, {number}", number=note.number), refund.amount)
    if invoice.status == InvoiceStatus.PAID and not invoice.total.amount and invoice.paid_at:
        yield Happening(invoice.paid_at, phrase("Closed: nothing was owed"))
