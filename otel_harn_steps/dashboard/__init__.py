"""Dashboards of spend: one table of twenty panels, for Grafana, for the page of VictoriaMetrics, and for Honeycomb."""
