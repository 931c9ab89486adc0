"""The program inside the sandbox: isolates itself, sets limits, and runs code that nobody trusts.

A script of its own, started with ``python -I -S``: it imports nothing but the standard library.
Three processes: the supervisor, which `draftproof.scoring.sandbox` starts and may kill; with
namespaces, the first process of a new process namespace, whose end is the end of all the others;
and the code itself. Where bubblewrap has made the namespaces already, it is started in them, and
adds what bubblewrap leaves to others: limits, a filter of system calls, and telling how the code
ended. Settings come as one JSON argument, the code on standard input.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import platform
import resource
import signal
import struct
import sys
from typing import Any, NoReturn

CLONE_NEWNS, CLONE_NEWUTS, CLONE_NEWIPC = 0x00020000, 0x04000000, 0x08000000
CLONE_NEWUSER, CLONE_NEWPID, CLONE_NEWNET = 0x10000000, 0x20000000, 0x40000000
MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC = 1, 2, 4, 8
MS_REMOUNT, MS_NOATIME, MS_NODIRATIME = 32, 1024, 2048
MS_BIND, MS_MOVE, MS_REC, MS_PRIVATE, MS_RELATIME = 4096, 8192, 16384, 1 << 18, 1 << 21
PR_SET_PDEATHSIG, PR_SET_SECUREBITS, PR_SET_CHILD_SUBREAPER, PR_SET_NO_NEW_PRIVS = 1, 28, 36, 38
NO_ROOT_LOCKED = 3
"""Securebits: user id 0 gives no capabilities at exec, for good."""

UNUSED_IDS = 60_000
"""User ids from here on belong to no account; root runs the code under one of them."""

WRAPPED, ISOLATED, LIMITED, CONFINED, FILTERED, REFUSED = b"B", b"N", b"L", b"W", b"S", b"R"
"""What is told of the way taken: namespaces that bubblewrap made, or its own; limits only, and
with them writing in its folder alone; with each, a filter of system calls; none, so that nothing
was run. It is told before the code begins, which has no means to tell it."""

PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 22, 2
SECCOMP_ALLOW, SECCOMP_ERRNO = 0x7FFF0000, 0x00050000
BPF_LOAD, BPF_EQUAL, BPF_NOT_LESS, BPF_ANY_BIT, BPF_RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
BPF_AND = 0x54
ANY_NAMESPACE = 0x7E020000
FIRST_X32 = 0x40000000
MACHINES = {"x86_64": (0xC000003E, 0), "aarch64": (0xC00000B7, 1)}
CLONE, CLONE3 = (56, 220), 435
AF_UNIX, SOCK_STREAM = 1, 1
SOCKETPAIR, SENDTO = (53, 199), (44, 206)
REFUSED_CALLS = {
    # Memory that no limit of a process counts, and that outlives it.
    "shmget": (29, 194), "shmat": (30, 196), "shmctl": (31, 195), "memfd_create": (319, 279),
    "memfd_secret": (447, 447), "semget": (64, 190), "msgget": (68, 186), "mq_open": (240, 180),
    "io_uring_setup": (425, 425), "userfaultfd": (323, 282),
    # The user's keys.
    "add_key": (248, 217), "request_key": (249, 218), "keyctl": (250, 219),
    # Namespaces and mounts.
    "unshare": (272, 97), "setns": (308, 268), "mount": (165, 40), "umount2": (166, 39),
    "pivot_root": (155, 41), "chroot": (161, 51), "open_tree": (428, 428),
    "move_mount": (429, 429), "fsopen": (430, 430), "fsconfig": (431, 431), "fsmount": (432, 432),
    "fspick": (433, 433), "mount_setattr": (442, 442),
    # Other processes, and files by handles in place of paths.
    "ptrace": (101, 117), "process_vm_readv": (310, 270), "process_vm_writev": (311, 271),
    "pidfd_getfd": (438, 438), "kcmp": (312, 272), "name_to_handle_at": (303, 264),
    "open_by_handle_at": (304, 265), "fanotify_init": (300, 262),
    # The network, and large parts of the kernel that no program here has to do with.
    "socket": (41, 198), "connect": (42, 203), "bind": (49, 200), "listen": (50, 201),
    "accept": (43, 202), "accept4": (288, 242), "sendmmsg": (307, 269), "bpf": (321, 280),
    "perf_event_open": (298, 241), "personality": (135, 92), "init_module": (175, 105),
    "finit_module": (313, 273), "kexec_load": (246, 104), "kexec_file_load": (320, 294),
    "reboot": (169, 142), "swapon": (167, 224), "quotactl": (179, 60),
}  # fmt: skip
"""System calls that fail in the sandbox: their numbers on x86-64, and on 64-bit ARM."""

LANDLOCK_CREATE, LANDLOCK_ADD, LANDLOCK_RESTRICT = 444, 445, 446  # on both machines
LANDLOCK_VERSION, LANDLOCK_PATH = 1, 1
WRITE_FILE, TRUNCATE, CHANGES_OF_FOLDERS, REFER = 1 << 1, 1 << 14, 0b111111111 << 4, 1 << 13
SCOPE_SOCKETS_AND_SIGNALS = 3

WORK = "/draftproof-work"
BOOTSTRAP = """
import os, sys
import types, _socket
def refused(*args, **kwargs):
    raise OSError("no network in the sandbox")
class Socket(_socket.socket):
    # A base that others can build on, as ssl does; pairs, which asyncio needs, are made already.
    __slots__ = ()
    def __init__(self, family=-1, type=-1, proto=-1, fileno=None):
        super().__init__(family, type, proto, refused() if fileno is None else fileno)
_socket.socket = _socket.SocketType = Socket
for name in ("addrinfo", "nameinfo", "hostbyname", "hostbyname_ex", "hostbyaddr"):
    setattr(_socket, "get" + name, refused)
result, token = int(sys.argv[1]), sys.stdin.read()
del sys.argv[1:]
with open("program.py", encoding="utf-8") as file:
    code = compile(file.read(), "program.py", "exec")
# As HumanEval's own harness runs it, where no program is the main one.
module = sys.modules["program"] = types.ModuleType("program")
exec(code, module.__dict__)
sys.stdout.flush()
os.write(result, token.encode())
os._exit(0)
"""


class NotPermittedError(Exception):
    """The kernel does not permit a step of the isolation."""


def main() -> None:
    """Isolate, run, clean up, and end with status 0 whatever the code did."""
    settings = json.loads(sys.argv[1])
    os.set_inheritable(settings["told"], False)
    program = sys.stdin.buffer.read()
    is_wrapped = settings["wrapped"]
    # In bubblewrap's namespace, the numbers of processes begin anew.
    number = settings["number"] if is_wrapped else os.getpid()
    user = UNUSED_IDS + number % 4096 if os.geteuid() == 0 else None
    threads = (
        0 if user is not None else settings["spare"] if is_wrapped else threads_of(os.getuid())
    )
    spare = threads
    if user is None and _counts_by_namespace():
        # In it, the first process looks after the code, beside who made it unless bubblewrap did.
        spare = 1 if is_wrapped else 2
    if is_wrapped:
        _be_first(settings, program, user, spare, WRAPPED)
    _prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if settings["namespaces"] and sys.platform == "linux":
        try:
            _enter_namespaces()
        except NotPermittedError:
            pass
        else:
            _supervise_namespace(settings, program, user, spare)
    _supervise_limited(settings, program, user, threads)


def _supervise_namespace(
    settings: dict[str, Any], program: bytes, user: int | None, spare: int
) -> NoReturn:
    first = os.fork()
    if first == 0:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        _prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        _be_first(settings, program, user, spare, ISOLATED)
    os.close(settings["told"])
    # Told to end, this waits for it: then every process of the namespace is gone.
    signal.signal(signal.SIGTERM, lambda *_: os.kill(first, signal.SIGKILL))
    os.waitpid(first, 0)
    os._exit(0)


def _be_first(
    settings: dict[str, Any], program: bytes, user: int | None, spare: int, way: bytes
) -> NoReturn:
    """Run the code as the first process of a namespace, whose end is that of all the others."""
    try:
        if way == ISOLATED:
            _new_root(settings["root"], settings["readable"], settings["disk_bytes"])
        _write_program(program, WORK, user)
        _tell(settings, way)
        child = os.fork()
        if child == 0:
            _become_the_program(settings, WORK, user, spare)
        os.close(settings["told"])
        while os.wait()[0] != child:
            pass
    except BaseException as error:
        os.write(2, f"sandbox: {error!r}\n".encode())
        _tell(settings, REFUSED)
    os._exit(0)


def _supervise_limited(
    settings: dict[str, Any], program: bytes, user: int | None, spare: int
) -> NoReturn:
    signal.signal(signal.SIGTERM, _end_at_once)
    _prctl(PR_SET_CHILD_SUBREAPER, 1)
    _write_program(program, settings["folder"], user)
    _tell(settings, LIMITED)
    child = os.fork()
    if child == 0:
        _become_the_program(settings, settings["folder"], user, spare)
    os.close(settings["told"])
    os.waitpid(child, 0)
    _end_descendants(child)
    os._exit(0)


def _become_the_program(
    settings: dict[str, Any], folder: str, user: int | None, spare: int
) -> NoReturn:
    try:
        os.setsid()
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        os.chdir(folder)
        _set_limits(settings, spare)
        if user is not None:
            os.setgroups([])
            os.setresgid(user, user, user)
            os.setresuid(user, user, user)
            _prctl(PR_SET_PDEATHSIG, signal.SIGKILL)  # forgotten when the user changed
        _prctl(PR_SET_SECUREBITS, NO_ROOT_LOCKED)
        _prctl(PR_SET_NO_NEW_PRIVS, 1)
        read, write = os.pipe()
        os.write(write, settings["token"].encode())
        os.close(write)
        os.dup2(read, 0)
        os.set_inheritable(settings["result"], True)
        if folder != WORK and _confine_writes(folder):
            _tell(settings, CONFINED)
        command = [settings["python"], "-I", "-S", "-B", "-c", BOOTSTRAP, str(settings["result"])]
        if _filter_calls():
            _tell(settings, FILTERED)
        os.execve(command[0], command, _environment(folder, settings["marker"]))
    except BaseException as error:
        os.write(2, f"sandbox: {error!r}\n".encode())
        _tell(settings, REFUSED)
    os._exit(1)


def _set_limits(settings: dict[str, Any], spare: int) -> None:
    seconds = settings["cpu_seconds"]
    limits = {
        "RLIMIT_CPU": (seconds, seconds + 1),
        "RLIMIT_AS": settings["memory_bytes"],
        "RLIMIT_FSIZE": settings["file_bytes"],
        "RLIMIT_NPROC": settings["processes"] + spare,
        "RLIMIT_NOFILE": 64,
        "RLIMIT_CORE": 0,
        "RLIMIT_MSGQUEUE": 0,
    }
    for name, limit in limits.items():
        if hasattr(resource, name):
            pair = limit if isinstance(limit, tuple) else (limit, limit)
            resource.setrlimit(getattr(resource, name), pair)


def _confine_writes(folder: str) -> bool:
    """Have writing fail outside a folder, in every process to come; whether the kernel can.

    By Landlock, which needs no rights: shared memory in ``/dev/shm`` is then out of reach too. From
    its version 6 on, so are signals to processes outside, the supervisor's among them.
    """
    if sys.platform != "linux" or platform.machine() not in MACHINES:
        return False
    kernel = ctypes.CDLL(None).syscall
    version = kernel(LANDLOCK_CREATE, None, ctypes.c_size_t(0), LANDLOCK_VERSION)
    if version < 1:
        return False
    of_files = WRITE_FILE | (TRUNCATE if version >= 3 else 0)
    handled = of_files | CHANGES_OF_FOLDERS | (REFER if version >= 2 else 0)
    rules = struct.pack("=Q", handled)
    if version >= 6:
        rules = struct.pack("=QQQ", handled, 0, SCOPE_SOCKETS_AND_SIGNALS)
    ruleset = kernel(LANDLOCK_CREATE, rules, ctypes.c_size_t(len(rules)), 0)
    if ruleset < 0:
        return False
    for path, allowed in ((folder, handled), (os.devnull, of_files)):
        place = os.open(path, os.O_PATH | os.O_CLOEXEC)
        rule = struct.pack("=Qi", allowed, place)
        if kernel(LANDLOCK_ADD, ruleset, LANDLOCK_PATH, rule, 0) != 0:
            return False
        os.close(place)
    is_confined = kernel(LANDLOCK_RESTRICT, ruleset, 0) == 0
    os.close(ruleset)
    return bool(is_confined)


def _filter_calls() -> bool:
    """Have `REFUSED_CALLS` fail from now on, in every process to come; whether the kernel can."""
    if sys.platform != "linux" or platform.machine() not in MACHINES:
        return False
    architecture, column = MACHINES[platform.machine()]
    deny, unknown = SECCOMP_ERRNO | 1, SECCOMP_ERRNO | 38  # EPERM, ENOSYS
    # Each line: what to do, how many lines to leave out if so and if not, and a number.
    lines = [(BPF_LOAD, 0, 0, 4), (BPF_EQUAL, 1, 0, architecture), (BPF_RETURN, 0, 0, deny)]
    lines += [(BPF_LOAD, 0, 0, 0), (BPF_NOT_LESS, 0, 1, FIRST_X32), (BPF_RETURN, 0, 0, deny)]
    for numbers in REFUSED_CALLS.values():
        lines += [(BPF_EQUAL, 0, 1, numbers[column]), (BPF_RETURN, 0, 0, deny)]
    # Its flags are behind a pointer, which no filter can follow: C libraries then use the older.
    lines += [(BPF_EQUAL, 0, 1, CLONE3), (BPF_RETURN, 0, 0, unknown)]
    lines += [(BPF_EQUAL, 0, 3, CLONE[column]), (BPF_LOAD, 0, 0, 16)]
    lines += [(BPF_ANY_BIT, 0, 1, ANY_NAMESPACE), (BPF_RETURN, 0, 0, deny)]
    # A pair of streams, which is connected for good; a datagram finds any other by its address.
    lines += [(BPF_LOAD, 0, 0, 0), (BPF_EQUAL, 0, 6, SOCKETPAIR[column])]
    lines += [(BPF_LOAD, 0, 0, 16), (BPF_EQUAL, 0, 3, AF_UNIX), (BPF_LOAD, 0, 0, 24)]
    lines += [(BPF_AND, 0, 0, 0xF), (BPF_EQUAL, 1, 0, SOCK_STREAM), (BPF_RETURN, 0, 0, deny)]
    # And no address to send to: both halves of the pointer are 0.
    lines += [(BPF_LOAD, 0, 0, 0), (BPF_EQUAL, 0, 5, SENDTO[column])]
    lines += [(BPF_LOAD, 0, 0, 48), (BPF_EQUAL, 0, 2, 0), (BPF_LOAD, 0, 0, 52)]
    lines += [(BPF_EQUAL, 1, 0, 0), (BPF_RETURN, 0, 0, deny)]
    lines += [(BPF_RETURN, 0, 0, SECCOMP_ALLOW)]
    program = b"".join(struct.pack("=HBBI", *line) for line in lines)
    text = ctypes.create_string_buffer(program, len(program))
    address = struct.pack("@HP", len(lines), ctypes.addressof(text))
    given = ctypes.create_string_buffer(address, len(address))
    mode = ctypes.c_ulong(SECCOMP_MODE_FILTER)
    return bool(ctypes.CDLL(None).prctl(PR_SET_SECCOMP, mode, given, 0, 0) == 0)


def _environment(folder: str, marker: str) -> dict[str, str]:
    return {
        "HOME": folder,
        "TMPDIR": folder,
        "PATH": "/usr/bin:/bin",
        "LANG": "C.UTF-8",
        "PYTHONHASHSEED": "0",
        "DRAFTPROOF_SANDBOX": marker,
    }


def _write_program(program: bytes, folder: str, user: int | None) -> None:
    if user is not None:
        os.chown(folder, user, user)
    with open(os.path.join(folder, "program.py"), "wb") as file:  # noqa: PTH118, PTH123
        file.write(program)


def _enter_namespaces() -> None:
    """Own processes, network, mounts and names: with root's rights, or as a user in one's own."""
    spaces = CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS
    user, group = os.geteuid(), os.getegid()
    if user == 0:
        _call("unshare", spaces)
        return
    _call("unshare", spaces | CLONE_NEWUSER)
    for name, text in (
        ("setgroups", "deny"),
        ("uid_map", f"65534 {user} 1"),
        ("gid_map", f"65534 {group} 1"),
    ):
        with open(f"/proc/self/{name}", "w") as file:  # noqa: PTH123
            file.write(text)


def _new_root(root: str, readable: list[str], disk_bytes: int) -> None:
    """A file system of its own: what Python needs, read-only, and a small folder to work in."""
    _mount(None, "/", None, MS_REC | MS_PRIVATE)
    _mount("tmpfs", root, "tmpfs", MS_NOSUID | MS_NODEV, "size=1m,mode=755")
    for path in readable:
        inside = root + path
        if os.path.lexists(inside):
            continue
        if os.path.islink(path):  # noqa: PTH114
            os.makedirs(os.path.dirname(inside), exist_ok=True)  # noqa: PTH103, PTH120
            os.symlink(os.readlink(path), inside)  # noqa: PTH115, PTH211
        elif os.path.exists(path):  # noqa: PTH110
            _bind(path, inside)
    os.mkdir(root + "/dev")  # noqa: PTH102
    for name in ("null", "zero", "urandom"):
        _bind(f"/dev/{name}", f"{root}/dev/{name}", read_only=False)
    os.mkdir(root + WORK)  # noqa: PTH102
    options = f"size={disk_bytes},nr_inodes=4096,mode=777"
    _mount("tmpfs", root + WORK, "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, options)
    _mount(None, root, None, MS_REMOUNT | MS_BIND | MS_RDONLY | MS_NOSUID | MS_NODEV)
    os.chdir(root)
    _mount(".", "/", None, MS_MOVE)
    os.chroot(".")
    os.chdir(WORK)


def _bind(path: str, inside: str, *, read_only: bool = True) -> None:
    if os.path.isdir(path):  # noqa: PTH112
        os.makedirs(inside, exist_ok=True)  # noqa: PTH103
    else:
        os.makedirs(os.path.dirname(inside), exist_ok=True)  # noqa: PTH103, PTH120
        os.close(os.open(inside, os.O_CREAT, 0o644))
    _mount(path, inside, None, MS_BIND | MS_REC)
    if read_only:
        # In a user's own namespace, the flags that a mount has must be given again.
        kept = os.statvfs(path).f_flag
        flags = MS_RDONLY | MS_NOSUID | MS_NODEV | kept & (MS_NOEXEC | MS_NOATIME | MS_NODIRATIME)
        relative = MS_RELATIME if kept & 4096 else 0
        _mount(None, inside, None, MS_REMOUNT | MS_BIND | flags | relative)


def _end_at_once(*_: object) -> NoReturn:
    _end_descendants()
    os._exit(0)


def _end_descendants(*reaped: int) -> None:
    """Kill every process that the code left, those that started sessions of their own included.

    They are all below this one, which adopts every orphan. Each round stops what it finds; a
    process that starts others meets its limit, and every killed one is waited for.
    """
    for group in reaped:
        with contextlib.suppress(OSError):
            os.killpg(group, signal.SIGKILL)
    while True:
        for process in descendants(os.getpid()):
            with contextlib.suppress(OSError):
                os.kill(process, signal.SIGKILL)
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            return


def descendants(process: int) -> list[int]:
    """Every process below another one."""
    children: dict[int, list[int]] = {}
    for name in os.listdir("/proc") if os.path.isdir("/proc") else ():  # noqa: PTH112, PTH208
        if name.isdigit():
            try:
                with open(f"/proc/{name}/stat", "rb") as file:  # noqa: PTH123
                    parent = int(file.read().rpartition(b")")[2].split()[1])
            except (OSError, IndexError, ValueError):
                continue
            children.setdefault(parent, []).append(int(name))
    found, waiting = [], [process]
    while waiting:
        below = children.get(waiting.pop(), [])
        found += below
        waiting += below
    return found


def threads_of(user: int) -> int:
    """Threads that a user has already: the limit on processes counts them too, and all of them."""
    threads = 0
    for name in os.listdir("/proc") if os.path.isdir("/proc") else ():  # noqa: PTH112, PTH208
        try:
            if name.isdigit() and os.stat(f"/proc/{name}").st_uid == user:  # noqa: PTH116
                threads += len(os.listdir(f"/proc/{name}/task"))  # noqa: PTH208
        except OSError:
            continue
    return threads


def _counts_by_namespace() -> bool:
    """Whether the limit on processes counts those of a user's namespace alone: since Linux 5.14."""
    release = platform.release().split(".")
    try:
        return sys.platform == "linux" and (int(release[0]), int(release[1])) >= (5, 14)
    except (IndexError, ValueError):
        return False


def _tell(settings: dict[str, Any], way: bytes) -> None:
    # The program's last process may fail after it was closed: what it was has been told.
    with contextlib.suppress(OSError):
        os.write(settings["told"], way)


def _mount(
    source: str | None, target: str, kind: str | None, flags: int, options: str | None = None
) -> None:
    encoded = [None if text is None else text.encode() for text in (source, target, kind)]
    _call("mount", *encoded, ctypes.c_ulong(flags), options and options.encode())


def _prctl(option: int, value: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(option, ctypes.c_ulong(value), 0, 0, 0)


def _call(name: str, *arguments: Any) -> None:
    function = getattr(ctypes.CDLL(None, use_errno=True), name)
    if function(*arguments) != 0:
        number = ctypes.get_errno()
        raise NotPermittedError(f"{name} {arguments}: {os.strerror(number)}")


if __name__ == "__main__":
    main()
