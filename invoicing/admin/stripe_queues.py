"""What else goes to Stripe beside invoices: charges, refunds and withdrawals; what failed is tried again, one or many."""

from collections.abc import Sequence
from typing import Any, ClassVar

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.safestring import SafeString
from moneyed import Money
from unfold.decorators import action

from billing_site.display.admin import (
    ReadOnlyAdmin,
    ReasonForm,
    actor_of,
    attempt,
    confirm_with_reason,
    confirmation,
    go,
    moment_column,
    show_selected,
)
from billing_site.display.figures import NOTHING, link, money
from billing_site.display.pills import pill
from billing_site.kernel.clock import now
from invoicing.admin.payments import LISTED_MAX, RETRY
from invoicing.payments.charge_attempt import ChargeAttempt
from invoicing.payments.charging import retry_charges
from invoicing.payments.refund import Refund
from invoicing.payments.refunds import retry_refunds
from invoicing.payments.withdrawal import Withdrawal
from invoicing.payments.withdrawing import retry_withdrawals

FAILED = "failed"
NEXT = moment_column("next_attempt_at", "Next attempt")


class StripeQueueAdmin(ReadOnlyAdmin):
    """Rows that go to Stripe by jobs; those that failed too often wait here for somebody."""

    list_filter: ClassVar[Sequence[Any]] = ("status",)
    list_display_links = ("state",)
    actions = ("retry_selected",)
    actions_detail = ("retry",)
    # What a row is to those who read of it, of one and of many, and what follows from trying it again.
    noun, nouns, effect = "", "", ""

    def try_again(self, keys: Sequence[int], **who: Any) -> int:
        """Queue those again that failed; returns how many."""
        raise NotImplementedError

    def told(self, row: Any) -> str:
        """Return a row in words."""
        raise NotImplementedError

    def amount_of(self, row: Any) -> Money:
        """Return over how much it is."""
        raise NotImplementedError

    @admin.display(description="State", ordering="status")
    def state(self, row: Any) -> SafeString:
        """Show how far it is."""
        return pill(row.status)

    def has_retry_permission(self, request: HttpRequest, object_id: str | None = None) -> bool:
        """Say whether this person may try them again."""
        return bool(request.user.has_perm(RETRY))

    @admin.action(description="Try the selected again", permissions=["retry"])
    def retry_selected(self, request: HttpRequest, queryset: QuerySet[Any]) -> HttpResponse:
        """Queue all again that failed among the selected."""
        failed = queryset.filter(status=FAILED).order_by("pk")
        keys = list(failed.values_list("pk", flat=True))
        form = ReasonForm(request.POST if "confirmed" in request.POST else None)
        back = reverse(f"admin:invoicing_{self.opts.model_name}_changelist") + f"?status__exact={FAILED}"
        if form.is_valid():
            who = {"actor": actor_of(request), "reason": form.cleaned_data["reason"]}
            attempt(
                request,
                lambda: self.try_again(keys, at=now(), **who),
                done=lambda number: f"Queued for Stripe again: {self._counted(number)}.",
            )
            return go(back)
        return confirmation(
            request,
            admin=self,
            title=f"Try {self.nouns} again",
            effect=f"{self._counted(len(keys))}: {self.effect} Those that others have tried again meanwhile are left as they are.",
            items=[
                {"what": self.told(row), "money": self.amount_of(row), "note": self._error(row)}
                for row in self.get_queryset(request).filter(pk__in=keys[:LISTED_MAX]).order_by("pk")
            ],
            warnings=[] if keys else ["None of the selected has failed."],
            form=form,
            submit="Try them again",
            hidden=show_selected(request, queryset, action="retry_selected"),
            back=back,
        )

    @action(description="Try again", url_path="retry", permissions=["retry"])
    def retry(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Queue one again that failed."""
        row = self.row_or_404(request, object_id)
        return confirm_with_reason(
            request,
            admin=self,
            row=row,
            permission=RETRY,
            deed=lambda **who: self.try_again([row.pk], at=now(), **who),
            done=lambda _: f"The {self.noun} is queued for Stripe again.",
            title=f"Try the {self.noun} again: {self.told(row)}",
            effect=self.effect,
            submit="Try it again",
            warnings=[self._error(row)] if self._error(row) else [],
        )

    def _counted(self, number: int) -> str:
        return f"1 {self.noun}" if number == 1 else f"{number} {self.nouns}"

    def _error(self, row: Any) -> str:
        return str(getattr(row, "last_error", "") or getattr(row, "outcome", ""))


@admin.register(ChargeAttempt)
class ChargeAttemptAdmin(StripeQueueAdmin):
    """Further attempts to charge invoices that are open at Stripe."""

    list_display = ("state", "invoice_link", "amount", "outcome", "attempt_count", NEXT, "actor", "reason")
    search_fields = ("invoice__number", "invoice__customer__key", "outcome", "reference")
    list_select_related = ("invoice",)
    ordering = ("-id",)
    fields = (
        "invoice_link",
        "state",
        "amount",
        "outcome",
        "attempt_count",
        "failure_count",
        "next_attempt_at",
        "planned_at",
        "done_at",
        "reference",
        "actor",
        "reason",
    )
    readonly_fields = fields
    empty_message = "Dunning charges cards again after a refusal; each attempt stands here."
    noun, nouns = "charge", "charges"
    effect = "the card is charged at Stripe unless the invoice is paid, withdrawn or disputed by then."

    def try_again(self, keys: Sequence[int], **who: Any) -> int:
        """Queue those again that failed."""
        return len(retry_charges(attempt_ids=keys, **who))

    def told(self, row: ChargeAttempt) -> str:
        """Return a row in words."""
        return str(row.invoice)

    def amount_of(self, row: ChargeAttempt) -> Money:
        """Return what is charged: Stripe charges the whole of an invoice."""
        return row.invoice.total

    @admin.display(description="Invoice", ordering="invoice__number")
    def invoice_link(self, row: ChargeAttempt) -> SafeString:
        """Link to the invoice."""
        return link(reverse("admin:invoicing_invoice_change", args=[row.invoice_id]), row.invoice)

    @admin.display(description="Amount", ordering="invoice__total")
    def amount(self, row: ChargeAttempt) -> SafeString:
        """Show what is charged."""
        return money(self.amount_of(row))


@admin.register(Refund)
class RefundAdmin(StripeQueueAdmin):
    """Money that credit notes promised, on its way back."""

    list_display = ("state", "note_link", "refunded", "channel", "last_error", "attempt_count", NEXT, "reference")
    list_filter = ("status", "channel", "currency")
    search_fields = ("note__number", "note__customer__key", "stripe_refund_id", "reference", "last_error")
    list_select_related = ("note",)
    ordering = ("-id",)
    fields = (
        "note_link",
        "state",
        "refunded",
        "channel",
        "attempt_count",
        "failure_count",
        "last_error",
        "next_attempt_at",
        "planned_at",
        "paid_at",
        "stripe_refund_id",
        "reference",
        "actor",
    )
    readonly_fields = fields
    empty_message = "A credit note that promises money back writes a row here."
    noun, nouns = "refund", "refunds"
    effect = "Stripe pays it back, once: what it has begun is found there first."

    def try_again(self, keys: Sequence[int], **who: Any) -> int:
        """Queue those again that failed."""
        return len(retry_refunds(refund_ids=keys, **who))

    def told(self, row: Refund) -> str:
        """Return a row in words."""
        return str(row)

    def amount_of(self, row: Refund) -> Money:
        """Return what is paid back."""
        return row.amount

    @admin.display(description="Credit note", ordering="note__number")
    def note_link(self, row: Refund) -> SafeString:
        """Link to the credit note."""
        return link(reverse("admin:invoicing_creditnote_change", args=[row.note_id]), row.note)

    @admin.display(description="Amount", ordering="amount")
    def refunded(self, row: Refund) -> SafeString:
        """Show what is paid back."""
        return money(row.amount)


@admin.register(Withdrawal)
class WithdrawalAdmin(StripeQueueAdmin):
    """Invoices of which Stripe hears that it is to collect them no more."""

    list_display = (
        "state",
        "invoice_link",
        "outcome",
        "last_error",
        "attempt_count",
        moment_column("planned_at", "Planned"),
        NEXT,
    )
    search_fields = ("intent__invoice__number", "intent__invoice__customer__key", "intent__stripe_invoice_id")
    list_select_related = ("intent__invoice",)
    ordering = ("-planned_at",)
    fields = (
        "invoice_link",
        "state",
        "stripe_invoice",
        "outcome",
        "attempt_count",
        "failure_count",
        "last_error",
        "planned_at",
        "next_attempt_at",
        "done_at",
    )
    readonly_fields = fields
    empty_message = "An invoice at Stripe that is paid otherwise, void or written off writes a row here."
    noun, nouns = "withdrawal", "withdrawals"
    effect = "Stripe hears that it is to collect the invoice no more."

    def try_again(self, keys: Sequence[int], **who: Any) -> int:
        """Queue those again that failed."""
        return retry_withdrawals(intent_ids=keys, **who)

    def told(self, row: Withdrawal) -> str:
        """Return a row in words."""
        return str(row.intent.invoice)

    def amount_of(self, row: Withdrawal) -> Money:
        """Return what Stripe would collect."""
        return row.intent.invoice.total

    @admin.display(description="Invoice", ordering="intent__invoice__number")
    def invoice_link(self, row: Withdrawal) -> SafeString:
        """Link to the invoice."""
        return link(reverse("admin:invoicing_invoice_change", args=[row.intent.invoice_id]), row.intent.invoice)

    @admin.display(description="At Stripe")
    def stripe_invoice(self, row: Withdrawal) -> str | SafeString:
        """Show under which id Stripe has it."""
        return row.intent.stripe_invoice_id or NOTHING
