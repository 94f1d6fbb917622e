"""Where customers stand in their life, and the one place that moves them."""

from datetime import datetime

from django.db import connection
from django.db.models import CharField, OuterRef, QuerySet, Subquery, Value
from django.db.models.functions import Coalesce

from billing_site.kernel.errors import Conflict
from billing_site.kernel.written_query import WrittenObjects, WrittenQuery
from invoicing.core.life_cycle import Driver, State, Transition, transition_between
from invoicing.customers.models import Customer, LifeCycleMove


def with_state(customers: "QuerySet[Customer]") -> "QuerySet[Customer]":
    """Return the customers with `state`, and `state_since` where they ever moved."""
    moves = LifeCycleMove.objects.filter(customer=OuterRef("pk")).order_by("-number")
    return customers.annotate(
        state=Coalesce(
            Subquery(moves.values("to_state")[:1]), Value(State.TRIAL.value), output_field=CharField(max_length=20)
        ),
        state_since=Subquery(moves.values("moved_at")[:1]),
    )


def state_of(*, customer: Customer) -> State:
    """Return the recorded state of a customer, read now."""
    return recorded_state(customer_id=customer.pk)


def recorded_state(*, customer_id: int) -> State:
    """Return the same of a customer by its number; one column is read."""
    found = _STATE.rows(customer=customer_id)
    return State(found[0][0]) if found else State.TRIAL


def last_move(*, customer: Customer) -> LifeCycleMove | None:
    """Return the customer's last move; None where it is in the trial that began with its registration."""
    return _LAST_MOVE.first(customer=customer.pk)


def _moves_of(customer: int) -> "QuerySet[LifeCycleMove]":
    return LifeCycleMove.objects.filter(customer=customer).order_by("-number")


# Asked before each act: written once.
_STATE = WrittenQuery(lambda customer: _moves_of(customer).values_list("to_state")[:1], customer=int)
_LAST_MOVE = WrittenObjects(lambda customer: _moves_of(customer)[:1], customer=int)


def transition_for(*, customer: Customer, to: State, driver: Driver) -> Transition:
    """Return the row of the table by which this driver may move a customer now; raises Conflict (field `state`) without one."""
    start = state_of(customer=customer)
    row = transition_between(start=start, to=to)
    if row is None or driver not in row.drivers:
        message = f"a customer that is {_words(start)} does not become {_words(to)} by {driver.value}"
        raise Conflict(message, field="state", code="no_such_move")
    return row


def record_move(*, customer: Customer, transition: Transition, at: datetime, actor: str, reason: str) -> LifeCycleMove:
    """Write a move of a customer, whose row the caller has locked. Raises Conflict (field `at`) before its last move."""
    assert connection.in_atomic_block, "a lock lasts as long as its transaction"
    last = last_move(customer=customer)
    if last is not None and at < last.moved_at:
        raise Conflict(f"{customer.key} is {_words(State(last.to_state))} since then: move it later", field="at")
    assert transition.start is (State(last.to_state) if last else State.TRIAL), "a move begins where the last ended"
    return LifeCycleMove.objects.create(
        customer=customer,
        number=last.number + 1 if last else 1,
        from_state=transition.start.value,
        to_state=transition.to.value,
        trigger=transition.trigger.value,
        moved_at=at,
        actor=actor,
        reason=reason,
    )


def _words(state: State) -> str:
    return state.value.replace("_", " ")
