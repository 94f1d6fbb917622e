"""The portal's home page: usage so far, what it will cost at this pace, and the newest invoices."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from fractions import Fraction
from zoneinfo import ZoneInfo

from django.utils.safestring import SafeString
from moneyed import Money

from billing_site.kernel.money import total
from billing_site.kernel.period import Period
from billing_site.portal.queries.advance import HeldInAdvance, held_fees
from billing_site.portal.queries.commitments import CommittedSpend, committed_spend
from billing_site.portal.queries.invoices import InvoiceRow, OpenInvoices, invoice_row, issued_invoices, open_invoices
from billing_site.portal.queries.lines import LineSection, LineView, running_line, with_shared_days
from billing_site.portal.queries.parts import PartRow, part_rows
from billing_site.portal.queries.usage import DAY, MICROSECOND, DailyUsage, days_of, usage_by_day
from billing_site.portal.words import outlook_text
from invoicing.core.adjusting import adjust
from invoicing.core.assembly import amount_before_payment, amount_to_come, lines_before_payment
from invoicing.core.consumers import consumer_of
from invoicing.core.contract import DocumentLine
from invoicing.core.projecting import usage_grown
from invoicing.core.rating import rate_charge
from invoicing.core.tax_document import standing_text
from invoicing.customers.models import Customer
from invoicing.customers.queries import names_of_accounts
from invoicing.invoices.queries import OWED
from invoicing.invoices.taxes import amount_before_tax
from invoicing.payments.disputes import is_frozen
from invoicing.spend.queries import budgets_of, stopped_until
from invoicing.subscriptions.snapshot import period_before, periods_running
from invoicing.tax.models import CustomerTax
from invoicing.workflows.compute_invoice import ComputedInvoice, Ground, compute_invoice, compute_total, ground_of
from invoicing.workflows.credit_balance import CreditBalance, credit_balance
from invoicing.workflows.read_spend import PeriodSpend, spend_of_period
from metering.queries import usage_by_date
from metering.rollup import IngestStandsStill, roll_up

PACE_NEEDS = DAY
INVOICES_SHOWN_MAX = 8


@dataclass(frozen=True)
class RunningPeriod:
    """The period that runs: so far, at this pace, and the period before at the same point."""

    first_day: date
    last_day: date
    days_left: int
    service_days: tuple[date, date] | None
    lines: tuple[LineView, ...]
    sections: tuple[LineSection, ...]
    so_far: Money
    to_come: Money
    at_this_pace: Money | None
    before_at_this_point: Money | None
    usage: tuple[DailyUsage, ...]
    spend: PeriodSpend
    tax_words: str = ""

    @property
    def outlook(self) -> SafeString:
        """Why it is expected to come to what it is."""
        return outlook_text(spend=self.spend)

    @property
    def is_unused(self) -> bool:
        """Say whether no meter has counted anything yet."""
        return not any(usage.total for usage in self.usage)


@dataclass(frozen=True)
class HomePage:
    """Everything on the portal's first page."""

    at: datetime
    is_counted_to_the_end: bool
    running: tuple[RunningPeriod, ...]
    committed: tuple[CommittedSpend, ...]
    held: tuple[HeldInAdvance, ...]
    credit: CreditBalance
    invoices: tuple[InvoiceRow, ...]
    parts: tuple[PartRow, ...]
    invoice_count: int
    open: OpenInvoices
    stopped_until: datetime | None
    is_frozen: bool
    taxed_in: CustomerTax | None


def home_page(*, customer: Customer, at: datetime) -> HomePage:
    """Return the page of one customer at a moment; usage includes every event accepted before.

    Where a transaction of the ingest stands still, the page shows what is counted and says so.
    """
    try:
        roll_up()
        is_counted_to_the_end = True
    except IngestStandsStill:
        is_counted_to_the_end = False
    issued = issued_invoices(customer=customer)
    ground = ground_of(customers=[customer])
    return HomePage(
        at=at,
        is_counted_to_the_end=is_counted_to_the_end,
        running=tuple(
            _running(customer, period, ground=ground, at=at) for period in periods_running(customer=customer, moment=at)
        ),
        committed=committed_spend(customer=customer, at=at),
        held=held_fees(customer=customer, at=at),
        credit=credit_balance(customer=customer, at=at),
        invoices=tuple(invoice_row(invoice=invoice, at=at) for invoice in issued[:INVOICES_SHOWN_MAX]),
        parts=part_rows(account=customer)[:INVOICES_SHOWN_MAX],
        invoice_count=issued.count(),
        open=open_invoices(customer=customer, at=at),
        stopped_until=Customer.objects.filter(pk=customer.pk)
        .values_list(stopped_until(customer="pk", at=at), flat=True)
        .get(),
        is_frozen=is_frozen(customer_id=customer.pk),
        taxed_in=(ground.book.customers or {}).get(customer.pk),
    )


def _running(customer: Customer, period: Period, *, ground: Ground, at: datetime) -> RunningPeriod:
    zone = ZoneInfo(customer.timezone)
    computed = compute_invoice(customer=customer, period=period, until=at, ground=ground)
    to_come = amount_to_come(invoice=computed.assembled, at=at)
    first_day, last_day = days_of(period=period, zone=zone)
    service_days, lines = with_shared_days(
        lines=[
            running_line(line=line, period=period, zone=zone)
            for line in lines_before_payment(invoice=computed.assembled)
        ]
    )
    return RunningPeriod(
        first_day=first_day,
        last_day=last_day,
        days_left=(last_day - at.astimezone(zone).date()).days,
        service_days=service_days,
        lines=lines,
        sections=_sections(customer, computed, lines),
        tax_words=standing_text(tax=computed.assembled.tax),
        so_far=amount_before_payment(invoice=computed.assembled) - to_come,
        to_come=to_come,
        at_this_pace=_at_this_pace(computed, at=at),
        before_at_this_point=_before(customer, period, ground=ground, at=at),
        usage=_usage_by_day(customer, computed, at=at),
        spend=spend_of_period(customer=customer, computed=computed, budgets=budgets_of(customer=customer), at=at),
    )


def _sections(customer: Customer, computed: ComputedInvoice, views: Sequence[LineView]) -> tuple[LineSection, ...]:
    """Return the lines by account, those of the customer first; none where it is billed for itself alone."""
    consumers = computed.contract.snapshot.consumers
    if not consumers:
        return ()
    lines = list(zip(lines_before_payment(invoice=computed.assembled), views, strict=True))
    names = {customer.key: customer.name, **names_of_accounts(customers=[customer])[customer.pk], "": ""}
    groups: dict[str, list[tuple[DocumentLine, LineView]]] = {key: [] for key in names}
    for line, view in lines:
        groups[consumers.get(line.subscription, customer.key) if line.subscription else ""].append((line, view))
    return tuple(
        LineSection(
            names[key],
            tuple(view for _, view in those),
            total((line.amount for line, _ in those), computed.assembled.currency),
        )
        for key, those in groups.items()
        if those
    )


def _at_this_pace(computed: ComputedInvoice, *, at: datetime) -> Money | None:
    """Rate the usage that the period will have if it goes on like this; None in the first day of a service."""
    snapshot = computed.contract.snapshot
    lines = []
    for charge, line in zip(snapshot.charges, computed.assembled.lines, strict=True):
        usage = line.usage
        if usage is not None:
            elapsed = min(at, charge.service_period.end) - charge.service_period.start
            if elapsed < min(PACE_NEEDS, charge.service_period.duration):
                return None
            pace = Fraction(charge.service_period.duration // MICROSECOND, elapsed // MICROSECOND)
            usage = usage_grown(usage=usage, to=Fraction(usage.quantity) * pace)
        lines.append(rate_charge(charge=charge, usage=usage, currency=snapshot.currency))
    adjusted = adjust(terms=snapshot.terms, lines=lines, currency=snapshot.currency)
    whole: list[DocumentLine] = [*lines, *adjusted, *computed.assembled.corrections]
    return total((line.amount for line in whole), snapshot.currency)


def _before(customer: Customer, period: Period, *, ground: Ground, at: datetime) -> Money | None:
    """Return what the period before had come to at the same point; None where there was none.

    If it was invoiced and is over by then, that is what the invoice says, whatever came in later.
    """
    earlier = period_before(customer=customer, period=period, at=at)
    if earlier is None:
        return None
    until = min(earlier.start + (at - period.start), earlier.end)
    if until == earlier.end:
        # An account has none: what it used is on an invoice beside what others used.
        invoice = (
            customer.invoices.filter(period_start=earlier.start, period_end=earlier.end).filter(status__in=OWED).first()
        )
        if invoice is not None:
            return amount_before_tax(invoice=invoice, lines=invoice.lines.all())
    return compute_total(ground=ground, customer=customer, period=earlier, until=until)


def _usage_by_day(customer: Customer, computed: ComputedInvoice, *, at: datetime) -> tuple[DailyUsage, ...]:
    found: dict[tuple[str, str], DailyUsage] = {}
    names = names_of_accounts(customers=[customer]).get(customer.pk, {}) if computed.contract.snapshot.consumers else {}
    for charge in computed.contract.snapshot.charges:
        service = charge.service_period
        consumer = consumer_of(snapshot=computed.contract.snapshot, subscription=charge.subscription)
        if charge.meter is None or (consumer, charge.meter) in found or service.start >= at:
            continue
        zone = ZoneInfo(customer.timezone)
        counted = usage_by_date(
            meter_key=charge.meter,
            customer_id=consumer,
            period=replace(service, end=min(service.end, at)),
            zone=zone,
        )
        found[consumer, charge.meter] = usage_by_day(
            name=f"{charge.name}, {names[consumer]}" if consumer in names else charge.name,
            unit=charge.unit,
            counted=counted,
            service=service,
            until=at,
            zone=zone,
        )
    return tuple(found.values())
