//go:build linux

package processes_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/gojoblib/parallel"
	"github.com/gojoblib/parallel/backend/processes"
)

func init() {
	registered = append(registered, whoami, takes, gives, nested, inherited, toolPID, openFails, aboutMe, deadlineOf, dawdles, environ, cpus, leavesChild,
		prepare, prepareBadly, preparePanics, prepareExits, prepareGoexits, prepareSlowly, prepareQuietly, person.name)
}

// generic functions and method values cannot be registered: these are what the tests ask for in vain.
type person struct{ First string }

func (p person) name() string { return p.First }

func generic[T any](v T) T   { return v }
func unregistered(i int) int { return i }

// whoami returns the worker's process number.
func whoami(int) int { return os.Getpid() }

// events returns the lines of a log that several processes append to.
func events(t *testing.T, file string) []string {
	b, err := os.ReadFile(file)
	if os.IsNotExist(err) {
		return nil
	}
	require.NoError(t, err)
	return strings.Split(strings.TrimSuffix(string(b), "\n"), "\n")
}

// event appends a line to that log, with this process's number.
func event(format string, args ...any) {
	f, err := os.OpenFile(os.Getenv("LIFECYCLE_TEST_LOG"), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		panic(err)
	}
	defer f.Close()
	if _, err := fmt.Fprintf(f, "%d %s\n", os.Getpid(), fmt.Sprintf(format, args...)); err != nil {
		panic(err)
	}
}

func withLog(t *testing.T, o processes.Options) (opt parallel.Option, log string) {
	log = filepath.Join(t.TempDir(), "log")
	o.Env = append(o.Env, "LIFECYCLE_TEST_LOG="+log)
	return parallel.Backend(processes.New(o)), log
}

// pids runs n calls of whoami.
func pids(t *testing.T, n, workers int, opts ...parallel.Option) map[int]int {
	t.Helper()
	got, err := parallel.Collect[int](parallel.Parallel(workers, opts...)(parallel.Each(whoami, numbers(n))...))
	require.NoError(t, err)
	by := map[int]int{}
	for _, pid := range got {
		require.NotEqual(t, os.Getpid(), pid)
		by[pid]++
	}
	return by
}

func TestMaxTasksIsExact(t *testing.T) {
	for _, most := range []int{1, 3, 7} {
		for _, batch := range []int{0, 1, 2, 50} {
			t.Run(fmt.Sprintf("%d/BatchSize(%d)", most, batch), func(t *testing.T) {
				tidy(t)
				opts := []parallel.Option{parallel.Backend(processes.New(processes.Options{MaxTasks: most}))}
				if batch > 0 {
					opts = append(opts, parallel.BatchSize(batch))
				}
				const n = 20
				ran := 0
				// A second run goes on with what is left of the first one's workers.
				all := map[int]int{}
				for range 2 {
					for pid, k := range pids(t, n, 2, opts...) {
						all[pid] += k
						ran += k
					}
				}
				assert.Equal(t, 2*n, ran)
				for pid, k := range all {
					assert.LessOrEqual(t, k, most, "process %d", pid)
				}
				assert.GreaterOrEqual(t, len(all), (2*n+most-1)/most)
			})
		}
	}
}

func TestWorkersServeOneRunAfterTheOther(t *testing.T) {
	tidy(t)
	p := parallel.Prefer(parallel.Processes)
	first := pids(t, 50, 2, p, parallel.BatchSize(1))
	for range 5 {
		for pid := range pids(t, 50, 2, p, parallel.BatchSize(1)) {
			assert.Contains(t, append(keys(first), children()...), pid)
		}
	}
	assert.LessOrEqual(t, len(children()), 2, "no more than the run has asked for")
	for pid := range pids(t, 20, 1, p) {
		assert.Contains(t, children(), pid)
	}
	assert.LessOrEqual(t, len(children()), 2, "a narrower run takes one of them")
	parallel.CloseIdleWorkers()
	assert.Empty(t, children())
	for pid := range pids(t, 20, 2, p) {
		assert.NotContains(t, keys(first), pid, "new ones")
	}
}

func keys(m map[int]int) (ks []int) {
	for k := range m {
		ks = append(ks, k)
	}
	return ks
}

func TestIdleTimeout(t *testing.T) {
	t.Run("negative", func(t *testing.T) {
		tidy(t)
		pids(t, 10, 2, parallel.Backend(processes.New(processes.Options{IdleTimeout: -1})))
		eventually(t, "the workers end with their run", func() bool { return len(children()) == 0 })
	})
	t.Run("short", func(t *testing.T) {
		tidy(t)
		pids(t, 10, 2, parallel.Backend(processes.New(processes.Options{IdleTimeout: 20 * time.Millisecond})))
		eventually(t, "idle workers end", func() bool { return len(children()) == 0 })
		pids(t, 10, 2, parallel.Backend(processes.New(processes.Options{IdleTimeout: 20 * time.Millisecond})))
	})
}

func prepare(ctx context.Context, what string) error {
	event("init %s", what)
	if _, err := tool.Get(ctx); err != nil {
		return err
	}
	return nil
}
func prepareBadly() error  { event("init"); return fmt.Errorf("preparing: %w", errStruck) }
func preparePanics()       { panic("prepared to panic") }
func prepareExits() error  { fmt.Fprintln(os.Stderr, "prepared to exit"); os.Exit(3); return nil }
func prepareGoexits()      { runtime.Goexit() }
func prepareSlowly() error { time.Sleep(22 * time.Second); return nil }
func prepareQuietly()      { event("init") }

// tool is opened once for each worker.
var tool = parallel.PerWorker(func() (int, error) { event("open"); return os.Getpid(), nil }, func(pid int) error {
	event("close %d", pid)
	return nil
})

func toolPID(ctx context.Context, i int) (int, error) {
	event("task")
	return tool.Get(ctx)
}

var broken = parallel.PerWorker(func() (int, error) { return 0, errStruck }, nil)

func openFails(ctx context.Context, _ int) (int, error) { return broken.Get(ctx) }

func TestInitAndPerWorkerValuesLiveAsLongAsTheirWorker(t *testing.T) {
	for _, withInit := range []bool{true, false} {
		t.Run(fmt.Sprint("Init=", withInit), func(t *testing.T) {
			tidy(t)
			o := processes.Options{}
			if withInit {
				o.Init, o.InitArgs = prepare, []any{"the tool"}
			}
			b, log := withLog(t, o)
			used := map[int]bool{}
			for range 3 {
				got, err := parallel.Collect[int](parallel.Parallel(2, b, parallel.BatchSize(1))(parallel.Each(toolPID, numbers(20))...))
				require.NoError(t, err)
				for _, pid := range got {
					used[pid] = true
				}
			}
			parallel.CloseIdleWorkers()
			by := map[string][]string{}
			for _, e := range events(t, log) {
				pid, what, _ := strings.Cut(e, " ")
				by[pid] = append(by[pid], what)
			}
			tasks := 0
			for pid, what := range by {
				if withInit {
					assert.Equal(t, []string{"init the tool", "open"}, what[:2], "before any task")
				} else {
					assert.Equal(t, []string{"task", "open"}, what[:2])
				}
				assert.Equal(t, "close "+pid, what[len(what)-1], "with the worker")
				count := map[string]int{}
				for _, w := range what {
					count[w]++
				}
				assert.Equal(t, 1, count["open"])
				assert.Equal(t, 1, count["close "+pid])
				tasks += count["task"]
			}
			assert.Equal(t, 60, tasks)
			assert.LessOrEqual(t, len(by), 3)
			for pid := range used {
				assert.Contains(t, by, strconv.Itoa(pid))
			}
		})
	}
	t.Run("Init returns nothing", func(t *testing.T) {
		tidy(t)
		b, log := withLog(t, processes.Options{Init: prepareQuietly})
		used := pids(t, 10, 2, b)
		assert.GreaterOrEqual(t, len(events(t, log)), len(used))
	})
	t.Run("open fails", func(t *testing.T) {
		tidy(t)
		_, err := parallel.Parallel(2, parallel.Prefer(parallel.Processes), parallel.KeepGoing())(parallel.Each(openFails, numbers(10))...)
		assert.Len(t, parallel.Failures(err), 10)
		assert.ErrorIs(t, err, errStruck)
	})
}

func TestInitThatFailsEndsTheRun(t *testing.T) {
	for _, c := range []struct {
		name string
		init any
		is   func(*testing.T, error)
	}{
		{"error", prepareBadly, func(t *testing.T, err error) {
			assert.ErrorIs(t, err, errStruck)
			assert.ErrorContains(t, err, "Init: preparing: struck")
		}},
		{"panic", preparePanics, func(t *testing.T, err error) {
			p, ok := errors.AsType[*parallel.PanicError](err)
			if assert.True(t, ok, "%v", err) {
				assert.Equal(t, "prepared to panic", p.Value)
				assert.Contains(t, string(p.Stack), "preparePanics")
			}
			assert.ErrorContains(t, err, "Init: ")
		}},
		{"exit", prepareExits, func(t *testing.T, err error) {
			c := crashed(t, err)
			assert.Equal(t, 3, c.ExitCode)
			assert.Equal(t, "prepared to exit\n", c.Stderr)
			assert.NotContains(t, err.Error(), "is that the first line of main", "it was, Init has ended the worker")
			assert.Contains(t, err.Error(), "Init")
		}},
		{"Goexit", prepareGoexits, func(t *testing.T, err error) {
			assert.ErrorIs(t, err, parallel.ErrGoexit)
			assert.ErrorContains(t, err, "Init: ")
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			tidy(t)
			b, _ := withLog(t, processes.Options{Init: c.init})
			for range 2 { // the next run fares no better, and as soon
				got, err := parallel.Parallel(2, b, parallel.KeepGoing())(parallel.Each(whoami, numbers(10))...)
				require.Error(t, err)
				assert.Equal(t, make([]any, 10), got)
				assert.ErrorIs(t, err, parallel.ErrNotRun)
				assert.Empty(t, parallel.Failures(err), "it is no task's fault")
				c.is(t, err)
			}
		})
	}
	t.Run("declared wrongly", func(t *testing.T) {
		tidy(t)
		for what, o := range map[string]processes.Options{
			"there are 0 InitArgs":   {Init: prepare},
			"InitArgs[0] is a int":   {Init: prepare, InitArgs: []any{1}},
			"not registered":         {Init: unregisteredInit},
			"closure":                {Init: func() { _ = t }},
			"there are InitArgs and": {InitArgs: []any{1}},
			"must return an error":   {Init: whoami, InitArgs: []any{1}},
			"is not a function":      {Init: 7},
			"MaxTasks is -1":         {MaxTasks: -1},
			"MemoryLimit is -1":      {MemoryLimit: -1},
			"GOMAXPROCS is -1":       {GOMAXPROCS: -1},
			"must be NAME=value":     {Env: []string{"X"}},
		} {
			_, err := parallel.Parallel(2, parallel.Backend(processes.New(o)))(parallel.Each(whoami, numbers(10))...)
			assert.ErrorContains(t, err, what)
			assert.ErrorIs(t, err, parallel.ErrNotRun)
		}
		assert.Empty(t, children(), "none was started")
	})
	t.Run("slow", func(t *testing.T) {
		if os.Getenv("PARALLEL_CHAOS") == "" {
			t.Skip("it takes 22 s; set PARALLEL_CHAOS")
		}
		tidy(t)
		pids(t, 1, 1, parallel.Backend(processes.New(processes.Options{Init: prepareSlowly})))
	})
}

func unregisteredInit() {}

func environ(names ...string) []string {
	var values []string
	for _, n := range names {
		v, ok := os.LookupEnv(n)
		values = append(values, fmt.Sprint(v, " ", ok))
	}
	return values
}

func TestEnvironmentOfWorkers(t *testing.T) {
	tidy(t)
	t.Setenv("LIFECYCLE_OUTER", "outer")
	t.Setenv("LIFECYCLE_BOTH", "outer")
	b := parallel.Backend(processes.New(processes.Options{Env: []string{"LIFECYCLE_INNER=inner=1", "LIFECYCLE_BOTH=inner", "OMP_NUM_THREADS=17"}}))
	got, err := parallel.Collect[[]string](parallel.Parallel(1, b)(parallel.Delayed(environ, "LIFECYCLE_OUTER", "LIFECYCLE_INNER", "LIFECYCLE_BOTH", "OMP_NUM_THREADS", "PARALLEL_WORKER")))
	require.NoError(t, err)
	assert.Equal(t, []string{"outer true", "inner=1 true", "inner true", "17 true", " false"}, got[0])
}

func cpus(int) int { return runtime.GOMAXPROCS(0) }

func TestCPUsOfWorkers(t *testing.T) {
	tidy(t)
	ask := func(n int, o processes.Options) int {
		got, err := parallel.Collect[int](parallel.Parallel(n, parallel.Backend(processes.New(o)))(parallel.Delayed(cpus, 1)))
		require.NoError(t, err)
		return got[0]
	}
	all := runtime.GOMAXPROCS(0)
	assert.Equal(t, 3, ask(2, processes.Options{GOMAXPROCS: 3}))
	for _, n := range []int{1, all, 1, 4 * all, 1} { // the same worker, told anew
		got, err := parallel.Collect[int](parallel.Parallel(n, parallel.Prefer(parallel.Processes))(parallel.Each(cpus, numbers(n))...))
		require.NoError(t, err)
		for _, g := range got {
			assert.Equal(t, max(1, all/n), g, "%d workers", n)
		}
		if n > all {
			parallel.CloseIdleWorkers()
		}
	}
}

func dawdles(ctx context.Context, polite bool) int {
	if polite {
		<-ctx.Done()
		return os.Getpid()
	}
	select {}
}

func TestMemoryLimitTooSmallToStart(t *testing.T) {
	tidy(t)
	_, err := parallel.Parallel(2, parallel.Backend(processes.New(processes.Options{MemoryLimit: 1 << 20})))(
		parallel.Delayed(dawdles, false), parallel.Delayed(dawdles, false))
	require.Error(t, err)
	assert.ErrorIs(t, err, parallel.ErrMemory)
	assert.ErrorContains(t, err, "memory")
}

func TestTimeoutKillsTheDeafOnly(t *testing.T) {
	tidy(t)
	b := parallel.Backend(processes.New(processes.Options{}))
	before := keys(pids(t, 1, 1, b))
	_, err := parallel.Parallel(1, b, parallel.Timeout(50*time.Millisecond))(parallel.Delayed(dawdles, true))
	assert.ErrorIs(t, err, parallel.ErrTimeout)
	assert.Equal(t, before, keys(pids(t, 1, 1, b)), "a polite one keeps its worker")
	start := time.Now()
	_, err = parallel.Parallel(1, b, parallel.Timeout(50*time.Millisecond))(parallel.Delayed(dawdles, false))
	assert.ErrorIs(t, err, parallel.ErrTimeout)
	assert.GreaterOrEqual(t, time.Since(start), 150*time.Millisecond, "Grace")
	assert.True(t, gone(before[0]), "a deaf one does not")
	assert.NotEqual(t, before, keys(pids(t, 1, 1, b)))

	none := parallel.Backend(processes.New(processes.Options{Grace: -1}))
	before = keys(pids(t, 1, 1, none))
	_, err = parallel.Parallel(1, none, parallel.Timeout(50*time.Millisecond))(parallel.Delayed(dawdles, false))
	assert.ErrorIs(t, err, parallel.ErrTimeout)
	assert.True(t, gone(before[0]))
}

func TestCancelKillsTheDeafOnly(t *testing.T) {
	for _, polite := range []bool{true, false} {
		t.Run(fmt.Sprint("polite=", polite), func(t *testing.T) {
			tidy(t)
			b := parallel.Backend(processes.New(processes.Options{}))
			before := keys(pids(t, 1, 1, b))
			ctx, cancel := context.WithCancelCause(t.Context())
			time.AfterFunc(50*time.Millisecond, func() { cancel(errStruck) })
			_, err := parallel.Parallel(1, b, parallel.Context(ctx))(parallel.Delayed(dawdles, polite), parallel.Delayed(whoami, 1))
			assert.ErrorIs(t, err, errStruck)
			assert.ErrorIs(t, err, parallel.ErrNotRun)
			if after := keys(pids(t, 1, 1, b)); polite {
				assert.Equal(t, before, after)
			} else {
				assert.NotEqual(t, before, after)
				assert.True(t, gone(before[0]))
			}
		})
	}
}

type me struct {
	Info     parallel.TaskInfo
	OK       bool
	Deadline time.Time
	Has      bool
}

func aboutMe(ctx context.Context, _ int) me {
	var m me
	m.Info, m.OK = parallel.TaskFrom(ctx)
	m.Deadline, m.Has = ctx.Deadline()
	return m
}

func deadlineOf(ctx context.Context, _ int) (time.Time, error) {
	d, _ := ctx.Deadline()
	return d, nil
}

func TestContextInAWorker(t *testing.T) {
	tidy(t)
	var tasks []parallel.Task
	for i := range 100 {
		task := parallel.Delayed(aboutMe, i)
		if i%3 == 0 {
			task = task.Named(fmt.Sprint("the task ", i))
		}
		tasks = append(tasks, task)
	}
	ctx, cancel := context.WithDeadline(t.Context(), time.Now().Add(time.Hour))
	defer cancel()
	there, err := parallel.Collect[me](parallel.Parallel(2, parallel.Prefer(parallel.Processes), parallel.Context(ctx), parallel.Seed(42))(tasks...))
	require.NoError(t, err)
	here, err := parallel.Collect[me](parallel.Parallel(2, parallel.Context(ctx), parallel.Seed(42))(tasks...))
	require.NoError(t, err)
	want, _ := ctx.Deadline()
	for i := range here {
		assert.Equal(t, here[i].Info, there[i].Info)
		assert.True(t, there[i].OK)
		assert.True(t, there[i].Has && there[i].Deadline.Equal(want), "%v, want %v", there[i].Deadline, want)
	}
	times, err := parallel.Map(ctx, numbers(100), deadlineOf, parallel.Prefer(parallel.Processes), parallel.NJobs(2))
	require.NoError(t, err)
	for _, d := range times {
		assert.True(t, d.Equal(want))
	}
	before := time.Now()
	times, err = parallel.Map(ctx, numbers(4), deadlineOf, parallel.Prefer(parallel.Processes), parallel.NJobs(2), parallel.Timeout(time.Minute))
	require.NoError(t, err)
	for _, d := range times {
		assert.True(t, d.After(before.Add(time.Minute)) && d.Before(time.Now().Add(time.Minute)), "the Timeout's: %v", d)
	}
	there, err = parallel.Collect[me](parallel.Parallel(1, parallel.Prefer(parallel.Processes))(parallel.Delayed(aboutMe, 1)))
	require.NoError(t, err)
	assert.False(t, there[0].Has)
}

// nested runs inside of a worker.
func nested(ctx context.Context, where string) (string, error) {
	opt := parallel.Prefer(parallel.Processes)
	if where == "backend" {
		opt = parallel.Backend(processes.New(processes.Options{}))
	}
	got, err := parallel.Collect[int](parallel.Parallel(3, opt, parallel.Context(ctx))(parallel.Each(whoami, numbers(10))...))
	if err != nil {
		return "", err
	}
	for _, pid := range got {
		if pid != os.Getpid() {
			return "", fmt.Errorf("process %d, in %d", pid, os.Getpid())
		}
	}
	squares, err := parallel.Map(ctx, numbers(100), func(_ context.Context, i int) (int, error) { return i * i, nil }, opt)
	for i, s := range squares {
		if err == nil && s != i*i {
			return "", fmt.Errorf("%d² is %d", i, s)
		}
	}
	return "fine", err
}

func TestRunsInsideOfAWorker(t *testing.T) {
	tidy(t)
	got, err := parallel.Parallel(2, parallel.Prefer(parallel.Processes), parallel.KeepGoing())(
		parallel.Delayed(nested, "hint"), parallel.Delayed(nested, "backend"), parallel.Delayed(nested, "hint"))
	assert.Equal(t, []any{"fine", nil, "fine"}, got)
	failures := parallel.Failures(err)
	require.Len(t, failures, 1)
	assert.ErrorContains(t, failures[0], "a worker process cannot start worker processes; Prefer(Processes) runs on goroutines here")
}

func takes(x any) string { return fmt.Sprint(x) }
func gives(i int) any {
	switch i % 4 {
	case 1:
		return make(chan int)
	case 3:
		return map[string]any{"f": []any{1, func() {}}}
	}
	return i
}

func TestUnsendableValuesFailAlone(t *testing.T) {
	for _, batch := range []int{0, 1, 50} {
		t.Run(fmt.Sprintf("BatchSize(%d)", batch), func(t *testing.T) {
			tidy(t)
			opts := []parallel.Option{parallel.Prefer(parallel.Processes), parallel.KeepGoing()}
			if batch > 0 {
				opts = append(opts, parallel.BatchSize(batch))
			}
			var args []any
			for i := range 200 {
				switch i % 4 {
				case 1:
					args = append(args, make(chan int))
				case 3:
					args = append(args, map[string]any{"f": []any{1, func() {}}})
				default:
					args = append(args, i)
				}
			}
			check := func(got []any, err error, what string, attempts int, good func(i int) any) {
				t.Helper()
				failures := parallel.Failures(err)
				require.Len(t, failures, 100)
				assert.NotErrorIs(t, err, parallel.ErrNotRun)
				for k, f := range failures {
					require.Equal(t, 2*k+1, f.Index)
					assert.Equal(t, attempts, f.Attempts)
					assert.ErrorContains(t, f.Err, what)
					if f.Index%4 == 1 {
						assert.ErrorContains(t, f.Err, "chan int")
					} else {
						assert.ErrorContains(t, f.Err, `func()`)
						assert.ErrorContains(t, f.Err, `["f"]`, "where it is")
					}
				}
				for i, g := range got {
					if i%2 == 0 {
						assert.Equal(t, good(i), g)
					} else {
						assert.Nil(t, g)
					}
				}
			}
			got, err := parallel.Parallel(2, opts...)(parallel.Each(takes, args)...)
			check(got, err, "argument 0", 0, func(i int) any { return fmt.Sprint(i) })
			got, err = parallel.Parallel(2, opts...)(parallel.Each(gives, numbers(200))...)
			check(got, err, "its result", 1, func(i int) any { return i })
			got, err = parallel.Parallel(2, append(opts, parallel.Retry(2))...)(parallel.Each(gives, numbers(200))...)
			check(got, err, "its result", 1, func(i int) any { return i })
		})
	}
}

func TestFunctionsWithoutANameAreRefused(t *testing.T) {
	tidy(t)
	captured := 1
	closure := func(i int) int { return i + captured }
	opt := parallel.Prefer(parallel.Processes)
	for what, task := range map[string]parallel.Task{
		"closure":          parallel.Delayed(closure, 1),
		"method value":     parallel.Delayed(person{"Ada"}.name),
		"not registered":   parallel.Delayed(unregistered, 1),
		"generic function": parallel.Delayed(generic[string], "x"),
	} {
		got, err := parallel.Parallel(2, opt, parallel.KeepGoing())(parallel.Delayed(whoami, 1), task, parallel.Delayed(whoami, 2))
		assert.ErrorContains(t, err, what)
		assert.Equal(t, make([]any, 3), got, "before anything has run")
		assert.ErrorIs(t, err, parallel.ErrNotRun)
		failures := parallel.Failures(err)
		if assert.Len(t, failures, 1) {
			assert.Equal(t, 1, failures[0].Index)
			assert.Contains(t, failures[0].Error(), "Prefer(Threads)", "the cure")
		}
	}
	_, err := parallel.Map(t.Context(), numbers(3), func(_ context.Context, i int) (int, error) { return i + captured, nil }, opt)
	assert.ErrorContains(t, err, "closure")
	got, err := parallel.Parallel(2, opt)(parallel.Delayed(person.name, person{"Ada"}))
	require.NoError(t, err, "a method expression is a function")
	assert.Equal(t, []any{"Ada"}, got)
}

// inherited returns what a program that is started here gets.
func inherited() (string, error) {
	cmd := exec.Command("sh", "-c", "echo worker=$PARALLEL_WORKER; for fd in 3 4 5; do readlink /proc/$$/fd/$fd; done; true")
	out, err := cmd.Output()
	return string(out), err
}

func TestProgramsOfTasksInheritNothing(t *testing.T) {
	tidy(t)
	got, err := parallel.Collect[string](parallel.Parallel(1, parallel.Prefer(parallel.Processes))(parallel.Delayed(inherited)))
	require.NoError(t, err)
	assert.Equal(t, "worker=\n", got[0], "the variable, and the descriptors of the link")
}

func leavesChild(how string) int {
	cmd := exec.Command("sleep", "1000")
	if err := cmd.Start(); err != nil {
		panic(err)
	}
	event("%d", cmd.Process.Pid)
	switch how {
	case "exit":
		os.Exit(3)
	case "kill":
		_ = raise(syscall.SIGKILL)
	case "loop":
		for i := 0; ; i++ {
		}
	}
	return cmd.Process.Pid
}

// TestProgramsOfTasksEndWithTheirWorker, however that ends.
func TestProgramsOfTasksEndWithTheirWorker(t *testing.T) {
	for _, how := range []string{"return", "exit", "kill", "loop"} {
		t.Run(how, func(t *testing.T) {
			tidy(t)
			b, log := withLog(t, processes.Options{})
			_, err := parallel.Parallel(1, b, parallel.Timeout(200*time.Millisecond))(parallel.Delayed(leavesChild, how))
			if how == "return" {
				assert.NoError(t, err)
			} else {
				assert.Error(t, err)
			}
			parallel.CloseIdleWorkers()
			for _, e := range events(t, log) {
				_, pid, _ := strings.Cut(e, " ")
				n, err := strconv.Atoi(pid)
				require.NoError(t, err)
				eventually(t, "the program has ended", func() bool { return gone(n) })
			}
		})
	}
}

func TestTwoRunsAtOnceAndCloseIdleWorkersAmidThem(t *testing.T) {
	tidy(t)
	var runs sync.WaitGroup
	stop := make(chan struct{})
	go func() {
		for {
			select {
			case <-stop:
				return
			default:
				parallel.CloseIdleWorkers()
				runtime.Gosched()
			}
		}
	}()
	for range 4 {
		runs.Go(func() {
			for range 5 {
				got, err := parallel.Collect[int](parallel.Parallel(2, parallel.Prefer(parallel.Processes))(parallel.Each(whoami, numbers(30))...))
				assert.NoError(t, err)
				assert.Len(t, got, 30)
			}
		})
	}
	runs.Wait()
	close(stop)
}

// program is testdata/program, built as the flags say.
func program(t *testing.T, name string, flags ...string) string {
	t.Helper()
	builds.Lock()
	defer builds.Unlock()
	key := name + fmt.Sprint(flags)
	if path, ok := built[key]; ok {
		if path == "" {
			t.Skip("it could not be built")
		}
		return path
	}
	goTool, err := exec.LookPath("go")
	if err != nil {
		t.Skip("the go command is not there to build the program:", err)
	}
	dir, err := os.MkdirTemp("", "parallel-program-")
	require.NoError(t, err)
	built[key] = ""
	path := filepath.Join(dir, name)
	out, err := exec.Command(goTool, append(append([]string{"build", "-o", path}, flags...), "./testdata/"+name)...).CombinedOutput()
	if text := string(out); err != nil && (strings.Contains(text, "-race requires cgo") || strings.Contains(text, "-race is not supported") || strings.Contains(text, "build constraints exclude all Go files") || strings.Contains(text, "C compiler")) {
		t.Skip("there is no C compiler, or CGO_ENABLED is 0:", text)
	}
	require.NoError(t, err, "%s", out)
	built[key] = path
	return path
}

var (
	builds sync.Mutex
	built  = map[string]string{}
)

func init() {
	atEnd = func() {
		for _, path := range built {
			if path != "" {
				os.RemoveAll(filepath.Dir(path))
			}
		}
	}
}

// watched is a program under way, and all processes that come from it: they carry its mark in their environment.
type watched struct {
	*exec.Cmd
	mark   string
	output *os.File
	peak   atomic.Int64 // of the processes at once
	stop   chan struct{}
	done   chan struct{}
}

// launch starts a program in a process group of its own.
func launch(t *testing.T, path string, env ...string) (*watched, *bufio.Scanner) {
	t.Helper()
	mark := fmt.Sprintf("PROGRAM_MARK=%d.%s", os.Getpid(), t.Name())
	r, out, err := os.Pipe()
	require.NoError(t, err)
	w := &watched{Cmd: exec.Command(path), mark: mark, output: r, stop: make(chan struct{}), done: make(chan struct{})}
	w.Env = append(append(os.Environ(), env...), mark)
	w.Stdout, w.Stderr = out, out
	w.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	require.NoError(t, w.Start())
	out.Close()
	go func() {
		defer close(w.done)
		for {
			w.peak.Store(max(w.peak.Load(), int64(len(w.all()))))
			select {
			case <-w.stop:
				return
			case <-time.After(20 * time.Millisecond):
			}
		}
	}()
	t.Cleanup(func() {
		close(w.stop)
		<-w.done
		for _, pid := range w.all() {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
		_ = w.Wait()
		r.Close()
	})
	return w, bufio.NewScanner(r)
}

// all returns the processes that come from the program and live.
func (w *watched) all() (pids []int) {
	files, _ := filepath.Glob("/proc/[0-9]*/environ")
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil || !slices.Contains(strings.Split(string(b), "\x00"), w.mark) {
			continue
		}
		pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(f)))
		if !gone(pid) {
			pids = append(pids, pid)
		}
	}
	return pids
}

// finish reads the rest of the output and waits for the program's end.
func (w *watched) finish(t *testing.T, s *bufio.Scanner) string {
	t.Helper()
	guard := time.AfterFunc(100*time.Second, func() { _ = w.Process.Kill() })
	defer guard.Stop()
	var b strings.Builder
	for s.Scan() {
		fmt.Fprintln(&b, s.Text())
	}
	_ = w.Wait()
	return b.String()
}

const allResults = "results: [0 1 4 9 16 25 36 49 64 81]\nerror: <nil>\nresults: [0 1 4 9 16 25 36 49 64 81]\nerror: <nil>\n"

func TestMainInItsPlaces(t *testing.T) {
	for _, c := range []struct {
		mode string
		want []string
		peak int64
		no   string
		args []string
	}{
		{mode: "never", want: []string{"the program has not called parallel.Main", "make parallel.Main(functions...) the first line of main"}, peak: 1, no: "results: [0"},
		{mode: "late", want: []string{allResults}, peak: 3},
		{mode: "early", want: []string{"early: parallel: cannot start a worker of backend processes: the program has not called parallel.Main", "early: <nil>", allResults}, peak: 3},
		{mode: "flags", args: []string{"-name", "x"}, peak: 3, no: "results: [0", want: []string{
			"3 workers in a row ended before they did anything: its worker ended with exit status 2",
			"before it got to parallel.Main; is that the first line of main, and of TestMain?", `usage: program -name N`,
		}},
		{mode: "registers late", want: []string{"main.square is not registered in the worker; give it to parallel.Main or parallel.Register before main does anything else"}, peak: 3, no: "results: [0"},
		{mode: "deleted", want: []string{allResults}, peak: 3},
		{mode: "replaced", want: []string{allResults}, peak: 3, no: "another program"},
		{mode: "stuck", want: []string{"it did not get to parallel.Main within 20s; is that the first line of main, and of TestMain?"}, peak: 3, no: "results: [0"},
	} {
		t.Run(c.mode, func(t *testing.T) {
			if c.mode == "stuck" && os.Getenv("PARALLEL_CHAOS") == "" {
				t.Skip("it takes 80 s; set PARALLEL_CHAOS")
			}
			t.Parallel()
			path := filepath.Join(t.TempDir(), "program")
			b, err := os.ReadFile(program(t, "program"))
			require.NoError(t, err)
			writeProgram(t, path, b)
			w, s := launchArgs(t, path, c.args, "PROGRAM_MODE="+c.mode)
			out := strings.ReplaceAll(w.finish(t, s), "early: <nil>\n", "early: <nil> ")
			for _, want := range c.want {
				assert.Contains(t, out, want)
			}
			if c.no != "" {
				assert.NotContains(t, out, c.no)
			}
			assert.LessOrEqual(t, w.peak.Load(), c.peak, "processes at once")
			eventually(t, "all its processes have ended", func() bool { return len(w.all()) == 0 })
		})
	}
}

// writeProgram writes an executable. No process may be forked meanwhile: it would keep the file open, and it could not be run.
func writeProgram(t *testing.T, path string, b []byte) {
	syscall.ForkLock.Lock()
	defer syscall.ForkLock.Unlock()
	require.NoError(t, os.WriteFile(path, b, 0o700))
}

func launchArgs(t *testing.T, path string, args []string, env ...string) (*watched, *bufio.Scanner) {
	if len(args) == 0 {
		return launch(t, path, env...)
	}
	script := path + ".sh"
	writeProgram(t, script, []byte("#!/bin/sh\nexec '"+path+"' '"+strings.Join(args, "' '")+"'\n"))
	return launch(t, script, env...)
}

// TestWorkersEndWithTheProgram, whatever ends it and whatever they do, and so do the programs that they have started.
func TestWorkersEndWithTheProgram(t *testing.T) {
	for _, how := range []string{"wait", "stopped", "loop", "polite"} {
		for _, sig := range []syscall.Signal{syscall.SIGKILL, syscall.SIGTERM, syscall.SIGINT, syscall.SIGQUIT} {
			t.Run(how+"/"+sig.String(), func(t *testing.T) {
				t.Parallel()
				w, s := launch(t, program(t, "program"), "PROGRAM_MODE=dwell", "PROGRAM_HOW="+how)
				pids := dwellers(t, s)
				if sig == syscall.SIGINT { // as Ctrl-C does: to the whole group
					require.NoError(t, syscall.Kill(-w.Process.Pid, sig))
				} else {
					require.NoError(t, syscall.Kill(w.Process.Pid, sig))
				}
				go func() { _, _ = io.Copy(io.Discard, w.output) }() // what it says at SIGQUIT
				_ = w.Wait()
				for _, pid := range pids {
					eventually(t, fmt.Sprintf("process %d has ended", pid), func() bool { return gone(pid) })
				}
				eventually(t, "all its processes have ended", func() bool { return len(w.all()) == 0 })
			})
		}
	}
}

// dwellers reads the numbers of two workers, and of the programs that they have started.
func dwellers(t *testing.T, s *bufio.Scanner) (pids []int) {
	t.Helper()
	for len(pids) < 4 && s.Scan() {
		if kind, pid, ok := strings.Cut(s.Text(), " "); ok && (kind == "worker" || kind == "sleeper") {
			n, err := strconv.Atoi(pid)
			require.NoError(t, err)
			pids = append(pids, n)
		}
	}
	require.Len(t, pids, 4)
	return pids
}

// TestInterruptIsTheProgramsToAnswer: a Ctrl-C reaches the program alone, which ends its run in its own way.
func TestInterruptIsTheProgramsToAnswer(t *testing.T) {
	t.Parallel()
	w, s := launch(t, program(t, "program"), "PROGRAM_MODE=dwell", "PROGRAM_HOW=polite", "PROGRAM_INTERRUPT=1")
	pids := dwellers(t, s)
	require.NoError(t, syscall.Kill(-w.Process.Pid, syscall.SIGINT))
	out := w.finish(t, s)
	assert.Equal(t, 2, strings.Count(out, "polite\n"), "the workers survive it, and their tasks see the context end: %s", out)
	assert.Contains(t, out, "error: parallel: ")
	assert.Contains(t, out, "cancelled: true")
	assert.NotContains(t, out, "its worker ended")
	for _, pid := range pids {
		eventually(t, fmt.Sprintf("process %d has ended", pid), func() bool { return gone(pid) })
	}
}

// TestProgramsHoweverBuilt: with the race detector, with coverage, by go run.
func TestProgramsHoweverBuilt(t *testing.T) {
	t.Run("go build -race", func(t *testing.T) {
		t.Parallel()
		w, s := launch(t, program(t, "program", "-race"), "PROGRAM_MODE=")
		out := w.finish(t, s)
		assert.Contains(t, out, allResults)
		assert.NotContains(t, out, "DATA RACE")
	})
	t.Run("go build -cover", func(t *testing.T) {
		t.Parallel()
		dir := t.TempDir()
		w, s := launch(t, program(t, "program", "-cover"), "PROGRAM_MODE=", "GOCOVERDIR="+dir)
		assert.Contains(t, w.finish(t, s), allResults)
		files, err := os.ReadDir(dir)
		require.NoError(t, err)
		assert.NotEmpty(t, files)
	})
	t.Run("stripped, without a build ID", func(t *testing.T) {
		t.Parallel()
		w, s := launch(t, program(t, "program", "-ldflags=-s -w -buildid="), "PROGRAM_MODE=")
		assert.Contains(t, w.finish(t, s), allResults)
	})
	t.Run("go run", func(t *testing.T) {
		t.Parallel()
		goTool, err := exec.LookPath("go")
		if err != nil {
			t.Skip("the go command is not there:", err)
		}
		cmd := exec.Command(goTool, "run", "./testdata/program")
		cmd.Env = append(os.Environ(), "PROGRAM_MODE=")
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, "%s", out)
		assert.Contains(t, string(out), allResults)
	})
}

// TestFaultsOfCFailOneCall: what C code can do to a worker.
func TestFaultsOfCFailOneCall(t *testing.T) {
	t.Parallel()
	cmd := exec.Command(program(t, "cfaults"), t.TempDir(), "SIGSEGV", "abort", "endless loop", "stack overflow")
	out, err := cmd.Output()
	require.NoError(t, err)
	var reports []struct {
		Fault                string
		Failed, Wrong, Twice []int
		Timeout, Again       bool
		Crash                *parallel.CrashError
		Text                 string
	}
	require.NoError(t, json.Unmarshal(out, &reports))
	require.Len(t, reports, 4)
	for _, r := range reports {
		t.Run(r.Fault, func(t *testing.T) {
			assert.Equal(t, []int{10}, r.Failed)
			assert.Empty(t, r.Wrong)
			assert.Empty(t, r.Twice)
			assert.True(t, r.Again, "new work succeeds")
			if r.Fault == "endless loop" {
				assert.True(t, r.Timeout)
				assert.Contains(t, r.Text, "timed out after 200ms")
				return
			}
			require.NotNil(t, r.Crash)
			assert.True(t, gone(r.Crash.PID))
			word := map[string]string{"SIGSEGV": "SIGSEGV", "abort": "SIGABRT", "stack overflow": "SIGSEGV"}[r.Fault]
			assert.True(t, r.Crash.ExitCode == 2 && r.Crash.Signal == "" || r.Crash.ExitCode == -1 && r.Crash.Signal != "", "%+v", r.Crash)
			assert.Contains(t, r.Crash.Trace, word)
			assert.Contains(t, r.Crash.Trace, "signal arrived during cgo execution")
			assert.Contains(t, r.Text, word, "the text says why")
		})
	}
}
