"""Django system checks of the settings: what contradicts itself is said before anything runs."""

from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.core.checks import CheckMessage, Error, Warning, register
from django.utils.module_loading import import_string

from billing_site.kernel.errors import InvalidInput
from billing_site.kernel.money import exponent
from invoicing.core.languages import LANGUAGES
from invoicing.entities.logo_file import read_logo
from invoicing.tax.stripe_questions import PROVIDER as STRIPE_TAX

# They write mail down where it is; nobody gets it.
LOCAL_MAIL = tuple(
    f"django.core.mail.backends.{name}.EmailBackend" for name in ("console", "filebased", "locmem", "dummy")
)
LOOPBACK = ("127.0.0.1", "localhost", "::1")
SECRET_KEY_LENGTH_MIN = 40
STRIPE_TAX_ANSWER_DAYS_MAX = 31


@register()
def check_settings(**kwargs: Any) -> list[CheckMessage]:
    """Check what our own settings say, and whether they fit together."""
    return [*_stripe(), *_addresses(), *_jobs(), *_billing(), *_tax(), *_money(), *_mail(), *_secrets()]


def _stripe() -> Iterator[CheckMessage]:
    key = settings.STRIPE_SECRET_KEY
    if not key.startswith(("sk_test_", "rk_test_", "sk_live_", "rk_live_")):
        yield Error(
            "STRIPE_SECRET_KEY is not a secret key of Stripe's.",
            hint="It begins with sk_test_, sk_live_, rk_test_ or rk_live_. A publishable key (pk_) cannot do it.",
            id="billing.E001",
        )
    if not settings.STRIPE_WEBHOOK_SECRET:
        yield Warning(
            "STRIPE_WEBHOOK_SECRET is not set: every webhook is refused, so that no payment is noticed before the daily look.",
            hint="Make an endpoint for PUBLIC_URL/webhooks/stripe at Stripe and set its signing secret (whsec_...).",
            id="billing.W002",
        )
    if settings.STRIPE_LIVE_MODE and settings.DEBUG:
        yield Error("A live key of Stripe's together with DEBUG.", hint="Real money: unset DEBUG.", id="billing.E003")
    if settings.STRIPE_LIVE_MODE and not settings.PUBLIC_URL.startswith("https://"):
        yield Warning(
            "A live key of Stripe's, but PUBLIC_URL is not https: sessions and webhooks travel in the open.",
            hint="Set PUBLIC_URL to the https address under which customers reach this.",
            id="billing.W004",
        )


def _billing() -> Iterator[CheckMessage]:
    if settings.BILLING_AUTO_ISSUE and settings.BILLING_RUNS_NEED_APPROVAL:
        yield Error(
            "BILLING_AUTO_ISSUE together with BILLING_RUNS_NEED_APPROVAL: nothing is issued by itself that needs a signature.",
            hint="Unset one of them.",
            id="billing.E015",
        )


def _tax() -> Iterator[CheckMessage]:
    try:
        import_string(settings.TAX_PROVIDER)
    except ImportError:
        yield Error(
            f"TAX_PROVIDER {settings.TAX_PROVIDER!r} cannot be imported: no invoice can be taxed.",
            hint="Name our own table, invoicing.tax.provider.TaxTable, or Stripe Tax, invoicing.tax.stripe_tax.StripeTax.",
            id="billing.E020",
        )
    if settings.TAX_PROVIDER == STRIPE_TAX and settings.STRIPE_IS_SANDBOX:
        yield Warning(
            "TAX_PROVIDER names Stripe Tax without a key of Stripe's: the sandbox plays it, with made-up rates of a few places.",
            hint="Set STRIPE_SECRET_KEY before real invoices are issued, or unset TAX_PROVIDER.",
            id="billing.W021",
        )
    if not 0 <= settings.STRIPE_TAX_ANSWER_DAYS <= STRIPE_TAX_ANSWER_DAYS_MAX:
        yield Error(
            "STRIPE_TAX_ANSWER_DAYS is no number of days within a month: old rates would be charged, or none.",
            hint=f"Write a number from 0 to {STRIPE_TAX_ANSWER_DAYS_MAX}.",
            id="billing.E022",
        )


def _addresses() -> Iterator[CheckMessage]:
    public = urlsplit(settings.PUBLIC_URL)
    if public.scheme not in ("http", "https") or not public.hostname or settings.PUBLIC_URL.endswith("/"):
        yield Error(
            f"PUBLIC_URL {settings.PUBLIC_URL!r} is not the beginning of an address.",
            hint="Write scheme and host without a slash at the end, such as https://billing.example.com.",
            id="billing.E005",
        )
    host, _, port = settings.SANDBOX_BIND.rpartition(":")
    if settings.STRIPE_IS_SANDBOX and (host.strip("[]") not in LOOPBACK or not port.isdecimal()):
        yield Error(
            f"SANDBOX_BIND {settings.SANDBOX_BIND!r} is not an address on loopback.",
            hint="The sandbox is for this machine only: 127.0.0.1:12111.",
            id="billing.E006",
        )
    if settings.DEBUG and public.hostname not in LOOPBACK:
        yield Warning(
            f"DEBUG is on while PUBLIC_URL names {public.hostname}: errors show settings to everybody.",
            hint="Unset DEBUG.",
            id="billing.W007",
        )


def _jobs() -> Iterator[CheckMessage]:
    cluster = settings.Q_CLUSTER
    # The retry clock starts when a job is handed out, and a job may wait behind others in the worker's own queue.
    longest = cluster["timeout"] * (cluster["queue_limit"] / cluster["workers"] + 1)
    if cluster["workers"] < 1:
        yield Error("JOB_WORKERS must be at least 1.", id="billing.E008")
    elif cluster["retry"] <= longest:
        yield Error(
            f"JOB_RETRY_SECONDS ({cluster['retry']}) is too short for JOB_TIMEOUT_SECONDS ({cluster['timeout']}):"
            " a job that is still running would be started a second time.",
            hint=f"Set JOB_RETRY_SECONDS above {longest:.0f}.",
            id="billing.E009",
        )


def _money() -> Iterator[CheckMessage]:
    for currency in (settings.DEFAULT_CURRENCY, *settings.CURRENCIES):
        try:
            exponent(currency)
        except KeyError:
            yield Error(f"{currency!r} is not a currency.", hint="Write an ISO 4217 code: EUR.", id="billing.E010")
    if settings.DEFAULT_CURRENCY not in settings.CURRENCIES:
        yield Error(f"DEFAULT_CURRENCY {settings.DEFAULT_CURRENCY} is not one of CURRENCIES.", id="billing.E011")
    if settings.DOCUMENT_LANGUAGE not in LANGUAGES:
        yield Error(
            f"DOCUMENT_LANGUAGE {settings.DOCUMENT_LANGUAGE!r} is not a language that documents are printed in.",
            hint=f"Write one of {', '.join(LANGUAGES)}.",
            id="billing.E017",
        )
    if settings.DOCUMENT_RETENTION_DAYS < 1:
        yield Error(
            "DOCUMENT_RETENTION_DAYS is not a number of days: documents would be forgotten as soon as they are printed.",
            hint="Write how many days they are to be kept: 4018 are eleven years.",
            id="billing.E018",
        )
    if settings.SELLER_LOGO:
        try:
            read_logo(path=settings.SELLER_LOGO)
        except InvalidInput as problem:
            yield Error(f"SELLER_LOGO {problem}.", hint="Name a PNG or JPEG file, or none.", id="billing.E019")
    if settings.CREDIT_NOTE_NUMBER_PREFIX == settings.INVOICE_NUMBER_PREFIX:
        yield Error(
            "Credit notes and invoices have the same prefix: each kind of document has a series of its own.",
            hint="Set CREDIT_NOTE_NUMBER_PREFIX to something else, such as CN.",
            id="billing.E015",
        )
    if not 1 <= settings.FISCAL_YEAR_FIRST_MONTH <= 12:
        yield Error("FISCAL_YEAR_FIRST_MONTH is not a month.", hint="Write a number from 1 to 12.", id="billing.E014")
    if settings.RERATING_SAMPLE < 0 or settings.RERATING_LARGE_AMOUNT <= 0:
        yield Error(
            "RERATING_SAMPLE or RERATING_LARGE_AMOUNT is negative, or every line counts as large.",
            hint="Write a number of lines, and an amount above zero.",
            id="billing.E015",
        )


def _mail() -> Iterator[CheckMessage]:
    if settings.STRIPE_LIVE_MODE and settings.EMAIL_BACKEND in LOCAL_MAIL:
        yield Warning(
            "A live key of Stripe's, but mail goes nowhere: customers are chased, and no notice reaches them.",
            hint="Set EMAIL_BACKEND to django.core.mail.backends.smtp.EmailBackend, or to that of your mail provider.",
            id="billing.W023",
        )
    if settings.MAIL_WEBHOOK_SECRET and not all(settings.MAIL_WEBHOOK_SECRET.partition(":")):
        yield Error(
            "MAIL_WEBHOOK_SECRET is not user:password: the mail provider's webhooks would be refused.",
            hint="Write both, with a colon between them, and give the provider https://user:password@.../webhooks/mail/...",
            id="billing.E024",
        )
    if settings.NOTICE_LINK_DAYS < 1:
        yield Error(
            "NOTICE_LINK_DAYS is not a number of days: no link in a notice would open anything.",
            hint="Write for how many days they open the portal: 30.",
            id="billing.E025",
        )


def _secrets() -> Iterator[CheckMessage]:
    if len(settings.SECRET_KEY) < SECRET_KEY_LENGTH_MIN:
        yield Warning(
            f"SECRET_KEY has fewer than {SECRET_KEY_LENGTH_MIN} characters; it signs sessions, portal links and jobs.",
            hint="Unset it to let the data folder keep a good one, or set 50 random characters.",
            id="billing.W013",
        )
