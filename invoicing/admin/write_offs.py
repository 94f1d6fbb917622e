"""Write-offs in the admin: given up on the page of an invoice, taken back there, and the list of all with what was recovered."""

from typing import Any

from django.contrib import admin
from django.db.models import Model, QuerySet
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from moneyed import Money
from unfold.decorators import action

from billing_site.display.admin import ReadOnlyAdmin, confirm_with_reason, moment_column
from billing_site.display.figures import NOTHING, link, money, money_text
from billing_site.kernel.clock import now
from billing_site.kernel.money import round_money, total
from invoicing.admin.approvals import waits_words
from invoicing.admin.invoice_page import WRITE_OFF
from invoicing.approvals.models import ApprovedDeed
from invoicing.customers.models import SettlementChannel
from invoicing.invoices.models import Invoice, InvoiceStatus
from invoicing.workflows.ask_first import takes_second_person, write_off_or_ask
from invoicing.workflows.write_off_invoice import take_back_write_off
from invoicing.write_offs.models import WriteOff
from invoicing.write_offs.queries import with_recoveries

AT_STRIPE = (
    "At Stripe it becomes uncollectible: it is charged no more by itself, and the customer can still pay it there."
)
STAYS_AT_STRIPE = "At Stripe it stays uncollectible: the customer can pay it there, nothing is charged by itself."


def two_decide(invoice: Invoice, deed: ApprovedDeed, amount: Money) -> str:
    """Say that a deed over an amount of an invoice takes two people, before it is asked for; "" where one is enough."""
    large_from = takes_second_person(invoice=invoice, deed=deed, amount=amount)
    if large_from is None:
        return ""
    return f" From {money_text(large_from)} on two people decide: it is asked for, and done once another approves."


class WriteOffPages(ReadOnlyAdmin):
    """Giving up what is open of an invoice, and expecting it again."""

    @action(description="Write off", url_path="write-off")
    def write_off(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Give up what is open of an issued invoice."""
        invoice = self.row_or_404(request, object_id)
        tax = (
            f" {money_text(invoice.tax_amount)} of its total are tax, which stays owed as it was declared."
            if invoice.tax_amount
            else ""
        )
        over = money_text(invoice.amount_due)
        two = two_decide(invoice, ApprovedDeed.WRITE_OFF, invoice.amount_due)
        return confirm_with_reason(
            request,
            admin=self,
            row=invoice,
            permission=WRITE_OFF,
            deed=lambda **who: write_off_or_ask(invoice_id=invoice.pk, at=now(), **who),
            done=lambda done: waits_words(done) or f"{money_text(done.amount)} of {invoice.number} are written off.",
            title=f"Write {invoice} off",
            effect=f"{over} are open and become a loss in the books.{tax} The debt stays: money that comes after"
            f" all is recorded as ever.{two}",
            warnings=[AT_STRIPE] if invoice.settlement_channel == SettlementChannel.STRIPE else [],
            submit=f"Ask to write {over} off" if two else f"Write {over} off",
            dangerous=True,
        )

    @action(description="Take the write-off back", url_path="expect-again")
    def expect_again(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Expect what was given up again."""
        invoice = self.row_or_404(request, object_id)
        return confirm_with_reason(
            request,
            admin=self,
            row=invoice,
            permission=WRITE_OFF,
            deed=lambda **who: take_back_write_off(invoice_id=invoice.pk, at=now(), **who),
            done=lambda done: f"{money_text(done.amount_due)} of {done.number} are open again.",
            title=f"Take the write-off of {invoice} back",
            effect=f"{money_text(invoice.amount_written_off)} are open again, and no loss any more.",
            warnings=[STAYS_AT_STRIPE] if invoice.settlement_channel == SettlementChannel.STRIPE else [],
            submit=f"Expect {money_text(invoice.amount_written_off)} again",
        )


class LeftFilter(admin.SimpleListFilter):
    """By whether something of it is still given up."""

    title = "state"
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """Return the states."""
        return [("given_up", "Still given up"), ("over", "Recovered or taken back")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Keep those in the chosen state: only the newest of a written-off invoice is in force."""
        newest = (
            WriteOff.objects.filter(invoice__status=InvoiceStatus.WRITTEN_OFF)
            .order_by("invoice", "-number")
            .distinct("invoice")
            .values("pk")
        )
        match self.value():
            case "given_up":
                return queryset.filter(pk__in=newest)
            case "over":
                return queryset.exclude(pk__in=newest)
        return queryset


@admin.register(WriteOff)
class WriteOffAdmin(ReadOnlyAdmin):
    """What was given up of invoices."""

    list_display = (
        "reference",
        "customer_link",
        "amount_given_up",
        "amount_recovered",
        "amount_left",
        "reason",
        "actor",
        moment_column("written_off_at", "Written off"),
    )
    list_filter = (LeftFilter, "currency", ("written_off_at", admin.DateFieldListFilter))
    search_fields = (
        "reference",
        "reason",
        "actor",
        "invoice__number",
        "invoice__customer_name",
        "invoice__customer__key",
    )
    list_select_related = ("invoice",)
    ordering = ("-id",)
    fields = (
        "invoice_link",
        "customer_link",
        "amount_given_up",
        "reason",
        "actor",
        "written_off_at",
        "recoveries",
        "amount_left",
    )
    empty_message = "What nobody expects to be paid any more is written off on the page of its invoice."

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        """Return the write-offs with what was recovered of each."""
        return with_recoveries(write_offs=super().get_queryset(request))

    def get_readonly_fields(self, request: HttpRequest, obj: Model | None = None) -> tuple[str, ...]:
        """Show it all."""
        return self.fields

    @admin.display(description="Invoice", ordering="invoice__number")
    def invoice_link(self, write_off: WriteOff) -> SafeString:
        """Link to the invoice."""
        return link(reverse("admin:invoicing_invoice_change", args=[write_off.invoice_id]), write_off.invoice)

    @admin.display(description="Customer", ordering="invoice__customer_name")
    def customer_link(self, write_off: WriteOff) -> SafeString:
        """Link to the customer."""
        page = reverse("admin:invoicing_customer_change", args=[write_off.invoice.customer_id])
        return link(page, write_off.invoice.customer_name)

    @admin.display(description="Given up", ordering="amount")
    def amount_given_up(self, write_off: WriteOff) -> SafeString:
        """Show what was given up."""
        return money(write_off.amount)

    @admin.display(description="Recovered")
    def amount_recovered(self, write_off: WriteOff) -> SafeString:
        """Show what was paid, credited or taken back since."""
        return money(_recovered(write_off)) if write_off.recoveries.all() else NOTHING

    @admin.display(description="Left")
    def amount_left(self, write_off: WriteOff) -> SafeString:
        """Show what is still a loss."""
        left = write_off.amount - _recovered(write_off)
        return money(left) if left.amount else NOTHING

    @admin.display(description="Recovered")
    def recoveries(self, write_off: WriteOff) -> SafeString | str:
        """List each recovery."""
        told = [
            f"{money_text(one.amount)}: {one.get_cause_display().lower()}, {one.recovered_at:%Y-%m-%d} by {one.actor} ({one.reason})"
            for one in write_off.recoveries.all()
        ]
        return format_html('<span class="bo-break">{}</span>', "; ".join(told)) if told else "nothing yet"


def _recovered(write_off: WriteOff) -> Money:
    amounts = (round_money(one.amount.amount, write_off.currency) for one in write_off.recoveries.all())
    return total(amounts, write_off.currency)
