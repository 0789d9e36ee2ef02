"""What watching processes costs: a capture beside it, and a map of a full host.
No program of its own."""

import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from liveruns import Flowtap, Traffic, run
from netlab import Lab
from peers import SEARCH, table, warm_memory

# A capture may take at most so much more processor time a packet.
SLOWER = 0.05
# Traffic, its rate (None: the top rate), and whether records are written: where they are not, a
# capture without watchers need not even make them. At the top rate a sender on the same host
# that is slowed down makes each packet dearer to hear: a ring's blocks then hold fewer. Rates
# that are the same show what watching itself costs: they decide, and the top rate shows what
# a sender on a watched host has of it. Memory is had at the start there (--preallocate), as
# on an appliance: on a virtual machine the first touch of a page takes longer than all else
# that is done with a packet, and is never the same twice.
EQUAL_PPS = 400_000
# A packet that is a flow with a record of its own takes 3 to 6 us of the one core.
RECORDED_PPS = 150_000
CASES = [("64-flows", EQUAL_PPS, False), ("64-random", EQUAL_PPS, False), ("64-random", RECORDED_PPS, True), ("64-flows", None, False),
         ("64-random", None, True), ("64-random", None, False)]
# How long it may take to come to rest once it listens, and what it takes in half a second at rest, at most.
START_S, AT_REST_S = 10, 0.02
PROCESSES, SOCKETS = 20_000, 50_000
SHORT_PER_S = 100
REST_S = 10

# Keeps idle children with some UDP sockets each, until its input ends. They end with it.
SLEEPERS = """
#include <arpa/inet.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>
int main(int count, char **words) {
    int processes = atoi(words[1]), sockets = atoi(words[2]), made = 0, opened = 0;
    for (; made < processes; made++) {
        int until = (int)((long long)sockets * (made + 1) / processes);
        pid_t child = fork();
        if (child < 0) break;
        if (child == 0) {
            prctl(PR_SET_PDEATHSIG, SIGKILL);
            for (; opened < until; opened++) {
                struct sockaddr_in own = {.sin_family = AF_INET};
                // An address for each 20,000: ports are fewer than sockets.
                own.sin_addr.s_addr = htonl(0x7f000002 + opened / 20000);
                int one = socket(AF_INET, SOCK_DGRAM, 0);
                if (one < 0 || bind(one, (void *)&own, sizeof own)) _exit(1);
            }
            for (;;) pause();
        }
        opened = until;
    }
    printf("%d %d\\n", made, opened);
    fflush(stdout);
    getchar();
    return 0;
}
"""


def threads_s(pid):
    """Processor seconds of a process's threads so far."""
    total = 0
    try:
        threads = list(Path(f"/proc/{pid}/task").iterdir())
    except OSError:
        return 0.0
    for thread in threads:
        try:
            total += int((thread / "schedstat").read_text().split()[0])
        except OSError:
            pass
    return total / 1e9


def watchers(program):
    """Processes of this program that watch for a capture."""
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "cmdline").read_bytes().split(b"\0")
            if words[1:3] == [b"procs", b"watch"] and os.readlink(folder / "exe") == program:
                yield folder.name
        except OSError:
            pass


class Watching(Flowtap):
    def __init__(self, program, provider):
        super().__init__(program, provider)
        self.watch = ["--procs", "off" if provider == "none" else provider]
        self.watcher_shares = []
        self.start_s = self.watcher_start_s = self.at_rest = 0.0

    def run_as(self, rate, records):
        ahead = ["--preallocate"] if rate else []
        self.options = [*self.watch, *ahead, *(["--out", "{work}/out"] if records else [])]

    def when_ready(self, pid):
        # It listens before it has all the memory that it takes at the start, and before its
        # watcher has loaded its programs and read what runs already.
        def so_far_s():
            return threads_s(pid) + self.of_watchers_s()

        before_s, now_s, until = -1.0, so_far_s(), time.monotonic() + START_S
        while abs(now_s - before_s) > AT_REST_S:
            if time.monotonic() > until:
                print(f"{self.name}: not at rest after {START_S} s", file=sys.stderr)
                break
            time.sleep(0.5)
            before_s, now_s = now_s, so_far_s()
        self.start_s, self.watcher_start_s = threads_s(pid), self.of_watchers_s()
        self.at_rest = time.monotonic()

    def of_watchers_s(self):
        return sum(threads_s(pid) for pid in watchers(self.program))

    def before_stop(self, work):
        share = (self.of_watchers_s() - self.watcher_start_s) / (time.monotonic() - self.at_rest)
        self.watcher_shares.append(share)
        return ""


class Runs:
    """Runs of one provider in one case, by round."""

    def __init__(self):
        self.of_capture, self.watcher_shares = {}, []

    def median(self, value):
        return statistics.median(map(value, self.of_capture.values()))

    def beside(self, base, value):
        """By how much a value differs from what it was in the same round of other runs: rounds
        differ from each other by more than what is looked for."""
        rounds = [(value(self, run), value(base, base.of_capture[turn])) for turn, run in self.of_capture.items() if turn in base.of_capture]
        ratios = [own / other for own, other in rounds if other]
        # Of runs too short to take more than an idle one nothing is known.
        return statistics.median(ratios) - 1 if ratios else math.nan


def costs(flowtap, chosen):
    tools = [Watching(flowtap, provider) for provider in ("none", *chosen.providers)]
    cores = tuple(int(core) for core in chosen.cores.split(","))
    chosen.dir.mkdir(parents=True, exist_ok=True)
    # Those of equal rates decide.
    cases = [case for case in CASES if case[1] or not chosen.equal_rates]
    rates = sorted({rate or 0 for _, rate, _ in cases})
    for case, rate, _ in cases:
        Traffic(case, rate, chosen.seconds, chosen.dir).file(flowtap)
    idle = {(tool.name, rate): [] for tool in tools for rate in rates}
    by_case = {case: {tool.name: Runs() for tool in tools} for case in cases}
    before = os.getloadavg()[0]
    with Lab() as lab, tempfile.TemporaryDirectory(prefix="flowtap-cost-") as scratch:
        for turn in range(chosen.rounds):
            # Who is first pays for what has cooled down: in turns.
            order = tools[turn % len(tools):] + tools[:turn % len(tools)]
            for tool in order:
                for rate in rates:
                    tool.run_as(rate, False)
                    warm_memory()
                    process, _ = run(lab, cores, tool, None, flowtap, Path(scratch), chosen.seconds)
                    idle[tool.name, rate].append((process.cpu_s - tool.start_s, tool.watcher_shares[-1]))
            for (case, rate, written), by_tool in by_case.items():
                traffic = Traffic(case, rate, chosen.seconds, chosen.dir)
                for tool in order:
                    tool.run_as(rate, written)
                    warm_memory()
                    process, measured = run(lab, cores, tool, traffic, flowtap, Path(scratch), chosen.seconds)
                    if measured.got is None:
                        print(f"{case}: {tool.name} failed: {process.text[-500:]}", file=sys.stderr)
                        continue
                    runs = by_tool[tool.name]
                    # Its start is no part of what a packet costs, and the least even part.
                    measured.cpu_s -= tool.start_s
                    runs.of_capture[turn] = measured
                    runs.watcher_shares.append(tool.watcher_shares[-1])
                    print(f"{case} {rate} {written} round {turn + 1} {tool.name}: {measured.sent} at {measured.rate:.0f}/s, lost {measured.lost}, "
                          f"cpu {measured.cpu_s:.2f}, watcher {tool.watcher_shares[-1]:.1%}, sender {measured.sender_cpu_s:.2f}",
                          file=sys.stderr, flush=True)
    load = f"{before:.1f} before, {os.getloadavg()[0]:.1f} after"
    parts = [f"## Cost beside a capture\n\nMedians of {chosen.rounds} rounds in which the providers took turns, {chosen.seconds} s of "
             "traffic each; the generator on one core, the capture and its watcher on the other. `ns/packet`: processor time of the "
             "capture once it listens, less that of a run without traffic; at equal rates with `--preallocate`. `watcher`: of one core, once it is at rest. `sender ns`: "
             "the generator's, in which the programs in the kernel run. Differences from `none` are medians over those within a round. "
             f"Losses are the worst of the rounds. Load average {load}."]
    idle_s = {run_as: statistics.median(cpu for cpu, _ in runs) for run_as, runs in idle.items()}
    rest = {tool.name: statistics.median(watcher for _, watcher in idle[tool.name, rates[0]]) for tool in tools}
    slower = []
    for (case, rate, written), by_tool in by_case.items():
        rows, base = [], None
        title = (f"{case.replace('-', ' bytes, ')}, {'the top rate' if rate is None else f'{rate:,} packets/s'}, "
                 f"records {'written' if written else 'not written'}")
        for name, runs in by_tool.items():
            if not runs.of_capture:
                rows.append([name, "failed", *[""] * 8])
                continue
            runs.idle_s = idle_s[name, rate or 0]
            ns_of = lambda of, run: max(0.0, run.cpu_s - of.idle_s) * 1e9 / run.got
            sender_of = lambda _, run: run.sender_cpu_s * 1e9 / run.sent
            heard_of = lambda _, run: run.got / (run.sent / run.rate)
            ns, sender, heard = (runs.median(lambda run, of=of: of(runs, run)) for of in (ns_of, sender_of, heard_of))
            base = base or runs
            change = runs.beside(base, ns_of)
            lost = max(run.lost / run.sent for run in runs.of_capture.values())
            watcher = statistics.median(runs.watcher_shares)
            if name != "none" and not math.isnan(change):
                slower.append((rate is not None, change, runs.beside(base, heard_of), f"{title}, {name}"))
            rows.append([name, f"{runs.median(lambda run: run.rate) / 1e6:.3f}", f"{heard / 1e6:.3f}", f"{lost:.3%}", f"{ns:.0f}",
                         f"{change:+.1%}", f"{sender:.0f}", f"{runs.beside(base, sender_of):+.1%}",
                         f"{watcher:.1%}", f"{rest[name]:.1%}"])
        parts.append(f"### {title}\n\n" + table(["watching", "Mpkt/s sent", "heard", "lost", "ns/packet", "", "sender ns", "", "watcher",
                                                  "without traffic"], rows))
    worst = max(((change, title) for equal, change, _, title in slower if equal), default=None)
    if worst:
        verdict = "met" if worst[0] <= SLOWER else "missed"
        rows = [["no provider slows capture by more than 5 %", f"at the same rate at most {worst[0]:+.1%} processor time a packet ({worst[1]})", verdict]]
        at_top = [heard for equal, _, heard, _ in slower if not equal]
        if at_top:
            rows.append(["", f"at the top rate a sender on the same host is slowed: {min(at_top):+.1%} packets a second at worst", ""])
        parts.insert(1, table(["goal", "measured", ""], rows))
    return "\n\n".join(parts)


class Sleepers:
    """Many processes with sockets."""

    def __init__(self, work, processes, sockets):
        program = work / "sleepers"
        (work / "sleepers.c").write_text(SLEEPERS)
        subprocess.run(["cc", "-O1", "-static", "-o", program, work / "sleepers.c"], check=True)
        self.child = subprocess.Popen([program, str(processes), str(sockets)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.made = tuple(map(int, self.child.stdout.readline().split()))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.child.stdin.close()
        self.child.wait()


def told_sockets(file, so_far):
    """Sockets that were told with a process, by what has been written since."""
    found = sum(b'"socket.open"' in line and b'"process"' in line for line in file)
    return so_far + found


def size_of(flowtap, provider, work):
    output = work / f"{provider}.jsonl"
    output.touch()
    begun = time.monotonic()
    child = subprocess.Popen([flowtap, "procs", "record", "-o", output, "--procs", provider], stderr=subprocess.PIPE, text=True,
                             env={**os.environ, "PATH": SEARCH})
    try:
        complete_s, told = None, 0
        with output.open("rb") as file:
            while time.monotonic() - begun < 120 and child.poll() is None:
                told = told_sockets(file, told)
                if told >= SOCKETS:
                    complete_s = time.monotonic() - begun
                    first_cpu_s = threads_s(child.pid)
                    break
                time.sleep(0.05)
        if complete_s is None:
            return [provider, f"{told:,} sockets told after 120 s", *[""] * 5]
        time.sleep(REST_S / 2)
        share = lambda seconds, work_s: f"{work_s / seconds:.1%}"
        at, before = time.monotonic(), threads_s(child.pid)
        time.sleep(REST_S)
        rest = share(time.monotonic() - at, threads_s(child.pid) - before)
        resident = int(Path(f"/proc/{child.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
        at, before, made = time.monotonic(), threads_s(child.pid), 0
        while (now := time.monotonic()) < at + REST_S:
            while made < (now - at) * SHORT_PER_S:
                subprocess.run(["true"], check=True)
                made += 1
            time.sleep(0.005)
        busy = share(time.monotonic() - at, threads_s(child.pid) - before)
        return [provider, f"{complete_s:.1f}", f"{first_cpu_s:.1f}", f"{resident / 1e6:.0f}", rest, busy, f"{made:,}"]
    finally:
        child.terminate()
        child.wait()


def sizes(flowtap, chosen):
    with tempfile.TemporaryDirectory(prefix="flowtap-size-") as work, Sleepers(Path(work), PROCESSES, SOCKETS) as sleepers:
        made = sleepers.made
        # Their sockets are bound a moment after the last one was made.
        time.sleep(3)
        before = os.getloadavg()[0]
        rows = [size_of(flowtap, provider, Path(work)) for provider in chosen.providers]
    return (f"## A full host\n\n`flowtap procs record` beside {made[0]:,} more processes with {made[1]:,} UDP sockets: seconds until each socket was "
            f"told with a process, processor seconds for it, resident memory, processor share of one core during {REST_S} s at rest and "
            f"with {SHORT_PER_S} short processes a second. Load average {before:.1f} before.\n\n"
            + table(["provider", "complete, s", "processor, s", "resident MB", "at rest", "with short ones", "of them"], rows))
