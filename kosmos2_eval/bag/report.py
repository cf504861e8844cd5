"""report.html: an evaluation to be looked at. One file that needs no network: page.css, page.js are in it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from kosmos2_core.boxes import Box
from kosmos2_eval.bag.diagrams import diagrams
from kosmos2_eval.bag.overlay import RIGHT, TRUE, UNKNOWN, WRONG, colour_of
from kosmos2_eval.bag.pictures import Row, pictures, rows_of
from kosmos2_eval.bag.queries import Judged, rounded
from kosmos2_eval.bag.summary import Card, cards, difference_text, group_tables, meanings
from kosmos2_io.bag_reader import BagReader

HERE = Path(__file__).parent
ROWS = 5000  # of the table, at most; queries.csv has all
OTHER = "#c084fc"  # the second model's boxes


@dataclass(frozen=True)
class Content:
    title: str  # what was recorded
    names: Sequence[str]  # of the models
    results: Mapping[str, Any]
    timings: Mapping[str, Any]
    judged: Sequence[Sequence[Judged]]  # by model


def write_report(file: Path, content: Content, bag: BagReader) -> None:
    style, script = ((HERE / name).read_text(encoding="utf-8") for name in ("page.css", "page.js"))
    rows = rows_of(content.judged[0])
    data = json.dumps(page_data(content, rows), ensure_ascii=False).replace("<", "\\u003c")  # no markup
    file.write_text(
        f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(", ".join(content.names))} on {escape(content.title)}</title>
<style>
{style}</style>
</head>
<body>
{_head(content)}
<main>
<section class="cards">{"".join(map(_card, cards(content.results, content.timings)))}</section>
{_meanings(content.results)}
<section class="plots">{"".join(_plot(*one) for one in diagrams(content.results, content.judged))}</section>
{_groups(content)}
{_filters(content)}
{_gallery(content, rows, bag)}
{_table(content)}
</main>
<script id="rows" type="application/json">{data}</script>
<script>
{script}</script>
</body>
</html>
""",
        encoding="utf-8",
    )


def _head(content: Content) -> str:
    images = content.results["images"]
    models = " against ".join(f"<b>{escape(name)}</b>" for name in content.names)
    labels = content.results["topics"]["labels"] or "none, so rates and scores alone"
    facts = [
        f"{images['evaluated']} of {images['recorded']} images",
        f"{content.results['figures']['all']['queries']} queries",
        f"images {escape(', '.join(content.results['topics']['images']))}",
        f"labels {escape(labels)}",
    ]
    if images["rejected"]:
        facts.append(f"{sum(images['rejected'].values())} images could not be read")
    compared = content.results.get("compared")
    difference = f'<p class="other">{difference_text(compared["difference"])}</p>' if compared else ""
    return (
        f"<header><h1>{models} on {escape(content.title)}</h1><p>{' &middot; '.join(facts)}</p>"
        f"{difference}</header>"
    )


def _groups(content: Content) -> str:
    if not _labelled(content):
        return ""
    return f"<section><h2>By kind, size and camera</h2>{group_tables(content.results)}</section>"


def _labelled(content: Content) -> bool:
    return bool(content.results["figures"]["all"]["labelled"])


def _card(card: Card) -> str:
    other = f'<div class="other">{escape(card.other)}</div>' if card.other else ""
    return (
        f'<div class="card" title="{escape(card.about)}"><h3>{escape(card.name)}</h3>'
        f'<div class="value">{escape(card.value)}</div>'
        f'<div class="range">{escape(card.range)}</div>{other}</div>'
    )


def _meanings(results: Mapping[str, Any]) -> str:
    rows = "".join(f"<dt>{escape(name)}</dt><dd>{escape(about)}</dd>" for name, about in meanings(results))
    return f"<details><summary>What the figures mean</summary><dl>{rows}</dl></details>"


def _plot(title: str, about: str, svg: str) -> str:
    return f"<figure><figcaption><b>{escape(title)}</b> {escape(about)}</figcaption>{svg}</figure>"


# Pictures and the table, and what chooses among both.


def _filters(content: Content) -> str:
    queries = [one.query for one in content.judged[0]]
    return (
        '<section class="filters" id="filters"><h2>Queries</h2>'
        '<input id="words" type="search" placeholder="phrase contains ..." aria-label="phrase contains">'
        f"{_choice('kind', 'all kinds', {one.kind for one in queries})}"
        f"{_choice('camera', 'all cameras', {one.camera for one in queries})}"
        f"{_choice('verdict', 'right and wrong', {verdict(one) for one in content.judged[0]})}"
        '<span id="count"></span></section>'
    )


def _choice(name: str, every: str, values: set[str]) -> str:
    options = "".join(f"<option>{escape(value)}</option>" for value in sorted(values))
    hidden = "" if len(values) > 1 else " hidden"
    return (
        f'<select id="{name}" aria-label="{name}"{hidden}><option value="">{every}</option>{options}</select>'
    )


def verdict(one: Judged) -> str:
    """`right`, `wrong` or `missed` (no box) if it is present, `rejected` or `false alarm` if it is absent."""
    if one.query.truth is None:
        return "not labelled"
    if not one.query.truth:
        return "false alarm" if one.box else "rejected"
    if not one.box:
        return "missed"
    return "right" if one.right else "wrong"


def _gallery(content: Content, rows: Sequence[Row], bag: BagReader) -> str:
    queries = [one.query for one in content.judged[0]]
    shown = pictures(bag, (queries[place] for row in rows for place in row.places))
    parts = []
    for row in rows:
        tiles = "".join(_tile(content, place) for place in row.places)
        parts.append(
            f"<h3>{escape(row.title)} <small>{escape(row.about)}</small></h3><div class='tiles'>{tiles}</div>"
        )
    urls = json.dumps(shown)
    return (
        f'<section id="gallery">{_key(content)}{"".join(parts)}</section>'
        f'<script id="pictures" type="application/json">{urls}</script>'
    )


def _key(content: Content) -> str:
    named = [("true", TRUE), ("found, right", RIGHT), ("found, wrong", WRONG)]
    if not _labelled(content):
        named = [("found", UNKNOWN)]
    if len(content.names) > 1:
        named.append((f"found by {content.names[1]}", OTHER))
    return (
        '<p class="key">'
        + "".join(f'<span style="--c:{colour}">{escape(name)}</span>' for name, colour in named)
        + "</p>"
    )


def _tile(content: Content, place: int) -> str:
    one, query = content.judged[0][place], content.judged[0][place].query
    boxes = [_outline(box, query.width, query.height, TRUE, "true") for box in query.truth or ()]
    for judged in content.judged[1:]:
        if box := judged[place].box:
            boxes.append(_outline(box, query.width, query.height, OTHER, "other"))
    if one.box:
        boxes.append(_outline(one.box, query.width, query.height, colour_of(one), "found"))
    numbers = f"score {one.score:.2f}" if one.box else f"no box: not found, presence {one.presence:.2f}"
    numbers += f", IoU {one.iou:.2f}" if one.box and query.truth else ""
    numbers += ", it is not there" if query.truth == () else ""
    camera = f", {query.camera}" if len(content.results["topics"]["images"]) > 1 else ""
    return (
        f'<figure class="tile" data-place="{place}">'
        f'<svg viewBox="0 0 {query.width} {query.height}"><image data-frame="{query.frame}" '
        f'width="{query.width}" height="{query.height}"/>{"".join(boxes)}</svg>'
        f"<figcaption><b>{escape(query.text)}</b><br>{numbers}<br>"
        f"<small>image {query.frame}{escape(camera)}</small></figcaption></figure>"
    )


def _outline(box: Box, width: int, height: int, colour: str, kind: str) -> str:
    x_min, y_min, x_max, y_max = box.pixels(width, height)
    place = f'x="{x_min:.1f}" y="{y_min:.1f}" width="{x_max - x_min:.1f}" height="{y_max - y_min:.1f}"'
    return f'<rect class="under" {place}/><rect class="{kind}" stroke="{colour}" {place}/>'


def _table(content: Content) -> str:
    count = len(content.judged[0])
    said = f"The first {ROWS} of {count}; queries.csv has all." if count > ROWS else ""
    return f'<section><div class="scroll"><table id="queries"></table></div><p id="more">{said}</p></section>'


def page_data(content: Content, rows: Sequence[Row]) -> dict[str, Any]:
    """What the page's script is given: the table, and the rows of those that are shown as pictures."""
    start_ns = min((one.query.stamp_ns for one in content.judged[0]), default=0)
    places = sorted({place for row in rows for place in row.places})
    return {
        "columns": _columns(content),
        "rows": [_table_row(content, place, start_ns) for place in range(len(content.judged[0]))[:ROWS]],
        "tiles": {place: _table_row(content, place, start_ns) for place in places},
    }


def _columns(content: Content) -> list[str]:
    columns = ["image", "time, s", "camera", "phrase", "kind", "size", "score", "presence", "IoU"]
    columns += [f"IoU, {name}" for name in content.names[1:]]
    return [*columns, "verdict"]


def _table_row(content: Content, place: int, start_ns: int) -> list[Any]:
    one, query = content.judged[0][place], content.judged[0][place].query
    seconds = rounded((query.stamp_ns - start_ns) / 1e9, 3)
    row: list[Any] = [query.frame, seconds, query.camera, query.text, query.kind, query.size]
    row += [rounded(one.score, 3), rounded(one.presence, 3), _iou(one)]
    return [*row, *(_iou(own[place]) for own in content.judged[1:]), verdict(one)]


def _iou(one: Judged) -> float | None:
    return rounded(one.iou, 3) if one.query.truth else None
