"""OpenTelemetry, for who has installed it (`pip install 'tollhouse[otel]'`): traces and metrics by the conventions for
generative AI, made of the `Record` of a request once it is over.

    conventions  what a span and a measurement say; pure
    exporter     a `Sink`, and the thread that brings what it is told to the collector; it alone loads the SDK

Where the collector is, and all that its specification has variables for, is read by the SDK: OTEL_EXPORTER_OTLP_*,
OTEL_SERVICE_NAME, OTEL_RESOURCE_ATTRIBUTES, OTEL_METRIC_EXPORT_INTERVAL.
"""

import importlib.util

_NEEDED = ("opentelemetry.sdk", "opentelemetry.exporter.otlp.proto.http")


def missing() -> str | None:
    """What to say if it is not installed; None if it is."""
    for name in _NEEDED:
        try:
            found = importlib.util.find_spec(name)
        except ModuleNotFoundError:  # of a package above it
            found = None
        if found is None:
            return f"OpenTelemetry is asked for and not installed ({name}): pip install 'tollhouse[otel]'"
    return None
