"""Who takes turns in a run, and how each is started."""

import json
import shutil
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path

from . import ROOT, TARGET, Failed
from .process import READY_SECONDS_MAX, free_port, pinned, running

sys.path.insert(0, str(ROOT / "perf" / "peers"))
import adapters  # noqa: E402  (the peers' directory is no package of ours)

# The gateway of `--against`: a name that no column has to be wider for.
AGAINST = "gateway-other"
# The certificate's file in a server's scratch directory.
CERTIFICATE = "certificate.pem"
OURS = ("gateway", "gateway-2", "gateway-tls", AGAINST, "baseline", "limit", "limit-tls")


def is_at_hand(name):
    return name in OURS or adapters.is_installed(name)


def installed_peers():
    return [name for name in adapters.SCENARIOS if adapters.is_installed(name)]


def can_run(name, variant):
    """Whether a contender of ours knows the protocols of a variant; peers say so by `adapters.SCENARIOS`."""
    return name != "baseline" or variant.scenario not in ("backend", "messenger", "wse")


def peers_for(variant):
    """The installed peers that run this, too."""
    return [name for name in installed_peers() if variant.peers and variant.scenario in adapters.SCENARIOS[name]]


def known():
    return [*OURS, *adapters.SCENARIOS, *adapters.OTHERS]


def versions(names):
    """What runs, by contender."""
    described = {}
    for name in names:
        if name == AGAINST:
            described[name] = "another build"
        elif name in OURS:
            described[name] = "this commit"
        else:
            described[name] = adapters.adapter(name).version()
    return described


def build(names):
    steps = [["-p", "loadgen"]]
    examples = {name.removesuffix("-tls") for name in names} & {"baseline", "limit"}
    steps += [["--example", name] for name in sorted(examples)]
    if any(name.startswith("gateway") for name in names):
        steps.append(["--bin", "fanfare"])
    for step in steps:
        command = ["cargo", "build", "--release", "--quiet", "--locked", *step]
        if subprocess.run(command, cwd=ROOT).returncode != 0:
            raise Failed("cannot build: " + " ".join(command))


class Server:
    """A contender that listens, under one scenario."""

    def __init__(self, name, options, scenario):
        self.name = name
        self.options = options
        self.cores, self.generator_cores = [options.server_core], [options.generator_core]
        self.shards = 1
        if scenario.share_cores:
            self.cores = self.generator_cores = [options.server_core, options.generator_core]
        if name == "gateway-2":
            # Both share both cores: what counts is the server's CPU time per delivery.
            self.cores = self.generator_cores = [options.server_core, options.generator_core]
            self.shards = 2
        self.has_token = scenario.token and name.startswith("gateway")
        self.environment = dict(scenario.environment)
        self.has_store = scenario.has_store
        self.database = None
        self.has_tls = scenario.tls or name.endswith("-tls")
        self.target = ["--target", name] if name in adapters.SCENARIOS else []

    def start(self, scratch, port):
        """Command line and environment; `scratch` is an empty directory."""
        address = f"127.0.0.1:{port}"
        if self.name == "baseline":
            return [TARGET / "examples" / "baseline", "--listen", address], {}
        if self.name == "limit-tls":
            certificate, key = self_signed(scratch)
            return [TARGET / "examples" / "limit", "tls", "--listen", address, "--server-core", self.cores[0],
                    "--certificate", certificate, "--key", key], {}
        if not self.name.startswith("gateway"):
            return adapters.adapter(self.name).command(port, scratch, len(self.cores))
        gateway = self.options.against if self.name == AGAINST else self.options.gateway
        server = [gateway, "serve", "--shards", str(self.shards), "--listen", address]
        environment = self.environment
        if self.has_tls:
            server[-1] = f"https://{address}"
            certificate, key = self_signed(scratch)
            environment = {
                **environment,
                "FANFARE_TLS__CERTIFICATE_FILE": str(certificate), "FANFARE_TLS__KEY_FILE": str(key),
            }
        if self.has_store:
            self.database = scratch / "fanfare.db"
            environment = {**environment, "FANFARE_STORE__URL": f"sqlite:{self.database}"}
        server += self.options.gateway_args.split()
        if not self.has_token:
            return [*server, "--mode", "demo"], environment
        secret = scratch / "secret"
        secret.write_text("perf-run-secret-of-32-bytes-or-more\n")
        return [*server, "--mode", "prod"], {
            **environment,
            "FANFARE_AUTH__JWT_SECRET_FILE": str(secret),
            # All come from one address, as one user.
            "FANFARE_EVENTS__MAX_CONNECTIONS_PER_USER": "0",
            "FANFARE_EVENTS__MAX_CONNECTIONS_PER_IP": "0",
        }

    def generator_arguments(self, scratch, address):
        url, trust = f"ws://{address}", []
        if self.has_tls:
            url, trust = f"wss://{address}", ["--ca-file", scratch / CERTIFICATE]
        if not self.has_token:
            return ["--url", url, *trust]
        token = subprocess.run(
            [self.options.gateway, "gen-token", "--sub", "perf", "--secret-file", scratch / "secret"],
            stdout=subprocess.PIPE, text=True, check=True,
        ).stdout.strip()
        return ["--url", f"{url}/api/v1/ws", "--header", f"Authorization: Bearer {token}", *trust]

    @contextmanager
    def started(self, log, wrap=None, ready_seconds_max=READY_SECONDS_MAX, port=None):
        """The server while it runs: its process id, and how loadgen gets at it. `wrap` puts the command
        line into a tool's; without a `port` it has one of its own."""
        shared = port is not None
        port = port or free_port()
        # The system's temporary folder may be in memory.
        with tempfile.TemporaryDirectory(prefix="fanfare-perf-", dir=TARGET if self.has_store else None) as directory:
            scratch = Path(directory)
            # Servers that give up root have to get in.
            scratch.chmod(0o755)
            server, environment = self.start(scratch, port)
            if not Path(server[0]).exists():
                raise Failed(f"{server[0]} does not exist")
            if shared:
                environment = {**environment, "FANFARE_SERVER__SHARE_PORT": "true"}
            command = pinned(self.cores, wrap(server) if wrap else server)
            with running(command, environment, port, log, ready_seconds_max) as pid:
                yield pid, [*self.target, *self.generator_arguments(scratch, f"127.0.0.1:{port}")]

    def generator(self, command, arguments, report, seconds):
        """loadgen's command line; `seconds` of warm-up and of measuring."""
        warmup, duration = seconds
        command = [part.replace("{database}", str(self.database)) for part in command]
        return pinned(self.generator_cores, [
            TARGET / "loadgen", *command, *arguments, "--json", report, "--quiet",
            "--warmup", warmup, "--duration", duration,
        ])

    def run(self, command, stem):
        """Starts the server, loads it, stops it, and returns loadgen's report."""
        report = Path(f"{stem}.json")
        seconds = (self.options.warmup, self.options.duration)
        with self.started(Path(f"{stem}.log")) as (pid, arguments):
            finish(self.generator(command, [*arguments, "--pid", pid], report, seconds), report)
        return json.loads(report.read_text())


def self_signed(scratch):
    """A certificate for 127.0.0.1 that loadgen trusts as it is, and its key: P-256, as most have."""
    certificate, key = scratch / CERTIFICATE, scratch / "key.pem"
    if not shutil.which("openssl"):
        raise Failed("openssl is not installed, which makes the certificate for TLS")
    made = subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "30",
         "-subj", "/CN=perf", "-addext", "subjectAltName=IP:127.0.0.1", "-addext", "basicConstraints=critical,CA:FALSE",
         "-out", certificate, "-keyout", key],
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )
    if made.returncode != 0:
        raise Failed(f"openssl: {made.stderr.strip()}")
    return certificate, key


def finish(generator, report):
    """Runs loadgen to its end; without a report that is a failure."""
    ended = subprocess.run(generator, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    if not report.exists():
        raise Failed(f"loadgen: {ended.stderr.strip() or ended.returncode}")


def run_limit(options, arguments, report, stem):
    """The bare-socket limit with these arguments, at the sizes and joining that a server's run had."""
    sizes = {
        "wire": max(round(report.get("wire_bytes_per_message") or 0), 2),
        "sent": max(round(report.get("sent_bytes_per_message") or 0), 2),
        "join": max(round(report.get("messages_per_read") or 1), 1),
    }
    limit = subprocess.run(
        [str(TARGET / "examples" / "limit"), *arguments.format(**sizes).split(), "--json",
         "--duration", str(options.duration),
         "--server-core", str(options.server_core), "--generator-core", str(options.generator_core)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )
    if limit.returncode != 0:
        raise Failed(limit.stderr.strip() or f"status {limit.returncode}")
    Path(f"{stem}.json").write_text(limit.stdout)
    return json.loads(limit.stdout)[0]
