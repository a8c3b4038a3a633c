"""Interfaces and addresses: an initiator with two network cards, in a network namespace of its own, and targets in
another. What leaves by which card is counted by the kernel, where a connection comes from is said by the target."""

import os
import re
import signal
import sys
import time

from lab import MIB, Lab, check, check_same, main, need, wait_until
from netns import Host, can_make_namespaces
from targets import Lun

TARGET = "iqn.2026-01.org.example:two-cards"
FIRST, SECOND = "10.214.1", "10.214.2"  # networks of the two cards; nobody outside ever sees them
PLACE = "10.214.200.1"  # of the target, which both cards lead to; by its routes the machine takes the first
ROUND_TRIP = 8 * MIB
# A login sends something at once.
MUTE = """
import socket, sys
address, port, what = sys.argv[1:]
family = socket.AF_INET6 if ":" in address else socket.AF_INET
with socket.create_server((address, int(port)), family=family) as server:
    kept = []
    while True:
        peer, _ = server.accept()
        if what == "closes":
            peer.recv(1)
            peer.close()
        kept.append(peer)
"""


class Cards:
    """The initiator's daemon runs in `initiator`, tgtd in `target`; `hosts` is the /etc/hosts of the daemon."""

    def __init__(self, lab, addresses=("0.0.0.0", "[::]")):
        need("ip", "nft", "nsenter", "unshare", "ss")
        can_make_namespaces()
        self.lab = lab
        self.initiator, self.target = Host(lab, "initiator"), Host(lab, "target")
        for card, network, metric in (("card1", FIRST, 10), ("card2", SECOND, 20)):
            number = card[-1]
            self.initiator.do("ip", "link", "add", card, "type", "veth", "peer", "name", card, "netns",
                              str(self.target.holder.pid))
            for host, last in ((self.initiator, 1), (self.target, 2)):
                host.do("ip", "address", "add", f"{network}.{last}/24", "dev", card)
                host.do("ip", "address", "add", f"fe80::{number}:{last}/64", "dev", card, "nodad")
                host.do("ip", "address", "add", f"2001:db8:{number}::{last}/64", "dev", card, "nodad")
                host.do("ip", "link", "set", card, "up")
            self.initiator.do("ip", "route", "add", f"{PLACE}/32", "via", f"{network}.2", "metric", str(metric))
        self.target.do("ip", "address", "add", f"{PLACE}/32", "dev", "lo")
        self.port = lab.port()
        self.disk = lab.disk("disk", 32 * MIB)
        self.tgtd = self.serve(*addresses)
        self.hosts = os.path.join(lab.root, "hosts")
        self.name("127.0.0.1 localhost")
        # Its own /etc/hosts, and the cards of its own namespace in /sys.
        inside = ["unshare", "-m", "sh", "-c", 'mount --bind "$0" /etc/hosts && mount -t sysfs sysfs /sys && exec "$@"',
                  self.hosts]
        lab.inside["iscsid"] = self.initiator.inside + inside
        lab.iscsid()

    def serve(self, address, *also):
        tgtd = self.lab.tgtd(address=address, also=also, port=self.port, inside=self.target.inside)
        tgtd.add(TARGET, [Lun(self.disk)])
        return tgtd

    def mute(self, address, closes=False):
        """Somebody who takes connections there and says nothing; or ends them."""
        words = [sys.executable, "-c", MUTE, address, str(self.port), "closes" if closes else "keeps"]
        process = self.lab.start("mute", [*self.target.inside, *words])
        # Also the first look for an IPv6 neighbour takes longer than a connection may, on a link that is just up.
        connects = f"import socket; socket.create_connection(('{address}', {self.port}), 2)"
        wait_until(lambda: self.initiator.do(sys.executable, "-c", connects, ok=None).status == 0, 20, "a listener")
        return process

    def name(self, *lines):
        with open(self.hosts, "w", encoding="ascii") as file:  # in place: it is mounted
            file.write("\n".join(lines) + "\n")

    def iface(self, name, **keys):
        self.lab.adm("-m", "iface", "-I", name, "-o", "new", quiet=True)
        for key, value in keys.items():
            self.lab.adm("-m", "iface", "-I", name, "-o", "update", "-n", f"iface.{key}", "-v", value, quiet=True)

    def record(self, iface="default", host=PLACE):
        self.lab.adm("-m", "node", "-o", "new", "-T", TARGET, "-p", f"{host}:{self.port}", "-I", iface, quiet=True)

    def hardware_address(self, card):
        return re.search(r"link/ether (\S+)", self.initiator.do("ip", "link", "show", card).out).group(1)

    def sent(self):
        """Bytes that left by each card."""
        text = self.initiator.do("cat", "/proc/net/dev").out
        return {name: int(words.split()[8]) for name, words in re.findall(r"^ *(\w+): *(.*)$", text, re.M)}

    def leaves_by(self, iface):
        """The card by which the data of a session leaves: all of it, but for what a link says of itself."""
        before = self.sent()
        image = self.lab.random_image("image", ROUND_TRIP)
        uri = re.search(r"nbd\+unix:\S+", self._session(iface)).group(0)
        self.lab.run("qemu-img", "convert", "-n", "-f", "raw", "-O", "raw", image, uri, quiet=True)
        after = self.sent()
        grew = {card: after[card] - before[card] for card in after if card.startswith("card")}
        print(f"through {iface} left {grew}", flush=True)
        by = [card for card, count in grew.items() if count > ROUND_TRIP]
        check(len(by) == 1 and sum(grew.values()) - grew[by[0]] < MIB, f"data left by {grew}")
        return by[0]

    def _session(self, iface):
        sessions = re.split(r"Iface Name: ", self.lab.adm("-m", "session", "-P", "3", quiet=True).out)
        found = [text for text in sessions if text.startswith(f"{iface}\n")]
        check(len(found) == 1, f"{len(found)} sessions through {iface}")
        return found[0]

    def peers(self):
        """Where the target's connections come from."""
        text = self.target.do("ss", "-Htn", "state", "established", f"sport = :{self.port}").out
        return sorted(line.split()[-1].rsplit(":", 1)[0].strip("[]") for line in text.splitlines())


def by_device():
    "iface.net_ifacename: the data leaves by that card, whatever the routes say"
    with Lab() as lab:
        cards = Cards(lab)
        cards.iface("one", net_ifacename="card1")
        cards.iface("two", net_ifacename="card2")
        for name, card in (("default", "card1"), ("one", "card1"), ("two", "card2")):
            if name != "default":
                cards.record(name)
            else:
                cards.record()
            lab.adm("-m", "node", "-I", name, "-l")
            check(cards.leaves_by(name) == card, f"not by {card}")
            lab.adm("-m", "node", "-u")


def by_hardware_address():
    "iface.hwaddress: the card with that address, whatever it is called when the connection is made; none is no other one"
    with Lab() as lab:
        cards = Cards(lab)
        cards.iface("two", hwaddress=cards.hardware_address("card2").upper())
        cards.record("two")
        lab.adm("-m", "node", "-l")
        check(cards.leaves_by("two") == "card2", "not by the card")
        lab.adm("-m", "node", "-u")
        cards.initiator.do("ip", "link", "set", "card2", "down")
        cards.initiator.do("ip", "link", "set", "card2", "name", "cardnew")
        cards.initiator.do("ip", "link", "set", "cardnew", "up")
        cards.initiator.do("ip", "route", "add", f"{PLACE}/32", "via", f"{SECOND}.2", "metric", "20")
        lab.adm("-m", "node", "-l")
        check(cards.leaves_by("two") == "cardnew", "not by the card with its new name")
        lab.adm("-m", "node", "-u")
        cards.iface("none", hwaddress="02:00:00:00:00:01")
        cards.record("none")
        lab.update(TARGET, {"node.session.initial_login_retry_max": 1, "node.conn[0].timeo.login_timeout": 1})
        refused = lab.adm("-m", "node", "-I", "none", "-l", ok=None)
        check(refused.status != 0 and not cards.peers(), "a session without the card")
        check("no network interface has the hardware address 02:00:00:00:00:01" in refused.err + lab_log(lab),
              "nobody said that there is no such card")


def by_address():
    "iface.ipaddress: connections come from that address; one that the machine has not is no session"
    with Lab() as lab:
        cards = Cards(lab)
        cards.iface("two", ipaddress=f"{SECOND}.1")
        cards.record("two")
        lab.adm("-m", "node", "-l")
        check(cards.peers() == [f"{SECOND}.1"], f"connections from {cards.peers()}")
        lab.adm("-m", "node", "-u")
        cards.iface("six", ipaddress="2001:db8:2::1")
        cards.record("six", "2001:db8:2::2".join("[]"))
        lab.adm("-m", "node", "-I", "six", "-l")
        check(cards.peers() == ["2001:db8:2::1"], f"connections from {cards.peers()}")
        lab.adm("-m", "node", "-u")
        cards.iface("none", ipaddress="192.0.2.77")
        cards.record("none")
        lab.update(TARGET, {"node.session.initial_login_retry_max": 1, "node.conn[0].timeo.login_timeout": 1})
        check(lab.adm("-m", "node", "-I", "none", "-l", ok=None).status != 0, "a session from an address that is not there")


def several():
    """two interfaces with names of their own and one portal: a discovery through both, a session through each, which the
    target knows by its name; nr_sessions and leading_login"""
    with Lab() as lab:
        cards = Cards(lab)
        cards.iface("one", net_ifacename="card1", initiatorname="iqn.2026-01.org.example:card1")
        cards.iface("two", net_ifacename="card2", initiatorname="iqn.2026-01.org.example:card2")
        found = lab.adm("-m", "discovery", "-t", "st", "-p", f"{PLACE}:{cards.port}", "-I", "one", "-I", "two")
        check(found.out.count(TARGET) == 2, "not a line for each interface")
        lab.adm("-m", "node", "-l")
        check(cards.leaves_by("one") == "card1" and cards.leaves_by("two") == "card2", "not by their cards")
        names = cards.tgtd.admin("--op", "show", "--mode", "target").out
        check(set(re.findall(r"Initiator: (\S+)", names)) == {f"iqn.2026-01.org.example:card{n}" for n in "12"},
              f"the target has sessions of: {names}")
        lab.adm("-m", "node", "-u")
        lab.update(TARGET, {"node.session.nr_sessions": 2})
        lab.adm("-m", "node", "-l")
        check(len(cards.peers()) == 4, f"connections from {cards.peers()}")
        lab.adm("-m", "node", "-u")
        lab.update(TARGET, {"node.session.nr_sessions": 1, "node.leading_login": "Yes", "node.startup": "automatic"})
        lab.adm("-m", "node", "-L", "automatic")
        check(len(cards.peers()) == 1, f"connections from {cards.peers()}")
        lab.adm("-m", "node", "-u")


def link_local():
    "an IPv6 address on one link, by its scope: discovery, login, and the names that come of it"
    with Lab() as lab:
        cards = Cards(lab)
        portal = f"[fe80::2:2%card2]:{cards.port}"
        found = lab.adm("-m", "discovery", "-t", "st", "-p", portal)
        check(found.out == f"{portal},1 {TARGET}\n", "the portal that was asked has its scope in the list")
        lab.adm("-m", "node", "-l")
        check(cards.leaves_by("default") == "card2", "not by its card")
        check(portal in lab.adm("-m", "session").out, "the session is listed by another name")
        lab.adm("-m", "node", "-p", f"[FE80:0::2:2%card2]:{cards.port}", "-u")
        check(not cards.peers(), "by another spelling of the address it was not found")


def mixed_families():
    "a name with addresses of both families, of which one leads nowhere: no wait for it, at the login and after a drop"
    with Lab() as lab:
        cards = Cards(lab)
        cards.target.do("nft", "add table ip6 silent; add chain ip6 silent in { type filter hook input priority 0; }; "
                        f"add rule ip6 silent in tcp dport {cards.port} drop")
        cards.name("127.0.0.1 localhost", "2001:db8:1::2 both.example", f"{PLACE} both.example")
        begun = time.monotonic()
        found = lab.adm("-m", "discovery", "-t", "st", "-p", f"both.example:{cards.port}")
        check(TARGET in found.out, "nothing was found")
        lab.adm("-m", "node", "-o", "delete")
        cards.record(host="both.example")
        lab.adm("-m", "node", "-l")
        took = time.monotonic() - begun
        print(f"discovery and login took {took:.2f} s", flush=True)
        check(took < 4 * float(os.environ.get("ISCSI_PATIENCE", "1")), "the login waited for what does not answer")
        check(cards.peers() == [f"{FIRST}.1"], f"connections from {cards.peers()}")
        # The other one lives and this one dies.
        cards.target.do("nft", "delete table ip6 silent")
        cards.target.do("ip", "address", "del", f"{PLACE}/32", "dev", "lo")
        cards.target.do("ss", "-K", "dst", f"{FIRST}.1")
        wait_until(lambda: "2001:db8:1::1" in cards.peers(), 30, "the session over the other family")
        check(cards.leaves_by("default") == "card1", "no data")
        lab.adm("-m", "node", "-u")


def name_that_moves():
    "a name is looked up again for each connection: after a drop the session follows it"
    with Lab() as lab:
        cards = Cards(lab)
        cards.name("127.0.0.1 localhost", f"{FIRST}.2 moves.example")
        cards.record(host="moves.example")
        lab.adm("-m", "node", "-l")
        check(cards.peers() == [f"{FIRST}.1"], f"connections from {cards.peers()}")
        cards.name("127.0.0.1 localhost", f"{SECOND}.2 moves.example")
        cards.target.do("ss", "-K", "dst", f"{FIRST}.1")
        wait_until(lambda: cards.peers() == [f"{SECOND}.1"], 30, "the session at the name's new address")
        check(cards.leaves_by("default") == "card2", "no data")
        lab.adm("-m", "node", "-u")


def mute_address():
    """an address that takes connections and says nothing, or ends them, before one that answers: a discovery, a login and a
    session that was lost with writes go to the next one"""
    with Lab() as lab:
        six = "2001:db8:1::2"
        lab.configure({"discovery.sendtargets.timeo.login_timeout": 3})
        cards = Cards(lab, [PLACE])
        cards.name("127.0.0.1 localhost", f"{six} both.example", f"{PLACE} both.example")
        for closes in (False, True):
            mute = cards.mute(six, closes)
            found = lab.adm("-m", "discovery", "-t", "st", "-p", f"both.example:{cards.port}")
            check(TARGET in found.out, "nothing was found")
            lab.adm("-m", "node", "-o", "delete")
            cards.record(host="both.example")
            lab.update(TARGET, {"node.conn[0].timeo.login_timeout": 3})
            lab.adm("-m", "node", "-l")
            said = f"{six} port {cards.port} took the connection and did not answer the login"
            check(lab_log(lab).count(said) == 1 + closes, "nobody said which address was mute")
            lab.end(mute)
            if not closes:
                lab.adm("-m", "node", "-u")
        # Now the other way round, with writes on their way.
        uri = re.search(r"nbd\+unix:\S+", lab.adm("-m", "session", "-P", "3", quiet=True).out).group(0)
        image = lab.random_image("image", ROUND_TRIP)
        cards.tgtd.process.send_signal(signal.SIGSTOP)
        writing = lab.start("write", ["qemu-img", "convert", "-n", "-f", "raw", "-O", "raw", image, uri])
        wait_until(lambda: re.search(r"^ESTAB +[1-9]", cards.target.do("ss", "-tn", f"sport = :{cards.port}").out, re.M), 20,
                   "writes to be at the target")
        cards.tgtd.process.expected_end = True
        lab.end(cards.tgtd.process)
        cards.mute(PLACE)
        cards.serve(six.join("[]"))
        wait_until(lambda: writing.poll() is not None, 120, "the writes to end")
        check(writing.returncode == 0, f"they ended with {writing.returncode}")
        check(f"{PLACE} port {cards.port} took the connection" in lab_log(lab), "the address that was used was not asked")
        # Somebody may stand still there with what was lost.
        check("nothing is sent for 20 s" in lab_log(lab), "the writes were sent at once")
        check_same(image, cards.disk, ROUND_TRIP, "what was written")
        lab.adm("-m", "node", "-u")


def lab_log(lab):
    with open(os.path.join(lab.root, "iscsid.log"), encoding="utf-8", errors="replace") as file:
        return file.read()


if __name__ == "__main__":
    main(globals()[sys.argv[1]])
