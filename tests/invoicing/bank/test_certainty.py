"""What is beyond doubt: a line settles by itself only where its money comes once, stays, and is in the books nowhere else."""

from datetime import date, timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from moneyed import Money

from billing_site.kernel.clock import now
from invoicing.admin.bank_line_form import SplitForm, money_said
from invoicing.bank.models import BankLine
from invoicing.bank.queries import left_of, movements_on_no_statement
from invoicing.invoices.models import Invoice
from invoicing.payments.models import PushIntent
from invoicing.workflows import match_bank_lines
from invoicing.workflows.allocate_bank_line import Share
from invoicing.workflows.bank_faults import bank_gaps
from invoicing.workflows.import_bank_statement import Upload, look_at_upload
from invoicing.workflows.match_bank_lines import foresee, settle_certain_lines
from invoicing.workflows.offboarding import customers_to_close, offboarding_of
from tests.factories import JULY, a_customer
from tests.invoicing.bank.statements import AT, Entry, allocate, camt, import_camt
from tests.invoicing.selling import item, once, paid

pytestmark = pytest.mark.django_db


@pytest.fixture
def invoice() -> Invoice:
    """USD 120, open, payable by transfer."""
    return once(a_customer(settlement_channel="manual"))


def settled_and_foreseen(*entries: Entry) -> tuple[int, int]:
    [looked] = look_at_upload(upload=Upload("x.xml", "camt053", camt(*entries)))
    foreseen = foresee(looked=looked)
    import_camt(*entries)
    return settle_certain_lines(file_id=None, at=AT), len(foreseen.settled)


@pytest.mark.parametrize(
    "back",
    [
        Entry("-120.00", "returned", is_reversal=True),
        Entry("-120.00", "returned", reference="B1", day=date(2026, 7, 12)),
        Entry("-120.00", "returned", end_to_end="E1"),
    ],
)
def test_what_the_bank_has_taken_back_settles_nothing(invoice: Invoice, back: Entry) -> None:
    came = Entry("120.00", str(invoice.number), reference="B1", end_to_end="E1")

    assert settled_and_foreseen(came, back) == (0, 0)


def test_a_payment_of_ours_of_the_same_amount_is_no_reversal(invoice: Invoice) -> None:
    assert settled_and_foreseen(Entry("120.00", str(invoice.number)), Entry("-120.00", "rent")) == (1, 1)


def test_a_part_recorded_by_hand_long_ago_leaves_the_line_to_people_who_name_its_entry(invoice: Invoice) -> None:
    for reference, day in (("first", -30), ("second", -25)):
        paid(invoice, "30", reference=reference, at=JULY + timedelta(days=day))

    assert settled_and_foreseen(Entry("60.00", str(invoice.number))) == (0, 0)

    entries = [one.entry.pk for one in movements_on_no_statement()]
    said = {f"{name}_{number}": value for number, entry in enumerate(entries, start=1)
            for name, value in (("kind", "known"), ("of", str(entry)), ("amount", "30"))}  # fmt: skip
    line = BankLine.objects.get()
    form = SplitForm({**said, "reason": "told on the phone"}, left=left_of(line=line))
    assert form.is_valid(), form.errors
    allocate(line, *form.cleaned_data["shares"])
    assert not movements_on_no_statement() and not left_of(line=line).amount


def test_an_invoice_that_stripe_may_collect_is_proposed_and_not_settled() -> None:
    by_card = once(a_customer(settlement_channel="stripe"))
    PushIntent.objects.get_or_create(invoice=by_card, defaults={"next_attempt_at": now()})

    assert settled_and_foreseen(Entry("120.00", str(by_card.number))) == (0, 0)


def test_one_line_that_breaks_holds_up_none_behind_it(invoice: Invoice, monkeypatch: pytest.MonkeyPatch) -> None:
    broken, _ = import_camt(Entry("1.00", f"for {invoice.number}"), Entry("120.00", str(invoice.number))).lines
    propose = match_bank_lines.propose

    def breaks(*, line: BankLine) -> object:
        if line.pk == broken.pk:
            raise RuntimeError
        return propose(line=line)

    monkeypatch.setattr(match_bank_lines, "propose", breaks)

    assert settle_certain_lines(file_id=None, at=AT) == 1


def test_a_balance_that_no_line_explains_is_told() -> None:
    import_camt(Entry("10.00", day=date(2026, 7, 1)), opening="100")
    import_camt(Entry("5.00", day=date(2026, 7, 3)), opening="117", number="9")

    assert [told[:4] for _, told in bank_gaps()] == ["7.00"]


def test_crafted_amounts_are_nothing_and_an_invoice_of_another_currency_is_told(invoice: Invoice) -> None:
    euro = once(
        a_customer("cust_euro", settlement_channel="manual", currency="EUR"), item("5", currency="EUR"), key="e"
    )
    form = SplitForm({"kind_1": "payment", "of_1": euro.number, "reason": "his"}, left=Money("120", "USD"))

    assert not form.is_valid() and "EUR" in str(form.errors["of_1"])
    assert [money_said(text, "USD").amount for text in ("NaN", "abc", "", "Infinity", "1e99", "7.5")] == [
        0, 0, 0, 0, 0, Money("7.5", "USD").amount,
    ]  # fmt: skip


def test_a_file_is_looked_at_in_so_many_queries_however_many_lines_name_an_invoice(invoice: Invoice) -> None:
    def asked(count: int) -> int:
        entries = [Entry("1.00", str(invoice.number), reference=f"R{number}") for number in range(count)]
        [looked] = look_at_upload(upload=Upload("x.xml", "camt053", camt(*entries)))
        with CaptureQueriesContext(connection) as queries:
            foresee(looked=looked)
        return len(queries)

    assert asked(30) == asked(1)


def test_who_has_money_on_account_is_not_off_boarded(invoice: Invoice) -> None:
    line = import_camt(Entry("200.00")).lines[0]
    allocate(
        line,
        Share("payment", Money("120", "USD"), invoice_id=invoice.pk),
        Share("on_account", Money("80", "USD"), customer_id=invoice.customer_id),
    )

    left = offboarding_of(customer=invoice.customer)

    assert (left.unpaid, left.on_account, left.is_complete) == ((), (Money("80", "USD"),), False)
    assert not customers_to_close().filter(pk=invoice.customer_id), "it has not churned"
