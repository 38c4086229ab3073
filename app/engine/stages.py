"""How long each stage of the work takes: decoding, the forward pass, the walk, drawing."""

from prometheus_client import CollectorRegistry, Histogram

SECONDS = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0)


def stage_times(registry: CollectorRegistry | None = None) -> Histogram:
    """Return what the times of stages are observed with, by their name."""
    return Histogram(
        "deconvnet_stage_seconds",
        "Time of one stage of the work; 'wait' is the time in the device's queue.",
        ("stage",),
        registry=registry,
        buckets=SECONDS,
    )
