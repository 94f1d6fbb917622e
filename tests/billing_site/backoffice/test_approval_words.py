"""What the pages say of a deed that takes two people: before it is asked for, while it waits, and what came of it."""

import re
from decimal import Decimal

import pytest
from django.core.exceptions import ValidationError
from django.test import Client
from django.urls import reverse

from billing_site.backoffice.queries import index_page
from billing_site.backoffice.roles import APPROVERS
from billing_site.display.amount_field import AmountField
from billing_site.display.figures import money_text
from invoicing.approvals.models import Approval, ApprovalLimit, ApprovedDeed, Decision
from invoicing.approvals.operations import set_limit
from invoicing.credit_notes.models import CreditNote
from invoicing.invoices.models import Invoice
from invoicing.workflows.approve import decide
from invoicing.workflows.ask_first import credit_or_ask, write_off_or_ask
from invoicing.write_offs.models import WriteOff
from tests.billing_site.backoffice.conftest import a_member
from tests.factories import a_customer
from tests.invoicing.crediting import LATER
from tests.invoicing.selling import item, once, paid

pytestmark = pytest.mark.django_db


@pytest.fixture
def workshop() -> Invoice:
    """Over USD 100, nothing paid; from USD 50 on two people decide."""
    for deed in (ApprovedDeed.CREDIT_NOTE, ApprovedDeed.WRITE_OFF):
        set_limit(deed=deed, currency="USD", amount=Decimal(50), at=LATER, actor="otto", reason="agreed")
    return once(a_customer(settlement_channel="manual"), item("10", "10"))


def asked_credit(invoice: Invoice, *, disposition: str = "offset", actor: str = "fiona") -> Approval:
    asked = credit_or_ask(
        invoice_id=invoice.pk, key="outage", disposition=disposition, at=LATER, actor=actor, reason="outage"
    )
    assert isinstance(asked, Approval)
    return asked


def approved(asked: Approval) -> None:
    decide(
        approval_id=asked.pk,
        digest=asked.digest,
        decision=Decision.APPROVED,
        at=LATER,
        actor="otto",
        reason="seen the file",
    )


def shown(client: Client, approval: Approval) -> str:
    return client.get(reverse("admin:invoicing_approval_change", args=[approval.pk])).content.decode()


def page_of(client: Client, invoice: Invoice) -> str:
    return client.get(reverse("admin:invoicing_invoice_change", args=[invoice.pk])).content.decode()


def links(approval: Approval) -> list[str]:
    return [
        reverse(f"admin:invoicing_approval_{verb}", args=[approval.pk]) for verb in ("approve", "refuse", "withdraw")
    ]


def test_only_who_can_press_a_button_sees_it_and_only_while_it_waits(
    workshop: Invoice, finance: Client, support: Client
) -> None:
    otto = a_member("otto", APPROVERS)
    asked = asked_credit(workshop)

    pages = [shown(who, asked) for who in (otto, finance, support)]

    seen = [[link in page for link in links(asked)] for page in pages]
    assert seen == [[True, True, False], [False, False, True], [False, False, False]]
    assert "somebody else decides." in pages[1]
    assert "Approving takes the group Approvers." in pages[2]
    assert [finance.get(link).status_code for link in links(asked)] == [403, 403, 200]
    assert [otto.get(link).status_code for link in links(asked)] == [200, 200, 403]
    approved(asked)
    assert not any(link in shown(otto, asked) for link in links(asked))
    assert otto.get(links(asked)[0]).status_code == 302


def test_what_came_of_an_approval_is_named_with_a_link(workshop: Invoice, finance: Client) -> None:
    credit = asked_credit(workshop)
    assert "the invoice it credits" in shown(finance, credit)
    approved(credit)
    other = once(workshop.customer, item("10", "10"), key="other")
    given_up = write_off_or_ask(invoice_id=other.pk, at=LATER, actor="fiona", reason="insolvent")
    assert isinstance(given_up, Approval)
    approved(given_up)

    note, loss = CreditNote.objects.get(), WriteOff.objects.get()

    assert f">Issued as {note.number}</a>" in shown(finance, credit)
    assert f">Written off as {loss.reference}</a>" in shown(finance, given_up)


def test_figures_run_from_the_lines_over_the_total_to_what_becomes_of_it(workshop: Invoice) -> None:
    asked = asked_credit(workshop)

    assert [words for words, _ in asked.asked["figures"]] == ["Line 1: Workshop, 10", "Credited", "Off what is open"]
    assert asked.summary == f"USD 100.00 of invoice {workshop.number} for {workshop.customer_name}"


def test_the_invoice_says_what_waits_and_that_it_is_credited_wholly(workshop: Invoice, finance: Client) -> None:
    paid(workshop, "100", at=LATER)
    assert "Paid in full: nothing to do." in page_of(finance, workshop)
    asked = asked_credit(workshop, disposition="refund")
    waiting = page_of(finance, workshop)
    approved(asked)
    done = page_of(finance, workshop)

    assert "nothing to do" not in waiting
    assert "waits for a second person" in waiting
    assert reverse("admin:invoicing_approval_change", args=[asked.pk]) in waiting
    assert f"Credited wholly, by {CreditNote.objects.get()}" in done
    assert "waits for a second person" not in done


def test_a_button_that_asks_says_that_it_asks(workshop: Invoice, finance: Client) -> None:
    form = finance.post(
        reverse("admin:invoicing_invoice_credit", args=[workshop.pk]),
        {
            "key": "k",
            "what": "whole",
            "disposition": "offset",
            "reason": "outage",
            "lines-TOTAL_FORMS": "0",
            "lines-INITIAL_FORMS": "0",
        },
    ).content.decode()
    loss = finance.get(reverse("admin:invoicing_invoice_write_off", args=[workshop.pk])).content.decode()

    assert "Ask for the credit note over USD 100.00" in form
    assert "two people decide" in form
    assert "Ask to write USD 100.00 off" in loss
    assert "From USD 50.00 on two people decide" in loss


def test_the_index_counts_what_its_reader_could_approve_and_apart_what_he_asks_for(workshop: Invoice) -> None:
    asked_credit(workshop)

    def counts(name: str, *permissions: str) -> list[tuple[int, list[str]]]:
        page = index_page(at=LATER, name=name, allowed=lambda one: one in permissions)
        two = [one for one in page.queues if one.name in ("Approvals to give", "Your requests that wait for others")]
        return [(one.count, [money_text(amount) for amount in one.money]) for one in two]

    one = (1, ["USD 100.00"])
    assert counts("otto", "invoicing.decide_approval") == [one, (0, [])]
    assert counts("otto", "invoicing.decide_release") == [(0, []), (0, [])]
    assert counts("Fiona", "invoicing.decide_approval") == [(0, []), one]
    otto = a_member("otto", APPROVERS)
    for state, found in (("mine", True), ("asked", False)):
        listed = otto.get(reverse("admin:invoicing_approval_changelist"), {"state": state}).content.decode()
        assert (f"for {workshop.customer_name}" in listed) is found


def test_limits_are_written_as_money_and_typed_with_a_point(workshop: Invoice) -> None:
    otto = a_member("otto", APPROVERS)
    typed = {"deed": "credit_note", "currency": "EUR", "amount": "50,00", "reason": "agreed"}

    told = otto.post(reverse("admin:invoicing_approvallimit_add"), typed).content.decode()
    [limit] = ApprovalLimit.objects.filter(deed="credit_note")
    page = otto.get(reverse("admin:invoicing_approvallimit_change", args=[limit.pk])).content.decode()

    assert "Enter an amount with a point: 50.00." in told
    thousand = otto.post(reverse("admin:invoicing_approvallimit_add"), {**typed, "amount": "1.000"}).content.decode()
    assert "1.000 could be read in two ways: enter 1000, or 1." in thousand
    for text, asked in (("1.234", "enter 1234, or 1.2340."), ("1.000.000", "1.000.000 is no decimal: enter 1000000.")):
        with pytest.raises(ValidationError, match=re.escape(asked)):
            AmountField().clean(text)
    assert [AmountField().clean(text) for text in ("1.2340", "0.500", "1234")] == [
        Decimal("1.234"),
        Decimal("0.5"),
        Decimal(1234),
    ]
    assert AmountField(currency="KWD").clean("123.456") == Decimal("123.456"), "so many decimals has a dinar"
    assert "50.00" in page
    assert "50.0000" not in page
