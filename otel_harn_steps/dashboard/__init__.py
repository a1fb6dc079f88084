"""Dashboards of spend: one table of twelve panels, as Grafana JSON (`grafana`) and as a Honeycomb board."""
