"""A wrong matrix is refused at its field over the API and in the admin, in the same words, and nothing of it is saved."""

from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from invoicing.catalog.draft import draft_next_version
from invoicing.catalog.models import Plan, PlanVersion, Price, PriceCell
from invoicing.catalog.operations import load_catalog
from metering.models import Meter
from tests.billing_site.api.caller import Caller
from tests.factories import JULY

pytestmark = pytest.mark.django_db

METERS = [
    {"key": "gb", "event_type": "gb", "dimensions": ["region", "class"]},
    {"key": "level", "event_type": "level", "aggregation": "max", "dimensions": ["region", "class"]},
]
RIGHT: dict[str, Any] = {
    "key": "gb",
    "name": "Traffic",
    "meter": "gb",
    "currency": "USD",
    "model": "matrix",
    "dimensions": ["region", "class"],
    "cells": [{"values": ["eu", "hot"], "unit_amount": "0.05"}, {"values": ["eu", None], "unit_amount": "0.01"}],
    "default_unit_amount": "0.09",
}
# what is wrong, where the price object tells it, where the form does, words of the sentence
CASES: dict[str, tuple[dict[str, Any], str, str, str]] = {
    "a dimension that the meter lacks": (
        {"dimensions": ["region", "colour"]},
        "dimensions[1]",
        "second_dimension",
        "'colour' is no dimension of meter gb, which has region, class",
    ),
    "a meter whose parts do not add up": (
        {"meter": "level"},
        "dimensions",
        "first_dimension",
        "needs a meter whose parts add up (sum, count): level is one of max",
    ),
    "no dimensions": (
        {"dimensions": []},
        "dimensions",
        "first_dimension",
        "is missing: a matrix price needs dimensions",
    ),
    "a dimension twice": (
        {"dimensions": ["region", "region"]},
        "dimensions",
        "first_dimension",
        "names a dimension twice",
    ),
    "no cells": ({"cells": []}, "cells", "cells", "is missing: a matrix price needs dimensions and cells"),
    "a cell twice": (
        {"cells": [RIGHT["cells"][0], RIGHT["cells"][0]]},
        "cells[1].values",
        "cells[1].first_value",
        "are those of cells[0]: a cell stands once",
    ),
    "a negative amount": (
        {"cells": [{"values": ["eu", "hot"], "unit_amount": "-1"}]},
        "cells[0].unit_amount",
        "cells[0].unit_amount",
        "must not be negative",
    ),
    "thirteen decimals": (
        {"cells": [{"values": ["eu", "hot"], "unit_amount": "0.0000000000001"}]},
        "cells[0].unit_amount",
        "cells[0].unit_amount",
        "at most 12 digits after the point",
    ),
    "a negative default": (
        {"default_unit_amount": "-1"},
        "default_unit_amount",
        "default_unit_amount",
        "not be negative",
    ),
    "free units": ({"free_units": "5"}, "free_units", "free_units", "does not belong to a matrix price"),
}


@pytest.fixture
def draft() -> Price:
    """The price of a draft, right so far."""
    plan = {"key": "pro", "product": "platform", "prices": [RIGHT]}
    document = {"meters": METERS, "products": [{"key": "platform"}], "plans": [plan]}
    load_catalog(document=document, at=JULY, actor="test", reason="set up")
    return draft_next_version(plan_id=Plan.objects.get().pk, actor="test", reason="set up").prices.get()


def posted(price: Price, document: dict[str, Any]) -> dict[str, Any]:
    """What the form sends for a matrix as a catalog file would say it, in place of the cells that are there."""
    fields = {
        "plan_version": price.plan_version_id,
        "meter": Meter.objects.get(key=document["meter"]).pk,
        "position": "0",
        "free_units": "0",
        "tiers-TOTAL_FORMS": "0",
        "tiers-INITIAL_FORMS": "0",
        "reason": "set up",
        "cells-TOTAL_FORMS": len(document["cells"]),
        "cells-INITIAL_FORMS": "0",
    }
    fields |= {name: value for name, value in document.items() if name not in ("meter", "dimensions", "cells")}
    for name, value in zip(("first_dimension", "second_dimension"), document["dimensions"], strict=False):
        fields[name] = value
    for place, cell in enumerate(document["cells"]):
        row = {"position": place, "unit_amount": cell["unit_amount"]}
        row |= dict(zip(("first_value", "second_value"), [value or "" for value in cell["values"]], strict=False))
        fields |= {f"cells-{place}-{name}": str(value) for name, value in row.items()}
    return fields


@pytest.mark.parametrize("case", CASES)
def test_the_api_and_the_form_of_a_draft_tell_it_alike(case: str, draft: Price, admin_client: Client) -> None:
    changes, member, field, words = CASES[case]
    draft.cells.all().delete()
    plan = {"key": "wrong", "product": {"key": "new"}, "prices": [RIGHT | changes]}

    answer = Caller().post("/api/v1/plans", plan)
    page = admin_client.post(reverse("admin:invoicing_price_change", args=[draft.pk]), posted(draft, RIGHT | changes))

    told = {error["field"]: error["message"] for error in answer.json()["errors"]}
    assert list(told) == [f"prices[0].{member}"]
    assert words in told[f"prices[0].{member}"]
    assert page.status_code == 200
    shown = dict(page.context["adminform"].form.errors)
    formset = page.context["inline_admin_formsets"][1].formset
    if formset.non_form_errors():
        shown["cells"] = formset.non_form_errors()
    for place, errors in enumerate(formset.errors):
        shown |= {f"cells[{place}].{name}": messages for name, messages in errors.items()}
    assert list(shown) == [field]
    assert words in " ".join(shown[field])
    assert (PlanVersion.objects.count(), draft.cells.count()) == (2, 0)


def test_a_matrix_that_is_right_is_saved_from_the_form_as_it_was_written(draft: Price, admin_client: Client) -> None:
    draft.cells.all().delete()

    answer = admin_client.post(reverse("admin:invoicing_price_change", args=[draft.pk]), posted(draft, RIGHT))

    assert answer.status_code == 302
    cells = PriceCell.objects.filter(price=draft).order_by("position").values_list("first_value", "second_value")
    assert list(cells) == [("eu", "hot"), ("eu", None)]
