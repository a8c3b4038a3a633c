"""An iBFT: the ACPI table in which boot firmware tells of its iSCSI disk, as qemu hands it to a guest (-acpitable file=...).
The layout is that of "iSCSI Boot Firmware Table (iBFT)", version 1.02, as Linux' drivers/firmware/iscsi_ibft.c reads it: a
header of 48 bytes, the control structure, one each of initiator, interface and target, each eight bytes aligned, and
behind them a heap of strings that they point to."""

import ipaddress
import struct

HEADER_BYTES, HEADER = 48, "<4sIBB6s8s24x"
CONTROL, INITIATOR, NIC, TARGET = 1, 2, 3, 4
VALID, SELECTED = 1, 2
FROM_DHCP, BY_HAND = 3, 1


def _address(text):
    """Sixteen bytes; an IPv4 address is mapped into IPv6, and none is all zeroes."""
    if not text:
        return bytes(16)
    address = ipaddress.ip_address(text)
    return address.packed if address.version == 6 else bytes(10) + b"\xff\xff" + address.packed


class _Table:
    def __init__(self):
        self.blocks, self.heap = b"", b""

    def string(self, text):
        """(length, offset in the heap) of a string, which ends with a zero that is not counted."""
        if not text:
            return 0, 0
        place = len(self.heap)
        self.heap += text.encode() + b"\0"
        return len(text), place

    def block(self, kind, body, index=0):
        """Its offset in the table."""
        self.blocks += bytes(-(HEADER_BYTES + len(self.blocks)) % 8)
        place = HEADER_BYTES + len(self.blocks)
        flags = 0 if kind == CONTROL else VALID | SELECTED
        self.blocks += struct.pack("<BBHBB", kind, 1, 6 + len(body), index, flags) + body
        return place


def table(initiator, nic, target):
    """The bytes of a table. nic: mac, address, prefix, gateway, dns, vlan, place (the PCI address, bus << 8 | device << 3 |
    function); target: name, address, port, username, password."""
    # Twice: the first time shows where the heap begins.
    heap = 0
    for _ in range(2):
        made = _Table()

        def string(text):
            length, place = made.string(text)  # pylint: disable=W0640
            return struct.pack("<HH", length, heap + place if length else 0)  # pylint: disable=W0640

        control_bytes = 18
        first = (HEADER_BYTES + control_bytes + 7) // 8 * 8
        made.blocks = bytes(first - HEADER_BYTES)
        offsets = (
            made.block(INITIATOR, bytes(64) + string(initiator)),
            made.block(NIC, _address(nic["address"]) + struct.pack("<BB", nic["prefix"], nic.get("origin", BY_HAND)) +
                       _address(nic.get("gateway")) + _address(nic.get("dns")) + bytes(32) +
                       struct.pack("<H", nic.get("vlan", 0)) + bytes.fromhex(nic["mac"].replace(":", "")) +
                       struct.pack("<H", nic.get("place", 0)) + string("")),
            made.block(TARGET, _address(target["address"]) + struct.pack("<H8sBB", target["port"], bytes(8),
                                                                         1 if target.get("username") else 0, 0) +
                       string(target["name"]) + string(target.get("username")) + string(target.get("password")) +
                       string("") + string("")),
        )
        heap = HEADER_BYTES + len(made.blocks)
    control = struct.pack("<BBHBB6H", CONTROL, 1, control_bytes, 0, 0, 0, *offsets, 0, 0)
    body = control + made.blocks[len(control):] + made.heap
    header = struct.pack(HEADER, b"iBFT", HEADER_BYTES + len(body), 1, 0, b"ISCSIT", b"EXAMPLE ")
    whole = bytearray(header + body)
    whole[9] = -sum(whole) & 0xFF  # the checksum: all bytes together are 0
    return bytes(whole)
