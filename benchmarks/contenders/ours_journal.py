"""otel_harn_steps with a journal: a line for each call that is sent, and one when it has settled."""
import tempfile

from otel_harn_steps import Journal, instrument

from contenders.ours import C as Ours


class C(Ours):
    def setup(self, tel):
        tel.provider()
        instrument(call_spans=self.call_spans, sinks=[Journal(tempfile.mkdtemp())])
