"""Top credit up by rule: where the live balance is below the threshold, an invoice sells more; once, and not more often than agreed."""

import logging
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from uuid import uuid4
from zoneinfo import ZoneInfo

from django.db import transaction
from moneyed import Money

from billing_site.kernel.money import wire
from invoicing.customers.models import Customer
from invoicing.customers.operations import lock_customer
from invoicing.customers.queries import names_of_accounts
from invoicing.payments.disputes import is_frozen
from invoicing.payments.models import PaymentFailure
from invoicing.top_ups.models import TopUp, TopUpStatus
from invoicing.top_ups.operations import TopUpTerms
from invoicing.top_ups.queries import automatic_in_month
from invoicing.top_ups.rules import RuleState, TopUpRule
from invoicing.workflows.credit_balance import balance_as_rolled_up
from invoicing.workflows.run_report import OF_ONE_CUSTOMER
from invoicing.workflows.sell_credit import sell_credit
from metering.queries.touched import customers_touched
from metering.rollup import roll_up

logger = logging.getLogger(__name__)

# Contracts, prices, expiries and the calendar move a balance without an event.
LOOK_AGAIN_AFTER = timedelta(hours=1)
ACTOR = "top-up rule"


@dataclass
class TopUpReport:
    """What a sweep did: how many rules it looked at, what they sold, and whose balance could not be computed."""

    looked_at: int = 0
    made: list[TopUp] = field(default_factory=list)
    failures: list[tuple[str, str]] = field(default_factory=list)


@dataclass(frozen=True)
class _Seen:
    """Where a rule stands, and the live balance if it was computed."""

    state: RuleState
    balance: Decimal | None = None
    problem: str = ""
    made: TopUp | None = None


def sweep_top_ups(*, at: datetime) -> TopUpReport:
    """Look at each rule in force whose customer's usage moved since the last sweep, that waits for something, or was not seen for an hour.

    It may run twice or at once: each rule is a transaction under the lock of its customer, and the database holds one open top-up and
    the cap of the month.
    """
    report = TopUpReport()
    rules = list(TopUpRule.objects.filter(retired_at=None).select_related("customer").order_by("id"))
    if not rules:
        return report
    mark = roll_up().rolled_up_to
    for rule in _to_look_at(rules, mark=mark, at=at):
        report.looked_at += 1
        try:
            made = look_at_rule(rule_id=rule.pk, at=at)
        except OF_ONE_CUSTOMER as problem:
            logger.error("top-up of %s failed", rule.customer.key, exc_info=problem)
            message = (str(problem).partition("\n")[0] or type(problem).__name__)[:500]
            _keep(rule, _Seen(RuleState.UNKNOWN, problem=message), at=at)
            report.failures.append((rule.customer.key, message))
        else:
            report.made += [made] if made is not None else []
    TopUpRule.objects.filter(pk__in=[rule.pk for rule in rules], seen_through__lt=mark).update(seen_through=mark)
    return report


@transaction.atomic
def look_at_rule(*, rule_id: int, at: datetime) -> TopUp | None:
    """Compare the live balance of a rule's customer with its threshold and top up where it is below; roll up first.

    Returns the top-up that was made now, or None. Nothing is made while an automatic one is open, after one was declared void, beyond the
    cap of the month, or while a payment of the customer is disputed: the rule says so, and `rules_that_need_somebody` lists it.
    """
    customer = lock_customer(customer_id=TopUpRule.objects.values_list("customer_id", flat=True).get(pk=rule_id))
    rule = TopUpRule.objects.select_for_update(no_key=True).get(pk=rule_id)
    if rule.retired_at is not None:
        return None
    seen = _looked_at(rule, customer, at=at)
    _keep(rule, seen, at=at)
    return seen.made


def _looked_at(rule: TopUpRule, customer: Customer, *, at: datetime) -> _Seen:
    automatic = customer.top_ups.filter(currency=rule.currency, rule__isnull=False)
    waiting = automatic.filter(status=TopUpStatus.OPEN).select_related("invoice").first()
    if waiting is not None:
        return _waits(waiting, at=at)
    live = balance_as_rolled_up(customer=customer, at=at).live
    if live is None:
        return _Seen(RuleState.UNKNOWN, problem="the running period cannot be computed")
    if live >= rule.threshold:
        return _Seen(RuleState.ENOUGH, live.amount)
    last = rule.top_ups.order_by("-id").first()
    if last is not None and last.status == TopUpStatus.CLOSED:
        return _Seen(RuleState.STOPPED, live.amount, "set the rule again to go on")
    if automatic_in_month(customer=customer, at=at) >= rule.max_per_month:
        return _Seen(RuleState.CAPPED, live.amount, f"{rule.max_per_month} a month are agreed")
    if is_frozen(customer_id=customer.pk):
        return _Seen(RuleState.FROZEN, live.amount, "nothing is charged by itself while a payment is disputed")
    made = _sell(rule, customer, live, at=at)
    return _Seen(RuleState.WAITING, live.amount, made=made)


def _waits(top_up: TopUp, *, at: datetime) -> _Seen:
    """Say whether the payment of an open top-up is on its way, was refused, or should have come."""
    invoice = top_up.invoice
    refused = PaymentFailure.objects.filter(invoice=invoice).order_by("-occurred_at", "-id").first()
    today = at.astimezone(ZoneInfo(invoice.timezone)).date()
    if refused is not None:
        return _Seen(RuleState.UNPAID, problem=f"{invoice}: {refused.message}"[:500])
    if invoice.due_date is not None and invoice.due_date < today:
        return _Seen(RuleState.UNPAID, problem=f"{invoice} was due on {invoice.due_date}")
    return _Seen(RuleState.WAITING, problem=f"{invoice} is not paid yet")


def _sell(rule: TopUpRule, customer: Customer, live: Money, *, at: datetime) -> TopUp:
    balance, threshold = (wire(money)["amount"] for money in (live, rule.threshold))
    return sell_credit(
        customer=customer,
        key=f"{ACTOR.replace(' ', '-')}-{rule.pk}-{uuid4().hex}",
        terms=TopUpTerms(amount=rule.amount, valid_days=rule.valid_days),
        at=at,
        actor=ACTOR,
        reason=f"{rule.currency} {balance} are left, less than {threshold}",
        rule=rule,
    )


def _keep(rule: TopUpRule, seen: _Seen, *, at: datetime) -> None:
    """Write down what was seen; a balance that was not computed stays as it was."""
    changes: dict[str, object] = {"seen_at": at, "problem": seen.problem}
    if seen.balance is not None:
        changes["seen_balance"] = seen.balance
    if rule.state != seen.state:
        changes |= {"state": seen.state, "state_since": at}
    TopUpRule.objects.filter(pk=rule.pk).update(**changes)


def _to_look_at(rules: list[TopUpRule], *, mark: int, at: datetime) -> Iterator[TopUpRule]:
    calm = [rule for rule in rules if rule.state == RuleState.ENOUGH]
    since = min((rule.seen_through for rule in calm), default=mark)
    touched = customers_touched(after=since, through=mark) if since < mark else None
    accounts = names_of_accounts(customers=[rule.customer for rule in rules])
    for rule in rules:
        is_old = rule.seen_at is None or rule.seen_at <= at - LOOK_AGAIN_AFTER
        used = (rule.customer.key, *accounts.get(rule.customer_id, ()))
        moved = touched is not None and any(touched.number_of(customer_id=key) > rule.seen_through for key in used)
        if rule.state != RuleState.ENOUGH or is_old or moved:
            yield rule
