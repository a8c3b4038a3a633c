"""The daemon that an iscsiadm of the oracle talks to. It knows the configuration. Without sessions it refuses every
login in the same way in both worlds, so that commands can be compared up to the daemon's door; with those of sysfs.py it
says yes to everything, and they stay as they are. A discovery finds `portals` in both: open-iscsi's iscsiadm asks a
target itself, ours asks its daemon."""

import os
import socket
import struct
import sys
import threading

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "cli"))
import harness  # pylint: disable=wrong-import-position
import sysfs  # pylint: disable=wrong-import-position
import target  # pylint: disable=wrong-import-position

ready = threading.Event()
portals = []  # [target, address, port, group tag]

# open-iscsi 2.1.8 on amd64: fixed C structures.
REQUEST_BYTES = 16104
REPLY_BYTES = 2464
ANSWERS = {8: b"iqn.1993-08.org.debian:01:oracle", 9: b"oracle", 10: b"/etc/iscsi/iscsid.conf"}
# Of a session: nothing is being done about it, and its connection is logged in.
SESSION_INFO = 13
IN_PEACE = struct.pack("=ii", 0, 3)
REFUSAL = 9


def answer_theirs(client, agrees):
    with client:
        request = b""
        while len(request) < REQUEST_BYTES:
            part = client.recv(REQUEST_BYTES - len(request))
            if not part:
                return
            request += part
        command, = struct.unpack_from("=i", request)
        answers = {**ANSWERS, SESSION_INFO: IN_PEACE} if agrees else ANSWERS
        reply = struct.pack("=ii", command, 0 if agrees or command in answers else REFUSAL) + answers.get(command, b"")
        try:
            client.sendall(reply.ljust(REPLY_BYTES, b"\0"))
        except BrokenPipeError:
            pass  # -W does not wait


def found(request):
    ifaces = [iface["values"].get("iface.iscsi_ifacename", "default") for iface in request["ifaces"]]
    return harness.discovered(*(harness.found(*portal, iface=iface) for iface in ifaces for portal in portals))


def serve(kind, sessions):
    if kind == "ours":
        daemon = harness.FakeDaemon("")
        if sessions:
            daemon.sessions = [harness.session(*values, [harness.lun(1, device="/dev/sdb")] if values[0] == 1 else [])
                               for values in sysfs.SESSIONS]
        else:
            daemon.answers["login"] = lambda _: harness.error(REFUSAL)
        daemon.answers["discover"] = found
        ready.set()
        return
    target.start(lambda: portals)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind("\0ISCSIADM_ABSTRACT_NAMESPACE")
    listener.listen(16)
    ready.set()
    while True:
        client, _ = listener.accept()
        threading.Thread(target=answer_theirs, args=(client, sessions), daemon=True).start()
