"""What may be asked of the catalog."""

from billing_site.kernel.errors import NotFound
from invoicing.catalog.models import PlanVersion


def published_version(*, plan_key: str, number: int | None = None, field: str = "plan") -> PlanVersion:
    """Return the newest published version of a plan, or the one with this number; raises NotFound."""
    versions = PlanVersion.objects.select_related("plan").filter(plan__key=plan_key, published_at__isnull=False)
    if number is not None:
        versions = versions.filter(number=number)
    version = versions.order_by("-number").first()
    if version is None:
        raise NotFound(
            f"there is no published version {number or ''} of a plan {plan_key!r}".replace("  ", " "), field=field
        )
    return version
