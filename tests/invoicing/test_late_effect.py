"""The money effect of late usage equals, to the cent, the difference of two previews of the invoice's period."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.db import transaction
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from moneyed import Money

from billing_site.kernel.money import total
from billing_site.kernel.period import Period, as_utc
from invoicing.invoices.models import Invoice, UsageCorrection
from invoicing.workflows.compute_invoice import compute_as_known
from invoicing.workflows.late_changes import late_changes
from invoicing.workflows.run_billing import issue_billing
from invoicing.workflows.settle_late_usage import settle_late_changes
from invoicing.workflows.verify import verify
from metering.correcting import cancel_event
from metering.rollup import roll_up
from tests.factories import (
    AUGUST,
    JULY,
    a_customer,
    a_plan,
    a_subscription,
    nothing_is_checked_before_issue,
    settle_constraints,
    usd_fee,
    use,
)
from tests.invoicing.late import BILLED_AT, a_billed_july, usage_line, use_late

pytestmark = [pytest.mark.django_db, pytest.mark.requirement("S0-061")]


@pytest.fixture(autouse=True)
def nothing_is_held(db: None) -> None:
    """Whatever is drawn here, months without usage among it, is issued."""
    nothing_is_checked_before_issue()


TIERS = [
    {"up_to": "10", "unit_amount": "1.115", "flat_amount": "3"},
    {"up_to": "150.5", "unit_amount": "0.335"},
    {"up_to": None, "unit_amount": "0.0125", "flat_amount": "1"},
]
RATES = [{"up_to": "100", "rate": "0.029"}, {"up_to": None, "rate": "0.0115", "flat_amount": "0.30"}]
MODELS: dict[str, dict[str, Any]] = {
    "per unit": {"model": "per_unit", "unit_amount": "0.3333"},
    "per unit with free units": {"model": "per_unit", "unit_amount": "0.07", "free_units": "120"},
    "graduated": {"model": "graduated", "tiers": TIERS},
    "volume": {"model": "volume", "tiers": TIERS},
    "package": {"model": "package", "package_size": "40", "package_amount": "7.77"},
    "percentage": {"model": "percentage", "rate": "0.0295"},
    "graduated percentage": {"model": "graduated_percentage", "tiers": RATES},
    "with a minimum": {"model": "per_unit", "unit_amount": "0.1", "minimum_amount": "15"},
    "with a maximum": {"model": "per_unit", "unit_amount": "0.1", "maximum_amount": "12"},
}


def priced(model: str) -> dict[str, Any]:
    return {"key": "actions", "name": "Actions", "meter": "actions", "currency": "USD", **MODELS[model]}


def cancel(key: str) -> None:
    """Somebody says that an event did not happen."""
    cancel_event(customer_id="cust_acme", idempotency_key=key, actor="fiona", reason="sent by mistake")


@contextmanager
def nothing_kept() -> Iterator[None]:
    """Every example begins with an empty house."""
    with transaction.atomic():
        yield
        settle_constraints()
        transaction.set_rollback(True)


def preview_total(invoice: Invoice, *, known_through: int) -> Money:
    """The total of the invoice's period as known through a number."""
    period = Period(as_utc(invoice.period_start), as_utc(invoice.period_end))
    computed = compute_as_known(customer=invoice.customer, period=period, known_through=known_through)
    return computed.assembled.total


@pytest.mark.parametrize("model", MODELS)
def test_the_effect_is_the_difference_of_two_previews(model: str) -> None:
    july = a_billed_july(usd_fee("29"), priced(model), used=["90", "7.25"])
    known_then = usage_line(july).known_through

    for quantity in ("3", "60", "0.5", "500"):
        use_late(quantity)
        [change] = late_changes(at=BILLED_AT).changes
        then = preview_total(july, known_through=change.before.known_through)
        now = preview_total(july, known_through=roll_up().rolled_up_to)
        assert change.effect == now - then
        settle_late_changes(at=BILLED_AT)

    effects = [correction.effect for correction in UsageCorrection.objects.all()]
    first = preview_total(july, known_through=known_then)
    assert first == july.total
    assert total(effects, "USD") == preview_total(july, known_through=roll_up().rolled_up_to) - first
    assert verify() == []


@pytest.mark.parametrize("model", MODELS)
def test_a_cancelled_event_has_a_negative_effect_that_is_the_difference_too(model: str) -> None:
    a_plan("pro", usd_fee("29"), priced(model))
    a_subscription(a_customer())
    use("cust_acme", "300", at=JULY, key="too-much")
    use("cust_acme", "7", at=JULY)
    [july] = issue_billing(as_of=AUGUST, at=BILLED_AT).invoices

    cancel("too-much")

    [change] = late_changes(at=BILLED_AT).changes
    now = preview_total(july, known_through=roll_up().rolled_up_to)
    assert (change.events_added, change.events_cancelled, change.quantity) == (0, 1, -300)
    assert change.effect == now - july.total
    if model == "volume":
        assert change.effect.amount > 0, "all units are charged at the dearer tier then"
    else:
        assert change.effect.amount < 0 or model == "with a minimum"


@given(
    batches=st.lists(
        st.lists(
            st.tuples(st.integers(0, 744 * 60 - 1), st.decimals("0", "400", places=3), st.booleans()),
            min_size=1,
            max_size=4,
        ),
        min_size=1,
        max_size=3,
    ),
    used=st.lists(st.decimals("0.001", "300", places=3), max_size=3),
    model=st.sampled_from(sorted(MODELS)),
    policy=st.sampled_from(["next_invoice", "absorb"]),
    materiality=st.sampled_from(["0", "2.50"]),
)
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_comes_late_the_chain_ends_at_what_would_be_invoiced_today(
    batches: list[list[tuple[int, Decimal, bool]]],
    used: list[Decimal],
    model: str,
    policy: str,
    materiality: str,
) -> None:
    with nothing_kept():
        july = a_billed_july(
            usd_fee("29"),
            priced(model),
            used=[str(quantity) for quantity in used],
            late_usage_policy=policy,
            late_materiality=Decimal(materiality),
        )
        line = usage_line(july)
        for number, batch in enumerate(batches):
            for place, (minute, quantity, cancelled) in enumerate(batch):
                key = f"late-{number}-{place}"
                use("cust_acme", str(quantity), at=JULY + timedelta(minutes=minute), key=key)
                if cancelled:
                    cancel(key)
            before = preview_total(july, known_through=_known(line))
            shown = late_changes(at=BILLED_AT)
            now = preview_total(july, known_through=roll_up().rolled_up_to)
            assert total((change.effect for change in shown.changes), "USD") == now - before
            settle_late_changes(at=BILLED_AT)
        effects = [correction.effect for correction in line.corrections.all()]
        assert total((july.total, *effects), "USD") == preview_total(july, known_through=roll_up().rolled_up_to)
        given_up = total((c.effect for c in line.corrections.filter(rule="immaterial")), "USD")
        assert abs(given_up.amount) < max(Decimal(materiality), Decimal("0.01"))
        assert verify() == []


def _known(line: Any) -> int:
    last = line.corrections.order_by("-known_through").first()
    return int(last.known_through if last else line.known_through)
