"""What was changed on drafts by hand, as contracts and pages ask for it."""

from collections.abc import Collection, Iterable, Mapping
from datetime import datetime
from decimal import Decimal

from django.db.models import QuerySet

from billing_site.kernel.among import among
from billing_site.kernel.money import round_money
from billing_site.kernel.period import Period, as_utc
from invoicing.core.adjustments.edits import Edit
from invoicing.core.adjustments.spend import MinimumSpend
from invoicing.core.contract import Charge, ContractSnapshot, Term
from invoicing.draft_edits.models import LineEdit

PREFIX = ":edit/"


def reference_of_edit(*, edit: LineEdit) -> str:
    """Return what names the line of a change; the colon keeps it apart from prices, whose keys have none."""
    return f"{PREFIX}{edit.pk}"


def edits_in_force(*, customers: Collection[int]) -> dict[int, list[LineEdit]]:
    """Return the changes of drafts of customers (ids) that nobody has taken back, in the order in which they were made: one query."""
    found: dict[int, list[LineEdit]] = {}
    for edit in LineEdit.objects.filter(among("customer", customers), ended_at=None).order_by("id"):
        found.setdefault(edit.customer_id, []).append(edit)
    return found


def edits_of(*, customer_id: int, period_start: datetime, period_end: datetime) -> "QuerySet[LineEdit]":
    """Return all changes of the draft of a period, also those that were taken back, in the order in which they were made."""
    found = LineEdit.objects.filter(customer=customer_id, period_start=period_start, period_end=period_end)
    return found.order_by("id")


def period_of(edit: LineEdit) -> Period:
    """Return the billing period whose draft is changed."""
    return Period(as_utc(edit.period_start), as_utc(edit.period_end))


def changeable(*, snapshot: ContractSnapshot) -> tuple[Charge | Term, ...]:
    """Return what of a bill may be changed by hand: charges, and what lifts them to a minimum. Commitments, discounts, fees in advance and credit follow what was agreed."""
    return (*snapshot.charges, *(term for term in snapshot.terms if isinstance(term, MinimumSpend)))


def edit_terms(
    *, edits: Iterable[LineEdit], snapshot: ContractSnapshot, issued: Mapping[str, Decimal]
) -> tuple[Edit, ...]:
    """Return the changes of the draft of a contract as its terms; `issued` is what some came to when they were first issued, by reference."""
    mine = [edit for edit in edits if period_of(edit) == snapshot.period]
    lines = {line.reference: line for line in changeable(snapshot=snapshot)} if mine else {}
    return tuple(_term(edit, snapshot, lines, issued) for edit in mine)


def _term(
    edit: LineEdit, snapshot: ContractSnapshot, lines: dict[str, Charge | Term], issued: Mapping[str, Decimal]
) -> Edit:
    line = lines.get(edit.line)
    if edit.line:
        about: tuple[str, ...] = (edit.line,) if line else ()
    else:
        about = tuple(lines) if edit.amount.amount < 0 else ()
    return Edit(
        reference=reference_of_edit(edit=edit),
        subscription=line.subscription if line else "",
        service_period=line.service_period if line else snapshot.period,
        about=about,
        description=edit.description,
        line=edit.line,
        amount=round_money(edit.amount.amount, edit.currency).amount,
        kept=issued.get(reference_of_edit(edit=edit)),
    )
