"""Every address of the twin: method and path to the function that answers; also those by which a test lets a bank dispute a charge."""

import re
from collections.abc import Callable

from billing_site.sandbox.stripe import (
    account,
    balance_transactions,
    charges,
    checkout_sessions,
    collection,
    customers,
    disputes,
    events,
    invoice_lines,
    invoice_payments,
    invoices,
    meter_events,
    meters,
    payment_intents,
    payment_methods,
    prices,
    refunds,
    setup_intents,
    subscriptions,
    tax_calculations,
    webhook_endpoints,
)
from billing_site.sandbox.stripe.store import Body

Route = Callable[..., Body]

ROUTES: tuple[tuple[str, str, Route], ...] = (
    ("GET", "/v1/account", account.retrieve_own),
    ("GET", "/v1/accounts/{}", account.retrieve_account),
    ("GET", "/v1/balance_transactions", balance_transactions.list_page),
    ("GET", "/v1/balance_transactions/{}", balance_transactions.retrieve),
    ("GET", "/v1/billing/meters", meters.list_page),
    ("POST", "/v1/billing/meters", meters.create),
    ("GET", "/v1/billing/meters/{}", meters.retrieve),
    ("POST", "/v1/billing/meters/{}/deactivate", meters.deactivate),
    ("GET", "/v1/billing/meters/{}/event_summaries", meters.list_summaries),
    ("POST", "/v1/billing/meter_events", meter_events.create),
    ("POST", "/v1/billing/meter_event_adjustments", meter_events.adjust),
    ("GET", "/v2/core/events/{}", meter_events.retrieve_thin),
    ("POST", "/_sandbox/meter_events", meter_events.refuse_on_demand),
    ("GET", "/v1/charges", charges.list_page),
    ("GET", "/v1/charges/{}", charges.retrieve),
    ("GET", "/v1/checkout/sessions", checkout_sessions.list_page),
    ("POST", "/v1/checkout/sessions", checkout_sessions.create),
    ("GET", "/v1/checkout/sessions/{}", checkout_sessions.retrieve),
    ("GET", "/v1/customers", customers.list_page),
    ("POST", "/v1/customers", customers.create),
    ("GET", "/v1/customers/{}", customers.retrieve),
    ("POST", "/v1/customers/{}", customers.update),
    ("GET", "/v1/customers/{}/payment_methods", payment_methods.list_of_customer),
    ("GET", "/v1/disputes", disputes.list_page),
    ("GET", "/v1/disputes/{}", disputes.retrieve),
    ("POST", "/v1/disputes/{}", disputes.update),
    ("POST", "/v1/disputes/{}/close", disputes.close),
    ("POST", "/_sandbox/disputes", disputes.open_on_demand),
    ("POST", "/_sandbox/disputes/{}/decide", disputes.decide_on_demand),
    ("GET", "/v1/events", events.list_page),
    ("GET", "/v1/events/{}", events.retrieve),
    ("GET", "/v1/invoice_payments", invoice_payments.list_page),
    ("GET", "/v1/invoice_payments/{}", invoice_payments.retrieve),
    ("GET", "/v1/invoiceitems", invoice_lines.list_items),
    ("POST", "/v1/invoiceitems", invoice_lines.create_item),
    ("GET", "/v1/invoiceitems/{}", invoice_lines.retrieve_item),
    ("GET", "/v1/invoices", invoices.list_page),
    ("POST", "/v1/invoices", invoices.create),
    ("GET", "/v1/invoices/{}", invoices.retrieve),
    ("POST", "/v1/invoices/{}", invoices.update),
    ("POST", "/v1/invoices/{}/add_lines", invoice_lines.add_lines),
    ("POST", "/v1/invoices/{}/finalize", invoices.finalize),
    ("GET", "/v1/invoices/{}/lines", invoice_lines.list_lines),
    ("POST", "/v1/invoices/{}/mark_uncollectible", invoices.mark_uncollectible),
    ("POST", "/v1/invoices/{}/pay", collection.pay),
    ("POST", "/v1/invoices/{}/send", invoices.send),
    ("POST", "/v1/invoices/{}/void", invoices.void),
    ("GET", "/v1/payment_intents", payment_intents.list_page),
    ("GET", "/v1/payment_intents/{}", payment_intents.retrieve),
    ("GET", "/v1/payment_methods", payment_methods.list_page),
    ("POST", "/v1/payment_methods", payment_methods.create),
    ("GET", "/v1/payment_methods/{}", payment_methods.retrieve),
    ("POST", "/v1/payment_methods/{}/attach", payment_methods.attach),
    ("GET", "/v1/plans/{}", prices.retrieve_plan),
    ("POST", "/v1/prices", prices.create),
    ("GET", "/v1/prices/{}", prices.retrieve),
    ("POST", "/v1/products", prices.create_product),
    ("GET", "/v1/products/{}", prices.retrieve_product),
    ("GET", "/v1/refunds", refunds.list_page),
    ("POST", "/v1/refunds", refunds.create),
    ("GET", "/v1/refunds/{}", refunds.retrieve),
    ("GET", "/v1/setup_intents", setup_intents.list_page),
    ("GET", "/v1/setup_intents/{}", setup_intents.retrieve),
    ("GET", "/v1/subscriptions", subscriptions.list_page),
    ("POST", "/v1/subscriptions", subscriptions.create),
    ("GET", "/v1/subscriptions/{}", subscriptions.retrieve),
    ("DELETE", "/v1/subscriptions/{}", subscriptions.cancel),
    ("POST", "/_sandbox/subscriptions/{}/move", subscriptions.move_on_demand),
    ("POST", "/v1/tax/calculations", tax_calculations.create),
    ("GET", "/v1/tax/calculations/{}", tax_calculations.retrieve),
    ("GET", "/v1/tax/calculations/{}/line_items", tax_calculations.list_lines),
    ("GET", "/v1/webhook_endpoints", webhook_endpoints.list_page),
    ("POST", "/v1/webhook_endpoints", webhook_endpoints.create),
    ("GET", "/v1/webhook_endpoints/{}", webhook_endpoints.retrieve),
)
PATTERNS = tuple((method, re.compile(path.replace("{}", "([A-Za-z0-9_]+)")), route) for method, path, route in ROUTES)


def find_route(method: str, path: str) -> tuple[Route, tuple[str, ...]] | None:
    """Return the function that answers and the ids in the path, or None."""
    for known_method, pattern, route in PATTERNS:
        match = pattern.fullmatch(path)
        if match and method == known_method:
            return route, match.groups()
    return None
