"""Where our iscsiadm differs from open-iscsi's on purpose: one rule for each entry of iscsiadm/differences.txt that the
oracle can meet. A rule says how far a step may differ, and no further: a rule that would cover a mistake of ours is
worth nothing."""

import getopt
import re

import sysfs
from world import LOCKS


# The line of iscsid.conf with which discoveries write records anew, as theirs do.
OVERWRITE = "iscsid.rediscovery = overwrite\n"


class Step:
    """One command in both worlds, and the database before it."""

    def __init__(self, words, before, theirs, ours, world):
        self.words, self.before, self.theirs, self.ours, self._world = words, before, theirs, ours, world
        self.asked_again = False

    def again(self, words):
        """What theirs says to another command, on the database as it was before this one."""
        self._world.write(self.before)
        self.asked_again = True
        return self._world.run(words)


# ---- what is not compared ----

def comparable_tree(tree):
    """Without the lock (lock.write would be one left behind) and without empty directories at the top: theirs are made
    by reading, ours by writing."""
    kept = {}
    for path, entry in tree.items():
        if path.startswith(LOCKS):
            if path.endswith("/lock.write"):
                kept[path] = entry
            continue
        empty = entry[0] == "directory" and not any(other.startswith(path + "/") for other in tree)
        if not (empty and path.count("/") == 3):
            kept[path] = entry
    return kept


RECORD = re.compile(r"(?s)# BEGIN RECORD.*?# END RECORD\n")


def comparable_text(text):
    """Theirs lists some things in the order of the directory, which is none: blocks and lines are sorted."""
    records = sorted(RECORD.findall(text))
    lines = RECORD.sub("", text)
    return records, comparable_lines(lines)


def comparable_lines(text):
    """Trees by their paths, "Target/Portal/Iface"; other lines as they are."""
    path, lines = [], []
    for line in text.split("\n"):
        depth = len(line) - len(line.lstrip("\t"))
        if line.startswith("Iface: "):
            path = []
        elif line.startswith("DiscoveryAddress: ") or re.fullmatch(r"(SENDTARGETS|iSNS|STATIC|FIRMWARE):", line):
            path = [*path[:1], line] if line.startswith("D") else [line]
            lines.append("/".join(path))
            continue
        if re.match(r"\t*(Target|Portal|Iface Name): ", line):
            base = [part for part in path if not re.match(r"\t*(Target|Portal|Iface Name): ", part)]
            tree = [part for part in path if part not in base][:depth]
            path = [*base, *tree, line]
            lines.append("/".join(path))
        else:
            lines.append(line)
    return sorted(lines)


def outcome(result):
    return comparable_text(result["out"]), comparable_lines(result["err"]), result["code"]


def is_sorted_list(step):
    """Lists that theirs sorts, too: their order is compared."""
    filters = any(letter in "TpIoluRsLU" for letter, _ in parsed(step.words))
    return value(step, "m") in ("node", "iface", "session", "host") and not filters


def equal(step):
    in_order = not is_sorted_list(step) or step.theirs["out"] == step.ours["out"]
    return in_order and outcome(step.theirs) == outcome(step.ours) and same_trees(step)


def same_trees(step):
    return comparable_tree(step.theirs["tree"]) == comparable_tree(step.ours["tree"])


def untouched(step):
    return comparable_tree(step.ours["tree"]) == comparable_tree(step.before)


# ---- the command line ----

SHORT = "m:p:T:I:o:t:n:v:H:r:RP:DlL:uU:sk:d:SVhC:a:b:c:i:x:A:W"
LONG = ("mode= portal= targetname= interface= op= type= name= value= host= sid= rescan print= discover login loginall= "
        "logout logoutall= stats killiscsid= debug= show version help submode= ip= packetsize= count= interval= index= "
        "portal_type= no_wait").split()


def parsed(words):
    """[(letter, value)] in order; [] when getopt would complain."""
    try:
        found, _ = getopt.gnu_getopt(words, SHORT, LONG)
    except getopt.GetoptError:
        return []
    letters = {"--" + name.rstrip("="): "-" + letter for name, letter in zip(LONG, SHORT.replace(":", ""))}
    return [(letters.get(option, option)[1:], value) for option, value in found]


def values(step, letter):
    return [value for found, value in parsed(step.words) if found == letter]


def value(step, letter):
    return (values(step, letter) or [None])[-1]


def pairs(step):
    """-n with its -v, and whether one was left alone."""
    done, name, given = [], None, None
    for letter, text in parsed(step.words):
        name = text if letter == "n" else name
        given = text if letter == "v" else given
        if name is not None and given is not None:
            done.append((name, given))
            name = given = None
    return done, name is not None or given is not None


def is_command(step, mode, *operations):
    return value(step, "m") == mode and values(step, "o") == list(operations)


# ---- what is bad, said once more and not as the program says it ----

NUMBERS = {
    "node.session.cmds_max": (2, 2048), "node.session.queue_depth": (1, 1024), "node.session.nr_sessions": (1, 256),
    "node.session.timeo.replacement_timeout": (-2 ** 31, 2 ** 31 - 1),
    "node.session.err_timeo.abort_timeout": (0, 2 ** 31 - 1), "node.session.xmit_thread_priority": (-20, 20),
    "node.session.initial_cmdsn": (0, 2 ** 32 - 1), "node.session.iscsi.FirstBurstLength": (512, 2 ** 24 - 1),
    "node.session.iscsi.ERL": (0, 2), "node.conn[0].timeo.noop_out_interval": (0, 2 ** 31 - 1),
    "node.conn[0].iscsi.MaxRecvDataSegmentLength": (512, 2 ** 24 - 1),
    "iface.mtu": (0, 65535), "iface.vlan_id": (0, 65535),
    "discovery.sendtargets.timeo.login_timeout": (0, 2 ** 31 - 1),
    "discovery.sendtargets.reopen_max": (0, 2 ** 31 - 1),
    "discovery.sendtargets.discoveryd_poll_inval": (-2 ** 31, 2 ** 31 - 1),
    "discovery.sendtargets.iscsi.MaxRecvDataSegmentLength": (512, 2 ** 24 - 1),
    "discovery.isns.discoveryd_poll_inval": (-2 ** 31, 2 ** 31 - 1),
}
WORDS = {
    "node.startup": "manual automatic onboot", "node.conn[0].startup": "manual automatic onboot",
    "node.leading_login": "Yes No", "node.session.auth.authmethod": "None CHAP",
    "node.session.iscsi.ImmediateData": "Yes No", "node.session.scan": "manual auto",
    "node.conn[0].iscsi.HeaderDigest": "None CRC32C CRC32C,None None,CRC32C",
    "discovery.startup": "manual automatic", "discovery.sendtargets.auth.authmethod": "None CHAP",
    "discovery.sendtargets.use_discoveryd": "Yes No", "discovery.isns.use_discoveryd": "Yes No",
    "iface.transport_name": "tcp iser bnx2i cxgb3i cxgb4i be2iscsi qla4xxx qedi ocs",
}


def is_bad_value(key, text):
    if key in NUMBERS or key == "node.conn[0].iscsi.MaxXmitDataSegmentLength":
        low, high = NUMBERS.get(key, (512, 2 ** 24 - 1))
        if not re.fullmatch("-?[0-9]+", text):
            return True
        if key not in NUMBERS and int(text) == 0:
            return False
        return not low <= int(text) <= high or (key.endswith("cmds_max") and bin(int(text)).count("1") != 1)
    if key in WORDS:
        return text not in WORDS[key].split()
    if key.endswith("chap_algs"):
        names = text.split(",")
        return len(set(names)) != len(names) or not set(names) <= {"MD5", "SHA1", "SHA256", "SHA3-256"}
    return len(text) > 255 or text.strip() != text or bool(re.search("[\\x00-\\x1f]", text))


def is_bad_portal(text):
    found = re.fullmatch(r"(\[[^]]*\]|[^,:]*|[^,]*:[^,]*:[^,]*)(?::([^,]*))?(?:,(.*))?", text)
    if not found or text.count("[") != text.count("]"):
        return True
    host, port, tag = found.groups()
    bad_port = port is not None and not (re.fullmatch("[0-9]+", port) and 0 < int(port) < 65536)
    bad_tag = tag not in (None, "-1", "4294967295") and not (re.fullmatch("[0-9]+", tag) and int(tag) < 65536)
    return bad_port or bad_tag or not re.fullmatch(r"\[?[A-Za-z0-9:][A-Za-z0-9.:%-]*\]?", host)


def is_bad_iface(name):
    return "/" in name or name.startswith(".")


FAMILY_KEYS = re.compile("(?m)^iface[.](tos|ttl|dup_addr_detect_cnt|flow_label|hop_limit|nd_reachable_tmo|"
                         "nd_rexmit_time|nd_stale_tmo|router_adv_link_mtu|traffic_class|bootproto) = .*\n")


# ---- the rules ----

RULES = []


def rule(name):
    def add(function):
        RULES.append((name, function))
        return function
    return add


# Lines that one of the two has beside the same others, whatever else the command does: id, whose, the stream, the lines,
# and the letters of options with which they may come.
LINES = [
    ("login-lines", "ours", "out", r"\t(?:Attached \[lun: |Not attached \[lun: |No usable logical unit |Note: ).*\n", "lLo"),
    ("host-interfaces", "theirs", "err", r"iscsiadm: Could not look up host's ifaces via scsi bus\.\n", "P"),
    # Without -d ours tells of them in no way; the records stay in both.
    ("spared-records", "theirs", "err", r"iscsiadm: This command will remove the record .*, but a session is using it\..*\n", "tD"),
    ("iface-in-use", "theirs", "err", r"iscsiadm: Updating iface while iscsi sessions are using it\..*\n", "o"),
]


def without_lines(step):
    """Takes those lines out; gives the ids of what there was."""
    found = []
    for name, whose, stream, pattern, letters in LINES:
        result = getattr(step, whose)
        bare, count = re.subn(f"(?m)^{pattern}", "", result[stream])
        if count and any(letter in letters for letter, _ in parsed(step.words)):
            result[stream] = bare
            found.append(name)
    return found


def explain(step):
    """The id of the difference, or several with + between, "" when there is none, None when none is listed."""
    if equal(step):
        return ""
    found = without_lines(step)
    if equal(step):
        return "+".join(found)
    for name, function in RULES:
        reason = function(step)
        if reason:
            # A rule for several differences says which.
            return "+".join([name if reason is True else reason, *found])
    return None


def refused(step, pattern, codes=(7,)):
    """Ours did nothing, printed nothing, and one line of its complaint is like `pattern`."""
    return (step.ours["code"] in codes and step.ours["out"] == "" and untouched(step)
            and re.search(f"(?m)^iscsiadm: {pattern}", step.ours["err"]) is not None)


@rule("help")
def _(step):
    return bool(values(step, "h")) and step.theirs["code"] == step.ours["code"] == 0 and same_trees(step)


@rule("stop")
def _(step):
    return value(step, "k") not in (None, "0") and refused(step, "Invalid iscsid priority .* Priority must be 0")


@rule("bad-portal")
def _(step):
    return any(map(is_bad_portal, values(step, "p"))) and refused(step, "portal '")


@rule("bad-target-name")
def _(step):
    names = values(step, "T")
    bad = any(not re.fullmatch(r"[A-Za-z0-9:_+-][A-Za-z0-9.:_+-]{0,222}", name) for name in names)
    return is_command(step, "node", "new") and bad and refused(step, 'iSCSI name "')


@rule("bad-iface-name")
def _(step):
    bad = any(map(is_bad_iface, values(step, "I")))
    missing = "Could not read iface|'.*' is not an interface name"
    return value(step, "m") == "iface" and bad and refused(step, missing, (6, 7))


@rule("half-pair")
def _(step):
    return (values(step, "o") == ["update"] and pairs(step)[1]
            and refused(step, "([Uu]pdate requires name)|No records found|Discovery record", (6, 7, 21)))


@rule("refused-values")
def _(step):
    return (values(step, "o") == ["update"] and any(is_bad_value(*pair) for pair in pairs(step)[0])
            and refused(step, ".*; allowed is "))


@rule("iface-update-code")
def _(step):
    if is_command(step, "iface", "new"):
        done, half = pairs(step)
        wrong = half or any(is_bad_value(*pair) for pair in done)
        wrong = wrong or re.search("Cannot modify|Could not update iface", step.theirs["err"]) is not None
        return wrong and refused(step, "Could not create new interface")
    # Of several reasons each has its own first one.
    same = step.theirs["err"] == step.ours["err"] != "" or len(pairs(step)[0]) > 1
    return (is_command(step, "iface", "update") and step.theirs["code"] == 0 and same
            and "Could not update iface" in step.theirs["err"] and refused(step, "Could not update iface"))


@rule("empty-word")
def _(step):
    def without(tree):
        return {path: [entry[0], entry[1], re.sub(r"(?m)^.* = <empty>\n", "", entry[2])]
                for path, entry in comparable_tree(tree).items()}
    return (any(text == "<empty>" for _, text in pairs(step)[0])
            and outcome(step.theirs) == outcome(step.ours)
            and without(step.theirs["tree"]) == comparable_tree(step.ours["tree"]))


@rule("new-needs-name")
def _(step):
    return (is_command(step, "node", "new") and not values(step, "T") and not values(step, "p")
            and refused(step, "Error while adding record: a target name or a portal is needed"))


@rule("empty-target")
def _(step):
    return (value(step, "m") == "node" and value(step, "T") == ""
            and refused(step, "No records found|update requires name|Cannot modify|Error while adding", (21, 7)))


@rule("nothing-added")
def _(step):
    return (is_command(step, "node", "new") and step.theirs["err"] == "iscsiadm: Error while adding record: \n"
            and step.theirs["code"] == 0 and refused(step, "Error while adding record: .", (7, 21)))


def node_files(tree):
    """{(target, address and port): {group tag or None: {interface: content}}}"""
    found = {}
    for path, (kind, _, content) in tree.items():
        parts = path.split("/")
        if kind != "file" or parts[3:4] != ["nodes"]:
            continue
        address, port, *tag = parts[5].split(",")
        iface = re.search("(?m)^iface.iscsi_ifacename = (.*)$", content).group(1)
        key = (parts[4], f"{address},{port}")
        found.setdefault(key, {}).setdefault(tag[0] if tag else None, {})[iface] = content
    return found


def tagged(content, tag):
    return re.sub("(?m)^node.tpgt = -1$", f"node.tpgt = {tag}", content)


@rule("tag-adopted")
def _(step):
    """Each record that theirs made without a tag is in ours under a tag that the portal had."""
    if not is_command(step, "node", "new") or outcome(step.theirs) != outcome(step.ours):
        return False
    before, theirs, ours = map(node_files, (step.before, step.theirs["tree"], step.ours["tree"]))
    moved = 0
    for key, tags in theirs.items():
        flat = tags.pop(None, {})
        for iface, content in flat.items():
            if None in ours.get(key, {}):
                tags[None] = flat
                continue
            known = {tag: ifaces for tag, ifaces in before.get(key, {}).items() if tag is not None}
            # What is there under the tag stays as it is.
            wanted = {tag: ifaces.get(iface, tagged(content, tag)) for tag, ifaces in known.items()}
            at = [tag for tag, text in wanted.items() if ours[key].get(tag, {}).get(iface) == text]
            if not at:
                return False
            tags[at[0]][iface] = wanted[at[0]]
            moved += 1
    return moved > 0 and theirs == ours


@rule("flat-kept")
def _(step):
    """A record without a tag that theirs lost is in ours under the tag of the new one."""
    if not is_command(step, "node", "new") or outcome(step.theirs) != outcome(step.ours):
        return False
    before, theirs, ours = map(node_files, (step.before, step.theirs["tree"], step.ours["tree"]))
    kept = 0
    for key, tags in before.items():
        for iface, content in tags.get(None, {}).items():
            if None not in theirs.get(key, {}) and None not in ours.get(key, {}):
                for tag, ifaces in ours.get(key, {}).items():
                    if ifaces.get(iface) == tagged(content, tag) and theirs[key].get(tag, {}).get(iface) is None:
                        theirs[key][tag][iface] = ifaces[iface]
                        kept += 1
    return kept > 0 and theirs == ours


ALIASES = [{"10.0.0.1", "storage1", "storage1.example.com"}, {"10.0.0.2", "storage2"}]


def discovers(step):
    return (value(step, "m") in ("discovery", "discoverydb") and bool(values(step, "t"))
            and (value(step, "m") == "discovery" or bool(values(step, "D"))))


def place_of(path):
    """(target, address and port, interface) of a node record or of a link to one; no interface in a flat record."""
    parts = path.split("/")
    if parts[3] == "nodes":
        names = [parts[4], *parts[5].split(",")[:2], parts[6] if len(parts) > 6 else ""]
    else:
        found = parts[-1].split(",")
        names = [*found[:3], found[-1]]
    return names[0], ",".join(names[1:3]), names[3]


def records_of(tree):
    """{path: entry} of node records and links to them."""
    return {path: entry for path, entry in comparable_tree(tree).items()
            if entry[0] == "link" or (entry[0] == "file" and "/nodes/" in path)}


def explain_discovery(step, path):
    """Why a discovery left this record, or link to one, in one world and not in the other."""
    before, theirs, ours = records_of(step.before), records_of(step.theirs["tree"]), records_of(step.ours["tree"])
    target, portal, iface = place_of(path)
    flat = node_files(step.before).get((target, portal), {}).get(None, {})
    if flat:
        # No record of theirs is compared at such a portal, but ours has all that there were.
        now = node_files(step.ours["tree"]).get((target, portal), {})
        return "flat-found" if all(any(name in ifaces for ifaces in now.values()) for name in flat) else None
    if is_kept(step, path) or has_kept_link(step, path):
        return "rediscovery"
    if path not in theirs and ours[path] == before.get(path):
        asked = set(values(step, "I")) or {other.rsplit("/", 1)[1] for other in step.before
                                           if other.startswith("/etc/iscsi/ifaces/")} or {"default"}
        return "discovery-interfaces" if iface not in asked else None
    if path not in ours and theirs[path] == before.get(path):
        moved = any(place_of(other) == place_of(path) for other in set(ours) - set(before))
        return "tag-follows" if moved else None
    if path not in ours and path not in before and any(place_of(other) == place_of(path) for other in ours):
        return "tag-follows"
    if path not in ours and path not in before and values(step, "o") == ["update"]:
        return "discovery-update"
    return None


def keeps(step):
    """Nothing says that records are to be written anew."""
    return OVERWRITE not in step.before["/etc/iscsi/iscsid.conf"][2]


def has_kept_link(step, path):
    """A link to a record that is kept: ours has one where there was one."""
    if not keeps(step) or (step.theirs["tree"].get(path) or step.ours["tree"][path])[0] != "link":
        return False
    folders = [{other.rsplit("/", 1)[0] for other, entry in records_of(tree).items()
                if entry[0] == "link" and place_of(other) == place_of(path)} for tree in (step.before, step.ours["tree"])]
    return folders[0] == folders[1] != set()


def is_kept(step, path):
    """Ours has only lines that this one had or that theirs made."""
    if not keeps(step):
        return False
    theirs, ours = (tree.get(path) for tree in (step.theirs["tree"], step.ours["tree"]))
    if not (theirs and ours) or theirs[:2] != ours[:2] or ours[0] != "file":
        return False
    # It may have moved under another group tag.
    before = [entry[2] for other, entry in step.before.items() if entry[0] == "file" and
              (other == path or ("/nodes/" in other and "/nodes/" in path and place_of(other) == place_of(path)))]
    return bool(before) and set(ours[2].split("\n")) <= set("\n".join([*before, theirs[2]]).split("\n"))


@rule("leading-login")
def _(step):
    leads = any(re.search("(?m)^node.leading_login = Yes$", entry[2]) for entry in step.before.values())
    return (value(step, "m") == "node" and bool(values(step, "L")) and leads and same_trees(step)
            and step.ours["code"] == 9 and step.ours["err"].endswith("Could not log into all portals\n"))


@rule("rediscovery")
def _(step):
    """Every record that differs does so for a reason of its own; nothing else differs."""
    if not discovers(step) or outcome(step.theirs) != outcome(step.ours):
        return False
    theirs, ours = comparable_tree(step.theirs["tree"]), comparable_tree(step.ours["tree"])
    differing = {path for path in set(theirs) | set(ours) if theirs.get(path) != ours.get(path)}
    records = {path for path in differing if path in records_of(theirs) or path in records_of(ours)}
    sources = {path for path in differing if path.endswith("/st_config") and is_kept(step, path)}
    if any((theirs.get(path) or ours[path])[0] != "directory" for path in differing - records - sources):
        return False
    reasons = {explain_discovery(step, path) for path in records} | ({"rediscovery"} if sources else set())
    return bool(reasons) and None not in reasons and "+".join(sorted(reasons))


@rule("host-names")
def _(step):
    """Ours shows what theirs shows under all names of the host together."""
    portals, operations = values(step, "p"), values(step, "o")
    if value(step, "m") != "node" or operations not in ([], ["show"]) or len(portals) != 1 or not same_trees(step):
        return False
    host = re.match("[^:,]*", portals[0]).group(0)
    names = next((group for group in ALIASES if host in group), None)
    if names is None or any(letter in "luRsLU" for letter, _ in parsed(step.words)):
        return False
    shown = []
    for name in names:
        words = [word.replace(portals[0], name + portals[0][len(host):]) for word in step.words]
        shown += RECORD.findall(step.again(words)["out"])
    return step.ours["code"] == 0 and step.ours["err"] == "" and sorted(shown) == sorted(RECORD.findall(step.ours["out"]))


def is_refused_for_use(step):
    """Theirs does not make an interface anew while sessions use it."""
    return (is_command(step, "iface", "new") and step.theirs["code"] == 15 and step.theirs["out"] == ""
            and step.theirs["err"] == f"iscsiadm: Could not create new interface {value(step, 'I')}.\n")


@rule("iface-in-use")
def _(step):
    # Both refuse, each for its own reason; or there is nothing to be changed.
    harmless = refused(step, "Could not create new interface ") or (step.ours["code"] == 0 and untouched(step))
    return is_refused_for_use(step) and harmless


@rule("iface-delete-in-use")
def _(step):
    """Theirs has removed the records of the interface that no session uses."""
    theirs, ours = comparable_tree(step.theirs["tree"]), comparable_tree(step.ours["tree"])
    place = f"/{value(step, 'I')}"
    gone = [path for path in records_of(ours) if path not in theirs]
    return (is_command(step, "iface", "delete") and outcome(step.theirs) == outcome(step.ours) and step.ours["code"] == 15
            and untouched(step) and bool(gone) and all(path.endswith((place, f",{place[1:]}")) for path in gone)
            and all(theirs[path] == ours[path] for path in theirs))


@rule("iface-new-keeps")
def _(step):
    path = f"/etc/iscsi/ifaces/{value(step, 'I')}"
    if not is_command(step, "iface", "new") or path not in step.before:
        return False
    allowed = step.before[path][2].split("\n")
    allowed += [f"{name} = {int(text) if text.isdigit() else text}" for name, text in pairs(step)[0]]

    def others(tree):
        return {other: re.sub("(?m)^iface[.].*\n", "", entry[2])
                for other, entry in comparable_tree(tree).items() if other != path}
    alike = outcome(step.theirs) == outcome(step.ours) or (is_refused_for_use(step) and step.ours["code"] == 0)
    return (alike and others(step.theirs["tree"]) == others(step.ours["tree"])
            and all(line in allowed for line in step.ours["tree"][path][2].split("\n")))


@rule("iface-family")
def _(step):
    """An interface whose address is not of the family that its name tells: only keys of the two families differ."""
    def alike(tree):
        return {path: [entry[0], entry[1], FAMILY_KEYS.sub("", entry[2])]
                for path, entry in comparable_tree(tree).items()}
    texts = "\n".join(entry[2] for entry in [*step.ours["tree"].values(), *step.before.values()])
    if not re.search("(?m)^iface.ipaddress = ", texts):
        return False
    if is_command(step, "iface", "update") and "Cannot modify iface.bootproto" in step.theirs["err"] + step.ours["err"]:
        return step.ours["code"] in (0, 7)
    return outcome(step.theirs) == outcome(step.ours) and alike(step.theirs["tree"]) == alike(step.ours["tree"])


@rule("iface-missing")
def _(step):
    missing = f"/etc/iscsi/ifaces/{value(step, 'I')}" not in step.before
    return value(step, "m") == "iface" and missing and refused(step, "Could not read iface info for ", (6,))


@rule("iface-operation")
def _(step):
    return (value(step, "m") == "iface" and bool(values(step, "o")) and step.theirs["err"] == step.theirs["out"] == ""
            and step.theirs["code"] == 7 and refused(step, "operation is not supported"))


@rule("iface-delete-builtin")
def _(step):
    return (is_command(step, "iface", "delete") and value(step, "I") in ("default", "iser") and untouched(step)
            and outcome(step.theirs) == outcome(step.ours) and step.ours["code"] == 7)


@rule("session-operation")
def _(step):
    return (value(step, "m") == "session" and not values(step, "r")
            and refused(step, "session mode: Operation '.*' only allowed with specific session IDs"))


@rule("order")
def _(step):
    """Of a portal with two group tags the tree shows the one that comes first."""
    def without_tags(result):
        bare = re.sub("(?m)^(\tPortal: .*),-?[0-9]+$", r"\1", result["out"])
        return comparable_text(bare), result["err"], result["code"]
    two = any(len(tags) > 1 for tags in node_files(step.before).values())
    return (value(step, "m") in ("discovery", "discoverydb") and value(step, "P") == "1" and two and same_trees(step)
            and without_tags(step.theirs) == without_tags(step.ours))


@rule("session-interface")
def _(step):
    interface = re.fullmatch(r"iscsiadm: Could not read iface info for (.*)\.\n", step.theirs["err"])
    return (value(step, "m") == "session" and bool(values(step, "r")) and step.theirs["code"] == 3 and bool(interface)
            and f"/etc/iscsi/ifaces/{interface.group(1)}" not in step.before and untouched(step))


@rule("applyall")
def _(step):
    return is_command(step, "iface", "applyall") and refused(
        step, "Applyall requires a host number or MAC|Could not read proc_name", (7, 23))


@rule("iface-transport")
def _(step):
    """Theirs leaves the node records of the interface that have another transport as they were; ours copies the interface
    into them, and no more."""
    name = value(step, "I")
    if not is_command(step, "iface", "update") or outcome(step.theirs) != outcome(step.ours):
        return False

    def others(text):
        return re.sub("(?m)^iface[.].*\n", "", text)

    def transport(entry):
        return re.search("(?m)^iface.transport_name = (.*)$", entry[2]).group(1)
    theirs, ours = comparable_tree(step.theirs["tree"]), comparable_tree(step.ours["tree"])
    if set(theirs) != set(ours):
        return False
    for path in (path for path in ours if theirs[path] != ours[path]):
        bound = f"iface.iscsi_ifacename = {name}\n" in ours[path][2] and path in records_of(ours)
        copied = re.findall("(?m)^iface[.].*\n", ours["/etc/iscsi/ifaces/" + name][2])
        differs = transport(step.before[path]) != transport(ours["/etc/iscsi/ifaces/" + name])
        if not (bound and differs and theirs[path] == step.before[path] and others(theirs[path][2]) == others(ours[path][2])
                and all(line in ours[path][2] for line in copied)):
            return False
    return True


@rule("host-filter")
def _(step):
    """Of the hosts that theirs shows, ours shows the one of -H."""
    wanted = value(step, "H")
    if value(step, "m") != "host" or wanted is None or values(step, "C") or not same_trees(step):
        return False
    versions, lists = re.match("((?:iSCSI Transport.*\nversion .*\n)?)([^\0]*)", step.theirs["out"]).groups()
    shown = [block for block in re.split(r"(?m)^(?=Host Number: |\w+: \[)", lists)
             if re.match(rf"(Host Number: {re.escape(wanted)}\n|\w+: \[{re.escape(wanted)}\] )", block)]
    if not shown:
        return refused(step, "No iSCSI hosts", (21,))
    return step.theirs["code"] == step.ours["code"] == 0 and step.ours["out"] == versions + "".join(shown)


@rule("all-filters")
def _(step):
    """What ours does is a part of what theirs does."""
    if value(step, "m") != "node" or not (values(step, "L") or values(step, "U")) or not same_trees(step):
        return False
    if not any(values(step, letter) for letter in "TpI"):
        return False
    lines = set(step.theirs["out"].split("\n")) | set(step.theirs["err"].split("\n"))
    lines |= {"iscsiadm: No records found", "iscsiadm: No matching sessions found"}
    return set(step.ours["out"].split("\n")) | set(step.ours["err"].split("\n")) <= lines


@rule("logout-tag")
def _(step):
    """What theirs logs out of, and sessions whose portal is known under another group tag only."""
    if value(step, "m") != "node" or not values(step, "U") or step.ours["code"] != 0 or not same_trees(step):
        return False
    theirs, ours = (set(step_result["out"].split("\n")) for step_result in (step.theirs, step.ours))
    found = [re.search(r"\[sid: (\d+), target: (\S+), portal: (\S+)\]", line) for line in ours - theirs]
    tags = {str(sid): str(tag) for sid, _, _, _, tag, _ in sysfs.SESSIONS}
    others = [node_files(step.before).get((line.group(2), line.group(3)), {}) for line in found if line]
    return (theirs - {""} <= ours and len(others) == len(found) > 0
            and all(known and tags[line.group(1)] not in known for known, line in zip(others, found)))


@rule("adapters")
def _(step):
    if is_command(step, "iface", "apply") or is_command(step, "iface", "applyall"):
        return "NETLINK_ISCSI" in step.theirs["err"] and same_trees(step) and step.ours["code"] == 0
    return bool(values(step, "C")) and refused(step, ".*: operation not supported", (27,))


# ---- reports ----

def describe(step):
    lines = [f"$ iscsiadm {' '.join(repr(word) if not word or ' ' in word else word for word in step.words)}"]
    if outcome(step.theirs) != outcome(step.ours):
        for title, result in (("theirs", step.theirs), ("ours", step.ours)):
            lines.append(f"  {title}: exit code {result['code']}")
            for mark, text in (("O", result["out"]), ("E", result["err"])):
                lines += [f"    {mark}|{line}" for line in text.split("\n")[:-1]]
    theirs, ours = comparable_tree(step.theirs["tree"]), comparable_tree(step.ours["tree"])
    for path in sorted(set(theirs) | set(ours)):
        if theirs.get(path) != ours.get(path):
            lines += [f"  {path}", *describe_entries(theirs.get(path), ours.get(path))]
    return "\n".join(lines)


def describe_entries(theirs, ours):
    if theirs and ours and theirs[0] == ours[0] == "file" and theirs[1] == ours[1]:
        a, b = theirs[2].split("\n"), ours[2].split("\n")
        return [f"    theirs: {line}" for line in a if line not in b] + [f"    ours:   {line}" for line in b if line not in a]
    return [f"    {title}: {entry[0]} {entry[1]:o} {entry[2][:60]!r}" if entry else f"    {title}: none"
            for title, entry in (("theirs", theirs), ("ours", ours))]
