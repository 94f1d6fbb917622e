"""Matching tells invoices in what people write, gives its reasons, and is certain only beyond doubt."""

from datetime import date
from typing import Any

import pytest
from moneyed import Money

from invoicing.core.bank_matching import Candidate, LineFacts, OpenInvoice, candidates, numbers_named

PREFIXES = ["INV-2026", "CN-2026", "US.INV-2026"]


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("INV-2026-00042", {"INV-2026-00042": True}),
        ("Rechnung inv 2026 00042 vom 12.08.", {"INV-2026-00042": True}),
        ("re:INV202600042", {"INV-2026-00042": True}),
        ("INV-2026-\n00042/INV-2026-00043", {"INV-2026-00042": True, "INV-2026-00043": True}),
        ("INV-2026-000 42", {"INV-2026-00042": True}),
        ("INV-2026-00042 12.08.2026", {"INV-2026-00042": True}),
        ("INV-2026-123456", {"INV-2026-123456": True}),
        ("1NV-2O26-OOO42", {"INV-2026-00042": False}),
        ("XINV-2026-00042", {"INV-2026-00042": False}),
        ("INV-2026-00042A", {"INV-2026-00042": False}),
        ("RF18INV202600042", {"INV-2026-00042": False}),
        ("INV-2025-00042", {}),
        ("INV-2026-0042", {}),
        ("invoice 42", {}),
        ("", {}),
    ],
)
def test_numbers_are_found_as_people_write_them(text: str, named: dict[str, bool]) -> None:
    assert numbers_named(texts=[text], prefixes=["INV-2026"]) == named


def test_a_number_that_runs_on_is_named_with_doubt_both_ways() -> None:
    assert numbers_named(texts=["INV-2026-000421"], prefixes=["INV-2026"]) == {
        "INV-2026-000421": False,
        "INV-2026-00042": False,
    }


def test_a_creditor_reference_names_an_invoice_where_its_check_digits_are_right() -> None:
    body = "INV202600042"
    turned = "".join(str(int(character, 36)) for character in f"{body}RF00")
    digits = 98 - int(turned) % 97

    assert numbers_named(texts=[f"RF{digits:02d} {body}"], prefixes=["INV-2026"]) == {"INV-2026-00042": True}


def invoice(number: int, amount: str, customer: int = 1, name: str = "Acme GmbH", day: int = 1) -> OpenInvoice:
    return OpenInvoice(number, f"INV-2026-{number:05d}", customer, name, date(2026, 7, day), Money(amount, "EUR"))


def asked(
    amount: str, *invoices: OpenInvoice, text: str = "", settled: tuple[str, ...] = (), **facts: Any
) -> tuple[Candidate, ...]:
    line = LineFacts(Money(amount, "EUR"), (text,), facts.get("name", ""), frozenset(facts.get("paid_before", ())))
    named = numbers_named(texts=[text], prefixes=["INV-2026"])
    return candidates(line=line, invoices=invoices, named=named, settled=settled)


def parts(candidate: Candidate) -> list[tuple[int, str]]:
    return [(one.id, str(part.amount)) for one, part in candidate.parts]


def test_one_invoice_named_with_exactly_what_is_open_is_certain() -> None:
    [best] = asked("10", invoice(1, "10"), text="INV-2026-00001")

    assert best.is_certain and parts(best) == [(1, "10")]
    assert best.reasons == ("it names INV-2026-00001", "exactly what is open")


@pytest.mark.parametrize(
    ("amount", "text", "others"),
    [
        ("9.99", "INV-2026-00001", ()),
        ("10.01", "INV-2026-00001", ()),
        ("10", "1NV-2026-00001", ()),
        ("10", "INV-2026-00001 INV-2026-00009", ()),
        ("10", "", ()),
        ("30", "INV-2026-00001 INV-2026-00002", (invoice(2, "20"),)),
    ],
)
def test_nothing_else_is_certain(amount: str, text: str, others: tuple[OpenInvoice, ...]) -> None:
    found = asked(amount, invoice(1, "10"), *others, text=text, settled=("INV-2026-00009",), name="Acme")

    assert found and not any(one.is_certain for one in found)


def test_several_named_invoices_are_filled_in_the_order_in_which_they_are_due() -> None:
    [first, *_] = asked("25", invoice(1, "10", day=9), invoice(2, "20", day=2), text="INV-2026-00001, INV-2026-00002")
    [whole, *_] = asked("30", invoice(1, "10"), invoice(2, "20"), text="INV-2026-00001, INV-2026-00002")
    [more, *_] = asked("31", invoice(1, "10"), invoice(2, "20"), text="INV-2026-00001, INV-2026-00002")

    assert parts(first) == [(2, "20"), (1, "5")] and "a part of the 30 EUR that are open" in first.reasons
    assert "exactly the sum of 2 invoices" in whole.reasons and whole.points > first.points
    assert more.beyond == Money("1", "EUR") and "1 EUR more than the 30 EUR that are open" in more.reasons


def test_a_payer_is_known_by_an_account_that_paid_before_and_by_name() -> None:
    mine, other = invoice(1, "10"), invoice(2, "10", customer=2, name="Globex Ltd")

    [best, *_] = asked("10", mine, other, name="GLOBEX LIMITED", paid_before=[2])

    assert best.customer_id == 2
    assert best.reasons == (
        "exactly what is open",
        "this account has paid for Globex Ltd before",
        "the payer is called GLOBEX LIMITED",
    )


def test_an_amount_alone_is_the_weakest_reason_and_says_how_many_it_fits() -> None:
    found = asked("10", invoice(1, "10"), invoice(2, "10", customer=2), invoice(3, "11", customer=3))

    assert [one.customer_id for one in found] == [1, 2]
    assert all("2 open invoices have this amount" in one.reasons and one.points < 30 for one in found)


def test_what_fits_nothing_has_no_candidate() -> None:
    assert asked("7", invoice(1, "10")) == ()


@pytest.mark.parametrize("text", ["INV-2026-10004 2", "INV-2026-10004\n2", "INV-2026-10004-2", "INV-2026-100042 7"])
def test_a_number_whose_line_was_wrapped_is_in_doubt(text: str) -> None:
    named = numbers_named(texts=[text], prefixes=["INV-2026"])

    assert named and not any(named.values())
