"""What boot firmware says, as the kernel shows it in /sys/firmware: {path below that: the line in the file}."""

import os

INITIATOR = "iqn.2020-01.org.example:boot"
SUITED = "52:54:00:12:34:"  # and the interface's number behind 0x10


def table(name="ibft", nics=1, targets=1, **changes):
    """A whole table: target N is at interface N, or the last one. changes: target0__port="3261" puts another line there,
    None takes the file away; an attribute's - is a _ here."""
    files = {"initiator/flags": "3", "initiator/index": "0", "initiator/initiator-name": INITIATOR}
    for i in range(nics):
        files.update({f"ethernet{i}/{key}": value for key, value in {
            "flags": "3", "index": str(i), "mac": f"{SUITED}{0x10 + i:02x}", "ip-addr": f"10.1.{i}.2", "prefix-len": "24",
            "subnet-mask": "255.255.255.0", "gateway": f"10.1.{i}.1", "primary-dns": "10.1.0.53",
            "secondary-dns": "10.1.0.54", "dhcp": "10.1.0.9", "origin": "3", "vlan": "0", "hostname": "boots",
        }.items()})
    for i in range(targets):
        files.update({f"target{i}/{key}": value for key, value in {
            "flags": "3", "index": str(i), "target-name": f"iqn.2020-01.org.example:disk{i}", "ip-addr": f"10.1.{i}.9",
            "port": "3260", "lun": "00000000", "chap-type": "0", "nic-assoc": str(min(i, nics - 1)),
        }.items()})
    for key, value in changes.items():
        files["/".join(part.replace("_", "-") for part in key.split("__"))] = value
    return {f"{name}/{path}": line for path, line in files.items() if line is not None}


ONE_WAY = {"target0__chap_type": "1", "target0__chap_name": "me", "target0__chap_secret": "my-secret-12"}
MUTUAL = {**ONE_WAY, "target0__chap_type": "2", "target0__rev_chap_name": "you",
          "target0__rev_chap_name_secret": "your-secret-12"}
# What a kernel shows of IPv6 is not shortened.
IPV6 = {
    "ethernet0__ip_addr": "2001:0db8:0000:0000:0000:0000:0000:0002", "ethernet0__prefix_len": "64",
    "ethernet0__gateway": "2001:0db8:0000:0000:0000:0000:0000:0001", "ethernet0__subnet_mask": None,
    "ethernet0__dhcp": None, "target0__ip_addr": "2001:0db8:0000:0000:0000:0000:0000:0009",
}
STATIC = {"ethernet0__dhcp": None, "ethernet0__origin": "1", "ethernet0__vlan": "7"}

# Tables that both suites read alike.
SANE = {
    "one": table(),
    "two": table(nics=2, targets=2),
    "two at one interface": table(targets=2),
    "one way CHAP": table(**ONE_WAY),
    "mutual CHAP": table(**MUTUAL),
    "IPv6": table(**IPV6),
    "static, VLAN": table(**STATIC),
    "no port, no LUN": table(target0__port=None, target0__lun=None),
    "no initiator name": table(initiator__initiator_name=None),
    "no address, no VLAN": table(ethernet0__ip_addr=None, ethernet0__vlan=None),
    "known device": table(ethernet0__device__net__eth7__address="x"),
    "first not valid": table(nics=2, targets=2, target0__flags="0"),
    "valid, not chosen": table(target0__flags="1", ethernet0__flags="1"),
    "no table": {"acpi/note": "x"},
    "an initiator alone": {"ibft/initiator/initiator-name": INITIATOR},
}

# Tables that are cut short or nonsense: what is said of each.
TARGET0 = "ibft: target0: "
BAD = {
    "target-name is missing": table(target0__target_name=None),
    "ip-addr is missing": table(target0__ip_addr=None),
    "nic-assoc is missing": table(target0__nic_assoc=None),
    "there is no interface 5": table(target0__nic_assoc="5"),
    "there is no interface 0": {path: line for path, line in table().items() if "ethernet" not in path},
    "ethernet0 is marked as not valid": table(ethernet0__flags="0"),
    "mac is missing": table(ethernet0__mac=None),
    "mac is '52:54:00'": table(ethernet0__mac="52:54:00"),
    "port is '99999'": table(target0__port="99999"),
    "port is '0'": table(target0__port="0"),
    "ethernet0 prefix-len is '999'": table(ethernet0__prefix_len="999"),
    "prefix-len is '64'": table(ethernet0__prefix_len="64"),
    "ethernet0 vlan is '4096'": table(ethernet0__vlan="4096"),
    "ip-addr is 'garbage\\x1b[2J'": table(ethernet0__ip_addr="garbage\x1b[2J"),
    "gateway is '10.1'": table(ethernet0__gateway="10.1"),
    "chap-secret is no text of one line": table(target0__chap_name="me", target0__chap_secret="a\nb"),
    "chap-name has more than 255 bytes": table(target0__chap_name="x" * 256, target0__chap_secret="y"),
    "there is only half of chap-name and chap-secret": table(target0__chap_name="me"),
    "rev-chap-name stands without chap-name": table(target0__rev_chap_name="you", target0__rev_chap_name_secret="s"),
    "chap-secret would be read as the name of a file": table(target0__chap_name="me", target0__chap_secret="file:/x"),
    "lun has more than 255 bytes": table(target0__lun="0" * 3000000),
    "the interface's name is 'a'b'": table(**{"ethernet0__device__net__a'b__x": "x"}),
}


def lay(root, files):
    """Writes the files below root/sys/firmware; nothing else is there."""
    place = os.path.join(root, "sys/firmware")
    os.makedirs(place, exist_ok=True)
    for path, line in files.items():
        path = os.path.join(place, path)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w", encoding="utf-8") as file:
            file.write(line + "\n")
