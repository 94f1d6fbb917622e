"""Unusual usage over HTTP (S0-142, S3-018)."""

from typing import Any

from django.db.models import QuerySet
from drf_spectacular.utils import OpenApiParameter, extend_schema, extend_schema_view
from rest_framework import generics, serializers

from invoicing.api.base import bound_customer, filters_of
from invoicing.api.fields import MomentField, QuantityField
from invoicing.spend.models import UsageAnomaly


class UsualSerializer(serializers.Serializer[Any]):
    """What days alike of the four weeks before say."""

    low = QuantityField(source="usual_low")
    high = QuantityField(source="usual_high")
    middle = QuantityField(source="usual")
    day_count = serializers.IntegerField(help_text="How many days it was compared with.")


class AnomalySerializer(serializers.ModelSerializer[UsageAnomaly]):
    """A day on which a customer used unusually much or little of a meter."""

    customer_id = serializers.CharField(source="customer.key")
    meter = serializers.CharField()
    day = serializers.DateField(help_text="Where the customer is.")
    direction = serializers.CharField(help_text="`above` or `below` the usual range.")
    quantity = QuantityField(help_text="When it was noticed; the day may not have been over.")
    usual = UsualSerializer(source="*")
    noticed_at = MomentField()

    class Meta:
        model = UsageAnomaly
        fields = ("id", "customer_id", "meter", "unit", "day", "direction", "quantity", "usual", "noticed_at")


@extend_schema_view(
    get=extend_schema(
        operation_id="list_anomalies",
        summary="List unusual usage, newest first",
        description="A day is compared with days alike (of work, of a weekend) of the four weeks before; each customer,"
        " meter and day is told once.",
        parameters=[OpenApiParameter("customer_id", str, description="Only this customer's.")],
    )
)
class AnomaliesView(generics.ListAPIView[UsageAnomaly]):
    """All that was unusual."""

    scopes = {"GET": "spend:read"}
    customer_bound = ("GET",)
    serializer_class = AnomalySerializer

    def get_queryset(self) -> QuerySet[UsageAnomaly]:
        """Return what the caller may see and asks for."""
        filters = filters_of(self.request, known=("customer_id",))
        found = UsageAnomaly.objects.select_related("customer")
        for key in {key for key in (bound_customer(self.request), filters.get("customer_id")) if key}:
            found = found.filter(customer__key=key)
        return found
