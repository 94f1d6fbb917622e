"""Progressive invoices and the invoice of the period come to the whole, to the minor unit and with all tax, whatever is used and whenever it is invoiced."""

from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal

from hypothesis import assume, example, given
from hypothesis import strategies as st
from moneyed import Money

from billing_site.kernel.money import minor_unit, total
from invoicing.core.adjustments.progressive import InvoicedProgressively, taken_parts
from invoicing.core.assembly import amounts_after_credit, assemble
from invoicing.core.contract import AdjustmentLine, AssembledInvoice, BaseLine, ContractSnapshot
from invoicing.core.one_off import ProgressiveInvoice, assemble_progressive
from invoicing.core.progressive import progressive_lines
from invoicing.core.proof import adjusted_again, adjustment_document, progressive_line_document, rated_again
from invoicing.core.rating import rate
from invoicing.core.tax import RateOfTax, TaxKind, TaxParty, TaxRounding, TaxTerms, TaxTreatment, tax_summary
from tests.invoicing.core.builders import JULY, base_fee, charge, snapshot, usage

DAY, LAST = date(2026, 7, 15), date(2026, 7, 31)
MOMENT = datetime(2026, 7, 15, tzinfo=UTC)
CURRENCIES = st.sampled_from(["EUR", "JPY", "KWD", "CLF"])
RATES = st.lists(st.decimals(0, Decimal("0.3"), places=3), min_size=1, max_size=2)
QUANTITIES = st.lists(st.tuples(st.integers(0, 9_999), st.integers(0, 9_999)), min_size=1, max_size=4)
TIERS = [{"up_to": "1000", "unit_amount": "0.0137"}, {"up_to": None, "unit_amount": "0.0071"}]


def terms(rates: list[Decimal], rounding: TaxRounding, *, inclusive: bool) -> TaxTerms:
    taxes = tuple(RateOfTax("XX", f"Tax {place}", rate) for place, rate in enumerate(rates))
    treatment = TaxTreatment(TaxKind.TAXED, taxes, inclusive)
    return TaxTerms("test", rounding, TaxParty("DE"), TaxParty("DE"), "UTC", {DAY: treatment, LAST: treatment}, {})


def contract(currency: str) -> ContractSnapshot:
    graduated = charge({"model": "graduated", "tiers": TIERS}, reference="sub/calls", meter="calls")
    return snapshot(base_fee("29"), charge({"model": "per_unit", "unit_amount": "0.333"}), graduated, currency=currency)


def period_of(agreed: ContractSnapshot, used: tuple[int, int], tax: TaxTerms | None) -> AssembledInvoice:
    usages = {"actions": usage(str(used[0])), "calls": usage(str(used[1]), meter="calls")}
    return assemble(snapshot=agreed, lines=rate(snapshot=agreed, usage=usages), tax=tax)


def with_term(agreed: ContractSnapshot, invoice: ProgressiveInvoice, number: int) -> ContractSnapshot:
    about = (*(one.reference for one in agreed.charges), *(one.reference for one in agreed.terms))
    term = InvoicedProgressively(
        f":progressive/{number}",
        "",
        JULY,
        about,
        progressive=number,
        invoice=f"INV-{number}",
        held=invoice.subtotal.amount,
        charged=tuple(BaseLine(line.rated.reference, line.amount) for line in invoice.lines),
        taxes=() if invoice.tax is None else tax_summary(lines=invoice.tax.lines, currency=invoice.currency),
    )
    return replace(agreed, terms=(*agreed.terms, term))


def progressive(agreed: ContractSnapshot, used: tuple[int, int], tax: TaxTerms | None) -> ProgressiveInvoice | None:
    so_far = period_of(agreed, used, None)
    lines = progressive_lines(invoice=so_far, left=amounts_after_credit(invoice=so_far), until=MOMENT)
    for line in lines:
        document = progressive_line_document(line=line)
        assert rated_again(document["inputs"]) == document
    if not lines:
        return None
    return assemble_progressive(
        customer=agreed.customer, currency=agreed.currency, period=JULY, lines=lines, day=DAY, tax=tax
    )


@given(CURRENCIES, QUANTITIES, RATES, st.sampled_from(TaxRounding), st.booleans(), st.booleans())
@example("EUR", [(3, 0), (3, 3), (0, 0)], [Decimal("0.19")], TaxRounding.PER_LINE, False, True)
def test_together_they_come_to_the_whole_taxes_included(
    currency: str,
    moves: list[tuple[int, int]],
    rates: list[Decimal],
    rounding: TaxRounding,
    inclusive: bool,
    is_taxed: bool,
) -> None:
    tax = terms(rates, rounding, inclusive=inclusive) if is_taxed else None
    agreed, used, before = contract(currency), (0, 0), []
    for number, (actions, calls) in enumerate(moves, start=1):
        used = (used[0] + actions, used[1] + calls)
        if (invoice := progressive(agreed, used, tax)) is not None:
            before.append(invoice)
            agreed = with_term(agreed, invoice, number)

    final, whole = period_of(agreed, used, tax), period_of(contract(currency), used, tax)

    # The fee is left in any case, so that there is room for all tax that goes back.
    assert total((one.total for one in (*before, final)), currency) == whole.total
    if tax is not None and whole.tax is not None and final.tax is not None:
        given_before = total((one.tax.amount for one in before if one.tax is not None), currency)
        assert given_before + final.tax.amount == whole.tax.amount
    charged = total((one.subtotal for one in before), currency)
    assert charged == total((line.amount for line in whole.lines if line.usage is not None), currency)
    assert final.total.amount >= 0


@given(CURRENCIES, st.tuples(st.integers(1, 9_999), st.integers(0, 9_999)), st.integers(0, 9_999), RATES)
def test_what_the_period_has_no_room_for_is_left_and_the_invoice_is_never_negative(
    currency: str, used: tuple[int, int], remain: int, rates: list[Decimal]
) -> None:
    tax = terms(rates, TaxRounding.PER_INVOICE, inclusive=False)
    invoice = progressive(contract(currency), used, tax)
    assume(invoice is not None)
    assert invoice is not None and invoice.tax is not None
    agreed = with_term(contract(currency), invoice, 1)

    final = period_of(agreed, (min(remain, used[0]), 0), tax)

    [line] = final.adjustments
    assert 0 <= -line.amount.amount <= invoice.subtotal.amount
    assert final.total.amount >= 0
    assert final.tax is not None
    back = -sum(one.amount.amount for one in final.tax.lines if one.reference == line.reference)
    assert 0 <= back <= invoice.tax.amount.amount
    assert adjustment_document(line=adjusted_again(inputs=adjustment_document(line=line)["inputs"])) == (
        adjustment_document(line=line)
    )
    assert total((part.amount for part in taken_parts(line=line)), currency) == line.amount * -1


def test_where_nothing_is_left_to_pay_no_more_tax_goes_back_than_is_owed() -> None:
    # Twice 0.03 at 19 % are twice 0.01; 0.06 at 19 % are 0.01.
    tax = terms([Decimal("0.19")], TaxRounding.PER_INVOICE, inclusive=False)
    agreed = snapshot(charge({"model": "per_unit", "unit_amount": "0.01"}))
    for number in (1, 2):
        lines = rate(snapshot=agreed, usage={"actions": usage(str(3 * number))})
        so_far = assemble(snapshot=agreed, lines=lines)
        found = progressive_lines(invoice=so_far, left=amounts_after_credit(invoice=so_far), until=MOMENT)
        invoice = assemble_progressive(customer="cust_acme", currency="USD", period=JULY, lines=found, day=DAY, tax=tax)
        assert invoice.total == Money("0.04", "USD")
        agreed = with_term(agreed, invoice, number)

    final = assemble(snapshot=agreed, lines=rate(snapshot=agreed, usage={"actions": usage("6")}), tax=tax)

    assert final.total == Money("0.00", "USD") and final.tax is not None
    assert final.tax.amount == Money("0.00", "USD")


def test_each_charge_is_taken_off_what_was_charged_for_it_first() -> None:
    agreed = contract("EUR")
    invoice = progressive(agreed, (100, 50), None)
    assert invoice is not None

    final = period_of(with_term(agreed, invoice, 1), (200, 80), None)

    [line] = [one for one in final.adjustments if isinstance(one, AdjustmentLine)]
    assert {part.reference: part.amount for part in taken_parts(line=line)} == {
        one.rated.reference: one.amount for one in invoice.lines
    }
    assert minor_unit("EUR") == Decimal("0.01")
