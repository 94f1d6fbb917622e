"""The admin of contract and money, one file a slice; Django finds it by this module."""

from invoicing.admin import (
    anomalies,
    backfills,
    billing_runs,
    budgets,
    catalog,
    coupons,
    customers,
    invoices,
    late_usage,
    ledger,
    payments,
    plan_migrations,
    prices,
    subscriptions,
    usage_events,
    what_ifs,
)

__all__ = [
    "anomalies",
    "backfills",
    "billing_runs",
    "budgets",
    "catalog",
    "coupons",
    "customers",
    "invoices",
    "late_usage",
    "ledger",
    "payments",
    "plan_migrations",
    "prices",
    "subscriptions",
    "usage_events",
    "what_ifs",
]
