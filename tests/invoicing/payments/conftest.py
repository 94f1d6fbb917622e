"""A sandbox over real HTTP, and its webhooks caught before they reach us."""

import pytest

from billing_site.kernel import clock
from billing_site.sandbox.stripe import tax_calculations
from invoicing.tax.stripe_questions import PROVIDER
from tests.billing_site.sandbox.running import listening, running_sandbox
from tests.factories import a_plan
from tests.invoicing.late import BILLED_AT
from tests.invoicing.test_taxes import germany


@pytest.fixture
def listener(settings):
    with listening(settings) as listener:
        yield listener


@pytest.fixture
def sandbox(transactional_db, settings, monkeypatch, listener):
    with running_sandbox(settings, monkeypatch) as client:
        yield client


@pytest.fixture
def stripe_decides(settings, monkeypatch, sandbox):
    """The company is German, and Stripe decides; here and at Stripe it is the morning after July."""
    settings.TAX_PROVIDER = PROVIDER
    settings.STRIPE_TAX_LEGAL_ENTITY = "main"
    monkeypatch.setattr(tax_calculations, "timestamp", lambda: int(BILLED_AT.timestamp()))
    monkeypatch.setattr(clock, "now", lambda: BILLED_AT)
    germany()
    a_plan()
