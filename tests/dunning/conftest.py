"""A sandbox of Stripe for dunning of cards."""

from tests.invoicing.payments.conftest import listener, sandbox

__all__ = ["listener", "sandbox"]
