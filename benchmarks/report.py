"""The report: the config, the table, and whether each bar holds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median, median_low

from rounds import Sample
from servers import Server

Rounds = Sequence[Sequence[Sample]]
FLOOR = "forwarder"
OURS = "turnout"
TRANSLATED = "translated"  # Turnout again, with a provider of another dialect
MB = 1e6


@dataclass(frozen=True)
class Spread:
    """A median over the rounds, and the least and the greatest of them."""

    median: float
    least: float
    most: float

    def write(self, form: str = ".2f") -> str:
        if self.least == self.most:
            return f"{self.median:{form}}"
        return f"{self.median:{form}} ({self.least:{form}}-{self.most:{form}})"


@dataclass(frozen=True)
class Bar:
    """Something promised, and what was measured."""

    name: str
    value: float
    limit: float
    unit: str
    told: str

    @property
    def holds(self) -> bool:
        return self.value <= self.limit

    def write(self) -> str:
        word = "holds " if self.holds else "MISSED"
        return f"  {word}  {self.name}: {self.told} (at most {self.limit:g}{self.unit})"


@dataclass(frozen=True)
class Row:
    """A server's line of the table: medians over the rounds, ratios within them."""

    name: str
    cpu_request: Spread
    ratio_request: Spread
    cpu_event: Spread
    ratio_event: Spread
    added_p50: Spread
    rps: float
    p50_one: float
    p99_one: float
    p50_many: float
    p99_many: float
    events_per_read: float
    first_start: float | None
    start: float
    rss: float
    peak: float


def spread(values: Sequence[float]) -> Spread:
    return Spread(median(values), min(values), max(values))


def pick(rounds: Rounds, server: str, phase: str) -> list[Sample]:
    """One server's samples of one phase, round by round."""
    return [
        each
        for samples in rounds
        for each in samples
        if (each.server, each.phase) == (server, phase)
    ]


def sum_up(server: Server, rounds: Rounds) -> Row:
    """A server's row, compared with the floor of the same rounds."""
    one, many, stream = (pick(rounds, server.name, name) for name in ("one", "many", "stream"))
    floor_one, floor_many, floor_stream = (
        pick(rounds, FLOOR, name) for name in ("one", "many", "stream")
    )
    return Row(
        name=server.name,
        cpu_request=spread([each.cpu_per_request for each in many]),
        ratio_request=spread(
            [a.cpu_per_request / b.cpu_per_request for a, b in zip(many, floor_many, strict=True)]
        ),
        cpu_event=spread([each.cpu_per_event for each in stream]),
        ratio_event=spread(
            [a.cpu_per_event / b.cpu_per_event for a, b in zip(stream, floor_stream, strict=True)]
        ),
        added_p50=spread([a.p50 - b.p50 for a, b in zip(one, floor_one, strict=True)]),
        rps=median(each.rps for each in many),
        p50_one=median(each.p50 for each in one),
        p99_one=median(each.p99 for each in one),
        p50_many=median(each.p50 for each in many),
        p99_many=median(each.p99 for each in many),
        events_per_read=median(each.events_per_read for each in stream),
        first_start=median_low(server.first_starts) if server.first_starts else None,
        start=median_low(server.starts),
        rss=max(each.rss for each in stream) / MB,
        peak=max(each.peak for each in stream) / MB,
    )


HEADS = """
          |CPU     |x    |CPU   |x    |events|     |1 conn|   |32 conn|   |first|     |RSS
          |/request|floor|/chunk|floor|/read |req/s|p50   |p99|p50    |p99|start|start|(peak)
          |us      |     |us    |     |      |     |ms    |ms |ms     |ms |s    |s    |MB
"""


def write_cells(row: Row) -> list[str]:
    """A row's cells, in the order of the heads."""
    waits = (row.p50_one, row.p99_one, row.p50_many, row.p99_many)
    return [
        row.name,
        f"{row.cpu_request.median:.0f}",
        f"{row.ratio_request.median:.2f}",
        f"{row.cpu_event.median:.1f}",
        f"{row.ratio_event.median:.2f}",
        f"{row.events_per_read:.2f}",
        f"{row.rps:.0f}",
        *(f"{wait * 1000:.2f}" for wait in waits),
        "-" if row.first_start is None else f"{row.first_start:.2f}",
        f"{row.start:.2f}",
        f"{row.rss:.0f} ({row.peak:.0f})",
    ]


def write_table(rows: Sequence[Row], absent: Mapping[str, str]) -> str:
    """The table, columns aligned; `absent` are the peers that have no row, and why."""
    heads = [[cell.strip() for cell in line.split("|")] for line in HEADS.strip("\n").splitlines()]
    lines = heads + [write_cells(row) for row in rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    text = []
    for line in lines:
        cells = [line[0].ljust(widths[0])]
        cells += [cell.rjust(width) for cell, width in zip(line[1:], widths[1:], strict=True)]
        text.append("  ".join(cells).rstrip())
    text.insert(len(heads), "-" * max(len(line) for line in text))
    return "\n".join(text + [f"{name}  {why}" for name, why in absent.items()])


def warn(rows: Sequence[Row], busy: float, crowded: float) -> list[str]:
    """What makes the numbers of this run doubtful."""
    warnings = []
    if busy > 0.9:
        warnings.append(f"upstream and load used {busy:.0%} of their core: throughput is theirs")
    if crowded > 0.1:
        warnings.append(f"other processes held the servers up for {crowded:.0%} of their CPU time")
    floor = rows[0].events_per_read
    warnings += [
        f"{row.name} read {row.events_per_read:.2f} chunks at once, the floor {floor:.2f}:"
        " their CPU per chunk does not compare"
        for row in rows
        if abs(row.events_per_read / floor - 1) > 0.1
    ]
    return warnings


def judge(row: Row) -> list[Bar]:
    """The bars that can be read off a row of Turnout's; none off another's."""
    if row.name == TRANSLATED:
        told = row.ratio_event.write()
        return [Bar("CPU per translated chunk / floor", row.ratio_event.median, 4.0, "", told)]
    if row.name != OURS:
        return []
    first = row.first_start or 0.0
    added = Spread(*(value * 1000 for value in vars(row.added_p50).values()))
    return [
        Bar(
            "CPU per request / floor", row.ratio_request.median, 1.6, "", row.ratio_request.write()
        ),
        Bar("CPU per chunk / floor", row.ratio_event.median, 1.3, "", row.ratio_event.write()),
        Bar("added p50, 1 connection", added.median, 1.0, " ms", f"{added.write()} ms"),
        Bar("start, fresh home", first, 1.0, " s", f"{first:.2f} s"),
        Bar("start, used home", row.start, 1.0, " s", f"{row.start:.2f} s"),
        Bar("RSS after the load", row.rss, 100.0, " MB", f"{row.rss:.0f} MB"),
    ]


def judge_ledger(sent: int, recorded: int) -> Bar:
    """Whether each request that was sent is in the ledger, once."""
    told = f"{recorded} requests recorded of {sent} sent"
    return Bar("ledger", abs(sent - recorded), 0, " missing or doubled", told)
