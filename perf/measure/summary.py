"""From the rounds of a variant to medians, spreads and ratios."""

import statistics

FAULTS = ("lost", "duplicated", "reordered", "corrupt", "misrouted", "misnumbered")


def middle(values):
    """Median, and the distance from smallest to largest in percent of it."""
    values = [value for value in values if value is not None]
    if not values:
        return None
    median = statistics.median(values)
    spread = (max(values) - min(values)) / median * 100 if median else 0.0
    return {"median": median, "spread_percent": spread, "values": values}


def summarise(variant, rounds, limits):
    """`rounds` are loadgen's reports by contender. A run that failed counts as failed and in no median."""
    contenders = {name: contender(reports) for name, reports in [*rounds.items(), ("limit", limits)] if reports}
    return {
        "variant": variant.name,
        "row": variant.row,
        "command": variant.command,
        "contenders": contenders,
        "ratios": ratios(contenders),
    }


def contender(reports):
    good = [report for report in reports if not report["failures"]]
    servers = [report["server"] for report in good if report.get("server")]

    def of(field, name):
        return middle([(report.get(field) or {}).get(name) for report in good])

    return {
        "unit": reports[0]["unit"],
        "runs": len(reports),
        "failed_runs": len(reports) - len(good),
        "faults": sum((report.get("verified") or {}).get(name, 0) for report in reports for name in FAULTS),
        "per_second": middle([report["per_second"] for report in good]),
        "cpu_ns": middle([server["cpu_ns_per_unit"] for server in servers]),
        "cpu_share": middle([server["cpu_share"] for server in servers]),
        "kernel_share": middle([server.get("kernel_share") for server in servers]),
        "p50_us": of("latency_us", "p50"),
        "p99_us": of("latency_us", "p99"),
        # What the limit was told to join; elsewhere what was seen.
        "join": middle([report.get("join") or report.get("messages_per_read") for report in good]),
        "rss_per_connection": of("memory", "per_connection_bytes"),
        "rss_after": of("memory", "after_bytes"),
        "rss_by_process": [report["memory"]["processes"] for report in good if "processes" in report.get("memory", {})],
        "kernel_per_connection": of("kernel_memory", "per_connection_bytes"),
        "kernel_unreclaimable_per_connection": of("kernel_memory", "unreclaimable_per_connection_bytes"),
        "generator_cpu_share": middle([report["generator_cpu_share"] for report in good]),
        "generator_cpu_ns": middle([report["generator_cpu_ns_per_unit"] for report in good]),
        "generator_bound_runs": sum(report.get("bottleneck") == "generator" for report in good),
        "share_of_bare": of("store", "share_of_bare"),
        "bare_rows": of("store", "bare_rows_per_second"),
        "login_times": of("login", "times"),
        "login_ns": of("login", "login_ns"),
        "threads": middles([report["server_threads"] for report in good if "server_threads" in report]),
        "unbound_runs": sum(report.get("bottleneck") == "neither" for report in good),
    }


def middles(maps):
    """Medians of maps that have the same keys, but for a few."""
    return {key: middle([one.get(key, 0.0) for one in maps])["median"] for key in sorted({key for one in maps for key in one})}


def ratios(contenders):
    """The gateway's rate and CPU time over everybody else's; by rounds' medians."""
    gateway = contenders.get("gateway")
    out = {}
    for name, other in contenders.items():
        if gateway and name != "gateway":
            out[name] = {
                field: quotient(gateway.get(field), other.get(field))
                for field in ("per_second", "cpu_ns", "p50_us", "p99_us", "rss_per_connection")
            }
    return out


def parts(variants, names):
    """The rate of the first variant as a part of the second's, by contender but for the limit: of medians, and of
    every round."""
    one, other = ({name: line["per_second"] for name, line in variant["contenders"].items()}
                  for wanted in names for variant in variants if variant["variant"] == wanted)
    return {"variant": names[0], "of": names[1], "contenders": {
        name: {"median": quotient(one[name], other[name]), "values": [
            float(f"{part / whole:.4g}") for part, whole in zip(one[name]["values"], other[name]["values"])]}
        for name in one if name != "limit" and one[name] and other.get(name)
    }}


def print_parts(found):
    for name, part in found["contenders"].items():
        low, high = min(part["values"]), max(part["values"])
        print(f"\n{name}: {found['variant']} at {part['median']:.2f} times the rate of {found['of']} "
              f"({low:.2f} to {high:.2f} by round)")


def quotient(one, other):
    if not one or not other or not other["median"]:
        return None
    return float(f"{one['median'] / other['median']:.4g}")


COLUMNS = ("", "per second", "spread", "CPU ns each", "kernel", "x gateway's rate", "x its CPU", "p50", "p99", "join", "generator", "faults")
WIDTHS = "  {:<15} {:>13} {:>7} {:>12} {:>7} {:>17} {:>10} {:>9} {:>9} {:>6} {:>10} {:>7}"


def print_summary(summary):
    print(f"\n{summary['variant']}: loadgen {summary['command']}")
    print(WIDTHS.format(*COLUMNS))
    for name, line in summary["contenders"].items():
        ratio = summary["ratios"].get(name) or {}
        print(WIDTHS.format(
            name,
            number(line["per_second"], "{:,.0f}"),
            f"{line['per_second']['spread_percent']:.0f} %" if line["per_second"] else "-",
            number(line["cpu_ns"], "{:,.1f}"),
            percent(line.get("kernel_share")),
            inverse(ratio.get("per_second")),
            inverse(ratio.get("cpu_ns")),
            microseconds(line.get("p50_us")),
            microseconds(line.get("p99_us")),
            number(line["join"], "{:.0f}"),
            percent(line.get("generator_cpu_share")),
            str(line.get("faults", "")),
        ))
        for remark in remarks(line, is_paced(summary)):
            print(f"{'':<18}{remark}")


def is_paced(summary):
    """On a schedule latency is the figure, and no core has to be full."""
    return "--rate" in summary["command"]


def remarks(line, paced):
    if line["failed_runs"]:
        yield f"FAILED in {line['failed_runs']} of {line['runs']} runs; those count in no figure of this line"
    if line.get("rss_per_connection"):
        yield "{:,.0f} bytes of RSS a connection, {:,.1f} MiB in all after they closed".format(
            line["rss_per_connection"]["median"], line["rss_after"]["median"] / 2**20)
        for process in (line.get("rss_by_process") or [[]])[-1]:
            yield "one process: {:,} connections, {:,.0f} bytes of RSS each, {:,.1f} MiB after".format(
                process["connections"], process["per_connection_bytes"], process["after_bytes"] / 2**20)
    if line.get("kernel_per_connection"):
        yield "{:,.0f} bytes of the kernel's memory a connection, both ends ({:,.0f} unreclaimable)".format(
            line["kernel_per_connection"]["median"], line["kernel_unreclaimable_per_connection"]["median"])
        yield million(line)
    if line.get("share_of_bare"):
        values = line["share_of_bare"]["values"]
        yield "{:.2f} of the rate of bare inserts ({:.2f} to {:.2f} by round), which is {:,.0f} rows/s".format(
            line["share_of_bare"]["median"], min(values), max(values), line["bare_rows"]["median"])
    if line.get("login_times"):
        yield "{:.1f} us of CPU a login, {:.2f} times a verification and a plain request".format(
            line["login_ns"]["median"] / 1000, line["login_times"]["median"])
    if line.get("threads"):
        yield "its threads: " + ", ".join(f"{name} {share * 100:.0f} %" for name, share in line["threads"].items())
    if line.get("generator_bound_runs"):
        yield (f"the generator's core was full in {line['generator_bound_runs']} of {line['runs']} runs and the "
               "server's was not: it could do more")
    if line.get("unbound_runs") and not paced and line["unit"] in ("deliveries", "echoes"):
        yield f"neither core was full in {line['unbound_runs']} of {line['runs']} runs: was the machine quiet?"


def million(line):
    """What a million connections would need by this slope."""
    gib = 1e6 / 2**30
    kernel = line["kernel_per_connection"]["median"] * gib
    user = line.get("rss_per_connection")
    resident = f"{user['median'] * gib:.2f} GiB resident, " if user else ""
    return f"a million by this slope: {resident}{kernel:.1f} GiB of the kernel's (about half where the clients are elsewhere)"


def number(value, form):
    return form.format(value["median"]) if value and value["median"] else "-"


def percent(value):
    return f"{value['median'] * 100:.0f} %" if value else ""


def microseconds(value):
    if not value:
        return ""
    median = value["median"]
    return f"{median:.0f} us" if median < 1000 else f"{median / 1000:.2f} ms"


def inverse(ratio):
    return f"{1 / ratio:.2f}" if ratio else ""
