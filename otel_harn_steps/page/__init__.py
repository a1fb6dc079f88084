"""The page: what is in a store, as one file (`report_html`) or served live.

```python
from otel_harn_steps.page import report_html
from otel_harn_steps.store import Store

with Store("records") as store:
    store.update()
    html = report_html(store)
```
"""

from __future__ import annotations

from otel_harn_steps.page._html import report_html

__all__ = ["report_html"]

report_html.__module__ = __name__
