"""Who may call the API, and the answers already given to repeated requests."""

from django.db import models
from django.db.models.functions import Now


class ApiKey(models.Model):
    """A bearer key: only its digest is kept; scopes say what it may do; bound to one customer or to none."""

    name = models.CharField(max_length=200)
    prefix = models.CharField(max_length=12, unique=True, help_text="The readable beginning of the key.")
    digest = models.CharField(max_length=64, unique=True)
    scopes = models.JSONField(default=list)
    customer_key = models.CharField(max_length=100, blank=True, help_text="Only this customer's resources; empty: all.")
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    last_used_at = models.DateTimeField(null=True, blank=True, editable=False)
    revoked_at = models.DateTimeField(null=True, blank=True)

    objects = models.Manager["ApiKey"]()

    class Meta:
        verbose_name = "API key"

    def __str__(self) -> str:
        return f"{self.name} ({self.prefix}…)"


class IdempotentRequest(models.Model):
    """The answer to one POST with an Idempotency-Key, replayed when the request comes again."""

    api_key = models.ForeignKey(ApiKey, on_delete=models.CASCADE)
    key = models.CharField(max_length=255)
    method_and_path = models.CharField(max_length=300)
    body_digest = models.CharField(max_length=64)
    status = models.PositiveSmallIntegerField(null=True)
    response = models.BinaryField(null=True)
    content_type = models.CharField(max_length=100, blank=True)
    created_at = models.DateTimeField(db_default=Now(), db_index=True)

    objects = models.Manager["IdempotentRequest"]()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["api_key", "key"], name="idempotency_key_is_used_once")]

    def __str__(self) -> str:
        return self.key
