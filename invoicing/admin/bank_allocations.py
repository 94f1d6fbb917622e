"""What bank lines are, in the admin: each allocation with its books, customers' money on account, applied, paid back, or taken back."""

from decimal import Decimal
from typing import Any

from django import forms
from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from moneyed import Money
from unfold.decorators import action
from unfold.widgets import UnfoldAdminTextInputWidget

from billing_site.display.admin import (
    ReadOnlyAdmin,
    ReasonForm,
    actor_of,
    attempt,
    confirm_with_reason,
    confirmation,
    go,
    moment_column,
)
from billing_site.display.amount_field import AmountField
from billing_site.display.figures import NOTHING, link, money, money_text
from billing_site.display.pills import pill
from billing_site.kernel.clock import now
from billing_site.kernel.money import minor_unit
from invoicing.admin.approvals import waits_words
from invoicing.admin.bank_line_form import money_said
from invoicing.approvals.models import Approval
from invoicing.bank.models import AllocationKind, AllocationReversal, BankAllocation
from invoicing.bank.queries import money_on_account, rest_of
from invoicing.invoices.models import Invoice
from invoicing.payments.reversal import PaymentReversal, ReversalCause
from invoicing.workflows.allocate_bank_line import take_back_allocation
from invoicing.workflows.reverse_payment import reverse_or_ask
from invoicing.workflows.use_money_on_account import apply_money_on_account, pay_money_back

ALLOCATE = "invoicing.record_transfer"


def _taken_back(one: BankAllocation, *, actor: str, reason: str) -> AllocationReversal | PaymentReversal | Approval:
    """Take an allocation back; a large payment waits for a second person."""
    if one.payment is not None:
        return reverse_or_ask(
            payment_id=one.payment.pk, cause=ReversalCause.MISTAKE, at=now(), actor=actor, reason=reason
        )
    return take_back_allocation(allocation_id=one.pk, at=now(), actor=actor, reason=reason)


def _invoice_words(one: BankAllocation) -> str:
    """Say what becomes of an invoice whose payment, or its return, was a mistake."""
    if one.payment is not None:
        return f" Invoice {one.payment.invoice} is open again by as much, and its customer owes it."
    return f" Invoice {one.returned.payment.invoice} is paid again by as much." if one.returned is not None else ""


class StateFilter(admin.SimpleListFilter):
    """By whether money is on account."""

    title = "state"
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """Return the states."""
        return [("on_account", "Money is on account"), ("taken_back", "Taken back")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Keep those of the choice."""
        match self.value():
            case "on_account":
                return queryset.filter(pk__in=money_on_account().values("pk"))
            case "taken_back":
                return queryset.filter(reversal__isnull=False)
        return queryset


class PartForm(ReasonForm):
    """How much of what is on account."""

    amount = AmountField(min_value=Decimal(0))
    field_order = ("invoice", "amount", "reason")

    def __init__(self, *args: Any, rest: Money, **options: Any) -> None:
        options.setdefault("initial", {"amount": rest.amount.quantize(minor_unit(rest.currency.code))})
        super().__init__(*args, **options)
        currency = rest.currency.code
        self.fields["amount"] = AmountField(min_value=Decimal(0), label=f"Amount in {currency}", currency=currency)


class ApplyForm(PartForm):
    """How much of it goes to which invoice."""

    invoice = forms.CharField(
        max_length=100, widget=UnfoldAdminTextInputWidget(), help_text="Its number: INV-2026-00042."
    )

    def clean_invoice(self) -> Invoice:
        """Find the invoice."""
        found = Invoice.objects.filter(number=self.cleaned_data["invoice"].strip()).first()
        if found is None:
            raise forms.ValidationError("There is no invoice with this number.")
        return found


@admin.register(BankAllocation)
class BankAllocationAdmin(ReadOnlyAdmin):
    """What the parts of bank lines are."""

    list_display = (
        "reference",
        "kind_pill",
        "what",
        "amount_allocated",
        "rest",
        "actor",
        moment_column("allocated_at", "Allocated"),
    )
    list_filter = (StateFilter, "kind", "currency", ("allocated_at", admin.DateFieldListFilter))
    search_fields = ("reference", "reason", "payment__invoice__number", "customer__name", "customer__key", "line__name")
    list_select_related = (
        "payment__invoice",
        "customer",
        "entry",
        "line",
        "reversal",
        "returned__payment__invoice",
        "payout",
    )
    ordering = ("-id",)
    fields = (
        "line_link",
        "kind_pill",
        "what",
        "amount_allocated",
        "rest",
        "reason",
        "actor",
        "allocated_at",
        "taken_back",
        "used",
    )
    readonly_fields = fields
    actions_detail = ("apply", "pay_back", "take_back")
    empty_message = "What a bank line, or a part of it, was found to be stands here."

    def get_actions_detail(self, request: HttpRequest, object_id: int) -> list[Any]:
        """Offer what can be done with this one: only money on account is used."""
        actions = super().get_actions_detail(request, object_id)
        one = BankAllocation.objects.filter(pk=object_id).select_related("reversal").first()
        if one is None or hasattr(one, "reversal") or not request.user.has_perm(ALLOCATE):
            return []
        if one.kind == AllocationKind.ON_ACCOUNT and rest_of(lot=one).amount:
            return list(actions)
        return [one_action for one_action in actions if one_action.action_name.endswith("take_back")]

    @admin.display(description="Bank line")
    def line_link(self, one: BankAllocation) -> SafeString:
        """Link to the line."""
        return link(reverse("admin:invoicing_bankline_change", args=[one.line_id]), one.line)

    @admin.display(description="It is", ordering="kind")
    def kind_pill(self, one: BankAllocation) -> SafeString:
        """Show what it is, and whether that was taken back."""
        return (
            pill("taken back", why=one.get_kind_display()) if hasattr(one, "reversal") else pill(one.get_kind_display())
        )

    @admin.display(description="Of")
    def what(self, one: BankAllocation) -> SafeString:
        """Link to what it names."""
        if one.payment is not None:
            return link(reverse("admin:invoicing_invoice_change", args=[one.payment.invoice_id]), one.payment.invoice)
        if one.returned is not None:
            payment = one.returned.payment
            return link(reverse("admin:invoicing_payment_change", args=[payment.pk]), payment.invoice)
        if one.payout is not None:
            return link(reverse("admin:invoicing_payout_change", args=[one.payout_id]), one.payout)
        if one.customer is not None:
            return link(reverse("admin:invoicing_customer_change", args=[one.customer_id]), one.customer)
        if one.entry is not None:
            return link(reverse("admin:invoicing_journalentry_change", args=[one.entry_id]), one.entry.description)
        return format_html("{}", one.reason)

    @admin.display(description="Money", ordering="amount")
    def amount_allocated(self, one: BankAllocation) -> SafeString:
        """Show how much."""
        return money(one.amount)

    @admin.display(description="On account")
    def rest(self, one: BankAllocation) -> SafeString:
        """Show what of it is there."""
        if one.kind != AllocationKind.ON_ACCOUNT or hasattr(one, "reversal"):
            return NOTHING
        return money(rest_of(lot=one))

    @admin.display(description="Taken back")
    def taken_back(self, one: BankAllocation) -> SafeString:
        """Say who took it back, and why."""
        reversal = getattr(one, "reversal", None)
        return NOTHING if reversal is None else format_html("by {}: {}", reversal.actor, reversal.reason)

    @admin.display(description="Used")
    def used(self, one: BankAllocation) -> SafeString:
        """Say what became of money on account."""
        uses = one.uses.select_related("payment__invoice").order_by("number")
        lines = [
            (
                money(use.amount),
                use.get_kind_display(),
                use.payment.invoice if use.payment else "",
                use.actor,
                use.reason,
            )
            for use in uses
        ]
        return format_html_join("", '<span class="bo-line">{} {} {} by {}: {}</span>', lines) or NOTHING

    @action(description="Apply to an invoice", url_path="apply")
    def apply(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Settle an invoice of the customer with money on account."""
        return self._use(request, object_id, form_class=ApplyForm, title="Apply to an invoice", submit="Apply it")

    @action(description="Record that it was paid back", url_path="pay-back")
    def pay_back(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Record that money on account was transferred back."""
        return self._use(
            request, object_id, form_class=PartForm, title="Record that it was paid back", submit="It was paid back"
        )

    def _use(
        self, request: HttpRequest, object_id: str, *, form_class: type[PartForm], title: str, submit: str
    ) -> HttpResponse:
        lot = self.row_or_404(request, object_id)
        if not request.user.has_perm(ALLOCATE):
            raise PermissionDenied
        page = reverse("admin:invoicing_bankallocation_change", args=[lot.pk])
        is_there = lot.kind == AllocationKind.ON_ACCOUNT and not hasattr(lot, "reversal")
        rest = rest_of(lot=lot) if is_there else Money(0, lot.currency)
        form = form_class(request.POST or None, rest=rest)
        if request.method == "POST" and form.is_valid():
            fields = form.cleaned_data
            asked = {
                "lot_id": lot.pk,
                "amount": Money(fields["amount"], lot.currency),
                "rest": money_said(request.POST.get("rest", ""), lot.currency),
                "at": now(),
                "actor": actor_of(request),
                "reason": fields["reason"],
            }
            invoice = fields.get("invoice")
            deed = (
                (lambda: apply_money_on_account(invoice_id=invoice.pk, **asked))
                if invoice
                else (lambda: pay_money_back(**asked))
            )
            if attempt(request, deed, done=lambda use: f"{money_text(use.amount)}: {use.get_kind_display().lower()}."):
                return go(page)
        return confirmation(
            request,
            admin=self,
            title=title,
            effect=f"{money_text(rest)} of {lot.customer or lot} are on account. It is booked at once and cannot be taken back.",
            form=form,
            submit=submit,
            hidden=[("rest", str(rest.amount))],
            back=page,
            row=lot,
        )

    @action(description="Take it back", url_path="take-back")
    def take_back(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Take an allocation back that was wrong."""
        one = self.row_or_404(request, object_id)
        return confirm_with_reason(
            request,
            admin=self,
            row=one,
            permission=ALLOCATE,
            deed=lambda **who: _taken_back(one, **who),
            done=lambda done: waits_words(done) or f"{money_text(one.amount)} of {one.line} are to be looked at again.",
            title=f"Take {one} back",
            effect=f"{money_text(one.amount)} of bank line {one.line} are unidentified again, in the books too.{_invoice_words(one)}",
            submit="Take it back",
            dangerous=True,
        )
