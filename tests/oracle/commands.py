"""Random command lines for iscsiadm: what people and programs type at its database, right and wrong. Few names and
many repetitions, so that commands meet the records of earlier ones."""

import json

from world import PORTALS as PORTALS_OF_NEXT

TARGETS = ["iqn.2001-04.com.example:t1", "iqn.2001-04.com.example:t2", "iqn.2003-01.org.example.x:store_3"]
STRANGE_TARGETS = ["x", "a+b", "iqn.com.example", "../t1", "iqn.2001-04.com.example:t1/x", "", "iqn.2001-04.com.example:nope"]
PORTALS = ["10.0.0.1", "10.0.0.1:3260", "10.0.0.1:3260,1", "10.0.0.1,1", "10.0.0.2:3261,2", "10.0.0.2", "10.0.0.2,2",
           "[fd00::1]:3261,2", "fe80::1", "::1", "storage1", "storage1:3260,1", "storage2:3261,2", "10.0.0.7:3260,-1",
           "storage1.example.com,4", "[::1]:3260,4294967295"]
STRANGE_PORTALS = ["", ":3260", "[::1", "10.0.0.1:abc", "10.0.0.1:70000", "10.0.0.1,x", "10.0.0.1,70000", " 10.0.0.1",
                   "../x", "10.0.0.1:0", "bad name"]
IFACES = ["default", "iser", "if0", "if1", "my_ipv6_if", "10.0.0.1:3260:vol"]
STRANGE_IFACES = ["nope", "../x", "", ".x", "x" * 65]

YES_NO = ["Yes", "No", "yes", "maybe", ""]
NUMBERS = ["0", "1", "5", "64", "-1", "abc", "70000", "99999999999", "007", "", "3x"]
STARTUPS = ["manual", "automatic", "onboot", "bogus", "Automatic"]
TEXTS = ["bob", "", "<empty>", "a b", "#x", "=", "x" * 255, "x" * 256, " a", "a\tb"]

NODE_KEYS = {
    "node.startup": STARTUPS,
    "node.conn[0].startup": STARTUPS,
    "node.leading_login": YES_NO,
    "node.session.cmds_max": ["32", "2048", "127", "4096", *NUMBERS],
    "node.session.queue_depth": ["16", "1025", *NUMBERS],
    "node.session.nr_sessions": ["1", "2", "0", "x"],
    "node.session.timeo.replacement_timeout": NUMBERS,
    "node.session.err_timeo.abort_timeout": NUMBERS,
    "node.session.xmit_thread_priority": ["-20", "0", "21"],
    "node.session.initial_cmdsn": NUMBERS,
    "node.session.auth.authmethod": ["None", "CHAP", "chap"],
    "node.session.auth.username": TEXTS,
    "node.session.auth.password": ["secret123456", "", "short"],
    "node.session.auth.password_length": ["3", "x"],
    "node.session.auth.chap_algs": ["MD5", "SHA256,MD5", "SHA3-256,SHA256,SHA1,MD5", "MD5,MD5", "bogus", "MD5,x", ""],
    "node.session.iscsi.ImmediateData": YES_NO,
    "node.session.iscsi.FirstBurstLength": ["65536", "511", "x"],
    "node.session.iscsi.ERL": ["0", "2", "3"],
    "node.session.scan": ["auto", "manual", "never"],
    "node.conn[0].timeo.noop_out_interval": NUMBERS,
    "node.conn[0].iscsi.MaxRecvDataSegmentLength": ["262144", "100", "x"],
    "node.conn[0].iscsi.MaxXmitDataSegmentLength": ["0", "8192", "100"],
    "node.conn[0].iscsi.HeaderDigest": ["None", "CRC32C", "CRC32C,None", "None,CRC32C", "None,None"],
    "node.name": ["x"],
    "node.tpgt": ["3"],
    "node.conn[0].address": ["10.0.0.3"],
    "node.discovery_type": ["fw"],
    "node.bogus": ["x"],
    "iface.mtu": ["3"],
    "iface.bogus": ["3"],
    "iface.transport_name": ["tcp", "iser"],
    "node.transport_name": ["tcp"],
    "discovery.startup": ["manual"],
}
IFACE_KEYS = {
    # No interface that cannot be found, and no address: a discovery through it takes its time to fail.
    "iface.net_ifacename": ["lo", "", "default"],
    "iface.hwaddress": ["default", ""],
    "iface.initiatorname": ["iqn.2001-04.com.example:me", ""],
    "iface.transport_name": ["tcp", "iser"],
    "iface.mtu": ["1500", "0", "70000", "abc"],
    "iface.vlan_id": NUMBERS,
    "iface.bootproto": ["dhcp", "static"],
    "iface.header_digest": ["enable"],
    "iface.iscsi_ifacename": ["if7"],
    "iface.bogus": ["1"],
    "node.startup": ["automatic"],
}
SEND_TARGETS_KEYS = {
    "discovery.startup": ["manual", "automatic", "bogus"],
    "discovery.sendtargets.auth.authmethod": ["None", "CHAP", "x"],
    "discovery.sendtargets.auth.username": TEXTS,
    "discovery.sendtargets.auth.password": ["secret123456", ""],
    "discovery.sendtargets.timeo.login_timeout": NUMBERS,
    "discovery.sendtargets.reopen_max": NUMBERS,
    "discovery.sendtargets.use_discoveryd": YES_NO,
    "discovery.sendtargets.discoveryd_poll_inval": NUMBERS,
    "discovery.sendtargets.iscsi.MaxRecvDataSegmentLength": ["32768", "100"],
    "node.session.auth.chap_algs": ["MD5", "SHA1,MD5", "x"],
    "discovery.sendtargets.address": ["10.0.0.3"],
    "discovery.type": ["isns"],
    "discovery.isns.use_discoveryd": ["Yes"],
    "discovery.bogus": ["x"],
    "node.startup": ["manual"],
}
ISNS_KEYS = {
    "discovery.startup": ["manual", "automatic", "bogus"],
    "discovery.isns.use_discoveryd": YES_NO,
    "discovery.isns.discoveryd_poll_inval": NUMBERS,
    "discovery.sendtargets.address": ["10.0.0.3"],
    "discovery.sendtargets.use_discoveryd": ["Yes"],
    "discovery.bogus": ["x"],
}

# Every long option that the commands below use, and all unambiguous beginnings of it.
LONG = {"-m": "mode", "-p": "portal", "-T": "targetname", "-I": "interface", "-o": "op", "-n": "name", "-v": "value",
        "-P": "print", "-t": "type", "-S": "show", "-l": "login", "-u": "logout", "-R": "rescan", "-s": "stats",
        "-L": "loginall", "-U": "logoutall", "-r": "sid", "-W": "no_wait", "-D": "discover"}

LINES = """
-m session|-m session -P 3|-m session -P 4|-m session -r 5|-m session -r 5 -R|-m session -r foo|-m session -r 0
-r 1|-r foo|-r 0|-r /etc|-r foo -m session|-r foo -m node|-r 1 -m node|-r foo -k 0|-m none -r foo|-r foo -o bogus
-m session -o new|-m session -o delete|-m session -o show|-m session -u|-m session -R|-m session -s|-m session -T x
-m host|-m host -P 1|-m host -P 5|-m host -H 2|-m host -C bogus|-m host -C chap|-m host -C stats|-m host -H 2 -C flashnode
-m host -H 2 -C chap -o show|-m fw|-m fw -l|-m fw -l -W|-m fw -o show|-m fw -l -n node.startup -v x
-m node -L all|-m node -L automatic|-m node -L manual|-m node -L onboot|-m node -L x|-m node -U all|-m node -U manual
-m node -U automatic|-m node -U onboot|-m node -u|-m node -R|-m node -s|-m node -l -u|-m node -l -o show|-m node -R -l
-m node -h|-m node -V|-V|-h -V|-m|-m foo|-m foo -m node|-m node -m foo|-m node -m iface|-Z|-Z -m node|-m node -Z -Y
--unknown|--unknown -m node|-m node --unknown|-m node --log|-m node --portal|--version=3|-m node --login=3|--m|--mo node
session show|-m node show|-m node -- -o delete|-n a -m node|-d 1|-m node -d 0|-d 0 -m iface|-k 1|-k x|-k 0 -m foo|
-m discovery -t slp -p 10.0.0.1|-m discovery -t slp -m foo|-m discovery -t fw|-m discoverydb -t fw|-m discovery -W
-m discoverydb -t fw -D|-m discoverydb -t fw -o new|-m discovery -t st|-m discoverydb -t isns|-m discovery -L all
-m iface -C ping|-m iface -C ping -I default|-m iface -C ping -a 1.1.1.1|-m iface -C ping -I nope -a 1.1.1.1
-m iface -C bogus|-m iface -o applyall|-m iface -o apply|-m iface -o new|-m iface -o update|-m iface -o delete
-m iface -H 3|-m iface -I default -I iser|-m node -I default -I iser|-m iface -T x|-m iface -o login
"""


# Commands about the sessions of sysfs.py. No path outside of /sys, and none that ours does not have.
SESSION_LINES = """
-m session|-m session -P 0|-m session -P 1|-m session -P 2|-m session -P 3|-m session -P 2 -S|-m session -S|-m session -P 4
-m session -P -1|-m session -P x|-m session -o show|-m session -o show -P 1|-m session -o new -u|-m session -o bogus
-m session -R|-m session -s|-m session -u|-m session -u -R|-m session -u -s|-m session -R -s|-m session -u -o show
-m session -u -o delete|-m session -R -o update|-m session -s -o new|-m session -R -P 1|-m session -n a -v b|-m session -i 3
-m session -r 99|-m session -r 99 -u|-m session -r 0|-m session -r -1|-m session -r 1x|-m session -r 01|-m session -r +1
-m session -r foo|-m session -r 1 -r 2 -P 1|-m session -l|-m session -W|-m session -m node|-m node -m session
-m host|-m host -P 1|-m host -P 2|-m host -P 3|-m host -P 4|-m host -P 5|-m host -P -1|-m host -H 2|-m host -H 3 -P 4
-m host -H 99|-m host -H x|-m host -H 00:11:22:33:44:55|-m host -H 2 -C chap|-m host -C chap -o show|-m host -C stats
-m host -H 2 -C flashnode|-m host -H 9 -C flashnode|-m host -H 2 -C flashnode -o show|-m host -H 2 -C bogus|-m host -x 1
-m host -o new|-m host -H 2 -o delete|-m iface -H 2|-m iface -H x|-m iface -H 00:11:22:33:44:55|-m iface -H 2 -o applyall
"""


# What discoveries find: some of these.
FOUND = [[TARGETS[0], "10.0.0.1", 3260, 1], [TARGETS[0], "10.0.0.2", 3260, 1], [TARGETS[1], "10.0.0.1", 3260, 1],
         [TARGETS[1], "fd00::1", 3261, 2], ["iqn.2001-04.com.example:t3", "10.0.0.2", 3260, 3]]


class Commands:
    """The commands of one seed. `random` is used up in the order of the calls of next()."""

    def __init__(self, random):
        self._random = random
        self._ready = []
        self._fixed = [line.split() for line in LINES.replace("\n", "|").split("|")]
        self._kinds = [(self._node_new, 10), (self._node_update, 10), (self._node_show, 8), (self._node_delete, 4),
                       (self._node_other, 3), (self._node_list, 5), (self._iface_new, 5), (self._iface_update, 6), (self._iface_address, 1),
                       (self._iface_other, 6), (self._discovery_new, 4), (self._discovery_update, 5),
                       (self._discovery_other, 6), (self._discover, 5), (self._lists, 5), (self._line, 6)]

    def next(self):
        if self._ready:
            return self._ready.pop()
        kinds, weights = zip(*self._kinds)
        words = self._random.choices(kinds, weights)[0]()
        return self._respelled(words)

    def _pick(self, usual, strange=(), rate=0.06):
        return self._random.choice(strange if strange and self._random.random() < rate else usual)

    def _maybe(self, rate, words):
        return words() if self._random.random() < rate else []

    def _target(self):
        return ["-T", self._pick(TARGETS, STRANGE_TARGETS)]

    def _portal(self):
        return ["-p", self._pick(PORTALS, STRANGE_PORTALS)]

    def _iface(self):
        return ["-I", self._pick(IFACES, STRANGE_IFACES)]

    def _pairs(self, keys):
        words = []
        for _ in range(self._random.choice([1, 1, 1, 2, 3])):
            key = self._random.choice(list(keys))
            words += ["-n", key, "-v", self._random.choice(keys[key])]
        if self._random.random() < 0.04:
            del words[self._random.choice([-1, -2]):]
        return words

    def _some_of(self, *parts):
        """Each of the filters with its own chance, in any order."""
        chosen = [part() for part in parts if self._random.random() < 0.55]
        self._random.shuffle(chosen)
        return [word for words in chosen for word in words]

    def _node_new(self):
        words = ["-m", "node", "-o", "new"]
        if self._random.random() < 0.85:
            words += self._target() + self._portal()
        else:
            words += self._some_of(self._target, self._portal)
        words += self._maybe(0.3, self._iface) + self._maybe(0.05, lambda: self._pairs(NODE_KEYS))
        # Theirs cannot read what it writes for an interface of IPv6 at a portal without a group tag.
        return [word if word != "my_ipv6_if" else "if1" for word in words]

    def _node_update(self):
        return ["-m", "node", "-o", "update", *self._some_of(self._target, self._portal, self._iface),
                *self._pairs(NODE_KEYS)]

    def _node_show(self):
        return ["-m", "node", *self._some_of(self._target, self._portal, self._iface),
                *self._maybe(0.3, lambda: ["-o", "show"]), *self._maybe(0.3, lambda: ["-S"]),
                *self._maybe(0.1, lambda: ["-P", "1"])]

    def _node_delete(self):
        words = self._some_of(self._target, self._portal, self._iface)
        # Rarely everything: the database is to fill.
        return ["-m", "node", "-o", "delete", *(words or self._maybe(0.8, self._target))]

    def _node_other(self):
        action = self._random.choice([["-l"], ["-u"], ["-R"], ["-s"], ["-l", "-W"], ["-o", "nonpersistent"],
                                      ["-o", "apply"], ["-o", "bogus"], ["-o", "show", "-o", "delete"], ["-r", "1"]])
        return ["-m", "node", *self._some_of(self._target, self._portal, self._iface), *action]

    def _node_list(self):
        return ["-m", "node", *self._random.choice([[], [], ["-P", "1"], ["-P", "0"], ["-P", "2"], ["-P", "x"],
                                                    ["-P", "-1"], ["-o", "show"], ["-S"]])]

    def _iface_new(self):
        return ["-m", "iface", *self._iface(), "-o", "new", *self._maybe(0.15, lambda: self._pairs(IFACE_KEYS))]

    def _iface_update(self):
        return ["-m", "iface", *self._iface(), "-o", "update", *self._pairs(IFACE_KEYS)]

    def _iface_address(self):
        update = ["-m", "iface", *self._iface(), "-o", "update", "-n", "iface.ipaddress", "-v"]
        # Shown, and cleared again before a discovery can use it.
        self._ready += [[*update, ""], update[:4]]
        return [*update, self._random.choice(["10.0.0.5", "fd00::5", "<empty>"])]

    def _iface_other(self):
        return ["-m", "iface", *self._iface(), *self._random.choice(
            [[], [], ["-o", "show"], ["-P", "1"], ["-P", "0"], ["-o", "delete"], ["-o", "apply"], ["-o", "login"],
             ["-o", "bogus"], ["-H", "2"]])]

    def _type(self):
        return ["-t", self._random.choice(["st", "sendtargets", "isns"])]

    def _discovery_new(self):
        return ["-m", "discoverydb", *self._maybe(0.95, self._type), *self._portal(), "-o", "new"]

    def _discovery_update(self):
        kind = self._type()
        keys = ISNS_KEYS if kind[1] == "isns" else SEND_TARGETS_KEYS
        return ["-m", "discoverydb", *kind, *self._portal(), "-o", "update", *self._pairs(keys)]

    def _discovery_other(self):
        mode = self._random.choice(["discoverydb", "discoverydb", "discovery"])
        # A discovery itself is not for this test: the mode discovery begins one when it sees a type.
        kind = self._maybe(0.9, self._type) if mode == "discoverydb" else []
        return ["-m", mode, *kind, *self._portal(), *self._random.choice(
            [[], [], ["-o", "show"], ["-S"], ["-o", "delete"], ["-o", "login"], ["-o", "new"] if not kind else [],
             ["-o", "update"], ["-o", "bogus"], ["-P", "1"]])]

    def _discover(self):
        mode = self._random.choice([["discovery", "-t", "st"], ["discoverydb", "-t", "sendtargets", "-D"]])
        operations = self._random.choice([[], [], [], ["new"], ["update"], ["delete"], ["new", "delete"],
                                          ["new", "update"], ["nonpersistent"], ["show"]])
        words = ["-m", *mode, "-p", self._random.choice(["10.0.0.1", "10.0.0.1", "10.0.0.2:3260", "[fd00::1]"]),
                 *(word for name in operations for word in ("-o", name)), *self._maybe(0.3, self._iface),
                 *self._maybe(0.2, self._iface), *self._maybe(0.2, lambda: ["-P", "1"])]
        self._ready.append(self._respelled(words))
        found = [portal for portal in FOUND if self._random.random() < 0.7]
        return [PORTALS_OF_NEXT, json.dumps(found)]

    def _lists(self):
        return self._random.choice(["-m iface", "-m iface -P 1", "-m iface -P 2", "-m discovery", "-m discoverydb",
                                    "-m discovery -P 1", "-m discoverydb -P 1", "-m discoverydb -o show -P 1",
                                    "-m discovery -o new", "-m discoverydb -o update", "-m iface -o show"]).split()

    def _line(self):
        return list(self._random.choice(self._fixed))

    def _respelled(self, words):
        """The same command as somebody else would type it: long options, cut short, options first or last."""
        if self._random.random() < 0.75 or not words:
            return words
        groups, rest = [], list(words)
        while rest:
            size = 2 if rest[0] in LONG and len(rest) > 1 and (not rest[1].startswith("-") or rest[1] == "-1") else 1
            groups.append(self._spelled(rest[:size]))
            del rest[:size]
        if self._random.random() < 0.5:
            # Mode somewhere else; the order of -n and -v stays.
            groups.insert(self._random.randrange(len(groups) + 1), groups.pop(0))
        return [word for group in groups for word in group]

    def _spelled(self, group):
        name = LONG.get(group[0])
        if name is None or self._random.random() < 0.5:
            return group
        others = [other for other in LONG.values() if other != name]
        shortest = next(n for n in range(1, len(name) + 1)
                        if n == len(name) or not any(other.startswith(name[:n]) for other in others))
        # Options that are not in the table could share a beginning.
        name = name[:self._random.randint(max(shortest, 4), max(len(name), 4))]
        if len(group) == 1:
            return [f"--{name}"]
        return [f"--{name}={group[1]}"] if self._random.random() < 0.5 else [f"--{name}", group[1]]


class SessionCommands(Commands):
    """For the worlds of sysfs.py: more of what is done with sessions, and records that they run on."""

    PORTALS = ["10.0.0.1", "10.0.0.1:3260,1", "10.0.0.2:3260,2", "10.0.0.2", "[fe80::1]:3261,1", "[fe80::1]:3261", "storage1",
               "10.0.0.7:3260,1", "10.0.0.1,9"]
    PATHS = ["/sys/class/iscsi_session/session1", "/sys/class/iscsi_session/session3/",
             "/sys/devices/platform/host2/session1/connection1:0", "/sys/devices/platform/host2",
             "/sys/class/iscsi_session/session9", "/class/iscsi_session/session1",
             "/sys/devices/platform/host2/session1/iscsi_session/session1/state"]

    def __init__(self, random):
        super().__init__(random)
        self._ready = [["-m", "iface", "-I", "if1", "-o", "new"]]
        self._fixed = [line.split() for line in SESSION_LINES.replace("\n", "|").split("|") if line]
        self._kinds = [(self._node_of_session, 10), (self._node_update, 6), (self._node_delete, 5), (self._node_other, 12),
                       (self._startup, 5), (self._all, 8), (self._iface_new, 3), (self._iface_update, 3),
                       (self._iface_other, 4), (self._session, 16), (self._discover, 3), (self._discovery_other, 2),
                       (self._lists, 2), (self._line, 16)]

    def _pairs(self, keys):
        # Records of another transport than a session's are not those of the session for theirs.
        return super()._pairs({key: ["tcp"] if key == "iface.transport_name" else texts for key, texts in keys.items()})

    def _portal(self):
        return ["-p", self._pick(self.PORTALS, STRANGE_PORTALS)]

    def _iface(self):
        return ["-I", self._pick(["default", "if1", "if0", "iser"], STRANGE_IFACES)]

    def _node_of_session(self):
        """A record that one of the sessions runs on, or would if there were one."""
        target, portal, iface = self._random.choice(
            [(TARGETS[0], "10.0.0.1:3260,1", "default"), (TARGETS[0], "10.0.0.2:3260,2", "default"),
             (TARGETS[1], "[fe80::1]:3261,1", "if1"), (TARGETS[1], "10.0.0.1:3260,1", "default"),
             (TARGETS[0], "10.0.0.1:3260,1", "if1")])
        return ["-m", "node", "-o", "new", "-T", target, "-p", portal, "-I", iface,
                *self._maybe(0.1, lambda: [self._random.choice(["-l", "-u", "-R", "-s"])])]

    def _startup(self):
        key = self._random.choice(["node.startup", "node.conn[0].startup", "node.session.nr_sessions"])
        values = ["1", "2", "3"] if key.endswith("sessions") else STARTUPS[:3]
        return ["-m", "node", "-o", "update", *self._some_of(self._target, self._portal), "-n", key, "-v",
                self._random.choice(values)]

    def _all(self):
        which = self._random.choice([["-L", "all"], ["-L", "automatic"], ["-L", "manual"], ["-L", "onboot"], ["-U", "all"],
                                     ["-U", "automatic"], ["-U", "manual"], ["-U", "onboot"]])
        return ["-m", "node", *which, *self._maybe(0.2, self._target), *self._maybe(0.1, lambda: ["-W"])]

    def _session(self):
        sid = self._random.choice(["1", "2", "3"]) if self._random.random() < 0.8 else self._random.choice(self.PATHS)
        actions = [["-u"], ["-R"], ["-s"], ["-o", "new"], ["-o", "show"], ["-o", "delete"], ["-o", "nonpersistent"],
                   ["-o", "update", *self._pairs(NODE_KEYS)], ["-P", "1"], ["-P", "2"], ["-P", "3"], ["-S"], []]
        words = [*self._random.choice(actions), *self._maybe(0.3, lambda: self._random.choice(actions))]
        return ["-m", "session", "-r", sid, *words]
