"""Statements are read as they are written, checked to the cent, and refused with the place and what to do."""

from datetime import date
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from moneyed import Money

from billing_site.kernel.errors import InvalidInput
from invoicing.core.bank import xml_tree
from invoicing.core.bank.camt import read_camt
from invoicing.core.bank.csv_statement import layout_with, read_csv
from invoicing.core.bank.statement import Statement, StatementFault, StatementLine, identities
from tests.invoicing.bank.statements import OURS, THEIRS, Entry, camt


@pytest.mark.parametrize("version", ["02", "04", "06", "08", "10"])
def test_each_version_of_camt_053_is_read_the_same(version: str) -> None:
    content = camt(
        Entry("120.00", "INV-2026-00001", reference="B1", end_to_end="E1", structured="RF18539007547034"),
        Entry("-4.90", "fee", name="The Bank", iban=""),
        version=version,
    )

    [read] = read_camt(content=content)

    assert (read.account, read.currency, read.number) == (OURS, "USD", "7")
    assert (read.opening, read.closing) == (Money("1000", "USD"), Money("1115.10", "USD"))
    credit, debit = read.lines
    assert (credit.amount, credit.name, credit.iban) == (Money("120", "USD"), "Acme Inc.", THEIRS)
    assert (credit.bank_reference, credit.end_to_end_id, credit.structured_reference) == (
        "B1",
        "E1",
        "RF18539007547034",
    )
    assert (debit.amount, debit.name, debit.end_to_end_id) == (Money("-4.90", "USD"), "The Bank", "")


@pytest.mark.parametrize("version", ["02", "08"])
def test_a_batch_is_split_where_its_parts_come_to_it_and_kept_whole_where_they_do_not(version: str) -> None:
    batch = Entry("30.00", parts=(Entry("10.00", "one"), Entry("20.00", "two")))
    wrong = Entry("30.00", parts=(Entry("10.00", "one"), Entry("19.00", "two")))

    [read] = read_camt(content=camt(batch, wrong, version=version))

    assert [(line.amount.amount, line.text) for line in read.lines] == [(10, "one"), (20, "two"), (30, "")] or [
        line.amount.amount for line in read.lines
    ] == [10, 20, 30]
    assert any("do not come to 30" in remark for remark in read.remarks)


def test_what_is_pending_is_left_out_and_said_and_a_reversal_is_known_as_one() -> None:
    [read] = read_camt(content=camt(Entry("9.00", state="PDNG"), Entry("-5.00", is_reversal=True, name="Payer")))

    assert [(line.amount.amount, line.is_reversal, line.name) for line in read.lines] == [(-5, True, "Payer")]
    assert "is not booked (PDNG)" in read.remarks[0]


@pytest.mark.parametrize(
    ("currency", "amount"), [("JPY", "1200"), ("USD", "12.34"), ("KWD", "12.345"), ("CLF", "12.3456")]
)
def test_currencies_of_every_number_of_decimals_are_read(currency: str, amount: str) -> None:
    [read] = read_camt(content=camt(Entry(amount), currency=currency, opening="5"))

    assert read.lines[0].amount == Money(amount, currency)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (camt(Entry("1.00"), closing="1002.00"), "a line is missing or wrong"),
        (camt(Entry("1.001")), "no amount of USD"),
        (camt(Entry("1.00")).replace(b"<Amt Ccy", b"<Amt Xxx", 3), "is no currency"),
        (camt(Entry("1.00")).replace(b'Ccy="USD">1.00', b'Ccy="EUR">1.00'), "the account is in USD, the entry in EUR"),
        (camt(Entry("1.00")).replace(b">1.00<", b">1e3<"), "is no amount"),
        (camt(Entry("1.00")).replace(b">1.00<", b">NaN<"), "is no amount"),
        (camt(Entry("1.00")).replace(b"CRDT", b"CREDIT"), "must be CRDT or DBIT"),
        (camt(Entry("1.00")).replace(b"OPBD", b"XXXX"), "there is no opening balance"),
        (camt(Entry("1.00")).replace(b"CLBD", b"XXXX"), "there is no closing balance"),
        (camt(Entry("1.00")).replace(b"<BookgDt><Dt>2026-07-10", b"<BookgDt><Dt>2026-02-30"), "BookgDt must be a day"),
        (camt(Entry("1.00")).replace(b"IBAN>", b"XBAN>"), "no account is named"),
        (camt(Entry("1.00")).replace(b"BkToCstmrStmt", b"BkToCstmrAcctRpt"), "not a bank-to-customer statement"),
        (b"booked_on,amount\n", "this is no XML"),
        (b"", "this is no XML"),
        (camt(Entry("1.00"))[:-30], "this is no XML"),
    ],
)
def test_a_wrong_file_is_refused_with_place_and_remedy(content: bytes, said: str) -> None:
    with pytest.raises(StatementFault, match=said) as refused:
        read_camt(content=content)

    assert "line " in refused.value.message


@pytest.mark.parametrize(
    "declared",
    [
        b'<!DOCTYPE Document [<!ENTITY a "b">]>',
        b'<!DOCTYPE Document SYSTEM "file:///etc/passwd">',
        b'<!DOCTYPE Document [<!ENTITY x SYSTEM "file:///etc/passwd">]>',
    ],
)
def test_a_document_type_is_refused_before_anything_in_it_is_read(declared: bytes) -> None:
    content = camt(Entry("1.00")).replace(b"<Document", declared + b"<Document", 1)

    with pytest.raises(StatementFault, match="a document type or an entity"):
        read_camt(content=content)


def test_xml_without_end_in_depth_is_refused() -> None:
    with pytest.raises(StatementFault, match="deeper or larger"):
        read_camt(content=b"<a>" * 100)


STANDARD = b"""account,currency,booked_on,value_on,amount,name,iban,text,bank_reference,end_to_end_id
DE02,EUR,2026-07-10,,"1,234.50",Acme,DE75,"INV-2026-00001, thanks",,
DE02,EUR,2026-07-11,2026-07-12,-4.90,Bank,,fee,R2,
"""


def test_csv_of_the_standard_layout_is_read() -> None:
    [read] = read_csv(content=STANDARD, layout=layout_with(preset="standard", changes={}))

    first, second = read.lines
    assert (first.amount, first.text, first.place) == (Money("1234.50", "EUR"), "INV-2026-00001, thanks", "line 2")
    assert (second.amount, second.value_on, second.bank_reference) == (Money("-4.90", "EUR"), date(2026, 7, 12), "R2")
    assert (read.opening, read.from_date, read.to_date) == (None, date(2026, 7, 10), date(2026, 7, 11))


def test_csv_as_german_banks_write_it_is_read_and_what_is_not_booked_left_out() -> None:
    content = (
        '"Auftragskonto";"Buchungstag";"Valutadatum";"Buchungstext";"Verwendungszweck";"Kundenreferenz (End-to-End)";'
        '"Beguenstigter/Zahlungspflichtiger";"Kontonummer/IBAN";"Betrag";"Waehrung";"Info"\n'
        '"DE02";"10.07.26";"10.07.26";"GUTSCHR";"Rechnung INV-2026-00001";"";"Müller GmbH";"DE75";"1.234,50";"EUR";"Umsatz gebucht"\n'
        '"DE02";"11.07.26";"11.07.26";"GUTSCHR";"x";"";"y";"DE75";"1,00";"EUR";"Umsatz vorgemerkt"\n'
    ).encode("cp1252")

    [read] = read_csv(content=content, layout=layout_with(preset="german", changes={}))

    assert [(line.amount, line.name) for line in read.lines] == [(Money("1234.50", "EUR"), "Müller GmbH")]
    assert "line 3 is not booked" in read.remarks[0]


def test_csv_with_two_columns_of_amounts_and_lines_above_its_titles_is_read() -> None:
    content = b"Account 12345678\n\nDate,Description,Reference,Paid in,Paid out\n31/07/2026,ACME,INV,10.00,\n31/07/2026,FEE,,,2.50\n"

    [read] = read_csv(content=content, layout=layout_with(preset="british", changes={"account": "=12345678"}))

    assert [line.amount.amount for line in read.lines] == [10, Decimal("-2.5")]
    assert read.lines[0].text == "ACME INV"


@pytest.mark.parametrize(
    ("changes", "replaced", "said"),
    [
        ({}, ("2026-07-10", "10.07.2026"), "line 2: '10.07.2026' is no day written as %Y-%m-%d"),
        ({}, ('"1,234.50"', '"1.234,50"'), "line 2: '1.234,50' is no number with '.' before its decimals"),
        ({}, ('"1,234.50"', "12345.6789"), "line 2: 12345.6789 is no amount of EUR"),
        ({}, ('"1,234.50"', "=1+1"), "line 2: '=1\\+1' is no number"),
        ({}, ('"1,234.50"', "1.5,7"), "line 2: has 11 columns"),
        ({}, ("EUR", "EURO"), "'EURO' is no currency"),
        ({"account": ""}, ("", ""), "line 2: no account is stated"),
        ({"text": "Memo"}, ("", ""), "no line has the titles"),
        ({"delimiter": "tab"}, ("", ""), "no line has the titles"),
    ],
)
def test_wrong_csv_is_refused_with_its_line(changes: dict[str, str], replaced: tuple[str, str], said: str) -> None:
    content = STANDARD.decode().replace(*replaced).encode() if replaced[0] else STANDARD

    with pytest.raises(StatementFault, match=said):
        read_csv(content=content, layout=layout_with(preset="standard", changes=changes))


def test_a_layout_is_stated_in_known_words_only() -> None:
    for preset, changes in (("swiss", {}), ("standard", {"colour": "red"}), ("standard", {"decimal": ";"})):
        with pytest.raises(InvalidInput):
            layout_with(preset=preset, changes=changes)


DAYS = st.dates(date(2026, 7, 1), date(2026, 7, 4))
LINES = st.builds(
    StatementLine,
    place=st.just("x"),
    booked_on=DAYS,
    value_on=st.none(),
    amount=st.sampled_from([Money("1", "USD"), Money("-1", "USD"), Money("2", "USD")]),
    bank_reference=st.sampled_from(["", "1"]),
    text=st.sampled_from(["", "a"]),
)


@given(lines=st.lists(LINES, max_size=20))
def test_whole_days_in_any_cut_name_the_same_lines(lines: list[StatementLine]) -> None:
    whole = sorted(lines, key=lambda line: line.booked_on)
    named = identities(lines=whole, counted_from={})
    assert len(set(named)) == len(whole)

    for day in range(1, 6):
        early = [line for line in whole if line.booked_on.day < day]
        late = [line for line in whole if line.booked_on.day >= day]
        assert [*identities(lines=early, counted_from={}), *identities(lines=late, counted_from={})] == named


def test_a_bank_that_numbers_lines_from_one_in_each_statement_loses_none() -> None:
    first = StatementLine("x", date(2026, 7, 1), None, Money("1", "USD"), bank_reference="1")
    second = StatementLine("x", date(2026, 7, 2), None, Money("1", "USD"), bank_reference="1")

    assert identities(lines=[first], counted_from={}) != identities(lines=[second], counted_from={})
    assert isinstance(Statement("a", "USD", "", date.min, date.max, None, None, (first,)), Statement)


@pytest.mark.parametrize("encoding", ["foo", "utf-7", "utf-32", "koi9"])
def test_xml_in_letters_that_nobody_reads_is_refused_kindly(encoding: str) -> None:
    content = f'<?xml version="1.0" encoding="{encoding}"?><Document/>'.encode()

    with pytest.raises(StatementFault, match=r"line 1: (it is written in letters|this is no XML)"):
        read_camt(content=content)


def test_no_more_elements_are_read_than_memory_is_there_for(monkeypatch: pytest.MonkeyPatch) -> None:
    assert xml_tree.ELEMENTS_MAX <= 800_000
    monkeypatch.setattr(xml_tree, "ELEMENTS_MAX", 100)

    with pytest.raises(StatementFault, match="deeper or larger"):
        read_camt(content=b"<a>" + b"<b/>" * 100 + b"</a>")
