"""What Stripe Tax tells becomes rates of places, exact; what nobody here can charge is said, never guessed."""

from dataclasses import replace
from datetime import date
from decimal import Decimal
from fractions import Fraction
from random import Random
from typing import Any

import pytest
from moneyed import Money

from billing_site.kernel.money import round_money
from invoicing.core.tax import RateOfTax, TaxBase, TaxKind, TaxRounding, tax_lines
from invoicing.core.tax_rules import OUTSIDE_UNION, REVERSE_CHARGE, Exemption, Span, TaxQuestion
from invoicing.core.told_tax import ToldTax, differs_from_told, rates_document, told_from, treatment_told
from invoicing.tax.stripe_answers import REFERENCE_AMOUNT, NotReadable, read_answer
from tests.invoicing.core.test_tax import EVER, question
from tests.invoicing.told_tax import answered, levied, new_york

DAY = date(2026, 7, 31)


def told(body: dict[str, Any]) -> tuple[str, list[str]]:
    read = read_answer(body=body)
    return read.kind.value, [f"{one.name} {one.rate.normalize():f} {one.jurisdiction}" for one in read.rates]


@pytest.mark.requirement("S0-119")
def test_each_place_that_taxes_has_a_rate_of_its_own_exact_and_named() -> None:
    assert told(new_york()) == (
        "taxed",
        [
            "Sales tax 0.04 US-NY",
            "Sales tax, New York City 0.045 US-NY",
            "Sales tax, Metropolitan Commuter Transportation D… 0.00375 US-NY",
        ],
    )


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        (levied("DE", None, "country", "Germany", "19", tax_type="vat"), ("taxed", ["VAT 0.19 DE"])),
        (
            levied("CA", "QC", "state", "Quebec", "9.975", tax_type="qst"),
            ("taxed", ["QST 0.09975 CA-QC"]),
        ),
        (
            levied("US", "TX", "state", "Texas", "6.25", reason="taxable_basis_reduced", part=80),
            ("taxed", ["Sales tax on 80 % 0.05 US-TX"]),
        ),
        (
            levied("IE", None, "country", "Ireland", "0", reason="zero_rated", tax_type="vat"),
            ("taxed", ["VAT 0 IE"]),
        ),
        (levied("FR", None, "country", "France", None, reason="reverse_charge"), ("reverse_charge", ["VAT 0 FR"])),
        (
            levied("US", "OR", "state", "Oregon", None, reason="not_subject_to_tax"),
            ("outside_scope", ["Tax 0 US-OR"]),
        ),
        (levied("US", "WA", "state", "Washington", None, reason="not_collecting"), ("outside_scope", ["Tax 0 US-WA"])),
        (levied("US", "NY", "state", "New York", None, reason="customer_exempt"), ("exempt", ["Tax 0 US-NY"])),
    ],
)
def test_the_reason_says_how_a_place_taxes_or_why_it_does_not(
    entry: dict[str, Any], expected: tuple[str, list[str]]
) -> None:
    assert told(answered(entry)) == expected


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        (answered(), "names no place"),
        ({}, "cannot be read: KeyError"),
        (answered(levied("DE", None, "country", "Germany", "19", reason="not_supported")), "not_supported"),
        (answered(levied("DE", None, "country", "Germany", "19", amount=1_900_027)), "more to it than a rate"),
        (answered(levied("DE", None, "country", "Germany", "0.0000001")), "more than 8 decimals"),
        (answered(levied("DE", None, "country", "Germany", None)), "cannot be read"),
        (answered(levied("DE", None, "country", "Germany", None, reason="reverse_charge", amount=5)), "says reverse"),
        (answered(levied("Germany", None, "country", "Germany", "19")), "is no country"),
    ],
)
def test_what_cannot_be_charged_as_it_stands_is_refused_with_the_reason(body: dict[str, Any], problem: str) -> None:
    with pytest.raises(NotReadable, match=problem):
        read_answer(body=body)


def test_two_taxes_of_one_name_are_told_apart_and_what_is_kept_is_what_was_read() -> None:
    twice = levied("US", "CA", "state", "California", "6"), levied("US", "CA", "state", "California", "1.25")

    read = read_answer(body=answered(*twice))

    assert [one.name for one in read.rates] == ["Sales tax", "Sales tax (2)"]
    kept = told_from(kind=read.kind.value, rates=rates_document(told=read), is_registered=read.is_registered)
    assert kept == read


NYC = read_answer(body=new_york())
NOTHING = (RateOfTax("FR", "VAT", Decimal(0)),)


@pytest.mark.parametrize(
    ("answer", "asked", "kind", "reason", "rates"),
    [
        (NYC, question("US", seller="US", region="NY"), "taxed", "", ["0.04", "0.045", "0.00375"]),
        (NYC, question("US", seller="US", region="NY", exempt="US-NY"), "exempt", "Exempt under Art. 151", ["0"]),
        (
            ToldTax(TaxKind.REVERSE_CHARGE, NOTHING),
            question("FR", "FR40303265045"),
            "reverse_charge",
            REVERSE_CHARGE,
            ["0"],
        ),
        (
            ToldTax(TaxKind.REVERSE_CHARGE, NOTHING),
            question("FR", "FR40303265045", seller="US"),
            "reverse_charge",
            "Reverse charge: tax is to be accounted for by the recipient.",
            ["0"],
        ),
        (
            ToldTax(TaxKind.OUTSIDE_SCOPE, (RateOfTax("US-WA", "Tax", Decimal(0)),), is_registered=False),
            question("US", region="WA"),
            "outside_scope",
            OUTSIDE_UNION,
            ["0"],
        ),
        (
            ToldTax(TaxKind.OUTSIDE_SCOPE, (RateOfTax("US-WA", "Tax", Decimal(0)),), is_registered=False),
            question("US", seller="US", region="WA"),
            "outside_scope",
            "No tax is charged: the seller is not registered for tax in US-WA.",
            ["0"],
        ),
        (
            ToldTax(TaxKind.OUTSIDE_SCOPE, (RateOfTax("US-OR", "Tax", Decimal(0)),)),
            question("US", seller="US", region="OR"),
            "outside_scope",
            "Not subject to tax in US-OR.",
            ["0"],
        ),
        (
            ToldTax(TaxKind.EXEMPT, (RateOfTax("DE", "VAT", Decimal(0)),)),
            question("DE"),
            "exempt",
            "Exempt from tax in DE.",
            ["0"],
        ),
    ],
)
def test_a_line_is_taxed_as_told_with_the_sentence_that_its_invoice_needs(
    answer: ToldTax, asked: TaxQuestion, kind: str, reason: str, rates: list[str]
) -> None:
    treatment = treatment_told(told=answer, question=asked, day=DAY)

    assert (treatment.kind.value, treatment.reason) == (kind, reason)
    assert [f"{one.rate}" for one in treatment.rates] == rates


def test_an_exemption_of_a_province_takes_off_its_own_tax_only() -> None:
    both = answered(
        levied("CA", None, "country", "Canada", "5", tax_type="gst"),
        levied("CA", "QC", "state", "Quebec", "9.975", tax_type="qst"),
    )
    asked = question("CA", seller="CA", region="QC", exempt="CA-QC")

    treatment = treatment_told(told=read_answer(body=both), question=asked, day=DAY)

    assert [(one.name, f"{one.rate}") for one in treatment.rates] == [("GST", "0.05"), ("QST", "0")]
    assert (treatment.kind.value, treatment.evidence) == ("taxed", "certificate 7")


def test_an_exemption_that_is_over_takes_nothing_off() -> None:
    over = Exemption("US-NY", "Exempt", "certificate 7", Span(date(2020, 1, 1), DAY))
    asked = question("US", seller="US", region="NY")
    asked = replace(asked, customer=replace(asked.customer, exemptions=(over,)))

    assert treatment_told(told=NYC, question=asked, day=DAY).rates == NYC.rates
    assert EVER.holds(DAY)


@pytest.mark.requirement("S0-119")
@pytest.mark.parametrize("rounding", TaxRounding)
def test_tax_is_rate_times_base_rounded_place_by_place_whatever_the_lines(rounding: TaxRounding) -> None:
    chance = Random(2026)
    for _ in range(300):
        amounts = [
            Money(Decimal(chance.randrange(-50_000, 500_000)).scaleb(-2), "USD") for _ in range(chance.randrange(1, 9))
        ]
        treatment = treatment_told(told=NYC, question=question("US", seller="US", region="NY"), day=DAY)
        bases = [TaxBase(f"line {place}", amount, treatment) for place, amount in enumerate(amounts)]

        lines = tax_lines(bases=bases, rounding=rounding, currency="USD")

        for rate in NYC.rates:
            of_rate = [line for line in lines if line.name == rate.name]
            exact = [Fraction(line.taxable.amount) * Fraction(rate.rate) for line in of_rate]
            owed = [Fraction(line.amount.amount) for line in of_rate]
            if rounding is TaxRounding.PER_LINE:
                assert owed == [Fraction(round_money(one, "USD").amount) for one in exact]
            else:
                assert sum(owed) == Fraction(round_money(sum(exact, Fraction(0)), "USD").amount)
                assert all(abs(one - other) < Fraction(1, 100) for one, other in zip(owed, exact, strict=True))


def test_what_a_line_keeps_is_compared_with_what_was_told() -> None:
    treatment = treatment_told(told=NYC, question=question("US", seller="US", region="NY"), day=DAY)
    base = TaxBase("line", Money("100.00", "USD"), treatment)
    stored = tax_lines(bases=[base], rounding=TaxRounding.PER_LINE, currency="USD")
    cheaper = [replace(stored[0], rate=Decimal("0.03")), *stored[1:]]
    exempted = [replace(one, rate=Decimal(0), evidence="certificate 7") for one in stored]

    assert not differs_from_told(told=NYC, stored=stored)
    assert differs_from_told(told=NYC, stored=cheaper)
    assert differs_from_told(told=NYC, stored=stored[:2])
    assert not differs_from_told(told=NYC, stored=exempted)
    assert REFERENCE_AMOUNT % 10**7 == 0
