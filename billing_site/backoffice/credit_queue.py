"""The customers whose credit should be topped up and is not."""

from billing_site.backoffice.work_queue import WorkQueue, admin_list, amounts_by_currency
from invoicing.top_ups.queries import rules_that_need_somebody
from invoicing.top_ups.rules import RuleState


def top_up_queue() -> WorkQueue:
    """Return the customers whose credit should be topped up and is not: not paid, no more this month, declared void."""
    rows = list(
        rules_that_need_somebody()
        .order_by("state_since", "id")
        .values("customer__name", "currency", "state", "state_since", "amount")
    )
    kinds = [str(RuleState(state).label).lower() for state in sorted({row["state"] for row in rows})]
    return WorkQueue(
        name="Credit that is not topped up",
        link=admin_list("topuprule", "needs=somebody"),
        empty="A customer whose automatic top-up was not paid, or may not be made this month, stands here.",
        count=len(rows),
        oldest=min((row["state_since"] for row in rows), default=None),
        money=amounts_by_currency(rows),
        why="; ".join(kinds),
    )
