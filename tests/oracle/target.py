"""As much of an iSCSI target as a discovery needs: it lets everybody log in, with CHAP whoever offers that, and answers
SendTargets=All (RFC 7143). It believes every CHAP answer."""

import socket
import struct
import threading

LOGIN, TEXT, LOGOUT = 0x03, 0x04, 0x06
RESPONSE = 0x20
FINAL = 0x80
STAGE = 0x0c  # the current one, without the wish to go on


def receive(connection, size):
    data = b""
    while len(data) < size:
        part = connection.recv(size - len(data))
        if not part:
            raise ConnectionResetError
        data += part
    return data


def chap_answer(keys):
    """What comes next of CHAP (RFC 1994), and None when nothing does. Before its end the stage does not change."""
    if "CHAP" in keys.get("AuthMethod", "").split(","):
        return b"AuthMethod=CHAP\0"
    if "CHAP_A" in keys:
        offered = keys["CHAP_A"].split(",")
        algorithm = "5" if "5" in offered else offered[0]
        return f"CHAP_A={algorithm}\0CHAP_I=1\0CHAP_C=0x{'5a' * 16}\0".encode()
    return None


def answer(opcode, header, text, portals):
    """The response's flags, its bytes 8 to 16 and its data."""
    if opcode == LOGIN:
        pairs = (pair.split("=", 1) for pair in text.decode("utf-8", "replace").split("\0") if "=" in pair)
        keys = chap_answer(dict(pairs))
        # Whatever else was asked to change the stage is granted; TSIH 1.
        flags = header[1] if keys is None else header[1] & STAGE
        return flags, header[8:14] + b"\0\1", keys or b""
    if opcode == TEXT:
        keys, last = b"", None
        for target, address, port, tag in portals:
            if target != last:
                keys += f"TargetName={target}\0".encode()
            last = target
            host = f"[{address}]" if ":" in address else address
            keys += f"TargetAddress={host}:{port},{tag}\0".encode()
        return FINAL, header[8:16], keys
    return FINAL, b"\0" * 8, b""


def serve(connection, portals):
    status = 1
    with connection:
        while True:
            header = receive(connection, 48)
            opcode = header[0] & 0x3f
            size = int.from_bytes(header[5:8], "big")
            text = receive(connection, (size + 3) // 4 * 4)
            if opcode not in (LOGIN, TEXT, LOGOUT):
                continue
            flags, middle, data = answer(opcode, header, text, portals())
            command, = struct.unpack_from(">I", header, 24)
            reply = bytes([opcode | RESPONSE, flags, 0, 0, 0]) + len(data).to_bytes(3, "big") + middle
            reply += header[16:20] + b"\xff" * 4 + struct.pack(">III", status, command + 1, command + 32)
            status += 1
            connection.sendall(reply.ljust(48, b"\0") + data + b"\0" * (-len(data) % 4))
            if opcode == LOGOUT:
                return


def run(listener, portals):
    while True:
        connection, _ = listener.accept()

        def guarded(peer=connection):
            try:
                serve(peer, portals)
            except OSError:
                pass
        threading.Thread(target=guarded, daemon=True).start()


def start(portals):
    """Listens on every address; portals() gives [(target, address, port, tag)] for an answer."""
    listener = socket.create_server(("::", 3260), family=socket.AF_INET6, dualstack_ipv6=True)
    threading.Thread(target=run, args=(listener, portals), daemon=True).start()
