"""`manage.py sandbox_dispute`: a bank disputes a charge in the sandbox, or decides; its news is delivered by the sandbox that runs."""

import json
from typing import Any
from urllib.parse import urlencode

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from billing_site.sandbox.http import Request, answer
from billing_site.sandbox.models import SandboxObject


class Command(BaseCommand):
    """Opens and decides disputes."""

    help = "Let a bank dispute a charge in the sandbox (by its id, or the number of the invoice that it paid), or decide a dispute."
    requires_system_checks = []

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the options."""
        parser.add_argument("subject", help="INV-2026-00042 or ch_... to dispute it, dp_... with --decide")
        parser.add_argument("--amount", help="in minor units; the whole charge without it")
        parser.add_argument("--reason", help="in Stripe's word; fraudulent without it")
        parser.add_argument("--inquiry", action="store_true", help="the bank asks first, and takes no money")
        parser.add_argument(
            "--decide", metavar="STATUS", help="won, lost; of an inquiry needs_response, warning_closed"
        )

    def handle(self, *args: Any, subject: str, decide: str | None, **options: Any) -> None:
        """Do it as a request to the sandbox would."""
        if decide:
            dispute = self._asked(f"/_sandbox/disputes/{subject}/decide", {"status": decide})
        else:
            wanted = {name: options[name] for name in ("amount", "reason") if options[name]}
            wanted |= {"inquiry": "true"} if options["inquiry"] else {}
            dispute = self._asked("/_sandbox/disputes", {"charge": self._charge(subject), **wanted})
        self.stdout.write(f"{dispute['id']} {dispute['status']}")

    def _charge(self, subject: str) -> str:
        """Return the charge that is named, or that paid the invoice with this number."""
        if subject.startswith("ch_"):
            return subject
        paid = {"description": f"Payment for Invoice {subject}", "paid": True}
        charge = SandboxObject.objects.filter(kind="charge", body__contains=paid).first()
        if charge is None:
            raise CommandError(f"No charge in the sandbox paid {subject}.")
        return charge.id

    def _asked(self, path: str, params: dict[str, str]) -> dict[str, Any]:
        headers = {"authorization": f"Bearer {settings.SANDBOX_SECRET_KEY}"}
        given = answer(Request("POST", path, "", headers, urlencode(params).encode()))
        body: dict[str, Any] = json.loads(given.encoded())
        if given.status != 200:
            raise CommandError(body["error"]["message"])
        return body
