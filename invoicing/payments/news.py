"""Stripe's events that an installation listens to, each with what it does here: `docs/stripe-rail.md` and tests are made of this table.

Whatever else Stripe sends is kept with the outcome "ignored", and is harmless. What counts is always the object's present state, never what an event says.
"""

INVOICE_STATE = "the invoice is fetched, and what is true there is done here: paid, refused, or nothing"
NOTHING_BY_ITSELF = "the invoice is fetched; nothing is done unless it was paid or refused"
DISPUTE = "the dispute is fetched, booked and mirrored; its customer is frozen while it is open, staff are mailed"
SUBSCRIPTION = (
    "compared with the subscription here that stands for it; what contradicts is mailed to staff and stands in a queue"
)
MIRRORED = "what is there now is kept in the mirror of Stripe's objects"
PAYOUT = "the payout is fetched with what it is made of, booked, and looked for on the bank statement"
EVENTS = {
    "charge.dispute.closed": DISPUTE,
    "charge.dispute.created": DISPUTE,
    "charge.dispute.funds_reinstated": DISPUTE,
    "charge.dispute.funds_withdrawn": DISPUTE,
    "charge.dispute.updated": DISPUTE,
    "charge.refunded": MIRRORED,
    "checkout.session.completed": "the card that the customer has left is charged from now on",
    "customer.subscription.created": SUBSCRIPTION,
    "customer.subscription.deleted": SUBSCRIPTION,
    "customer.subscription.updated": SUBSCRIPTION,
    "customer.updated": MIRRORED,
    "invoice.finalized": NOTHING_BY_ITSELF,
    "invoice.marked_uncollectible": "waits for people, unless it was written off here",
    "invoice.paid": INVOICE_STATE,
    "invoice.payment_action_required": INVOICE_STATE,
    "invoice.payment_failed": INVOICE_STATE,
    "invoice.payment_succeeded": INVOICE_STATE,
    "invoice.voided": "waits for people, unless it was declared void or given up here",
    "payment_intent.requires_action": "its invoice is fetched: the customer is sent the page on which to confirm",
    "payment_method.attached": MIRRORED,
    "payment_method.automatically_updated": MIRRORED,
    "payment_method.detached": MIRRORED,
    "payment_method.updated": MIRRORED,
    "payout.canceled": PAYOUT,
    "payout.created": PAYOUT,
    "payout.failed": PAYOUT,
    "payout.paid": PAYOUT,
    "payout.reconciliation_completed": PAYOUT,
    "payout.updated": PAYOUT,
    "v1.billing.meter.error_report_triggered": "the report is fetched; each usage event that it names becomes a repair case",
}
# Stripe sends these to a destination of its own, and lists them elsewhere: the daily comparison of meters finds what they would have told.
THIN = ("v1.billing.meter.error_report_triggered",)
