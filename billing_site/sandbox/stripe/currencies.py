"""How Stripe writes amounts (docs.stripe.com/currencies); told here a second time on purpose.

The gateway has its own table: a twin that shared it could not notice a mistake in it.
"""

from billing_site.sandbox.stripe.errors import invalid

NO_DECIMALS = frozenset("bif clp djf gnf jpy kmf krw mga pyg rwf vnd vuv xaf xof xpf".split())  # noqa: SIM905
MULTIPLES = {"isk": 100, "ugx": 100, "bhd": 10, "jod": 10, "kwd": 10, "omr": 10, "tnd": 10}


def check_amount(amount: int, currency: str) -> None:
    """Refuse an amount that Stripe would not charge in this currency."""
    multiple = MULTIPLES.get(currency, 1)
    if amount % multiple:
        message = f"Amounts in {currency} must be divisible by {multiple}: {amount}."
        raise invalid(message, param="amount", code="parameter_invalid_integer")


def dispute_fee_of(currency: str) -> int:
    """Return Stripe's fee for a dispute: 15.00 of the currency, here 1500 where it has no decimals."""
    return 15_000 if MULTIPLES.get(currency) == 10 else 1_500


def fee_of(amount: int, currency: str) -> int:
    """Return Stripe's fee: 2.9 % plus 0.30 of the currency, halves up, in whole minor units."""
    fixed = 0 if currency in NO_DECIMALS else 300 if MULTIPLES.get(currency) == 10 else 30
    return (amount * 29 + 500) // 1000 + fixed
