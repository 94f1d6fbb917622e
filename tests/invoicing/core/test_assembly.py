"""Lines become an invoice that is complete, in order, adds up, and has one digest."""

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

import pytest

from billing_site.kernel.money import wire
from billing_site.kernel.period import Period
from invoicing.core.assembly import RatedTwice, assemble
from invoicing.core.contract import AssembledInvoice
from invoicing.core.rating import rate, rate_charge
from tests.invoicing.core.builders import JULY, base_fee, charge, snapshot, usage


def assembled(quantity: str = "15000000", *, known_through: int = 9, fee: str = "29") -> AssembledInvoice:
    contract = snapshot(base_fee(fee), charge())
    lines = rate(snapshot=contract, usage={"actions": usage(quantity, known_through=known_through)})
    return assemble(snapshot=contract, lines=lines)


def test_the_total_is_the_sum_of_the_rounded_lines() -> None:
    invoice = assembled()

    assert wire(invoice.subtotal) == wire(invoice.total) == {"amount": "309.00", "currency": "USD"}
    assert [line.description for line in invoice.lines] == ["Base fee", "Actions"]


def test_lines_come_in_the_contracts_order_whatever_order_they_were_rated_in() -> None:
    contract = snapshot(base_fee("29"), charge())
    lines = rate(snapshot=contract, usage={"actions": usage("7")})

    assert assemble(snapshot=contract, lines=lines[::-1]) == assemble(snapshot=contract, lines=lines)


def test_the_same_input_has_the_same_digest_and_another_one_has_not() -> None:
    assert assembled().digest == assembled().digest
    assert assembled().digest != assembled("15000001").digest
    assert assembled().digest != assembled(fee="29.01").digest


def test_a_later_mark_without_new_events_is_the_same_invoice() -> None:
    assert assembled(known_through=9).digest == assembled(known_through=1000).digest


def test_an_invoice_in_yen_sums_to_whole_yen() -> None:
    contract = snapshot(base_fee("2900"), charge({"model": "per_unit", "unit_amount": "0.5"}), currency="JPY")

    invoice = assemble(snapshot=contract, lines=rate(snapshot=contract, usage={"actions": usage("3")}))

    assert wire(invoice.total) == {"amount": "2902", "currency": "JPY"}


def test_a_contract_without_charges_is_an_invoice_over_nothing() -> None:
    invoice = assemble(snapshot=snapshot(), lines=())

    assert wire(invoice.total) == {"amount": "0.00", "currency": "USD"}


def test_a_missing_a_strange_and_a_repeated_line_are_all_refused() -> None:
    contract = snapshot(base_fee("29"), charge())
    fee, actions = rate(snapshot=contract, usage={"actions": usage("7")})
    stranger = rate_charge(charge=base_fee("1", reference="other/base"), usage=None, currency="USD")

    for lines in ([fee], [fee, actions, actions], [fee, actions, stranger]):
        with pytest.raises(AssertionError, match="exactly once"):
            assemble(snapshot=contract, lines=lines)


def test_a_line_that_does_not_rate_all_that_was_counted_is_refused() -> None:
    """killbill#1081."""
    contract = snapshot(charge())
    (line,) = rate(snapshot=contract, usage={"actions": usage("7")})

    with pytest.raises(AssertionError, match="all that was counted is rated"):
        assemble(snapshot=contract, lines=[replace(line, quantity=Decimal(6))])


def test_a_line_in_another_currency_is_refused() -> None:
    line = rate_charge(charge=charge(), usage=usage("7"), currency="EUR")

    with pytest.raises(AssertionError, match="one currency"):
        assemble(snapshot=snapshot(charge()), lines=[line])


def test_two_subscriptions_cannot_charge_the_same_usage() -> None:
    """Polar PR 9090: "the customer was charged multiple times for the same usage"."""
    contract = snapshot(charge(reference="old/actions"), charge(reference="new/actions"))
    lines = rate(snapshot=contract, usage={"actions": usage("7")})

    with pytest.raises(RatedTwice, match="old/actions and new/actions"):
        assemble(snapshot=contract, lines=lines)


def test_subscriptions_that_follow_each_other_share_a_meter() -> None:
    middle = JULY.start + timedelta(days=15)
    contract = snapshot(
        charge(reference="old/actions", service_period=Period(JULY.start, middle)),
        charge(reference="new/actions", service_period=Period(middle, JULY.end)),
    )

    invoice = assemble(snapshot=contract, lines=rate(snapshot=contract, usage={"actions": usage("7")}))

    assert len(invoice.lines) == 2
