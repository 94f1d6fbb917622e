"""By what the list of invoices is narrowed: the word of the pill, what went wrong, the month."""

from datetime import date, timedelta
from typing import Any

from django.contrib import admin
from django.db.models import DateField, DateTimeField, Exists, F, Func, OuterRef, Q, QuerySet, Value
from django.db.models.functions import Cast
from django.http import HttpRequest

from billing_site.kernel.clock import now
from invoicing.core.gate_states import GateState
from invoicing.gate.models import InvoiceHold
from invoicing.gate.queries import drafts_not_held
from invoicing.invoices.models import Invoice, InvoiceKind, InvoiceStatus
from invoicing.payments.models import PaymentFailure
from invoicing.workflows.progressive_rest import left_of_progressive


class StateFilter(admin.SimpleListFilter):
    """By the word that the pill shows, and by what went wrong."""

    title = "state"
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """Return the states."""
        return [
            ("draft", "Draft"),
            ("held", "Draft that is held"),
            ("unheld", "Draft that is not held"),
            ("issued", "Issued, not paid"),
            ("overdue", "Overdue"),
            ("failed", "Payment failed"),
            ("part_paid", "Part-paid"),
            ("to_credit", "Charged progressively, to be credited"),
            ("paid", "Paid"),
            ("written_off", "Written off"),
            ("void", "Void"),
        ]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Keep the invoices in the chosen state."""
        match self.value():
            case "overdue":
                return queryset.filter(status=InvoiceStatus.ISSUED, due_date__lt=now().date())
            case "held":
                held = InvoiceHold.objects.filter(invoice=OuterRef("pk"), state=GateState.HELD.value)
                return queryset.filter(Exists(held), status=InvoiceStatus.DRAFT)
            case "unheld":
                return queryset.filter(pk__in=drafts_not_held().values("pk"))
            case "failed":
                failures = PaymentFailure.objects.filter(invoice=OuterRef("pk"))
                return queryset.filter(Exists(failures), status=InvoiceStatus.ISSUED)
            case "part_paid":
                touched = Q(amount_paid__gt=0) | Q(amount_credited__gt=0)
                return queryset.filter(touched, status=InvoiceStatus.ISSUED)
            case "to_credit":
                return queryset.filter(pk__in=left_of_progressive().order_by().values("invoice"))
            case "draft" | "issued" | "paid" | "written_off" | "void" as status:
                return queryset.filter(status=status)
        return queryset


class PeriodFilter(admin.SimpleListFilter):
    """By the month in which the last day of the billed period lies, in the customer's zone: as the column shows it."""

    title = "period"
    parameter_name = "period"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """Return the last two years of months that have invoices."""
        months = _with_month(Invoice.objects.filter(kind=InvoiceKind.PERIOD)).order_by("-month")
        return [(f"{one:%Y-%m}", f"{one:%B %Y}") for one in months.values_list("month", flat=True).distinct()[:24]]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Keep the invoices of that month."""
        try:
            month = date.fromisoformat(f"{self.value()}-01")
        except ValueError:
            return queryset
        return _with_month(queryset.filter(kind=InvoiceKind.PERIOD)).filter(month=month)


def _with_month(invoices: QuerySet[Any]) -> QuerySet[Any]:
    """Give invoices the first day of the month in which their period's last moment lies, where their customer is."""
    local = Func(F("timezone"), F("period_end"), function="timezone", output_field=DateTimeField())
    month = Func(Value("month"), local - timedelta(microseconds=1), function="date_trunc", output_field=DateTimeField())
    return invoices.annotate(month=Cast(month, DateField()))
