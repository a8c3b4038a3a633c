"""Sessions as the kernel shows them: the files in a stand-in /sys that open-iscsi's iscsiadm reads for its lists and
trees. The values are those that harness.session() has the other daemon tell."""

import os

# sid, target, address, port, group tag, interface; the first one has a disk.
SESSIONS = [
    [1, "iqn.2001-04.com.example:t1", "10.0.0.1", 3260, 1, "default"],
    [2, "iqn.2001-04.com.example:t1", "10.0.0.2", 3260, 2, "default"],
    [3, "iqn.2001-04.com.example:t2", "fe80::1", 3261, 1, "if1"],
]
INITIATOR = "iqn.1993-08.org.debian:01:fakeini"


class Files:
    def __init__(self, root):
        self._root = root

    def put(self, folder, **values):
        """One file a value, as sysfs has attributes."""
        os.makedirs(self._root + folder, exist_ok=True)
        for name, value in values.items():
            with open(f"{self._root}{folder}/{name}", "w", encoding="ascii") as stream:
                stream.write(f"{value}\n")

    def link(self, path, to):
        os.makedirs(os.path.dirname(self._root + path), exist_ok=True)
        os.symlink(os.path.relpath(to, os.path.dirname(path)), self._root + path)


def make_session(files, sid, target, address, port, tag, iface):
    host = sid + 1
    device = f"/sys/devices/platform/host{host}"
    session = f"{device}/session{sid}"
    shown = f"{session}/iscsi_session/session{sid}"
    connection = f"{session}/connection{sid}:0/iscsi_connection/connection{sid}:0"
    files.put(shown, targetname=target, tpgt=tag, ifacename=iface, state="LOGGED_IN", initiatorname=INITIATOR,
              username="u1", password="secret123456", username_in="(null)", password_in="(null)", recovery_tmo=120,
              tgt_reset_tmo=30, lu_reset_tmo=30, abort_tmo=15, initial_r2t=0, immediate_data=1, first_burst_len=65536,
              max_burst_len=262144, max_outstanding_r2t=1, data_pdu_in_order=1, data_seq_in_order=1, erl=0, fast_abort=1)
    files.put(connection, address=address, port=port, persistent_address=address, persistent_port=port, header_digest=0,
              data_digest=0, max_recv_dlength=262144, max_xmit_dlength=8192, state="up", local_ipaddr="10.0.0.5")
    files.put(f"{device}/iscsi_host/host{host}", initiatorname=INITIATOR, ipaddress="10.0.0.5", hwaddress="(null)",
              netdev="(null)")
    files.put(f"{device}/scsi_host/host{host}", proc_name="iscsi_tcp", state="running")
    files.link(f"{session}/iscsi_session/session{sid}/subsystem", "/sys/class/iscsi_session")
    files.link(f"{shown}/device", session)
    for kind in ("iscsi_host", "scsi_host"):
        files.link(f"{device}/{kind}/host{host}/device", device)
        files.link(f"/sys/class/{kind}/host{host}", f"{device}/{kind}/host{host}")
    files.link(f"/sys/class/iscsi_session/session{sid}", shown)
    files.link(f"/sys/class/iscsi_connection/connection{sid}:0", connection)
    return session, host


def make_disk(files, session, host):
    unit = f"{session}/target{host}:0:0/{host}:0:0:1"
    files.put(unit, state="running", type=0, vendor="IET", model="VIRTUAL-DISK")
    files.put(f"{unit}/block/sdb", size=1)
    files.link(f"/sys/bus/scsi/devices/{host}:0:0:1", unit)
    files.link(f"{unit}/subsystem", "/sys/bus/scsi")
    for top in ("/sys/block", "/sys/class/block"):
        files.link(f"{top}/sdb", f"{unit}/block/sdb")


def make(root):
    """Adds SESSIONS to the /sys below `root`."""
    files = Files(root)
    files.put("/sys/module/scsi_transport_iscsi", version="2.0-870")
    for sid, *values in SESSIONS:
        session, host = make_session(files, sid, *values)
        if sid == 1:
            make_disk(files, session, host)
