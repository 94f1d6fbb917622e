"""Whoever of the house is asked about a case hears of it by e-mail."""

from datetime import datetime

from django.conf import settings
from django.contrib.auth import get_user_model
from django.core.exceptions import ValidationError
from django.core.mail import EmailMessage
from django.core.validators import validate_email
from django.urls import reverse

from dunning.cases.arrears import debts_of, owed
from dunning.core.case_life import LIVE
from dunning.handover.models import Escalation
from invoicing.invoices.printed_text import money_text


def addresses_of(*, owner: str) -> list[str]:
    """Return where somebody is reached: staff by their name of account, everybody of a group, an e-mail address as it is, else ALERT_EMAIL; perhaps nowhere."""
    people = get_user_model().objects.filter(is_active=True, is_staff=True).exclude(email="")
    for found in (people.filter(username=owner), people.filter(groups__name=owner)):
        if addresses := sorted(set(found.values_list("email", flat=True))):
            return addresses
    return [owner] if _is_address(owner) else list(settings.ALERT_EMAIL)


def tell_owner(*, escalation_id: int, at: datetime) -> str:
    """Mail who is asked about a case what is late and until when; returns the outcome in words.

    It is sent by a job, at least once; raises what the mail server does, so that the job is tried again. Whoever is not asked any more is told nothing.
    """
    asked = Escalation.objects.select_related("case__customer").get(pk=escalation_id)
    case, customer = asked.case, asked.case.customer
    if asked.ended_at is not None or case.state not in LIVE:
        return "nobody is told: somebody else is asked, or the case is closed"
    to = addresses_of(owner=asked.owner)
    if not to:
        return f"nobody is told: {asked.owner} has no address, and ALERT_EMAIL names nobody"
    late = owed(debts_of(customers=[customer.pk], at=at).get(customer.pk, []), currency=customer.currency)
    page = settings.PUBLIC_URL.rstrip("/") + reverse("admin:dunning_dunningcase_change", args=[case.pk])
    who = " ".join(f"{customer.name} ({customer.key})".split())
    EmailMessage(
        subject=f"You are asked about what {who} owes, until {asked.until}",
        body=_lines(
            f"{asked.owner} is asked to do something about it until the end of {asked.until}, where the customer is.",
            f"Late: {money_text(money=late)}. The case is {case.get_state_display().lower()}.",
            f"Asked by {asked.actor}: {asked.reason}",
            page,
        ),
        to=to,
    ).send()
    return f"told {len(to)}"


def _lines(*told: str) -> str:
    """Return each on a line of its own: names and reasons may hold anything."""
    return "\n\n".join((*(" ".join(one.split()) for one in told), ""))


def _is_address(text: str) -> bool:
    try:
        validate_email(text)
    except ValidationError:
        return False
    return True
