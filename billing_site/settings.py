"""All settings: defaults that run from a fresh clone, overridden by the environment (`.env.example` lists every name)."""

import secrets
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import django_stubs_ext
import environ

from billing_site.database.settings import application_user, database_settings
from metering.archiving.location import archive_storage

# Lets forms and admins name their model: ModelForm[Customer].
django_stubs_ext.monkeypatch()

BASE_DIR = Path(__file__).resolve().parent.parent
env = environ.Env()
env.read_env(BASE_DIR / ".env")

DATA_DIR = Path(env.str("BILLING_DATA_DIR", default=str(BASE_DIR / ".data")))


def _secret_key() -> str:
    """Return SECRET_KEY from the environment, or the one kept in the data folder (made on first use)."""
    given = env.str("SECRET_KEY", default="")
    if given:
        return given
    DATA_DIR.mkdir(parents=True, exist_ok=True)
    path = DATA_DIR / "secret_key"
    try:
        with path.open("x") as file:
            path.chmod(0o600)
            file.write(secrets.token_urlsafe(50))
    except FileExistsError:
        pass
    return path.read_text().strip()


SECRET_KEY = _secret_key()
DEBUG = env.bool("DEBUG", default=False)
ALLOWED_HOSTS = env.list("ALLOWED_HOSTS", default=["127.0.0.1", "localhost", "[::1]", "testserver"])
CSRF_TRUSTED_ORIGINS = env.list("CSRF_TRUSTED_ORIGINS", default=[])
# The address under which customers reach us: in e-mails, portal links, webhooks of the sandbox.
PUBLIC_URL = env.str("PUBLIC_URL", default="http://127.0.0.1:8000")

INSTALLED_APPS = [
    "unfold.apps.BasicAppConfig",  # its default one would replace our admin site by its own
    "unfold.contrib.filters",
    "unfold.contrib.simple_history",
    "billing_site.backoffice.apps.BackofficeAdminConfig",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django.contrib.humanize",
    "django.contrib.postgres",
    "simple_history",
    "billing_site.database.triggers.TriggersConfig",
    "djmoney",
    "djstripe",
    "django_q",
    "anymail",
    "rest_framework",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "billing_site",
    "billing_site.api",
    "billing_site.portal",
    "billing_site.sandbox",
    "metering",
    "invoicing",
    "dunning",
    "marketplaces",
    # Last: it dresses the admins that the apps above have registered.
    "billing_site.backoffice.apps.BackofficeConfig",
]

MIDDLEWARE = [
    "billing_site.kernel.requests.RequestIdMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "billing_site.api.middleware.MachineFaceMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "simple_history.middleware.HistoryRequestMiddleware",
    "billing_site.api.middleware.IdempotencyMiddleware",
]

ROOT_URLCONF = "billing_site.urls"
WSGI_APPLICATION = "billing_site.wsgi.application"

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    }
]

# DATABASE_URL names any PostgreSQL from 15 on; without it the project runs its own in the data folder.
# It is the owner's: it migrates. Web and worker connect as a role that owns no table: embedded of itself, at another server
# where DATABASE_APPLICATION_URL names its login. `serve` tells each of its programs by DATABASE_ROLE which of the two it is.
DATABASE_URL = env.str("DATABASE_URL", default="")
DATABASE_APPLICATION_URL = env.str("DATABASE_APPLICATION_URL", default="")
DATABASE_ROLE = env.str("DATABASE_ROLE", default="owner")
DATABASES = {
    "default": database_settings(
        database_url=DATABASE_URL, application_url=DATABASE_APPLICATION_URL, role=DATABASE_ROLE, data_dir=DATA_DIR
    )
}
DATABASE_APPLICATION_USER = application_user(database_url=DATABASE_URL, application_url=DATABASE_APPLICATION_URL)

# The archive of usage events: a folder, or s3://bucket/prefix.
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"},
    "archive": archive_storage(url=env.str("ARCHIVE_URL", default=""), data_dir=DATA_DIR),
}
# How long raw events stay in the database, and how long an invoice can be disputed.
RETENTION_MONTHS = env.int("RETENTION_MONTHS", default=14)
DISPUTE_DAYS = env.int("DISPUTE_DAYS", default=120)
# Whether a line of a bank statement that names one invoice, and is exactly what is open of it, settles it by itself.
BANK_SETTLES_EXACT = env.bool("BANK_SETTLES_EXACT", default=True)
# What the weekly job does with months that may go: "dry-run" looks, "apply" purges. People confirm.
RETENTION_PURGE = env.str("RETENTION_PURGE", default="dry-run")
# Who is asked whether events of a time are still needed.
RETENTION_HOLDS = ["invoicing.workflows.retention_holds.unfinished_billing"]
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in ("UserAttributeSimilarityValidator", "MinimumLengthValidator", "CommonPasswordValidator")
]
LOGIN_URL = "admin:login"
LOGIN_REDIRECT_URL = "admin:index"
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = PUBLIC_URL.startswith("https://")
SECURE_REFERRER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"

LANGUAGE_CODE = "en"
TIME_ZONE = "UTC"
USE_I18N = True
USE_TZ = True
FORMAT_MODULE_PATH = ["billing_site.display.formats"]

STATIC_URL = "static/"
STATICFILES_DIRS = [BASE_DIR / "billing_site" / "static"]
WHITENOISE_USE_FINDERS = True

# Money
CURRENCIES = ("EUR", "USD", "GBP", "CHF", "SEK", "JPY", "KWD", "CAD", "AUD", "INR")
DEFAULT_CURRENCY = env.str("DEFAULT_CURRENCY", default="EUR")

# The first legal entity that sells, as it is made at the first start; from then on the back office says it.
SELLER = {
    "name": env.str("SELLER_NAME", default="Example Inference GmbH"),
    "address": env.str("SELLER_ADDRESS", multiline=True, default="Musterstraße 1\n10115 Berlin\nGermany"),
    "email": env.str("SELLER_EMAIL", default="billing@example.com"),
    "tax_id": env.str("SELLER_TAX_ID", default=""),
    "bank": env.str("SELLER_BANK", multiline=True, default=""),
}
# The picture that is printed above its name: a PNG or JPEG file of at most 64 KiB.
SELLER_LOGO = env.str("SELLER_LOGO", default="")
# What the numbers of its documents begin with.
INVOICE_NUMBER_PREFIX = env.str("INVOICE_NUMBER_PREFIX", default="INV")
CREDIT_NOTE_NUMBER_PREFIX = env.str("CREDIT_NOTE_NUMBER_PREFIX", default="CN")
# The language of documents of customers who have none of their own.
DOCUMENT_LANGUAGE = env.str("DOCUMENT_LANGUAGE", default="en")
# For so many days printed documents are kept as they were printed: ten years and the rest of the first.
DOCUMENT_RETENTION_DAYS = env.int("DOCUMENT_RETENTION_DAYS", default=4018)
# Whether the hourly billing run issues what it drafts; otherwise people look at the drafts first.
BILLING_AUTO_ISSUE = env.bool("BILLING_AUTO_ISSUE", default=False)
# Each night so many issued lines are counted and rated again, and all whose amount is at least this, in whatever currency.
RERATING_SAMPLE = env.int("RERATING_SAMPLE", default=1000)
RERATING_LARGE_AMOUNT = env.int("RERATING_LARGE_AMOUNT", default=10_000)
# Whether billing runs are issued only as somebody else has signed them; the hourly run drafts.
BILLING_RUNS_NEED_APPROVAL = env.bool("BILLING_RUNS_NEED_APPROVAL", default=False)
# Whose the account at Stripe is: a legal entity's key. What it holds of other entities' customers stands between the companies in the books.
STRIPE_LEGAL_ENTITY = env.str("STRIPE_LEGAL_ENTITY", default="main")
# Who says by which rates invoices are taxed (invoicing/tax/provider.py): a class that can be imported.
TAX_PROVIDER = env.str("TAX_PROVIDER", default="invoicing.tax.provider.TaxTable")
# With Stripe Tax (invoicing.tax.stripe_tax.StripeTax): whose account it is, the product tax code, and for how many days around it an answer holds.
STRIPE_TAX_LEGAL_ENTITY = env.str("STRIPE_TAX_LEGAL_ENTITY", default=STRIPE_LEGAL_ENTITY)
STRIPE_TAX_CODE = env.str("STRIPE_TAX_CODE", default="")
STRIPE_TAX_ANSWER_DAYS = env.int("STRIPE_TAX_ANSWER_DAYS", default=7)
# A register of VAT ids that speaks the REST interface of VIES; empty: only their syntax is checked.
VAT_ID_CHECK_URL = env.str("VAT_ID_CHECK_URL", default="")

# Exports of the journal: for whom DATEV's batch is, the month in which the fiscal year begins, and Xero's rate without tax.
DATEV_CONSULTANT_NUMBER = env.int("DATEV_CONSULTANT_NUMBER", default=0)
DATEV_CLIENT_NUMBER = env.int("DATEV_CLIENT_NUMBER", default=0)
# Of other legal entities than the first, by their keys: us=20002,ch=20003.
DATEV_CLIENT_NUMBERS = {key: int(number) for key, number in env.dict("DATEV_CLIENT_NUMBERS", default={}).items()}
FISCAL_YEAR_FIRST_MONTH = env.int("FISCAL_YEAR_FIRST_MONTH", default=1)
XERO_TAX_RATE = env.str("XERO_TAX_RATE", default="Tax Exempt")

# Stripe: without a key everything that would go to Stripe goes to our own sandbox on loopback.
SANDBOX_BIND = env.str("SANDBOX_BIND", default="127.0.0.1:12111")
SANDBOX_SECRET_KEY = "sk_test_sandbox000000000000000000"
SANDBOX_WEBHOOK_SECRET = "whsec_sandbox000000000000000000"
SANDBOX_WEBHOOK_URL = env.str("SANDBOX_WEBHOOK_URL", default=f"{PUBLIC_URL}/webhooks/stripe")
# A file to which the sandbox appends each request as a line of JSON: what is sent can be held against Stripe's own types.
SANDBOX_REQUEST_LOG = env.str("SANDBOX_REQUEST_LOG", default="")
STRIPE_SECRET_KEY = env.str("STRIPE_SECRET_KEY", default="") or SANDBOX_SECRET_KEY
STRIPE_IS_SANDBOX = STRIPE_SECRET_KEY == SANDBOX_SECRET_KEY
STRIPE_WEBHOOK_SECRET = env.str("STRIPE_WEBHOOK_SECRET", default="") or (
    SANDBOX_WEBHOOK_SECRET if STRIPE_IS_SANDBOX else ""
)
# Further ones that are accepted: while one is exchanged for another (S2-037), and that of the destination of thin events.
STRIPE_WEBHOOK_SECRETS_BESIDE = env.list("STRIPE_WEBHOOK_SECRETS_BESIDE", default=[])
STRIPE_LIVE_MODE = STRIPE_SECRET_KEY.startswith(("sk_live_", "rk_live_"))
STRIPE_TEST_SECRET_KEY = "" if STRIPE_LIVE_MODE else STRIPE_SECRET_KEY
STRIPE_LIVE_SECRET_KEY = STRIPE_SECRET_KEY if STRIPE_LIVE_MODE else ""
STRIPE_API_HOST = f"http://{SANDBOX_BIND}" if STRIPE_IS_SANDBOX else "https://api.stripe.com"
STRIPE_TIMEOUT_SECONDS = env.int("STRIPE_TIMEOUT_SECONDS", default=20)
# Whether a subscription of somebody who is charged through Stripe begins only once there is a card; otherwise it begins, and is listed where it ends up without one.
STRIPE_CARD_FIRST = env.bool("STRIPE_CARD_FIRST", default=False)
# So many calls Stripe takes in any second, of all our processes together and to one endpoint; 0: no limit, as our sandbox has none
# unless one is ordered there. What an account may is at docs.stripe.com/rate-limits.
STRIPE_CALLS_PER_SECOND = env.int("STRIPE_CALLS_PER_SECOND", default=0 if STRIPE_IS_SANDBOX else 100)
STRIPE_CALLS_PER_SECOND_AND_ENDPOINT = env.int(
    "STRIPE_CALLS_PER_SECOND_AND_ENDPOINT", default=0 if STRIPE_IS_SANDBOX else 25
)
# After so many failed calls in a row, of all processes and within this time, Stripe is called no more until it answers a probe; 0: never.
STRIPE_OUTAGE_AFTER_FAILURES = env.int("STRIPE_OUTAGE_AFTER_FAILURES", default=6)
STRIPE_OUTAGE_WINDOW_SECONDS = env.int("STRIPE_OUTAGE_WINDOW_SECONDS", default=120)
# Invoices of at least so much go to Stripe before all others; currencies that are not named have none.
STRIPE_URGENT_AMOUNTS = {
    currency: Decimal(amount)
    for currency, amount in env.dict(
        "STRIPE_URGENT_AMOUNTS", default={"EUR": "10000", "USD": "10000", "GBP": "10000"}
    ).items()
}
DJSTRIPE_FOREIGN_KEY_TO_FIELD = "id"

# Jobs: the ORM broker on the same database, so that a job queued in a transaction commits or vanishes with it.
# The retry clock starts when a row is handed to the pusher, hence: queue_limit = workers, bulk = 1,
# and retry > timeout * (queue_limit / workers + 1) + a margin.
JOB_WORKERS = env.int("JOB_WORKERS", default=2)
# An accepted event that is in no window after so long is an alarm: the rollup stands still.
ROLLUP_LAG_ALARM_SECONDS = env.int("ROLLUP_LAG_ALARM_SECONDS", default=120)

Q_CLUSTER = {
    "name": "billing",
    "orm": "default",
    "workers": JOB_WORKERS,
    "queue_limit": JOB_WORKERS,
    "bulk": 1,
    "poll": 0.2,
    "timeout": env.int("JOB_TIMEOUT_SECONDS", default=120),
    "retry": env.int("JOB_RETRY_SECONDS", default=270),
    "max_attempts": 20,
    "ack_failures": False,
    "save_limit": 1000,
    "catch_up": False,
    "recycle": 500,
    "label": "Jobs",
    "log_level": env.str("JOB_LOG_LEVEL", default="WARNING"),
}

CACHES = {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}}

# Mail: to the console, as files, over SMTP, or by a mail provider through anymail.
EMAIL_BACKEND = env.str("EMAIL_BACKEND", default="django.core.mail.backends.console.EmailBackend")
EMAIL_FILE_PATH = env.str("EMAIL_FILE_PATH", default=str(DATA_DIR / "mail"))
EMAIL_HOST = env.str("EMAIL_HOST", default="localhost")
EMAIL_PORT = env.int("EMAIL_PORT", default=587)
EMAIL_HOST_USER = env.str("EMAIL_HOST_USER", default="")
EMAIL_HOST_PASSWORD = env.str("EMAIL_HOST_PASSWORD", default="")
EMAIL_USE_TLS = env.bool("EMAIL_USE_TLS", default=True)
# Shorter than a job may take: a mail server that says nothing leaves a notice of which nobody knows whether it was sent.
EMAIL_TIMEOUT = 30
# The address that customers are written from; empty: that of the legal entity that sells to them.
MAIL_FROM = env.str("MAIL_FROM", default="")
# For so many days the link to pay in a notice opens the customer's portal.
NOTICE_LINK_DAYS = env.int("NOTICE_LINK_DAYS", default=30)
# "user:password" by which a mail provider's webhooks at /webhooks/mail/ identify themselves; empty: there are none.
MAIL_WEBHOOK_SECRET = env.str("MAIL_WEBHOOK_SECRET", default="")
# Keys of mail providers, as anymail names them (https://anymail.dev/en/stable/esps/).
ANYMAIL = {
    **env.dict("ANYMAIL", default={}),
    "REQUESTS_TIMEOUT": EMAIL_TIMEOUT,
    **({"WEBHOOK_SECRET": MAIL_WEBHOOK_SECRET} if MAIL_WEBHOOK_SECRET else {}),
}
# Who of the staff is told at once of what cannot wait for the next look at the back office: a disputed payment.
ALERT_EMAIL = env.list("ALERT_EMAIL", default=[])
# Who gets the day's anchor, to keep it where nobody of this house can change it.
ANCHOR_EMAIL = env.list("ANCHOR_EMAIL", default=[])

# Ingest limits (one request)
EVENTS_PER_REQUEST_MAX = 10_000
REQUEST_BYTES_MAX = env.int("REQUEST_BYTES_MAX", default=16 * 1024 * 1024)
DATA_UPLOAD_MAX_MEMORY_SIZE = REQUEST_BYTES_MAX

PORTAL_LINK_MAX_AGE = timedelta(days=env.int("PORTAL_LINK_DAYS", default=7))

# Requests per API key and web process: 1000/s, 60/min, 100/h; empty: no limit.
API_RATE_LIMIT = env.str("API_RATE_LIMIT", default="1000/s")

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": ["billing_site.api.authentication.ApiKeyAuthentication"],
    "DEFAULT_PERMISSION_CLASSES": ["billing_site.api.authentication.HasScope"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_PARSER_CLASSES": ["billing_site.api.parsers.ExactJSONParser"],
    "DEFAULT_PAGINATION_CLASS": "billing_site.api.paging.CursorPaging",
    "DEFAULT_THROTTLE_CLASSES": ["billing_site.api.throttling.KeyRate"],
    "DEFAULT_CONTENT_NEGOTIATION_CLASS": "billing_site.api.negotiation.LenientNegotiation",
    "DEFAULT_METADATA_CLASS": None,
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    "EXCEPTION_HANDLER": "billing_site.api.errors.problem_response",
    "UNAUTHENTICATED_USER": None,
    "COERCE_DECIMAL_TO_STRING": True,
}
SPECTACULAR_SETTINGS = {
    "TITLE": "Billing back office",
    "DESCRIPTION": (BASE_DIR / "billing_site" / "api" / "introduction.md").read_text(),
    "VERSION": "1",
    "SERVE_INCLUDE_SCHEMA": False,
    "SERVE_PERMISSIONS": [],
    "SERVE_AUTHENTICATION": [],
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "REDOC_DIST": "SIDECAR",
    "SWAGGER_UI_SETTINGS": {"deepLinking": True, "persistAuthorization": True, "validatorUrl": None},
    "POSTPROCESSING_HOOKS": [
        "drf_spectacular.hooks.postprocess_schema_enums",
        "billing_site.api.schema.add_common_answers",
    ],
    "COMPONENT_SPLIT_REQUEST": True,
    # Fields named kind that say different things.
    "ENUM_NAME_OVERRIDES": {
        "InvoiceKindEnum": "invoicing.invoices.models.InvoiceKind",
        "SettlementChannelEnum": "invoicing.customers.models.SettlementChannel",
        "InvoiceStatusEnum": "invoicing.invoices.models.InvoiceStatus",
        "TopUpStatusEnum": "invoicing.top_ups.models.TopUpStatus",
        "TopUpRuleStateEnum": "invoicing.top_ups.rules.RuleState",
        "LineKindEnum": "invoicing.invoices.models.LineKind",
        "TaxKindEnum": "invoicing.invoices.models.tax.TAX_KINDS",
        "CreditKindEnum": "invoicing.credits.models.CREDIT_KINDS",
        "DisputeStatusEnum": "invoicing.payments.dispute.STATUS_CHOICES",
        "DisputeMovementKindEnum": "invoicing.payments.dispute.MovementKind",
        "DisputeDecisionKindEnum": "invoicing.payments.dispute.DecisionKind",
        "CreditEntryKindEnum": "invoicing.credits.models.EntryKind",
        "MonthStateEnum": "invoicing.closing.queries.MONTH_STATES",
        "CloseCheckStateEnum": "invoicing.workflows.close_month.CHECK_STATES",
    },
    "SCHEMA_PATH_PREFIX": "/api/v1|/billing",
}

SIMPLE_HISTORY_REVERT_DISABLED = True
# dj-stripe asks for a webhook endpoint of its own; ours is payments/intake.py.
SILENCED_SYSTEM_CHECKS = ["djstripe.W002"]

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "filters": {"request": {"()": "billing_site.kernel.requests.WithRequestId"}},
    "formatters": {"line": {"format": "%(asctime)s %(levelname)s %(name)s [%(request_id)s] %(message)s"}},
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line", "filters": ["request"]}},
    "root": {"handlers": ["stderr"], "level": env.str("LOG_LEVEL", default="WARNING")},
    # An answer 4xx is told to the caller; only our own failures are worth a line.
    "loggers": {"django.request": {"level": "ERROR"}},
}

from billing_site.backoffice.theme import UNFOLD  # noqa: E402, F401
