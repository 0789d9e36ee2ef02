"""Network namespaces and links, for programs that measure a live capture.
No program of its own."""

import os
import subprocess

from peers import SEARCH, output_of


def ip(*arguments):
    subprocess.run(["ip", *arguments], check=True, env={**os.environ, "PATH": SEARCH})


class Spaces:
    """Namespaces that are there as long as it is entered. The names are of the
    form whose leftovers the tests sweep away."""

    def __init__(self, count):
        self.spaces = [f"flowtap-{os.getpid()}-{number}" for number in range(count)]

    def __enter__(self):
        for space in self.spaces:
            ip("netns", "add", space)
            ip("-n", space, "link", "set", "lo", "up")
        return self

    def __exit__(self, *_):
        for space in self.spaces:
            subprocess.run(["ip", "netns", "del", space], check=False, env={**os.environ, "PATH": SEARCH})

    def join(self, a, name_a, b, name_b):
        """A veth pair, still down, that sends nothing by itself."""
        ip("link", "add", name_a, "netns", a, "type", "veth", "peer", "name", name_b, "netns", b)
        for space, name in ((a, name_a), (b, name_b)):
            subprocess.run([*self.inside(space), "sysctl", "-eqw", f"net.ipv6.conf.{name}.disable_ipv6=1"],
                           check=True, env={**os.environ, "PATH": SEARCH})

    @staticmethod
    def inside(space):
        return ["ip", "netns", "exec", space]

    @classmethod
    def watching(cls, space):
        """For programs that watch control groups: what is mounted below /sys is
        hidden by ip's own."""
        mount = 'mount -t cgroup2 cgroup2 /sys/fs/cgroup && exec "$0" "$@"'
        return [*cls.inside(space), "sh", "-c", mount]


class Lab(Spaces):
    """Two namespaces and a veth pair with nothing else on it."""

    near, far = "bench0", "bench1"

    def __init__(self):
        super().__init__(2)

    def __enter__(self):
        super().__enter__()
        a, b = self.spaces
        self.join(a, self.near, b, self.far)
        for space, name in ((a, self.near), (b, self.far)):
            ip("-n", space, "link", "set", name, "arp", "off", "up")
        return self

    def sender(self, core):
        return [*self.inside(self.spaces[0]), "taskset", "-c", str(core)]

    def listener(self, core):
        return [*self.watching(self.spaces[1]), "taskset", "-c", str(core)]

    def received(self):
        """Packets that the far end took, by the interface's own count."""
        text = output_of(*self.inside(self.spaces[1]), "cat", f"/sys/class/net/{self.far}/statistics/rx_packets")
        return int(text)
