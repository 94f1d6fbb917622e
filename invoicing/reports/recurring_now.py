"""The recurring revenue of many customers at one moment: one statement, whose cost does not depend on how long their contracts are."""

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from fractions import Fraction
from typing import Any

from django.db import connection
from moneyed import Money

from billing_site.kernel.money import round_money
from invoicing.core.contract import Cadence, PriceModel
from invoicing.core.phases import PhaseKind
from invoicing.core.recurring import PERIODS_A_MONTH

# What `reports/fees.py` says of all times, at one moment: a subscription's own price comes before its customer's, that before the plan's.
FEES = """
    WITH held AS (
        SELECT subscription.id, subscription.customer_id, customer.currency, customer.id AS payer_id
          FROM invoicing_subscription subscription JOIN invoicing_customer customer ON customer.id = subscription.customer_id
         WHERE customer.id = ANY(%(customers)s)
         UNION ALL
        SELECT subscription.id, subscription.customer_id, customer.currency, customer.billed_to_id
          FROM invoicing_subscription subscription JOIN invoicing_customer customer ON customer.id = subscription.customer_id
         WHERE customer.billed_to_id = ANY(%(customers)s)
    )
    SELECT held.payer_id, version.cadence,
           sum(phase.quantity * CASE WHEN own.definition IS NULL THEN price.unit_amount ELSE (own.definition->>'unit_amount')::numeric END)
      FROM held
      JOIN invoicing_subscriptionphase phase ON phase.subscription_id = held.id
      JOIN invoicing_planversion version ON version.id = phase.plan_version_id
      JOIN invoicing_price price ON price.plan_version_id = version.id AND price.currency = held.currency
      LEFT JOIN LATERAL (
            SELECT agreed.definition FROM invoicing_priceoverride agreed
             WHERE agreed.customer_id = held.customer_id AND (agreed.subscription_id IS NULL OR agreed.subscription_id = held.id)
               AND agreed.plan_id = version.plan_id AND agreed.price_key = price.key
               AND agreed.starts_at <= %(moment)s AND (agreed.ends_at IS NULL OR agreed.ends_at > %(moment)s)
             ORDER BY agreed.subscription_id NULLS LAST LIMIT 1) own ON TRUE
     WHERE phase.kind = %(active)s AND phase.starts_at <= %(moment)s AND (phase.ends_at IS NULL OR phase.ends_at > %(moment)s)
       AND price.model = %(flat)s AND (own.definition IS NULL OR own.definition->>'model' = %(flat)s)
     GROUP BY 1, 2
"""


def recurring_at(*, customers: Mapping[int, str], moment: datetime) -> dict[int, Money]:
    """Return the recurring revenue of customers, whose currencies are given by their numbers, as the reports on it have it; none for those without any.

    To that of a customer belongs that of the accounts that are billed to it. One query.
    """
    asked: dict[str, Any] = {
        "customers": list(customers),
        "moment": moment,
        "active": PhaseKind.ACTIVE.value,
        "flat": PriceModel.FLAT.value,
    }
    found: dict[int, Fraction] = {}
    with connection.cursor() as cursor:
        cursor.execute(FEES, asked)
        for customer_id, cadence, fees in cursor.fetchall():
            monthly = Fraction(Decimal(fees)) * PERIODS_A_MONTH[Cadence(cadence)]
            found[customer_id] = found.get(customer_id, Fraction(0)) + monthly
    return {number: round_money(monthly, customers[number]) for number, monthly in found.items()}
