"""The README's tables, from the newest results of every scenario."""

import json

from . import RESULTS, ROOT, Failed, markers
from .contenders import adapters
from .scenarios import SCENARIOS
from .summary import is_paced

README = ROOT / "README.md"
BEGIN = "<!-- written by `perf/run --table` from perf/results -->"
END = "<!-- end of what `perf/run --table` writes -->"

# Results of fewer or shorter rounds were for a quick look.
ROUNDS_MIN = 5
SECONDS_MIN = 3

NAMES = {"baseline": "baseline (tokio-tungstenite)", "limit": "bare socket (the limit)"}


def update_readme():
    """Replaces what stands between the markers."""
    markers.replace(README, BEGIN, END, tables())


def tables():
    newest = {name: found for name in SCENARIOS if (found := newest_result(name))}
    if not newest:
        raise Failed(
            f"no results of {ROUNDS_MIN} rounds of {SECONDS_MIN} s or more in {RESULTS.relative_to(ROOT)}"
        )
    parts = [host(newest), gateway_table(newest), *peer_tables(newest)]
    return "\n\n".join(parts) + "\n"


def newest_result(scenario):
    for path in sorted(RESULTS.glob(f"*-{scenario}/summary.json"), reverse=True):
        # `2026-11-21-101500-fanout-single` ends like `2026-11-21-101500-single`.
        result = json.loads(path.read_text())
        is_long = result["rounds"] >= ROUNDS_MIN and result["duration"] >= SECONDS_MIN
        if result["scenario"] == scenario and is_long:
            return result
    return None


def host(newest):
    results = list(newest.values())
    facts = max(results, key=lambda result: result["facts"]["date"])["facts"]
    days = sorted({result["facts"]["date"][:10] for result in results})
    commits = sorted({result["facts"]["commit"] for result in results})
    rounds = min(result["rounds"] for result in results)
    machine = "a virtual machine" if facts["virtual_machine"] else "a machine"
    return (
        f"Measured on {' to '.join(sorted({days[0], days[-1]}))} at commit {', '.join(commits)}, on {machine} with "
        f"{facts['cores']} cores ({facts['cpu']}, kernel {facts['kernel']}, {facts['memory_gib']:.0f} GiB, loopback); "
        f"medians of {rounds} rounds or more in which all took turns."
    )


def gateway_table(newest):
    lines = [
        "| scenario, 128-byte payload | gateway | spread | CPU each | against baseline | rate against the limit "
        "| CPU against the limit | latency (the limit's) | command |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for name, result in newest.items():
        command = f"`perf/run {name}`"
        for summary in result["variants"]:
            contenders, ratios = summary["contenders"], summary["ratios"]
            # Where TLS is the question, it is beside the gateway without.
            gateway = contenders.get("gateway-tls") or contenders.get("gateway")
            if not summary["row"] or not gateway:
                continue
            limit = ratios.get("limit") or ratios.get("limit-tls")
            lines.append(row(
                summary["row"],
                remarked(gateway, amount(gateway)),
                spread(gateway),
                duration(gateway["cpu_ns"]) if not is_memory(gateway) else "",
                times(ratios.get("baseline"), "per_second") or beside_fastapi(ratios),
                plain(limit, "per_second") if not is_paced(summary) else "",
                beside_itself(summary) or plain(limit, "cpu_ns"),
                latencies(summary),
                command,
            ))
            # It stands for all rows of the scenario.
            command = ""
    return "\n".join(lines)


def latencies(summary):
    """Where latency is the question: on a schedule, and where everybody waits for each answer."""
    if is_paced(summary):
        name = "p99"
    elif summary["command"].endswith("--in-flight 1"):
        name = "p50"
    else:
        return ""
    gateway, limit = (summary["contenders"].get(one, {}).get(f"{name}_us") for one in ("gateway", "limit"))
    if not gateway:
        return ""
    return f"{name} {latency(gateway)}" + (f" ({latency(limit)})" if limit else "")


def is_memory(line):
    """Whether nothing was done but to be there."""
    return bool(line.get("rss_per_connection") and line["per_second"] and not line["per_second"]["median"])


def spread(line):
    value = line["rss_per_connection"] if is_memory(line) else line["per_second"]
    return f"{value['spread_percent']:.0f} %" if value else ""


def beside_fastapi(ratios):
    ratio = times(ratios.get("bridge_fastapi"), "per_second")
    return ratio and f"{ratio} (FastAPI)"


def beside_itself(summary):
    for name, what in (("gateway-2", "one shard's"), ("gateway-tls", "plain's")):
        ratio = (summary["ratios"].get(name) or {}).get("cpu_ns")
        if ratio:
            return f"{1 / ratio:.2f} times {what}"
    return ""


def peer_tables(newest):
    """What peers ran, too: the fan-outs, and what only a library can do."""
    fanouts, others = [], []
    for name, result in newest.items():
        for summary in result["variants"]:
            if set(summary["contenders"]) & set(adapters.SCENARIOS):
                columns = fanouts if summary["command"].startswith(("fanout ", "wse ")) else others
                columns.append((name, summary))
    return [peer_table(newest, columns) for columns in (fanouts, others) if columns]


def peer_table(newest, columns):
    """One column a variant: how many a second, and CPU each."""
    versions = {}
    for result in newest.values():
        versions.update(result["facts"]["versions"])
    contenders = dict.fromkeys(name for _, summary in columns for name in summary["contenders"])
    lines = [
        row("the same through others", *(summary["row"] for _, summary in columns)),
        "|---|" + "---|" * len(columns),
    ]
    for contender in contenders:
        name = NAMES.get(contender) or (contender if versions[contender] == "this commit" else versions[contender])
        lines.append(row(name, *(peer_cell(summary, contender) for _, summary in columns)))
    lines.append(row("", *(f"`perf/run {name}`" for name, _ in columns)))
    return "\n".join(lines)


def peer_cell(summary, contender):
    line = summary["contenders"].get(contender)
    if not line:
        return ""
    if is_memory(line):
        return remarked(line, amount(line))
    figures = f"{amount(line)}, {duration(line['cpu_ns'])}"
    if is_paced(summary) and line.get("p99_us"):
        figures = f"p99 {latency(line['p99_us'])}, {duration(line['cpu_ns'])}"
    return remarked(line, figures)


def remarked(line, text):
    if line["failed_runs"]:
        text += f" (failed {line['failed_runs']} of {line['runs']})"
    if line.get("generator_bound_runs", 0) * 2 > line["runs"]:
        text += " (the generator's limit)"
    return text


def amount(line):
    if not line["per_second"]:
        return "-"
    if is_memory(line):
        kernel = line.get("kernel_per_connection")
        kernel = f", {kernel['median'] / 1024:.1f} KiB of the kernel's for both ends" if kernel else ""
        return f"{line['rss_per_connection']['median'] / 1024:.1f} KiB of memory each{kernel}"
    rate = line["per_second"]["median"]
    return f"{rate / 1e6:.2f} M/s" if rate >= 1e5 else f"{rate:,.0f}/s"


def duration(value):
    if not value:
        return ""
    median = value["median"]
    return f"{median:.0f} ns" if median < 1000 else f"{median / 1000:.1f} us"


def latency(value):
    if not value:
        return ""
    median = value["median"]
    return f"{median:.0f} us" if median < 1000 else f"{median / 1000:.2f} ms"


def times(ratio, field):
    return f"{ratio[field]:.1f} times" if ratio and ratio.get(field) else ""


def plain(ratio, field):
    return f"{ratio[field]:.2f}" if ratio and ratio.get(field) else ""


def row(*cells):
    return "| " + " | ".join(cells) + " |"
