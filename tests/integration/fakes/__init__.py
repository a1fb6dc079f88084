"""Public fake providers, run as programs of their own: `llmock` (PyPI) and `@copilotkit/aimock` (npm)."""
