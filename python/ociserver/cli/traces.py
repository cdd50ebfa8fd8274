"""`--traces`: exports the spans of a server over OTLP."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from ociserver import __version__
from ociserver.cli.configured import Values
from ociserver.serve.errors import CannotServeError

if TYPE_CHECKING:
    from ociserver.tracing import Tracing

__all__ = ["tracing"]

FLUSH_S: Final = 3.0
"""Seconds that the end of the server waits for a collector that does not answer. Then the last spans are lost."""

_SERVICE: Final = "ociserver"


@contextmanager
def tracing(values: Values) -> Iterator[Tracing | None]:
    """Traces of this process until the block ends; None if they are off.

    The standard variables (`OTEL_SERVICE_NAME`, `OTEL_EXPORTER_OTLP_HEADERS`, `OTEL_TRACES_SAMPLER`, ...) apply, but
    alone they turn nothing on.

    Raises:
        CannotServeError: the extra is not installed.
    """
    if not values["traces"] or os.environ.get("OTEL_TRACES_EXPORTER") == "none":
        yield None
        return
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor

        from ociserver.tracing import Tracing
    except ModuleNotFoundError as error:
        raise CannotServeError(
            f"--traces needs packages that are not installed ({error}). Install them: pip install 'ociserver[otel]'"
        ) from error
    endpoint: str | None = values["traces_endpoint"]
    resource = Resource.create({SERVICE_VERSION: __version__})
    if str(resource.attributes[SERVICE_NAME]).startswith("unknown_service"):
        resource = resource.merge(Resource({SERVICE_NAME: _SERVICE}))
    # It is ended here, and not by `atexit`, which would wait longer.
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    exporter = OTLPSpanExporter(endpoint=None if endpoint is None else f"{endpoint.rstrip('/')}/v1/traces")
    provider.add_span_processor(BatchSpanProcessor(exporter))
    try:
        yield Tracing(provider)
    finally:
        ending = threading.Thread(target=provider.shutdown, name="ociserver-traces", daemon=True)
        ending.start()
        ending.join(FLUSH_S)
