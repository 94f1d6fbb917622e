"""What keeps a draft from being published, in the words of its page: by the names of its prices, not by places in a file."""

import re

from billing_site.display.changes import readable
from billing_site.kernel.clock import now
from billing_site.kernel.errors import BillingError
from invoicing.catalog.effective import effective_mistakes
from invoicing.catalog.models import PlanVersion
from invoicing.catalog.operations import check_draft

PLACE = re.compile(r"(\w+)(?:\[(\d+)\])?")


def problems_of_draft(*, version: PlanVersion) -> list[str]:
    """Return one sentence for each thing that is wrong; nothing where the draft can be published."""
    try:
        check_draft(version=version)
    except BillingError as problem:
        names = list(version.prices.order_by("position", "id").values_list("name", flat=True))
        return [_sentence(error.field, error.message, names) for error in problem.field_errors] or [problem.message]
    except AssertionError as problem:
        return [str(problem) or "a price is not complete"]
    return [_sentence(error.field, error.message, []) for error in effective_mistakes(version=version, at=now())]


def _sentence(field: str, message: str, names: list[str]) -> str:
    """Write `plans[0].prices[1].tiers[0].up_to` as Searches, tier 1, up to."""
    said: list[str] = []
    for member, place in PLACE.findall(field.removeprefix("plans[0].")):
        if member == "prices" and place and int(place) < len(names):
            said.append(names[int(place)])
        elif place:
            said.append(f"{member.replace('_', ' ').removesuffix('s')} {int(place) + 1}")
        else:
            said.append(member.replace("_", " "))
    where = ", ".join(said)
    told = readable(message)
    return f"{where[:1].upper()}{where[1:]}: {told}" if where else told
