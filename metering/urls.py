"""The addresses of metering, relative to /api/v1/."""

urlpatterns = []
