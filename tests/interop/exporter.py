"""iscsi-exporter with a real iscsid, a real target and a real Prometheus. Argument: the name of the function to run. In a
directory ISCSI_BUILD."""

import json
import os
import re
import shutil
import sys
import time
import urllib.request

TESTS = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path[1:1] = [os.path.join(TESTS, folder) for folder in ("docs", "faults")]

import pages  # noqa: E402  pylint: disable=C0413
from faultlab import TGTD, FaultLab  # noqa: E402  pylint: disable=C0413
from lab import MIB, Lab, check, listener_of, main, need, wait_until  # noqa: E402  pylint: disable=C0413
from targets import Lun  # noqa: E402  pylint: disable=C0413

TARGET = "iqn.2026-01.org.example:metrics"
NOBODY = 65534


def socket_of(lab):
    return os.path.join(lab.root, "exporter/metrics.sock")


def metrics_of(lab):
    """The text, and of it: name and labels -> number."""
    said = lab.run("curl", "-sS", "--fail", "--max-time", "60", "--unix-socket", socket_of(lab), "http://localhost/metrics",
                   quiet=True).out
    return said, {name: float(number) for name, number in re.findall(r"^([^# ].*) (\S+)$", said, re.M)}


def of(metrics, name, **labels):
    """The one metric with these labels."""
    found = [number for key, number in metrics.items() if key.split("{")[0] == name
             and all(f'{label}="{value}"' in key for label, value in labels.items())]
    check(len(found) == 1, f"one {name} {labels}: {found}")
    return found[0]


def start_exporter(lab, *words):
    """As another user where the test is root: one whom iscsid takes for a guest. The build's directory may not be his to read."""
    folder = os.path.dirname(socket_of(lab))
    os.makedirs(folder)
    program = shutil.copy(lab.program("iscsi-exporter"), folder)
    options = {}
    if os.geteuid() == 0:
        for place in (lab.root, os.path.join(lab.root, "run")):
            os.chmod(place, 0o711)
        os.chown(folder, NOBODY, NOBODY)
        options = {"user": NOBODY, "group": NOBODY, "extra_groups": []}
    process = lab.start("iscsi-exporter", [program, "-s", socket_of(lab), *words], **options)
    wait_until(lambda: listener_of(socket_of(lab)) == process.pid or process.poll() is not None, 20,
               "iscsi-exporter to listen")
    check(process.poll() is None, "iscsi-exporter ended at its start")


def logged_in(lab, settings=None):
    target = lab.tgtd()
    luns = [Lun(lab.disk("a", 4 * MIB), 1), Lun(lab.disk("b", 8 * MIB), 2)]
    target.add(TARGET, luns)
    lab.iscsid()
    lab.discover(target.portal)
    lab.update(TARGET, settings or {"node.startup": "manual"})
    lab.login()
    return target, luns


def check_waits(metrics, seconds):
    """With one command at a time requests wait for each other; what they took holds what they waited, and all of it fits into
    the time that there was, for as many as there can be at once."""
    for lun in (1, 2):
        waited = of(metrics, "iscsi_lun_wait_seconds_total", lun=lun)
        took = sum(of(metrics, "iscsi_lun_request_seconds_sum", lun=lun, kind=kind) for kind in ("read", "write", "other"))
        check(of(metrics, "iscsi_lun_waits_total", lun=lun) > 0 and 0 < waited <= took, f"waited {waited} s of {took} s")
        check(took <= seconds * 4 * 64, f"{took} s of requests in {seconds} s")
        check(of(metrics, "iscsi_lun_requests_in_flight", lun=lun) == 0, "nothing is in flight")


def scraped():
    """What is read and written is counted; the names are as Prometheus wants them; a session that comes back is counted."""
    need("curl", "promtool", "nbdcopy")
    with Lab() as lab:
        target, luns = logged_in(lab, {"node.session.queue_depth": 1})
        start_exporter(lab)
        begun = time.monotonic()
        lab.run("nbdcopy", "--request-size=65536", lab.export(1), lab.disk("copy", 4 * MIB))
        lab.run("nbdcopy", "--request-size=65536", "--flush", lab.random_image("image", 4 * MIB), lab.export(2))
        text, metrics = metrics_of(lab)
        check_waits(metrics, time.monotonic() - begun)
        check(of(metrics, "iscsi_up") == 1, "it is up")
        of(metrics, "iscsi_session_info", sid=1, target=TARGET, portal=target.portal, iface="default")
        check(of(metrics, "iscsi_session_state", sid=1, state="LOGGED_IN") == 1, "it is logged in")
        check(of(metrics, "iscsi_lun_size_bytes", lun=2) == 8 * MIB, "the size of a unit")
        check(of(metrics, "iscsi_lun_request_bytes_total", lun=1, kind="read") >= 4 * MIB, "all of it was read")
        check(of(metrics, "iscsi_lun_request_bytes_total", lun=1, kind="write") == 0, "nothing was written")
        check(of(metrics, "iscsi_lun_request_bytes_total", lun=2, kind="write") == 4 * MIB, "what was written")
        check(of(metrics, "iscsi_lun_requests_total", lun=2, kind="other") >= 1, "a flush")
        check(of(metrics, "iscsi_session_received_bytes_total") > 4 * MIB, "bytes from the target")
        check(of(metrics, "iscsi_session_sent_bytes_total") > 4 * MIB, "bytes to the target")
        count = of(metrics, "iscsi_lun_requests_total", lun=1, kind="read")
        check(count >= 4 * MIB / 65536, f"{count} reads")
        check(of(metrics, "iscsi_lun_request_seconds_bucket", lun=1, kind="read", le="+Inf") == count, "each in the histogram")
        said = lab.run("promtool", "check", "metrics", stdin=open_text(lab, text), quiet=True)
        check(not said.out + said.err, f"promtool says: {said}")

        check(of(metrics, "iscsi_session_recoveries_total", sid=1) == 0, "it was never lost")
        target.process.expected_end = True
        target.process.kill()
        target.process.wait()
        wait_until(lambda: of(metrics_of(lab)[1], "iscsi_session_down_seconds", sid=1) >= 1, 20, "the drop to be noticed")
        check(of(metrics_of(lab)[1], "iscsi_session_state", sid=1, state="FAILED") == 1, "it is lost")
        target.start()
        target.add(TARGET, luns)
        wait_until(lambda: of(metrics_of(lab)[1], "iscsi_session_recoveries_total", sid=1) == 1, 60, "the session to be back")
        check(of(metrics_of(lab)[1], "iscsi_session_down_seconds", sid=1) == 0, "it is up again")
        lab.logout()
        check("iscsi_lun" not in metrics_of(lab)[0], "no session, no unit")


def open_text(lab, text):
    path = os.path.join(lab.root, "metrics.txt")
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)
    return open(path, "rb")


def digest_errors():
    """A bit that is changed on the way is a digest error, and the recovery from it a recovery."""
    need("curl", "nbdcopy")
    with FaultLab() as lab:
        target = lab.tgtd()
        target.add(TARGET, [Lun(lab.disk("a", 4 * MIB), 1)], parameters=TGTD)
        proxy = lab.proxy(target.portal)
        lab.iscsid()
        lab.log_in(proxy.portal, TARGET, {"node.conn[0].iscsi.DataDigest": "CRC32C"})
        start_exporter(lab)
        check(of(metrics_of(lab)[1], "iscsi_session_digest_errors_total") == 0, "none yet")
        proxy.say("flip way=in region=data after=1000000")
        lab.run("nbdcopy", "--request-size=65536", lab.export(), lab.disk("copy", 4 * MIB))
        metrics = metrics_of(lab)[1]
        errors, back = (of(metrics, f"iscsi_session_{name}_total") for name in ("digest_errors", "recoveries"))
        check((errors, back) == (1, 1), f"{errors} digest errors and {back} recoveries of one changed bit")
        check(of(metrics, "iscsi_lun_request_failures_total", kind="read") == 0, "no request fails for it")
        lab.adm("-m", "node", "-u", quiet=True)


def prometheus_of_the_readme(port):
    """The lines that it has for prometheus.yml, with our port."""
    lines, = re.findall(r"below `scrape_configs:`\n\n```text\n(.*?)```", pages.read("README.md"), re.S)
    check("127.0.0.1:9891" in lines, "the README has another port")
    return lines.replace("127.0.0.1:9891", f"127.0.0.1:{port}")


def real_prometheus():
    """Debian's Prometheus scrapes a loopback port, and knows what the exporter said."""
    need("prometheus")
    with Lab() as lab:
        logged_in(lab)
        port, own = lab.port(), lab.port()
        start_exporter(lab, "-l", f"127.0.0.1:{port}")
        config = os.path.join(lab.root, "prometheus.yml")
        with open(config, "w", encoding="ascii") as file:
            file.write(f"global:\n  scrape_interval: 1s\nscrape_configs:\n{prometheus_of_the_readme(port)}")
        lab.start("prometheus", ["prometheus", f"--config.file={config}", f"--web.listen-address=127.0.0.1:{own}",
                                 f"--storage.tsdb.path={lab.data}/prometheus", "--log.level=warn"])

        def asked(query):
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{own}/api/v1/query?query={query}", timeout=20) as answer:
                    return json.load(answer)["data"]["result"]
            except OSError:
                return []

        wait_until(lambda: asked("iscsi_up%3D%3D1"), 60, "Prometheus to have scraped")
        info, = asked("iscsi_session_info")
        check(info["metric"]["target"] == TARGET, f"the session's target: {info}")
        sizes = {unit["metric"]["lun"]: unit["value"][1] for unit in asked("iscsi_lun_size_bytes")}
        check(sizes == {"1": str(4 * MIB), "2": str(8 * MIB)}, f"the units' sizes: {sizes}")
        check(asked("count(iscsi_lun_request_seconds_bucket)")[0]["value"][1] == str(2 * 3 * 23), "the histograms")
        lab.logout()


if __name__ == "__main__":
    main({"scraped": scraped, "digest_errors": digest_errors, "real_prometheus": real_prometheus}[sys.argv[1]])
