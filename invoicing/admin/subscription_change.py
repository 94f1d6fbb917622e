"""Change a subscription in two steps: what it would do to the running and the next invoices, then the change itself."""

from collections.abc import Sequence
from datetime import datetime

from django import forms
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import reverse
from unfold.decorators import action

from billing_site.display.admin import (
    ConfirmedTable,
    ReasonForm,
    TrackedAdmin,
    actor_of,
    add_field_errors,
    confirmation,
    go,
)
from billing_site.display.changes import readable
from billing_site.display.figures import moment_text, money_text, period_text
from billing_site.kernel.clock import now
from billing_site.kernel.errors import BillingError
from billing_site.kernel.period import Period
from invoicing.admin.approvals import waits_words
from invoicing.admin.own_price import definition_text, fields_of, own_price_of, words_of
from invoicing.admin.subscription_change_form import (
    KINDS,
    ChangeForm,
    kind_asked,
    kinds_offered,
    prices_of_plan,
)
from invoicing.approvals.models import Approval, ApprovedDeed
from invoicing.approvals.queries import takes_two
from invoicing.catalog.models import PlanVersion
from invoicing.catalog.price_words import price_in_words
from invoicing.subscriptions.change import Change, ChangeKind
from invoicing.subscriptions.models import Subscription
from invoicing.subscriptions.queries import phase_shown
from invoicing.workflows.agree_price import change_or_ask
from invoicing.workflows.line_effects import LineEffect
from invoicing.workflows.preview_change import ChangePreview, PeriodEffect, preview_change


class ConfirmForm(ReasonForm):
    """The change that was shown, as hidden fields, and why it is made."""

    kind = forms.ChoiceField(choices=[(kind.value, "") for kind in ChangeKind], widget=forms.HiddenInput())
    at = forms.CharField(widget=forms.HiddenInput())
    plan_version = forms.ModelChoiceField(
        queryset=PlanVersion.objects.all(), required=False, widget=forms.HiddenInput()
    )
    quantity = forms.IntegerField(required=False, widget=forms.HiddenInput())
    price = forms.CharField(required=False, widget=forms.HiddenInput())
    definition = forms.CharField(required=False, widget=forms.HiddenInput())
    until = forms.DateTimeField(required=False, widget=forms.HiddenInput())
    scope = forms.CharField(required=False, widget=forms.HiddenInput())
    digest = forms.CharField(max_length=64, widget=forms.HiddenInput())

    def clean_at(self) -> datetime:
        """Read the moment that was shown."""
        try:
            return datetime.fromisoformat(self.cleaned_data["at"])
        except ValueError as problem:
            raise forms.ValidationError("is not a moment") from problem

    def change(self) -> Change:
        """Return the change."""
        fields = self.cleaned_data
        kind = ChangeKind(fields["kind"])
        own = own_price_of(fields=fields) if kind is ChangeKind.PRICE else None
        return Change(kind, fields["at"], fields["plan_version"], fields["quantity"], own)


class ChangePages(TrackedAdmin):
    """The two steps, for the admin of subscriptions."""

    @action(description="Change", url_path="change-terms")
    def change_terms(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Ask what is to change, show what follows, then make it exactly so."""
        subscription: Subscription = self.row_or_404(request, object_id)
        if not request.user.has_perm("invoicing.change_subscription"):
            raise PermissionDenied
        if "digest" in request.POST:
            return self._make(request, subscription)
        offered = kinds_offered(subscription=subscription)
        kind = kind_asked(wanted=request.POST.get("kind") or request.GET.get("kind"), offered=offered)
        form = ChangeForm(
            request.POST or None, subscription=subscription, kind=kind, initial=_initial(request, subscription, kind)
        )
        if request.method == "POST" and form.is_valid():
            try:
                preview = preview_change(subscription=subscription, change=form.change(subscription), at=now())
            except BillingError as problem:
                add_field_errors(form, problem, renamed=form.renamed)
            else:
                return self._confirm(request, subscription, preview, ConfirmForm(initial=_shown(preview)))
        return self._ask(request, subscription, form, kind, offered)

    def _ask(
        self,
        request: HttpRequest,
        subscription: Subscription,
        form: ChangeForm,
        kind: ChangeKind,
        offered: Sequence[ChangeKind],
    ) -> HttpResponse:
        context = self.page_context(
            request,
            title=f"Change subscription {subscription.key}",
            row=subscription,
            form=form,
            words=KINDS[kind],
            kinds=[(each, KINDS[each].name, each is kind) for each in offered],
            prices=_prices_worded(subscription) if kind is ChangeKind.PRICE else (),
            back=_page(subscription),
        )
        return TemplateResponse(request, "backoffice/subscription_change.html", context)

    def _make(self, request: HttpRequest, subscription: Subscription) -> HttpResponse:
        form = ConfirmForm(request.POST)
        if form.is_valid():
            try:
                done = change_or_ask(
                    subscription=subscription,
                    change=form.change(),
                    at=now(),
                    digest=form.cleaned_data["digest"],
                    actor=actor_of(request),
                    reason=form.cleaned_data["reason"],
                )
            except BillingError as problem:
                self.message_user(request, f"Nothing has changed: {readable(problem.message)}", level="error")
                return go(request.path)
            if isinstance(done, Approval):
                self.message_user(request, waits_words(done), level="warning")
                return go(reverse("admin:invoicing_approval_change", args=[done.pk]))
            self.message_user(request, f"Subscription {subscription.key}: {_words(done, subscription)}")
            return go(_page(subscription))
        if set(form.errors) == {"reason"}:
            # Only the reason is missing: the figures are shown again.
            preview = preview_change(subscription=subscription, change=form.change(), at=now())
            return self._confirm(request, subscription, preview, form)
        self.message_user(request, "Nothing has changed: state the change again.", level="error")
        return go(request.path)

    def _confirm(
        self, request: HttpRequest, subscription: Subscription, preview: ChangePreview, form: ConfirmForm
    ) -> HttpResponse:
        takes_second = preview.change.kind is ChangeKind.PRICE and takes_two(deed=ApprovedDeed.OWN_PRICE)
        warnings = ["It takes two people: somebody else has to approve it before it holds."] if takes_second else []
        return confirmation(
            request,
            admin=self,
            title=f"Change subscription {subscription.key}",
            effect=f"{_words(preview, subscription)} {_money_words(preview)}",
            form=form,
            submit="Ask a second person" if takes_second else "Make the change",
            back=reverse("admin:invoicing_subscription_change_terms", args=[subscription.pk]),
            warnings=["It is so already: nothing would change."] if preview.changes_nothing else warnings,
            dangerous=preview.change.kind is ChangeKind.CANCEL,
            row=subscription,
            table=_table(subscription, preview),
            details=[_lines(effect, subscription.customer.timezone) for effect in preview.periods],
        )


def _initial(request: HttpRequest, subscription: Subscription, kind: ChangeKind) -> dict[str, object]:
    """Begin with the price that was chosen on the page, as the plan has it."""
    if kind is not ChangeKind.PRICE or "price" not in request.GET:
        return {"kind": kind.value}
    chosen = prices_of_plan(subscription=subscription).filter(key=request.GET["price"]).first()
    if chosen is None:
        return {"kind": kind.value}
    return {"kind": kind.value, "price": chosen.key, "definition": definition_text(price=chosen)}


def _prices_worded(subscription: Subscription) -> list[tuple[str, str, list[str]]]:
    """Return the key, the name and the words of each price that can be agreed otherwise."""
    cadence = phase_shown(subscription=subscription, at=now()).plan_version.cadence
    prices = prices_of_plan(subscription=subscription)
    return [(price.key, price.name, price_in_words(price=price, cadence=cadence)) for price in prices]


def _shown(preview: ChangePreview) -> dict[str, object]:
    change = preview.change
    return {
        "kind": change.kind.value,
        "at": change.at.isoformat(),
        "plan_version": change.plan_version.pk if change.plan_version else None,
        "quantity": change.quantity,
        **fields_of(own=change.own_price),
        "digest": preview.digest,
    }


def _words(preview: ChangePreview, subscription: Subscription) -> str:
    """Say what the change is and from when on."""
    change = preview.change
    at = moment_text(change.at, preview.before.timezone)
    match change.kind:
        case ChangeKind.PLAN:
            return f"From {at} on {change.plan_version} is in force."
        case ChangeKind.QUANTITY:
            return f"From {at} on it holds {change.quantity:,} seats."
        case ChangeKind.PRICE:
            assert change.own_price is not None, "a change of price says what is agreed"
            return words_of(own=change.own_price, at=change.at, subscription=subscription)
        case ChangeKind.PAUSE:
            return f"From {at} on nothing is charged, until it is resumed."
        case ChangeKind.RESUME:
            return f"From {at} on it is charged again."
        case ChangeKind.TRIAL_END:
            return f"Its trial ends at {at}; from then on it is charged."
        case ChangeKind.CANCEL:
            return f"It ends at {at}; what was used before is still billed."
        case ChangeKind.REACTIVATE:
            return "It goes on until further notice."


def _money_words(preview: ChangePreview) -> str:
    if not preview.periods:
        return "No invoice that is still to be issued changes."
    difference = preview.difference
    if not difference.amount:
        return "With the usage known now, the invoices shown cost the same."
    more = "more" if difference.amount > 0 else "less"
    return f"With the usage known now, the customer owes {money_text(abs(difference))} {more} on the invoices shown."


def _table(subscription: Subscription, preview: ChangePreview) -> ConfirmedTable | None:
    if not preview.periods:
        return None
    zone = subscription.customer.timezone
    return ConfirmedTable(
        titles=("Invoice of the customer for", "As it is", "With the change", "Difference"),
        rows=[
            (
                period_text(start=effect.period.start, end=effect.period.end, timezone=zone),
                money_text(effect.before.total),
                money_text(effect.after.total),
                money_text(effect.difference),
            )
            for effect in preview.periods
        ],
        more="Usage that is still to come is not in these figures: coming periods show fees only.",
    )


def _lines(effect: PeriodEffect, timezone: str) -> ConfirmedTable:
    """Return the lines of one invoice before and after, each with its days where it covers a part of the period only."""
    period = period_text(start=effect.period.start, end=effect.period.end, timezone=timezone)
    return ConfirmedTable(
        caption=f"Lines of {period}",
        titles=("Line", "As it is", "With the change", "Difference"),
        rows=[
            (
                _line_words(line, effect.period, timezone),
                money_text(line.before) if line.before is not None else "–",
                money_text(line.after) if line.after is not None else "–",
                money_text(line.difference) if line.difference.amount else "–",
            )
            for line in effect.lines
        ],
    )


def _line_words(line: LineEffect, period: Period, timezone: str) -> str:
    service = line.service_period
    if service is None or service == period:
        return line.description
    return f"{line.description}, {period_text(start=service.start, end=service.end, timezone=timezone)}"


def _page(subscription: Subscription) -> str:
    return reverse("admin:invoicing_subscription_change", args=[subscription.pk])
