"""Reports say what the documents say, tie to the ledger to the cent, as of any day, and a difference is found and named."""

import csv
import io
from datetime import date, timedelta

import pytest
from django.core.management import call_command
from django.db import connection
from moneyed import Money
from openpyxl import load_workbook

from billing_site.kernel.errors import InvalidFields
from invoicing.customers.models import Customer
from invoicing.ledger.models import Account, JournalEntry
from invoicing.reports.asking import read_question
from invoicing.reports.catalogue import REPORTS, report_kind
from invoicing.reports.receivables import NOT_RECEIVABLE, RECEIVABLE_SOURCES
from invoicing.reports.report import Report
from invoicing.reports.tabular import report_as_csv, report_as_xlsx
from invoicing.workflows.verify import verify
from tests.factories import a_customer
from tests.invoicing.reports.building import OCTOBER, a_quarter, as_of, pay

pytestmark = pytest.mark.django_db


def answer(name: str, day: str, **members: object) -> Report:
    return report_kind(name=name).answer(question=as_of(day, **members))


def figures(report: Report, currency: str, *keys: str) -> list[tuple[str, ...]]:
    """The rows of a currency as text, the cells of these columns."""
    [section] = [one for one in report.sections if one.currency == currency]
    shown = []
    for row in section.rows:
        cells = (row.cells.get(key) for key in keys)
        shown.append(
            tuple("" if one is None else str(one.amount) if isinstance(one, Money) else str(one) for one in cells)
        )
    return shown


def behind_the_triggers(statement: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SET session_replication_role = replica")
        cursor.execute(statement)
        cursor.execute("SET session_replication_role = origin")


@pytest.mark.requirement("S0-118")
def test_the_trial_balance_is_that_of_the_day_and_each_currency_balances() -> None:
    a_quarter()

    before_the_payment = answer("trial-balance", "2026-09-09")
    after_it = answer("trial-balance", "2026-09-10")

    assert figures(before_the_payment, "USD", "account", "debit", "credit") == [
        ("1200", "73.00", ""),
        ("4000", "", "73.00"),
    ]
    assert figures(after_it, "USD", "account", "debit", "credit") == [
        ("1000", "20.00", ""),
        ("1200", "53.00", ""),
        ("4000", "", "73.00"),
    ]
    assert figures(after_it, "JPY", "account", "debit", "credit") == [("1200", "8000", ""), ("4000", "", "8000")]
    assert after_it.is_tied
    assert answer("trial-balance", "2026-07-31").sections == []


def test_account_movements_go_from_the_opening_to_the_closing_balance() -> None:
    a_quarter()

    report = answer("account-movements", "2026-09-30", currency="USD")

    assert figures(report, "USD", "account", "opening", "debit", "credit", "closing") == [
        ("1000", "0.00", "20.00", "", "20.00"),
        ("1200", "44.00", "29.00", "20.00", "53.00"),
        ("4000", "-44.00", "", "29.00", "-73.00"),
    ]
    assert [section.currency for section in report.sections] == ["USD"]
    assert report.is_tied


def test_the_general_ledger_lists_every_posting_with_the_running_balance() -> None:
    a_quarter()

    report = answer("general-ledger", "2026-09-30", currency="USD", account=Account.objects.get(code="1200"))

    assert figures(report, "USD", "reference", "debit", "credit", "balance") == [
        ("", "", "", "44.00"),
        ("INV-2026-00003", "29.00", "", "73.00"),
        ("manual:T-1", "", "20.00", "53.00"),
        ("", "", "", "53.00"),
    ]
    assert report.is_tied


@pytest.mark.parametrize(
    ("day", "bucket"),
    [
        ("2026-08-31", "current"),
        ("2026-09-01", "days_1_30"),
        ("2026-09-09", "days_1_30"),
        ("2026-09-30", "days_1_30"),
        ("2026-10-01", "days_31_60"),
        ("2026-10-30", "days_31_60"),
        ("2026-10-31", "days_61_90"),
        ("2026-11-29", "days_61_90"),
        ("2026-11-30", "over_90"),
    ],
)
def test_an_open_invoice_moves_from_bucket_to_bucket_by_its_due_date(day: str, bucket: str) -> None:
    a_quarter()

    report = answer("aged-receivables", day, customer=Customer.objects.get(key="cust_acme"))

    [(amount,)] = figures(report, "USD", bucket)
    oldest = "44.00" if date.fromisoformat(day) < date(2026, 9, 10) else "24.00"
    others = {"days_1_30": "29.00", "days_31_60": "29.00"} if bucket == "over_90" else {}
    assert amount in (oldest, *others.values())
    assert figures(answer("open-invoices", day), "USD", "invoice", "open")[0] == ("INV-2026-00001", oldest)
    assert report.is_tied


def test_aged_receivables_stand_by_customer_and_currency() -> None:
    a_quarter()

    report = answer("aged-receivables", "2026-10-31")

    keys = ("customer_id", "current", "days_1_30", "days_31_60", "days_61_90", "over_90", "open")
    assert figures(report, "USD", *keys) == [("cust_acme", "29.00", "29.00", "", "24.00", "", "82.00")]
    assert figures(report, "JPY", *keys) == [("cust_kyoto", "", "4000", "4000", "4000", "", "12000")]
    assert [(tie.reported, tie.booked) for tie in report.ties] == [
        (Money(12000, "JPY"), Money(12000, "JPY")),
        (Money(82, "USD"), Money(82, "USD")),
    ]


def test_a_statement_leads_from_the_opening_to_the_closing_balance() -> None:
    a_quarter()

    report = answer("statement", "2026-09-30", customer=Customer.objects.get(key="cust_acme"))

    assert figures(report, "USD", "day", "document", "charged", "paid", "balance") == [
        ("2026-09-01", "Opening balance", "", "", "44.00"),
        ("2026-09-01", "Invoice INV-2026-00003", "29.00", "", "73.00"),
        ("2026-09-10", "Payment received, invoice INV-2026-00001", "", "20.00", "53.00"),
        ("2026-09-30", "Closing balance", "", "", "53.00"),
    ]
    assert report.is_tied
    assert answer("statement", "2026-09-30", customer=a_customer("cust_new")).sections == []


def test_every_report_ties_on_every_day_of_a_history() -> None:
    invoices = a_quarter()
    pay(invoices["cust_kyoto"][1], "4000", at=OCTOBER + timedelta(hours=23, minutes=59), reference="T-2")
    acme = Customer.objects.get(key="cust_acme")

    for offset in range(0, 100, 3):
        day = str(date(2026, 7, 20) + timedelta(days=offset))
        for kind in REPORTS:
            for customer in (None, acme):
                report = kind.answer(question=as_of(day, customer=customer))
                assert report.is_tied, (kind.name, day, [tie for tie in report.ties if not tie.holds])


def test_every_kind_of_entry_is_told_by_documents_or_leaves_what_customers_owe_alone() -> None:
    assert {*RECEIVABLE_SOURCES, *NOT_RECEIVABLE} == set(JournalEntry.Kind.values)
    a_quarter()

    on_receivable = JournalEntry.objects.filter(postings__account__code="1200").values_list("kind", flat=True)
    assert set(on_receivable) <= set(RECEIVABLE_SOURCES)


def test_verify_proves_the_ties_and_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    a_quarter()

    call_command("verify")

    assert "reports tie" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("statement", "subject"),
    [
        ("UPDATE invoicing_payment SET amount = amount - 1", "payment manual:T-1"),
        ("UPDATE invoicing_payment SET received_at = received_at + interval '1 day'", "payment manual:T-1"),
        ("DELETE FROM invoicing_payment", "payment manual:T-1"),
        (
            "UPDATE invoicing_invoice SET subtotal = subtotal + 1, total = total + 1 WHERE number = 'INV-2026-00003'",
            "issue INV-2026-00003",
        ),
        ("UPDATE invoicing_journalentry SET reference = 'gone' WHERE kind = 'payment'", "payment gone"),
        (
            "UPDATE invoicing_posting SET account_id = (SELECT id FROM invoicing_account WHERE code = '1000')"
            " WHERE amount = 29",
            "aged receivables",
        ),
    ],
)
def test_a_report_that_does_not_tie_is_found_and_what_differs_is_named(statement: str, subject: str) -> None:
    a_quarter()
    behind_the_triggers(statement)

    findings = [finding for finding in verify() if finding.check == "reports tie"]

    assert subject in {finding.subject for finding in findings}, findings


def test_a_report_as_csv_has_every_row_the_sums_and_the_ties() -> None:
    a_quarter()

    rows = list(csv.reader(io.StringIO(report_as_csv(report=answer("trial-balance", "2026-09-10")))))

    assert rows[0] == ["Currency", "Account", "Name", "Debit", "Credit"]
    assert ["USD", "1200", "Receivable", "53.00", ""] in rows
    assert ["USD", "Total", "", "73.00", "73.00"] in rows
    assert ["USD", "Tie: debits = credits", "73.00", "73.00"] in rows
    assert ["JPY", "1200", "Receivable", "8000", ""] in rows


def test_a_report_as_workbook_has_numbers_and_no_formula_of_a_customer_s_making() -> None:
    a_quarter()
    formula = '=HYPERLINK("https://evil.example","pay here")'
    Customer.objects.filter(key="cust_acme").update(name=formula)
    report = answer("aged-receivables", "2026-10-31")

    sheet = load_workbook(io.BytesIO(report_as_xlsx(report=report))).active
    assert sheet is not None
    cells = {cell.value: cell for row in sheet.iter_rows() for cell in row}

    assert cells[formula].data_type == "s"
    assert cells[82].number_format == "#,##0.00"
    assert cells[12000].number_format == "#,##0"
    assert f'"\'{formula.replace(chr(34), chr(34) * 2)}"' in report_as_csv(report=report)


@pytest.mark.parametrize(
    ("asked", "field"),
    [
        ({"as_of": "yesterday"}, "as_of"),
        ({"as_of": "2026-02-30"}, "as_of"),
        ({"as_of": "1999-12-31"}, "as_of"),
        ({"start": "2026-08-02", "end": "2026-08-01"}, "end"),
        ({"start": "2010-01-01", "end": "2026-08-01"}, "end"),
        ({"currency": "XXQ"}, "currency"),
        ({"currency": "eur"}, "currency"),
        ({"customer_id": "cust_nobody"}, "customer_id"),
        ({"customer_id": "\x00"}, "customer_id"),
        ({"account": "9999"}, "account"),
    ],
)
def test_what_cannot_be_asked_is_refused_by_the_name_of_the_field(asked: dict[str, str], field: str) -> None:
    with pytest.raises(InvalidFields) as refused:
        read_question(asked=asked, today=date(2026, 10, 1))

    assert [error.field for error in refused.value.errors] == [field]
