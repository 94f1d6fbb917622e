"""Importing: by command, what statements say of each other, closed months, and as many lines as there may be."""

import time
from datetime import UTC, date, datetime, timedelta
from io import StringIO
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command
from moneyed import Money

from invoicing.bank.models import BankFile, BankLine, BankStatement
from invoicing.bank.queries import open_lines
from invoicing.bank.reconciliation import gap_before, reconciliations
from invoicing.closing.queries import Month
from invoicing.core.bank.statement import StatementFault
from invoicing.invoices.models import Invoice
from invoicing.ledger.models import JournalEntry
from invoicing.payments.models import Payment
from invoicing.tasks import match_bank_file, match_bank_lines
from invoicing.workflows.import_bank_statement import Upload, import_bank_statement, look_at_upload
from invoicing.workflows.match_bank_lines import foresee, settle_certain_lines
from invoicing.workflows.verify import verify
from tests.factories import JULY, a_customer, settle_constraints
from tests.invoicing.bank.statements import AT, OURS, Entry, camt, import_camt
from tests.invoicing.closing.closing import close
from tests.invoicing.selling import item, once

pytestmark = pytest.mark.django_db
CSV = "Date,Description,Amount\n07/10/2026,{number},120.00\n07/10/2026,fee,-4.90\n"


@pytest.fixture
def invoice() -> Invoice:
    """USD 120, open, payable by transfer."""
    return once(a_customer(settlement_channel="manual"))


def command(path: Path, *arguments: str) -> str:
    out = StringIO()
    call_command("import_bank_statement", str(path), *arguments, stdout=out)
    return out.getvalue()


def test_the_command_looks_imports_settles_and_imports_nothing_twice(tmp_path: Path, invoice: Invoice) -> None:
    path = tmp_path / "july.xml"
    path.write_bytes(camt(Entry("120.00", str(invoice.number)), Entry("7.00"), Entry("1.00", state="PDNG")))

    assert "2 new lines, 0 known" in command(path, "--dry-run") and not BankFile.objects.exists()
    told = command(path)
    assert "settled 1, to look at 1" in told and "is not booked (PDNG)" in told
    assert "imported already" in command(path)
    settle_constraints()
    assert verify() == []


def test_the_command_reads_csv_by_layout_and_map_and_verify_reads_it_again(tmp_path: Path, invoice: Invoice) -> None:
    path = tmp_path / "july.csv"
    path.write_text(CSV.format(number=invoice.number))

    told = command(path, "--format", "csv", "--layout", "american", "--map", "account==123", "--actor", "ann")

    assert "settled 1, to look at 1" in told
    assert BankFile.objects.get().actor == "ann" and BankLine.objects.filter(account__identifier="123").count() == 2
    settle_constraints()
    assert verify() == []


def test_the_command_says_what_is_wrong(tmp_path: Path) -> None:
    path = tmp_path / "x.xml"
    with pytest.raises(CommandError, match="No such file"):
        command(path)
    path.write_bytes(camt(Entry("1.00"), closing="7"))
    with pytest.raises(CommandError, match=r"nothing was taken in.*a line is missing or wrong"):
        command(path)
    with pytest.raises(CommandError, match="FIELD=COLUMN"):
        command(path, "--format", "csv", "--map", "text")


def test_statements_follow_each_other_or_say_what_is_missing(invoice: Invoice) -> None:
    import_camt(Entry("10.00", day=date(2026, 7, 1)), opening="100", name="1")
    import_camt(Entry("5.00", day=date(2026, 7, 3)), opening="117", name="3", number="9")
    first, third = BankStatement.objects.order_by("id")
    assert gap_before(statement=first) is None
    assert gap_before(statement=third) == Money("7", "USD")
    [before] = reconciliations()
    assert (before.missing, before.unexplained) == (Money("7", "USD"), Money("0", "USD"))

    import_camt(Entry("7.00", day=date(2026, 7, 2)), opening="110", name="2", number="8")

    assert gap_before(statement=third) == Money("0", "USD")
    [after] = reconciliations()
    assert (after.missing, after.opening, after.stated) == (Money("0", "USD"), Money("100", "USD"), Money("122", "USD"))


def test_a_line_of_the_future_is_refused_and_nothing_of_its_file_is_kept() -> None:
    with pytest.raises(StatementFault, match="has not come yet"):
        import_camt(Entry("1.00"), Entry("1.00", day=date(2027, 7, 10)))

    assert not BankFile.objects.exists()


def test_an_invoice_that_is_issued_later_is_settled_by_the_next_hourly_look(invoice: Invoice) -> None:
    imported = import_camt(Entry("50.00", "INV-2026-00002"))
    assert match_bank_file(imported.file.pk) == "0 settled, 0 payouts matched"

    once(invoice.customer, item("50"), key="later")

    assert match_bank_lines() == "1 settled, 0 payouts matched, 0 transactions of Stripe explained"


def test_the_look_before_foresees_what_the_import_settles(invoice: Invoice) -> None:
    twice = [Entry("120.00", str(invoice.number), day=date(2026, 7, day)) for day in (9, 10)]
    upload = Upload("july.xml", "camt053", camt(*twice, Entry("-5.00"), Entry("1.00")))
    [looked] = look_at_upload(upload=upload)

    foreseen = foresee(looked=looked)
    imported = import_bank_statement(upload=upload, at=AT, actor="ann")

    assert settle_certain_lines(file_id=imported.file.pk, at=AT) == len(foreseen.settled) == 1
    assert open_lines().count() == foreseen.to_look_at == 3


def test_a_line_of_a_closed_month_is_booked_in_the_first_open_one(invoice: Invoice) -> None:
    june = datetime(2026, 6, 1, tzinfo=UTC)
    once(invoice.customer, item("1"), key="june", at=june)
    close(Month(date(2026, 6, 1)), at=JULY + timedelta(days=1))

    [line] = import_camt(Entry("120.00", day=date(2026, 6, 20))).lines

    entry = JournalEntry.objects.get(kind="bank_line", reference=line.reference)
    assert (entry.occurred_at, entry.booked_at) == (line.booked_at, JULY)
    settle_constraints()
    assert verify() == []


def test_two_thousand_lines_are_imported_in_seconds(invoice: Invoice) -> None:
    entries = [Entry("1.00", f"text {number}", reference=f"R{number}") for number in range(2_000)]
    started = time.monotonic()

    import_camt(*entries)
    assert settle_certain_lines(file_id=None, at=AT + timedelta(hours=1)) == 0

    assert time.monotonic() - started < 20
    assert (BankLine.objects.count(), Payment.objects.count()) == (2_000, 0)
    assert BankLine.objects.filter(account__identifier=OURS).count() == 2_000
