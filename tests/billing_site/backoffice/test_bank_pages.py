"""Bank statements in the back office: looked at before they are imported, lines identified in one click or by hand, the bank against the books."""

from datetime import date
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.contrib import admin
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from django.urls import reverse
from moneyed import Money

from billing_site.backoffice.bank_queue import bank_queues
from billing_site.kernel.clock import now
from invoicing.bank.models import BankAllocation, BankLine, BankStatement
from invoicing.bank.queries import left_of
from invoicing.invoices.models import Invoice
from invoicing.payments.payout import Payout, StripeTransaction
from invoicing.workflows.match_bank_lines import propose, settle_certain_lines
from invoicing.workflows.verify import verify
from tests.factories import a_customer, settle_constraints
from tests.invoicing.bank.statements import AT, Entry, camt, import_camt, one_line
from tests.invoicing.selling import item, once, paid

pytestmark = pytest.mark.django_db
# What lists of money that moved call their figures.
MONEY = {
    "amount_moved", "amount_left", "amount_allocated", "rest", "opened", "moved", "closed", "amount_paid_out", "net_moved", "fee_kept",
}  # fmt: skip


@pytest.fixture
def invoice() -> Invoice:
    """USD 120, open, payable by transfer."""
    return once(a_customer(settlement_channel="manual"))


def uploaded(client: Client, content: bytes, name: str = "july.xml", **others: str) -> Any:
    posted = {
        "file": SimpleUploadedFile(name, content),
        "format": "camt053",
        "layout": "standard",
        "rules": "",
        **others,
    }
    return client.post(reverse("admin:invoicing_bankstatement_add"), posted)


def line_page(client: Client, line: BankLine, **posted: Any) -> str:
    where = reverse("admin:invoicing_bankline_change", args=[line.pk])
    answer = client.post(where, posted, follow=True) if posted else client.get(where)
    assert answer.status_code == 200
    return answer.content.decode()


def accept(client: Client, line: BankLine, *shares: str, left: str, reason: str = "as proposed") -> str:
    where = reverse("admin:invoicing_bankline_accept", args=[line.pk])
    return client.post(where, {"share": shares, "left": left, "reason": reason}, follow=True).content.decode()


def test_a_file_is_looked_at_first_and_imported_exactly_as_it_was_seen(finance: Client, invoice: Invoice) -> None:
    content = camt(Entry("120.00", str(invoice.number)), Entry("7.00"), Entry("1.00", state="PDNG"))

    looked = uploaded(finance, content)

    page = looked.content.decode()
    assert "This would be the first statement of this account" in page and "is not booked (PDNG)" in page
    [one] = looked.context["looked"]
    assert (len(one["looked"].new), len(one["foreseen"].settled), one["foreseen"].to_look_at) == (2, 1, 1)
    assert not BankStatement.objects.exists()

    seen = {
        "seen": looked.context["seen"],
        "seen_name": "july.xml",
        "format": "camt053",
        "layout": "standard",
        "rules": "",
    }
    done = finance.post(reverse("admin:invoicing_bankstatement_add"), {**seen, "commit": "1"}, follow=True)
    assert "2 new lines are booked" in done.content.decode()
    assert settle_certain_lines(file_id=None, at=AT) == 1
    again = uploaded(finance, content)
    assert "This file was imported already" in again.content.decode()
    assert len(again.context["looked"][0]["looked"].new) == 0


def test_a_wrong_file_is_told_at_its_field(finance: Client) -> None:
    assert "come to" in uploaded(finance, camt(Entry("1.00"), closing="5")).content.decode()
    assert "this is no XML" in uploaded(finance, b"x").content.decode()
    assert "is no field" in uploaded(finance, b"x", format="csv", rules="colour=red").content.decode()
    assert (
        "Choose a file"
        in finance.post(reverse("admin:invoicing_bankstatement_add"), {"format": "csv"}).content.decode()
    )
    forged = {"seen": "!", "seen_name": "x", "format": "csv", "commit": "1"}
    assert (
        "choose the file again" in finance.post(reverse("admin:invoicing_bankstatement_add"), forged).content.decode()
    )


def test_a_proposal_is_accepted_in_one_click_and_only_once(finance: Client, invoice: Invoice) -> None:
    line = one_line(Entry("150.00", str(invoice.number)))
    page = line_page(finance, line)
    assert "30 USD more than the 120 USD that are open" in page and "keep the rest on account" in page
    shares = (f"payment|{invoice.pk}|120.00", f"on_account|{invoice.customer_id}|30.00")

    accept(finance, line, *shares, left="150.000")
    told = accept(finance, line, *shares, left="150.000")

    assert "Nothing has changed" in told and BankAllocation.objects.count() == 2
    assert left_of(line=line) == Money(0, "USD")
    settle_constraints()
    assert verify() == []


def test_a_line_is_split_by_hand_and_what_is_wrong_is_told_at_its_part(finance: Client, invoice: Invoice) -> None:
    second = once(invoice.customer, item("50"), key="second")
    line = one_line(Entry("200.00"))

    asked = line_page(finance, line)
    assert f'<option value="{second.number}">' in asked and "USD 50.00 open" in asked, "open invoices are offered"
    assert asked.count("<tr hidden>") == 3, "a part at a time"
    wrong = line_page(
        finance, line, left="200.000", kind_1="payment", of_1="INV-1", kind_2="on_account", of_2="x", reason="r"
    )
    assert "There is no invoice with this number" in wrong and "Say how much" in wrong
    assert wrong.count("<tr hidden>") == 2
    line_page(
        finance, line, left="200.000", reason="told by phone", kind_1="payment", of_1=str(invoice.number),
        kind_2="payment", of_2=str(second.number), amount_2="50", kind_3="set_aside", amount_3="10",
    )  # fmt: skip

    assert sorted(one.amount.amount for one in BankAllocation.objects.all()) == [10, 50, 120]
    assert "USD</span> 20.00" in line_page(finance, line)
    settle_constraints()
    assert verify() == []


def test_money_recorded_by_hand_is_found_and_matched_in_one_click(finance: Client, invoice: Invoice) -> None:
    paid(invoice, at=AT)
    line = one_line(Entry("120.00", day=date(2026, 7, 18)))
    [known] = propose(line=line).known
    assert "Recorded already" in line_page(finance, line)

    accept(finance, line, f"known|{known.entry.pk}|120.00", left="120.000")

    page = finance.get(reverse("admin:invoicing_bank_reconciliation")).content.decode()
    assert "explained" in page and "Stood on the accounts before" in page


def test_money_on_account_is_applied_paid_back_and_a_wrong_allocation_taken_back(
    finance: Client, invoice: Invoice
) -> None:
    line = one_line(Entry("300.00"))
    accept(finance, line, f"on_account|{invoice.customer_id}|200.00", left="300.000")
    lot = BankAllocation.objects.get()
    customer = finance.get(reverse("admin:invoicing_customer_change", args=[invoice.customer_id])).content.decode()
    assert "came by bank and are" in customer

    def use(name: str, **posted: str) -> str:
        where = reverse(f"admin:invoicing_bankallocation_{name}", args=[lot.pk])
        assert finance.get(where).status_code == 200
        return finance.post(where, {"reason": "agreed", **posted}, follow=True).content.decode()

    use("apply", invoice=str(invoice.number), amount="120", rest="200.000")
    use("pay_back", amount="80", rest="80.000")
    assert "applied or paid back" in use("take_back")

    invoice.refresh_from_db()
    assert invoice.status == "paid"
    assert "Paid back" in finance.get(reverse("admin:invoicing_bankallocation_change", args=[lot.pk])).content.decode()
    settle_constraints()
    assert verify() == []


def test_a_payment_is_taken_back_on_its_page_and_a_returned_line_proposes_which(
    finance: Client, support: Client, invoice: Invoice
) -> None:
    payment = paid(invoice)
    where = reverse("admin:invoicing_payment_reverse_payment", args=[payment.pk])
    assert "Take it back" in finance.get(reverse("admin:invoicing_payment_change", args=[payment.pk])).content.decode()
    assert support.post(where, {"cause": "mistake", "reason": "x"}).status_code == 403

    assert "are open again, in the books too" in finance.get(where).content.decode()
    assert "This field is required" in finance.post(where, {"cause": "", "reason": "nobody said why"}).content.decode()
    page = finance.post(where, {"cause": "mistake", "reason": "another customer's"}, follow=True).content.decode()

    assert "taken back" in page and "another customer&#x27;s" in page and 'href="' + where not in page
    invoice.refresh_from_db()
    assert invoice.status == "issued"
    again = one_line(Entry("120.00"))
    accept(finance, again, f"payment|{invoice.pk}|120.00", left="120.000")
    take_back = reverse("admin:invoicing_bankallocation_take_back", args=[again.allocations.get().pk])
    assert take_back in line_page(finance, again)
    assert take_back not in support.get(reverse("admin:invoicing_bankline_change", args=[again.pk])).content.decode()
    out = import_camt(
        Entry("-120.00", f"{invoice.number} returned"), opening="1120", number="8", name="back.xml"
    ).lines[0]
    assert "It returns the payment of" in line_page(finance, out)
    [back] = propose(line=out).returned
    told = accept(finance, out, f"return|{back.payments[0].pk}|-120.000", left="-120.000")
    assert "payment that was returned" in told
    invoice_page = finance.get(reverse("admin:invoicing_invoice_change", args=[invoice.pk])).content.decode()
    assert invoice_page.count("taken back (") == 2 and "Payment taken back" in invoice_page
    settle_constraints()
    assert verify() == []


def test_the_index_says_what_waits_and_every_list_opens(finance: Client, support: Client, invoice: Invoice) -> None:
    lines = import_camt(Entry("120.00"), Entry("-4.00", name="The Bank")).lines
    accept(finance, lines[0], f"on_account|{invoice.customer_id}|100.00", left="120.000")

    waiting, stripe, on_account = bank_queues(at=now())
    assert not stripe.count

    assert (waiting.count, waiting.why, [str(one.amount) for one in waiting.money]) == (
        2,
        "1 came in, 1 went out",
        ["16.00"],
    )
    assert (on_account.count, [str(one.amount) for one in on_account.money]) == (1, ["100.00"])
    for name in ("bankline", "bankstatement", "bankallocation"):
        for query in ({}, {"state": "open"}, {"state": "on_account"}, {"q": "acme"}):
            assert finance.get(reverse(f"admin:invoicing_{name}_changelist"), query, follow=True).status_code == 200
    assert (
        finance.get(reverse("admin:invoicing_bankstatement_change", args=[BankStatement.objects.get().pk])).status_code
        == 200
    )
    assert "Allocate" not in line_page(support, lines[0])
    assert support.post(reverse("admin:invoicing_bankline_accept", args=[lines[0].pk]), {}).status_code == 403
    assert support.get(reverse("admin:invoicing_bankstatement_add")).status_code == 403


def test_money_in_the_lists_of_bank_and_stripe_is_right_aligned_under_its_head() -> None:
    css = (Path(settings.BASE_DIR) / "billing_site/static/billing/backoffice.css").read_text()

    listed = {
        name
        for model in (BankLine, BankStatement, BankAllocation, Payout, StripeTransaction)
        for name in admin.site.get_model_admin(model).list_display
    }

    assert listed >= MONEY
    for name in MONEY:
        assert f"td.field-{name}" in css and f"th.column-{name}" in css, name


def test_what_lies_between_bank_and_books_has_one_sign_of_its_direction(finance: Client, invoice: Invoice) -> None:
    paid(invoice)

    page = finance.get(reverse("admin:invoicing_bank_reconciliation")).content.decode()

    assert "<td>Recorded by hand, and on no statement (below)</td>" in page and "<td>−" not in page
