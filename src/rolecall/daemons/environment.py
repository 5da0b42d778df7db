"""How flags are read, alike in every process; those of AWS's programs are read as Go reads them."""

from __future__ import annotations

import argparse
import re
from functools import partial
from typing import Any, NoReturn, Protocol

from rolecall.edges.telemetry import LEVELS
from rolecall.errors import Misconfigured

_TRUE, _FALSE = ("1", "t", "T", "true", "TRUE", "True"), ("0", "f", "F", "false", "FALSE", "False")
# Go, time.ParseDuration; one without a sign, for none of ours goes backwards.
_DURATION = re.compile(r"([0-9]+\.?[0-9]*|\.[0-9]+)(h|ms|m|s|us|\u00b5s|\u03bcs|ns)")
_UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "\u00b5s": 1e-6, "\u03bcs": 1e-6, "ns": 1e-9}
_LONGEST_DURATION = 2.0**63 / 1e9


class Takes(Protocol):
    """A parser, or a group of its flags."""

    def add_argument(self, *names: str, **options: Any) -> argparse.Action:
        """Add one."""
        ...


class Parser(argparse.ArgumentParser):
    """Reads flags; every fault is a `Misconfigured`."""

    def __init__(self, **options: Any) -> None:
        # argparse makes a formatter for each flag, and one that asks for the terminal's width brings shutil, bz2, lzma.
        super().__init__(formatter_class=partial(argparse.HelpFormatter, width=80), **options)

    def format_help(self) -> str:
        """Return the help, as wide as the terminal."""
        self.formatter_class = argparse.HelpFormatter
        return super().format_help()

    def error(self, message: str) -> NoReturn:
        """Raise it, with where to look."""
        raise Misconfigured(message, hint=f"see: {self.prog} --help")


def add_switch(group: Takes, flag: str, words: str, *, default: bool | None = False) -> None:
    """Add a flag that is on where it stands alone, and takes a truth value behind ``=``, as Go's do."""
    group.add_argument(flag, nargs="?", const=True, default=default, type=switch, metavar="BOOL", help=words)


def verbosity_word(text: str) -> str:
    """Return one of AWS's words for --verbosity; raises `Misconfigured` for any other."""
    if text.lower() not in LEVELS:
        raise Misconfigured(f"Invalid logging verbosity: {text[:80]}", hint=f"use one of {', '.join(LEVELS)}")
    return text


def seconds(text: str) -> float:
    """Return a Go duration such as ``1h30m`` in seconds."""
    found = _DURATION.findall(text)
    total = sum(float(number) * _UNITS[unit] for number, unit in found)
    whole = "".join(number + unit for number, unit in found) == text != ""
    if (text != "0" and not whole) or total >= _LONGEST_DURATION:
        raise Misconfigured(f"{text[:80]!r} is not a duration", hint="write it like 3h, 90m or 1h30m")
    return total


def port(text: str) -> int:
    """Return a port, 0 included; raises what argparse shows with the flag's name."""
    if not text.isascii() or not text.isdecimal() or len(text) > 5 or int(text) > 65_535:
        raise argparse.ArgumentTypeError(f"{text[:80]!r} is not a port: use 0 to 65535")
    return int(text)


def switch(text: str) -> bool:
    """Return a truth value in one of the forms of Go's strconv.ParseBool."""
    if text not in {*_TRUE, *_FALSE}:
        raise argparse.ArgumentTypeError(f"{text[:80]!r} is neither true nor false")
    return text in _TRUE
