#!/usr/bin/env python3
"""The Nix files, as far as they can be tested without building anything: scripts/test-nix says how it is called.

What modules and dashboards name is held against what the daemon's own tests keep up to date: its long help and its list
of metrics, both snapshots in the repository.
"""

import json
import os
import re
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
MODULES = REPOSITORY / "modules"
SCENARIOS = REPOSITORY / "microvms" / "scenarios"
HELP = REPOSITORY / "daemon/src/cli/snapshots/xtcp2__cli__help__tests__long_help.snap"
METRICS = REPOSITORY / "daemon/tests/snapshots/metrics__metrics.snap"
# Nothing is built or fetched: no store is needed, nor one that may be written.
NIX = ["nix-instantiate", "--store", "dummy://", "--readonly-mode"]

sys.path.insert(0, str(REPOSITORY / "scripts" / "pipeline.d"))
from sql import statements  # noqa: E402

passed = 0


def check(what, condition, got=""):
    global passed
    if not condition:
        sys.exit(f"{what}: {got}" if got else what)
    passed += 1


def equal(what, got, expected):
    check(what, got == expected, f"expected {expected!r}, got {got!r}")


def main():
    files()
    alerts()
    dashboards()
    queries()
    start()
    nixpkgs, microvm = os.environ.get("NIXPKGS"), os.environ.get("MICROVM")
    if nixpkgs:
        evaluated = evaluate(nixpkgs, microvm)
        options(evaluated)
        hosts(evaluated["hosts"])
        configurations(evaluated["hosts"])
        pipeline(evaluated["pipeline"])
        if microvm:
            flake(evaluated["flake"])
    else:
        print("skipped: modules are not evaluated, NIXPKGS names no nixpkgs tree")
    if not (nixpkgs and microvm):
        print("skipped: flake and guests are not evaluated, NIXPKGS and MICROVM name no trees")
    print(f"{passed} checks")


# --- what needs Nix's parser alone


def files():
    # Not in target/, where others are at work meanwhile.
    folders = [folder for folder in REPOSITORY.iterdir() if folder.is_dir() and folder.name not in ("target", ".git")]
    found = [*REPOSITORY.glob("*.nix"), *(path for folder in folders for path in folder.rglob("*.nix"))]
    check("Nix files", len(found) > 8, len(found))
    done = subprocess.run([*NIX, "--parse", *found], capture_output=True, text=True)
    check("parse", done.returncode == 0, done.stderr)
    lock = json.loads((REPOSITORY / "flake.lock").read_text())
    inputs = re.findall(r"^  inputs\.(\w+)", (REPOSITORY / "flake.nix").read_text(), re.M)
    equal("inputs that flake.lock pins", sorted(lock["nodes"]["root"]["inputs"]), sorted(inputs))


# --- metrics


def known_metrics():
    """Names as they are scraped, by the daemon's list of families."""
    names = set()
    for line in METRICS.read_text().splitlines():
        family = re.match(r"(\w+) (counter|gauge|histogram|info): ", line)
        if not family:
            continue
        name, kind = family.groups()
        suffixes = {"counter": ["_total"], "gauge": [""], "histogram": ["_bucket", "_sum", "_count"], "info": ["_info"]}
        names.update(name + suffix for suffix in suffixes[kind])
    return names


# Labels and their values are in the daemon's source alone, and words of PromQL are none.
SOURCES = "".join(path.read_text() for path in (REPOSITORY / "daemon" / "src").rglob("*.rs"))


def check_expression(where, expression):
    used = set(re.findall(r"\b(?:xtcp2|process)_\w+", expression))
    check(f"{where}: metrics", used or "up{" in expression, expression)
    equal(f"{where}: unknown metrics", used - known_metrics(), set())
    for label, value in re.findall(r'(\w+)=~?"([^"$]*)"', expression):
        for word in value.split("|"):
            check(f"{where}: {label}={word}", label in ("job", "instance") or f'"{word}"' in SOURCES)


def alerts():
    try:
        import yaml

        groups = yaml.safe_load((MODULES / "alerts.yaml").read_text())["groups"]
        rules = [rule for group in groups for rule in group["rules"]]
    except ImportError:
        system = subprocess.run(
            ["python3", "-c", "import json, sys, yaml; json.dump(yaml.safe_load(sys.stdin), sys.stdout)"],
            input=(MODULES / "alerts.yaml").read_text(), capture_output=True, text=True,
        )  # fmt: skip
        check("alerts.yaml (python3-yaml)", system.returncode == 0, system.stderr)
        rules = [rule for group in json.loads(system.stdout)["groups"] for rule in group["rules"]]
    documented = re.findall(r"^\| (Xtcp2\w+) \|", (REPOSITORY / "docs" / "operations.md").read_text(), re.M)
    equal("alerts, and those in docs/operations.md", [rule["alert"] for rule in rules], documented)
    for rule in rules:
        check_expression(rule["alert"], rule["expr"])
        check(f"{rule['alert']}: severity", rule["labels"]["severity"] in ("warning", "critical"))
        check(f"{rule['alert']}: summary", rule["annotations"]["summary"])


def boards():
    return {path.name: json.loads(path.read_text()) for path in sorted((MODULES / "dashboards").glob("*.json"))}


def dashboards():
    uids = set(re.findall(r'uid = "([\w-]+)"', (MODULES / "pipeline.nix").read_text()))
    for file, board in boards().items():
        check(file, board["uid"] and board["panels"])
        ids = [panel["id"] for panel in board["panels"]]
        equal(f"{file}: ids", len(set(ids)), len(ids))
        for panel in board["panels"]:
            where = f"{file}, {panel['title']!r}"
            check(f"{where}: description", panel["description"].endswith("."))
            for target in panel["targets"]:
                check(f"{where}: source", {panel["datasource"]["uid"], target["datasource"]["uid"]} <= uids)
                if "expr" in target:
                    check_expression(where, target["expr"])


def queries():
    """Every query of the dashboards, by ClickHouse's engine on our tables."""
    try:
        from chdb import session
    except ImportError:
        print("skipped: queries of the dashboards are not run, there is no chdb")
        return
    import time

    now = int(time.time())
    # What Grafana puts in their place.
    values = {"$__fromTime": f"toDateTime({now - 3600})", "$__toTime": f"toDateTime({now})", "${hostname:singlequote}": "'web-1'"}
    with tempfile.TemporaryDirectory() as directory:
        engine = session.Session(directory)
        for statement in statements((REPOSITORY / "proto/clickhouse/xtcp.sql").read_text()):
            engine.query(statement)
        # Two polls of one socket a minute apart, so that there is something to show.
        for poll in (1, 2):
            engine.query(
                "INSERT INTO xtcp.xtcp_flat_records (hostname, netns, timestamp_unix_ns, instance_id, poll_sequence, record_counter,"
                " inet_diag_msg_state, inet_diag_msg_family, inet_diag_msg_socket_cookie, tcp_info_length_bytes, tcp_info_bytes_sent,"
                " tcp_info_bytes_acked, tcp_info_bytes_retrans, tcp_info_rtt) VALUES"
                f" ('web-1', '/run/netns/blue', {(now - 600 + 60 * poll) * 10**9}, 7, {poll}, {poll}, 1, 2, 9, 280,"
                f" {1000 * poll}, {900 * poll}, {10 * poll}, 250)"
            )
        asked = [
            (f"{file}, {title!r}", text)
            for file, board in boards().items()
            for title, text in [(panel["title"], target.get("rawSql", "")) for panel in board["panels"] for target in panel["targets"]]
            + [(variable["name"], variable["query"]) for variable in board["templating"]["list"]]
            if text.startswith("SELECT")
        ]
        check("queries of the dashboards", len(asked) > 10, len(asked))
        # A server's own time zone must not move the window, in either direction: what the views take is UTC.
        for zone in ("America/New_York", "Asia/Tokyo"):
            engine.query(f"SET session_timezone = '{zone}'")
            equal("time zone of the queries", engine.query("SELECT timezone()", "TSVRaw").bytes().decode().strip(), zone)
            for where, text in asked:
                for name, value in values.items():
                    text = text.replace(name, value)
                check(f"{where}: placeholders", "$" not in text, text)
                rows = engine.query(text, "JSONEachRow").bytes().decode().splitlines()
                # Nothing made a dead letter.
                check(f"{where}, {zone}: rows", rows or "xtcp.dead_letters" in text, text)
        engine.close()


# --- microvms/start.sh, with programs in the place of QEMU


def start():
    with tempfile.TemporaryDirectory() as directory:
        folder = Path(directory)

        def program(name, text):
            path = folder / name
            path.write_text(f"#!/bin/sh\n{text}\n")
            path.chmod(0o755)
            return str(path)

        arguments = 'echo "$XTCP2_QEMU_ARGUMENTS" > arguments; echo tcg > which; touch var.img booted; '
        hangs = program("hangs", "exec sleep 600")
        fails = program("fails", "exit 1")
        good = program("good", arguments + 'test "$(cat duration)" = 5m; echo $? > status')
        broken = program("broken", arguments + "echo 1 > status")
        dies = program("dies", arguments)
        shows = program("shows", arguments + "test ! -e duration")
        device = folder / "kvm"
        device.touch()

        def run(name, kvm, tcg, *words, device=device, deadline=20):
            environment = os.environ | {
                "SCENARIO": name, "KVM": kvm, "TCG": tcg, "PORTS": "admin=9088 kafka=9088",
                "XTCP2_KVM_DEVICE": str(device), "XTCP2_KVM_DEADLINE_SECONDS": str(deadline),
                "XTCP2_TCG_DEADLINE_SECONDS": str(deadline),
            }  # fmt: skip
            words = ["--out", str(folder / f"out-{name}"), *words]
            done = subprocess.run(
                [REPOSITORY / "microvms/start.sh", *words], env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True
            )
            check(f"start.sh, {name}: disk removed", not (folder / f"out-{name}" / "var.img").exists())
            return done.returncode, done.stderr

        soak = ["--duration", "5m"]
        status, said = run("kept", good, fails, *soak)
        equal("start.sh: gates kept, with KVM", (status, "up, with KVM" in said), (0, True))
        forwarded = re.findall(r"hostfwd=tcp:127.0.0.1:(\d+)-:9088", (folder / "out-kept/arguments").read_text())
        equal("start.sh: ports, each once", len(set(forwarded)), 2)
        for port in forwarded:
            check("start.sh: ports are said", f"127.0.0.1:{port}" in said, said)
        equal("start.sh: a gate broken", run("broken", broken, fails, *soak)[0], 1)
        equal("start.sh: no verdict", run("died", dies, fails, *soak)[0], 2)
        status, said = run("slow", hangs, good, *soak, deadline=1)
        equal("start.sh: KVM hangs", (status, "KVM did not bring it up" in said), (0, True))
        status, said = run("refused", fails, good, *soak)
        equal("start.sh: KVM fails", (status, "KVM did not bring it up" in said), (0, True))
        status, said = run("none", fails, good, *soak, device=folder / "none-such")
        equal("start.sh: no KVM", (status, "no KVM" in said, "KVM did not" in said), (0, True, False))
        equal("start.sh: neither comes up", run("nothing", fails, fails, *soak)[0], 2)
        equal("start.sh: for a person", run("person", shows, fails)[0], 0)
        equal("start.sh: folder in use", run("person", shows, fails)[0], 2)
        equal("start.sh: unknown flag", run("flag", good, fails, "--wait")[0], 2)


# --- evaluation


def evaluate(nixpkgs, microvm):
    arguments = ["--arg", "nixpkgs", str(Path(nixpkgs).resolve())]
    if microvm:
        arguments += ["--arg", "microvm", str(Path(microvm).resolve())]
    file = REPOSITORY / "scripts/tests/nix/evaluate.nix"
    done = subprocess.run([*NIX, "--eval", "--strict", "--json", *arguments, file], capture_output=True, text=True)
    check("evaluation", done.returncode == 0, done.stderr)
    return json.loads(done.stdout)


def flags():
    """The daemon's flags that set something: key, first sentence, words."""
    text = HELP.read_text()
    found = {}
    for name, body in re.findall(r"^  (?:-\w, )?--([a-z-]+).*\n((?:          .*\n)+)", text, re.M):
        body = " ".join(body.split())
        # What has neither a default nor a variable is an action, or another way to say a setting; the file itself is none.
        if "[environment: XTCP2_" not in body and "[default:" not in body or name == "config":
            continue
        words = re.search(r"Words: ([^.]*)\.", body)
        found[name.replace("-", "_")] = (body, words and words[1].split())
    return found


def options(evaluated):
    known, keys = flags(), evaluated["keys"]
    check("flags in the help", len(known) > 25, len(known))
    equal("options of settings, and flags of the daemon", sorted(keys), sorted(known))
    for key, (body, words) in known.items():
        check(f"settings.{key}: described as --help does", body.startswith(keys[key]["description"]), body)
        equal(f"settings.{key}: words", keys[key]["words"], words)
    for option in evaluated["declared"]:
        check(f"{option['name']}: documented", option["documented"])


def unit(*texts):
    """Section and key of a unit and its drop-ins, as systemd reads them: an empty value takes away what was before."""
    values = {}
    for text in texts:
        section = None
        for line in text.replace("\\\n", "").splitlines():
            if match := re.match(r"\[(\w+)\]", line):
                section = match[1]
            elif match := re.match(r"(\w+)=(.*)", line):
                entries = values.setdefault((section, match[1]), [])
                entries.append(match[2]) if match[2] else entries.clear()
    return values


def hosts(found):
    shipped = (MODULES / "xtcp2.service").read_text()
    check("off: nothing", not found["off"]["enable"] and "unit" not in found["off"])
    for name, host in found.items():
        if name.startswith("wrong-"):
            equal(f"{name}: assertions", len(host["assertions"]), 1)
            (message,) = host["assertions"]
            # Option, value and what to do.
            check(f"{name}: names an option", re.match(r"services\.xtcp2\.\w+", message), message)
            check(f"{name}: names a value", re.search(r'= (true|"[^"]*"|\s*"[^"]*")|port \d+', message), message)
            check(f"{name}: says what to do", re.search(r"\b(set|leave|choose)\b", message), message)
        elif name != "off":
            equal(f"{name}: assertions", host["assertions"], [])
            both = unit(shipped, host["unit"])
            equal(f"{name}: ExecStart", len(both["Service", "ExecStart"]), 1)
            check(f"{name}: the package's program", both["Service", "ExecStart"][0].startswith("/nix/store/xtcp2/bin/xtcp2 "))
            equal(f"{name}: ExecReload", len(both["Service", "ExecReload"]), 1)
            equal(f"{name}: capabilities", both["Service", "AmbientCapabilities"], both["Service", "CapabilityBoundingSet"])
            equal(f"{name}: type", both["Service", "Type"], ["notify"])
            equal(f"{name}: wantedBy", host["wantedBy"], ["multi-user.target"])
            check(f"{name}: the unit comes with the package", host["shipsUnit"])
            check(f"{name}: the file is checked", "--print-config" in host["check"], host["check"])

    default, changed = unit(shipped), unit(shipped, found["kafka"]["unit"])
    equal("capabilities by default", changed["Service", "AmbientCapabilities"], default["Service", "AmbientCapabilities"])
    differs = {key for key in changed if changed[key] != default.get(key)}
    # NixOS passes over [Install].
    expected = {("Service", "ExecStart"), ("Service", "ExecReload"), ("Service", "Environment"), ("Install", "WantedBy")}
    equal("what the drop-in changes by default", differs, expected)

    check("bare: a warning that rows are discarded", "services.xtcp2.dest" in found["bare"]["warnings"][0])
    equal("bare: dest", found["bare"]["file"], {"dest": "null", "prom_listen": "127.0.0.1:9088"})
    equal("key: no warning, no spool", (found["key"]["warnings"], "spool_dir" in found["key"]["file"]), ([], False))
    equal("key: frequency", found["key"]["file"]["frequency"], "5s")
    equal("kafka: spool", found["kafka"]["file"]["spool_dir"], "/var/lib/xtcp2")

    full = found["full"]
    service = unit(shipped, full["unit"])
    flags = shlex.split(service["Service", "ExecStart"][0])
    # As systemd passes them on: %% and $$ are its spelling of % and $.
    equal("full: flags", flags[-2:], ["--label", "100%% of $$HOME"])
    equal("full: capabilities", service["Service", "AmbientCapabilities"], ["CAP_SYS_ADMIN CAP_NET_ADMIN"])
    equal("full: credentials", service["Service", "LoadCredential"], ["kafka-password:/run/secrets/kafka"])
    equal("full: environment", service["Service", "EnvironmentFile"], ["-/etc/xtcp2/environment", "/run/secrets/xtcp2.env"])
    socket = unit((MODULES / "xtcp2.socket").read_text(), full["socket"])
    equal("full: socket", (socket["Socket", "ListenStream"], full["firewall"]), (["9100"], [9100]))
    equal("full: sysctl", full["sysctl"], 4096)
    equal("kafka: sysctl, firewall, socket", [found["kafka"][key] for key in ("sysctl", "firewall", "socket")], [None, [], None])


def toml(value):
    return json.dumps(value, ensure_ascii=False)


def configurations(found):
    """The files that the hosts get, read by the daemon where it was built."""
    target = Path(os.environ.get("CARGO_TARGET_DIR", REPOSITORY / "target"))
    programs = [target / build / "xtcp2" for build in ("debug", "release") if (target / build / "xtcp2").exists()]
    if not programs:
        print("skipped: configurations of the hosts are not read by the daemon, which was not built")
        return
    for name, host in found.items():
        if "file" not in host:
            continue
        with tempfile.NamedTemporaryFile("w", suffix=".toml") as file:
            file.writelines(f"{key} = {toml(value)}\n" for key, value in host["file"].items())
            file.flush()
            command = shlex.split(host["check"].splitlines()[0].split(">")[0])
            command = [str(programs[0]) if word.endswith("/bin/xtcp2") else word for word in command]
            command = [file.name if word == "/nix/store/xtcp2.toml" else word for word in command]
            done = subprocess.run(command, capture_output=True, text=True)
            check(f"{name}: the daemon reads its file", done.returncode == 0, done.stderr)
            check(f"{name}: as it was meant", f"dest = {toml(host['file']['dest'])}" in done.stdout, done.stdout)


def pipeline(found):
    kafka_sql = (REPOSITORY / "proto/clickhouse/xtcp_kafka.sql").read_text()
    edit = re.search(r"sed ('.*')", found["script"])
    edited = subprocess.run(f"sed {edit[1]}", shell=True, input=kafka_sql, capture_output=True, text=True).stdout
    check("pipeline: the topic reaches ClickHouse", "kafka_topic_list = 'sockets'" in edited and "'xtcp'," not in edited)
    check("pipeline: the topic is made", "--topic sockets " in found["script"])
    check("pipeline: its broker is the one in the SQL", "kafka_broker_list = 'localhost:9092'" in kafka_sql)
    check("pipeline: format", "XtcpFlatRecord.proto" in found["clickhouse"])
    check("pipeline: all copies at one node", found["kafka"]["offsets.topic.replication.factor"] == 1)
    (job,) = found["prometheus"]["scrapeConfigs"]
    equal("pipeline: job", (job["job_name"], job["static_configs"][0]["targets"]), ("xtcp2", ["127.0.0.1:9088"]))
    for path in [*found["prometheus"]["rules"], *found["dashboards"]]:
        check(f"pipeline: {path}", Path(path).exists())
    check("pipeline: Grafana's key", found["secretKey"].removeprefix("$__file{").rstrip("}") in found["grafana"])


def flake(found):
    systems = ["aarch64-linux", "x86_64-linux"]
    names = sorted(path.stem for path in SCENARIOS.glob("*.toml"))
    for output in ("packages", "apps", "checks", "devShells", "formatter", "nixosModules", "overlays"):
        check(f"flake: {output}", output in found["outputs"])
    # As the stand-in names what daemon/package.nix makes.
    equal("flake: the module's package", found["module"], "/nix/store/daemon")
    for system in systems:
        architecture = system.removesuffix("-linux")
        for name in [*names, "soak"]:
            check(f"flake: an app for {name}", f"microvm-{architecture}-{name}" in found["apps"][system])
        for name in ("bench-polls", "bench-builds"):
            program = f"/nix/store/{name}/bin/{name}"
            equal(f"flake: app {name}", found["apps"][system][name], program)
        for package in ("xtcp2", "xtcp2-soak", "image", "test-race"):
            check(f"flake: package {package}", package in found["packages"][system])
        equal(f"guests of {system}", sorted(found["guests"][system]), names)
        for name, guests in found["guests"][system].items():
            text = (SCENARIOS / f"{name}.toml").read_text()
            number = lambda key: int(re.search(rf"^{key} = (\d+)", text, re.M)[1])  # noqa: E731
            for kind, guest in guests.items():
                where = f"guest {name}, {system}, {kind}"
                check(f"{where}: memory", guest["mem"] - number("memory_mib") in (0, 1) and guest["mem"] != 2048, guest["mem"])
                equal(f"{where}: processors, port", (guest["vcpu"], guest["port"]), (number("cpus"), number("admin")))
                equal(f"{where}: docker", guest["docker"], 'kind = "containers"' in text)
                equal(f"{where}: pipeline", guest["dest"].startswith("kafka:"), "[pipeline]" in text)
                equal(f"{where}: starts by itself", guest["started"], ["scenario"])
                check(f"{where}: runs the scenario", f"/{name}.toml --duration" in guest["script"], guest["script"])
                runner = guest["runner"]
                equal(f"{where}: acceleration", ("-enable-kvm" in runner, "accel=tcg" in runner), (kind == "kvm", kind == "tcg"))
                check(f"{where}: results", "path=.,security_model=none,readonly=false" in runner)
                check(f"{where}: ports at start", "XTCP2_QEMU_ARGUMENTS" in runner and "hostfwd" not in runner)


if __name__ == "__main__":
    main()
