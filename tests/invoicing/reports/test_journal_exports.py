"""Each export of the journal, read back as its reader would, sums to the movement of the trial balance in that span."""

import csv
import io
import re
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest
from beancount import loader
from beancount.core.data import Open, Transaction
from django.db import IntegrityError, connection, transaction
from moneyed import Money
from openpyxl import load_workbook

from billing_site.kernel.errors import InvalidInput
from invoicing.core.adjustments.credits import CreditKind
from invoicing.credits.operations import GrantTerms, grant_credit
from invoicing.customers.models import Customer
from invoicing.ledger.models import Account
from invoicing.ledger.queries import movements_in
from invoicing.reports.asking import Question
from invoicing.reports.exports.datev import FIELDS, HEADINGS, DatevClient
from invoicing.reports.exports.export import ExportSettings, export_journal
from invoicing.reports.exports.journal import JournalLine, pairs_of
from invoicing.reports.mapping import codes_in, map_account
from invoicing.reports.models import AccountMapping
from invoicing.workflows.run_billing import issue_billing
from tests.factories import settle_constraints
from tests.invoicing.reports.building import OCTOBER, a_quarter

pytestmark = pytest.mark.django_db

AT = datetime(2026, 11, 2, 14, 5, 9, 123000, tzinfo=UTC)
SETTINGS = ExportSettings(DatevClient(29098, 55003, 1), "No VAT", 'Example "Inference" GmbH')
ALL = Question(as_of=date(2026, 12, 31), start=date(2026, 1, 1), end=date(2026, 12, 31))
SEPTEMBER_ONLY = Question(as_of=date(2026, 9, 30), start=date(2026, 9, 1), end=date(2026, 9, 30))

Sums = dict[tuple[str, str], tuple[Decimal, Decimal]]


def exported(form: str, question: Question = ALL) -> bytes:
    return b"".join(export_journal(form=form, question=question, settings=SETTINGS, at=AT).chunks)


def movement(question: Question = ALL, names: Mapping[str, str] | None = None) -> Sums:
    """What the trial balance moved in a span: debits and credits by account, as the system calls it, and currency."""
    return {
        (names[one.account] if names else one.account, one.opening.currency.code): (one.debit.amount, one.credit.amount)
        for one in movements_in(span=question.span)
        if (one.debit.amount or one.credit.amount) and question.currency in ("", one.opening.currency.code)
    }


def add(sums: Sums, account: str, currency: str, amount: Decimal) -> None:
    debit, credit = sums.get((account, currency), (Decimal(0), Decimal(0)))
    sums[account, currency] = (debit + max(amount, Decimal(0)), credit + max(-amount, Decimal(0)))


@pytest.fixture
def history() -> None:
    """A quarter in two currencies, prepaid and promotional credit drawn, and a name that a file could stumble over."""
    Customer.objects.all()
    invoices = a_quarter()
    assert invoices
    acme = Customer.objects.get(key="cust_acme")
    Customer.objects.filter(pk=acme.pk).update(name='=Ä "Café" \\ 東京; GmbH')
    for key, kind, amount in (("paid", CreditKind.PREPAID, "10.00"), ("gift", CreditKind.PROMOTIONAL, "5.00")):
        terms = GrantTerms(key, kind.value, key, Money(amount, "USD"), OCTOBER + timedelta(days=1))
        grant_credit(customer=acme, terms=terms, at=OCTOBER + timedelta(days=1), actor="test", reason="test")
    issue_billing(as_of=datetime(2026, 11, 1, tzinfo=UTC), at=datetime(2026, 11, 1, tzinfo=UTC))
    settle_constraints()
    used = {one.account for one in movements_in(span=ALL.span)}
    assert used == {"1000", "1200", "2110", "4000", "4200"}


def datev_accounts() -> None:
    for code, name in (("1000", "1800"), ("1200", "1210"), ("2110", "3250"), ("4000", "4400"), ("4200", "4720")):
        map_account(system="datev", account=Account.objects.get(code=code), code=name, actor="fiona", reason="SKR 04")


@pytest.mark.parametrize(
    ("question", "printed"),
    [(ALL, '\'=Ä "Café" \\ 東京; GmbH'), (SEPTEMBER_ONLY, "Acme GmbH")],
    ids=["year", "month"],
)
def test_csv_sums_to_the_movement_of_the_trial_balance_and_names_customers_as_invoices_print_them(
    history: None, question: Question, printed: str
) -> None:
    sums: Sums = {}
    rows = list(csv.DictReader(io.StringIO(exported("csv", question).decode())))
    for row in rows:
        amount = Decimal(row["Debit"] or 0) - Decimal(row["Credit"] or 0)
        add(sums, row["Account"], row["Currency"], amount)

    assert sums == movement(question)
    assert {row["Customer"] for row in rows} >= {printed, "Kyoto KK"}


def test_xlsx_sums_to_the_movement_of_the_trial_balance(history: None) -> None:
    sheet = load_workbook(io.BytesIO(exported("xlsx"))).active
    assert sheet is not None
    sums: Sums = {}
    for row in sheet.iter_rows(min_row=2, values_only=True):
        amount = Decimal(str(row[11] or 0)) - Decimal(str(row[12] or 0))
        add(sums, str(row[8]), str(row[10]), amount)

    assert sums == movement()


def test_datev_is_a_posting_batch_that_sums_to_the_movement(history: None) -> None:
    datev_accounts()
    question = Question(ALL.as_of, ALL.start, ALL.end, currency="USD")

    text = exported("datev", question).decode("cp1252")
    lines = text.split("\r\n")
    header, headings, *rows = list(csv.reader(io.StringIO(text), delimiter=";"))
    sums: Sums = {}
    for row in rows:
        amount = Decimal(row[0].replace(",", "."))
        assert (len(row), row[1], row[2]) == (FIELDS, "S", "USD")
        assert amount > 0
        add(sums, row[6], "USD", amount)
        add(sums, row[7], "USD", -amount)

    assert sums == movement(question, codes_in(system="datev"))
    assert lines[0] == (
        '"EXTF";700;21;"Buchungsstapel";13;20261102140509123;;"RE";"";"";29098;55003;20260101;4;20260101;20261231;'
        '"Billing journal";"";1;0;0;"USD";;"";;;"";;;"";""'
    )
    assert (len(header), headings) == (31, list(HEADINGS))
    first = rows[0]
    assert (first[0], first[6], first[7], first[9], first[10]) == ("44,00", "1210", "4400", "0108", "INV-2026-00001")
    assert any('=Ä ""Café"" \\ ??; GmbH' in line for line in lines)


def test_xero_columns_sum_to_the_movement_and_each_journal_to_nothing(history: None) -> None:
    question = Question(ALL.as_of, ALL.start, ALL.end, currency="USD")
    map_account(system="xero", account=Account.objects.get(code="1200"), code="612", actor="fiona", reason="clearing")

    sums: Sums = {}
    journals: dict[tuple[str, str], Decimal] = {}
    rows = list(csv.DictReader(io.StringIO(exported("xero", question).decode())))
    for row in rows:
        amount = Decimal(row["*Amount"])
        add(sums, row["*AccountCode"], "USD", amount)
        place = row["*Narration"], row["*Date"]
        journals[place] = journals.get(place, Decimal(0)) + amount

    assert sums == movement(question, codes_in(system="xero"))
    assert set(journals.values()) == {Decimal(0)}
    assert ("Invoice issued INV-2026-00001", "01/08/2026") in journals
    assert {row["*TaxRate"] for row in rows} == {"No VAT"}


def test_quickbooks_columns_sum_to_the_movement_and_name_the_customer(history: None) -> None:
    sums: Sums = {}
    for row in csv.DictReader(io.StringIO(exported("quickbooks").decode())):
        amount = Decimal(row["Debits"] or 0) - Decimal(row["Credits"] or 0)
        add(sums, row["AccountName"], row["Currency"], amount)
        assert row["Name"] or row["AccountName"] != "Receivable"
        assert len(row["JournalNo"]) <= 21
        assert re.fullmatch(r"(0[1-9]|1[0-2])/\d\d/2026", row["JournalDate"])

    assert sums == movement(names=codes_in(system="quickbooks"))


def test_beancount_accepts_its_text_and_finds_the_movement(history: None) -> None:
    entries, errors, options = loader.load_string(exported("beancount").decode())

    sums: Sums = {}
    for entry in entries:
        if isinstance(entry, Transaction):
            for posting in entry.postings:
                add(sums, posting.account, posting.units.currency, posting.units.number)
    assert errors == []
    assert sums == movement(names=codes_in(system="beancount"))
    assert {entry.account for entry in entries if isinstance(entry, Open)} == {account for account, _ in sums}
    assert options["title"] == 'Example "Inference" GmbH'


def test_datev_refuses_what_it_cannot_say(history: None) -> None:
    def refused(question: Question, settings: ExportSettings = SETTINGS) -> str:
        with pytest.raises(InvalidInput) as problem:
            export_journal(form="datev", question=question, settings=settings, at=AT)
        [error] = problem.value.field_errors
        return error.field

    in_dollars = Question(ALL.as_of, ALL.start, ALL.end, currency="USD")
    assert refused(ALL) == "currency"
    assert refused(in_dollars) == "system"
    datev_accounts()
    assert refused(in_dollars, ExportSettings(DatevClient(0, 0, 1), "", "")) == "system"
    assert refused(Question(ALL.as_of, date(2025, 12, 31), ALL.end, currency="USD")) == "end"
    assert refused(in_dollars, ExportSettings(DatevClient(29098, 55003, 7), "", "")) == "end"
    map_account(system="datev", account=Account.objects.get(code="1200"), code="12100", actor="fiona", reason="longer")
    assert refused(in_dollars) == "system"


def test_an_empty_span_is_a_file_without_entries() -> None:
    a_quarter()
    nothing = Question(as_of=date(2020, 1, 1), start=date(2020, 1, 1), end=date(2020, 1, 31))

    assert len(exported("csv", nothing).splitlines()) == 1
    assert len(exported("datev", nothing).splitlines()) == 2
    assert loader.load_string(exported("beancount", nothing).decode())[:2] == ([], [])


@pytest.mark.parametrize(
    ("amounts", "pairs"),
    [
        ((("a", 10), ("b", -10)), [("a", "b", 10)]),
        ((("a", 10), ("b", -7), ("c", -3)), [("a", "b", 7), ("a", "c", 3)]),
        ((("a", 4), ("d", 6), ("b", -7), ("c", -3)), [("a", "b", 4), ("d", "b", 3), ("d", "c", 3)]),
    ],
)
def test_an_entry_of_many_postings_is_the_same_in_pairs(
    amounts: tuple[tuple[str, int], ...], pairs: list[tuple[str, str, int]]
) -> None:
    lines = [JournalLine(account, account, Money(amount, "JPY")) for account, amount in amounts]

    assert [(debit, credit, int(money.amount)) for debit, credit, money in pairs_of(lines=lines)] == pairs


@pytest.mark.parametrize(
    ("system", "code"),
    [
        ("datev", "120"),
        ("datev", "KONTO"),
        ("xero", ""),
        ("xero", "a b"),
        ("quickbooks", "two\nlines"),
        ("beancount", "assets:Bank"),
        ("beancount", "Assets:bank"),
        ("beancount", "Assets"),
    ],
)
def test_what_is_no_account_of_a_system_is_refused(system: str, code: str) -> None:
    account = Account.objects.create(code="9000", name="Test", kind="asset")

    with pytest.raises(InvalidInput) as refused:
        map_account(system=system, account=account, code=code, actor="fiona", reason="try")

    assert [error.field for error in refused.value.field_errors] == ["code"]


def test_a_mapping_changes_with_its_history_and_the_database_keeps_what_it_is_about() -> None:
    account = Account.objects.create(code="9000", name="Test", kind="asset")
    other = Account.objects.create(code="9001", name="Other", kind="asset")
    for code in ("1210", "1210", "1220"):
        row = map_account(system="datev", account=account, code=code, actor="fiona", reason="chart")

    assert [(one.code, one.history_change_reason) for one in row.history.order_by("history_id")] == [
        ("1210", "fiona: chart"),
        ("1220", "fiona: chart"),
    ]
    for statement in (
        f"UPDATE invoicing_accountmapping SET account_id = {other.pk}",
        "UPDATE invoicing_accountmapping SET code = 'none'",
        "UPDATE invoicing_accountmapping SET system = 'sage'",
        f"INSERT INTO invoicing_accountmapping (system, account_id, code) VALUES ('datev', {account.pk}, '1300')",
    ):
        with pytest.raises(IntegrityError), transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(statement)
    assert AccountMapping.objects.get().code == "1220"
