"""What providers publish about their price models is what the product and the second opinion charge."""

from collections import Counter
from datetime import timedelta
from decimal import Decimal
from fractions import Fraction
from itertools import pairwise
from typing import Any

import pytest

from billing_site.kernel.money import exponent
from invoicing.catalog.operations import load_catalog
from invoicing.catalog.queries import published_version
from invoicing.subscriptions.amend import change_plan
from invoicing.subscriptions.cancel import end_subscription
from invoicing.subscriptions.redeem import redeem_coupon
from invoicing.workflows.preview_invoice import preview_invoice
from invoicing.workflows.price_preview import preview_price
from metering.ingest import accept_events
from tests.factories import a_customer, a_subscription, an_event
from tests.invoicing.published.agreed import commitment_cases, credit_cases
from tests.invoicing.published.cases import (
    APRIL,
    MARCH,
    BillCase,
    ChangeCase,
    PeriodCase,
    PriceCase,
    advance_cases,
    bill_cases,
    change_cases,
    midnight,
    period_cases,
    price_cases,
)
from tests.invoicing.reference.adjusting import bounded
from tests.invoicing.reference.billing import FOR_EVER, Account, Agreement, Stretch, an_agreement, lines_of
from tests.invoicing.reference.discounts import spread, taken_off
from tests.invoicing.reference.pricing import amount_by_values, amount_of, to_minor_units

PRICES = price_cases()
BILLS = bill_cases()
PERIODS = period_cases()
CHANGES = change_cases()
EVERYTHING = (*PRICES, *BILLS, *PERIODS, *CHANGES, *advance_cases(), *commitment_cases(), *credit_cases())
# What events come to together is not what they come to in one.
OF_SUMS = [case for case in PRICES if not case.events and not case.groups]


def product_says(case: PriceCase, quantity: str, *, rounded: bool) -> Fraction:
    """What the product's price preview answers."""
    divided = {"events": [{"quantity": size, "count": 1} for size in case.events], "groups": list(case.groups)}
    given = {name: parts for name, parts in divided.items() if parts}
    answered = preview_price(definition=case.price, quantity=quantity, currency=case.currency, **given)
    return Fraction(answered["amount" if rounded else "unrounded_amount"])


def reference_says(case: PriceCase, quantity: str, *, rounded: bool) -> Fraction:
    """What the second opinion charges."""
    if case.groups:
        names = case.price["dimensions"]
        valued = [
            (Fraction(group["quantity"]), dict(zip(names, group["values"] or [None] * len(names), strict=True)))
            for group in case.groups
        ]
        amount = amount_by_values(case.price, valued)
    else:
        amount = amount_of(case.price, [Fraction(size) for size in case.events or (quantity,)])
    return to_minor_units(amount, exponent(case.currency)) if rounded else amount


@pytest.mark.parametrize("case", PRICES, ids=lambda case: case.name)
def test_the_published_amount_is_charged_or_the_difference_is_by_design(case: PriceCase) -> None:
    shown_decimals = -Decimal(case.published).as_tuple().exponent
    rounded = shown_decimals <= exponent(case.currency)
    total = str(Decimal(case.after or 0) + Decimal(case.quantity))

    for says in (product_says, reference_says):
        before = says(case, case.after, rounded=rounded) if case.after else 0
        assert says(case, total, rounded=rounded) - before == Fraction(case.ours)
    assert (case.ours != case.published) == bool(case.why), "a difference, and only a difference, has its reason"


@pytest.mark.parametrize("case", OF_SUMS, ids=lambda case: case.name)
def test_usage_in_many_pieces_costs_what_it_costs_in_one(case: PriceCase) -> None:
    whole = Fraction(case.quantity)
    pieces = [whole / 7] * 3 + [Fraction(0), whole / 7 * 4]

    assert amount_of(case.price, pieces) == amount_of(case.price, [whole])


@pytest.mark.django_db
@pytest.mark.parametrize("case", BILLS, ids=lambda case: case.name)
def test_a_published_bill_is_billed_line_by_line_from_its_events(case: BillCase) -> None:
    load_catalog(document=catalog_of(case), at=MARCH, actor="test", reason="as published")
    customer = a_customer(currency=case.currency)
    a_subscription(customer, plan="plan", started_at=MARCH)
    for coupon in case.coupons:
        redeem_coupon(code=coupon["code"], customer=customer, subscription=None, at=MARCH, actor="test", reason="test")
    accept_events(
        events=[
            an_event("cust_acme", str(part), at=MARCH + timedelta(days=day), event_type=line.key)
            for line in case.lines
            for day, part in ((3, Decimal(line.quantity) / 4), (20, Decimal(line.quantity) * 3 / 4))
        ]
    )

    computed = preview_invoice(customer_key="cust_acme", as_of=APRIL - timedelta(seconds=1)).assembled

    billed = {line.reference.rpartition("/")[2]: Fraction(line.amount.amount) for line in computed.lines}
    adjusted = sum((Fraction(line.amount.amount) for line in computed.adjustments), Fraction(0))
    bounds = [{"currency": case.currency, **case.spend}]
    decimals = exponent(case.currency)
    told = [amount for _, amount in bounded(bounds, sum(billed.values()), currency=case.currency, decimals=decimals)]
    told.append(-discounted(case, billed, minimum=sum(told)))
    second = {line.key: amount_of(line.price, [Fraction(line.quantity)]) for line in case.lines}
    assert billed == {line.key: Fraction(line.ours) for line in case.lines}
    assert billed == {key: to_minor_units(amount, exponent(case.currency)) for key, amount in second.items()}
    assert adjusted == sum(told) == Fraction(case.adjusted)
    assert Fraction(computed.total.amount) == Fraction(case.ours)
    published = sum(Fraction(line.published) for line in case.lines) + Fraction(case.adjusted)
    assert published == Fraction(case.published), "the page adds up"
    assert (case.ours != case.published) == bool(case.why), "a difference, and only a difference, has its reason"


@pytest.mark.django_db
@pytest.mark.parametrize("case", PERIODS, ids=lambda case: case.name)
def test_a_fee_in_a_part_of_a_period_comes_to_what_is_published(case: PeriodCase) -> None:
    plan = a_fee("plan", case.fee, case.currency, case.cadence)
    load_catalog(document={"products": [{"key": "product"}], "plans": [plan]}, at=MARCH, actor="test", reason="test")
    start, end, on = midnight(case.start), midnight(case.end), midnight(case.on)
    subscription = a_subscription(
        a_customer(currency=case.currency), plan="plan", started_at=start, anchor=case.anchor, key="sub"
    )
    if end is not None:
        end_subscription(subscription=subscription, ended_at=end, actor="test", reason="test")

    [line] = preview_invoice(customer_key="cust_acme", as_of=on).assembled.lines

    account = Account("cust_acme", case.currency, "UTC", (an_agreement("sub", plan, start, end, anchor=case.anchor),))
    told = lines_of(account, {}, [], until=on + timedelta(days=400))
    second = next(other for other in told if other.service_start <= on < other.service_end)
    assert Fraction(line.amount.amount) == second.amount == Fraction(case.ours)
    assert line.service_period.start == second.service_start == midnight(case.since)
    assert line.service_period.end == second.service_end
    assert case.until is None or second.service_end == midnight(case.until)
    assert (Fraction(case.ours) != Fraction(case.published)) == bool(case.why)


@pytest.mark.django_db
@pytest.mark.parametrize("case", CHANGES, ids=lambda case: case.name)
def test_a_plan_that_changes_within_a_period_comes_to_what_is_published(case: ChangeCase) -> None:
    plans = {midnight(day): a_fee(f"plan_{day}", fee, case.currency) for day, fee in case.fees.items()}
    first, *later = plans
    catalog = {"products": [{"key": "product"}], "plans": list(plans.values())}
    load_catalog(document=catalog, at=MARCH, actor="test", reason="test")
    subscription = a_subscription(
        a_customer(currency=case.currency), plan=plans[first]["key"], started_at=first, anchor="anniversary", key="sub"
    )
    for at in later:
        version = published_version(plan_key=plans[at]["key"])
        change_plan(subscription=subscription, plan_version=version, at=at, actor="test", reason="test")

    lines = preview_invoice(customer_key="cust_acme", as_of=first).assembled.lines

    amounts = [Fraction(line.amount.amount) for line in lines]
    stretches = [Stretch(at, until, plans[at]) for at, until in pairwise([*plans, FOR_EVER])]
    account = Account("cust_acme", case.currency, "UTC", (Agreement("sub", "anniversary", tuple(stretches)),))
    paid = Fraction(next(iter(case.fees.values())))
    ours = {"unused": paid - amounts[0], "charged": amounts[-1], "additional": sum(amounts) - paid}
    assert amounts == [line.amount for line in lines_of(account, {}, [], until=first + timedelta(days=31))]
    assert {name: ours[name] for name in case.ours} == {name: Fraction(text) for name, text in case.ours.items()}
    assert (case.ours != case.published) == bool(case.why)


def discounted(case: BillCase, billed: dict[str, Fraction], *, minimum: Fraction) -> Fraction:
    """What the coupons of a bill take off in the words of the second opinion."""
    left = dict(billed) | {"": minimum}
    for coupon in case.coupons:
        named = coupon.get("prices")
        about = [key for key in left if not named or key in named]
        decimals = exponent(case.currency)
        amount = taken_off(coupon, [left[key] for key in about], decimals=decimals)
        for key, part in zip(about, spread(amount, [left[key] for key in about], decimals=decimals), strict=True):
            left[key] -= part
    return sum(billed.values()) + minimum - sum(left.values())


def a_fee(key: str, amount: str, currency: str, cadence: str = "month") -> dict[str, Any]:
    """A plan that costs this much a period."""
    fee = {"key": "fee", "meter": None, "currency": currency, "model": "flat", "unit_amount": amount}
    return {"key": key, "product": "product", "cadence": cadence, "prices": [fee]}


def catalog_of(case: BillCase) -> dict[str, object]:
    """A plan with the prices of a bill, each on a meter of its own."""
    metered = [line for line in case.lines if line.price["model"] != "flat"]
    spend = {"spend": [{"currency": case.currency, **case.spend}]} if case.spend else {}
    prices = [
        {"key": line.key, "meter": line.key if line in metered else None, "currency": case.currency, **line.price}
        for line in case.lines
    ]
    return {
        "meters": [{"key": line.key, "event_type": line.key} for line in metered],
        "products": [{"key": "product"}],
        "coupons": list(case.coupons),
        "plans": [{"key": "plan", "product": "product", "prices": prices} | spend],
    }


def test_at_least_240_published_examples_of_forty_providers_are_charged() -> None:
    published = [case for case in EVERYTHING if not getattr(case, "is_derived", False)]

    assert len(published) >= 240
    assert len({case.source.provider for case in published}) >= 40


def test_every_example_names_the_page_it_stands_on_and_none_stands_there_twice() -> None:
    figures = [
        (case.source.url, str(case.price), case.after, case.quantity, case.events, str(case.groups)) for case in PRICES
    ]
    names = [case.name for case in EVERYTHING]

    assert [figure for figure, times in Counter(figures).items() if times > 1] == []
    assert [name for name, times in Counter(names).items() if times > 1] == []
    assert all(case.source.url.startswith(("https://", "http://")) and case.source.title for case in EVERYTHING)
