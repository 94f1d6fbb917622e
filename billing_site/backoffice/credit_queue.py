"""What waits about credit: customers whose credit should be topped up and is not, and refunds of credit notes to be transferred."""

from billing_site.backoffice.work_queue import WorkQueue, admin_list, amounts_by_currency, first_named
from invoicing.payments.queries import refunds_to_transfer
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


def refund_queue() -> WorkQueue:
    """Return the refunds that somebody has to transfer: their invoices were not paid through Stripe, or Stripe has refused them."""
    rows = list(refunds_to_transfer().values("note__customer__name", "currency", "planned_at", "amount", "last_error"))
    refused = sum(bool(row["last_error"]) for row in rows)
    why = first_named(sorted({row["note__customer__name"] for row in rows}))
    return WorkQueue(
        name="Refunds to transfer",
        link=admin_list("creditnote", "refund=by_hand"),
        empty="A refund of a credit note that Stripe cannot pay back stands here until its transfer is written down.",
        count=len(rows),
        oldest=min((row["planned_at"] for row in rows), default=None),
        money=amounts_by_currency(rows),
        why=f"{why}{f'; {refused} refused by Stripe' if refused else ''}",
    )
