"""CHAP with a secret that the record only refers to: by file, by credential, replaced while a session runs. In a directory
ISCSI_BUILD."""

import os

from lab import MIB, Lab, check, main, wait_until
from targets import Chap, Lun, chap_settings

TARGET = "iqn.2026-01.org.example:disk"
SECRET = "secret-of-the-lab-1"


def secret_references():
    with Lab() as lab:
        credentials = os.path.join(lab.root, "credentials")
        os.mkdir(credentials)
        path = os.path.join(lab.root, "secret")

        def write(text, mode=0o600):
            for place in (path, os.path.join(credentials, "iscsi")):
                with open(place, "w", encoding="ascii") as file:
                    file.write(text)
                os.chmod(place, mode)

        def log():
            with open(os.path.join(lab.root, "iscsid.log"), encoding="utf-8", errors="replace") as file:
                return file.read()

        target = lab.tgtd()
        target.add(TARGET, [Lun(lab.disk("disk", 4 * MIB))], Chap("lab-user", SECRET))
        lab.iscsid(env={"CREDENTIALS_DIRECTORY": credentials})
        lab.discover(target.portal)
        for number, reference in enumerate((f"file:{path}", "credential:iscsi"), 1):
            lab.update(TARGET, chap_settings(Chap("lab-user", reference)))
            check(f"auth.password = {reference}\n" in lab.adm("-m", "node", "-T", TARGET, quiet=True).out,
                  "a reference is shown")
            write("another-secret-1\n")
            lab.login(ok=24)
            write(SECRET + "\n", 0o666)
            if reference.startswith("file:"):
                refused = lab.login(ok=7)
                check("others than its owner" in refused.err and SECRET not in refused.err, "the reason is said")
                write(SECRET + "\n")
            # Of a credential the service manager answers for the mode.
            lab.login()
            for place in (os.path.join(lab.root, "run/iscsid/sessions"), lab.etc):
                check(lab.run("grep", "-rlF", SECRET, place, ok=None, quiet=True).out == "", f"no secret in {place}")
            shown = lab.adm("-m", "session", "-P", "2", "-S", quiet=True).out
            check(SECRET not in shown and reference in shown, "a session shows the reference")
            # A reconnect needs the file no more.
            os.remove(path)
            os.remove(os.path.join(credentials, "iscsi"))
            connection = target.admin("--op", "show", "--mode", "conn", "--tid", "1").out
            sid = connection.split("Session: ")[1].split("\n")[0].strip()
            target.admin("--op", "delete", "--mode", "conn", "--tid", "1", "--sid", sid, "--cid", "0")
            wait_until(lambda: log().count(" is back after ") == number, 20, "the session to be back")
            lab.logout()


if __name__ == "__main__":
    main(secret_references)
