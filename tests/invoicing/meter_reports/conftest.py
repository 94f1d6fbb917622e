"""A sandbox over real HTTP, and its webhooks caught before they reach us."""

from tests.invoicing.payments.conftest import listener, sandbox

__all__ = ["listener", "sandbox"]
