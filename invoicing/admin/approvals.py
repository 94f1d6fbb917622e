"""Approvals in the admin: what others ask for, decided with a reason, and the limits from which on a deed takes two."""

from decimal import Decimal
from typing import Any

from django import forms
from django.conf import settings
from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.db.models import Model, QuerySet
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from moneyed import Money
from unfold.decorators import action
from unfold.widgets import UnfoldAdminSelectWidget, UnfoldAdminTextInputWidget

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
from billing_site.display.amount_field import AmountField
from billing_site.display.figures import link, moment, money
from billing_site.display.pills import AMBER, GREEN, GREY, RED, pill
from billing_site.kernel.clock import now
from billing_site.kernel.errors import BillingError
from invoicing.approvals.models import (
    LIMITED,
    NO_CURRENCY,
    SWITCHED,
    Approval,
    ApprovalLimit,
    ApprovedDeed,
    Decision,
)
from invoicing.approvals.queries import REFUSED_FOR, approvals_to_give, decidable_deeds, own_requests, refused_lately
from invoicing.credit_notes.models import CreditNote
from invoicing.workflows.approve import decide
from invoicing.workflows.loosen_limit import amount_words, set_limit_or_ask
from invoicing.write_offs.models import WriteOff

SET_LIMIT = "invoicing.set_approvallimit"
TONES = {"": AMBER, Decision.APPROVED: GREEN, Decision.REFUSED: RED, Decision.WITHDRAWN: GREY}
# Where the subject of each deed is looked at (its number stands last in the subject), what is seen there, and what came of an approval.
PAGES = {
    ApprovedDeed.BILLING_RUN: ("runproposal", "the run, invoice by invoice", "Signed: it is issued there"),
    ApprovedDeed.RELEASE: ("invoicehold", "the held invoice, with what the checks found", "Released"),
    ApprovedDeed.CREDIT_NOTE: ("invoice", "the invoice it credits", "Issued as"),
    ApprovedDeed.WRITE_OFF: ("invoice", "the invoice that is given up", "Written off as"),
    ApprovedDeed.PRICE_VERSION: ("planversion", "the version, with its prices", "Published"),
    ApprovedDeed.OWN_PRICE: ("subscription", "the subscription, with the prices of its own", "Agreed"),
    ApprovedDeed.VOID: ("invoice", "the invoice that is declared void", "Void:"),
    ApprovedDeed.LIMIT: ("approvallimit", "the limit in force until then", "Set"),
    ApprovedDeed.CHECK: ("", "the checks, as they are set", "Set"),
    ApprovedDeed.PAYMENT_REVERSAL: ("payment", "the payment that is taken back", "Taken back"),
    ApprovedDeed.REOPENING: ("monthclose", "the month, with its certificate", "Opened again"),
}


class DecidedFilter(admin.SimpleListFilter):
    """By whether somebody has decided."""

    title = "state"
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """Return the states."""
        return [
            ("open", "Waits for a second person"),
            ("mine", "You could approve"),
            ("asked", "You ask for, and waits for others"),
            ("refused_lately", "You asked for, and was refused lately"),
            *Decision.choices,
        ]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Keep those in the chosen state."""
        name = actor_of(request)
        match self.value():
            case "open":
                return queryset.filter(decision="")
            case "mine":
                return queryset.filter(pk__in=approvals_to_give(name=name, allowed=request.user.has_perm).values("pk"))
            case "asked":
                return queryset.filter(pk__in=own_requests(name=name).values("pk"))
            case "refused_lately":
                mine = refused_lately(name=name, since=now() - REFUSED_FOR)
                return queryset.filter(pk__in=mine.values("pk"))
        return queryset.filter(decision=self.value()) if self.value() in Decision.values else queryset


def decided_words(approval: Approval) -> str | SafeString:
    """Say who decided, when and why."""
    if approval.decided_at is None:
        return f"nobody yet: somebody other than {approval.requested_by} decides"
    return format_html("{} ({}, {})", approval.decision_reason, approval.decided_by, moment(approval.decided_at))


def may_decide_deed(request: HttpRequest, deed: str) -> bool:
    """Say whether this person approves deeds of this kind: all of them, or these."""
    return deed in decidable_deeds(allowed=request.user.has_perm)


def is_own(request: HttpRequest, approval: Approval) -> bool:
    """Say whether this person asks for it."""
    return approval.requested_by.lower() == actor_of(request).lower()


def may_decide(request: HttpRequest, approval: Approval) -> bool:
    """Say whether this person may approve or refuse what another asks for."""
    return not approval.decision and not is_own(request, approval) and may_decide_deed(request, approval.deed)


def subject_page(approval: Approval) -> str:
    """Return where what is decided about is looked at."""
    page = PAGES[ApprovedDeed(approval.deed)][0]
    if not page:
        return reverse("admin:invoicing_gate_checks")
    return reverse(f"admin:invoicing_{page}_change", args=[approval.subject.rpartition(" ")[2]])


def sentence(text: str) -> str:
    """End a text that may end on an abbreviation (Lda.) with one full stop."""
    return text if text.endswith(".") else f"{text}."


def waits_words(done: object) -> str:
    """Say that a deed waits for a second person, where it does; "" where it is done."""
    return f"It takes two people: “{done}” waits for somebody else to approve." if isinstance(done, Approval) else ""


@admin.register(Approval)
class ApprovalAdmin(ReadOnlyAdmin):
    """Requests for deeds that take two people."""

    list_display = ("what", "state", "requested_by", moment_column("requested_at", "Asked"), "decided_by")
    list_display_links = ("what",)
    list_filter = (DecidedFilter, "deed")
    search_fields = ("summary", "reason", "requested_by", "decided_by")
    ordering = ("-id",)
    actions_detail = ("approve", "refuse", "withdraw")
    fields = ("what", "subject_link", "state", "figures", "asked_for", "decided", "outcome", "exactly")
    change_form_after_template = "backoffice/approval_decision.html"
    empty_message = "What takes two people (a billing run, a large release, credit note or write-off, new prices, a price of a customer's own, a looser limit, a check that takes two, a month to be opened again) stands here from when somebody asks for it."

    @admin.display(description="What", ordering="summary")
    def what(self, approval: Approval) -> str:
        """Show the deed with its figures."""
        return str(approval)

    @admin.display(description="Look at it")
    def subject_link(self, approval: Approval) -> SafeString:
        """Link to what is decided about."""
        return link(subject_page(approval), PAGES[ApprovedDeed(approval.deed)][1])

    @admin.display(description="State", ordering="decision")
    def state(self, approval: Approval) -> SafeString:
        """Show where it stands."""
        return pill(approval.get_decision_display().lower() or "waiting", tone=TONES[approval.decision])

    @admin.display(description="Figures")
    def figures(self, approval: Approval) -> SafeString:
        """Show what is asked for, figure by figure, as it was shown to whoever asks."""
        rows = approval.asked.get("figures", [])
        if not rows:
            return format_html('<span class="bo-faint">{}</span>', "on the page to look at")
        cells = format_html_join("", '<tr><td class="bo-break">{}</td><td class="bo-num">{}</td></tr>', rows)
        return format_html('<div class="bo-scroll"><table class="bo-table"><tbody>{}</tbody></table></div>', cells)

    @admin.display(description="Asked for")
    def asked_for(self, approval: Approval) -> SafeString:
        """Show by whom, when and why."""
        return format_html("{} ({}, {})", approval.reason, approval.requested_by, moment(approval.requested_at))

    @admin.display(description="Decided")
    def decided(self, approval: Approval) -> str | SafeString:
        """Show by whom, when and why."""
        return decided_words(approval)

    @admin.display(description="What came of it")
    def outcome(self, approval: Approval) -> str | SafeString:
        """Link to what was done once it was approved."""
        if approval.decision != Decision.APPROVED:
            return "nothing is done" if approval.decision else "nothing yet"
        words = PAGES[ApprovedDeed(approval.deed)][2]
        note = CreditNote.objects.filter(approval=approval).first()
        if note is not None:
            return link(reverse("admin:invoicing_creditnote_change", args=[note.pk]), f"{words} {note}")
        given_up = WriteOff.objects.filter(approval=approval).first()
        if given_up is not None:
            return link(reverse("admin:invoicing_writeoff_change", args=[given_up.pk]), f"{words} {given_up}")
        return link(subject_page(approval), words)

    @admin.display(description="Only exactly this is approved")
    def exactly(self, approval: Approval) -> SafeString:
        """Show the digest of what is approved."""
        return format_html('<span class="bo-hash">{}</span>', approval.digest)

    def get_readonly_fields(self, request: HttpRequest, obj: Model | None = None) -> tuple[str, ...]:
        """Show it all."""
        return self.fields

    def get_actions_detail(self, request: HttpRequest, object_id: int) -> list[Any]:
        """Offer no tabs: the buttons stand under the text, while there is something to decide."""
        return []

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Show the request, with the buttons that this person can press."""
        approval: Approval = self.row_or_404(request, object_id)
        return super().change_view(
            request,
            object_id,
            form_url,
            {
                "approval": approval,
                "may_decide": may_decide(request, approval),
                "may_withdraw": is_own(request, approval) and not approval.decision,
                **(extra_context or {}),
            },
        )

    @action(description="Approve", url_path="approve")
    def approve(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Approve it: the deed is done."""
        return self._decide(request, object_id, Decision.APPROVED)

    @action(description="Refuse", url_path="refuse")
    def refuse(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Refuse it: nothing is done."""
        return self._decide(request, object_id, Decision.REFUSED)

    @action(description="Withdraw", url_path="withdraw")
    def withdraw(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Take one's own request back."""
        return self._decide(request, object_id, Decision.WITHDRAWN)

    def _decide(self, request: HttpRequest, object_id: str, decision: Decision) -> HttpResponse:
        approval: Approval = self.row_or_404(request, object_id)
        own = is_own(request, approval)
        if not (own if decision is Decision.WITHDRAWN else not own and may_decide_deed(request, approval.deed)):
            raise PermissionDenied
        verb = {Decision.APPROVED: "Approve", Decision.REFUSED: "Refuse", Decision.WITHDRAWN: "Withdraw"}[decision]
        page = reverse("admin:invoicing_approval_change", args=[approval.pk])
        if approval.decision and request.method != "POST":
            return go(page)
        form = ReasonForm(request.POST or None)
        if request.method == "POST" and form.is_valid():
            attempt(
                request,
                lambda: decide(
                    approval_id=approval.pk,
                    digest=request.POST.get("digest", ""),
                    decision=decision,
                    at=now(),
                    actor=actor_of(request),
                    reason=form.cleaned_data["reason"],
                ),
                done=lambda decided: f"{decided.get_decision_display()}: {sentence(decided.summary)}",
            )
            return go(page)
        return confirmation(
            request,
            admin=self,
            title=f"{verb}: {approval.get_deed_display().lower()}",
            effect=f"{sentence(approval.summary)} {approval.requested_by} asks for it: {approval.reason}",
            form=form,
            submit=verb,
            hidden=[("digest", approval.digest)],
            back=page,
            row=approval,
        )


class LimitForm(ReasonForm):
    """From which amount on a deed takes a second person."""

    deed = forms.ChoiceField(
        choices=[(one.value, one.label) for one in (*LIMITED, *SWITCHED)], widget=UnfoldAdminSelectWidget
    )
    currency = forms.ChoiceField(choices=[(code, code) for code in settings.CURRENCIES], widget=UnfoldAdminSelectWidget)
    amount = AmountField(
        required=False,
        widget=UnfoldAdminTextInputWidget,
        help_text="This amount or more takes two people; empty: one person is enough for any amount. For the publication of prices and for prices of a customer's own there is no amount: enter 0 and it takes two people each time, leave it empty and one is enough.",
    )
    field_order = ("deed", "currency", "amount", "reason")


@admin.register(ApprovalLimit)
class ApprovalLimitAdmin(ReadOnlyAdmin):
    """Limits, the newest of each deed and currency in force."""

    list_display = ("limit", "deed", "of_currency", "actor", moment_column("set_at", "Set"), "reason")
    list_filter = ("deed", "currency")
    ordering = ("-id",)
    fields = ("deed", "of_currency", "limit", "in_force_since", "actor", "reason")
    empty_message = "Without a limit one person is enough to release a held invoice, to credit, to write off, to publish new prices or to agree a customer's own. Set one for each deed and currency that you bill in; for prices one says always or never."

    @admin.display(description="From", ordering="amount")
    def limit(self, limit: ApprovalLimit) -> str | SafeString:
        """Show the amount."""
        if limit.amount is None:
            return "no limit"
        return "always" if limit.currency == NO_CURRENCY else money(Money(limit.amount, limit.currency))

    @admin.display(description="Currency", ordering="currency")
    def of_currency(self, limit: ApprovalLimit) -> str:
        """Show the currency; nothing for deeds over no amount."""
        return "–" if limit.currency == NO_CURRENCY else limit.currency

    @admin.display(description="Set")
    def in_force_since(self, limit: ApprovalLimit) -> SafeString:
        """Show since when it holds."""
        return moment(limit.set_at)

    def get_readonly_fields(self, request: HttpRequest, obj: Model | None = None) -> tuple[str, ...]:
        """Show it all."""
        return self.fields

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Whoever may set limits sets new ones."""
        return bool(request.user.has_perm(SET_LIMIT))

    def add_view(
        self, request: HttpRequest, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Set a limit."""
        if not self.has_add_permission(request):
            raise PermissionDenied
        form = LimitForm(request.POST or None)
        back = reverse("admin:invoicing_approvallimit_changelist")
        if request.method == "POST" and form.is_valid() and self._set(request, form):
            return go(back)
        return confirmation(
            request,
            admin=self,
            title="Set a limit",
            effect="From this amount on the deed is done only when a second person approves: the release of a held invoice, a credit note (with what one person credited of the same invoice before), a write-off, declaring an invoice void. New prices are published, and prices of a customer's own agreed, by two people always, or never. A stricter limit holds from now on; a looser one, or none any more, once somebody else has approved it.",
            form=form,
            submit="Set the limit",
            back=back,
        )

    def _set(self, request: HttpRequest, form: LimitForm) -> bool:
        amount: Decimal | None = form.cleaned_data["amount"]
        deed = ApprovedDeed(form.cleaned_data["deed"])
        currency = NO_CURRENCY if deed in SWITCHED else form.cleaned_data["currency"]
        try:
            done = set_limit_or_ask(
                deed=deed,
                currency=currency,
                amount=amount,
                at=now(),
                actor=actor_of(request),
                reason=form.cleaned_data["reason"],
            )
        except BillingError as problem:
            add_field_errors(form, problem)
            return False
        told = (
            waits_words(done)
            or f"Set: {deed.label.lower()}, {amount_words(deed=deed, currency=currency, amount=amount)}."
        )
        attempt(request, lambda: None, done=lambda _: told)
        return True
