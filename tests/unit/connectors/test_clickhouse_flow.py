"""The analytics graph is the drawn one: its step ids are keys of recovery state."""

from pathlib import Path

from bytewax.testing import TestingSink, TestingSource
from bytewax.visualize import to_mermaid

from flows.analytics import Ports, build

DRAWING = Path(__file__).parents[3] / "docs" / "flows" / "analytics.mmd"


def test_the_analytics_graph_is_the_drawn_one():
    ports = Ports(events=TestingSource([]), flushes=TestingSource([]), clickhouse=TestingSink([]))
    assert to_mermaid(build(ports)) == DRAWING.read_text().rstrip("\n")
