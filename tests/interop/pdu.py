"""Just enough iSCSI (RFC 7143 section 11) for peers that misbehave on purpose and for a tap on the wire."""

import struct

TABLE = []
for _byte in range(256):
    _crc = _byte
    for _ in range(8):
        _crc = _crc >> 1 ^ (0x82F63B78 if _crc & 1 else 0)
    TABLE.append(_crc)


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc = TABLE[(crc ^ byte) & 0xFF] ^ crc >> 8
    return struct.pack("<I", crc ^ 0xFFFFFFFF)


def padded(data):
    return data + b"\0" * (-len(data) % 4)


def keys(data):
    """key=value pairs of a text data segment, in order."""
    pairs = [item.split("=", 1) for item in data.decode(errors="replace").split("\0") if item]
    return {pair[0]: pair[1] if len(pair) > 1 else "" for pair in pairs}


def text(pairs):
    return b"".join(f"{key}={value}\0".encode() for key, value in pairs.items())


class Pdu:
    def __init__(self, header, data=b""):
        self.header, self.data = bytearray(header), data

    opcode = property(lambda self: self.header[0] & 0x3F)
    immediate = property(lambda self: bool(self.header[0] & 0x40))
    flags = property(lambda self: self.header[1])
    final = property(lambda self: bool(self.header[1] & 0x80))
    data_length = property(lambda self: int.from_bytes(self.header[5:8], "big"))
    itt = property(lambda self: self.word(16))
    ttt = property(lambda self: self.word(20))

    def word(self, at):
        return int.from_bytes(self.header[at:at + 4], "big")

    def bytes(self):
        self.header[5:8] = len(self.data).to_bytes(3, "big")
        return bytes(self.header) + padded(self.data)


class Closed(Exception):
    """The peer closed the connection."""


def receive_exactly(sock, count):
    out = b""
    while len(out) < count:
        got = sock.recv(count - len(out))
        if not got:
            raise Closed
        out += got
    return out


def receive(sock):
    bhs = receive_exactly(sock, 48)
    length = int.from_bytes(bhs[5:8], "big")
    receive_exactly(sock, bhs[4] * 4)  # no additional header segment matters here
    return Pdu(bhs, receive_exactly(sock, length + -length % 4)[:length])


def header(opcode, flags=0, **words):
    """48 bytes; words are named by their offset: at16=itt."""
    out = bytearray(48)
    out[0], out[1] = opcode, flags
    for name, value in words.items():
        at = int(name[2:])
        out[at:at + 4] = (value & 0xFFFFFFFF).to_bytes(4, "big")
    return out


def split_stream(stream, header_digest=False, data_digest=False):
    """Cuts a direction of a connection into PDUs. Digests are in force from the first PDU that is no login on;
    one that is wrong raises ValueError. Gives the PDUs and the bytes of a last one that is not whole."""
    out, at = [], 0
    while at + 48 <= len(stream):
        bhs = stream[at:at + 48]
        login = bhs[0] & 0x3F in (0x03, 0x23)
        length = int.from_bytes(bhs[5:8], "big")
        begin = at
        at += 48 + bhs[4] * 4
        if header_digest and not login:
            if len(stream) < at + 4:
                return out, stream[begin:]
            if stream[at:at + 4] != crc32c(stream[begin:at]):
                raise ValueError(f"header digest of PDU {len(out)} (opcode {bhs[0] & 0x3f:#x}) is wrong")
            at += 4
        end = at + length + -length % 4
        digest = 4 if data_digest and not login and length else 0
        if len(stream) < end + digest:
            return out, stream[begin:]
        if digest and stream[end:end + 4] != crc32c(stream[at:end]):
            raise ValueError(f"data digest of PDU {len(out)} is wrong")
        out.append(Pdu(bhs, bytes(stream[at:at + length])))
        at = end + digest
    return out, stream[at:]
