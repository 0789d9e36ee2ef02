"""One-shot programs that send something and are gone, and which of them a
capture named. No program of its own.

Three namespaces: programs run in the first, others in a container in the
second, and servers answer in the third, where the capture hears both links.
Each run has a destination address of its own, which stands in its command line
too: which record is whose is certain, and so is who sent it.
"""

import json
import os
import queue
import random
import shlex
import shutil
import subprocess
import threading
import time
from collections import Counter
from pathlib import Path

from netlab import Spaces, ip
from peers import SEARCH

# Each run's destination is one of these, all of them the third namespace's own.
RANGE = "10.201.0.0/16"
MOST_RUNS = 65_000
# One in so many runs is in the container.
CONTAINER_SHARE = 10
# Where a record names a process with less certainty, it names a candidate: as `flowtap coverage` counts.
FOUND_CERTAINTY = 0.5
LINKS = [("near0", "10.200.1.1", "far0", "10.200.1.2"), ("near1", "10.200.2.1", "far1", "10.200.2.2")]
ENVIRONMENT = {"PATH": SEARCH, "LANG": "C"}

# Runs what it is told, one after the other. Its pid is that of its own process namespace.
LAUNCHER = """
import json, subprocess, sys, time
nothing = subprocess.DEVNULL
for line in sys.stdin:
    begun = time.monotonic()
    child = subprocess.Popen(json.loads(line), stdin=nothing, stdout=nothing, stderr=nothing)
    status = child.wait()
    print(json.dumps([child.pid, status, time.monotonic() - begun]), flush=True)
"""

# Takes datagrams, so that nobody answers them with an error.
SINK = """
import socket
sink = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sink.bind(("0.0.0.0", 9))
print("ready", flush=True)
while True:
    sink.recv(64)
"""

UDP_SEND = """
#include <arpa/inet.h>
#include <string.h>
#include <sys/socket.h>
int main(int count, char **words) {
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(9)};
    if (count < 2 || inet_pton(AF_INET, words[1], &to.sin_addr) != 1) return 2;
    int sender = socket(AF_INET, SOCK_DGRAM, 0);
    return sendto(sender, words[1], strlen(words[1]), 0, (void *)&to, sizeof to) < 0;
}
"""

UDP_PYTHON = "import socket; socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'once', ('{to}', 9))"

# By kind: the protocol of its record, and its command line.
KINDS = {
    "curl": ("tcp", lambda to: ["curl", "-s", "-o", "/dev/null", f"http://{to}/"]),
    "ping": ("icmp", lambda to: ["ping", "-c1", "-n", to]),
    "udp python": ("udp", lambda to: ["python3", "-S", "-c", UDP_PYTHON.format(to=to)]),
    "udp c": ("udp", lambda to: ["udp-send", to]),
    "dig": ("udp", lambda to: ["dig", "+tries=1", f"@{to}", f"{to.replace('.', '-')}.bench.test"]),
}


class Run:
    def __init__(self, number, kind, in_container):
        self.kind, self.in_container = kind, in_container
        self.protocol, words = KINDS[kind]
        self.to = f"10.201.{number // 250}.{number % 250 + 1}"
        self.words = words(self.to)
        self.pids, self.status, self.seconds = set(), None, None
        self.verdict, self.how, self.named = "not captured", None, None


def runs(each):
    if each * len(KINDS) > MOST_RUNS:
        raise SystemExit(f"at most {MOST_RUNS // len(KINDS)} runs of each program")
    made = [(kind, number % CONTAINER_SHARE == 0) for kind in KINDS for number in range(each)]
    # The same order each time, and no provider has the same program for long.
    random.Random(1).shuffle(made)
    return [Run(number, *one) for number, one in enumerate(made)]


class Place:
    """The namespaces, the servers and the container."""

    def __init__(self, work):
        self.work, self.spaces, self.children = work, Spaces(3), []
        self.container = f"flowtap-bench-{os.getpid()}"
        self.bin = work / "bin"

    def __enter__(self):
        self.spaces.__enter__()
        try:
            self.make()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        for child in self.children:
            child.kill()
            child.wait()
        if shutil.which("runc", path=SEARCH):
            subprocess.run(["runc", "delete", "--force", self.container], env=ENVIRONMENT, stderr=subprocess.DEVNULL)
        self.spaces.__exit__()

    @property
    def far(self):
        return self.spaces.spaces[2]

    def make(self):
        self.bin.mkdir()
        source = self.work / "udp-send.c"
        source.write_text(UDP_SEND)
        subprocess.run(["cc", "-O1", "-static", "-o", self.bin / "udp-send", source], check=True)
        for space, (near, own, far, other) in zip(self.spaces.spaces, LINKS):
            self.spaces.join(space, near, self.far, far)
            for where, name, address in ((space, near, own), (self.far, far, other)):
                ip("-n", where, "address", "add", f"{address}/24", "dev", name)
                ip("-n", where, "link", "set", name, "up")
            ip("-n", space, "route", "add", "default", "via", other)
        ip("-n", self.far, "route", "add", "local", RANGE, "dev", "lo")
        self.serve()
        self.contain()

    def serve(self):
        nginx = self.work / "nginx"
        (nginx / "html").mkdir(parents=True)
        (nginx / "html/index.html").write_text("here\n")
        (nginx / "conf").write_text(
            f"daemon off; master_process off; user root; pid {nginx}/pid; error_log stderr crit;\n"
            f"events {{}} http {{ access_log off; server {{ listen 80; root {nginx}/html; }} }}\n")
        self.start(self.far, "nginx", "-p", str(nginx), "-c", str(nginx / "conf"))
        self.start(self.far, "dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--no-resolv", "--no-hosts",
                   "--pid-file=", "--user=root", "--address=/bench.test/192.0.2.1")
        sink = self.start(self.far, "python3", "-S", "-c", SINK, stdout=subprocess.PIPE)
        sink.stdout.readline()
        tries = {"nginx": ["curl", "-sf", "-o", "/dev/null", "http://10.201.255.1/"],
                 "dnsmasq": ["dig", "+tries=1", "+time=1", "@10.201.255.1", "bench.test"]}
        for name, words in tries.items():
            until = time.monotonic() + 20
            while subprocess.run([*Spaces.inside(self.spaces.spaces[0]), *words], env=ENVIRONMENT,
                                 stdout=subprocess.DEVNULL).returncode:
                if time.monotonic() > until:
                    raise SystemExit(f"{name} does not answer")
                time.sleep(0.1)

    def start(self, space, *words, **options):
        child = subprocess.Popen([*Spaces.inside(space), *words], env=ENVIRONMENT, stdin=subprocess.DEVNULL, **options)
        self.children.append(child)
        return child

    def contain(self):
        """A container whose root is busybox and the host's programs."""
        bundle = self.work / "bundle"
        root = bundle / "rootfs"
        for folder in ("bin", "dev", "etc", "proc", "sys", "tmp", "usr"):
            (root / folder).mkdir(parents=True)
        shutil.copy(shutil.which("busybox", path=SEARCH), root / "bin/busybox")
        shutil.copy(self.bin / "udp-send", root / "bin/udp-send")
        for folder in ("lib", "lib64", "sbin"):
            (root / folder).symlink_to(f"usr/{folder}")
        subprocess.run(["runc", "spec", "--bundle", bundle], env=ENVIRONMENT, check=True)
        spec = json.loads((bundle / "config.json").read_text())
        spec["process"].update(terminal=False, args=["/bin/busybox", "sleep", "36000"])
        for rights in ("bounding", "effective", "permitted"):
            spec["process"]["capabilities"][rights].append("CAP_NET_RAW")
        for namespace in spec["linux"]["namespaces"]:
            if namespace["type"] == "network":
                namespace["path"] = f"/run/netns/{self.spaces.spaces[1]}"
        spec["mounts"].append({"destination": "/usr", "type": "bind", "source": "/usr", "options": ["rbind", "ro"]})
        (bundle / "config.json").write_text(json.dumps(spec))
        # What runs detached keeps these.
        nothing = {name: subprocess.DEVNULL for name in ("stdin", "stdout", "stderr")}
        subprocess.run(["runc", "run", "--detach", "--bundle", bundle, self.container], env=ENVIRONMENT, check=True, **nothing)

    def launch(self, all_runs, at_once):
        """Runs them, `at_once` in the first namespace, and one in the container."""
        python = ["python3", "-S", "-c", LAUNCHER]
        outside, inside = queue.SimpleQueue(), queue.SimpleQueue()
        for run in all_runs:
            (inside if run.in_container else outside).put(run)
        path = f"PATH={self.bin}:{SEARCH}"
        host = [*Spaces.inside(self.spaces.spaces[0]), "env", path, *python]
        contained = ["runc", "exec", "--env", f"PATH=/bin:{SEARCH}", self.container, *python]
        workers = [threading.Thread(target=self.work_off, args=(host, outside)) for _ in range(at_once)]
        workers.append(threading.Thread(target=self.work_off, args=(contained, inside)))
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()

    @staticmethod
    def work_off(launcher, waiting):
        child = subprocess.Popen(launcher, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=ENVIRONMENT)
        with child:
            while not waiting.empty():
                try:
                    run = waiting.get_nowait()
                except queue.Empty:
                    break
                child.stdin.write(json.dumps(run.words) + "\n")
                child.stdin.flush()
                pid, run.status, run.seconds = json.loads(child.stdout.readline())
                if not run.in_container:
                    run.pids.add(pid)
            child.stdin.close()


def judge(all_runs, out, recorded):
    """Gives each run its verdict by the records in `out`. Processes that a record
    names by number alone are those of the recorded map."""
    by_words = {tuple(run.words): run for run in all_runs}
    with recorded.open() as lines:
        for line in lines:
            if '"process.exec"' not in line and '"process.start"' not in line:
                continue
            event = json.loads(line)
            if run := by_words.get(tuple(event.get("args", ()))):
                run.pids.add(event["pid"])
    by_end = {(run.to, run.protocol): run for run in all_runs}
    for file in sorted(Path(out).glob("flows*.ndjson")):
        with file.open() as lines:
            for line in lines:
                record = json.loads(line)
                for server, client in (("dst", "src"), ("src", "dst")):
                    if run := by_end.get((record[f"{server}_ip"], record["proto_name"])):
                        judge_record(run, record.get(f"{client}_host", {}))


# From the best to the worst: of several records of a run the worst counts.
VERDICTS = ["right", "one of several", "candidate", "wrong candidate", "other program", "wrong"]


def words_of(command_line):
    """The arguments, as a shell has them; nothing where they hold what shlex can't read, which no run's do."""
    try:
        return shlex.split(command_line)
    except ValueError:
        return None


def judge_record(run, host):
    process, how = host.get("process"), host.get("attribution", {})
    if process is None:
        verdict = how.get("reason", "not a host's")
    else:
        sure = how["certainty"] >= FOUND_CERTAINTY
        if words_of(process.get("command_line", "")) == run.words:
            verdict = "right" if sure else "candidate"
        elif process["pid"] in run.pids:
            verdict = "other program"
        elif run.pids.intersection(how.get("others", ())):
            verdict = "one of several" if sure else "candidate"
        else:
            verdict = "wrong" if sure else "wrong candidate"
    rank = lambda verdict: VERDICTS.index(verdict) if verdict in VERDICTS else len(VERDICTS)
    if run.how is None or rank(verdict) > rank(run.verdict):
        run.verdict, run.how, run.named = verdict, how, process


def verdicts(some_runs):
    return Counter(run.verdict for run in some_runs)
