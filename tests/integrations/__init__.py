"""The integrations: OpenTelemetry, Prometheus, ASGI."""
