"""Runs of a live capture that are measured: a generator at one end of a link, a
program that captures at the other. No program of its own."""

import json
import os
import re
import shutil
import signal
import subprocess
import threading
import time
from datetime import datetime
from pathlib import Path

from peers import SEARCH, output_of

FLOWS = 10_000
# Six times round all flows: 5 to 32 MB, of which one core's caches hold most.
LOOP_PACKETS = 60_000
# What the generator can reach at most; a capture of random sources has so many for each second.
TOP_PPS = 1_300_000
READY_S = 20
# From the last packet sent to the signal to stop: every tool's buffers have a timeout below this.
DRAIN_S = 1.5
# After the signal to stop.
STOP_LIMIT_S = 45
CASES = {
    "64-flows": (64, "flows"),
    "512-flows": (512, "flows"),
    "64-random": (64, "random"),
    "512-random": (512, "random"),
}
# The detectors' own words for a flood.
FLOOD_ALERT = re.compile(r"flood", re.I)


class Tool:
    """A program that captures. `counts` gives what it says: packets it got,
    and packets it admits to have lost (None where it doesn't tell)."""

    one_way = False
    # What it says when it listens, if it does.
    ready_words = None
    stop_signal = signal.SIGINT

    def __init__(self, name, program, version, note=""):
        self.name, self.program, self.note = name, shutil.which(program, path=SEARCH), note
        self.version = version.strip() if self.program else "pending"

    def command(self, interface, work):
        raise NotImplementedError

    def when_ready(self, pid):
        """It listens, and nothing was sent yet."""

    def before_stop(self, work):
        """What it says only while it runs."""
        return ""

    def counts(self, text, work):
        raise NotImplementedError


class Flowtap(Tool):
    ready_words = "listening on"

    def __init__(self, program, name, *options, note=""):
        super().__init__(name, str(program), output_of(str(program), "--version"), note)
        self.options = options

    def command(self, interface, work):
        options = [option.format(work=work) for option in self.options]
        return [self.program, "live", "-i", interface, "--json", *options]

    @staticmethod
    def summary(text):
        line = next((line for line in text.splitlines() if line.startswith('{"schema"')), None)
        return json.loads(line) if line else None

    def counts(self, text, work):
        summary = self.summary(text)
        if summary is None:
            return None, None
        return summary["packets"], summary["capture"]["kernel_drops"] + summary["capture"]["interface_drops"]


class Process:
    """A tool while it captures: what it says with the time it says it, and
    what it took in the end."""

    def __init__(self, lab, core, tool, work):
        self.tool, self.work, self.lines = tool, work, []
        self.words = tool.command(lab.far, work)
        env = {**os.environ, "XDG_STATE_HOME": str(work), "PATH": SEARCH}
        # ip and taskset replace themselves by the tool: the process is the tool's.
        self.child = subprocess.Popen([*lab.listener(core), *self.words], stdout=subprocess.PIPE,
                                      stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, cwd=work, env=env)
        self.reader = threading.Thread(target=self.read, daemon=True)
        self.reader.start()
        self.said = ""
        self.wait_until_ready()
        tool.when_ready(self.child.pid)

    def read(self):
        for line in self.child.stdout:
            self.lines.append((time.time(), line.decode(errors="replace")))

    def wait_until_ready(self):
        """Until it has a packet socket, and says so if it does that, and a second
        more. A large ring takes its time to be cleared after the socket is there."""
        sockets = Path(f"/proc/{self.child.pid}/net/packet")
        end = time.monotonic() + READY_S
        while time.monotonic() < end:
            try:
                said = not self.tool.ready_words or any(self.tool.ready_words in line for _, line in self.lines)
                if said and len(sockets.read_text().splitlines()) > 1:
                    break
            except OSError:
                break
            time.sleep(0.02)
        time.sleep(1)

    def stop(self):
        self.said = self.tool.before_stop(self.work)
        # Not by send_signal: that takes what one that ended by itself took, before it is read here.
        os.kill(self.child.pid, self.tool.stop_signal)
        killed = threading.Event()

        def kill():
            killed.set()
            os.kill(self.child.pid, signal.SIGKILL)

        watch = threading.Timer(STOP_LIMIT_S, kill)
        watch.start()
        _, status, usage = os.wait4(self.child.pid, 0)
        watch.cancel()
        self.child.returncode = os.waitstatus_to_exitcode(status)
        self.reader.join(5)
        self.killed = killed.is_set()
        self.cpu_s = usage.ru_utime + usage.ru_stime
        self.system_s = usage.ru_stime
        self.peak_bytes = usage.ru_maxrss * 1024
        self.text = "".join(line for _, line in self.lines) + self.said
        self.got, self.admitted = self.tool.counts(self.text, self.work)


class Traffic:
    """What the generator sends in a case, at a rate."""

    def __init__(self, case, rate, seconds, folder):
        self.frame_bytes, self.kind = CASES[case]
        self.case, self.rate, self.seconds = case, rate, seconds
        self.folder = folder

    def file(self, flowtap):
        """The capture, made once for all rates of the case."""
        size = str(self.frame_bytes)
        if self.kind == "flows":
            file = self.folder / f"flows-{size}.pcap"
            words = ["growth", "--flows", str(FLOWS), "--packets", str(LOOP_PACKETS)]
        else:
            file = self.folder / f"random-{size}-{self.seconds}s.pcap"
            words = ["flood", "--packets", str(TOP_PPS * self.seconds), "--snaplen", "64"]
        if not file.exists():
            draft = file.with_suffix(".part")
            subprocess.run([flowtap, "lab", "synth", *words, "--frame-bytes", size, "-o", draft], check=True,
                           stdout=subprocess.DEVNULL)
            draft.rename(file)
        return file

    def command(self, flowtap, lab, core):
        speed = ["--speed", "max"] if self.rate is None else ["--speed", f"{self.rate}pps",
                                                               "--limit", str(self.rate * self.seconds)]
        # Random sources come once: in another round they would be known.
        again = ["--loop", "0"] if self.kind == "flows" else ["--pad"]
        return [*lab.sender(core), flowtap, "replay", str(self.file(flowtap)), "-i", lab.near, *again, *speed, "--json"]

    def send(self, flowtap, lab, core):
        """Sends; gives the generator's own report."""
        child = subprocess.Popen(self.command(flowtap, lab, core), stdout=subprocess.PIPE, stdin=subprocess.DEVNULL)
        if self.rate is None:
            time.sleep(self.seconds)
            child.send_signal(signal.SIGINT)
        watch = threading.Timer(4 * self.seconds + 20, child.kill)
        watch.start()
        try:
            out = child.stdout.read()
            _, status, usage = os.wait4(child.pid, 0)
            child.returncode = os.waitstatus_to_exitcode(status)
        finally:
            watch.cancel()
        return {**json.loads(out), "cpu_s": usage.ru_utime + usage.ru_stime}


class Measured:
    """One run of a tool in a case."""

    def __init__(self, process, report, received):
        self.sent, self.rate, self.sender_cpu_s = report["sent_packets"], report["packets_per_s"], report["cpu_s"]
        self.received = received
        self.got, self.admitted = process.got, process.admitted
        self.cpu_s, self.peak_bytes, self.killed = process.cpu_s, process.peak_bytes, process.killed
        self.system_s = process.system_s
        started = datetime.fromisoformat(re.sub(r"(\.\d{6})\d*Z", r"\1+00:00", report["started"])).timestamp()
        alerts = [at - started for at, line in process.lines if FLOOD_ALERT.search(line) and line.startswith("flowtap: ")]
        self.alert_s = min(alerts, default=None)

    @property
    def lost(self):
        return None if self.got is None else self.sent - self.got

    @property
    def adds_up(self):
        return None if self.admitted is None or self.got is None else self.got + self.admitted == self.sent


def run(lab, cores, tool, traffic, flowtap, scratch, seconds):
    """One run; without traffic, an idle one as long as one with it."""
    work = scratch / "work"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir()
    before = lab.received()
    process = Process(lab, cores[1], tool, work)
    report = None
    try:
        if traffic:
            report = traffic.send(flowtap, lab, cores[0])
        else:
            time.sleep(seconds)
        time.sleep(DRAIN_S)
    finally:
        process.stop()
    shutil.rmtree(work, ignore_errors=True)
    return process, Measured(process, report, lab.received() - before) if report else None
