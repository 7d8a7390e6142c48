"""The contenders that are written in Python, driven by python.go.

peers.py NAME FOLDER reads jobs from stdin, one JSON object a line, and answers each with {"seconds": ..., "made": ...}
or {"error": ...}. What is timed is the calls alone; inputs are made before, results are checked after, and made is how many
calls were made, not remembered. peers.py versions prints versions.
"""

import concurrent.futures
import functools
import gc
import importlib.metadata
import itertools
import json
import platform
import signal
import sys
import time
import typing

WORKERS = 2
CALLERS = 8

# --- What is remembered, and what is hashed: work.go, in Python. ---

made = itertools.count()  # next() of it is one step, whatever other threads do


def calls_made():
    global made
    n, made = next(made), itertools.count()
    return n


def square(x):
    next(made)
    return x * x


def nap(x):
    next(made)
    time.sleep(0.001)
    return x * x


class Record(typing.NamedTuple):
    name: str
    score: float
    tags: list


def record_of(x):
    s = f"item-{x}"
    return Record(s, x / 2, [s[:4], s[5:]])


def page_of(x):
    return (f"{x} " * 500)[:1000]


def describe(x):
    next(made)
    return record_of(x)


def page(x):
    next(made)
    return page_of(x)


class Fields(typing.NamedTuple):
    id: int
    name: str
    ratio: float
    on: bool


def values(kind, keys):
    if kind == "hash int":
        return [1000 + i for i in range(keys)]
    if kind == "hash pair":
        return [(f"item-{i}", i) for i in range(keys)]
    if kind == "hash struct":
        return [Fields(i, f"item-{i}", i * 0.1, i % 2 == 0) for i in range(keys)]
    import numpy

    return [numpy.arange(1_000_000) * 0.1 + float(i) for i in range(keys)]


def cycle(n, keys):
    return [i % keys for i in range(n)]


# --- The contenders. ---


class LRU:
    """functools.lru_cache, with a limit that is not reached. Its values are shared; copying them is the caller's."""

    def open(self, folder):
        cached = functools.lru_cache(maxsize=1 << 20)
        self.square, self.nap, self.describe = cached(square), cached(nap), cached(describe)

    def share(self, xs):
        f = self.describe
        return [f(x) for x in xs]

    def copy(self, xs):
        f = self.describe
        return [r._replace(tags=r.tags.copy()) for r in (f(x) for x in xs)]

    def together(self, f, xs):
        with concurrent.futures.ThreadPoolExecutor(CALLERS) as pool:
            return list(pool.map(f, [xs] * CALLERS))


class Joblib:
    """joblib.Memory, which reads a file at every hit, and joblib.hash."""

    def open(self, folder):
        import joblib

        self.joblib = joblib
        memory = joblib.Memory(folder, verbose=0)
        self.square, self.nap, self.describe, self.page = map(memory.cache, (square, nap, describe, page))

    def copy(self, xs):
        f = self.describe
        return [f(x) for x in xs]

    def run(self, xs):
        f = self.joblib.delayed(self.square)
        return self.joblib.Parallel(n_jobs=WORKERS, prefer="threads")(f(x) for x in xs)

    def together(self, f, xs):
        return self.joblib.Parallel(n_jobs=CALLERS, prefer="threads")(self.joblib.delayed(f)(xs) for _ in range(CALLERS))


CONTENDERS = {"lru_cache": LRU, "joblib": Joblib}


class Session:
    """One contender. What shall be known to it stays; what shall not be is a number that nobody has asked for."""

    def __init__(self, contender, folder):
        self.contender, self.folder = contender, folder
        self.fresh = 1000
        self.known = {}
        contender.open(folder)

    def unknown(self, n):
        self.fresh += n
        return list(range(self.fresh - n, self.fresh))

    def run(self, job):
        kind, n, keys, c = job["kind"], job["n"], job["keys"], self.contender
        if kind == "hit":
            return self.hits(n, keys, lambda xs: one_by_one(c.square, xs), lambda x: x * x)
        if kind == "copy":
            return self.hits(n, keys, c.copy, record_of)
        if kind == "share":
            return self.hits(n, keys, c.share, record_of)
        if kind == "run":
            c.run(cycle(keys, keys))
            return self.timed(cycle(n, keys), c.run, lambda x: x * x)
        if kind == "disk":
            return self.disk_hits(n, keys)
        if kind.startswith("hash "):
            return self.hashes(kind, n, keys)
        xs = self.unknown(n)
        c.open(self.folder)
        if kind == "miss":
            return self.timed(xs, lambda xs: one_by_one(c.square, xs), lambda x: x * x)
        if kind in ("together", "slow"):
            f = c.square if kind == "together" else c.nap
            want = [x * x for x in xs]
            return self.timed([xs] * CALLERS, lambda _: c.together(functools.partial(one_by_one, f), xs), lambda _: want)
        raise ValueError(f"unknown kind of job: {kind}")

    def hits(self, n, keys, f, want):
        xs = cycle(keys, keys)
        f(xs)
        gc.collect()
        return total(self.timed(xs[: n - done], f, want, collect=False) for done in range(0, n, keys))

    def disk_hits(self, n, keys):
        xs = cycle(keys, keys)
        one_by_one(self.contender.page, xs)

        def part(xs):
            self.contender.open(self.folder)
            return self.timed(xs, lambda xs: one_by_one(self.contender.page, xs), page_of)

        return total(part(xs[: n - done]) for done in range(0, n, keys))

    def hashes(self, kind, n, keys):
        vs, digest = values(kind, keys), self.contender.joblib.hash
        firsts = [digest(v) for v in vs]
        if len(set(firsts)) != keys or self.known.setdefault(kind, firsts) != firsts:
            raise ValueError("two values have the same digest, or a digest has changed")
        return self.hits(n, keys, lambda xs: [digest(vs[i]) for i in xs], lambda i: firsts[i])

    def timed(self, xs, f, want, collect=True):
        if collect:
            gc.collect()
        calls_made()
        start = time.perf_counter()
        got = f(xs)
        took = time.perf_counter() - start
        n = calls_made()
        if got != [want(x) for x in xs]:
            raise ValueError("wrong results")
        return {"seconds": took, "made": n}


def total(parts):
    parts = list(parts)
    return {k: sum(p[k] for p in parts) for k in ("seconds", "made")}


def one_by_one(f, xs):
    return [f(x) for x in xs]


def versions():
    parts = [f"{platform.python_implementation()} {platform.python_version()}"]
    for name in ("joblib", "numpy"):
        try:
            parts.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            pass
    return ", ".join(parts)


def main(name, *folder):
    if name == "versions":
        print(versions())
        return
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent's business
    session = Session(CONTENDERS[name](), *folder)
    for line in sys.stdin:
        try:
            answer = session.run(json.loads(line))
        except Exception as e:
            answer = {"error": f"{type(e).__name__}: {e}"}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    # As a module: of functions in __main__, joblib's names depend on how the file was called.
    import peers

    peers.main(*sys.argv[1:])
