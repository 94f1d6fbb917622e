"""Large credit notes and write-offs take two people: from the limit of the currency on, by their figures, once, and the database asks, too."""

from decimal import Decimal
from typing import Any

import pytest
from django.db import DatabaseError, connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from billing_site.api.operations import create_api_key
from billing_site.backoffice.roles import APPROVERS, FINANCE
from billing_site.kernel.errors import Conflict
from invoicing.approvals.models import Approval, ApprovedDeed, Decision
from invoicing.approvals.operations import NeedsApproval, SamePerson, set_limit
from invoicing.credit_notes.models import CreditNote
from invoicing.credit_notes.operations import CreditAsked
from invoicing.invoices.models import Invoice
from invoicing.workflows.approve import decide
from invoicing.workflows.ask_first import credit_or_ask, write_off_or_ask
from invoicing.workflows.verify import verify
from invoicing.workflows.write_off_invoice import take_back_write_off, write_off_invoice
from invoicing.write_offs.models import WriteOff
from tests.billing_site.api.caller import Caller
from tests.billing_site.backoffice.conftest import a_member
from tests.factories import a_customer, settle_constraints
from tests.invoicing.crediting import LATER, credited, of_line
from tests.invoicing.selling import item, once, paid
from tests.invoicing.test_attack_guards import run_sql
from tests.invoicing.test_attack_write_offs import give_up, says

pytestmark = pytest.mark.django_db
WHO: dict[str, Any] = {"actor": "fiona", "reason": "agreed by phone"}


@pytest.fixture
def workshop() -> Invoice:
    """Over USD 100, nothing paid."""
    return once(a_customer(settlement_channel="manual"), item("10", "10"))


def limit(deed: ApprovedDeed, amount: str | None) -> None:
    """From now on this much takes two people."""
    chosen = None if amount is None else Decimal(amount)
    set_limit(deed=deed, currency="USD", amount=chosen, at=LATER, actor="otto", reason="agreed with the board")


def credit(invoice: Invoice, *asked: CreditAsked, key: str = "outage", actor: str = "fiona") -> CreditNote | Approval:
    return credit_or_ask(
        invoice_id=invoice.pk, key=key, asked=asked, disposition="offset", at=LATER, actor=actor, reason="outage"
    )


def write_off(invoice: Invoice) -> WriteOff | Approval:
    return write_off_or_ask(invoice_id=invoice.pk, at=LATER, **WHO)


def decided(asked: Approval, decision: Decision = Decision.APPROVED, *, actor: str = "otto") -> Approval:
    return decide(
        approval_id=asked.pk, digest=asked.digest, decision=decision, at=LATER, actor=actor, reason="seen the file"
    )


@pytest.mark.parametrize(("amount", "takes_two"), [("40", True), ("40.01", False), (None, False)])
def test_a_credit_takes_two_from_the_limit_on(workshop: Invoice, amount: str | None, takes_two: bool) -> None:
    limit(ApprovedDeed.CREDIT_NOTE, amount)

    done = credit(workshop, of_line(1, quantity=4))

    assert isinstance(done, Approval) is takes_two
    assert CreditNote.objects.count() == (not takes_two)


def test_what_was_asked_for_is_credited_as_it_was_shown_once_another_approves(workshop: Invoice) -> None:
    limit(ApprovedDeed.CREDIT_NOTE, "40")
    asked, again = credit(workshop, of_line(1, quantity=4)), credit(workshop, of_line(1, quantity=4))
    assert isinstance(asked, Approval)
    assert asked == again
    assert asked.asked["figures"][0] == ["Line 1: Workshop, 4", "USD 40.00"]
    with pytest.raises(NeedsApproval):
        credited(workshop, of_line(1, quantity=4))
    with pytest.raises(SamePerson):
        decided(asked, actor="Fiona")

    decided(asked)

    note = CreditNote.objects.get()
    assert (note.total.amount, note.actor, note.reason, note.approval) == (40, "fiona", "outage", asked)
    settle_constraints()
    assert verify() == []


def test_bit_by_bit_is_one_credit_and_what_was_approved_counts_no_more(workshop: Invoice) -> None:
    limit(ApprovedDeed.CREDIT_NOTE, "40")

    first = credit(workshop, of_line(1, quantity=3), key="one")
    second = credit(workshop, of_line(1, quantity=1), key="two")
    assert isinstance(first, CreditNote)
    assert isinstance(second, Approval)
    decided(second)
    third = credit(workshop, of_line(1, amount="9.99"), key="three")

    assert isinstance(third, CreditNote)
    assert isinstance(credit(workshop, of_line(1, amount="0.01"), key="four"), Approval)


@pytest.mark.django_db(transaction=True)
def test_what_takes_two_is_found_and_asked_for_in_one_transaction_that_holds_the_invoice() -> None:
    invoice = once(a_customer(settlement_channel="manual"), item("10", "10"))
    for deed in (ApprovedDeed.CREDIT_NOTE, ApprovedDeed.WRITE_OFF):
        limit(deed, "40")

    for ask in (lambda: credit(invoice, of_line(1, quantity=4)), lambda: write_off(invoice)):
        with CaptureQueriesContext(connection) as asked:
            assert isinstance(ask(), Approval)

        told = [query["sql"] for query in asked]
        assert [one for one in told if one in ("BEGIN", "COMMIT", "ROLLBACK")] == ["BEGIN", "COMMIT"]
        # What is rolled back to its savepoint gives back the locks that were taken after it.
        first_lock = next(number for number, one in enumerate(told) if one.endswith("FOR UPDATE"))
        assert first_lock < next(number for number, one in enumerate(told) if one.startswith("SAVEPOINT"))
        assert any(one.startswith("ROLLBACK TO SAVEPOINT") for one in told)


def test_a_refused_or_overtaken_credit_is_not_written(workshop: Invoice) -> None:
    limit(ApprovedDeed.CREDIT_NOTE, "40")
    refused, overtaken = credit(workshop, of_line(1, quantity=4)), None
    assert isinstance(refused, Approval)
    decided(refused, Decision.REFUSED)
    overtaken = credit(workshop)
    assert isinstance(overtaken, Approval)
    paid(workshop, "50", at=LATER)

    # Offset of 100 is not open any more.
    with pytest.raises(Exception, match="disposition"):
        decided(overtaken)

    overtaken.refresh_from_db()
    assert (CreditNote.objects.count(), overtaken.decision) == (0, "")


def test_a_write_off_takes_two_from_the_limit_on_and_what_is_open_then(workshop: Invoice) -> None:
    limit(ApprovedDeed.WRITE_OFF, "100")
    asked = write_off(workshop)
    assert isinstance(asked, Approval)
    assert asked.summary == f"USD 100.00 of invoice {workshop.number} for {workshop.customer_name}"
    with pytest.raises(NeedsApproval):
        write_off_invoice(invoice_id=workshop.pk, at=LATER, **WHO)
    decided(asked)

    done = WriteOff.objects.get()
    assert (done.amount.amount, done.actor, done.approval) == (100, "fiona", asked)
    take_back_write_off(invoice_id=workshop.pk, at=LATER, **WHO)
    anew = write_off(workshop)
    assert isinstance(anew, Approval)
    paid(workshop, "0.01", at=LATER)
    with pytest.raises(Conflict, match="something else is open"):
        decided(anew)
    assert isinstance(write_off(workshop), WriteOff)
    settle_constraints()
    assert verify() == []


@pytest.mark.requirement("S0-112")
def test_the_database_asks_for_the_approval_of_another_and_for_its_figures(workshop: Invoice) -> None:
    limit(ApprovedDeed.WRITE_OFF, "40")
    paid(workshop, "60", at=LATER)
    asked = write_off(workshop)
    assert isinstance(asked, Approval)
    with_it = (
        give_up(workshop)
        .replace("actor, reason)", "actor, reason, approval_id)")
        .replace("'x', 'x'", "'{actor}', 'x', {approval}")
    )
    approve = f"UPDATE invoicing_approval SET decision = 'approved', decided_by = 'otto', decision_reason = 'x', decided_at = now() WHERE id = {asked.pk}"
    other = once(workshop.customer, key="other")
    for statements in (
        (give_up(workshop), says(workshop)),
        (with_it.format(actor="fiona", approval=asked.pk), says(workshop)),
        (approve.replace("'otto'", "'FIONA'"), with_it.format(actor="x", approval=asked.pk), says(workshop)),
        (approve, with_it.format(actor="Otto", approval=asked.pk), says(workshop)),
        (f"UPDATE invoicing_approval SET asked = '{{}}' WHERE id = {asked.pk}",),
        (
            approve,
            with_it.format(actor="x", approval=asked.pk).replace(str(workshop.pk), str(other.pk)),
            says(other, "120"),
        ),
    ):
        with pytest.raises(DatabaseError):
            run_sql(*statements)

    run_sql(approve, with_it.format(actor="fiona", approval=asked.pk), says(workshop))
    assert WriteOff.objects.get().approval_id == asked.pk


def test_finance_asks_and_an_approver_sees_every_figure_and_approves(workshop: Invoice) -> None:
    finance = a_member("fiona", FINANCE)
    otto = a_member("otto", APPROVERS)
    for deed in (ApprovedDeed.WRITE_OFF, ApprovedDeed.CREDIT_NOTE):
        page = otto.post(
            reverse("admin:invoicing_approvallimit_add"),
            {"deed": deed.value, "currency": "USD", "amount": "50", "reason": "agreed with the board"},
            follow=True,
        ).content.decode()
        assert "from USD 50.00 on" in page

    answer = finance.post(
        reverse("admin:invoicing_invoice_write_off", args=[workshop.pk]), {"reason": "file 12"}, follow=True
    )
    [asked] = Approval.objects.all()
    seen = otto.get(reverse("admin:invoicing_approval_change", args=[asked.pk])).content.decode()
    approve = reverse("admin:invoicing_approval_approve", args=[asked.pk])
    assert finance.post(approve, {"digest": asked.digest, "reason": "me too"}).status_code == 403
    otto.post(approve, {"digest": asked.digest, "reason": "seen the file"})

    assert "waits for somebody else to approve" in answer.content.decode()
    assert all(words in seen for words in ("Open, and given up", "USD 100.00", asked.digest, "file 12"))
    assert WriteOff.objects.get().actor == "fiona"


def test_services_hear_that_it_waits(workshop: Invoice) -> None:
    limit(ApprovedDeed.CREDIT_NOTE, "1")
    limit(ApprovedDeed.WRITE_OFF, "1")
    caller, path = Caller(), f"/api/v1/invoices/{workshop.number}"
    chief = Caller()
    chief.key = create_api_key(name="cfo", scopes=["approvals:read", "approvals:write"], customer_key="")

    credit_answer = caller.post(
        f"{path}/credit-notes",
        {"key": "k", "disposition": "offset", "reason": "outage", "lines": [{"position": 1, "quantity": "1"}]},
    )
    asked = credit_answer.json()
    decision = {"decision": "approved", "digest": asked["digest"], "reason": "seen the file"}
    assert caller.post(f"/api/v1/approvals/{asked['id']}/decision", decision).status_code == 409
    assert chief.post(f"/api/v1/approvals/{asked['id']}/decision", decision).status_code == 200
    write_off_answer = caller.post(f"{path}/write-off", {"reason": "insolvency"})

    assert (credit_answer.status_code, asked["deed"], asked["decision"]) == (202, "credit_note", "")
    assert ["Line 1: Workshop, 1", "USD 10.00"] in asked["figures"]
    assert CreditNote.objects.get().total.amount == 10
    assert (write_off_answer.status_code, write_off_answer.json()["deed"]) == (202, "write_off")
    settle_constraints()
