"""Two network namespaces and a link, for programs that measure a live capture.
No program of its own."""

import os
import subprocess

from peers import SEARCH, output_of


def ip(*arguments):
    subprocess.run(["ip", *arguments], check=True, env={**os.environ, "PATH": SEARCH})


class Lab:
    """Two namespaces and a veth pair with nothing else on it. The names are of
    the form whose leftovers the tests sweep away."""

    near, far = "bench0", "bench1"

    def __init__(self):
        self.spaces = [f"flowtap-{os.getpid()}-{number}" for number in (0, 1)]

    def __enter__(self):
        for space in self.spaces:
            ip("netns", "add", space)
            ip("-n", space, "link", "set", "lo", "up")
        a, b = self.spaces
        ip("link", "add", self.near, "netns", a, "type", "veth", "peer", "name", self.far, "netns", b)
        for space, name in ((a, self.near), (b, self.far)):
            subprocess.run([*self.inside(space), "sysctl", "-eqw", f"net.ipv6.conf.{name}.disable_ipv6=1"],
                           check=True, env={**os.environ, "PATH": SEARCH})
            ip("-n", space, "link", "set", name, "arp", "off", "up")
        return self

    def __exit__(self, *_):
        for space in self.spaces:
            subprocess.run(["ip", "netns", "del", space], check=False, env={**os.environ, "PATH": SEARCH})

    @staticmethod
    def inside(space):
        return ["ip", "netns", "exec", space]

    def sender(self, core):
        return [*self.inside(self.spaces[0]), "taskset", "-c", str(core)]

    def listener(self, core):
        return [*self.inside(self.spaces[1]), "taskset", "-c", str(core)]

    def received(self):
        """Packets that the far end took, by the interface's own count."""
        text = output_of(*self.inside(self.spaces[1]), "cat", f"/sys/class/net/{self.far}/statistics/rx_packets")
        return int(text)
