"""What the checks before issue know beside the invoice, read for many customers at once: a constant number of queries."""

from collections import defaultdict
from collections.abc import Sequence
from datetime import timedelta
from zoneinfo import ZoneInfo

from django.db.models import F, Q, Sum, Window
from django.db.models.functions import RowNumber
from moneyed import Money

from billing_site.kernel.among import among, among_found
from billing_site.kernel.money import from_minor_units, round_money
from billing_site.kernel.period import Period, as_utc
from invoicing.core.anomaly import Direction
from invoicing.core.gate import USUAL_INVOICES, EarlierInvoice, GateFacts, UnmatchedEvents
from invoicing.customers.models import Customer, SettlementChannel
from invoicing.customers.queries import names_of_accounts
from invoicing.gate.models import InvoiceHold
from invoicing.invoices.models import Invoice, InvoiceKind, InvoiceLine, LineKind
from invoicing.invoices.queries import OWED
from invoicing.spend.anomalies import open_anomalies
from invoicing.workflows.unbilled_usage import UnbilledReason, uncharged_in_periods
from metering.queries.unapplied import unapplied_in_periods

# Of each customer so many invoices are read: some of them may lie after the period that is looked at.
EARLIER_READ = 2 * USUAL_INVOICES
CHARGED_BY_NO_PLAN = (UnbilledReason.NO_SUBSCRIPTION, UnbilledReason.NOT_PRICED)
DAY = timedelta(days=1)

Due = tuple[Customer, Period]


def gate_facts(*, due: Sequence[Due]) -> dict[tuple[int, Period], GateFacts]:
    """Return what is known about the invoices of some customers, each once, and their periods, by the customer's number and the period."""
    if not due:
        return {}
    assert len({customer.pk for customer, _ in due}) == len(due), "each customer is asked for once"
    earlier = _earlier([customer for customer, _ in due])
    unmatched = _unmatched(due)
    unusual = _unusual(due)
    released = _released(due)
    return {
        (customer.pk, period): GateFacts(
            currency=customer.currency,
            earlier=tuple(one for one in earlier[customer.pk] if one.period.end <= period.start)[:USUAL_INVOICES],
            unmatched=tuple(unmatched[customer.key, period]),
            unusual=tuple(unusual[customer.pk, period]),
            missing=_missing(customer),
            released=released.get((customer.pk, period)),
        )
        for customer, period in due
    }


def _earlier(customers: Sequence[Customer]) -> dict[int, list[EarlierInvoice]]:
    """Return the newest issued invoices of each customer, newest first."""
    newest = (
        Invoice.objects.filter(
            among("customer", [one.pk for one in customers]),
            among_found("status", OWED),
            kind=InvoiceKind.PERIOD,
        )
        .annotate(
            place=Window(RowNumber(), partition_by="customer_id", order_by=[F("period_end").desc(), F("id").desc()])
        )
        .filter(place__lte=EARLIER_READ)
        .order_by("customer_id", "-period_end", "-id")
        .values_list("id", "customer_id", "currency", "period_start", "period_end")
    )
    rows = list(newest)
    # A meter whose lines count no event has counted nothing, whatever its quantity.
    charges = (
        InvoiceLine.objects.filter(invoice__in=[row[0] for row in rows], kind=LineKind.CHARGE)
        .order_by()
        .values_list("invoice_id", "meter_key")
        .annotate(charged=Sum("amount"), events=Sum("event_count"))
    )
    charged: dict[int, Money] = {}
    meters: dict[int, set[str]] = defaultdict(set)
    currencies = {row[0]: row[2] for row in rows}
    for number, meter, amount, events in charges:
        currency = currencies[number]
        charged[number] = charged.get(number, from_minor_units(0, currency)) + round_money(amount, currency)
        if meter and events:
            meters[number].add(meter)
    found: dict[int, list[EarlierInvoice]] = defaultdict(list)
    for number, customer, currency, start, end in rows:
        amount = charged.get(number, from_minor_units(0, currency))
        found[customer].append(EarlierInvoice(Period(as_utc(start), as_utc(end)), amount, frozenset(meters[number])))
    return found


def _unmatched(due: Sequence[Due]) -> dict[tuple[str, Period], list[UnmatchedEvents]]:
    """Return the events of each period that no meter counts, and those for which no plan charges."""
    found: dict[tuple[str, Period], list[UnmatchedEvents]] = defaultdict(list)
    accounts = names_of_accounts(customers=[customer for customer, _ in due])
    # Events name an account; the invoice is that of who pays for it.
    asked = {
        key: (customer.key, period)
        for customer, period in due
        for key in (customer.key, *accounts.get(customer.pk, ()))
    }
    periods = [(key, period.start, period.end) for key, (_, period) in asked.items()]
    for one in unapplied_in_periods(periods=periods):
        what = UnmatchedEvents(one.event_type, str(one.reason.label), one.event_count)
        found[asked[one.customer_id]].append(what)
    for row in uncharged_in_periods(periods=periods):
        if row.reason in CHARGED_BY_NO_PLAN:
            what = UnmatchedEvents(row.meter, row.reason.value, row.event_count)
            found[asked[row.customer_id]].append(what)
    return found


def _unusual(due: Sequence[Due]) -> dict[tuple[int, Period], list[str]]:
    """Return the unusual days of each period that nobody has looked into."""
    first, last = min(period.start for _, period in due), max(period.end for _, period in due)
    customers = [customer.pk for customer, _ in due]
    waiting = open_anomalies().filter(
        Q(among("customer", customers)) | Q(among("customer__billed_to", customers)),
        day__gte=(first - DAY).date(),
        day__lte=(last + DAY).date(),
    )
    days = defaultdict(list)
    for row in waiting.select_related("customer").order_by("day", "meter"):
        days[row.customer.payer_id].append(row)
    found: dict[tuple[int, Period], list[str]] = {}
    for customer, period in due:
        if customer.pk not in days:
            found[customer.pk, period] = []
            continue
        zone = ZoneInfo(customer.timezone)
        within = (period.start.astimezone(zone).date(), (period.end - DAY / 1000).astimezone(zone).date())
        found[customer.pk, period] = [
            f"{'more' if row.direction == Direction.ABOVE else 'less'} {row.meter} on {row.day}"
            for row in days[customer.pk]
            if within[0] <= row.day <= within[1]
        ]
    return found


def _released(due: Sequence[Due]) -> dict[tuple[int, Period], Money]:
    """Return over what the invoice of a period was released last."""
    released = InvoiceHold.objects.filter(
        among("customer", [customer.pk for customer, _ in due]),
        period_end__in={period.end for _, period in due},
        released_at__isnull=False,
        invoice__isnull=False,
    )
    return {
        (one.customer_id, Period(as_utc(one.period_start), as_utc(one.period_end))): one.total
        for one in released.order_by("released_at", "id")
    }


def _missing(customer: Customer) -> tuple[str, ...]:
    by_mail = customer.settlement_channel == SettlementChannel.STRIPE
    return ("an e-mail address, to which Stripe sends the invoice",) if by_mail and not customer.email else ()
