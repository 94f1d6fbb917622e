"""Which line is which: each movement is booked once, whatever files, pages and formats say it, and none is taken for another."""

from datetime import date
from decimal import Decimal

import pytest

from invoicing.bank.models import BankLine
from invoicing.bank.reconciliation import reconciliations
from invoicing.core.bank.statement import StatementFault
from invoicing.workflows.import_bank_statement import Imported, Upload, import_bank_statement, look_at_upload
from invoicing.workflows.verify import verify
from tests.factories import settle_constraints
from tests.invoicing.bank.statements import AT, OURS, Entry, camt, import_camt

pytestmark = pytest.mark.django_db
FEE = Entry("-0.35", "fee", name="The Bank", iban="")
ACME = Entry("119.00", "rent", name="Acme Inc.")
BETA = Entry("119.00", "licence", name="Beta Ltd.")


def numbered(content: bytes) -> bytes:
    """Number the entries from 1, as banks do in each statement."""
    for number in range(1, content.count(b"</CdtDbtInd><Sts>") + 1):
        content = content.replace(b"</CdtDbtInd><Sts>", f"</CdtDbtInd><NtryRef>{number}</NtryRef><Sts>".encode(), 1)
    return content


def taken(content: bytes, name: str = "july.xml", file_format: str = "camt053") -> Imported:
    upload = Upload(name, file_format, content)
    looked = look_at_upload(upload=upload)
    imported = import_bank_statement(upload=upload, at=AT, actor="ann")
    assert sum(len(one.new) for one in looked) == len(imported.lines), "the look before says what comes"
    return imported


def in_one_file(*pages: bytes) -> bytes:
    statements = [page[page.index(b"<Stmt>") : page.index(b"</BkToCstmrStmt>")] for page in pages]
    return pages[0].replace(statements[0], b"".join(statements))


def sound(count: int) -> None:
    settle_constraints()
    assert verify() == []
    assert BankLine.objects.count() == count
    assert not reconciliations()[0].missing.amount


@pytest.mark.parametrize("one_file", [True, False])
def test_two_pages_of_a_day_lose_no_line_that_is_equal_to_one_of_the_other(one_file: bool) -> None:
    first = numbered(camt(ACME, FEE, opening="100.00"))
    second = numbered(camt(BETA, FEE, opening="218.65", number="8"))
    third = numbered(camt(FEE, opening="337.30", number="9"))
    pages = [in_one_file(first, second, third)] if one_file else [first, second, third]

    brought = [len(taken(page).lines) for page in pages]

    assert sum(brought) == 5
    sound(5)
    assert len(taken(numbered(camt(ACME, FEE, BETA, FEE, FEE, opening="100.00", number="10"))).lines) == 0
    assert len(taken(numbered(camt(BETA, FEE, opening="218.65", number="11"))).lines) == 0, "the second page again"
    sound(5)


def test_pages_of_a_day_that_come_in_the_wrong_order_lose_no_line_either() -> None:
    taken(camt(BETA, FEE, opening="218.65", number="8"))

    taken(camt(ACME, FEE, opening="100.00"))

    assert len(taken(camt(ACME, FEE, BETA, FEE, opening="100.00", number="9")).lines) == 0
    sound(4)


def test_the_word_for_no_reference_is_none() -> None:
    said, new = Entry("5.00", "one", reference="NONREF"), Entry("5.00", "two", reference="NONREF")
    taken(camt(said))

    [line] = taken(camt(new, said, number="8")).lines

    assert (line.text, line.bank_reference) == ("two", "")
    sound(2)


def test_a_weekly_file_after_daily_ones_brings_nothing_though_its_entries_are_numbered_anew() -> None:
    days = [Entry("10.00", "ten", day=date(2026, 7, number)) for number in (6, 7)]
    taken(numbered(camt(days[0], opening="100.00")))
    taken(numbered(camt(days[1], opening="110.00", number="8")))

    assert taken(numbered(camt(*days, opening="100.00", number="9"))).lines == ()
    sound(2)


def test_days_that_came_in_another_format_are_refused_and_none_of_their_lines_is_booked_twice() -> None:
    csv = f"account,currency,booked_on,amount,text\n{OURS},USD,2026-07-01,7.00,x\n{OURS},USD,2026-07-10,119.00,rent\n"
    taken(csv.encode(), "july.csv", "csv")
    upload = Upload("july.xml", "camt053", camt(ACME))

    for take in (look_at_upload, lambda **one: import_bank_statement(**one, at=AT, actor="ann")):
        with pytest.raises(StatementFault, match="written otherwise"):
            take(upload=upload)

    assert len(taken(camt(Entry("3.00", day=date(2026, 7, 11)))).lines) == 1, "later days are new"
    assert BankLine.objects.count() == 3


def test_lines_that_the_closing_balance_does_not_know_are_refused() -> None:
    import_camt(ACME, opening="100.00")
    upload = Upload("again.xml", "camt053", camt(Entry("119.00", "RENT JULY"), opening="100.00"))

    for take in (look_at_upload, lambda **one: import_bank_statement(**one, at=AT, actor="ann")):
        with pytest.raises(StatementFault, match=r"119\.00 USD beyond the closing balance"):
            take(upload=upload)

    assert BankLine.objects.get().amount.amount == Decimal("119")
