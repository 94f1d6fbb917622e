"""Void and re-issue, in the admin: the difference line by line before anything happens."""

from django import forms
from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from moneyed import Money
from unfold.decorators import action

from billing_site.display.admin import (
    ConfirmedTable,
    ReadOnlyAdmin,
    ReasonForm,
    actor_of,
    attempt,
    confirmation,
    go,
)
from billing_site.display.figures import money_text
from billing_site.kernel.clock import now
from billing_site.kernel.errors import BillingError
from billing_site.kernel.money import total
from invoicing.admin.approvals import waits_words
from invoicing.admin.invoice_page import ISSUE
from invoicing.admin.write_offs import two_decide
from invoicing.approvals.models import Approval, ApprovedDeed
from invoicing.invoices.taxes import tax_sums
from invoicing.workflows.ask_to_void import reissue_or_ask
from invoicing.workflows.reissue_invoice import Reissue, preview_reissue

NO_DIFFERENCE = (
    "Nothing would differ: every line and the total come to what they are. The new invoice has another number, and the customer's name, address"
    " and tax numbers of today."
)


class ReissueForm(ReasonForm):
    """Why, and what was shown."""

    digest = forms.CharField(max_length=64, widget=forms.HiddenInput())


class ReissuePages(ReadOnlyAdmin):
    """The page that makes an invoice again."""

    @action(description="Void and re-issue", url_path="reissue")
    def reissue(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Show the invoice as it is and as it would be, and do exactly that."""
        invoice = self.row_or_404(request, object_id)
        if not request.user.has_perm(ISSUE):
            raise PermissionDenied
        page = reverse("admin:invoicing_invoice_change", args=[invoice.pk])
        form = ReissueForm(request.POST or None)
        if request.method == "POST" and form.is_valid():
            done = attempt(
                request,
                lambda: reissue_or_ask(
                    invoice_id=invoice.pk,
                    at=now(),
                    actor=actor_of(request),
                    reason=form.cleaned_data["reason"],
                    digest=form.cleaned_data["digest"],
                ),
                done=_done,
            )
            if done is None:
                return go(reverse("admin:invoicing_invoice_reissue", args=[invoice.pk]))
            if isinstance(done, Approval):
                return go(page)
            return go(page if done.draft is None else reverse("admin:invoicing_invoice_change", args=[done.draft.pk]))
        try:
            shown = preview_reissue(invoice_id=invoice.pk, at=now())
        except BillingError as problem:
            messages.error(request, problem.message)
            return go(page)
        form.fields["digest"].initial = shown.digest
        return confirmation(
            request,
            admin=self,
            title=f"Void {invoice.number} and make it again",
            effect=_effect(shown) + two_decide(invoice, ApprovedDeed.VOID, invoice.total),
            warnings=() if _differs(shown) else (NO_DIFFERENCE,),
            form=form,
            submit=f"Declare {invoice.number} void and draft its period again",
            back=page,
            dangerous=True,
            row=invoice,
            table=ConfirmedTable(
                titles=("Line", "As issued", "As it would be", "Difference"),
                rows=[
                    *(
                        (one.description, _text(one.before), _text(one.after), _text(one.difference))
                        for one in shown.lines
                    ),
                    *_tax_rows(shown),
                    ("Total", _text(shown.invoice.total), _text(shown.total_after), _text(shown.difference)),
                ],
            ),
        )


def _tax_rows(shown: Reissue) -> list[tuple[str, str, str, str]]:
    """Return a row for the tax that comes on top of the lines, where there is any before or after."""
    taxed = None if shown.after is None else shown.after.tax
    before = shown.invoice.tax_added
    after = total((), shown.invoice.currency) if taxed is None else taxed.added
    if not before.amount and not after.amount:
        return []
    names = {row.text for row in tax_sums(invoice=shown.invoice) if not row.inclusive}
    name = names.pop() if len(names) == 1 else "Tax"
    return [(name, _text(before), _text(after), _text(after - before))]


def _differs(shown: Reissue) -> bool:
    return bool(shown.after is None or shown.difference.amount or any(one.difference.amount for one in shown.lines))


def _text(amount: Money | None) -> str:
    return "–" if amount is None else money_text(amount)


def _effect(shown: Reissue) -> str:
    after = (
        "Its period is not due any more: no draft takes its place."
        if shown.after is None
        else f"Its period is drafted again over {money_text(shown.total_after)}, from the usage and the contract known now; the draft is issued as any other."
    )
    return f"{money_text(shown.invoice.total)} are owed no more: its journal entry is reversed, credit that it drew is given back, its number stays. {after}"


def _done(done: Reissue | Approval) -> str:
    if isinstance(done, Approval):
        return waits_words(done)
    if done.draft is None:
        return f"{done.invoice.number} is void, and nothing is due in its place."
    return f"{done.invoice.number} is void; this draft over {money_text(done.total_after)} stands in its place."
