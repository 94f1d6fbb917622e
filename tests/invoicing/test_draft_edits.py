"""A draft is changed by hand: the line stays as it was rated, the change stands beside it with its reason, another person looks, and the invoice proves itself."""

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from django.db import IntegrityError, connection, transaction

from billing_site.kernel.errors import Conflict, InvalidFields, NotFound
from invoicing.approvals.models import Approval, Decision
from invoicing.approvals.operations import SamePerson
from invoicing.checker.check_invoice import main
from invoicing.core.gate import Check, Rule
from invoicing.customers.models import Customer
from invoicing.draft_edits.models import LineEdit
from invoicing.gate.models import InvoiceHold
from invoicing.gate.operations import release_hold
from invoicing.invoices.drafting import drop_drafts
from invoicing.invoices.models import Invoice, InvoiceLine, InvoiceStatus
from invoicing.ledger.models import Posting
from invoicing.workflows.approve import decide, release_invoice
from invoicing.workflows.credit_invoice import preview_credit
from invoicing.workflows.edit_draft import changeable_lines, edit_draft, take_edit_back
from invoicing.workflows.event_evidence import event_file, proof_document
from invoicing.workflows.explain_invoice import prove_invoice
from invoicing.workflows.issue_invoice import issue_invoice, refresh_draft
from invoicing.workflows.loosen_check import set_check_or_ask
from invoicing.workflows.preview_invoice import preview_invoice
from invoicing.workflows.reissue_invoice import reissue_invoice
from invoicing.workflows.run_billing import draft_billing, issue_billing
from invoicing.workflows.verify import verify
from tests.factories import a_customer, a_plan, a_subscription, settle_constraints, usd_fee, usd_per_action, use
from tests.invoicing.test_e_invoices import an_invoice, assert_states
from tests.races import at_once, unexpected

pytestmark = pytest.mark.django_db
JULY, AUGUST = datetime(2026, 7, 1, tzinfo=UTC), datetime(2026, 8, 1, tzinfo=UTC)
AT = AUGUST + timedelta(hours=1)
LATER = AUGUST + timedelta(days=9)
FEE, ACTIONS = "base", "actions"


@pytest.fixture
def draft() -> Invoice:
    """The draft of July: a fee of 5 and 100 actions at 1."""
    a_plan("pro", usd_fee("5"), usd_per_action("1"))
    a_subscription(a_customer("cust_acme"), started_at=JULY)
    use("cust_acme", "100", at=JULY + timedelta(days=3))
    [invoice] = draft_billing(as_of=AUGUST, at=AT).invoices
    return invoice


def reference(draft: Invoice, *, metered: bool) -> str:
    charges = draft.lines.filter(kind="charge")
    line = charges.exclude(meter_key="").get() if metered else charges.get(meter_key="")
    return str(line.rated["inputs"]["reference"])


def change(
    draft: Invoice, amount: str, *, line: str = "", words: str = "Goodwill for the outage", **who: str
) -> LineEdit:
    known = {"actor": "fiona", "reason": "agreed on the phone"} | who
    return edit_draft(invoice_id=draft.pk, line=line, description=words, amount=Decimal(amount), at=AT, **known)


def lines(invoice: Invoice) -> list[tuple[str, str]]:
    return [(line.description, str(line.amount.amount)) for line in invoice.lines.order_by("position")]


def total(invoice: Invoice) -> str:
    invoice.refresh_from_db()
    return str(invoice.total.amount.quantize(Decimal("0.01")))


def released(draft: Invoice) -> None:
    held = InvoiceHold.objects.get(invoice=draft, state="held")
    asked = release_invoice(hold_id=held.pk, digest=held.content_digest, at=AT, actor="fiona", reason="as agreed")
    assert asked is not None, "it takes two"
    decide(
        approval_id=asked.pk, digest=asked.digest, decision=Decision.APPROVED, at=AT, actor="anton", reason="seen it"
    )


def test_a_line_comes_to_what_was_decided_and_its_charge_stays_as_it_was_rated(draft: Invoice) -> None:
    change(draft, "80", line=reference(draft, metered=True))

    assert total(draft) == "85.00"
    charge, edit = draft.lines.exclude(meter_key="").get(), draft.lines.get(adjustment="edit")
    assert charge.amount.amount == Decimal(100)
    assert (edit.description, edit.amount.amount) == ("Goodwill for the outage", Decimal(-20))
    assert edit.rated["explanation"] == "In place of USD 100.00 the line comes to USD 80.00."
    assert edit.rated["steps"][0]["arithmetic"] == "80.00 − 100.00 = −20.00"
    assert edit.subscription_id == charge.subscription_id


def test_a_line_may_come_to_more_or_to_nothing(draft: Invoice) -> None:
    fee = change(draft, "12.50", line=reference(draft, metered=False), words="Extended support")
    assert total(draft) == "112.50"
    change(draft, "0", line=reference(draft, metered=True), words="Waived")
    assert total(draft) == "12.50"

    take_edit_back(edit_id=fee.pk, at=AT, actor="fiona", reason="it was not wanted")

    assert total(draft) == "5.00"
    fee.refresh_from_db()
    assert (fee.ended_by, fee.ended_because) == ("fiona", "it was not wanted")


def test_a_line_of_its_own_adds_or_takes_off_and_never_more_than_is_left(draft: Invoice) -> None:
    change(draft, "30", words="Setup")
    assert total(draft) == "135.00"

    change(draft, "-200", words="Goodwill")

    assert total(draft) == "30.00", "what somebody added stays"
    edit = draft.lines.get(description="Goodwill")
    assert edit.rated["explanation"] == "Of USD 200.00 only USD 105.00 are taken off: no more is left to reduce."
    assert {part["amount"]["amount"] for part in edit.rated["parts"]} == {"100.00", "5.00"}


def test_late_usage_before_issue_moves_the_charge_and_not_what_was_decided(draft: Invoice) -> None:
    change(draft, "80", line=reference(draft, metered=True))
    use("cust_acme", "50", at=JULY + timedelta(days=4))

    refresh_draft(invoice_id=draft.pk, at=AT, actor="finance", reason="late usage")

    assert total(draft) == "85.00"
    assert draft.lines.get(adjustment="edit").amount.amount == Decimal(-70)


def test_a_draft_that_is_deleted_and_made_again_has_what_was_decided(draft: Invoice) -> None:
    change(draft, "80", line=reference(draft, metered=True))
    drop_drafts(invoice_ids=[draft.pk], actor="finance", reason="again")

    [again] = draft_billing(as_of=AUGUST, at=AT).invoices

    assert again.pk != draft.pk and total(again) == "85.00"
    assert preview_invoice(customer_key="cust_acme", as_of=AUGUST - timedelta(seconds=1)).assembled.total.amount == 85


def test_what_was_changed_by_hand_is_held_until_two_people_release_it_and_then_it_proves_itself(draft: Invoice) -> None:
    change(draft, "80", line=reference(draft, metered=True))
    change(draft, "-10", words="Loyalty")

    with pytest.raises(Conflict, match="changed by hand: Goodwill for the outage USD -20, Loyalty USD -10"):
        issue_invoice(invoice_id=draft.pk, at=AT, actor="fiona", reason="done")
    assert issue_billing(as_of=AUGUST, at=AUGUST + timedelta(days=9)).held, "a run holds it, too"
    released(draft)
    issued = issue_invoice(invoice_id=draft.pk, at=AT, actor="fiona", reason="done")

    assert total(issued) == "75.00"
    assert all(not proof.differences for proof in prove_invoice(invoice=issued))
    revenue = Posting.objects.get(entry__reference=issued.number, account__code="4000")
    assert revenue.amount.amount == Decimal(-75)
    assert preview_credit(invoice=issued, asked=(), disposition="offset", at=AT).total.amount == 75
    assert verify() == []


def test_a_house_may_let_one_person_release_what_was_changed(draft: Invoice) -> None:
    one = Rule(is_on=True, threshold=None, takes_two=False)
    asked = set_check_or_ask(check=Check.EDITED, rule=one, at=AT, actor="lena", reason="we are three")
    assert isinstance(asked, Approval), "whoever changes drafts does not take the second person away alone"
    approved(asked, "anton")
    change(draft, "80", line=reference(draft, metered=True))
    held = InvoiceHold.objects.get()

    assert release_invoice(hold_id=held.pk, digest=held.content_digest, at=AT, actor="fiona", reason="fine") is None


def approved(asked: Approval, actor: str) -> None:
    decide(approval_id=asked.pk, digest=asked.digest, decision=Decision.APPROVED, at=AT, actor=actor, reason="seen it")


def test_whoever_has_changed_a_draft_does_not_approve_its_release_whoever_asks_for_it(draft: Invoice) -> None:
    edit = change(draft, "0", line=reference(draft, metered=True))
    held = InvoiceHold.objects.get()
    asked = release_invoice(hold_id=held.pk, digest=held.content_digest, at=AT, actor="anton", reason="as agreed")
    assert asked is not None

    with pytest.raises(SamePerson, match="has changed this draft by hand"):
        approved(asked, edit.actor)
    with pytest.raises(IntegrityError, match="nobody else has approved"), transaction.atomic():
        Approval.objects.filter(pk=asked.pk).update(
            decision="approved", decided_at=AT, decided_by=edit.actor.upper(), decision_reason="past the program"
        )
        release_hold(hold_id=held.pk, digest=held.content_digest, at=AT, actor="anton", reason="past the program")
    approved(asked, "lena")

    held.refresh_from_db()
    assert held.state == "ready"


def test_a_change_whose_draft_is_gone_is_taken_back_and_the_next_draft_is_without_it(draft: Invoice) -> None:
    edit = change(draft, "80", line=reference(draft, metered=True))
    drop_drafts(invoice_ids=[draft.pk], actor="finance", reason="again")

    take_edit_back(edit_id=edit.pk, at=AT, actor="fiona", reason="not agreed")

    [again] = draft_billing(as_of=AUGUST, at=AT).invoices
    assert total(again) == "105.00" and verify() == []
    again_taken = take_edit_back(edit_id=edit.pk, at=AT, actor="fiona", reason="not agreed")
    assert again_taken.ended_because == "not agreed"


def test_what_is_issued_is_not_changed_and_its_changes_are_not_taken_back(draft: Invoice) -> None:
    edit = change(draft, "80", line=reference(draft, metered=True))
    released(draft)
    issue_invoice(invoice_id=draft.pk, at=AT, actor="fiona", reason="done")

    with pytest.raises(Conflict, match="corrected by a credit note"):
        change(draft, "1")
    with pytest.raises(Conflict, match="what is issued is credited"):
        take_edit_back(edit_id=edit.pk, at=AT, actor="fiona", reason="no")
    for attack in (
        lambda: LineEdit.objects.filter(pk=edit.pk).update(ended_at=AT, ended_by="x", ended_because="y"),
        lambda: LineEdit.objects.filter(pk=edit.pk).update(amount=Decimal(1)),
        lambda: LineEdit.objects.filter(pk=edit.pk).delete(),
        lambda: LineEdit.objects.create(**_row(draft)),
    ):
        with pytest.raises(IntegrityError), transaction.atomic():
            attack()


def test_a_reissued_invoice_keeps_what_was_decided_until_it_is_taken_back(draft: Invoice) -> None:
    edit = change(draft, "80", line=reference(draft, metered=True))
    released(draft)
    issued = issue_invoice(invoice_id=draft.pk, at=AT, actor="fiona", reason="done")

    again = reissue_invoice(invoice_id=issued.pk, at=AT, actor="fiona", reason="another name").draft

    assert again is not None and total(again) == "85.00"
    take_edit_back(edit_id=edit.pk, at=AT, actor="fiona", reason="a mistake")
    assert total(again) == "105.00"
    assert verify() == []


def test_late_usage_after_issue_is_invoiced_by_itself(draft: Invoice) -> None:
    change(draft, "80", line=reference(draft, metered=True))
    released(draft)
    issue_invoice(invoice_id=draft.pk, at=AT, actor="fiona", reason="done")
    use("cust_acme", "50", at=JULY + timedelta(days=4))

    report = issue_billing(as_of=datetime(2026, 9, 1, tzinfo=UTC), at=datetime(2026, 9, 9, tzinfo=UTC))

    corrections = InvoiceLine.objects.filter(kind="correction")
    assert [line.amount.amount for line in corrections] in ([], [Decimal(50)]), report
    assert verify() == []


@pytest.mark.parametrize(
    ("asked", "field"),
    [
        ({"amount": "1.001"}, "amount"),
        ({"amount": "0"}, "amount"),
        ({"amount": "NaN"}, "amount"),
        ({"amount": "1E+30"}, "amount"),
        ({"amount": "5", "words": "  "}, "description"),
        ({"amount": "5", "words": "x" * 201}, "description"),
        ({"amount": "5", "words": "a\x00b"}, "description"),
        ({"amount": "5", "reason": " "}, "reason"),
    ],
)
def test_odd_input_is_refused_by_the_name_of_its_field(draft: Invoice, asked: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidFields) as refused:
        change(draft, **asked)

    assert [error.field for error in refused.value.field_errors] == [field]
    assert not LineEdit.objects.exists() and total(draft) == "105.00"


def test_a_line_is_changed_once_at_a_time_and_only_one_that_may_be(draft: Invoice) -> None:
    actions = reference(draft, metered=True)
    with pytest.raises(InvalidFields):
        change(draft, "-1", line=actions)
    with pytest.raises(NotFound, match="no line :discount/1"):
        change(draft, "1", line=":discount/1")
    change(draft, "80", line=actions)
    with pytest.raises(Conflict, match="take that back first"):
        change(draft, "70", line=actions)
    assert [line.reference for line in changeable_lines(invoice=draft)] == [reference(draft, metered=False)]
    with pytest.raises(IntegrityError), transaction.atomic():
        LineEdit.objects.create(**_row(draft) | {"line": actions})


def test_a_change_whose_line_is_gone_changes_nothing_and_says_so(draft: Invoice) -> None:
    LineEdit.objects.create(**_row(draft) | {"line": "sub/gone", "amount": Decimal(5)})

    refresh_draft(invoice_id=draft.pk, at=AT, actor="finance", reason="look")

    assert total(draft) == "105.00"
    told = draft.lines.get(adjustment="edit").rated["explanation"]
    assert told == "The line that it changes is not on this invoice: nothing is changed."


def _row(draft: Invoice) -> dict[str, Any]:
    return {
        "customer_id": draft.customer_id,
        "period_start": draft.period_start,
        "period_end": draft.period_end,
        "line": "",
        "description": "Forged",
        "currency": "USD",
        "amount": Decimal("-5"),
        "made_at": AT,
        "actor": "mallory",
        "reason": "none",
    }


@pytest.mark.parametrize(
    "wrong",
    [
        {"currency": "EUR"},
        {"period_start": JULY - timedelta(days=31), "period_end": JULY},
        {"amount": Decimal(0)},
        {"amount": Decimal("-1"), "line": "sub/base"},
        {"amount": Decimal("0.001")},
        {"description": ""},
        {"reason": ""},
        {"ended_at": AT},
    ],
)
def test_the_database_refuses_changes_that_nobody_could_make(draft: Invoice, wrong: dict[str, Any]) -> None:
    with pytest.raises(IntegrityError), transaction.atomic():
        LineEdit.objects.create(**_row(draft) | wrong)


@pytest.mark.parametrize(
    "forged",
    [
        "amount = amount + 5",
        "description = 'Nothing'",
        "rated = jsonb_set(rated, '{inputs,reference}', '\":edit/0\"')",
        "adjustment = 'discount'",
    ],
)
def test_a_line_of_a_draft_stands_for_a_change_that_somebody_made(draft: Invoice, forged: str) -> None:
    change(draft, "30", words="Setup")

    with pytest.raises(IntegrityError), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(f"UPDATE invoicing_invoiceline SET {forged} WHERE adjustment = 'edit'")
        settle_constraints()


def test_verify_names_a_change_that_was_forged_or_left_out(draft: Invoice) -> None:
    edit = change(draft, "30", words="Setup")
    released(draft)
    issued = issue_invoice(invoice_id=draft.pk, at=AT, actor="fiona", reason="done")
    assert verify() == []
    with connection.cursor() as cursor:
        settle_constraints()
        cursor.execute("ALTER TABLE invoicing_lineedit DISABLE TRIGGER USER")
        cursor.execute("UPDATE invoicing_lineedit SET amount = 40")
        forged = {(one.subject, one.message) for one in verify()}
        cursor.execute("UPDATE invoicing_lineedit SET amount = 30")
        cursor.execute(
            "INSERT INTO invoicing_lineedit SELECT (jsonb_populate_record(edit, '{\"id\": 999999}')).* FROM invoicing_lineedit edit"
        )
        left_out = {(one.subject, one.message) for one in verify()}
        settle_constraints()
        cursor.execute("ALTER TABLE invoicing_lineedit ENABLE TRIGGER USER")

    assert (f"invoice {issued.number}, line 3", "somebody has decided something else") in forged
    assert (f"invoice {issued.number}", f"it leaves out a change that was made: {edit.description}") in left_out


@pytest.mark.django_db(transaction=True)
def test_of_a_change_and_an_issue_at_the_same_moment_one_comes_after_the_other(draft: Invoice) -> None:
    outcomes = at_once(
        lambda: change(draft, "80", line=reference(draft, metered=True)),
        lambda: issue_invoice(invoice_id=draft.pk, at=AT, actor="anton", reason="now"),
    )

    draft.refresh_from_db()
    if draft.status == InvoiceStatus.DRAFT:
        assert total(draft) == "85.00" and LineEdit.objects.count() == 1
    else:
        assert total(draft) == "105.00" and not LineEdit.objects.exists()
    assert [isinstance(one, Conflict) for one in outcomes].count(True) == 1 and not unexpected(outcomes)


def test_an_account_is_changed_on_the_invoice_of_who_pays(draft: Invoice) -> None:
    child = a_customer("cust_child")
    Customer.objects.filter(pk=child.pk).update(billed_to=draft.customer_id)
    a_subscription(child, started_at=JULY)
    refresh_draft(invoice_id=draft.pk, at=AT, actor="finance", reason="an account")
    theirs = next(one for one in changeable_lines(invoice=draft) if one.reference not in _own(draft))

    change(draft, "0", line=theirs.reference, words="Free for the account")

    edit = draft.lines.get(adjustment="edit")
    assert edit.subscription is not None and edit.subscription.customer_id == child.pk


def _own(draft: Invoice) -> set[str]:
    return {line.rated["inputs"]["reference"] for line in draft.lines.filter(subscription__customer=draft.customer_id)}


def test_an_e_invoice_states_a_changed_draft_and_its_checker_agrees(tmp_path: Path) -> None:
    draft = reissue_invoice(invoice_id=an_invoice().pk, at=LATER, actor="fiona", reason="a gift").draft
    assert draft is not None
    charge = draft.lines.filter(kind="charge").exclude(meter_key="").get()
    change(draft, "1", line=str(charge.rated["inputs"]["reference"]), words="Goodwill")
    change(draft, "30", words="Setup")
    released(draft)

    issued = issue_invoice(invoice_id=draft.pk, at=LATER, actor="fiona", reason="done")

    assert_states(issued)
    (tmp_path / "invoice.json").write_text(json.dumps(proof_document(invoice=issued)))
    (tmp_path / "events.ndjson").write_bytes(b"".join(event_file(invoice=issued)))
    assert main([str(tmp_path / "invoice.json"), str(tmp_path / "events.ndjson")]) == 0
    assert verify() == []


def test_what_is_taken_off_where_nothing_is_left_is_nothing_and_the_invoice_is_issued(draft: Invoice) -> None:
    """The database keeps no minus before nothing: the line was not what was rated any more, and nobody could issue it."""
    change(draft, "-105", words="Goodwill")
    change(draft, "-10", words="More goodwill")
    assert [amount for _, amount in lines(draft)][-2:] == ["-105.000", "0.000"]
    released(draft)

    issue_invoice(invoice_id=draft.pk, at=AT, actor="fiona", reason="as agreed")

    assert total(draft) == "0.00"
    assert draft.lines.get(description="More goodwill").rated["amount"]["amount"] == "0.00"
    assert verify() == []
