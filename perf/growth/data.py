"""What was measured: medians of the rounds in the files beside this one."""

import json
import statistics
from dataclasses import dataclass

from measure import Failed

from series import SERIES


@dataclass(frozen=True)
class Measured:
    """A point: medians, and the least and the most of its rounds where a plot shows them."""

    x: int
    line: str
    burst: int
    receivers: int
    shards: int
    rounds: tuple
    limits: tuple

    def median(self, name):
        values = [each[name] for each in self.rounds if each.get(name) is not None]
        return statistics.median(values) if values else None

    def range(self, name):
        values = [each[name] for each in self.rounds if each.get(name) is not None]
        return min(values), max(values)

    def limit(self, name):
        return statistics.median(each[name] for each in self.limits) if self.limits else None

    @property
    def cpu_ns(self):
        return self.median("cpu_ns")

    @property
    def writes(self):
        """Writes to sockets for one delivery: by the server's count, or by the generator's reads where a run
        was too short for a count."""
        counted = self.median("writes")
        return counted if counted else 1 / self.median("join")

    @property
    def is_server_full(self):
        """Whether most rounds were bound by the server, so that its rate is what it can do."""
        full = [each["bottleneck"] in ("server", "both") for each in self.rounds]
        return sum(full) * 2 > len(full)


@dataclass(frozen=True)
class Result:
    """A series."""

    facts: dict
    round_count: int
    duration: float
    points: tuple

    def lines(self):
        return list(dict.fromkeys(point.line for point in self.points))

    def line(self, name):
        return [point for point in self.points if point.line == name]

    def at(self, line, x):
        return next((point for point in self.points if (point.line, point.x) == (line, x)), None)


def load(directory):
    """All series by name."""
    missing = [name for name in SERIES if not (directory / f"{name}.json").exists()]
    if missing:
        raise Failed(f"not measured: {', '.join(missing)}. perf/growth/run {' '.join(missing)}")
    return {name: result(json.loads((directory / f"{name}.json").read_text())) for name in SERIES}


def result(data):
    points = (
        Measured(point["x"], point["line"], point["burst"], point["receivers"], point["shards"],
                 tuple(point["gateway"]), tuple(point["limit"]))
        for point in data["points"]
        if point["gateway"]
    )
    return Result(data["facts"], data["rounds"], data["duration"], tuple(points))
