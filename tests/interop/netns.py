"""Networks of their own, to be broken: hosts in network namespaces, joined by a router that drops, cuts and reroutes.

    net = Network(lab)
    initiator, first, second = net.host("initiator"), net.host("first"), net.host("second")
    net.serve(ADDRESS, first)           # the address is of `first` now, for everybody
    lab.run(*initiator.inside, "ping", "-c1", ADDRESS)
    net.drop(way_to=first)              # what goes to it vanishes; way_from= the other direction; heal() ends it
    first.link(False); first.link(True)
    net.serve(ADDRESS, second)

Nothing of the machine's own network is touched, and nothing is left: a namespace lives as long as the process that
holds it, and that dies with the lab. Without the rights for it the test is skipped.
"""

import os
import subprocess
import sys

from lab import need, skip, wait_until

PREFIX = "10.213"  # the networks between the router and each host; nobody outside ever sees them


def can_make_namespaces():
    if subprocess.run(["unshare", "-n", "true"], capture_output=True, check=False).returncode != 0:
        skip("no right to make network namespaces (CAP_SYS_ADMIN, CAP_NET_ADMIN)")


def in_a_network_of_its_own():
    """Runs this program once more in a namespace whose loopback has addresses that are not the loopback's: isnsd listens
    nowhere on a machine that has none of that family."""
    if "ISCSI_OWN_NETWORK" in os.environ:
        return
    need("ip", "unshare")
    can_make_namespaces()
    os.environ["ISCSI_OWN_NETWORK"] = "yes"
    os.execvp("unshare", ["unshare", "-n", "sh", "-ec",
                          "ip link set lo up; ip address add 192.0.2.1/32 dev lo; if [ -e /proc/net/if_inet6 ]; then "
                          'ip address add 2001:db8::1/128 dev lo nodad; fi; exec "$@"', "sh", sys.executable, "-B",
                          *sys.argv])


class Host:
    """One namespace. `inside`: what to put before a command that is to run there."""

    def __init__(self, lab, name):
        self.lab, self.name = lab, name
        self.holder = lab.start(f"host-{name}", ["unshare", "-n", "sleep", "infinity"])
        ours = os.readlink("/proc/self/ns/net")
        wait_until(lambda: self.holder.poll() is not None or self._namespace() != ours, 5, "a network namespace")
        self.inside = ["nsenter", "-t", str(self.holder.pid), "-n", "--"]
        self.router, self.number = None, 0
        self.do("ip", "link", "set", "lo", "up")

    def _namespace(self):
        try:
            return os.readlink(f"/proc/{self.holder.pid}/ns/net")
        except OSError:
            return ""

    def do(self, *command, **options):
        return self.lab.run(*self.inside, *command, quiet=True, **options)

    def link(self, up):
        """Its cable, pulled at the router's end."""
        self.router.do("ip", "link", "set", self.name, "up" if up else "down")
        if up:
            self.router.restore_routes()


class Router(Host):
    def __init__(self, lab):
        super().__init__(lab, "router")
        self.routes = {}  # address -> host
        self.do("sysctl", "-qw", "net.ipv4.ip_forward=1")
        self.do("nft", "add table ip faults; add chain ip faults way { type filter hook forward priority 0; }")

    def restore_routes(self):
        """They go with a link that goes down."""
        for address, host in self.routes.items():
            self.do("ip", "route", "replace", f"{address}/32", "via", f"{PREFIX}.{host.number}.2")


class Network:
    def __init__(self, lab):
        need("ip", "nft", "nsenter", "unshare", "sysctl")
        can_make_namespaces()
        self.lab, self.hosts, self.router = lab, [], Router(lab)

    def host(self, name):
        host = Host(self.lab, name)
        self.hosts.append(host)
        host.router, host.number = self.router, len(self.hosts)
        net = f"{PREFIX}.{host.number}"
        self.router.do("ip", "link", "add", name, "type", "veth", "peer", "name", "uplink", "netns", str(host.holder.pid))
        self.router.do("ip", "address", "add", f"{net}.1/24", "dev", name)
        self.router.do("ip", "link", "set", name, "up")
        host.do("ip", "address", "add", f"{net}.2/24", "dev", "uplink")
        host.do("ip", "link", "set", "uplink", "up")
        host.do("ip", "route", "add", "default", "via", f"{net}.1")
        return host

    def serve(self, address, host):
        """From now on `host` has the address, and everybody is sent there."""
        for other in self.hosts:
            other.do("ip", "address", "del", f"{address}/32", "dev", "lo", ok=None)
        host.do("ip", "address", "add", f"{address}/32", "dev", "lo")
        self.router.routes[address] = host
        self.router.restore_routes()

    def drop(self, way_to=None, way_from=None):
        """What the router would send to one host, or has from one, vanishes."""
        for word, host in (("oifname", way_to), ("iifname", way_from)):
            if host:
                self.router.do("nft", f"add rule ip faults way {word} {host.name} drop")

    def heal(self):
        self.router.do("nft", "flush chain ip faults way")
