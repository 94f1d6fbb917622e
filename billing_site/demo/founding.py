"""Sets the demo company up: its catalog, its tax, its customers, their subscriptions; each only once."""

from datetime import datetime
from pathlib import Path

import yaml

from billing_site.demo.agreements import agree_terms
from billing_site.demo.company import AMERICAN, CUSTOMERS, GOOD_CARDS, DemoCustomer
from billing_site.demo.taxes import COUNTRY_OF_ZONE, charge_tax, place_customer
from billing_site.kernel.errors import NotFound
from invoicing.catalog.operations import load_catalog
from invoicing.catalog.queries import published_version
from invoicing.customers.operations import change_customer, create_customer
from invoicing.customers.queries import customer_by_key
from invoicing.entities.operations import create_entity
from invoicing.subscriptions.cancel import end_subscription
from invoicing.subscriptions.start import start_subscription

CATALOG = Path(__file__).parent / "catalog.yaml"
ACTOR = "demo"
REASON = "the demo company"


def found_company(*, first_day: datetime) -> None:
    """Load the catalog, say who sells beside the first company, and how tax is charged; a second time changes nothing."""
    load_catalog(document=yaml.safe_load(CATALOG.read_text()), at=first_day, actor=ACTOR, reason=REASON)
    create_entity(**AMERICAN, actor=ACTOR, reason=REASON)
    charge_tax()


def sign_up(*, number: int, first_day: datetime) -> None:
    """Create the customer of that position in CUSTOMERS, and its subscription."""
    wanted = CUSTOMERS[number]
    try:
        customer = customer_by_key(key=wanted.key)
    except NotFound:
        customer = create_customer(
            key=wanted.key,
            name=wanted.name,
            legal_entity=wanted.seller,
            billed_to=wanted.billed_to,
            email=wanted.email,
            currency=wanted.currency,
            timezone=wanted.timezone,
            address=wanted.address,
            language="de" if COUNTRY_OF_ZONE[wanted.timezone] in ("DE", "AT") else "",
            settlement_channel=wanted.channel,
            net_terms_days=30 if wanted.channel == "manual" else 14,
            payment_method=""
            if wanted.channel == "manual" or wanted.billed_to
            else GOOD_CARDS[number % len(GOOD_CARDS)],
            actor=ACTOR,
            reason=REASON,
        )
    if not wanted.billed_to:
        place_customer(number=number, customer=customer)
    subscription = start_subscription(
        key=f"sub_{wanted.slug}",
        customer=customer,
        plan_version=published_version(plan_key=wanted.plan),
        started_at=wanted.started_at(first_day=first_day),
        anchor=wanted.anchor,
        actor=ACTOR,
        reason=REASON,
    )
    agree_terms(number=number, subscription=subscription)
    ended_at = wanted.ended_at(first_day=first_day)
    if ended_at is not None:
        end_subscription(subscription=subscription, ended_at=ended_at, actor=ACTOR, reason="moved to another provider")


def let_cards_go_bad() -> None:
    """Give the customers who are planned to fail a card that fails."""
    for wanted in CUSTOMERS:
        if wanted.bad_card:
            _change_card(wanted)


def _change_card(wanted: DemoCustomer) -> None:
    change_customer(
        customer=customer_by_key(key=wanted.key),
        changes={"payment_method": wanted.bad_card},
        actor=ACTOR,
        reason="the customer's bank sent a new card",
    )
