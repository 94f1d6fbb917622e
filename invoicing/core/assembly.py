"""Assembly: rated lines become one invoice that is complete, adds up, and has a digest."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from itertools import combinations
from typing import Any

from moneyed import Money

from billing_site.kernel.digest import digest_of
from billing_site.kernel.errors import BillingError
from billing_site.kernel.money import total, wire
from invoicing.core.adjusting import adjust, take_off
from invoicing.core.adjustments.advance import settled_parts
from invoicing.core.adjustments.credits import Lot, draw_lots
from invoicing.core.contract import (
    ENGINE_VERSION,
    AdjustmentKind,
    AdjustmentLine,
    AssembledInvoice,
    BaseLine,
    Charge,
    ContractSnapshot,
    DocumentLine,
    OpenCorrection,
    RatedLine,
)
from invoicing.core.correction import correction_lines
from invoicing.core.proof import adjustment_document, correction_document, line_document, period_document


class RatedTwice(BillingError):
    """Two subscriptions would charge the same usage."""

    status = 409
    code = "rated_twice"


def assemble(
    *,
    snapshot: ContractSnapshot,
    lines: Sequence[RatedLine],
    corrections: Sequence[OpenCorrection] = (),
    lots: Sequence[Lot] = (),
) -> AssembledInvoice:
    """Put the rated lines of a contract together, in the contract's order, whatever order they come in.

    Every charge has exactly one line, and each line rates the whole quantity that its meter counted
    (killbill#1081). What the terms make of them follows, then open corrections of earlier invoices, credits as far as
    there is room (S0-061), and at last what `lots` of credit pay of all that.
    Raises RatedTwice where two subscriptions bill one meter at the same time.
    """
    ordered = _in_contract_order(snapshot, lines)
    _check_complete(snapshot, ordered)
    check_rated_once(charged=ordered)

    adjusted = adjust(terms=snapshot.terms, lines=ordered, currency=snapshot.currency)
    rated = total((line.amount for line in ordered), snapshot.currency)
    charged = rated + total((line.amount for line in adjusted), snapshot.currency)
    carried = correction_lines(corrections=corrections, charged=charged, currency=snapshot.currency)
    to_pay = charged + total((line.amount for line in carried), snapshot.currency)
    drawn = _drawn(snapshot, (*ordered, *adjusted, *carried), to_pay, lots) if lots else ()
    subtotal = to_pay + total((line.amount for line in drawn), snapshot.currency)
    content: dict[str, Any] = {
        "engine": ENGINE_VERSION,
        "customer": snapshot.customer,
        "currency": snapshot.currency,
        "period": period_document(period=snapshot.period),
        "lines": [_content(line) for line in ordered],
        "subtotal": wire(subtotal),
        "total": wire(subtotal),
    }
    if adjusted:
        content["adjustments"] = [adjustment_document(line=line) for line in adjusted]
    if carried:
        content["corrections"] = [correction_document(line=line) for line in carried]
    if drawn:
        content["credits"] = [adjustment_document(line=line) for line in drawn]
    return AssembledInvoice(
        customer=snapshot.customer,
        currency=snapshot.currency,
        period=snapshot.period,
        lines=ordered,
        subtotal=subtotal,
        total=subtotal,
        digest=digest_of(content),
        corrections=carried,
        adjustments=adjusted,
        credits=drawn,
    )


def _drawn(
    snapshot: ContractSnapshot, lines: Sequence[DocumentLine], to_pay: Money, lots: Sequence[Lot]
) -> tuple[AdjustmentLine, ...]:
    """Let lots pay for what discounts, and what was invoiced in advance, have left of the lines."""
    left: dict[str, Money] = {}
    for line in lines:
        if isinstance(line, AdjustmentLine):
            take_off(line=as_credit_sees_it(line=line), left=left)
        else:
            left[line.reference] = line.amount
    return draw_lots(lots=lots, lines=[BaseLine(*pair) for pair in left.items()], to_pay=to_pay, period=snapshot.period)


def as_credit_sees_it(*, line: AdjustmentLine) -> AdjustmentLine:
    """Return an adjustment with what it takes off single lines for credit: what was invoiced in advance has paid for some."""
    is_settled = line.kind is AdjustmentKind.INVOICED_IN_ADVANCE
    return replace(line, parts=settled_parts(line=line)) if is_settled else line


def amount_to_come(*, invoice: AssembledInvoice, at: datetime) -> Money:
    """Return what the invoice charges for services that have not begun at a moment: a fee from the end of a trial on."""
    coming = (line.amount for line in invoice.bill_lines if line.service_period.start > at)
    return total(coming, invoice.currency)


def _in_contract_order(snapshot: ContractSnapshot, lines: Sequence[RatedLine]) -> tuple[RatedLine, ...]:
    references = [charge.reference for charge in snapshot.charges]
    assert len(set(references)) == len(references), "a reference names one charge of a snapshot"
    assert Counter(line.reference for line in lines) == Counter(references), "every charge is rated exactly once"
    by_reference = {line.reference: line for line in lines}
    return tuple(by_reference[reference] for reference in references)


def _check_complete(snapshot: ContractSnapshot, lines: Sequence[RatedLine]) -> None:
    for charge, line in zip(snapshot.charges, lines, strict=True):
        assert line.currency == snapshot.currency, "one invoice, one currency"
        assert (line.meter, line.price, line.share) == (charge.meter, charge.price, charge.share), (
            "a line rates its own charge"
        )
        assert (line.usage is None) == (charge.meter is None), "metered lines, and only those, have usage"
        assert line.usage is None or line.quantity == line.usage.quantity, "all that was counted is rated"


def check_rated_once(*, charged: Sequence[Charge] | Sequence[RatedLine]) -> None:
    """Raise RatedTwice where two subscriptions charge one meter at the same time."""
    for one, other in combinations((each for each in charged if each.meter is not None), 2):
        if (
            one.meter == other.meter
            and one.subscription != other.subscription
            and one.service_period.overlaps(other.service_period)
        ):
            raise RatedTwice(
                f"{one.reference} and {other.reference} would both charge the usage of meter {one.meter}:"
                " end one of the subscriptions before the other begins",
                field="subscription",
            )


def _content(line: RatedLine) -> dict[str, Any]:
    """Return the line as the digest sees it: without the mark up to which events were known.

    The mark moves with every rollup, also when nothing came in for this customer; the windows'
    digest says whether anything did.
    """
    document = line_document(line=line)
    usage = document["inputs"]["usage"]
    if usage is not None:
        document["inputs"]["usage"] = {name: value for name, value in usage.items() if name != "known_through"}
    return document
