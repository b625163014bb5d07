#!/usr/bin/env python3
"""One Kubo node on 127.0.0.1, driven by lines of JSON.

Usage: kubo_peer.py LIBRARY

Reads one request a line from standard input, `{"id": 1, "call": "run", ...}`, and writes one answer a line to
standard output, `{"id": 1, "result": ...}` or `{"id": 1, "error": "..."}`. Requests run at the same time, so answers
may come in another order. The node and its repository, a temporary directory, end with standard input.

The library prints on standard output and writes `kubo.log` into the current directory. So the real standard output
is kept for the answers only, descriptor 1 becomes standard error, and the current directory is the repository.

Calls, in the order of use:
  create {listen, ipns_republish}  makes a repository, for a node at these addresses; {peer_id, private_key}
                                 (protobuf, base64)
  seed_ipns {record}             before run: what Kubo finds as its own last IPNS record (base64)
  run {}                         starts the node; {peer_id, addrs}, the addresses end in /p2p/ID
  connect {addr}                 dials
  peers {}                       ids of connected peers
  find_peer {peer_id, seconds}   addresses of a peer, [] if it is not found
  add {content}                  adds a file (base64) and announces it; its CID
  download {cid}                 finds providers and fetches; the file (base64). Waits as long as nobody has it.
"""

import base64
import ctypes
import json
import os
import shutil
import sys
import tempfile
import threading

SHARDING = "/repo/flatfs/shard/v1/next-to-last/2"
STRINGS = ["AddFile", "FindPeer", "GetNodeID", "GetNodeMultiAddrs", "ListPeersIDs"]


class Failed(Exception):
    """A call of the library did not succeed."""


class Kubo:
    def __init__(self, library, repository):
        self.lib = ctypes.CDLL(library)
        for name in STRINGS:
            getattr(self.lib, name).restype = ctypes.c_void_p
        self.lib.AddFile.argtypes = [ctypes.c_char_p, ctypes.c_char_p, ctypes.c_bool]
        self.path = repository
        self.repository = repository.encode()
        self.files = 0
        self.files_lock = threading.Lock()

    def text(self, name, *arguments):
        # The library allocates the string and never frees it; a test is short.
        pointer = getattr(self.lib, name)(self.repository, *arguments)
        if not pointer:
            raise Failed(f"{name} gave nothing")
        return ctypes.string_at(pointer).decode()

    def number(self, name, *arguments, expected):
        code = getattr(self.lib, name)(self.repository, *arguments)
        if code != expected:
            raise Failed(f"{name} gave {code}, expected {expected}")

    def file(self):
        with self.files_lock:
            self.files += 1
            return os.path.join(self.path, f"file-{self.files}")

    def create(self, listen, ipns_republish):
        self.number("CreateRepo", expected=1)
        with open("config", encoding="utf-8") as file:
            config = json.load(file)
        configure(config, listen)
        if ipns_republish:
            # Kubo takes no less than a minute, and it waits a minute after its start whatever is set here.
            config["Ipns"]["RepublishPeriod"] = "1m"
            self.mount_ipns(config)
        with open("config", "w", encoding="utf-8") as file:
            json.dump(config, file)
        identity = config["Identity"]
        return {"peer_id": identity["PeerID"], "private_key": identity["PrivKey"]}

    def mount_ipns(self, config):
        """Keeps Kubo's own IPNS records as plain files, so that one can be put there before it starts."""
        child = {"type": "flatfs", "path": "ipns", "shardFunc": SHARDING, "sync": False}
        mount = {"type": "measure", "mountpoint": "/ipns", "prefix": "ipns.datastore", "child": child}
        config["Datastore"]["Spec"]["mounts"].insert(0, mount)
        # Kubo refuses to start if this file differs from what it derives from the configuration.
        with open("datastore_spec", encoding="utf-8") as file:
            spec = json.load(file)
        spec["mounts"].insert(0, {"mountpoint": "/ipns", "path": "ipns", "shardFunc": SHARDING, "type": "flatfs"})
        with open("datastore_spec", "w", encoding="utf-8") as file:
            json.dump(spec, file, separators=(",", ":"))
        os.mkdir("ipns")
        with open("ipns/SHARDING", "w", encoding="ascii") as file:
            file.write(SHARDING + "\n")

    def seed_ipns(self, peer_id, record):
        """`peer_id` and `record` are bytes in base64."""
        name = base64.b32encode(base64.b64decode(peer_id)).decode().rstrip("=")
        directory = os.path.join("ipns", name[-3:-1])
        os.mkdir(directory)
        with open(os.path.join(directory, name + ".data"), "wb") as file:
            file.write(base64.b64decode(record))

    def run(self):
        self.number("RunNode", expected=1)
        peer_id = self.text("GetNodeID")
        addrs = json.loads(self.text("GetNodeMultiAddrs")) or []
        return {"peer_id": peer_id, "addrs": [f"{addr}/p2p/{peer_id}" for addr in addrs]}

    def connect(self, addr):
        self.number("ConnectToPeer", addr.encode(), expected=0)

    def peers(self):
        return json.loads(self.text("ListPeersIDs"))

    def find_peer(self, peer_id, seconds):
        # `null` when the lookup ended without an error but found no address.
        return json.loads(self.text("FindPeer", peer_id.encode(), ctypes.c_int(seconds))) or []

    def add(self, content):
        path = self.file()
        with open(path, "wb") as file:
            file.write(base64.b64decode(content))
        return self.text("AddFile", path.encode(), False)

    def download(self, cid):
        path = self.file()
        self.number("Download", cid.encode(), path.encode(), expected=0)
        with open(path, "rb") as file:
            return base64.b64encode(file.read()).decode()


def configure(config, listen):
    """A node that listens on these addresses only, and talks to nobody unless told to."""
    config["Bootstrap"] = []
    config["Addresses"].update({"Swarm": listen, "API": [], "Gateway": []})
    config["AutoNAT"] = {"ServiceMode": "disabled"}
    config["Discovery"]["MDNS"]["Enabled"] = False
    config["Swarm"].update(
        {
            "DisableNatPortMap": True,
            "EnableHolePunching": False,
            "RelayClient": {"Enabled": False},
            "RelayService": {"Enabled": False},
            "Transports": {"Network": {"Relay": False}},
            "ConnMgr": {"Type": "none"},
            "ResourceMgr": {"Enabled": False},
        }
    )


CALLS = ["create", "seed_ipns", "run", "connect", "peers", "find_peer", "add", "download"]


def log_tail():
    try:
        with open("kubo.log", encoding="utf-8", errors="replace") as file:
            return file.read().strip().splitlines()[-1]
    except (OSError, IndexError):
        return "kubo.log is empty"


def answer(kubo, request, send):
    try:
        call = request.pop("call")
        number = request.pop("id")
        if call not in CALLS:
            raise Failed(f"there is no call {call!r}")
        send({"id": number, "result": getattr(kubo, call)(**request)})
    except Failed as error:
        send({"id": number, "error": f"{call}: {error}; its log ends: {log_tail()}"})
    except Exception as error:  # a wrong request must fail its test, not leave it waiting
        send({"id": number, "error": f"{call}: {type(error).__name__}: {error}"})


def main():
    library = os.path.abspath(sys.argv[1])
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    repository = tempfile.mkdtemp(prefix="kadmos-kubo-")
    os.chdir(repository)
    lock = threading.Lock()

    def send(message):
        with lock:
            out.write(json.dumps(message) + "\n")
            out.flush()

    kubo = Kubo(library, repository)
    try:
        for line in sys.stdin:
            request = json.loads(line)
            threading.Thread(target=answer, args=(kubo, request, send), daemon=True).start()
    finally:
        # Not CleanupNode: it waits for downloads that may never end. So Kubo still runs, and may write once more.
        for _ in range(10):
            shutil.rmtree(repository, ignore_errors=True)
            if not os.path.exists(repository):
                break
        os._exit(0)


if __name__ == "__main__":
    main()
