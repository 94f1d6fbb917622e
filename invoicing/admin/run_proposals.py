"""Billing runs that are looked at first: proposed, shown with every figure, signed by another, issued as signed."""

from datetime import UTC, datetime, time, timedelta
from decimal import Decimal
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.core.paginator import Paginator
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.safestring import SafeString
from moneyed import Money
from unfold.decorators import action
from unfold.widgets import UnfoldAdminSingleDateWidget

from billing_site.display.admin import (
    ReadOnlyAdmin,
    ReasonForm,
    actor_of,
    add_field_errors,
    attempt,
    confirmation,
    go,
    moment_column,
)
from billing_site.display.figures import moment_text, money_text, period_text
from billing_site.display.pills import AMBER, BLUE, GREEN, RED, pill
from billing_site.kernel.clock import now
from billing_site.kernel.errors import BillingError
from invoicing.admin.approvals import decided_words, may_decide, may_decide_deed
from invoicing.admin.invoice_page import ISSUE
from invoicing.approvals.models import ApprovedDeed, Decision
from invoicing.invoices.models import Invoice, InvoiceStatus
from invoicing.run_proposals.models import HELD, ISSUED, RunProposal
from invoicing.run_proposals.queries import issued_since
from invoicing.workflows.approve import decide
from invoicing.workflows.propose_run import ask_to_issue, propose_run, run_summary, show_run_again
from invoicing.workflows.run_figures import run_sums

PAGE_INVOICES = 100
# What the worker does, and the page waits for.
UNDER_WAY = ("counting", "issuing")


class ProposeForm(ReasonForm):
    """Which periods a run bills, and why it is made."""

    until = forms.DateField(
        widget=UnfoldAdminSingleDateWidget,
        label="Periods that ended by",
        help_text="The end of this day (UTC); of today, this moment. What is invoiced already is left out.",
    )
    field_order = ("until", "reason")

    def as_of(self, *, at: datetime) -> datetime:
        """Return the moment up to which is billed; a day to come stays one, to be refused by its name."""
        day: datetime = datetime.combine(self.cleaned_data["until"], time(), UTC)
        return at if day.date() == at.date() else day + timedelta(days=1)


def _summary(proposal: RunProposal) -> str:
    if not proposal.figures:
        return ""
    return run_summary(figures=proposal.figures, is_issued=proposal.committed_at is not None)


def proposal_state(*, proposal: RunProposal) -> tuple[str, str, str]:
    """Return the word, its tone, and what is to be done."""
    approval = proposal.approval
    if proposal.committed_at is not None:
        return "issued", GREEN, "Issued as it was signed: nothing to do."
    if proposal.figures is None:
        return "counting", BLUE, "The worker is making the run on trial: this page shows it in a moment."
    if proposal.refusal:
        return "refused", RED, f"{proposal.refusal}. Make the figures again, and have them signed."
    if stale := issued_since(proposal=proposal):
        return "outdated", RED, f"{stale} since. Make the figures again, and have them signed."
    if approval is None or approval.digest != proposal.figures_digest or not approval.decision:
        return "to sign", AMBER, f"Somebody other than {proposal.proposed_by} looks at the figures and signs them."
    if approval.decision != Decision.APPROVED:
        return "not signed", RED, f"{approval.decided_by} has {approval.decision} it: {approval.decision_reason}"
    if proposal.asked_at is not None and approval.decided_at is not None and proposal.asked_at >= approval.decided_at:
        return "issuing", BLUE, "The worker is issuing it, all at once: this page shows it in a moment."
    return "signed", GREEN, "Signed: it can be issued, as long as no figure differs."


@admin.register(RunProposal)
class RunProposalAdmin(ReadOnlyAdmin):
    """Proposed billing runs."""

    list_display = ("title", "state", "summary", "proposed_by", moment_column("proposed_at", "Proposed"))
    list_select_related = ("approval",)
    ordering = ("-id",)
    search_fields = ("proposed_by", "reason")
    actions_detail = ("sign", "refuse", "issue", "again")
    add_title = "Propose a run"
    empty_message = "Propose a run to see every invoice that it would issue, what it holds, and what changed; somebody else signs it."

    @admin.display(description="Run")
    def title(self, proposal: RunProposal) -> str:
        """Show what it bills."""
        return str(proposal)

    @admin.display(description="State")
    def state(self, proposal: RunProposal) -> SafeString:
        """Show where it stands."""
        word, tone, _ = proposal_state(proposal=proposal)
        return pill(word, tone=tone)

    @admin.display(description="What it does")
    def summary(self, proposal: RunProposal) -> str:
        """Say in figures what it does."""
        return _summary(proposal) or "–"

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Whoever may issue invoices proposes runs."""
        return bool(request.user.has_perm(ISSUE))

    def add_view(
        self, request: HttpRequest, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Take what is to be billed, queue its trial, and go to the page that shows it."""
        if not self.has_add_permission(request):
            raise PermissionDenied
        at = now()
        form = ProposeForm(request.POST or None, initial={"until": at.date()})
        if request.method == "POST" and form.is_valid():
            try:
                proposal = propose_run(
                    as_of=form.as_of(at=at), at=at, actor=actor_of(request), reason=form.cleaned_data["reason"]
                )
                return go(_page(proposal))
            except BillingError as problem:
                add_field_errors(form, problem, renamed={"as_of": "until"})
        return confirmation(
            request,
            admin=self,
            title="Propose a billing run",
            effect="The run is made on trial: the next page shows each invoice, what is held and why, and what changed against the last"
            " period. Its drafts are kept, so that you can look at each. The run itself is issued when somebody else has signed it there.",
            form=form,
            submit="See what it would do",
            back=reverse("admin:invoicing_runproposal_changelist"),
        )

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Show every figure of the run, who asked, who signed, and what to do."""
        proposal: RunProposal = self.row_or_404(request, object_id)
        approval = proposal.approval
        word, tone, todo = proposal_state(proposal=proposal)
        figures: dict[str, Any] = proposal.figures or {"rows": [], "gone": [], "failures": [], "messages": {}}
        page = Paginator(_in_order(figures["rows"]), PAGE_INVOICES).get_page(request.GET.get("page", "1"))
        may_issue = request.user.has_perm(ISSUE)
        context = self.page_context(
            request,
            title=str(proposal),
            row=proposal,
            state=pill(word, tone=tone),
            todo=todo,
            is_under_way=word in UNDER_WAY,
            summary=_summary(proposal),
            approval=approval,
            decided=decided_words(approval) if approval else "",
            sums=run_sums(figures=figures),
            page=page,
            rows=_shown(list(page)),
            gone=[{**one, "before": Money(one["before"], one["currency"])} for one in figures["gone"]],
            failures=[(key, figures["messages"].get(key, "")) for key in figures["failures"]],
            may_sign=approval is not None and word == "to sign" and may_decide(request, approval),
            may_issue=may_issue and word == "signed",
            may_repeat=may_issue and proposal.figures is not None and word not in ("issued", "issuing"),
        )
        return TemplateResponse(request, "backoffice/run_proposal.html", context)

    @action(description="Sign", url_path="sign")
    def sign(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Sign the figures that were shown."""
        return self._decide(request, object_id, Decision.APPROVED)

    @action(description="Refuse", url_path="refuse")
    def refuse(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Refuse to sign."""
        return self._decide(request, object_id, Decision.REFUSED)

    def _decide(self, request: HttpRequest, object_id: str, decision: Decision) -> HttpResponse:
        proposal: RunProposal = self.row_or_404(request, object_id)
        if not may_decide_deed(request, ApprovedDeed.BILLING_RUN.value):
            raise PermissionDenied
        approval = proposal.approval
        if approval is None or proposal.figures is None:
            return go(_page(proposal))
        if decision is Decision.APPROVED and (stale := issued_since(proposal=proposal)):
            messages.error(request, f"Not signed: {stale} since. Make the figures again.")
            return go(_page(proposal))
        # Of the page that led here: who signs has looked at these figures, not at those that were made meanwhile.
        looked_at = request.POST.get("digest") or request.GET.get("digest", "")
        if looked_at != proposal.figures_digest:
            messages.error(request, "The figures were made again: look at them first.")
            return go(_page(proposal))
        form = ReasonForm(request.POST if "digest" in request.POST else None)
        signs = decision is Decision.APPROVED
        if form.is_valid():
            attempt(
                request,
                lambda: decide(
                    approval_id=approval.pk,
                    digest=request.POST["digest"],
                    decision=decision,
                    at=now(),
                    actor=actor_of(request),
                    reason=form.cleaned_data["reason"],
                ),
                done=lambda _: "Signed: it can be issued as it is." if signs else "Refused: nothing is issued.",
            )
            return go(_page(proposal))
        return confirmation(
            request,
            admin=self,
            title=f"{'Sign' if signs else 'Refuse'} the billing run as of {moment_text(proposal.as_of)}",
            effect=f"{run_summary(figures=proposal.figures)}. You sign the digest of every figure, {proposal.figures_digest[:12]}…:"
            " where one differs by the time it is issued, nothing is."
            if signs
            else f"{run_summary(figures=proposal.figures)}: nothing of it is issued.",
            form=form,
            submit="Sign it" if signs else "Refuse it",
            hidden=[("digest", looked_at)],
            back=_page(proposal),
            row=proposal,
        )

    @action(description="Issue", url_path="issue")
    def issue(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Queue the issue of what was signed, once it was said what that does."""
        proposal = self._mine(request, object_id)
        if proposal.figures is None:
            return go(_page(proposal))
        if request.method == "POST":
            attempt(
                request,
                lambda: ask_to_issue(
                    proposal_id=proposal.pk,
                    digest=request.POST.get("digest", ""),
                    at=now(),
                    actor=actor_of(request),
                ),
                done=lambda _: "The worker issues it now, all at once.",
            )
            return go(_page(proposal))
        if proposal_state(proposal=proposal)[0] != "signed":
            return go(_page(proposal))
        return confirmation(
            request,
            admin=self,
            title=f"Issue the billing run as of {moment_text(proposal.as_of)}",
            effect=f"{run_summary(figures=proposal.figures)}. They get their numbers, go to Stripe where it collects them, and cannot be changed any more.",
            form=forms.Form(),
            submit="Issue it as signed",
            hidden=[("digest", proposal.figures_digest)],
            back=_page(proposal),
            row=proposal,
        )

    @action(description="Make the figures again", url_path="again")
    def again(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Queue the trial once more."""
        proposal = self._mine(request, object_id)
        if request.method == "POST":
            attempt(
                request,
                lambda: show_run_again(proposal_id=proposal.pk),
                done=lambda _: "The worker makes the figures again: reload in a moment.",
            )
        return go(_page(proposal))

    def _mine(self, request: HttpRequest, object_id: str) -> RunProposal:
        proposal: RunProposal = self.row_or_404(request, object_id)
        if not self.has_add_permission(request):
            raise PermissionDenied
        return proposal


def _page(proposal: RunProposal) -> str:
    return reverse("admin:invoicing_runproposal_change", args=[proposal.pk])


def _change(row: dict[str, Any]) -> Decimal:
    return Decimal(row["total"]) - Decimal(row["before"] or 0)


def _change_words(row: dict[str, Any]) -> str:
    change = _change(row)
    return f"{'+' if change > 0 else ''}{money_text(Money(change, row['currency']))}"


def _in_order(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return what is held first, then by currency what changed most."""
    return sorted(
        rows, key=lambda row: (row["state"] == ISSUED, row["state"] != HELD, row["currency"], -abs(_change(row)))
    )


def _shown(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return rows with money and a link to each invoice or draft that is there."""
    starts = {datetime.fromisoformat(row["period_start"]) for row in rows}
    found = Invoice.objects.filter(
        customer__key__in=[row["customer"] for row in rows], period_start__in=starts, kind="period"
    ).exclude(status=InvoiceStatus.VOID)
    places = found.values_list("customer__key", "period_start", "pk", "number")
    pages = {(key, start): (pk, number) for key, start, pk, number in places}
    shown = []
    for row in rows:
        start, end = (datetime.fromisoformat(row[name]) for name in ("period_start", "period_end"))
        currency = row["currency"]
        page, number = pages.get((row["customer"], start), (None, None))
        shown.append(
            {
                **row,
                "page": page,
                "number": number,
                "period": period_text(start=start, end=end, timezone=row["timezone"]),
                "total": Money(row["total"], currency),
                "before": Money(row["before"], currency) if row["before"] else None,
                "change": _change_words(row) if row["before"] else "new",
            }
        )
    return shown
