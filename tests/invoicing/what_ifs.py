"""What the tests of what-ifs share: billed months, a draft with other prices, and the answer in words."""

from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from invoicing.catalog.draft import draft_next_version
from invoicing.catalog.models import PlanVersion
from invoicing.catalog.queries import published_version
from invoicing.invoices.models import Invoice
from invoicing.what_ifs.models import WhatIf
from invoicing.workflows.run_billing import issue_billing
from invoicing.workflows.what_if import ask_what_if, card_of_version, cards_of_catalog
from tests.factories import JULY, SEPTEMBER, a_customer, a_plan, a_subscription, use

ASKED_AT = SEPTEMBER + timedelta(days=12)


def billed(*, as_of: datetime = SEPTEMBER + timedelta(days=1)) -> list[Invoice]:
    """Issue everything that has ended."""
    report = issue_billing(as_of=as_of, at=as_of)
    assert not report.failures, report.failures
    return report.invoices


def three_customers() -> list[Invoice]:
    """July and August of three customers on USD 29 and USD 0.01 an action: one used nothing, one 1,000, one 10,000 actions."""
    a_plan("pro")
    for key, quantity in (("cust_idle", ""), ("cust_some", "1000"), ("cust_much", "10000")):
        a_subscription(a_customer(key, name=key.removeprefix("cust_").capitalize()))
        if quantity:
            use(key, quantity, at=JULY + timedelta(days=3))
    return billed()


def a_draft(*, plan: str = "pro", fee: str = "20", per_action: str = "0.02") -> PlanVersion:
    """A draft of the plan's next version with another fee and another price of an action."""
    draft = draft_next_version(plan_id=published_version(plan_key=plan).plan_id, actor="test", reason="try")
    draft.prices.filter(key="base").update(unit_amount=fee)
    draft.prices.filter(key="actions").update(unit_amount=per_action)
    return draft


def in_place(*prices: dict[str, Any], plan: str = "pro", **members: Any) -> list[dict[str, Any]]:
    """A price list of a plan that stands in a file only."""
    return cards_of_catalog(
        document={
            "plans": [
                {"key": plan, "name": plan.capitalize(), "product": "platform", "prices": list(prices), **members}
            ]
        }
    )


def ask(*versions: PlanVersion, cards: list[dict[str, Any]] | None = None, months: int = 2) -> WhatIf:
    """The answer for these versions, or cards, in place of what was agreed."""
    return ask_what_if(
        cards=[*(card_of_version(version=version) for version in versions), *(cards or [])],
        months=months,
        at=ASKED_AT,
        actor="fiona",
    )


def before_and_after(answer: WhatIf) -> dict[str, tuple[str, str]]:
    """What each customer's invoices were and would have been, together; or the problem of one of them."""
    sums: dict[str, list[Decimal]] = {}
    for row in answer.rows.select_related("customer").order_by("id"):
        assert row.problem == "" and row.after is not None, row.problem
        both = sums.setdefault(row.customer.key, [Decimal(0), Decimal(0)])
        both[0] += row.before.amount
        both[1] += row.after.amount
    return {key: (f"{before:.2f}", f"{after:.2f}") for key, (before, after) in sums.items()}


def problems(answer: WhatIf) -> list[str]:
    """Why invoices cannot be told, in their order."""
    return [row.problem for row in answer.rows.order_by("invoice_id") if row.problem]
