"""What the demo remembers: its API key in a file of the data folder, its completion as an entry of the admin's log."""

import json
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path

from django.conf import settings
from django.contrib.admin.models import ADDITION, LogEntry
from django.contrib.auth.models import Group, User
from django.contrib.contenttypes.models import ContentType

from billing_site.api.models import ApiKey
from billing_site.api.operations import create_api_key, digest_of_key
from billing_site.backoffice.responsibilities import Role
from billing_site.backoffice.roles import APPROVERS, FINANCE, ensure_roles
from billing_site.demo.company import CUSTOMERS
from invoicing.customers.models import Customer
from invoicing.invoices.models import Invoice

LOGIN = "admin"
# A member of Finance: may do what the group may, and nothing else.
FINANCE_LOGIN = "fiona"
# The second person, of Finance and Approvers.
APPROVER_LOGIN = "anton"
# Of Legal: approves the words of notices, and nothing of Finance.
LEGAL_LOGIN = "lena"
PASSWORD = "demo"  # noqa: S105 - made by the demo only, on loopback, and printed
KEY_NAME = "Demo company"
KEY_SCOPES = (
    "events:write",
    "events:read",
    "usage:read",
    "prices:read",
    "customers:read",
    "subscriptions:read",
    "plans:read",
    "meters:read",
    "invoices:read",
    "invoices:write",
)
COMPLETED = "Demo company loaded"


@dataclass(frozen=True)
class Completion:
    """What was there when the demo was complete."""

    events: int
    duplicates: int
    invoices: int


def demo_created_at() -> datetime | None:
    """Return the moment of the demo's first creation, which its whole calendar hangs on; None before it."""
    first = Customer.objects.filter(key=CUSTOMERS[0].key).first()
    return first.created_at if first else None


def ensure_login() -> User:
    """Return the demo's administrator, made on the first run."""
    user = User.objects.filter(username=LOGIN).first()
    return user or User.objects.create_superuser(username=LOGIN, password=PASSWORD)


def ensure_staff_logins() -> None:
    """Make the demo's member of Finance, the one who approves what Finance asks for, and the one of Legal, on the first run."""
    ensure_roles()
    for login, groups in (
        (FINANCE_LOGIN, (FINANCE,)),
        (APPROVER_LOGIN, (FINANCE, APPROVERS)),
        (LEGAL_LOGIN, (Role.LEGAL.value,)),
    ):
        user = User.objects.filter(username=login).first()
        user = user or User.objects.create_user(username=login, password=PASSWORD, is_staff=True)
        user.groups.add(*Group.objects.filter(name__in=groups))


def ensure_api_key() -> str:
    """Return the demo's API key: the one in the file while it is valid, otherwise a new one."""
    path = _file()
    if path.exists():
        key = str(json.loads(path.read_text()).get("api_key", ""))
        if ApiKey.objects.filter(digest=digest_of_key(key=key), revoked_at__isnull=True).exists():
            return key
    key = create_api_key(name=KEY_NAME, scopes=KEY_SCOPES)
    path.touch(mode=0o600)
    path.write_text(json.dumps({"api_key": key}) + "\n")
    return key


def completion() -> Completion | None:
    """Return what was noted when the demo was complete, or None where it is not (or something is missing since)."""
    entry = LogEntry.objects.filter(object_repr=COMPLETED).order_by("-id").first()
    if entry is None:
        return None
    noted = Completion(**json.loads(entry.change_message))
    complete = Customer.objects.filter(key__in=[customer.key for customer in CUSTOMERS]).count() == len(CUSTOMERS)
    return noted if complete and Invoice.objects.exclude(status="draft").count() >= noted.invoices else None


def note_completion(*, user: User, noted: Completion) -> None:
    """Write into the admin's log that the demo is complete."""
    LogEntry.objects.create(
        user=user,
        content_type=ContentType.objects.get_for_model(Customer),
        object_repr=COMPLETED,
        action_flag=ADDITION,
        change_message=json.dumps(asdict(noted)),
    )


def _file() -> Path:
    return Path(settings.DATA_DIR) / "demo.json"
