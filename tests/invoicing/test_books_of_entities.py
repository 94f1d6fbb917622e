"""Each legal entity has books of its own: they balance after every step, and what one holds for another stands between them, equal and opposite."""

from datetime import date, timedelta
from decimal import Decimal
from importlib import import_module

import pytest
from django.db import IntegrityError, connection
from moneyed import Money

from billing_site.kernel.errors import Conflict, InvalidFields, InvalidInput, NotFound
from billing_site.serving.diagnosis import diagnose
from invoicing.bank.models import BankAllocation
from invoicing.closing.queries import Month
from invoicing.core.posting import INTERCOMPANY
from invoicing.customers.operations import change_customer
from invoicing.invoices.models import Invoice
from invoicing.ledger.models import JournalEntry, Posting
from invoicing.ledger.queries import trial_balance, unbalanced_entries
from invoicing.payments.models import Payment
from invoicing.payments.payout import Payout
from invoicing.payments.refund import Refund
from invoicing.payments.remote_payouts import RemotePayout
from invoicing.payments.reversal import ReversalCause
from invoicing.reports.asking import Question, read_question
from invoicing.reports.catalogue import BY_NAME, REPORTS
from invoicing.reports.exports.datev import DatevClient
from invoicing.reports.exports.export import ExportSettings, JournalFile, export_journal
from invoicing.reports.faults import report_faults
from invoicing.workflows.allocate_bank_line import Share, take_back_allocation
from invoicing.workflows.bank_faults import bank_faults
from invoicing.workflows.close_faults import close_faults
from invoicing.workflows.close_package import package_of
from invoicing.workflows.dispute_faults import dispute_faults
from invoicing.workflows.import_bank_statement import Upload, import_bank_statement
from invoicing.workflows.mirror_payouts import record_payout
from invoicing.workflows.pay_refund import settle_refund
from invoicing.workflows.payout_faults import payout_faults
from invoicing.workflows.reverse_payment import reverse_payment
from invoicing.workflows.verify import check_books_balance
from invoicing.workflows.write_off_invoice import take_back_write_off, write_off_invoice
from tests.factories import AUGUST, JULY, a_customer, settle_constraints
from tests.invoicing.bank.statements import AT, OURS, Entry, allocate, camt, import_camt, one_line
from tests.invoicing.closing.closing import close
from tests.invoicing.crediting import credited, of_line
from tests.invoicing.disputing import decided, disputed, paid_by_card
from tests.invoicing.selling import item, once, paid
from tests.invoicing.selling_entities import an_entity
from tests.invoicing.test_attack_guards import behind_the_triggers, run_sql

pytestmark = pytest.mark.django_db

WHY = {"actor": "ann", "reason": "as agreed"}
LATER = AUGUST + timedelta(days=5)
BOTH = ("main", "us")
JULY_MONTH = Month(date(2026, 7, 1))
EXPORTS = ExportSettings(DatevClient(29098, 55003, 1), "No VAT", "All of us", {"us": 55004})


@pytest.fixture
def invoice() -> Invoice:
    """Of Globex, which buys from the American entity, over USD 120; Acme buys from the first, which has the bank account and that at Stripe."""
    an_entity()
    once(a_customer(), item("7"), key="of-the-first")
    return once(a_customer("cust_globex", name="Globex Corp.", legal_entity="us"))


def books_of(entity: str) -> dict[str, str]:
    return {one.account: f"{one.amount.amount:.2f}" for one in trial_balance(entity=entity) if one.amount.amount}


def books() -> tuple[dict[str, str], dict[str, str]]:
    """What stands in the books of the first entity, beside Acme's invoice, and in those of the other; after looking at whether all holds."""
    settle_constraints()
    between = Decimal(0)
    for entity in BOTH:
        balances = trial_balance(entity=entity)
        assert sum(one.amount.amount for one in balances) == 0, entity
        between += sum(one.amount.amount for one in balances if one.account == INTERCOMPANY)
    assert between == 0 and unbalanced_entries() == []
    assert [*report_faults(), *bank_faults(), *dispute_faults(), *payout_faults()] == []
    first = books_of("main")
    assert {account: Decimal(first.pop(account)) for account in ("1200", "4000")} == {"1200": 7, "4000": -7}
    return first, books_of("us")


@pytest.mark.requirement("S0-118")
def test_a_transfer_to_another_companys_bank_account_is_owed_between_them_until_it_is_taken_back(
    invoice: Invoice,
) -> None:
    line = one_line(Entry("120.00", "for you"))
    assert books() == ({"1000": "120.00", "2500": "-120.00"}, {"1200": "120.00", "4000": "-120.00"})

    allocate(line, Share("payment", Money("120", "USD"), invoice_id=invoice.pk))
    assert books() == ({"1000": "120.00", "1300": "-120.00"}, {"1300": "120.00", "4000": "-120.00"})

    take_back_allocation(allocation_id=BankAllocation.objects.get().pk, at=LATER, **WHY)
    assert books() == ({"1000": "120.00", "2500": "-120.00"}, {"1200": "120.00", "4000": "-120.00"})

    allocate(line, Share("on_account", Money("120", "USD"), customer_id=invoice.customer_id))
    assert books()[1] == {"1200": "120.00", "1300": "120.00", "2120": "-120.00", "4000": "-120.00"}


def test_what_was_recorded_by_hand_is_of_the_seller_until_the_bank_says_whose_account_it_came_to(
    invoice: Invoice,
) -> None:
    paid(invoice, at=LATER)
    assert books() == ({}, {"1000": "120.00", "4000": "-120.00"})

    entry = JournalEntry.objects.get(kind="payment")
    allocate(one_line(Entry("120.00")), Share("known", Money("120", "USD"), entry_id=entry.pk))
    assert books() == ({"1000": "120.00", "1300": "-120.00"}, {"1300": "120.00", "4000": "-120.00"})

    returned = Entry("-120.00", day=date(2026, 7, 12))
    [line] = import_camt(returned, opening="1120.00", number="8", name="8.xml", at=LATER).lines
    take_back_allocation(allocation_id=BankAllocation.objects.get().pk, at=LATER, **WHY)
    reverse_payment(payment_id=Payment.objects.get().pk, cause=ReversalCause.RETURNED, at=LATER, **WHY)
    entry = JournalEntry.objects.get(kind="payment_reversal")
    allocate(line, Share("known", Money("-120", "USD"), entry_id=entry.pk), at=LATER)
    first, other = books()
    assert first == {"1300": "120.00", "2500": "-120.00"}
    assert other == {"1000": "120.00", "1200": "120.00", "1300": "-120.00", "4000": "-120.00"}


@pytest.mark.requirement("S0-118")
def test_cards_disputes_refunds_and_payouts_of_another_companys_customer_stand_between_them(invoice: Invoice) -> None:
    payment = paid_by_card(invoice, at=JULY)
    assert books() == ({"1100": "120.00", "1300": "-120.00"}, {"1300": "120.00", "4000": "-120.00"})

    note = credited(invoice, of_line(1, amount="20"), disposition="refund", at=JULY)
    refund = Refund.objects.get(note=note)
    settle_refund(refund_id=refund.pk, channel="stripe", reference="re_1", paid_at=JULY, actor="stripe")
    assert books() == ({"1100": "100.00", "1300": "-100.00"}, {"1300": "100.00", "4000": "-100.00"})

    # The claim is the seller's, Stripe's fee is invoiced to who has the account there.
    dispute = disputed(payment, "100")
    assert books() == (
        {"1100": "-15.00", "6110": "15.00"},
        {"1150": "100.00", "4000": "-100.00"},
    )
    decided(dispute, "won")
    assert books() == (
        {"1100": "85.00", "1300": "-100.00", "6110": "15.00"},
        {"1300": "100.00", "4000": "-100.00"},
    )

    record_payout(present=a_payout("85"), listed=False, at=LATER)
    first, other = books()
    assert first == {"1110": "85.00", "1300": "-100.00", "6110": "15.00"} and other["1300"] == "100.00"

    line = one_line(Entry("85.00", "STRIPE"))
    allocate(line, Share("payout", Money("85", "USD"), payout_id=Payout.objects.get().pk))
    assert books()[0] == {"1000": "85.00", "1300": "-100.00", "6110": "15.00"}


def test_what_is_lost_and_given_up_is_the_sellers_loss(invoice: Invoice) -> None:
    write_off_invoice(invoice_id=invoice.pk, at=LATER, **WHY)
    assert books() == ({}, {"4000": "-120.00", "6000": "120.00"})

    take_back_write_off(invoice_id=invoice.pk, at=LATER, **WHY)
    decided(disputed(paid_by_card(invoice, at=JULY)), "lost")
    assert books() == (
        {"1100": "-15.00", "6110": "15.00"},
        {"4000": "-120.00", "6100": "120.00"},
    )


def test_the_account_at_stripe_is_whose_the_settings_say_and_one_that_there_is_not_is_refused(
    invoice: Invoice, settings
) -> None:
    settings.STRIPE_LEGAL_ENTITY = "us"
    paid_by_card(invoice, "100", at=JULY)
    assert books() == ({}, {"1100": "100.00", "1200": "20.00", "4000": "-120.00"})

    settings.STRIPE_LEGAL_ENTITY = "nobody"
    with pytest.raises(NotFound, match="no legal entity 'nobody'"):
        paid_by_card(invoice, "20", charge="ch_more", at=JULY)
    assert any("names nobody" in one.found for one in diagnose() if one.subject == "sellers")


def test_a_bank_account_is_of_who_prints_it_or_who_is_named_and_stays_there() -> None:
    an_entity(bank=f"Example Bank\n{OURS[:4]} {OURS[4:]}")
    assert import_camt(Entry("1.00")).lines[0].account.legal_entity_id == "us"
    settle_constraints()
    assert (books_of("main"), books_of("us")) == ({}, {"1000": "1.00", "2500": "-1.00"})

    from_here = {"account": "DE02500105170137075030", "name": "b.xml"}
    assert import_camt(Entry("1.00"), **from_here).lines[0].account.legal_entity_id == "main"
    upload = Upload("c.xml", "camt053", camt(Entry("2.00"), opening="1001.00", number="9"), legal_entity="main")
    with pytest.raises(Conflict, match="it stays there"):
        import_bank_statement(upload=upload, at=AT, actor="ann")


def test_whoever_has_money_on_account_keeps_the_seller_who_owes_it() -> None:
    an_entity()
    customer = a_customer()
    change_customer(customer=customer, changes={"legal_entity": "us"}, **WHY)
    allocate(one_line(Entry("5.00")), Share("on_account", Money("5", "USD"), customer_id=customer.pk))
    settle_constraints()
    assert books_of("us") == {"1300": "5.00", "2120": "-5.00"}

    with pytest.raises(InvalidFields, match="money on account"):
        change_customer(customer=customer, changes={"legal_entity": "main"}, **WHY)


def test_each_report_and_export_is_of_one_company_or_of_all(invoice: Invoice) -> None:
    paid_by_card(invoice, "50", at=JULY)
    settle_constraints()

    for kind in (kind for kind in REPORTS if "legal_entity" in kind.asks):
        for entity in ("", *BOTH):
            assert kind.answer(question=_question(entity)).is_tied, (kind.name, entity)
    # What one owes the other is in no sum of all.
    assert [_debits(entity) for entity in ("", *BOTH)] == [127, 57, 120]

    for form in ("csv", "beancount", "xlsx"):
        assert b"".join(_exported(form, "").chunks)
    everything = b"".join(_exported("csv", "").chunks).decode()
    assert "Account name,Legal entity,Currency" in everything and everything.count(",us,") == 4
    for form in ("xero", "quickbooks", "datev"):
        with pytest.raises(InvalidInput) as refused:
            _exported(form, "")
        assert refused.value.field == "legal_entity"
    of_us = b"".join(_exported("quickbooks", "us").chunks).decode()
    assert "Due from and to affiliated companies" in of_us and "Acme" not in of_us
    assert _exported("xero", "us").name == "xero-journal-2026-07-01-2026-08-31-us-USD.csv"


@pytest.mark.requirement("S0-118")
def test_a_close_names_the_digest_of_each_companys_journal_and_verify_finds_what_moved_between_them(
    invoice: Invoice,
) -> None:
    paid_by_card(invoice, at=JULY + timedelta(days=3))
    settle_constraints()
    closed = close(JULY_MONTH, at=AUGUST + timedelta(days=1))

    told = {one["legal_entity"]: one for one in closed.certificate["books"]}
    assert list(told) == ["main", "us"]
    assert (
        told["us"]["journal"]["digest"] != told["main"]["journal"]["digest"] != closed.certificate["journal"]["digest"]
    )
    assert {one["account"]: one["closing"] for one in told["us"]["accounts"]} == {
        "1200": "0.00", "1300": "120.00", "4000": "-120.00",
    }  # fmt: skip
    assert b"xero-journal" in b"".join(package_of(month=JULY_MONTH).chunks)
    assert list(close_faults()) == []

    behind_the_triggers("UPDATE invoicing_posting SET legal_entity_id = 'us' WHERE amount = 7")

    assert any("of us" in fault for _, fault in close_faults())
    [finding] = list(check_books_balance())
    assert (
        finding.message
        == "its debits and credits differ by USD -7.000 for legal entity main and by USD 7.000 for legal entity us"
    )


FORGED = """
    WITH entry AS (
        INSERT INTO invoicing_journalentry (kind, reference, currency, description, occurred_at)
        VALUES ('payment', 'forged', 'USD', 'of two companies', now()) RETURNING id
    )
    INSERT INTO invoicing_posting (entry_id, account_id, legal_entity_id, currency, amount)
    SELECT entry.id, account.id, told.entity, 'USD', told.amount FROM entry, (VALUES {lines}) told (code, entity, amount)
    JOIN invoicing_account account ON account.code = told.code
"""


@pytest.mark.requirement("S0-118")
@pytest.mark.parametrize(
    ("lines", "refused"),
    [
        ("('1100', 'main', 10), ('1200', 'us', -10)", "does not balance for legal entity main"),
        ("('1100', 'us', 10), ('1300', 'us', -10)", "leaves -10 between legal entities"),
        (
            "('1100', 'main', 10), ('1300', 'main', -10), ('1300', 'us', 9), ('1200', 'us', -9)",
            "leaves -1 between",
        ),
        ("('1100', 'elsewhere', 10), ('1200', 'elsewhere', -10)", "foreign key"),
    ],
)
def test_an_entry_that_balances_over_all_and_not_for_each_company_is_refused(
    invoice: Invoice, lines: str, refused: str
) -> None:
    paid_by_card(invoice, "1", at=JULY)

    with pytest.raises(IntegrityError, match=refused):
        run_sql(FORGED.format(lines=lines))


@pytest.mark.requirement("S0-118")
def test_a_posting_of_another_company_cannot_be_added_or_moved_later(invoice: Invoice) -> None:
    balanced = FORGED.format(lines="('4000', 'us', 10), ('1200', 'us', -10)")
    more = """
        INSERT INTO invoicing_posting (entry_id, account_id, legal_entity_id, currency, amount)
        SELECT entry.id, account.id, told.entity, 'USD', told.amount
          FROM invoicing_journalentry entry, (VALUES ('4000', 'main', 5), ('1200', 'us', -5)) told (code, entity, amount)
          JOIN invoicing_account account ON account.code = told.code WHERE entry.reference = 'forged'
    """

    with pytest.raises(IntegrityError, match="all of them are written at once"):
        run_sql(balanced, "SET CONSTRAINTS ALL IMMEDIATE", more)
    with pytest.raises(Exception, match="postings are append-only"):
        run_sql("UPDATE invoicing_posting SET legal_entity_id = 'main' WHERE legal_entity_id = 'us'")


def test_history_is_given_to_the_seller_of_its_document_whole(invoice: Invoice) -> None:
    paid(invoice, at=LATER)
    write_off = once(invoice.customer, key="another", at=LATER)
    write_off_invoice(invoice_id=write_off.pk, at=LATER, **WHY)
    one_line(Entry("3.00"))
    settle_constraints()
    before = {entity: books_of(entity) for entity in BOTH}
    behind_the_triggers("UPDATE invoicing_posting SET legal_entity_id = 'main'")
    assert books_of("us") == {}

    migration = import_module("invoicing.migrations.0093_give_history_to_its_seller")
    with connection.cursor() as cursor:
        cursor.execute(migration.GIVEN)

    assert {entity: books_of(entity) for entity in BOTH} == before
    assert set(Posting.objects.filter(entry__kind="bank_line").values_list("legal_entity", flat=True)) == {"main"}
    with pytest.raises(Exception, match="postings are append-only"):
        run_sql("UPDATE invoicing_posting SET legal_entity_id = 'main' WHERE legal_entity_id = 'us'")


def _question(entity: str) -> Question:
    asked = {"as_of": "2026-08-31", "start": "2026-07-01", "end": "2026-08-31", "legal_entity": entity}
    return read_question(asked=asked, today=date(2026, 9, 1))


def _exported(form: str, entity: str) -> JournalFile:
    return export_journal(form=form, question=_question(entity), settings=EXPORTS, at=LATER)


def _debits(entity: str) -> Decimal:
    [section] = BY_NAME["trial-balance"].answer(question=_question(entity)).sections
    return section.totals["debit"].amount


def a_payout(amount: str) -> RemotePayout:
    return RemotePayout(
        id="po_1", status="paid", amount=Money(amount, "USD"), arrival_date=date(2026, 8, 20), descriptor="STRIPE",
        trace="", failure_code="", failure_message="", is_automatic=True, is_listed=False, created_at=LATER,
    )  # fmt: skip
