"""Metrics for Prometheus. They need the extra `ociserver[metrics]`.

metrics = Metrics(); handler = ociserver.Handler(backend, meter=metrics.meter)
"""

from ociserver.metrics.metrics import Metrics

__all__ = ["Metrics"]
