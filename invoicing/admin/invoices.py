"""Invoices: the list with totals by currency, the page, and the few things that may be done with one."""

from typing import Any

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.db.models import Model, QuerySet
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import path, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.decorators import action

from billing_site.display.admin import (
    ReasonForm,
    actor_of,
    attempt,
    confirm_with_reason,
    confirmation,
    go,
    show_selected,
)
from billing_site.display.figures import NOTHING, billed, day, link, moment_text, money, money_text
from billing_site.display.pills import pill, state_of_invoice
from billing_site.kernel.clock import now
from billing_site.kernel.errors import BillingError
from invoicing.admin.credit_form import CreditPages
from invoicing.admin.customer_page import amount_due
from invoicing.admin.deeds_in_numbers import InvoiceToIssue, issue_effect
from invoicing.admin.draft_edits import EditPages
from invoicing.admin.failed_charges import FailedCharges
from invoicing.admin.invoice_files import FilesOfInvoices
from invoicing.admin.invoice_filters import PeriodFilter, StateFilter
from invoicing.admin.invoice_page import ISSUE, RETRY, SETTLE, can_be_issued, invoice_page
from invoicing.admin.one_off import OneOffPages
from invoicing.admin.proof import proof_page
from invoicing.admin.reissue import ReissuePages
from invoicing.admin.transfer import TransferForm, recorded_words, transfer_effect
from invoicing.admin.write_offs import WriteOffPages
from invoicing.gate.queries import with_gate_state
from invoicing.invoices.models import Invoice, InvoiceStatus
from invoicing.invoices.queries import OWED, totals_by_currency
from invoicing.payments.models import FAILED_STATUSES
from invoicing.payments.push import retry_push
from invoicing.run_proposals.queries import signed_run_with
from invoicing.workflows.explain_invoice import prove_invoice, prove_tax
from invoicing.workflows.issue_invoice import issue_invoice, refresh_draft
from invoicing.workflows.settle_payment import settle_payment

STILL_AT_STRIPE = (
    "Stripe collects this invoice. Paid in full here, it is withdrawn there, so that it cannot be paid twice;"
    " a part of it would leave all of it open at Stripe and is not taken."
)


@admin.register(Invoice)
class InvoiceAdmin(FilesOfInvoices, FailedCharges, CreditPages, ReissuePages, OneOffPages, WriteOffPages, EditPages):
    """What customers owe. Drafts come from billing, and a change by hand is a line beside; issued documents are carved in stone."""

    list_display = ("document", "customer_link", "billed_period", "state", "total_amount", "due_amount", "dates")
    list_display_links = ("document",)
    list_filter = (
        StateFilter,
        "kind",
        "currency",
        PeriodFilter,
        "settlement_channel",
        "tax_state",
        "customer__legal_entity",
    )
    search_fields = (
        "number",
        "key",
        "customer_name",
        "customer__key",
        "push__stripe_invoice_id",
        "payments__reference",
        "customer__stripe_customer__stripe_id",
    )
    list_select_related = ("customer",)
    ordering = ("-period_end", "-id")
    actions = ("issue_selected",)
    actions_detail = (
        "issue",
        "refresh",
        "edit",
        "retry",
        "record_transfer",
        "credit",
        "reissue",
        "void",
        "write_off",
        "expect_again",
        "proof",
        "proof_state",
    )
    list_before_template = "backoffice/invoice_totals.html"
    empty_message = "A billing run drafts an invoice for each customer whose period has ended."

    @admin.display(description="Invoice", ordering="number")
    def document(self, invoice: Invoice) -> str:
        """Show the number, or that it has none yet."""
        return invoice.number or f"draft {invoice.pk}"

    @admin.display(description="Customer", ordering="customer_name")
    def customer_link(self, invoice: Invoice) -> SafeString:
        """Link to the customer."""
        page = reverse("admin:invoicing_customer_change", args=[invoice.customer_id])
        return link(page, invoice.customer_name, title=invoice.customer_name)

    @admin.display(description="Period", ordering="period_start")
    def billed_period(self, invoice: Invoice) -> SafeString:
        """Show the first and last day of the billed period in the customer's zone, its exact bounds on hover."""
        return billed(kind=invoice.kind, start=invoice.period_start, end=invoice.period_end, timezone=invoice.timezone)

    @admin.display(description="Due", ordering="due_date")
    def dates(self, invoice: Invoice) -> SafeString:
        """Show when it is due, and below it the day on which it was issued."""
        if invoice.due_date is None or invoice.issued_at is None:
            return NOTHING
        issued = f"{invoice.issued_at:%Y-%m-%d}"
        return format_html(
            '<span class="bo-line">{}</span><span class="bo-line bo-small bo-faint" title="{}">issued {}</span>',
            day(invoice.due_date),
            moment_text(invoice.issued_at),
            issued,
        )

    @admin.display(description="State", ordering="status")
    def state(self, invoice: Invoice) -> SafeString:
        """Show the state as a pill."""
        shown = state_of_invoice(invoice, at=now())
        return pill(shown)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        """Return the invoices with what the gate says of drafts."""
        return with_gate_state(invoices=super().get_queryset(request))

    @admin.display(description="Total", ordering="total")
    def total_amount(self, invoice: Invoice) -> SafeString:
        """Show the total."""
        return money(invoice.total)

    @admin.display(description="Open")
    def due_amount(self, invoice: Invoice) -> SafeString:
        """Show what is still owed; nobody owes a draft."""
        due = amount_due(invoice)
        return money(due) if due.amount else NOTHING

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        """Search without doubling an invoice that has several payments."""
        found, _ = super().get_search_results(request, queryset, search_term)
        if search_term:
            found = queryset.filter(pk__in=found.order_by().values("pk"))
        return found, False

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> Any:
        """Put the totals of what is listed above the list, by currency."""
        response = super().changelist_view(request, extra_context)
        changelist = getattr(response, "context_data", {}).get("cl")
        if changelist is not None:
            listed = Invoice.objects.filter(pk__in=changelist.queryset.order_by().values("pk"))
            response.context_data["totals"] = totals_by_currency(invoices=listed.filter(status__in=OWED))
            response.context_data["draft_totals"] = totals_by_currency(
                invoices=listed.filter(status=InvoiceStatus.DRAFT)
            )
        return response

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Show the invoice."""
        invoice = self.row_or_404(request, object_id)
        page = invoice_page(invoice=invoice, at=now(), allowed=request.user.has_perm)
        return TemplateResponse(
            request, "backoffice/invoice.html", self.page_context(request, title=str(invoice), row=invoice, page=page)
        )

    def has_issue_permission(self, request: HttpRequest) -> bool:
        """Say whether this person may issue."""
        return bool(request.user.has_perm(ISSUE))

    @admin.action(description="Issue the selected drafts", permissions=["issue"])
    def issue_selected(self, request: HttpRequest, queryset: QuerySet[Any]) -> HttpResponse | None:
        """Issue drafts after a confirmation that says how many, over how much in each currency, and asks why."""
        invoices = list(queryset.order_by("period_end", "id"))
        drafts = [invoice for invoice in invoices if can_be_issued(invoice, at=now())]
        back = reverse("admin:invoicing_invoice_changelist")
        if not drafts:
            messages.warning(request, "None of the selected is a draft whose period has ended: nothing to issue.")
            return None
        form = ReasonForm(request.POST if "confirmed" in request.POST else None)
        if form.is_valid():
            return self._issue(request, drafts, reason=form.cleaned_data["reason"])
        others = sum(invoice.status != InvoiceStatus.DRAFT for invoice in invoices)
        early = len(invoices) - len(drafts) - others
        return confirmation(
            request,
            admin=self,
            title="Issue invoices",
            effect=issue_effect(drafts),
            items=[InvoiceToIssue.of(draft) for draft in drafts],
            warnings=[
                *([f"{others} of the selected are issued already and stay as they are."] if others else []),
                *([f"{early} of the selected stay drafts: their periods have not ended."] if early else []),
            ],
            form=form,
            submit=f"Issue {len(drafts)} {'invoice' if len(drafts) == 1 else 'invoices'}",
            hidden=show_selected(request, queryset, action="issue_selected"),
            back=back,
        )

    @action(description="Issue", url_path="issue")
    def issue(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Issue one draft."""
        invoice = self.row_or_404(request, object_id)
        if not request.user.has_perm(ISSUE):
            raise PermissionDenied
        page = reverse("admin:invoicing_invoice_change", args=[invoice.pk])
        if invoice.status == InvoiceStatus.DRAFT and not can_be_issued(invoice, at=now()):
            ends = moment_text(invoice.period_end, invoice.timezone)
            messages.warning(request, f"Not issued: its period has not ended. It can be issued from {ends} on.")
            return go(page)
        if invoice.status == InvoiceStatus.DRAFT and (run := signed_run_with(draft=invoice)):
            run_page = reverse("admin:invoicing_runproposal_change", args=[run.pk])
            messages.warning(
                request,
                f"Not issued: it is part of a signed run. Issue that run, or make its figures again to take the signature back: {run}.",
            )
            return go(run_page)
        form = ReasonForm(request.POST or None)
        if request.method == "POST" and form.is_valid():
            self._issue(request, [invoice], reason=form.cleaned_data["reason"])
            return go(page)
        return confirmation(
            request,
            admin=self,
            title=f"Issue the invoice for {invoice.customer_name}",
            effect=issue_effect([invoice]),
            items=[InvoiceToIssue.of(invoice)],
            form=form,
            submit="Issue the invoice",
            back=page,
            row=invoice,
        )

    def _issue(self, request: HttpRequest, drafts: list[Invoice], *, reason: str) -> HttpResponse:
        """Issue each draft in a transaction of its own and show what happened, item by item."""
        results = []
        for draft in drafts:
            try:
                with transaction.atomic():
                    issued = issue_invoice(invoice_id=draft.pk, at=now(), actor=actor_of(request), reason=reason)
                results.append((issued, ""))
            except BillingError as problem:
                results.append((draft, problem.message))
        failed = sum(bool(refusal) for _, refusal in results)
        context = self.page_context(
            request, title="Issued", results=results, issued=len(results) - failed, failed=failed
        )
        if len(drafts) == 1:
            invoice, refusal = results[0]
            if refusal:
                messages.error(request, f"Not issued, nothing has changed: {refusal}")
            else:
                messages.success(request, f"Issued as {invoice.number} over {money_text(invoice.total)}.")
        return TemplateResponse(request, "backoffice/issued.html", context)

    @action(description="Refresh", url_path="refresh")
    def refresh(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Compute a draft again from today's usage and contract."""
        invoice = self.row_or_404(request, object_id)
        return confirm_with_reason(
            request,
            admin=self,
            row=invoice,
            permission=ISSUE,
            deed=lambda **who: refresh_draft(invoice_id=invoice.pk, at=now(), **who),
            done=lambda draft: f"It said {money_text(invoice.total)}, now it says {money_text(draft.total)}.",
            title=f"Refresh the draft for {invoice.customer_name}",
            effect=f"It says {money_text(invoice.total)}. Its lines are computed again from today's usage and contract; "
            "it stays a draft.",
            submit="Refresh the draft",
        )

    @action(description="Send again", url_path="retry-push")
    def retry(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Push a refused invoice to Stripe again."""
        invoice = self.row_or_404(request, object_id)
        intent = getattr(invoice, "push", None)
        if intent is None or intent.status not in FAILED_STATUSES:
            messages.warning(request, "This invoice has no push that failed.")
            return go(reverse("admin:invoicing_invoice_change", args=[invoice.pk]))
        return confirm_with_reason(
            request,
            admin=self,
            row=invoice,
            permission=RETRY,
            deed=lambda **who: retry_push(intent_id=intent.pk, at=now(), **who),
            done=lambda _: f"{invoice.number} is queued for Stripe again.",
            title=f"Send {invoice.number} to Stripe again",
            effect=f"{money_text(amount_due(invoice))} is sent to Stripe and collected there.",
            submit="Send it again",
            warnings=[intent.last_error],
        )

    @action(description="Record a bank transfer", url_path="record-transfer")
    def record_transfer(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Record money that arrived by bank transfer."""
        invoice = self.row_or_404(request, object_id)
        if not request.user.has_perm(SETTLE):
            raise PermissionDenied
        page = reverse("admin:invoicing_invoice_change", args=[invoice.pk])
        form = TransferForm(request.POST or None, invoice=invoice, at=now())
        if request.method == "POST" and form.is_valid():
            paid = attempt(
                request,
                lambda: settle_payment(
                    invoice_id=invoice.pk,
                    channel="manual",
                    reference=form.cleaned_data["reference"],
                    amount=form.money,
                    received_at=form.received_at,
                    actor=actor_of(request),
                    reason=form.cleaned_data["reason"],
                ),
                done=lambda payment: recorded_words(payment, invoice),
            )
            if paid is not None:
                return go(page)
        return confirmation(
            request,
            admin=self,
            title=f"Record a bank transfer for {invoice.number}",
            effect=transfer_effect(invoice),
            warnings=[STILL_AT_STRIPE] if form.stripe_collects else [],
            form=form,
            submit="Record the payment",
            back=page,
            row=invoice,
        )

    @action(description="Proof", url_path="proof")
    def proof(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Show the ladder of one line, rated again now."""
        invoice = self.row_or_404(request, object_id)
        page = proof_page(
            invoice=invoice,
            position=_whole(request.GET.get("line"), 1),
            after=request.GET.get("after", ""),
            at=now(),
        )
        context = self.page_context(request, title=f"Proof of {invoice}", row=invoice, page=page)
        return TemplateResponse(request, "backoffice/proof.html", context)

    @action(description="Proof state", url_path="proof-state")
    def proof_state(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Answer whether every line is equal, rated again this moment; the invoice page fetches it after loading."""
        invoice = self.row_or_404(request, object_id)
        proofs = prove_invoice(invoice=invoice)
        different, archived = [p for p in proofs if p.differences], [p for p in proofs if p.archived]
        context = {
            "invoice": invoice,
            "proofs": proofs,
            "different": different,
            "archived": archived,
            "tax_differences": prove_tax(invoice=invoice),
            "at": now(),
        }
        return TemplateResponse(request, "backoffice/proof_state.html", context)

    def get_urls(self) -> list[Any]:
        """Add the address of an invoice by its number."""
        by_number = path(
            "number/<str:number>/", self.admin_site.admin_view(self.by_number), name="invoicing_invoice_by_number"
        )
        return [by_number, *super().get_urls()]

    def by_number(self, request: HttpRequest, number: str) -> HttpResponse:
        """Go to the invoice with this number."""
        invoice = Invoice.objects.filter(number=number).first()
        if invoice is None:
            messages.warning(request, f"There is no invoice {number}.")
            return go(reverse("admin:invoicing_invoice_changelist"))
        return go(reverse("admin:invoicing_invoice_change", args=[invoice.pk]))

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        """Nothing is edited in place: what is changed by hand is decided beside, with a reason."""
        return False


def _whole(text: str | None, default: int) -> int:
    return int(text) if text and text.isdecimal() and len(text) < 19 else default
