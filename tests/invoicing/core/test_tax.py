"""Tax of lines: the parts add up, contained tax and net are the amount, and nothing is rounded twice."""

from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st
from moneyed import Money

from billing_site.kernel.money import from_minor_units, is_rounded, minor_unit, round_money, total
from invoicing.core.adjustments.credits import CreditKind, Lot
from invoicing.core.assembly import amounts_left, assemble, pays_after_tax
from invoicing.core.contract import AssembledInvoice
from invoicing.core.rating import rate
from invoicing.core.tax import (
    RateOfTax,
    TaxBase,
    TaxKind,
    TaxMissing,
    TaxParty,
    TaxRounding,
    TaxTerms,
    TaxTreatment,
    tax_day,
    tax_lines,
    tax_summary,
)
from invoicing.core.tax_document import taxed_again
from invoicing.core.tax_rules import (
    CustomerFacts,
    DatedRate,
    Exemption,
    Registration,
    SellerFacts,
    Span,
    TaxQuestion,
    decide,
    rounding_asked,
)
from tests.invoicing.core.builders import JULY, base_fee, snapshot

EVER = Span(date(2020, 1, 1))
VAT = RateOfTax("DE", "VAT", Decimal("0.19"))
CURRENCIES = st.sampled_from(["EUR", "JPY", "KWD", "CLF"])
UNITS = st.integers(-1_000_000, 1_000_000)
RATES = st.lists(
    st.decimals(0, Decimal("0.3"), places=4).map(lambda rate: RateOfTax("XX", f"Tax {rate}", rate)),
    min_size=1,
    max_size=3,
    unique_by=lambda rate: rate.name,
)
TREATMENTS = st.builds(
    lambda rates, inclusive: TaxTreatment(TaxKind.TAXED, tuple(rates), inclusive), RATES, st.booleans()
)


@st.composite
def invoices(draw: st.DrawFn) -> tuple[str, list[TaxBase]]:
    currency = draw(CURRENCIES)
    treatments = draw(st.lists(TREATMENTS, min_size=1, max_size=3))
    drawn = draw(st.lists(st.tuples(UNITS, st.sampled_from(treatments)), max_size=12))
    bases = [TaxBase(f"l{n}", from_minor_units(units, currency), how) for n, (units, how) in enumerate(drawn)]
    return currency, bases


def exact(base: TaxBase, rate: RateOfTax) -> Fraction:
    amount = Fraction(base.amount.amount)
    divided = 1 + base.treatment.rate if base.treatment.inclusive else Fraction(1)
    return amount * Fraction(rate.rate) / divided


@given(invoices(), st.sampled_from(TaxRounding))
def test_each_tax_of_each_line_is_its_share_rounded_down_or_up_and_contained_tax_and_net_are_the_amount(
    drawn: tuple[str, list[TaxBase]], rounding: TaxRounding
) -> None:
    currency, bases = drawn
    unit = Fraction(minor_unit(currency))

    lines = tax_lines(bases=bases, rounding=rounding, currency=currency)

    shares = [exact(base, rate) for base in bases for rate in base.treatment.rates]
    assert all(abs(Fraction(line.amount.amount) - share) < unit for line, share in zip(lines, shares, strict=True))
    for base in bases:
        mine = [line for line in lines if line.reference == base.reference]
        tax = total((line.amount for line in mine), currency)
        net = base.amount - tax if base.treatment.inclusive else base.amount
        assert all(line.taxable == net and is_rounded(line.amount) for line in mine)


@given(invoices())
def test_rounded_per_invoice_each_rate_is_the_rounded_sum_of_what_its_lines_owe(
    drawn: tuple[str, list[TaxBase]],
) -> None:
    currency, bases = drawn

    lines = tax_lines(bases=bases, rounding=TaxRounding.PER_INVOICE, currency=currency)

    owed: dict[tuple[RateOfTax, bool], Fraction] = {}
    for base in bases:
        for one in base.treatment.rates:
            key = (one, base.treatment.inclusive)
            owed[key] = owed.get(key, Fraction(0)) + exact(base, one)
    found = {
        (RateOfTax(one.jurisdiction, one.name, one.rate), one.inclusive): one.amount
        for one in tax_summary(lines=lines, currency=currency)
    }
    assert found == {key: round_money(amount, currency) for key, amount in owed.items()}


@given(invoices(), st.sampled_from(TaxRounding))
def test_a_credit_of_the_same_lines_takes_back_the_same_tax_line_by_line(
    drawn: tuple[str, list[TaxBase]], rounding: TaxRounding
) -> None:
    currency, bases = drawn
    credited = [replace(base, amount=base.amount * -1) for base in bases]

    lines = tax_lines(bases=bases, rounding=rounding, currency=currency)
    back = tax_lines(bases=credited, rounding=rounding, currency=currency)

    assert [line.amount for line in back] == [line.amount * -1 for line in lines]
    left = {base.reference: base.amount for base in bases}
    assert taxed_again(left=left, stored=lines, rounding=rounding, currency=currency) == lines


def test_three_lines_of_one_cent_owe_one_cent_together_and_none_or_three_alone() -> None:
    def owed(rate: str, rounding: TaxRounding) -> list[str]:
        how = TaxTreatment(TaxKind.TAXED, (RateOfTax("DE", "VAT", Decimal(rate)),))
        bases = [TaxBase(name, Money("0.01", "EUR"), how) for name in "abc"]
        return [f"{line.amount.amount:.2f}" for line in tax_lines(bases=bases, rounding=rounding, currency="EUR")]

    assert owed("0.19", TaxRounding.PER_LINE) == ["0.00", "0.00", "0.00"]
    assert owed("0.19", TaxRounding.PER_INVOICE) == ["0.01", "0.00", "0.00"]
    assert owed("0.5", TaxRounding.PER_LINE) == ["0.01", "0.01", "0.01"]
    assert owed("0.5", TaxRounding.PER_INVOICE) == ["0.01", "0.01", "0.00"]


def terms(treatment: TaxTreatment, rounding: TaxRounding = TaxRounding.PER_INVOICE) -> TaxTerms:
    return TaxTerms("test", rounding, TaxParty("DE"), TaxParty("DE"), "UTC", {date(2026, 7, 31): treatment}, {})


def lot(kind: CreditKind, amount: str, priority: int = 50) -> Lot:
    long_ago = datetime(2026, 1, 1, tzinfo=UTC)
    return Lot(1 if kind is CreditKind.PREPAID else 2, kind.value, kind, Money(amount, "USD"), priority, long_ago)


def assembled(treatment: TaxTreatment, *lots: Lot) -> AssembledInvoice:
    contract = snapshot(base_fee("100"))
    lines = rate(snapshot=contract, usage={})
    return assemble(snapshot=contract, lines=lines, lots=lots, tax=terms(treatment))


def test_prepaid_credit_pays_what_is_owed_with_tax_and_promotional_credit_comes_off_before_it() -> None:
    added = TaxTreatment(TaxKind.TAXED, (VAT,))

    prepaid = assembled(added, lot(CreditKind.PREPAID, "500"))
    # However early the prepaid lot is to be drawn: what was given away is no price that tax is owed of.
    both = assembled(added, lot(CreditKind.PREPAID, "500", priority=1), lot(CreditKind.PROMOTIONAL, "50"))

    assert [line.amount.amount for line in prepaid.credits] == [Decimal("-119.00")]
    assert (prepaid.total.amount, prepaid.tax and prepaid.tax.amount.amount) == (0, Decimal("19.00"))
    assert [line.amount.amount for line in both.credits] == [Decimal("-50.00"), Decimal("-59.50")]
    assert (both.total.amount, both.tax and both.tax.amount.amount) == (0, Decimal("9.50"))
    assert [pays_after_tax(line=line) for line in both.credits] == [False, True]


def test_contained_tax_changes_no_total_and_is_owed_of_what_credit_has_left() -> None:
    contained = assembled(TaxTreatment(TaxKind.TAXED, (VAT,), inclusive=True), lot(CreditKind.PREPAID, "19"))

    assert contained.total.amount == Decimal("81.00")
    assert contained.tax is not None and contained.tax.added.amount == 0
    [line] = contained.tax.lines
    assert (line.taxable.amount, line.amount.amount) == (Decimal("84.03"), Decimal("15.97"))
    assert amounts_left(lines=contained.lines)[line.reference] == line.taxable + line.amount


def test_an_invoice_without_terms_of_tax_is_the_same_bytes_as_ever() -> None:
    contract = snapshot(base_fee("100"))
    lines = rate(snapshot=contract, usage={})

    plain = assemble(snapshot=contract, lines=lines)
    missing = assemble(snapshot=contract, lines=lines, tax=TaxMissing("test", ("the country of Acme",)))

    assert plain.digest == assemble(snapshot=contract, lines=lines, tax=None).digest
    assert plain.tax is None and missing.digest != plain.digest
    assert missing.tax is not None and missing.tax.missing == ("the country of Acme",)


def question(
    country: str,
    number: str = "",
    *,
    seller: str = "DE",
    registered: tuple[str, ...] = ("DE",),
    region: str = "",
    exempt: str = "",
    problem: str = "",
) -> TaxQuestion:
    exemptions = (Exemption(exempt, "Exempt under Art. 151", "certificate 7", EVER),) if exempt else ()
    return TaxQuestion(
        customer_key="cust_acme",
        currency="EUR",
        timezone="UTC",
        seller=SellerFacts(
            seller,
            rounding_asked(country=seller),
            inclusive=False,
            registrations=tuple(Registration(one, f"{one}1", EVER) for one in registered),
        ),
        customer=CustomerFacts("Acme", country, region, number, problem, exemptions),
        on=date(2026, 7, 31),
        days=(date(2026, 7, 31),),
    )


TABLE = [
    DatedRate(VAT, Span(date(2020, 1, 1), date(2027, 1, 1))),
    DatedRate(RateOfTax("DE", "VAT", Decimal("0.21")), Span(date(2027, 1, 1))),
    DatedRate(RateOfTax("FR", "VAT", Decimal("0.20")), EVER),
    DatedRate(RateOfTax("CA", "GST", Decimal("0.05")), EVER),
    DatedRate(RateOfTax("CA-QC", "QST", Decimal("0.09975")), EVER),
    DatedRate(RateOfTax("US-CA", "Sales tax", Decimal("0.0725")), EVER),
]


@pytest.mark.parametrize(
    ("asked", "kind", "rates"),
    [
        (question("DE"), "taxed", ["DE 0.19"]),
        (question("DE", "DE136695976"), "taxed", ["DE 0.19"]),
        (question("FR", "FR40303265045"), "reverse_charge", ["FR 0"]),
        (question("FR"), "taxed", ["DE 0.19"]),
        (question("FR", registered=("DE", "EU")), "taxed", ["FR 0.20"]),
        (question("FR", registered=("DE", "FR")), "taxed", ["FR 0.20"]),
        (question("US"), "outside_scope", ["US 0"]),
        (question("DE", exempt="DE"), "exempt", ["DE 0"]),
        (
            question("CA", seller="CA", region="QC", registered=("CA", "CA-QC"), exempt="CA-QC"),
            "taxed",
            ["CA 0.05", "CA-QC 0"],
        ),
        (question("DE", registered=()), "outside_scope", ["DE 0"]),
        (question("CA", seller="CA", region="QC", registered=("CA", "CA-QC")), "taxed", ["CA 0.05", "CA-QC 0.09975"]),
        (question("CA", seller="CA", region="ON", registered=("CA", "CA-QC")), "taxed", ["CA 0.05"]),
        (question("US", seller="US", region="NY", registered=("US-CA",)), "outside_scope", ["US 0"]),
        (question("DE", seller="US", registered=("US-CA",)), "outside_scope", ["DE 0"]),
    ],
)
def test_where_a_service_is_taxed_follows_from_both_sides(asked: TaxQuestion, kind: str, rates: list[str]) -> None:
    decided = decide(question=asked, rates=TABLE, provider="table")

    assert isinstance(decided, TaxTerms)
    treatment = decided.by_day[date(2026, 7, 31)]
    assert treatment.kind == kind
    assert [f"{rate.jurisdiction} {rate.rate}" for rate in treatment.rates] == rates
    assert kind == "taxed" or treatment.reason


def test_who_is_exempt_is_told_by_the_name_of_what_would_be_owed() -> None:
    asked = question("US", region="CA", registered=("DE", "US-CA"), exempt="US-CA")

    decided = decide(question=asked, rates=TABLE, provider="table")

    assert isinstance(decided, TaxTerms)
    [treatment] = decided.by_day.values()
    assert (treatment.kind, treatment.rates[0].name) == ("exempt", "Sales tax")


@pytest.mark.parametrize(
    ("asked", "problem"),
    [
        (question(""), "the country of Acme"),
        (question("FR", "FR1", problem="the VAT id FR1 of Acme is not known in FR"), "the VAT id FR1"),
        (question("US", seller="US", registered=("US-CA",)), "the region of Acme"),
        (question("AT", registered=("DE", "EU")), "a rate of tax in AT on 2026-07-31"),
    ],
)
def test_what_is_not_known_is_named_and_never_a_silent_zero(asked: TaxQuestion, problem: str) -> None:
    decided = decide(question=asked, rates=TABLE, provider="table")

    assert isinstance(decided, TaxMissing)
    assert problem in decided.problems[0]


def test_the_rate_of_a_line_is_that_of_the_day_on_which_its_service_ends_where_the_customer_is() -> None:
    asked = replace(question("DE"), days=(date(2026, 12, 31), date(2027, 1, 1)))

    decided = decide(question=asked, rates=TABLE, provider="table")

    assert isinstance(decided, TaxTerms)
    assert [one.rate for one in decided.by_day.values()] == [Fraction(19, 100), Fraction(21, 100)]
    assert [tax_day(service_period=JULY, timezone=zone).day for zone in ("UTC", "Asia/Tokyo")] == [31, 1]


@pytest.mark.parametrize(("country", "asked"), [("DE", "per_invoice"), ("JP", "per_invoice"), ("MX", "per_line")])
def test_rounding_is_what_the_law_of_the_sellers_country_asks_for(country: str, asked: str) -> None:
    assert rounding_asked(country=country) == asked
