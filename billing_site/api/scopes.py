"""What an API key may be allowed to do: one list, by exact name."""

RESOURCES = {
    "customers": "customers and their terms",
    "access": "whether a customer may be served now",
    "spend": "budgets and limits, what is spent, and what was noticed about it",
    "subscriptions": "which plan is in force for whom",
    "plans": "the catalog: plans, versions and prices",
    "coupons": "what codes take off bills",
    "discounts": "coupons that customers have redeemed",
    "credits": "credit grants and what is left of them",
    "legal_entities": "who sells: what documents say of each, and what their numbers begin with",
    "taxes": "tax settings, rates and exemptions, and where customers are for tax",
    "meters": "what is counted and how",
    "events": "usage events",
    "usage": "what the meters counted",
    "prices": "what a price makes of a quantity",
    "invoices": "invoices, previews, explanations and PDFs",
    "credit_notes": "credit notes, what they give back, and refunds",
    "write_offs": "what is given up of invoices, and what of that is recovered",
    "disputes": "card payments that banks question; write accepts a loss, and lets the customer be served again",
    "bank_statements": "statements of our banks, and what their lines are; write imports them",
    "dunning": "failed payments that services report; write lets dunning take them up",
    "billing_runs": "billing runs that are looked at before they are issued, and what is held before issue",
    "approvals": "deeds that take two people: write decides what others ask for",
    "months": "closed months: checklists, certificates and packages; write closes them and asks that one is opened again",
    "reports": "what the books say: balances, receivables, statements, deferred and recurring revenue",
}
SCOPES = tuple(f"{resource}:{verb}" for resource in RESOURCES for verb in ("read", "write"))
