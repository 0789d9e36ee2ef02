"""What the benches against peers share: how peers are found and started, the
machine's description and its memory, and tables. No program of its own."""

import mmap
import os
import platform
import re
import subprocess
from pathlib import Path

SEARCH = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
# What a capture of a million flows, or some seconds of random sources, takes, and more.
WARM_BYTES = 1 << 30
APP_LAYERS = """bittorrent-dht dcerpc dhcp dnp3 dns doh2 enip ftp http http2 ike imap krb5 ldap mdns
modbus mqtt nfs ntp pgsql pop3 quic rdp rfb sip smb smtp snmp ssh telnet tftp tls websocket"""
SURICATA_YAML = """%YAML 1.1
---
outputs:
  - eve-log: {enabled: yes, filetype: regular, filename: eve.json, buffer-size: 1mb, types: [flow]}
stats: {enabled: no}
logging: {default-log-level: error, outputs: [{console: {enabled: yes}}]}
max-pending-packets: 8192
flow: {memcap: 12gb, hash-size: 1048576, prealloc: 10000}
stream: {memcap: 4gb, checksum-validation: no, reassembly: {memcap: 1gb, depth: 1kb}}
app-layer:
  protocols:
""" + "".join(f"    {name}: {{enabled: no}}\n" for name in APP_LAYERS.split())


def output_of(*command):
    """What a command prints, or nothing when it can't be run."""
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    except OSError:
        return ""
    return done.stdout


def first_number(pattern, text):
    found = re.search(pattern, text)
    return int(found[1]) if found else None


def debian(package):
    return f"{package} {output_of('dpkg-query', '-W', '-f', '${Version}', package)}"


def suricata_command(peers):
    """Suricata as unpacked into `peers`, run with its own libraries."""
    root = peers / "suricata"
    libraries = f"{root}/usr/lib/x86_64-linux-gnu:{root}/usr/lib"
    loader = str(root / "lib64/ld-linux-x86-64.so.2")
    return [loader, "--library-path", libraries, f"{root}/usr/bin/suricata"]


def suricata_version(peers):
    return output_of(*suricata_command(peers), "-V").replace("This is Suricata version ", "").strip()


def machine():
    cpu = output_of("lscpu")
    field = lambda name: (re.search(rf"^{name}:\s+(.*)$", cpu, re.M) or [None, "unknown"])[1]
    memory = int(re.search(r"MemTotal:\s+(\d+)", Path("/proc/meminfo").read_text())[1]) * 1024
    pages = Path("/sys/kernel/mm/transparent_hugepage/enabled")
    return [
        ("processor", f"{field('Model name')} (family {field('CPU family')}, model {field('Model')})"),
        ("cores", f"{len(os.sched_getaffinity(0))} usable, {field('Thread.s. per core')} thread a core"),
        ("cache", f"L2 {field('L2 cache')}, L3 {field('L3 cache')}"),
        ("memory", f"{memory / 1e9:.0f} GB"),
        ("kernel", "Linux " + platform.release().split("-")[0]),
        ("huge pages", pages.read_text().strip() if pages.exists() else "unknown"),
        ("virtual", field("Hypervisor vendor")),
    ]


def warm_memory():
    """Takes memory and gives it back. A virtual machine's host takes back what was free for some
    seconds, and the first touch of a huge page then costs twenty times as much: whoever comes
    first after a pause would pay for it."""
    with mmap.mmap(-1, WARM_BYTES) as memory:
        try:
            memory.madvise(mmap.MADV_HUGEPAGE)
        except OSError:  # a kernel without them
            pass
        for at in range(0, WARM_BYTES, mmap.PAGESIZE):
            memory[at] = 1


def table(head, rows):
    line = lambda cells: "| " + " | ".join(cells) + " |"
    return "\n".join([line(head), line(["---"] * len(head)), *map(line, rows)])


def quoted(word):
    return f"'{word}'" if " " in word else word
