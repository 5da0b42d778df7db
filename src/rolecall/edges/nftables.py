"""Rules of the kernel's packet filter, by the program ``nft``: a script on its standard input, all of it or nothing.

Each table is a whole of its own, so what other programs have made is neither read nor touched. Reading takes the
capability NET_ADMIN as well.
"""

from __future__ import annotations

import re
import shutil
import subprocess

from rolecall.errors import Misconfigured

_PATIENCE = 20.0
_PLACES = "/usr/sbin:/sbin:/usr/bin:/bin:/usr/local/sbin"  # not everybody's PATH has sbin
# What nft says to whom, in part; the first that fits.
_HINTS = {
    "Operation not permitted": "it needs the capability NET_ADMIN in this network namespace: for an init container,"
    " hostNetwork and securityContext.capabilities.add: [NET_ADMIN]",
    "Protocol not supported": "this kernel has no nf_tables: on the node, `modprobe nf_tables`, or another kernel",
    "No such file or directory": "the kernel lacks a part of nf_tables: on the node, `modprobe -a nf_tables"
    " nft_chain_nat nft_fib_inet nft_reject_inet nft_ct`",
    "Operation not supported": "this kernel's nf_tables is too old, or lacks a module: Linux 5.2 has all that is used",
}


def script(name: str, body: str) -> str:
    """Return what has nft put a table of the family ``inet`` where one of that name may be, in one step."""
    return f"{_without(name)}table inet {name} {{\n{body}}}\n"


def replace_table(name: str, body: str) -> None:
    """Put a table in place; raises `Misconfigured`."""
    _run(script(name, body), f"write the packet filter's table {name}")


def remove_table(name: str) -> None:
    """Delete a table where there is one; raises `Misconfigured`."""
    _run(_without(name), f"delete the packet filter's table {name}")


def chains(name: str) -> frozenset[str]:
    """Return the names of a table's chains, none where there is no table; raises `Misconfigured`."""
    listed = _run("list tables inet\n", "list the packet filter's tables")
    if f"table inet {name}" not in listed.splitlines():
        return frozenset()
    table = _run(f"list table inet {name}\n", f"list the packet filter's table {name}")
    return frozenset(re.findall(r"^\tchain (\S+) \{$", table, re.MULTILINE))


def _without(name: str) -> str:
    """Return the script that deletes a table, and is content where there is none."""
    return f"add table inet {name}\ndelete table inet {name}\n"


def _run(words: str, what: str) -> str:
    """Return what nft prints."""
    program = shutil.which("nft", path=_PLACES)
    if program is None:
        raise Misconfigured(
            f"cannot {what}: there is no program nft", hint="install nftables: apt-get install nftables"
        )
    try:
        done = subprocess.run(
            [program, "-f", "-"],
            input=words,
            env={"LC_ALL": "C"},
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
            timeout=_PATIENCE,
        )
    except (OSError, subprocess.TimeoutExpired) as fault:
        why = fault.strerror if isinstance(fault, OSError) else f"nft did not end in {_PATIENCE:g} s"
        raise Misconfigured(f"cannot {what}: {why}", hint="run it again") from None
    if done.returncode:
        said = done.stderr.strip()
        first = said.partition("\n")[0][:300] or f"nft ended with {done.returncode}"
        hint = next((hint for text, hint in _HINTS.items() if text in said), "`nft -f -` refused the rules")
        raise Misconfigured(f"cannot {what}: {first}", hint=hint)
    return done.stdout
