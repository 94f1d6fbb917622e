"""Each check before issue gives a finding with its figures, or none; just below its threshold it says nothing."""

from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from moneyed import Money

from billing_site.kernel.period import Period
from invoicing.core.contract import AssembledInvoice, RatedLine, Usage
from invoicing.core.gate import (
    CHECKS,
    RULES,
    Check,
    EarlierInvoice,
    GateFacts,
    Rule,
    UnmatchedEvents,
    findings_about,
)
from invoicing.core.gate_states import GATE_MOVES, GateState, may_move

MONTHS = [
    Period(datetime(2026, month, 1, tzinfo=UTC), datetime(2026, month + 1, 1, tzinfo=UTC)) for month in range(1, 8)
]
JULY = MONTHS[-1]
ALL_ON = {check: Rule(True, rule.threshold) for check, rule in RULES.items()}


def a_line(amount: str, *, meter: str | None = None, events: int = 0, currency: str = "USD") -> RatedLine:
    usage = Usage(meter, Decimal(events), 1, events, "", 0) if meter else None
    return RatedLine(
        reference=f"line {meter}",
        description=meter or "Fee",
        explanation="",
        subscription="sub",
        meter=meter,
        quantity=Decimal(events),
        free_quantity=Decimal(0),
        unit="",
        price=None,  # type: ignore[arg-type]
        share=Fraction(1),
        unrounded_amount=Fraction(amount),
        amount=Money(amount, currency),
        steps=(),
        service_period=JULY,
        usage=usage,
    )


def an_invoice(*lines: RatedLine, total: str = "", currency: str = "USD", period: Period = JULY) -> AssembledInvoice:
    amount = Money(total or sum((line.amount.amount for line in lines), Decimal(0)), currency)
    return AssembledInvoice("cust_acme", currency, period, lines, amount, amount, digest="")


def before(*amounts: str, meters: tuple[str, ...] = ()) -> tuple[EarlierInvoice, ...]:
    """The invoices before, newest first."""
    months = reversed(MONTHS[-1 - len(amounts) : -1])
    return tuple(
        EarlierInvoice(month, Money(amount, "USD"), frozenset(meters))
        for month, amount in zip(months, amounts, strict=True)
    )


def found(invoice: AssembledInvoice, rules: dict[Check, Rule] | None = None, **facts: Any) -> dict[Check, str]:
    known = GateFacts(**({"currency": "USD"} | facts))
    return {one.check: one.message for one in findings_about(invoice=invoice, facts=known, rules=rules or RULES)}


@pytest.mark.requirement("S3-053")
def test_a_spike_is_told_with_the_usual_amount_from_three_times_of_it_on() -> None:
    usual = before("90", "100", "120", "100")

    at_three = found(an_invoice(a_line("300")), earlier=usual)
    below = found(an_invoice(a_line("299.99")), earlier=usual)

    assert at_three == {
        Check.SPIKE: "USD 300 charged, 3 × the usual USD 100 (the middle of the 4 invoices before)",
    }
    assert below == {}


def test_a_spike_names_the_unusual_days_that_nobody_has_looked_into() -> None:
    message = found(
        an_invoice(a_line("420")), earlier=before("100", "100", "100"), unusual=("more actions on 2026-07-03",)
    )[Check.SPIKE]

    assert message == (
        "USD 420 charged, 4.2 × the usual USD 100 (the middle of the 3 invoices before);"
        " nobody has looked into unusual usage: more actions on 2026-07-03"
    )


def test_two_invoices_and_those_for_other_lengths_of_time_say_nothing_about_what_is_usual() -> None:
    year = Period(datetime(2025, 7, 1, tzinfo=UTC), datetime(2026, 7, 1, tzinfo=UTC))
    yearly = EarlierInvoice(year, Money("10", "USD"), frozenset())

    assert found(an_invoice(a_line("5000")), earlier=before("100", "100")) == {}
    assert found(an_invoice(a_line("5000")), earlier=(*before("100", "100"), yearly)) == {}
    assert Check.SPIKE in found(an_invoice(a_line("5000")), earlier=(*before("100", "100", "100"), yearly))


def test_a_drop_to_nothing_is_told_and_with_a_threshold_of_a_tenth_next_to_nothing_too() -> None:
    usual = before("100", "100", "100.01")
    a_tenth = RULES | {Check.DROP: Rule(True, Decimal("0.1"))}

    assert found(an_invoice(a_line("0")), earlier=usual) == {
        Check.DROP: "USD 0 charged, USD 100 is usual (the middle of the 3 invoices before)"
    }
    assert found(an_invoice(a_line("0.01")), earlier=usual) == {}
    assert Check.DROP in found(an_invoice(a_line("10")), rules=a_tenth, earlier=usual)
    assert found(an_invoice(a_line("10.01")), rules=a_tenth, earlier=usual) == {}


def test_a_meter_that_three_invoices_counted_is_silent_without_an_event_and_not_with_one() -> None:
    known = before("100", "100", "100", meters=("actions",))
    silent = an_invoice(a_line("100"), a_line("0", meter="actions"), a_line("0", meter="new"))

    assert found(silent, earlier=known) == {
        Check.SILENT_METER: "no events of actions in this period; each of the 3 invoices before counted some"
    }
    assert found(an_invoice(a_line("100", meter="actions", events=1)), earlier=known) == {}
    assert found(silent, earlier=known[:2]) == {}
    assert found(an_invoice(a_line("100")), earlier=known) == {}, "the plan charges it no longer"


def test_events_that_no_invoice_holds_are_told_by_kind() -> None:
    lost = (
        UnmatchedEvents("checkout", "no meter counts this event type", 2),
        UnmatchedEvents("tokens", "no subscription was in force", 1),
    )
    three = RULES | {Check.UNMATCHED: Rule(True, Decimal(4))}

    assert found(an_invoice(a_line("1")), unmatched=lost) == {
        Check.UNMATCHED: "3 events of this period are on no invoice: 2 checkout (no meter counts this event type),"
        " 1 tokens (no subscription was in force)"
    }
    assert found(an_invoice(a_line("1")), rules=three, unmatched=lost) == {}


@pytest.mark.requirement("S1-096")
def test_first_bills_are_looked_at_where_that_is_switched_on() -> None:
    first = an_invoice(a_line("29"))

    assert found(first) == {}
    assert found(first, rules=ALL_ON) == {Check.FIRST_BILL: "the first invoice of this customer, over USD 29"}
    assert found(first, rules=ALL_ON, earlier=before("29")) == {}


def test_a_negative_charge_is_told_and_corrections_only_from_four_fifths_of_what_is_charged() -> None:
    charged = an_invoice(a_line("100"))

    def corrected(amount: str) -> AssembledInvoice:
        # A correction line says much more; the check looks at its amount.
        return replace(charged, corrections=(a_line(amount),))  # type: ignore[arg-type]

    assert found(an_invoice(a_line("-1", meter="actions", events=1), a_line("5"))) == {
        Check.NEGATIVE_LINE: "a charge is negative: actions USD -1"
    }
    assert found(corrected("-80")) == {
        Check.NEGATIVE_LINE: "corrections of earlier invoices take USD 80 off USD 100 charged, 80 %"
    }
    assert found(corrected("-79.99")) == {}
    assert found(corrected("70")) == {}


def test_amounts_that_no_currency_knows_missing_data_and_another_total_than_released_are_told() -> None:
    assert found(an_invoice(a_line("1.005"))) == {Check.CURRENCY: "no amount of USD: USD 1.005, USD 1.005, USD 1.005"}
    assert found(an_invoice(a_line("1", currency="JPY"), currency="JPY")) == {
        Check.CURRENCY: "it is in JPY, the customer pays in USD"
    }
    assert found(an_invoice(a_line("1")), missing=("an e-mail address",)) == {
        Check.MISSING_DATA: "not known of the customer: an e-mail address"
    }
    assert found(an_invoice(a_line("12")), released=Money("10", "USD")) == {
        Check.RELEASED_TOTAL: "it was released over USD 10, it is USD 12 by now"
    }
    assert found(an_invoice(a_line("12")), released=Money("12", "USD")) == {}


def test_a_check_that_is_off_finds_nothing_and_every_check_says_what_it_looks_for() -> None:
    off = {check: Rule(False, rule.threshold) for check, rule in RULES.items()}

    assert found(an_invoice(a_line("-1")), rules=off) == {}
    assert all(terms.title and terms.asks.endswith(".") for terms in CHECKS.values())
    assert all(bool(terms.threshold) == (terms.usual is not None) for terms in CHECKS.values())


def test_an_invoice_that_is_held_is_issued_only_after_it_was_released_or_is_an_ordinary_draft_again() -> None:
    assert not may_move(start=GateState.HELD, to=GateState.ISSUED)
    assert may_move(start=GateState.READY, to=GateState.ISSUED)
    assert all(move.when and move.drivers for move in GATE_MOVES)
