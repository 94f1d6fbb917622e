"""The life of a customer on its page: where it stands, how it came there, and the moves that a person may make with a reason."""

from dataclasses import dataclass
from datetime import datetime

from django.http import Http404, HttpRequest, HttpResponse

from billing_site.display.admin import (
    TrackedAdmin,
    confirm_with_reason,
)
from billing_site.display.figures import moment_text
from billing_site.kernel.clock import now
from invoicing.core.life_cycle import FROM_EACH_STATE, Driver, State, Transition, trial_timer
from invoicing.customers.models import Customer, LifeCycleMove
from invoicing.subscriptions.agreements import billed_to
from invoicing.workflows.customer_standing import CustomerStanding, standing_now
from invoicing.workflows.move_life_cycle import move_customer
from invoicing.workflows.offboarding import Offboarding, offboarding_of

MOVE = "invoicing.move_customer"
# What a person does, by where the customer goes.
DEEDS = {State.SUSPENDED: "Suspend", State.CHURNED: "Close"}


@dataclass(frozen=True)
class LifeCycleCard:
    """What the page shows of a customer's life."""

    state: str
    moves: list[LifeCycleMove]
    outlook: str
    offboarding: Offboarding | None
    deeds: list[tuple[str, str]]


def life_cycle_card(*, customer: Customer, at: datetime, may_move: bool) -> LifeCycleCard:
    """Return the card of one customer at a moment; the state counts moves that the sweep has still to record."""
    standing = standing_now(customer_id=customer.pk, at=at)
    state = standing.state
    return LifeCycleCard(
        state=state_words(state),
        moves=list(customer.moves.order_by("-number")),
        outlook=_outlook(standing, customer.timezone) if state is State.TRIAL else "",
        offboarding=offboarding_of(customer=customer) if state is State.CHURNED and not standing.moves else None,
        deeds=[(DEEDS[row.to], row.to.value) for row in _moves_of_a_person(state)] if may_move else [],
    )


def state_words(state: State) -> str:
    """Return the word for a state, as its pill shows it."""
    return state.value.replace("_", " ")


def _outlook(standing: CustomerStanding, timezone: str) -> str:
    """Say what becomes of a customer in its trial by itself, and when (S0-123, S0-124)."""
    if any(one.starts_at > standing.at for one in standing.circumstances.stretches):
        return "It becomes active when its subscription is charged, and there is the means of payment that it needs."
    ends_at = trial_timer(since=standing.since, circumstances=standing.circumstances, at=standing.at)
    lacking = "a means of payment" if standing.circumstances.stretches else "a subscription"
    return f"Without {lacking} it churns by itself: {moment_text(ends_at, timezone)}."


def _moves_of_a_person(state: State) -> list[Transition]:
    return [row for row in FROM_EACH_STATE[state] if Driver.PERSON in row.drivers]


class LifeCyclePages(TrackedAdmin):
    """The page that moves a customer, for the admin of customers."""

    def move(self, request: HttpRequest, object_id: str, to: str) -> HttpResponse:
        """Say what a move does to billing, ask why, and make it."""
        customer: Customer = self.row_or_404(request, object_id)
        at = now()
        standing = standing_now(customer_id=customer.pk, at=at)
        row = next((row for row in _moves_of_a_person(standing.state) if row.to.value == to), None)
        if row is None:
            raise Http404(f"a customer that is {state_words(standing.state)} is not moved to {to} by a person")
        running = billed_to(customers=[customer.pk]).filter(started_at__lte=at).exclude(ended_at__lte=at).count()
        subscriptions = {0: "No subscription runs.", 1: "One subscription runs."}
        return confirm_with_reason(
            request,
            admin=self,
            row=customer,
            permission=MOVE,
            deed=lambda **who: move_customer(customer=customer, to=row.to, driver=Driver.PERSON, at=at, **who),
            done=lambda _: f"{customer} is {state_words(row.to)}.",
            title=f"{DEEDS[row.to]} {customer}",
            effect=f"{customer} is {state_words(standing.state)} and becomes {state_words(row.to)}, from now on. {row.billing}"
            f" {subscriptions.get(running, f'{running} subscriptions run.')}",
            submit=f"{DEEDS[row.to]} the customer",
            dangerous=True,
        )
