"""Queries are read from the log to the last digit, and from the table as far as they are compared."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kosmos2_core.boxes import Box
from kosmos2_core.errors import InputError
from kosmos2_eval.bag.queries import (
    PhraseQuery,
    Prediction,
    QueryResult,
    prediction_from_json,
    prediction_to_json,
    query_from_json,
    query_to_json,
    read_queries,
    write_queries,
)

UNIT = st.floats(0, 0.4)
BOXES = st.builds(
    lambda x, y, w, h, score: Box(x, y, x + w + 0.01, y + h + 0.01, score),
    UNIT,
    UNIT,
    UNIT,
    UNIT,
    st.none() | st.floats(0, 1),
)
POINTS = st.none() | st.tuples(*[st.floats(-5, 5)] * 3)
WORDS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12)
QUERIES = st.builds(
    PhraseQuery,
    frame=st.integers(0, 99),
    camera=st.just("/image"),
    stamp_ns=st.integers(0, 2**62),
    log_ns=st.integers(0, 2**62),
    width=st.integers(1, 4000),
    height=st.integers(1, 4000),
    command_index=st.integers(0, 9),
    text=WORDS,
    index=st.integers(0, 9),
    phrase=WORDS,
    kind=st.just("name"),
    truth=st.none() | st.lists(BOXES, max_size=2).map(tuple),
    true_centre_m=POINTS,
)
PREDICTIONS = st.builds(
    Prediction, st.lists(BOXES, max_size=3).map(tuple), st.none() | st.floats(0, 1), POINTS, WORDS
)


@settings(max_examples=60)
@given(QUERIES, PREDICTIONS)
def test_the_log_loses_nothing(query, prediction):
    assert query_from_json(json.loads(json.dumps(query_to_json(query)))) == query
    assert prediction_from_json(json.loads(json.dumps(prediction_to_json(prediction)))) == prediction


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    return tmp_path_factory.mktemp("table") / "queries.csv"


@settings(max_examples=40)
@given(pairs=st.lists(st.tuples(QUERIES, PREDICTIONS), min_size=1, max_size=4))
def test_the_table_is_read_back(file, pairs):
    results = [QueryResult(*pair) for pair in pairs]
    write_queries(file, {"a, b": results, "c": results[:1]})
    rows = read_queries(file)
    assert [row.model for row in rows] == ["a, b"] * len(results) + ["c"]
    for row, result in zip(rows, results, strict=False):
        query = result.query
        assert (row.text.split(), row.phrase.split()) == (query.text.split(), query.phrase.split())
        assert (row.index, row.camera) == (query.index, "/image")
        assert row.iou == (pytest.approx(result.iou, abs=1e-6) if query.truth else None)
        assert row.score == pytest.approx(result.score, abs=1e-6)


def test_what_is_no_table_is_a_sentence(tmp_path):
    file = tmp_path / "table.csv"
    file.write_text("a,b\n1,2\n")
    with pytest.raises(InputError, match="is not a table of queries"):
        read_queries(file)
    with pytest.raises(InputError, match="cannot be read: No such file"):
        read_queries(tmp_path / "none.csv")
