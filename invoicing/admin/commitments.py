"""Commitments on a subscription's page: agreed, burnt down in a chart, withdrawn before they are billed."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from django import forms
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.urls import path, reverse
from django.utils.safestring import SafeString
from moneyed import Money
from unfold.decorators import action
from unfold.widgets import (
    UnfoldAdminIntegerFieldWidget,
    UnfoldAdminSelectWidget,
    UnfoldAdminSplitDateTimeWidget,
    UnfoldAdminTextInputWidget,
    UnfoldBooleanWidget,
)

from billing_site.display.admin import (
    ReasonForm,
    TrackedAdmin,
    actor_of,
    add_field_errors,
    attempt,
    confirmation,
    go,
)
from billing_site.display.charts import Series, bar_chart
from billing_site.display.figures import money_text, period_text
from billing_site.kernel.clock import now
from billing_site.kernel.errors import BillingError
from billing_site.kernel.money import EXACT, plain, round_money
from invoicing.core.numbers import Mistake, read_number
from invoicing.subscriptions.commit import (
    OVERAGE_RATE_MAX,
    PERIODS_MAX,
    TrancheWanted,
    commit_spend,
    withdraw_commitment,
)
from invoicing.subscriptions.commitment import Commitment, CommitmentPayment, CommitmentTranche
from invoicing.subscriptions.committed import burndown_of, spent_by_period
from invoicing.subscriptions.models import Subscription

CHANGE = "invoicing.change_subscription"
BURNDOWN = "What was left at the start and after each billing period"
BAR_WIDTH = 56


@dataclass(frozen=True)
class TrancheRow:
    """A tranche as the page shows it."""

    days: str
    figures: dict[str, Money]
    is_settled: bool
    standing: str
    chart: "BurnDownChart | None"


@dataclass(frozen=True)
class BurnDownChart:
    """What was left of a tranche, at its start and after each billing period: drawn, and as a table of period, spent and left."""

    drawing: SafeString
    width: int
    rows: list[tuple[str, Money, Money]]


@dataclass(frozen=True)
class CommitmentCard:
    """A commitment with its tranches; `terms` says in words how it works."""

    commitment: Commitment
    terms: str
    rows: list[TrancheRow]
    is_billed: bool


class ExactField(forms.CharField):
    """A plain decimal number, exact."""

    def __init__(self, **options: Any) -> None:
        """Take one line of text."""
        super().__init__(widget=UnfoldAdminTextInputWidget(), **options)

    def clean(self, value: Any) -> Decimal | None:
        """Return the number, None where the field is empty and may be."""
        text = super().clean(value)
        if not text:
            return None
        number = read_number(text.strip())
        if isinstance(number, Mistake):
            raise forms.ValidationError(number.message, code=number.code)
        return number


class CommitForm(ReasonForm):
    """What a customer promises; the amounts of a ramp are separated by commas."""

    starts_at = forms.SplitDateTimeField(
        label="Starts at (UTC)",
        widget=UnfoldAdminSplitDateTimeWidget(),
        help_text="It begins with the billing period that holds this moment.",
    )
    payment = forms.ChoiceField(choices=CommitmentPayment.choices, widget=UnfoldAdminSelectWidget())
    amounts = forms.CharField(
        label="Promised amounts",
        widget=UnfoldAdminTextInputWidget(),
        max_length=1000,
        help_text="12000, or for a ramp one amount a tranche: 12000, 18000, 24000. In the customer's currency.",
    )
    periods = forms.IntegerField(
        label="Billing periods of each tranche",
        initial=12,
        min_value=1,
        max_value=PERIODS_MAX,
        widget=UnfoldAdminIntegerFieldWidget(),
        help_text="Of a monthly plan, 12 are a contract year.",
    )
    overage_rate = ExactField(
        initial="1",
        label="Overage rate",
        help_text=f"What use beyond the commitment costs, as a fraction of the list price: 0.8 is 80 %, 1 the list price; up to {OVERAGE_RATE_MAX}.",
    )
    rolls_over = forms.BooleanField(
        required=False, widget=UnfoldBooleanWidget(), label="What is left of a tranche goes on into the next one"
    )
    rollover_max = ExactField(
        required=False, label="Rolls over at most", help_text="In the customer's currency. Empty: all of it."
    )
    field_order = ("starts_at", "payment", "amounts", "periods", "overage_rate", "rolls_over", "rollover_max", "reason")

    def clean_amounts(self) -> list[Decimal]:
        """Return the amounts of the tranches."""
        amounts = []
        for text in self.cleaned_data["amounts"].split(","):
            number = read_number(text.strip())
            if isinstance(number, Mistake):
                raise forms.ValidationError(f"{text.strip() or 'an amount'} {number.message}", code=number.code)
            amounts.append(number)
        return amounts


class CommitmentPages(TrackedAdmin):
    """Agree and withdraw, for the admin of subscriptions."""

    def get_urls(self) -> list[Any]:
        """Add the address that withdraws one."""
        page = path(
            "<int:object_id>/commitments/<int:number>/withdraw/",
            self.admin_site.admin_view(self.withdraw),
            name="invoicing_subscription_withdraw_commitment",
        )
        return [page, *super().get_urls()]

    @action(description="Commit spend", url_path="commit")
    def commit(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Ask what is promised, then agree it."""
        subscription: Subscription = self.row_or_404(request, object_id)
        if not request.user.has_perm(CHANGE):
            raise PermissionDenied
        form = CommitForm(request.POST or None, initial={"starts_at": now().replace(minute=0, second=0, microsecond=0)})
        if request.method == "POST" and form.is_valid():
            try:
                commitment = _commit(subscription, form.cleaned_data, actor=actor_of(request))
            except BillingError as problem:
                add_field_errors(form, problem, renamed=_renamed(form))
            else:
                self.message_user(request, f"The commitment of {subscription.key} is agreed: {_terms(commitment)}")
                return go(_page(subscription))
        return confirmation(
            request,
            admin=self,
            title=f"Commit spend under {subscription.key}",
            effect=f"{subscription.customer} promises to spend so much in {subscription.customer.currency}. It stays as agreed; "
            "until the first draft or invoice knows of it, it can be withdrawn.",
            form=form,
            submit="Commit",
            back=_page(subscription),
            row=subscription,
        )

    def withdraw(self, request: HttpRequest, object_id: int, number: int) -> HttpResponse:
        """Withdraw a commitment after a confirmation."""
        subscription: Subscription = self.row_or_404(request, str(object_id))
        commitment = subscription.commitments.filter(pk=number).first()
        if commitment is None:
            raise Http404("there is no such commitment")
        if not request.user.has_perm(CHANGE):
            raise PermissionDenied
        form = ReasonForm(request.POST or None)
        if request.method == "POST" and form.is_valid():
            attempt(
                request,
                lambda: withdraw_commitment(commitment=commitment),
                done=lambda _: f"The commitment of {subscription.key} is withdrawn.",
            )
            return go(_page(subscription))
        return confirmation(
            request,
            admin=self,
            title=f"Withdraw the commitment of {subscription.key}",
            effect="It is as if it had never been agreed. Where a draft or an invoice has lines of it, it stays.",
            form=form,
            submit="Withdraw it",
            back=_page(subscription),
            dangerous=True,
            row=subscription,
        )


def commitment_cards(*, subscription: Subscription, at: datetime) -> list[CommitmentCard]:
    """Return the commitments of a subscription as its page shows them at a moment, the newest first."""
    return [
        CommitmentCard(
            commitment=one,
            terms=_terms(one),
            rows=[
                _row(tranche, subscription.customer.timezone, at=at) for tranche in one.tranches.order_by("position")
            ],
            is_billed=one.tranches.filter(lines__isnull=False).exists(),
        )
        for one in subscription.commitments.order_by("-id")
    ]


def _terms(commitment: Commitment) -> str:
    told = commitment.get_payment_display()
    if commitment.overage_rate != 1:
        told += f"; beyond it {plain(EXACT.multiply(commitment.overage_rate, Decimal(100)))} % of the list price"
    if commitment.rolls_over:
        most = commitment.rollover_max
        told += "; what is left rolls over" if most is None else f"; up to {money_text(most)} roll over"
    return f"{told}."


def _row(tranche: CommitmentTranche, timezone: str, *, at: datetime) -> TrancheRow:
    burndown = burndown_of(tranche=tranche)
    names = ("promised", "rolled_in", "spent", "trued_up", "expired", "rolled_over", "left")
    figures = {name: round_money(getattr(burndown, name), tranche.currency) for name in names}
    days = period_text(start=tranche.starts_at, end=tranche.ends_at, timezone=timezone)
    return TrancheRow(days, figures, burndown.is_settled, _standing(tranche, at=at), _chart(tranche, figures, timezone))


def _standing(tranche: CommitmentTranche, *, at: datetime) -> str:
    """Say where a tranche stands that no invoice has settled."""
    if at < tranche.starts_at:
        return "has not begun"
    return "runs" if at < tranche.ends_at else "is over; the invoice of its last period settles it"


def _chart(tranche: CommitmentTranche, figures: dict[str, Money], timezone: str) -> BurnDownChart | None:
    """Draw what was left at the start and after each billing period that has an invoice or draft; None where there is none."""
    spent = spent_by_period(tranche=tranche)
    if not spent:
        return None
    left = EXACT.add(figures["promised"].amount, figures["rolled_in"].amount)
    values, rows = [left], []
    for period, amount in spent.items():
        left = max(EXACT.subtract(left, amount), Decimal(0))
        values.append(left)
        days = period_text(start=period.start, end=period.end, timezone=timezone)
        rows.append((days, round_money(amount, tranche.currency), round_money(left, tranche.currency)))
    labels = ["at the start", *(days for days, _, _ in rows)]
    texts = [f"{money_text(round_money(value, tranche.currency))} left" for value in values]
    drawing = bar_chart(title=BURNDOWN, labels=labels, series=[Series("", 1, values, texts)])
    return BurnDownChart(drawing, BAR_WIDTH * len(values), rows)


def _commit(subscription: Subscription, fields: dict[str, Any], *, actor: str) -> Commitment:
    return commit_spend(
        subscription=subscription,
        starts_at=fields["starts_at"],
        payment=fields["payment"],
        tranches=[TrancheWanted(fields["periods"], amount) for amount in fields["amounts"]],
        rolls_over=fields["rolls_over"],
        rollover_max=fields["rollover_max"],
        overage_rate=fields["overage_rate"],
        at=now(),
        actor=actor,
        reason=fields["reason"],
    )


def _renamed(form: CommitForm) -> dict[str, str]:
    """Return the operation's words for what the form asks in one line."""
    places = range(len(form.cleaned_data.get("amounts", ())))
    renamed = {f"tranches[{place}].{name}": to for place in places for name, to in RENAMED.items()}
    return renamed | {"tranches": "amounts"}


RENAMED = {"amount": "amounts", "periods": "periods"}


def _page(subscription: Subscription) -> str:
    return reverse("admin:invoicing_subscription_change", args=[subscription.pk])
