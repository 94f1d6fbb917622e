"""What can go wrong while the demo is loaded."""

from billing_site.kernel.errors import BillingError


class DemoFailed(BillingError):
    """The demo could not go on; the message says at what and what to look at."""

    code = "demo_failed"
