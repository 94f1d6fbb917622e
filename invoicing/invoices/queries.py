"""What may be asked about invoices."""

from datetime import datetime

from django.db.models import (
    Count,
    DateField,
    DateTimeField,
    DecimalField,
    Exists,
    ExpressionWrapper,
    F,
    Func,
    Max,
    Min,
    OuterRef,
    QuerySet,
    Sum,
    Value,
)
from django.db.models.functions import Cast
from moneyed import Money

from billing_site.kernel.errors import NotFound
from billing_site.kernel.model import AMOUNT_DIGITS, AMOUNT_PLACES
from billing_site.kernel.money import round_money
from billing_site.kernel.period import Period, as_utc
from invoicing.core.invoice_life import COLLECTABLE, STANDING
from invoicing.invoices.models import Invoice, InvoiceKind, InvoiceLine, InvoiceStatus, Objection

# Issued and not void: what an invoice charged holds, whether or not the money came.
OWED = STANDING
# What is still to pay of an issued invoice; `Invoice.amount_due` says the same of one.
AMOUNT_DUE = F("total") - F("amount_paid") - F("amount_credited") - F("amount_written_off")
# What money may still arrive for, what was given up included, as `Invoice.amount_unpaid`; a number of the invoice's currency.
AMOUNT_UNPAID = ExpressionWrapper(
    F("total") - F("amount_paid") - F("amount_credited"),
    output_field=DecimalField(max_digits=AMOUNT_DIGITS, decimal_places=AMOUNT_PLACES),
)


def invoice_by_number(*, number: str) -> Invoice:
    """Return the invoice with this number; raises NotFound."""
    try:
        return Invoice.objects.select_related("customer").get(number=number)
    except Invoice.DoesNotExist:
        raise NotFound(f"there is no invoice {number!r}", field="number") from None


def drafts() -> QuerySet[Invoice]:
    """Return the invoices that are not issued yet, oldest first."""
    return Invoice.objects.filter(status=InvoiceStatus.DRAFT).select_related("customer").order_by("drafted_at", "id")


def overdue(*, at: datetime) -> QuerySet[Invoice]:
    """Return issued invoices whose due date is over where their customer is, longest overdue first."""
    return (
        Invoice.objects.filter(status=InvoiceStatus.ISSUED, due_date__lt=local_day_of(at=at))
        .select_related("customer")
        .order_by("due_date", "id")
    )


def not_paid(*, at: datetime) -> QuerySet[Invoice]:
    """Return what is overdue and what was given up after its due date, oldest first: giving a debt up does not pay it.

    What its customer objects to is not owed until that is decided.
    """
    invoices = Invoice.objects.filter(status__in=COLLECTABLE, due_date__lt=local_day_of(at=at))
    return owed_still(invoices=invoices).order_by("due_date", "id")


def owed_still(*, invoices: QuerySet[Invoice]) -> QuerySet[Invoice]:
    """Return those of the invoices of which more is open than their customer objects to."""
    objections = Objection.objects.filter(invoice=OuterRef("pk"), ended_at=None, amount__gte=OuterRef("unpaid"))
    return invoices.alias(unpaid=AMOUNT_UNPAID).exclude(Exists(objections))


def local_day_of(*, at: datetime) -> Cast:
    """Return, in SQL, which day it is at a moment where the customer of an invoice is."""
    moment = Value(at, output_field=DateTimeField())
    return Cast(Func(F("timezone"), moment, function="timezone", output_field=DateTimeField()), DateField())


def with_service(*, invoices: QuerySet[Invoice]) -> QuerySet[Invoice]:
    """Return the invoices with the bounds of what their lines are for, so that `period_shown` asks nothing more."""
    return invoices.annotate(service_from=Min("lines__service_start"), service_until=Max("lines__service_end"))


def period_shown(*, invoice: Invoice) -> Period | None:
    """Return the period that an invoice names to its reader: its own, or, where all its lines are for later, theirs; a one-off invoice has none.

    A progressive one names the period so far: from its beginning to the moment at which it was made.

    Only an opening invoice of fees in advance has nothing but later lines.
    """
    if invoice.kind == InvoiceKind.ONE_OFF:
        return None
    if invoice.kind == InvoiceKind.PROGRESSIVE:
        return Period(as_utc(invoice.progressive.period_start), as_utc(invoice.progressive.made_at))
    if not hasattr(invoice, "service_from"):
        invoice = with_service(invoices=Invoice.objects.filter(pk=invoice.pk)).get()
    first: datetime | None = getattr(invoice, "service_from", None)
    if first is None or first < invoice.period_end:
        return Period(as_utc(invoice.period_start), as_utc(invoice.period_end))
    return Period(as_utc(first), as_utc(invoice.service_until))  # type: ignore[attr-defined]


def billed_progressively(*, invoice: Invoice) -> Period | None:
    """Return the period that a progressive invoice is of; None of any other."""
    if invoice.kind != InvoiceKind.PROGRESSIVE:
        return None
    return Period(as_utc(invoice.progressive.period_start), as_utc(invoice.progressive.period_end))


def taken_off_by(*, invoice: Invoice) -> QuerySet[Invoice]:
    """Return the progressive invoices that an invoice takes something off for, oldest first."""
    return Invoice.objects.filter(progressive__taken_off__invoice=invoice).order_by("id")


def taking_off(*, invoice: Invoice) -> QuerySet[Invoice]:
    """Return the invoices and drafts, void ones left out, that take a progressive invoice off, oldest first."""
    lines = InvoiceLine.objects.filter(progressive__invoice=invoice).exclude(amount=0)
    return Invoice.objects.filter(pk__in=lines.values("invoice")).exclude(status=InvoiceStatus.VOID).order_by("id")


def replaced_by(*, invoice: Invoice) -> Invoice | None:
    """Return the void invoice of the same period in whose place this one stands; None: it is the first of its period."""
    return _of_its_period(invoice).filter(status=InvoiceStatus.VOID, id__lt=invoice.pk).order_by("-id").first()


def standing_for(*, invoice: Invoice) -> Invoice | None:
    """Return the issued invoice that was put in the place of a void one of a period, whatever has become of it since; None: none is issued, or it is not void."""
    if invoice.status != InvoiceStatus.VOID:
        return None
    return _of_its_period(invoice).filter(number__isnull=False, id__gt=invoice.pk).order_by("id").first()


def _of_its_period(invoice: Invoice) -> QuerySet[Invoice]:
    if invoice.kind != InvoiceKind.PERIOD:
        return Invoice.objects.none()
    return Invoice.objects.filter(
        kind=InvoiceKind.PERIOD,
        customer=invoice.customer_id,
        period_start=invoice.period_start,
        period_end=invoice.period_end,
    )


def totals_by_currency(*, invoices: QuerySet[Invoice]) -> list[tuple[int, Money, Money]]:
    """Return (count, total, paid) for each currency among the invoices."""
    rows = (
        invoices.order_by()
        .values("currency")
        .annotate(number_of=Count("id"), total_sum=Sum("total"), paid_sum=Sum("amount_paid"))
        .order_by("currency")
    )
    return [
        (
            row["number_of"],
            round_money(row["total_sum"], row["currency"]),
            round_money(row["paid_sum"], row["currency"]),
        )
        for row in rows
    ]
