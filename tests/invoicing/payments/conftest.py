"""A sandbox over real HTTP, and its webhooks caught before they reach us."""

import pytest

from tests.billing_site.sandbox.running import listening, running_sandbox


@pytest.fixture
def listener(settings):
    with listening(settings) as listener:
        yield listener


@pytest.fixture
def sandbox(transactional_db, settings, monkeypatch, listener):
    with running_sandbox(settings, monkeypatch) as client:
        yield client
