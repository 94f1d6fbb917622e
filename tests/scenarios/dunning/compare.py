"""Hold what the product did against what should have happened, and against the truth of who had paid."""

from collections.abc import Iterator
from datetime import datetime
from decimal import Decimal
from typing import Any

from dunning.cases.models import CaseStep, DunningCase
from dunning.notices.models import Notice
from invoicing.core.life_cycle import State, transition_between
from invoicing.customers.models import Customer, LifeCycleMove
from invoicing.payments.charge_attempt import ChargeAttempt
from invoicing.payments.models import PushIntent
from invoicing.payments.patience import UNFORESEEN
from invoicing.payments.withdrawal import Withdrawal
from invoicing.workflows.customer_standing import standings
from tests.scenarios.dunning import mails
from tests.scenarios.dunning.facts import Fact, Timeline
from tests.scenarios.dunning.lives import Life
from tests.scenarios.dunning.oracle import Oracle
from tests.scenarios.dunning.world import World

# They tell what has happened.
TOLD_ANYWAY = ("restricted", "suspended", "closed")


def differences(world: World) -> Iterator[str]:
    """Each difference between what was done and what should have been, with both timelines and how to live it again."""
    done, at = _timelines(world), world.looks[-1].at
    states = {one.customer_id: one.state.value for one in standings(customers=Customer.objects.all(), at=at)}
    for life in world.lives:
        oracle = Oracle(life)
        should, was = oracle.live(world.looks), done[life.key]
        if oracle.state_at(at) != states[life.row]:
            yield f"{life.key} is {states[life.row]} and should be {oracle.state_at(at)}; {_again(world, life)}"
        for name in ("steps", "notices", "moves", "charges"):
            ours, theirs = sorted(getattr(should, name)), sorted(getattr(was, name))
            if ours != theirs:
                yield _told(world, life, name, ours, theirs)
                break
    yield from _touched_after_paying(world)
    yield from _mailed_after_paying(world)
    yield from _outside_the_table()
    yield from _unforeseen()
    yield from world.faults


def _timelines(world: World) -> dict[str, Timeline]:
    cases: dict[int, int] = {}
    count: dict[int, int] = {}
    for case, customer in DunningCase.objects.order_by("pk").values_list("pk", "customer"):
        count[customer] = cases[case] = count.get(customer, 0) + 1
    found: dict[int, dict[str, list[Any]]] = {
        row: {"steps": [], "notices": [], "moves": [], "charges": []} for row in world.by_row
    }
    columns = ("case", "number", "act", "outcome", "notice", "done_at", "case__customer")
    for case, *step, customer in CaseStep.objects.values_list(*columns):
        found[customer]["steps"].append((cases[case], *step))
    for customer, kind, at in Notice.objects.values_list("customer", "kind", "planned_at"):
        found[customer]["notices"].append((kind, at))
    for customer, *move in LifeCycleMove.objects.values_list("customer", "from_state", "to_state", "moved_at"):
        found[customer]["moves"].append(tuple(move))
    for invoice, at in ChargeAttempt.objects.values_list("invoice", "planned_at"):
        life, place = world.papers[invoice]
        found[life.row]["charges"].append((place, at))
    return {
        life.key: Timeline(**{name: tuple(rows) for name, rows in found[row].items()})
        for row, life in world.by_row.items()
    }


def _touched_after_paying(world: World) -> Iterator[str]:
    """Nobody is reminded, restricted, suspended or closed by a step who had truly paid what his case began with."""
    places = {look.at: look for look in world.looks}
    steps = CaseStep.objects.filter(outcome="done").values_list("case__anchor_invoice", "done_at", "act")
    for invoice, at, act in steps:
        life, place = world.papers[invoice]
        if life.papers[place].open_at(places[at].begins) <= 0:
            yield f"{life.key}: {act} at {at}, though invoice {place} was paid by then; {_again(world, life)}"
        if life.papers[place].is_being_paid_at(places[at].begins):
            yield f"{life.key}: {act} at {at}, though a debit for invoice {place} was under way; {_again(world, life)}"


def _mailed_after_paying(world: World) -> Iterator[str]:
    """No mail asks for what was truly paid when it was handed over, and none is sent twice."""
    told = {
        pk: (customer, kind, said, list(invoices))
        for pk, customer, kind, said, invoices in (
            (notice.pk, notice.customer_id, notice.kind, notice.told, [one.invoice_id for one in notice.about.all()])
            for notice in Notice.objects.prefetch_related("about")
        )
    }
    sent: set[int] = set()
    for pk, number, is_taken in mails.post.handed:
        customer, kind, said, invoices = told[pk]
        life = world.by_row[customer]
        if is_taken and pk in sent:
            yield f"{life.key}: notice {pk} was sent twice"
        sent |= {pk} if is_taken else set()
        if kind == "restored" or not is_taken:
            continue
        paying = [row for row in invoices if life.papers[world.papers[row][1]].is_being_paid_at(number)]
        if paying and kind not in TOLD_ANYWAY:
            yield f"{life.key}: {kind} asked for money while a debit was under way; {_again(world, life)}"
        truly = sum((life.papers[world.papers[row][1]].open_at(number) for row in invoices), Decimal(0))
        if Decimal(said["total"]) > truly:
            yield f"{life.key}: {kind} asked for {said['total']} where {truly} were open; {_again(world, life)}"


def _outside_the_table() -> Iterator[str]:
    for start, to in set(LifeCycleMove.objects.values_list("from_state", "to_state")):
        if transition_between(start=State(start), to=State(to)) is None:
            yield f"no row of the table leads from {start} to {to}"


def _unforeseen() -> Iterator[str]:
    """What fails as nobody foresaw is written down and goes no further: a world in which nothing reaches Stripe proves nothing of it."""
    told = (
        ("push", PushIntent.objects.values_list("invoice__number", "last_error")),
        ("charge", ChargeAttempt.objects.values_list("reference", "outcome")),
        ("withdrawal", Withdrawal.objects.values_list("intent__invoice__number", "last_error")),
    )
    for what, rows in told:
        for subject, said in rows:
            if said and said.startswith(UNFORESEEN.partition("{")[0]):
                yield f"{what} of {subject}: {said}"


def _told(world: World, life: Life, name: str, ours: list[Any], theirs: list[Any]) -> str:
    early = min(_moments(set(ours) ^ set(theirs)), default=None)
    lines = [
        f"{life.key} ({life.zone}, {life.policy}, {life.habit}): {name} differ from {early}; {_again(world, life)}",
        *(f"  should: {_row(row)}" for row in ours if row not in theirs),
        *(f"  was:    {_row(row)}" for row in theirs if row not in ours),
        "  what happened:",
        *(f"    {_fact(fact)}" for fact in life.facts),
    ]
    return "\n".join(lines)


def _moments(rows: set[Any]) -> list[datetime]:
    return [one for row in rows for one in row if isinstance(one, datetime)]


def _row(row: Any) -> str:
    return " ".join(f"{one:%Y-%m-%d %H:%M:%S}" if isinstance(one, datetime) else str(one) for one in row)


def _fact(fact: Fact) -> str:
    moment = f"{fact.moment:%Y-%m-%d %H:%M}" if fact.moment else ""
    days = " ".join(f"{day}:{amount}" for day, amount in fact.days)
    return f"{fact.number} {fact.at:%Y-%m-%d %H:%M:%S} {fact.what} {fact.invoice} {fact.amount} {fact.said} {moment} {days}"


def _again(world: World, life: Life) -> str:
    return f"again: --seed {world.seed} --months {world.months} --looks {world.looks_a_day} --only {life.key}"
