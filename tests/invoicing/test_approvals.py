"""Large releases take two people: from the limit of the currency on, whoever asks never approves."""

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.db import IntegrityError, connection, transaction

from billing_site.kernel.errors import Conflict, InvalidFields, InvalidInput
from invoicing.approvals.models import Approval, ApprovalLimit, ApprovedDeed, Decision
from invoicing.approvals.operations import SamePerson, set_limit
from invoicing.approvals.queries import limit_of
from invoicing.core.gate import Check
from invoicing.gate.models import InvoiceHold
from invoicing.gate.operations import release_hold, set_check
from invoicing.invoices.models import InvoiceStatus
from invoicing.workflows.approve import decide, release_invoice, why_two_release
from invoicing.workflows.loosen_limit import set_limit_or_ask
from tests.factories import settle_constraints, use
from tests.invoicing.test_gate import bill, month, three_usual_months
from tests.races import at_once

pytestmark = pytest.mark.django_db
AT = month(8) + timedelta(hours=2)


def limit(amount: str | None, currency: str = "USD") -> ApprovalLimit:
    return set_limit(
        deed=ApprovedDeed.RELEASE,
        currency=currency,
        amount=None if amount is None else Decimal(amount),
        at=AT,
        actor="fiona",
        reason="agreed with the board",
    )


def limit_or_ask(amount: str | None) -> ApprovalLimit | Approval:
    return set_limit_or_ask(
        deed=ApprovedDeed.RELEASE,
        currency="USD",
        amount=None if amount is None else Decimal(amount),
        at=AT,
        actor="fiona",
        reason="the team has grown",
    )


def a_held_invoice(limit_amount: str | None) -> InvoiceHold:
    """An invoice over USD 505 that is held for a spike."""
    three_usual_months()
    use("cust_acme", "500", at=month(7) + timedelta(days=3))
    bill(8)
    if limit_amount is not None:
        limit(limit_amount)
    return InvoiceHold.objects.get()


def release(held: InvoiceHold, *, actor: str = "fiona") -> Approval | None:
    return release_invoice(
        hold_id=held.pk, digest=held.content_digest, at=AT, actor=actor, reason="the customer confirms it"
    )


def decided(asked: Approval, decision: Decision = Decision.APPROVED, *, actor: str = "otto") -> Approval:
    return decide(
        approval_id=asked.pk, digest=asked.digest, decision=decision, at=AT, actor=actor, reason="seen the mail"
    )


@pytest.mark.parametrize(("amount", "takes_two"), [("505", True), ("505.01", False), (None, False)])
def test_a_release_takes_two_from_the_limit_on(amount: str | None, takes_two: bool) -> None:
    held = a_held_invoice(amount)

    asked = release(held)

    held.refresh_from_db()
    assert (held.state, asked is not None) == (("held", True) if takes_two else ("ready", False))


def test_what_an_odd_check_holds_is_released_by_two_however_small() -> None:
    held = a_held_invoice(None)
    set_check(
        check=Check.SPIKE,
        is_on=True,
        threshold=Decimal(3),
        takes_two=True,
        at=AT,
        actor="otto",
        reason="a spike is looked at twice",
    )

    asked = release(held)
    with pytest.raises(IntegrityError, match="large or odd"), transaction.atomic():
        release_hold(hold_id=held.pk, digest=held.content_digest, at=AT, actor="fiona", reason="past the program")

    held.refresh_from_db()
    assert asked is not None and held.state == "held"
    assert why_two_release(held=held) == "What is held by Spike:"
    decided(asked)
    held.refresh_from_db()
    assert held.state == "ready"


def test_what_another_approves_is_released_by_who_asked_and_the_next_run_issues_it() -> None:
    held = a_held_invoice("500")
    asked = release(held)
    assert asked is not None
    assert asked.summary == "Release the invoice for Acme GmbH over USD 505.00 as it is"
    assert release(held) == asked, "asking twice is once"

    with pytest.raises(SamePerson, match="somebody else decides"):
        decided(asked, actor="Fiona")
    decided(asked)
    decided(asked)

    held.refresh_from_db()
    assert (held.state, held.released_by, held.reason) == ("ready", "fiona", "the customer confirms it")
    [issued] = bill(8).invoices
    assert issued.status == InvoiceStatus.ISSUED


def test_what_was_refused_or_withdrawn_stays_held_and_can_be_asked_for_again() -> None:
    held = a_held_invoice("500")
    first = release(held)
    assert first is not None
    decided(first, Decision.REFUSED)
    with pytest.raises(Conflict, match="otto has refused it already"):
        decided(first, actor="olga")
    second = release(held)
    assert second is not None
    decided(second, Decision.WITHDRAWN, actor="fiona")

    held.refresh_from_db()
    assert held.state == "held"
    assert Approval.objects.filter(decision="").count() == 0
    assert release(held) not in (None, first, second)


def test_a_draft_that_says_something_else_by_now_is_not_released_by_an_approval_of_the_old_one() -> None:
    held = a_held_invoice("500")
    asked = release(held)
    assert asked is not None
    use("cust_acme", "1", at=month(7) + timedelta(days=4))
    bill(8)

    with pytest.raises(Conflict, match="something else by now"):
        decided(asked)

    asked.refresh_from_db()
    assert asked.decision == "", "nothing is decided where nothing can be done"
    assert set(InvoiceHold.objects.values_list("state", flat=True)) == {"held", "draft"}


def test_limits_stay_with_who_and_why_and_no_amount_of_the_currency_is_refused_by_name() -> None:
    limit("500")
    limit("500")
    limit("100")
    loosened = limit_or_ask(None)
    assert isinstance(loosened, Approval)
    decided(loosened)
    limit("1000", "JPY")

    assert [one.number for one in ApprovalLimit.objects.filter(currency="USD").order_by("number")] == [1, 2, 3]
    assert limit_of(deed=ApprovedDeed.RELEASE, currency="USD") is None
    assert limit_of(deed=ApprovedDeed.RELEASE, currency="JPY") == 1000
    for amount, currency in (("-1", "USD"), ("0.001", "USD"), ("1.5", "JPY"), ("NaN", "USD")):
        with pytest.raises(InvalidFields) as refused:
            limit(amount, currency)
        assert [one.field for one in refused.value.field_errors] == ["amount"]
    with pytest.raises(IntegrityError, match="append-only"), transaction.atomic():
        ApprovalLimit.objects.update(amount=None)
    with pytest.raises(IntegrityError, match="does not follow"), transaction.atomic():
        ApprovalLimit.objects.create(
            deed="release", currency="USD", number=9, amount=None, set_at=AT, actor="x", reason="x"
        )


def test_a_stricter_limit_holds_at_once_and_a_looser_one_takes_somebody_else() -> None:
    limit("500")
    assert isinstance(limit_or_ask("400"), ApprovalLimit)

    asked = limit_or_ask("500.50")
    assert isinstance(asked, Approval)
    assert asked.summary == "Release of a held invoice in USD: two people from USD 500.50 on"
    assert limit_or_ask("500.50") == asked, "asking twice is once"
    assert limit_of(deed=ApprovedDeed.RELEASE, currency="USD") == 400
    with pytest.raises(SamePerson):
        decided(asked, actor="fiona")
    decided(asked)

    newest = ApprovalLimit.objects.get(deed="release", number=3)
    assert (newest.amount, newest.actor, newest.approval) == (Decimal("500.50"), "fiona", asked)


def test_a_looser_limit_that_was_asked_for_is_not_set_where_another_holds_by_now() -> None:
    limit("500")
    asked = limit_or_ask(None)
    assert isinstance(asked, Approval)
    limit("100")

    with pytest.raises(Conflict, match="another limit is in force"):
        decided(asked)

    assert limit_of(deed=ApprovedDeed.RELEASE, currency="USD") == 100


@pytest.mark.parametrize("attack", ["none", "unapproved", "other_amount", "same_person"])
def test_sql_loosens_no_limit_behind_the_second_person(attack: str) -> None:
    limit("500")
    asked = limit_or_ask("600")
    assert isinstance(asked, Approval)
    if attack in ("other_amount", "same_person"):
        # Approved, but not set: as an attacker would find it who writes the row by himself.
        Approval.objects.filter(pk=asked.pk).update(
            decision="approved", decided_at=AT, decided_by="otto", decision_reason="x"
        )
    with pytest.raises(IntegrityError, match="is loosened: nobody else has approved it"), transaction.atomic():
        ApprovalLimit.objects.create(
            deed="release",
            currency="USD",
            number=2,
            amount=Decimal("700") if attack == "other_amount" else Decimal("600"),
            approval=None if attack == "none" else asked,
            set_at=AT,
            actor="Otto" if attack == "same_person" else "fiona",
            reason="x",
        )


def test_sql_releases_nothing_large_behind_the_second_person() -> None:
    held = a_held_invoice("500")
    settle_constraints()

    with pytest.raises(IntegrityError, match="nobody else has approved its release"), transaction.atomic():
        release_hold(hold_id=held.pk, digest=held.content_digest, at=AT, actor="fiona", reason="alone")
    with pytest.raises(IntegrityError, match="is large"), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(
            "UPDATE invoicing_invoicehold SET state = 'ready', released_at = now(), released_by = 'x', reason = 'x'"
        )
    asked = release(held)
    assert asked is not None
    with pytest.raises(InvalidInput, match="say why"):
        decide(approval_id=asked.pk, digest=asked.digest, decision=Decision.APPROVED, at=AT, actor="otto", reason=" ")


@pytest.mark.django_db(transaction=True)
def test_two_who_approve_at_once_approve_once() -> None:
    held = a_held_invoice("500")
    asked = release(held)
    assert asked is not None

    results: list[Any] = at_once(lambda: decided(asked, actor="otto"), lambda: decided(asked, actor="olga"))

    assert sum(isinstance(one, Approval) for one in results) == 1
    assert sum(isinstance(one, Conflict) for one in results) == 1
    held.refresh_from_db()
    assert (held.state, held.released_by) == ("ready", "fiona")
