"""What turning a knob did: medians, whether they differ by more than the rounds do, and the table."""

import json

from . import RESULTS, ROOT, Failed, markers
from .summary import middle

PAGE = ROOT / "tuning.md"
BEGIN = "<!-- written by `perf/tuning` -->"
END = "<!-- end of what `perf/tuning` writes -->"

# Results of fewer or shorter rounds were for a quick look.
ROUNDS_MIN = 5
SECONDS_MIN = 2
# A difference below this is none, however little the rounds differ.
EFFECT_MIN = 0.03

# Where in a report, and what its number is called.
FIELDS = {
    "per_second": (("per_second",), "rate"),
    "cpu_ns": (("server", "cpu_ns_per_unit"), "CPU each"),
    "cpu_share": (("server", "cpu_share"), "CPU"),
    "rss": (("server", "rss_bytes"), "memory"),
    "p50_us": (("latency_us", "p50"), "p50"),
    "p99_us": (("latency_us", "p99"), "p99"),
    "rss_per_connection": (("memory", "per_connection_bytes"), "memory of a connection"),
    "rss_after": (("memory", "after_bytes"), "memory after they left"),
    "wire_bytes": (("wire_bytes_per_message",), "bytes on the wire each"),
}


def summarise(knob, reports):
    """`reports` are the rounds of each side. A run that failed counts in no median."""
    sides = {}
    for name, side in (("a", knob.a), ("b", knob.b)):
        good = [report for report in reports[name] if not report["failures"]]
        sides[name] = {
            "name": side.name,
            "runs": len(reports[name]),
            "failed_runs": len(reports[name]) - len(good),
            "fields": {field: middle([look_up(report, FIELDS[field][0]) for report in good]) for field in knob.fields},
        }
    return {
        "knob": knob.name,
        "part": knob.part,
        "load": knob.load,
        "cores": knob.cores,
        "a": sides["a"],
        "b": sides["b"],
        "effects": {field: effect(sides["a"]["fields"][field], sides["b"]["fields"][field]) for field in knob.fields},
    }


def look_up(report, path):
    for name in path:
        report = (report or {}).get(name)
    return report


def effect(a, b):
    """Ratio of the medians, and whether it counts: every round of one side is beyond every one of the other."""
    if not a or not b or not a["median"]:
        return None
    ratio = b["median"] / a["median"]
    is_apart = min(a["values"]) > max(b["values"]) or min(b["values"]) > max(a["values"])
    return {"ratio": ratio, "is_one": is_apart and abs(ratio - 1) >= EFFECT_MIN}


def print_knob(summary):
    print(f"\n{summary['knob']}: {summary['load']}")
    for field, found in summary["effects"].items():
        a, b = summary["a"]["fields"][field], summary["b"]["fields"][field]
        if not found:
            print(f"  {FIELDS[field][1]:<24} not measured")
            continue
        print("  {:<24} {:>12} ({:.0f} %)  {:>12} ({:.0f} %)   x {:.2f}{}".format(
            FIELDS[field][1], amount(field, a["median"]), a["spread_percent"], amount(field, b["median"]),
            b["spread_percent"], found["ratio"], "" if found["is_one"] else ", no effect"))
    for side in (summary["a"], summary["b"]):
        if side["failed_runs"]:
            print(f"  FAILED in {side['failed_runs']} of {side['runs']} runs of {side['name']}; those count in no figure")


def is_long_enough(summary):
    return summary["rounds"] >= ROUNDS_MIN and summary["duration"] >= SECONDS_MIN


def write_table():
    """Replaces what stands between the markers, from the newest results of all knobs."""
    markers.replace(PAGE, BEGIN, END, table(newest()))


def newest():
    for path in sorted(RESULTS.glob("*-tuning/summary.json"), reverse=True):
        summary = json.loads(path.read_text())
        if is_long_enough(summary) and not any(text.startswith("--only") for text in summary["arguments"]):
            return summary
    raise Failed(f"no results of all knobs, {ROUNDS_MIN} rounds of {SECONDS_MIN} s or more, in {RESULTS.relative_to(ROOT)}")


def table(summary):
    facts = summary["facts"]
    machine = "a virtual machine" if facts["virtual_machine"] else "a machine"
    lines = [
        f"Measured on {facts['date'][:10]} at commit {facts['commit']}, on {machine} with {facts['cores']} cores ({facts['cpu']}, "
        f"kernel {facts['kernel']}, loopback); medians of {summary['rounds']} rounds of {summary['duration']:g} s, both positions in "
        "turn. \"None\": the rounds of the two overlap, or their medians differ by less than 3 %.",
        "",
        "| knob | from | to | load | what it did | spread |",
        "|---|---|---|---|---|---|",
    ]
    for knob in summary["knobs"]:
        lines.append("| " + " | ".join((
            f"`{knob['knob']}`", knob["a"]["name"], knob["b"]["name"],
            f"`{knob['load']}`" if knob["load"] != "compressed" else "160,000 deliveries/s to 100 that asked for deflate",
            outcome(knob), spread(knob),
        )) + " |")
    for name, reason in summary["skipped"].items():
        lines.append(f"| `{name}` | | | | not measured: {reason} | |")
    return "\n".join(lines) + "\n"


def outcome(knob):
    """What differs, with its figures; and what was looked at and does not."""
    told, same = [], []
    for field, found in knob["effects"].items():
        if is_beside(knob, field):
            continue
        name = FIELDS[field][1]
        if not found:
            same.append(f"{name} not measured")
        elif found["is_one"]:
            a, b = (amount(field, knob[side]["fields"][field]["median"]) for side in ("a", "b"))
            told.append(f"{name} {a} → {b} (x {found['ratio']:.2f})")
        else:
            same.append(f"{name} none ({amount(field, knob['a']['fields'][field]['median'])})")
    failed = sum(knob[side]["failed_runs"] for side in ("a", "b"))
    if failed:
        same.append(f"{failed} runs failed and do not count")
    return "; ".join([*told, *same])


def is_beside(knob, field):
    """The rate of a server that shares its cores with the generator says nothing."""
    return field == "per_second" and knob["cores"] == "shared"


def spread(knob):
    spreads = [
        values["spread_percent"]
        for side in ("a", "b")
        for field, values in knob[side]["fields"].items()
        if values and not is_beside(knob, field)
    ]
    return f"{max(spreads):.0f} %" if spreads else ""


def amount(field, value):
    if field == "per_second":
        return f"{value / 1e6:.2f} M/s" if value >= 1e5 else f"{value:,.0f}/s"
    if field == "cpu_ns":
        return f"{value:.0f} ns" if value < 1000 else f"{value / 1000:.1f} us"
    if field == "cpu_share":
        return f"{value * 100:.1f} %"
    if field.endswith("_us"):
        return f"{value:.0f} us" if value < 1000 else f"{value / 1000:.2f} ms"
    if field == "wire_bytes":
        return f"{value:.0f} B"
    return f"{value:,.0f} B" if value < 10240 else f"{value / 2**20:.1f} MiB"
