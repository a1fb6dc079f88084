"""Where all spans go."""


class Telemetry:
    """The one span pipeline all share: an SDK TracerProvider, SimpleSpanProcessor and a sink.

    keep=False: the sink drops spans (timings). keep=True: it keeps them (correctness runs).
    """

    def __init__(self, keep=False):
        self.keep, self.spans = keep, []

    def exporter(self):
        from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
        ok, keep, spans = SpanExportResult.SUCCESS, self.keep, self.spans

        class Sink(SpanExporter):
            def export(self, batch):
                if keep:
                    spans.extend(batch)
                return ok
        return Sink()

    def processor(self):
        from opentelemetry.sdk.trace.export import SimpleSpanProcessor
        return SimpleSpanProcessor(self.exporter())

    def provider(self, processor=True):
        """Make the provider and set it globally. processor=False for contenders that insist on adding one."""
        from opentelemetry import trace
        from opentelemetry.sdk.trace import TracerProvider
        provider = TracerProvider(shutdown_on_exit=False)
        if processor:
            provider.add_span_processor(self.processor())
        trace.set_tracer_provider(provider)
        return provider
