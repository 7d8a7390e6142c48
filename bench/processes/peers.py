"""The contenders that are written in Python, driven by python.go.

peers.py NAME reads jobs from stdin, one JSON object a line, and answers each with {"seconds": ...} or {"error": ...}.
What is timed is the run alone; inputs are made before, results are checked after. peers.py versions prints versions.
"""

import concurrent.futures
import gc
import importlib.metadata
import json
import multiprocessing
import platform
import signal
import sys
import time
import typing

WORKERS = 2

# --- What the tasks do: work.go, in Python. ---


def cube(x):
    return x * x * x


class Record(typing.NamedTuple):
    name: str
    score: float
    tags: list


def describe(s):
    return Record(s, ord(s[-1]) / 2, [s[:1], s[1:]])


def spin(x):
    start, d = time.monotonic_ns(), (x >> 20) * 1000
    while time.monotonic_ns() - start < d:
        pass
    return x & ((1 << 20) - 1)


def total(xs):
    return float(xs[::512].sum())


def double(xs):
    return 2 * xs


def spins(groups):
    xs = []
    for g in groups:
        xs += [g["micros"] << 20 | i for i in range(len(xs), len(xs) + g["tasks"])]
    return xs


def arrays(n, serial):
    import numpy

    return [numpy.arange(n) * 0.1 + float(WORKERS * serial + w) for w in range(WORKERS)]


def same(got, want):
    return got == want


def same_arrays(got, want):
    import numpy

    return len(got) == len(want) and all(map(numpy.array_equal, got, want))


# --- The contenders: start and stop a pool, map, dynamic (calls that could each be of another function), call. ---


class Pool:
    """multiprocessing.Pool: map and starmap with the default chunksize."""

    def start(self):
        self.pool = multiprocessing.Pool(WORKERS)

    def stop(self):
        self.pool.close()
        self.pool.join()

    def map(self, fn, xs):
        return self.pool.map(fn, xs)

    def dynamic(self, fn, xs):
        return self.pool.starmap(fn, [(x,) for x in xs])

    def call(self, fn, x):
        return self.pool.apply(fn, (x,))


class PoolOneByOne(Pool):
    """multiprocessing.Pool, one task a message: map with chunksize=1, and apply_async."""

    def map(self, fn, xs):
        return self.pool.map(fn, xs, chunksize=1)

    def dynamic(self, fn, xs):
        return [r.get() for r in [self.pool.apply_async(fn, (x,)) for x in xs]]


class Executor:
    """concurrent.futures.ProcessPoolExecutor: map and submit."""

    def __init__(self, chunksize=1):
        self.chunksize = chunksize

    def start(self):
        self.executor = concurrent.futures.ProcessPoolExecutor(WORKERS)

    def stop(self):
        self.executor.shutdown()

    def map(self, fn, xs):
        return list(self.executor.map(fn, xs, chunksize=self.chunksize))

    def dynamic(self, fn, xs):
        return [f.result() for f in [self.executor.submit(fn, x) for x in xs]]

    def call(self, fn, x):
        return self.executor.submit(fn, x).result()


class Loky:
    """joblib.Parallel with loky, its default: batches sized by itself, arrays in memory-mapped files."""

    kept = None  # keeps the files between runs, which a Parallel outside of a with does not

    def start(self):
        import joblib

        self.joblib = joblib

    def stop(self):
        from joblib.externals.loky import get_reusable_executor

        if self.kept:
            self.kept.__exit__(None, None, None)
        get_reusable_executor(max_workers=WORKERS, reuse=True).shutdown(wait=True)

    def map(self, fn, xs):
        return self.joblib.Parallel(n_jobs=WORKERS)(self.joblib.delayed(fn)(x) for x in xs)

    dynamic = map

    def call(self, fn, x):
        return self.map(fn, [x])[0]

    def again(self, fn, xs):
        if self.kept is None:
            self.kept = self.joblib.Parallel(n_jobs=WORKERS).__enter__()
        return self.kept(self.joblib.delayed(fn)(x) for x in xs)


CONTENDERS = {
    "pool": Pool,
    "pool-1": PoolOneByOne,
    "executor": Executor,
    "executor-1000": lambda: Executor(1000),
    "loky": Loky,
}


class Session:
    """One contender, its pool warm from its first job on."""

    def __init__(self, contender):
        self.contender = contender
        self.started = False
        self.fresh = 0  # how many jobs had arrays of their own
        self.again = []

    def warm(self):
        if not self.started:
            self.contender.start()
            self.started = True

    def close(self):
        if self.started:
            self.contender.stop()
            self.started = False

    def run(self, job):
        kind, n, c = job["kind"], job["n"], self.contender
        if kind == "cold":
            if isinstance(c, Loky):
                self.warm()  # the import: the others have theirs already
            self.close()
            return self.timed(cube, list(range(n)), lambda fn, xs: (self.warm(), c.map(fn, xs))[1])
        self.warm()
        if kind == "map":
            return self.timed(cube, list(range(n)), c.map)
        if kind == "dynamic":
            return self.timed(cube, list(range(n)), c.dynamic)
        if kind == "call":
            return self.timed(cube, list(range(n)), lambda fn, xs: [c.call(fn, x) for x in xs])
        if kind == "record":
            return self.timed(describe, [f"item-{i}" for i in range(n)], c.map)
        if kind == "spin":
            xs = spins(job["groups"])
            return self.timed(spin, xs, c.map, want=list(range(len(xs))))
        if kind == "sum":
            self.fresh += 1
            return self.timed(total, arrays(n, self.fresh), c.map)
        if kind == "again":
            if not self.again or len(self.again[0]) != n:
                self.again = arrays(n, 0)
            return self.timed(total, self.again, getattr(c, "again", c.map))
        if kind == "double":
            self.fresh += 1
            return self.timed(double, arrays(n, self.fresh), c.map, equal=same_arrays)
        raise ValueError(f"unknown kind of job: {kind}")

    def timed(self, fn, xs, run, want=None, equal=same):
        gc.collect()
        start = time.perf_counter()
        got = run(fn, xs)
        took = time.perf_counter() - start
        if want is None:
            want = [fn(x) for x in xs]
        if not equal(got, want):
            raise ValueError("wrong results")
        return took


def versions():
    parts = [f"{platform.python_implementation()} {platform.python_version()} ({multiprocessing.get_start_method()})"]
    for name in ("joblib", "numpy"):
        try:
            parts.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            pass
    return ", ".join(parts)


def main(name):
    if name == "versions":
        print(versions())
        return
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent's business; workers inherit it
    session = Session(CONTENDERS[name]())
    try:
        for line in sys.stdin:
            try:
                answer = {"seconds": session.run(json.loads(line))}
            except Exception as e:
                answer = {"error": f"{type(e).__name__}: {e}"}
            print(json.dumps(answer), flush=True)
    finally:
        session.close()


if __name__ == "__main__":
    # As a module that workers can import: what is defined in __main__ would be sent to loky's by value.
    import peers

    peers.main(sys.argv[1])
