"""What the dashboards say, in words that are shorter than Grafana's."""
