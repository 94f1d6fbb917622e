"""What the tests of late usage share: a month that is invoiced, and what comes after it."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from invoicing.invoices.models import Invoice, InvoiceLine, UsageCorrection
from invoicing.workflows.late_changes import LateChange, late_changes
from invoicing.workflows.run_billing import issue_billing
from tests.factories import AUGUST, JULY, a_customer, a_plan, a_subscription, usd_fee, usd_per_action, use

BILLED_AT = AUGUST + timedelta(hours=7)


def a_billed_july(*prices: dict[str, Any], used: Sequence[str] = ("100",), **terms: Any) -> Invoice:
    """The issued July invoice of a customer with these terms: a fee of USD 29 and USD 0.01 an action unless said otherwise."""
    a_plan("pro", *(prices or (usd_fee("29"), usd_per_action("0.01"))))
    a_subscription(a_customer(**terms))
    for hour, quantity in enumerate(used):
        use("cust_acme", quantity, at=JULY + timedelta(days=2, hours=hour))
    [invoice] = issue_billing(as_of=AUGUST, at=BILLED_AT).invoices
    return invoice


def use_late(quantity: str, *, hours: int = 50, key: str = "") -> None:
    """An event of July that arrives now."""
    use("cust_acme", quantity, at=JULY + timedelta(hours=hours), key=key)


def the_change() -> LateChange:
    """The only late change there is."""
    [change] = late_changes(at=BILLED_AT).changes
    return change


def corrections() -> list[tuple[str, str, str]]:
    """Effect, decision and rule of every correction, in order."""
    return [
        (f"{one.effect.amount:.2f}", str(one.decision), str(one.rule)) for one in UsageCorrection.objects.order_by("id")
    ]


def lines_of(invoice: Invoice) -> list[tuple[str, str]]:
    """Description and amount of each line."""
    return [(line.description, f"{line.amount.amount:.2f}") for line in invoice.lines.order_by("position")]


def usage_line(invoice: Invoice) -> InvoiceLine:
    """The line that charges for usage."""
    return invoice.lines.exclude(meter_key="").get(kind="charge")
