"""The scoreboard: its rows, which of them a run includes, and the page docs/reliability.md."""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

PAGE = Path(__file__).resolve().parents[2] / "docs/reliability.md"
TIER = os.environ.get("KOSMOS2_RELIABILITY", "")  # "full": make reliability, "soak": make soak, "": make test
# Rows that take long are measured by `make soak` only. It measures the damaged bags again.
LONG_ROWS = {19, 20}
SOAK_ROWS = LONG_ROWS | {23}
LINE = re.compile(r"^\| (\d+) \|.*$", re.MULTILINE)
HEAD = "| row | test | target | measured | result |\n| --- | --- | --- | --- | --- |"


@dataclass
class Row:
    number: int
    name: str
    target: str
    figures: list[str] = field(default_factory=list)
    passed: bool = True

    @property
    def cells(self) -> tuple[str, ...]:
        result = "pass" if self.passed else "**fail**"
        return str(self.number), self.name, self.target, "; ".join(self.figures) or "-", result

    @property
    def line(self) -> str:
        return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in self.cells)} |"


def is_measured(number: int | None, tier: str = TIER) -> bool:
    """Return whether a run includes the tests of a row; None: a test without a row."""
    if tier == "soak":
        return number in SOAK_ROWS
    return tier != "full" or number not in LONG_ROWS


def page(rows: Iterable[Row], before: str) -> str:
    """Return the page with these rows, and with those of the page before that were not measured again."""
    lines = {int(found[1]): found[0] for found in LINE.finditer(before)}
    lines |= {row.number: row.line for row in rows}
    machine = f"{processor()}, {os.cpu_count()} processors; Python {platform.python_version()}"
    long_rows = " and ".join(map(str, sorted(LONG_ROWS)))
    return "\n".join(
        [
            "# Reliability",
            "",
            "`make reliability` runs these tests in full and writes this page; `make soak` does so for rows",
            f"{long_rows}, which take more than an hour. `make test` runs all of them on fewer examples.",
            "[Security](security.md) says which inputs are not trusted.",
            "",
            f"Machine of the last run: {machine}.",
            "",
            HEAD,
            *(lines[number] for number in sorted(lines)),
            "",
        ]
    )


def processor() -> str:
    """Return the name of the processor."""
    found = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return found[1].strip() if found else platform.machine()
