"""The drawn graph of every flow, compared with the one in docs/flows/.

A step id is the key of its recovery snapshot: a change here is a migration.
"""

from collections.abc import Callable
from pathlib import Path

import pytest
from bytewax.dataflow import Dataflow
from bytewax.testing import TestingSink, TestingSource
from bytewax.visualize import to_mermaid

from flows import analytics, dispatch, render
from flows.operators.lane import Lane

DRAWINGS = Path(__file__).parents[2] / "docs" / "flows"


def nothing() -> TestingSource[object]:
    return TestingSource([])


def dispatch_graph() -> Dataflow:
    return dispatch.build(
        dispatch.Ports(
            log=nothing(),
            replies=nothing(),
            acks=nothing(),
            read=lambda _records: [],
            lane=lambda: Lane(None),  # type: ignore[arg-type]  # never built: no item comes
            decisions=TestingSink([]),
            settle=TestingSink([]),
        )
    )


def render_graph() -> Dataflow:
    return render.build(
        render.Ports(
            log=nothing(),
            acks=nothing(),
            render=lambda _records: [],
            outcomes=TestingSink([]),
            settle=TestingSink([]),
        )
    )


def analytics_graph() -> Dataflow:
    return analytics.build(
        analytics.Ports(events=nothing(), flushes=nothing(), clickhouse=TestingSink([]))
    )


@pytest.mark.parametrize("graph", [dispatch_graph, render_graph, analytics_graph])
def test_a_flow_is_the_one_that_is_drawn(graph: Callable[[], Dataflow]):
    name = graph.__name__.removesuffix("_graph")
    drawn = (DRAWINGS / f"{name}.mmd").read_text().rstrip("\n")
    assert to_mermaid(graph()) == drawn


def test_every_flow_is_drawn():
    flows = {path.stem for path in (DRAWINGS.parents[1] / "flows").glob("[!_]*.py")}
    assert flows == {path.stem for path in DRAWINGS.glob("*.mmd")}
