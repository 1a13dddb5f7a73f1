"""
An SSH server inside a running program: log in and look at its state, in a Python prompt.

    python ssh_shell.py           serve until Ctrl-C; the command to log in is printed
    python ssh_shell.py --once    serve, log in, look at one thing, and end

All keys are made for this run: the server's, and the one that lets the operator in. In your own
program use lasting ones: a host key from a file, and
`SSHPublicKeyChecker(UNIXAuthorizedKeysFiles())` for who may log in. Whoever does can do anything
that the program can.

The prompt runs in the reactor's thread: what is typed there must not block, and a `wait_for`
function called there raises instead of waiting for itself.
"""

from __future__ import annotations

import random
import sys
import tempfile
import time
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from loopback.ssh import converse
from twisted.conch.checkers import InMemorySSHKeyDB, SSHPublicKeyChecker
from twisted.conch.insults.insults import ServerProtocol
from twisted.conch.manhole import Manhole
from twisted.conch.manhole_ssh import ConchFactory, TerminalRealm, TerminalSession
from twisted.conch.ssh.keys import Key
from twisted.cred.portal import Portal
from twisted.internet import reactor

from crochet import setup, wait_for

setup()


class Session(TerminalSession):
    """
    A terminal session that lets the client resize its window and close its input.
    """

    def windowChanged(self, size: tuple[int, int, int, int]) -> None:
        """
        Go on with the old size.
        """

    def eofReceived(self) -> None:
        """
        Go on until Ctrl-D or the end of the connection.
        """


@wait_for(timeout=10.0)
def serve_prompt(namespace: dict, host_key: Key, operator_key: Key) -> int:
    """
    Start the SSH server on a free port of loopback, and return the port.
    """
    realm = TerminalRealm()
    realm.sessionFactory = Session
    realm.chainedProtocolFactory = lambda: ServerProtocol(Manhole, namespace)
    checker = SSHPublicKeyChecker(InMemorySSHKeyDB({b"operator": [operator_key.public()]}))
    factory = ConchFactory(Portal(realm, [checker]))
    factory.privateKeys = {host_key.sshType(): host_key}
    factory.publicKeys = {host_key.sshType(): host_key.public()}
    return reactor.listenTCP(0, factory, interface="127.0.0.1").getHost().port


@wait_for(timeout=30.0)
async def look(port: int, host_key: Key, operator_key: Key, *lines: str) -> str:
    """
    Log in as the operator would, type some lines, and return what the terminal showed.
    """
    return await converse(reactor, port, b"operator", operator_key, host_key.public(), *lines)


def login_command(directory: Path, port: int, host_key: Key, operator_key: Key) -> str:
    """
    Put into a directory what OpenSSH needs to log in, and return the command that does it.
    """
    key, known_hosts = directory / "key", directory / "known_hosts"
    key.touch(mode=0o600)
    key.write_bytes(operator_key.toString("openssh"))
    public = host_key.public().toString("openssh").decode()
    known_hosts.write_text(f"[127.0.0.1]:{port} {public}\n")
    options = f"-i {key} -o IdentitiesOnly=yes -o UserKnownHostsFile={known_hosts}"
    return f"ssh -t {options} -p {port} operator@127.0.0.1"


def main() -> None:
    """
    Do the work of the program: take orders. Meanwhile the reactor's thread serves the prompt.
    """
    orders = ["tea"]
    host_key, operator_key = Key(Ed25519PrivateKey.generate()), Key(Ed25519PrivateKey.generate())
    port = serve_prompt({"orders": orders}, host_key, operator_key)
    if "--once" in sys.argv:
        print(look(port, host_key, operator_key, "orders.append('cake')", "len(orders), orders"))
        return
    with tempfile.TemporaryDirectory() as directory:
        print(login_command(Path(directory), port, host_key, operator_key))
        print("Look at `orders` there; Ctrl-D leaves, Ctrl-C here ends the program", flush=True)
        try:
            while True:
                orders.append(random.choice(["tea", "cake", "toast"]))
                time.sleep(1.0)
        except KeyboardInterrupt:
            print(f"{len(orders)} orders taken")


if __name__ == "__main__":
    main()
