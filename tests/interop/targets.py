"""What nobody here wrote: Debian's tgtd, istgt and isnsd, driven as their own tools and files want it."""

import dataclasses
import os

from lab import check, need, wait_until, has_ipv6, _listens


@dataclasses.dataclass
class Lun:
    path: str
    number: int = 1
    block_bytes: int = 512
    read_only: bool = False
    thin: bool = False
    volatile_cache: bool = True


@dataclasses.dataclass
class Chap:
    """Who may log in; and, for mutual CHAP, how the target proves itself."""

    user: str
    secret: str
    user_in: str = ""
    secret_in: str = ""


def chap_settings(chap, where="node.session"):
    """The record settings that an initiator needs for `chap`; None takes CHAP away."""
    if chap is None:
        chap = Chap("", "")
    return {
        f"{where}.auth.authmethod": "CHAP" if chap.user else "None",
        f"{where}.auth.username": chap.user,
        f"{where}.auth.password": chap.secret,
        f"{where}.auth.username_in": chap.user_in,
        f"{where}.auth.password_in": chap.secret_in,
    }


# The caching page of a controller whose cache outlives it, as controllers in pairs have it: no WCE (SBC-3 6.4.5).
NO_VOLATILE_CACHE = "mode_page=8:0:18:0x10:0:0xff:0xff:0:0:0xff:0xff:0xff:0xff:0x80:0x14:0:0:0:0:0:0"


class Tgtd:
    """inside: words before its command, where it runs in a network of its own; the address is to be there already."""

    def __init__(self, lab, ipv6=False, address="127.0.0.1", port=None, also=(), inside=(), env=None,
                 threads=None):
        need("tgtd", "tgtadm")
        self.lab, self.targets, self.inside = lab, {}, list(inside)
        self.port = port or lab.port()
        self.log = f"tgtd{self.port}" if port is None else f"tgtd{lab.port()}"
        self.env = {"TGT_IPC_SOCKET": os.path.join(lab.root, self.log)}
        self.daemon_env = {**self.env, **(env or {})}
        self.portal = f"{address}:{self.port}"
        options = f"portal={self.portal}"
        if ipv6:
            self.portal6 = f"[::1]:{self.port}"
            options += f",portal={self.portal6}"
        options += "".join(f",portal={other}:{self.port}" for other in also)
        self.command = [*self.inside, "tgtd", "-f", "-C", "0", "--iscsi", options]
        if threads:
            self.command += ["--nr_iothreads", str(threads)]  # of each LUN; else 16
        self.start()

    def start(self):
        """Also again, after it was killed: it knows no targets then."""
        self.targets.clear()
        self.process = self.lab.start(self.log, self.command, env=self.daemon_env)
        self.process.heeds_nothing = True  # not even SIGTERM, while it has targets
        wait_until(lambda: self.admin("--op", "show", "--mode", "sys", ok=None).status == 0, 10, "tgtd")
        wait_until(self._listens, 10, "tgtd's port")

    def _listens(self):
        if not self.inside:
            return _listens("127.0.0.1", self.port)
        return self.lab.run(*self.inside, "ss", "-Hltn", f"sport = :{self.port}", quiet=True).out.strip()

    def admin(self, *args, **options):
        return self.lab.run("tgtadm", "-C", "0", "--lld", "iscsi", *args, env=self.env, quiet=True, **options)

    def add(self, name, luns=(), chap=None, parameters=None):
        """A target that every initiator may see, behind `chap` if there is one. Its number is its tid."""
        tid = str(len(self.targets) + 1)
        self.targets[name] = tid
        self.admin("--op", "new", "--mode", "target", "--tid", tid, "--targetname", name)
        for lun in luns:
            self.add_lun(name, lun)
        for key, value in (parameters or {}).items():
            self.admin("--op", "update", "--mode", "target", "--tid", tid, "--name", key, "--value", str(value))
        self.admin("--op", "bind", "--mode", "target", "--tid", tid, "--initiator-address", "ALL")
        if chap:
            self.account(tid, chap.user, chap.secret)
            if chap.user_in:
                self.account(tid, chap.user_in, chap.secret_in, "--outgoing")
        return tid

    def add_all(self, names, disk):
        """Targets of one disk each, on the same file. In one shell: each takes three processes."""
        script = []
        for name in names:
            tid = str(len(self.targets) + 1)
            self.targets[name] = tid
            script.append(f"set -- -C 0 --lld iscsi --tid {tid} && tgtadm \"$@\" --op new --mode target --targetname {name} && "
                          f"tgtadm \"$@\" --op new --mode logicalunit --lun 1 --backing-store {disk} && "
                          f"tgtadm \"$@\" --op bind --mode target --initiator-address ALL || exit\n")
        path = os.path.join(self.lab.root, "targets.sh")
        with open(path, "w", encoding="ascii") as file:
            file.writelines(script)
        self.lab.run("sh", path, env=self.env, quiet=True, seconds=600)

    def remove(self, name):
        """With its sessions. tgtd refuses for as long as it is at work on what they had sent."""
        words = ("--op", "delete", "--mode", "target", "--tid", self.targets.pop(name), "--force")
        wait_until(lambda: self.admin(*words, ok=None).status == 0, 10, "tgtd to let go of a target")

    def add_lun(self, name, lun):
        where = ["--mode", "logicalunit", "--tid", self.targets[name], "--lun", str(lun.number)]
        self.admin("--op", "new", *where, "--backing-store", lun.path, "--blocksize", str(lun.block_bytes))
        parameters = [f"readonly={int(lun.read_only)}", f"thin_provisioning={int(lun.thin)}"]
        self.admin("--op", "update", *where, "--params", ",".join(parameters))
        if not lun.volatile_cache:
            self.admin("--op", "update", *where, "--params", NO_VOLATILE_CACHE)

    def account(self, tid, user, secret, *direction):
        self.admin("--op", "new", "--mode", "account", "--user", user, "--password", secret, ok=None)
        self.admin("--op", "bind", "--mode", "account", "--tid", tid, "--user", user, *direction)


ISTGT_CONF = """[Global]
  NodeBase "{base}"
  PidFile {root}/istgt.pid
  AuthFile {root}/istgt-auth.conf
  MediaDirectory {root}
  LogFacility "local7"
  Timeout 30
  NopInInterval 20
  DiscoveryAuthMethod {discovery}
  MaxSessions 32
  MaxConnections 4
  MaxR2T 32
  MaxOutstandingR2T 16
  DefaultTime2Wait {time_to_wait}
  DefaultTime2Retain 60
  FirstBurstLength 262144
  MaxBurstLength 1048576
  MaxRecvDataSegmentLength 262144
  InitialR2T Yes
  ImmediateData Yes
  DataPDUInOrder Yes
  DataSequenceInOrder Yes
  ErrorRecoveryLevel 0
[UnitControl]
  AuthMethod Auto
  AuthGroup AuthGroup1
  Portal UC1 127.0.0.1:{control_port}
  Netmask 127.0.0.1
[PortalGroup1]
  Portal DA1 127.0.0.1:{port}
{portal6}
[InitiatorGroup1]
  InitiatorName "ALL"
  Netmask ALL
[LogicalUnit1]
  TargetName {name}
  TargetAlias "lab"
  Mapping PortalGroup1 InitiatorGroup1
  AuthMethod {method}
  AuthGroup AuthGroup1
  UseDigest Auto
  UnitType Disk
  BlockLength {block_bytes}
{luns}
"""


class Istgt:
    """istgt knows its targets from its start on: one target, `base`:`name`. It insists on InitialR2T=Yes."""

    def __init__(self, lab, name, luns, chap=None, ipv6=False, discovery_chap=False, time_to_wait=2, env=None):
        need("istgt")
        self.lab, self.env = lab, env
        self.port, control = lab.port(), lab.port()
        self.portal, self.portal6 = f"127.0.0.1:{self.port}", f"[::1]:{self.port}"
        method = "None" if chap is None else "CHAP Mutual" if chap.user_in else "CHAP"
        base, short = name.split(":", 1)
        text = ISTGT_CONF.format(
            base=base, name=short, root=lab.root, port=self.port, control_port=control,
            discovery="CHAP\n  DiscoveryAuthGroup AuthGroup1" if discovery_chap else "Auto",
            portal6=f"  Portal DA2 {self.portal6}" if ipv6 and has_ipv6() else "", method=method,
            block_bytes=luns[0].block_bytes, time_to_wait=time_to_wait,
            luns="\n".join(f"  LUN{lun.number} Storage {lun.path} {os.path.getsize(lun.path) >> 20}MB\n"
                           f"  LUN{lun.number} Option {'ReadOnly' if lun.read_only else 'WriteCache'} Enable"
                           for lun in luns))
        with open(f"{lab.root}/istgt.conf", "w", encoding="ascii") as file:
            file.write(text)
        with open(f"{lab.root}/istgt-auth.conf", "w", encoding="ascii", opener=_private) as file:
            file.write("[AuthGroup1]\n")
            if chap:
                mutual = f' "{chap.user_in}" "{chap.secret_in}"' if chap.user_in else ""
                file.write(f'  Auth "{chap.user}" "{chap.secret}"{mutual}\n')
        self.start()

    def start(self):
        """Also again, after it was killed."""
        root = self.lab.root
        command = ["istgt", "-D", "-c", f"{root}/istgt.conf", "-p", f"{root}/istgt.pid", "-t", "none"]
        self.process = self.lab.start("istgt", command, env=self.env)
        wait_until(lambda: self.process.poll() is not None or _listens("127.0.0.1", self.port), 10, "istgt's port")
        check(self.process.poll() is None, "istgt ended at its start")

    def logins(self):
        """The lines that istgt wrote about logins: names, addresses, digests."""
        with open(f"{self.lab.root}/istgt.log", encoding="utf-8", errors="replace") as file:
            return [line for line in file if line.startswith("Login ")]


def _private(path, flags):
    return os.open(path, flags, 0o600)


class Isnsd:
    """An iSNS server with its database in memory, where everyone sees everyone. Nobody signs anything."""

    def __init__(self, lab, ipv6=False, **settings):
        need("isnsd", "isnsadm")
        self.lab, self.port = lab, lab.port()
        self.address, self.family = ("::1", "-6") if ipv6 else ("127.0.0.1", "-4")
        self.portal = f"[::1]:{self.port}" if ipv6 else f"127.0.0.1:{self.port}"
        self.root = os.path.join(lab.root, f"isnsd{self.port}")
        os.mkdir(self.root)
        self._configure("isnsd", SourceName="iqn.2026-01.org.example:isnsd", BindAddress=self.portal,
                        PIDFile=f"{self.root}/pid", DefaultDiscoveryDomain=1, SLPRegister=0,
                        **{"ESIMinInterval": 2, "ESIMaxInterval": 2, **settings})
        self.start()

    def start(self):
        """Also again, after it was ended: it knows nobody then."""
        command = ["isnsd", "-f", self.family, "-c", f"{self.root}/isnsd.conf", "-d", "message", "-d", "scn"]
        self.process = self.lab.start(f"isnsd{self.port}", command)
        wait_until(lambda: _listens(self.address, self.port), 10, "isnsd's port")

    def _configure(self, name, **settings):
        settings = {"Security": 0, "ControlSocket": f"{self.root}/control", **settings}
        with open(f"{self.root}/{name}.conf", "w", encoding="ascii") as file:
            file.writelines(f"{key} = {value}\n" for key, value in settings.items())

    def admin(self, *words, **options):
        self._configure("isnsadm", SourceName="iqn.2026-01.org.example:storage", ServerAddress=self.portal)
        return self.lab.run("isnsadm", "-c", f"{self.root}/isnsadm.conf", *words, **options)

    def register(self, target, portal):
        """Targets of one portal are one entity: a portal belongs to no other."""
        self.admin("--register", f"entity=tgtd-{portal}", f"target={target}", f"portal={portal}")

    def deregister(self, target):
        self.admin("--deregister", f"iscsi-name={target}")

    def nodes(self):
        """The iSCSI names that are registered."""
        listed = self.admin("--list", "nodes", quiet=True).out
        return [line.split('"')[1] for line in listed.splitlines() if "iSCSI name" in line]
