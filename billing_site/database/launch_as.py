"""Give up root, keep at most one capability, and become another program.

Called as `launch_as.py UID GID CAPABILITY DIR PROGRAM ARGUMENT...`.

PostgreSQL refuses to run as root. This file is run by path in a fresh interpreter (it imports nothing of the project),
because changing the user inside a process with threads is not safe and because after the change the interpreter itself
may lie where the new user cannot read it. CAPABILITY is a number, or -1 for none. A kept capability is made *ambient*
(capabilities(7)): it survives the exec of an ordinary program, and needs no secure-execution mode, so that the program
still finds its libraries by rpath. DIR becomes the working directory, entered with the new rights.
"""

import ctypes
import errno
import os
import sys

PR_SET_KEEPCAPS = 8
PR_SET_SECUREBITS = 28
SECBIT_NO_SETUID_FIXUP = 1 << 2
PR_CAP_AMBIENT = 47
PR_CAP_AMBIENT_RAISE = 2
CAPABILITY_VERSION_3 = 0x20080522
CANNOT_LAUNCH = 126


class CapabilityHeader(ctypes.Structure):
    """`struct __user_cap_header_struct`."""

    _fields_ = [("version", ctypes.c_uint32), ("pid", ctypes.c_int)]


class CapabilitySets(ctypes.Structure):
    """`struct __user_cap_data_struct`: 32 capabilities in each of three sets."""

    _fields_ = [("effective", ctypes.c_uint32), ("permitted", ctypes.c_uint32), ("inheritable", ctypes.c_uint32)]


def check(*, result: int, call: str) -> None:
    """Raise the C library's last error if a call failed."""
    if result != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{call}: {os.strerror(code)}")


def become(*, uid: int, gid: int, capability: int) -> None:
    """Change to the user for good; of root's rights nothing stays but the one capability (-1: nothing at all)."""
    libc = ctypes.CDLL(None, use_errno=True) if capability >= 0 else None
    if libc is not None:
        check(result=libc.prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0), call="prctl(PR_SET_KEEPCAPS)")
        # Without this bit access(2), by which PostgreSQL looks for its own programs, leaves capabilities out of account.
        # Setting it needs CAP_SETPCAP; where we lack that and it matters, `main` finds out.
        libc.prctl(PR_SET_SECUREBITS, SECBIT_NO_SETUID_FIXUP, 0, 0, 0)
    os.setgroups([])
    os.setgid(gid)
    os.setuid(uid)
    if libc is None:
        return

    bit = 1 << capability
    sets = (CapabilitySets * 2)()
    sets[0] = CapabilitySets(bit, bit, bit)
    header = CapabilityHeader(CAPABILITY_VERSION_3, 0)
    check(result=libc.capset(ctypes.byref(header), sets), call="capset")
    check(
        result=libc.prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, capability, 0, 0),
        call="prctl(PR_CAP_AMBIENT_RAISE)",
    )


def main(arguments: list[str]) -> None:
    """Drop, enter the directory, exec; exit 126 with one line on standard error where that is not possible.

    The program is looked at as PostgreSQL's programs look at each other, so that a trial with `--version` tells.
    """
    uid, gid, capability = (int(argument) for argument in arguments[:3])
    directory, program = arguments[3], arguments[4:]
    assert uid != 0 and gid != 0, "launching as root is what this program exists to prevent"
    try:
        become(uid=uid, gid=gid, capability=capability)
        os.umask(0o077)
        os.chdir(directory)
        if not os.access(program[0], os.R_OK | os.X_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        os.execv(program[0], program)  # noqa: S606
    except OSError as error:
        sys.stderr.write(f"cannot start {program[0]} as uid {uid}: {error}\n")
        sys.exit(CANNOT_LAUNCH)


if __name__ == "__main__":
    main(sys.argv[1:])
