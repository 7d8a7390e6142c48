//go:build linux

package processes_test

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/gojoblib/parallel"
	"github.com/gojoblib/parallel/backend/processes"
	"github.com/gojoblib/parallel/internal/testkit"
)

func init() {
	registered = append(registered, carry, carryNumber, mirror, errStruck)
}

var errStruck = errors.New("struck")

// stage is where a fault befalls a call.
type stage string

const (
	encodeArgument stage = "encode argument" // here
	decodeArgument stage = "decode argument" // in the worker
	running        stage = "run"             // in the worker
	encodeResult   stage = "encode result"   // in the worker
	decodeResult   stage = "decode result"   // here
)

// blow is a fault that is waiting for its stage.
type blow struct {
	Fault string
	Stage stage
	Once  string // a file: whoever creates it is the one that is struck; empty: always
}

// at strikes when the stage is reached. Only the fault "error" returns something, and those that do no harm.
func (b blow) at(s stage) error {
	if b.Fault == "" || b.Stage != s {
		return nil
	}
	if b.Once != "" {
		f, err := os.OpenFile(b.Once, os.O_CREATE|os.O_EXCL, 0o600)
		if err != nil {
			return nil //nolint:nilerr // it was there: the deed is done once
		}
		f.Close()
	}
	if s != encodeArgument && s != decodeResult {
		fmt.Fprintf(os.Stderr, "struck by %s\n", b.Fault)
	}
	return blows[b.Fault]()
}

var (
	sink    []any
	nothing *blow
)

// blows are what can befall a call.
var blows = map[string]func() error{
	"error":  func() error { return fmt.Errorf("a blow: %w", errStruck) },
	"panic":  func() error { panic("a blow") },
	"Goexit": func() error { runtime.Goexit(); return nil },
	"nil pointer": func() error {
		return errors.New(nothing.Fault)
	},
	"exit 0":  func() error { os.Exit(0); return nil },
	"exit 42": func() error { os.Exit(42); return nil },
	"SIGKILL": func() error { return raise(syscall.SIGKILL) },
	"SIGTERM": func() error { return raise(syscall.SIGTERM) },
	"bad pointer": func() error {
		page, err := syscall.Mmap(-1, 0, os.Getpagesize(), syscall.PROT_NONE, syscall.MAP_PRIVATE|syscall.MAP_ANON)
		if err != nil {
			return err
		}
		return fmt.Errorf("read %d", page[0])
	},
	"concurrent map writes": func() error {
		runtime.GOMAXPROCS(4)
		m := map[int]int{}
		for range 4 {
			go func() {
				for i := 0; ; i++ {
					m[i%8] = i
				}
			}()
		}
		select {}
	},
	"stack overflow": func() error {
		debug.SetMaxStack(1 << 20)
		return fmt.Errorf("%d", deeper(0))
	},
	"out of memory": func() error {
		for {
			b := make([]byte, 4<<20)
			for i := 0; i < len(b); i += 1024 {
				b[i] = 1
			}
			sink = append(sink, b)
		}
	},
	"out of memory at once": func() error {
		sink = append(sink, make([]byte, 16<<30))
		return nil
	},
	"endless loop": func() error {
		for i := 0; ; i++ {
		}
	},
	"prints": func() error {
		printsAll()
		return nil
	},
	"prints and exits": func() error {
		printsAll()
		os.Exit(7)
		return nil
	},
	"all threads locked": func() error {
		for range 50 {
			go func() {
				runtime.LockOSThread()
				var fds [2]int
				_ = syscall.Pipe(fds[:])
				_, _ = syscall.Read(fds[0], make([]byte, 1))
			}()
		}
		select {}
	},
}

func raise(sig syscall.Signal) error {
	_ = syscall.Kill(os.Getpid(), sig)
	select {}
}

func deeper(n int) int {
	var room [128]byte
	room[n%len(room)] = 1
	if n < 0 {
		return n
	}
	return deeper(n+1) + int(room[(n+1)%len(room)])
}

const printed = 4000 // lines

func printsAll() {
	line := strings.Repeat("x", 99) + "\n"
	for range printed {
		os.Stdout.WriteString(line)
		os.Stderr.WriteString(line)
	}
	fmt.Fprintln(os.Stderr, "the last words")
}

// cargo is an argument that marshals itself.
type cargo struct {
	Index int
	Log   string // where the execution is noted
	Blow  blow
}

type cargoJSON cargo

func (c *cargo) MarshalBinary() ([]byte, error) {
	if err := c.Blow.at(encodeArgument); err != nil {
		return nil, err
	}
	return json.Marshal((*cargoJSON)(c))
}

func (c *cargo) UnmarshalBinary(b []byte) error {
	if err := json.Unmarshal(b, (*cargoJSON)(c)); err != nil {
		return err
	}
	return c.Blow.at(decodeArgument)
}

// parcel is a result that does.
type parcel struct {
	Index, PID int
	Blow       blow
}

type parcelJSON parcel

func (p *parcel) MarshalBinary() ([]byte, error) {
	if err := p.Blow.at(encodeResult); err != nil {
		return nil, err
	}
	return json.Marshal((*parcelJSON)(p))
}

func (p *parcel) UnmarshalBinary(b []byte) error {
	if err := json.Unmarshal(b, (*parcelJSON)(p)); err != nil {
		return err
	}
	return p.Blow.at(decodeResult)
}

// carry is the call that faults befall.
func carry(c cargo) (parcel, error) {
	note(c.Log, c.Index)
	if err := c.Blow.at(running); err != nil {
		return parcel{}, err
	}
	return parcel{c.Index, os.Getpid(), c.Blow}, nil
}

// carryNumber is carry on the lane of plain numbers: what it is to do stands in a file.
func carryNumber(_ context.Context, i int) (int, error) {
	note(os.Getenv("FAULTS_TEST_LOG"), i)
	at, fault, _ := strings.Cut(os.Getenv("FAULTS_TEST_BLOW"), ":")
	if strconv.Itoa(i) == at {
		if err := (blow{Fault: fault, Stage: running}).at(running); err != nil {
			return 0, err
		}
	}
	return i*i + 1, nil
}

// mirror returns what it gets, a little changed.
func mirror(b []byte) []byte {
	b[0]++
	return b
}

// note appends to a file that call i was started in this process.
func note(file string, i int) {
	if file == "" {
		return
	}
	f, err := os.OpenFile(file, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		panic(err)
	}
	defer f.Close()
	b := binary.LittleEndian.AppendUint32(nil, uint32(i))
	if _, err := f.Write(binary.LittleEndian.AppendUint32(b, uint32(os.Getpid()))); err != nil {
		panic(err)
	}
}

// executions reads what note has written: how often each call was started, and in which processes.
func executions(t testing.TB, file string) (times map[int]int, pids map[int]int) {
	b, err := os.ReadFile(file)
	if !os.IsNotExist(err) {
		require.NoError(t, err)
	}
	require.Zero(t, len(b)%8)
	times, pids = map[int]int{}, map[int]int{}
	for ; len(b) > 0; b = b[8:] {
		times[int(binary.LittleEndian.Uint32(b))]++
		pids[int(binary.LittleEndian.Uint32(b[4:]))]++
	}
	return times, pids
}

// children returns the processes that this one has started and not waited for.
func children() (pids []int) {
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, stat := range stats {
		b, err := os.ReadFile(stat)
		if err != nil {
			continue
		}
		_, rest, ok := strings.Cut(string(b), ") ")
		if f := strings.Fields(rest); ok && len(f) > 1 && f[1] == strconv.Itoa(os.Getpid()) {
			pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(stat)))
			pids = append(pids, pid)
		}
	}
	return pids
}

// gone reports whether a process has ended, if perhaps nobody has taken note.
func gone(pid int) bool {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return true
	}
	_, rest, _ := strings.Cut(string(b), ") ")
	return strings.HasPrefix(rest, "Z") || strings.HasPrefix(rest, "X")
}

// eventually waits for what must come; the limit is for what hangs.
func eventually(t testing.TB, what string, cond func() bool) bool {
	t.Helper()
	for limit := time.Now().Add(20 * time.Second); !cond(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(limit) {
			t.Errorf("it never came true: %s", what)
			return false
		}
	}
	return true
}

func sharedFiles() (names []string) {
	entries, _ := os.ReadDir("/dev/shm")
	for _, e := range entries {
		if strings.Contains(e.Name(), "parallel") || strings.Contains(e.Name(), "board") {
			names = append(names, e.Name())
		}
	}
	return names
}

// tidy checks, when the test ends, that the workers and all that they need go with CloseIdleWorkers: processes, descriptors, goroutines, files.
// What workers print goes to a file, which it returns.
func tidy(t *testing.T) (output string) {
	t.Helper()
	dir := t.TempDir()
	testkit.Clean(t)
	tmp := filepath.Join(dir, "tmp")
	require.NoError(t, os.Mkdir(tmp, 0o700))
	t.Setenv("TMPDIR", tmp)
	if strings.Contains(t.Name(), "concurrent_map_writes") {
		// The race detector sees it, too, and its report on stderr would cut the runtime's line in two.
		t.Setenv("GORACE", os.Getenv("GORACE")+" log_path="+filepath.Join(dir, "race"))
	}
	shared := sharedFiles()
	output = filepath.Join(dir, "output")
	f, err := os.OpenFile(output, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	require.NoError(t, err)
	stdout, stderr := os.Stdout, os.Stderr
	os.Stdout, os.Stderr = f, f
	t.Cleanup(func() {
		parallel.CloseIdleWorkers()
		os.Stdout, os.Stderr = stdout, stderr
		f.Close()
		for _, pid := range children() {
			cmd, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
			stat, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
			t.Errorf("a child process is left: %d, %q, %q", pid, cmd, stat)
		}
		left, _ := os.ReadDir(tmp)
		assert.Empty(t, left, "files in TMPDIR")
		assert.Equal(t, shared, sharedFiles(), "files in /dev/shm")
		if t.Failed() {
			if b, _ := os.ReadFile(output); len(b) > 0 {
				t.Logf("the workers have printed: … %s", b[max(0, len(b)-2000):])
			}
		}
	})
	return output
}

// crashed returns err as a CrashError of a worker process that is gone.
func crashed(t *testing.T, err error) *parallel.CrashError {
	t.Helper()
	c, ok := errors.AsType[*parallel.CrashError](err)
	require.True(t, ok, "%T: %v", err, err)
	assert.Positive(t, c.PID)
	assert.True(t, gone(c.PID), "process %d", c.PID)
	assert.Contains(t, err.Error(), "it may have run in part")
	return c
}

func exited(code int, err error) func(*testing.T, error) {
	return func(t *testing.T, got error) {
		c := crashed(t, got)
		assert.Equal(t, code, c.ExitCode)
		assert.Empty(t, c.Signal)
		assert.Equal(t, fmt.Sprintf("exit status %d", code), c.Reason)
		assert.Equal(t, err, c.Err)
	}
}

func signaled(name string) func(*testing.T, error) {
	return func(t *testing.T, got error) {
		c := crashed(t, got)
		assert.Equal(t, -1, c.ExitCode)
		assert.Equal(t, name, c.Signal, "as the doc of CrashError.Signal says")
		assert.Equal(t, "signal: "+name, c.Reason)
		assert.Equal(t, name == "killed", strings.Contains(got.Error(), "often out of memory"), got)
	}
}

// fatal is what the Go runtime ends a process with.
func fatal(words ...string) func(*testing.T, error) {
	return func(t *testing.T, got error) {
		c := crashed(t, got)
		assert.Equal(t, 2, c.ExitCode)
		assert.Empty(t, c.Signal)
		assert.True(t, strings.HasPrefix(c.Reason, "exit status 2"), c.Reason)
		assert.NoError(t, c.Err)
		assert.Contains(t, got.Error(), words[0], "the text says why")
		for _, w := range append(words, "goroutine ", "faults_test.go:") {
			assert.True(t, strings.Contains(c.Trace, w), "Trace has no %q: %.200q…", w, c.Trace)
		}
		assert.False(t, strings.Contains(c.Stderr, "\ngoroutine "), "the runtime's report stands in Trace alone")
		assert.False(t, strings.Contains(got.Error(), "[running]"), "a stack in an error's text")
		assert.True(t, strings.Contains(fmt.Sprintf("%+v", got), words[0]), "%%+v prints the trace")
	}
}

func outOfMemory(t *testing.T, got error) {
	crashed(t, got)
	assert.ErrorIs(t, got, parallel.ErrMemory)
	assert.Contains(t, strings.ToLower(got.Error()), "memory")
}

func timedOut(t *testing.T, got error) {
	assert.ErrorIs(t, got, parallel.ErrTimeout)
	assert.ErrorIs(t, got, context.DeadlineExceeded)
	assert.Contains(t, got.Error(), "timed out after")
}

const oneTimeout = 150 * time.Millisecond

// faults is what happens, and what it is reported as.
var faults = []struct {
	name    string
	is      func(*testing.T, error) // nil: the call succeeds
	unsaid  bool                    // the call does not get its stderr into the error
	timeout bool
	limit   int64
	here    bool // it may happen to this process, too
}{
	{name: "error", here: true, unsaid: true, is: func(t *testing.T, err error) {
		assert.ErrorIs(t, err, errStruck)
		assert.Contains(t, err.Error(), "a blow: struck")
	}},
	{name: "panic", here: true, unsaid: true, is: func(t *testing.T, err error) {
		assert.Contains(t, err.Error(), "a blow")
		assert.Contains(t, err.Error(), "panic")
	}},
	{name: "nil pointer", here: true, unsaid: true, is: func(t *testing.T, err error) {
		assert.Contains(t, err.Error(), "nil pointer dereference")
		assert.Contains(t, err.Error(), "panic")
	}},
	{name: "Goexit", here: true, unsaid: true, is: func(t *testing.T, err error) { assert.ErrorIs(t, err, parallel.ErrGoexit) }},
	{name: "exit 0", is: exited(0, nil)},
	{name: "exit 42", is: exited(42, nil)},
	{name: "SIGKILL", is: signaled("killed")},
	{name: "SIGTERM", is: signaled("terminated")},
	{name: "bad pointer", is: fatal("unexpected fault address", "SIGSEGV")},
	{name: "concurrent map writes", is: fatal("fatal error: concurrent map writes")},
	{name: "stack overflow", is: fatal("fatal error: stack overflow", "deeper")},
	{name: "out of memory", is: outOfMemory, limit: 256 << 20},
	{name: "out of memory at once", is: outOfMemory, limit: 256 << 20},
	{name: "endless loop", is: timedOut, timeout: true, unsaid: true},
	{name: "all threads locked", is: timedOut, timeout: true, unsaid: true},
	{name: "prints"},
	{name: "prints and exits", is: func(t *testing.T, err error) {
		exited(7, nil)(t, err)
		c := crashed(t, err)
		assert.True(t, strings.HasSuffix(c.Stderr, "xxx\nthe last words\n"), "%.50q…", c.Stderr)
		assert.Less(t, len(c.Stderr), printed*100, "a tail")
	}},
}

// TestFaultsOfAWorkerFailOneCall goes through every fault at every stage of a call, on its own among calls that succeed.
func TestFaultsOfAWorkerFailOneCall(t *testing.T) {
	const n, bad = 21, 10
	for _, fault := range faults {
		for _, at := range []stage{encodeArgument, decodeArgument, running, encodeResult, decodeResult} {
			inWorker := at != encodeArgument && at != decodeResult
			if !inWorker && !fault.here {
				continue // what would end this process can befall any program
			}
			t.Run(fault.name+"/"+string(at), func(t *testing.T) {
				output := tidy(t)
				b := processes.New(processes.Options{MemoryLimit: fault.limit})
				dir := t.TempDir()
				run := func(name, once string, opts ...parallel.Option) ([]any, error, map[int]int) { //nolint:staticcheck // the counts are looked at whatever the error

					log := filepath.Join(dir, name)
					cs := make([]cargo, n)
					for i := range cs {
						cs[i] = cargo{Index: i, Log: log}
					}
					cs[bad].Blow = blow{fault.name, at, once}
					if fault.timeout {
						opts = append(opts, parallel.Timeout(oneTimeout))
					}
					got, err := parallel.Parallel(2, append(opts, parallel.Backend(b))...)(parallel.Each(carry, cs)...)
					require.Len(t, got, n)
					times, _ := executions(t, log)
					return got, err, times
				}
				right := func(got []any, i int) {
					p, ok := got[i].(parcel)
					assert.True(t, ok && p.Index == i && p.PID != os.Getpid(), "result %d is %v", i, got[i])
				}
				started := 1 // so often the bad call was
				if at == encodeArgument || at == decodeArgument {
					started = 0
				}
				judge := func(err error, attempts int) {
					t.Helper()
					failures := parallel.Failures(err)
					require.Len(t, failures, 1, "%v", err)
					f := failures[0]
					assert.Equal(t, bad, f.Index)
					assert.Contains(t, f.Name, "processes_test.carry")
					assert.NotEmpty(t, f.Args)
					assert.Equal(t, attempts, f.Attempts)
					fault.is(t, f.Err)
					if c, ok := f.Err.(*parallel.CrashError); ok && !fault.unsaid && fault.name != "prints and exits" {
						assert.Contains(t, c.Stderr, "struck by "+fault.name)
					}
					if at == running && (fault.name == "panic" || fault.name == "nil pointer") {
						p, ok := f.Err.(*parallel.PanicError)
						require.True(t, ok, "%T", f.Err)
						assert.Contains(t, string(p.Stack), "faults_test.go:")
						if _, ok := p.Value.(runtime.Error); !ok {
							assert.Equal(t, "a blow", p.Value)
						}
					}
					switch at {
					case encodeArgument, decodeArgument:
						if fault.here {
							assert.Contains(t, f.Err.Error(), "argument 0", "what could not be sent")
						}
					case encodeResult, decodeResult:
						if fault.here {
							assert.Contains(t, f.Err.Error(), "its result")
						}
					}
				}

				attempts := 1
				if fault.here && (at == encodeArgument || at == decodeArgument) {
					attempts = 0 // it was not started
				}
				got, err, times := run("keep going", "", parallel.KeepGoing())
				for i := range got {
					if i == bad && fault.is != nil {
						assert.Nil(t, got[i])
						assert.Equal(t, started, times[i], "started so often")
						continue
					}
					right(got, i)
					assert.Equal(t, 1, times[i], "call %d was started so often", i)
				}
				if fault.is == nil {
					require.NoError(t, err)
				} else {
					judge(err, attempts)
					assert.NotErrorIs(t, err, parallel.ErrNotRun)
				}

				got, err, times = run("stop", "")
				for i, v := range got {
					assert.LessOrEqual(t, times[i], 1)
					if v != nil {
						right(got, i)
					}
				}
				if fault.is != nil {
					judge(err, attempts)
					assert.Nil(t, got[bad])
				}

				again := fault.is != nil && (!fault.here || at == running) // values that cannot be sent are not tried again
				got, err, times = run("retry", filepath.Join(dir, "once"), parallel.KeepGoing(), parallel.Retry(1))
				if fault.is == nil || again {
					require.NoError(t, err)
				} else {
					judge(err, attempts)
				}
				for i := range got {
					switch {
					case i != bad:
						right(got, i)
						assert.Equal(t, 1, times[i], "call %d was started so often", i)
					case again && at == decodeArgument:
						right(got, i)
						assert.Equal(t, 1, times[i])
					case again:
						right(got, i)
						assert.Equal(t, 2, times[i])
					}
				}

				got, err = parallel.Parallel(2, parallel.Backend(b))(parallel.Each(mirror, [][]byte{{1}, {2}, {3}})...)
				require.NoError(t, err, "new work on the same backend")
				assert.Equal(t, []any{[]byte{2}, []byte{3}, []byte{4}}, got)

				if strings.HasPrefix(fault.name, "prints") {
					parallel.CloseIdleWorkers()
					text, err := os.ReadFile(output)
					require.NoError(t, err)
					runs := 3
					assert.Equal(t, 2*printed*runs, strings.Count(string(text), "x\n"), "every line is there")
				}
			})
		}
	}
}

// TestFaultsInTheMiddleOfABatch: a batch of 50, on both lanes. Exactly the bad call fails, and none runs twice.
func TestFaultsInTheMiddleOfABatch(t *testing.T) {
	const n, bad = 200, 75
	for _, fault := range faults {
		if fault.is == nil || fault.timeout {
			continue
		}
		t.Run(fault.name, func(t *testing.T) {
			for _, lane := range []string{"rows", "column"} {
				t.Run(lane, func(t *testing.T) {
					tidy(t)
					log := filepath.Join(t.TempDir(), "log")
					opts := []parallel.Option{parallel.KeepGoing(), parallel.BatchSize(50)}
					var got []int
					var err error
					if lane == "rows" {
						opts = append(opts, parallel.Backend(processes.New(processes.Options{MemoryLimit: fault.limit})))
						cs := make([]cargo, n)
						for i := range cs {
							cs[i] = cargo{Index: i, Log: log}
						}
						cs[bad].Blow = blow{Fault: fault.name, Stage: running}
						var parcels []parcel
						parcels, err = parallel.Collect[parcel](parallel.Parallel(2, opts...)(parallel.Each(carry, cs)...))
						for i, p := range parcels {
							if p.PID > 0 {
								assert.Equal(t, i, p.Index)
								got = append(got, i*i+1)
							} else {
								got = append(got, 0)
							}
						}
					} else {
						opts = append(opts, parallel.NJobs(2), parallel.Backend(processes.New(processes.Options{
							MemoryLimit: fault.limit,
							Env:         []string{"FAULTS_TEST_LOG=" + log, fmt.Sprintf("FAULTS_TEST_BLOW=%d:%s", bad, fault.name)},
						})))
						got, err = parallel.Map(context.Background(), numbers(n), carryNumber, opts...)
					}
					failures := parallel.Failures(err)
					require.Len(t, failures, 1, "%v", err)
					assert.Equal(t, bad, failures[0].Index)
					fault.is(t, failures[0].Err)
					times, _ := executions(t, log)
					for i, v := range got {
						assert.Equal(t, 1, times[i], "call %d was started so often", i)
						if i == bad {
							assert.Zero(t, v)
						} else {
							assert.Equal(t, i*i+1, v, "result %d", i)
						}
					}
				})
			}
		})
	}
}

func numbers(n int) []int {
	all := make([]int, n)
	for i := range all {
		all[i] = i
	}
	return all
}

// TestLargeValuesCross: 64 MB there and back, among others.
func TestLargeValuesCross(t *testing.T) {
	tidy(t)
	large := make([]byte, 64<<20)
	for i := range large {
		large[i] = byte(i * 7 >> 3)
	}
	sum := crc32.ChecksumIEEE(large)
	in := make([][]byte, 21)
	for i := range in {
		in[i] = []byte{byte(i), 1}
	}
	in[10] = large
	got, err := parallel.Collect[[]byte](parallel.Parallel(2, parallel.Prefer(parallel.Processes), parallel.KeepGoing())(parallel.Each(mirror, in)...))
	require.NoError(t, err)
	assert.Equal(t, sum, crc32.ChecksumIEEE(large), "the argument is the caller's")
	for i, g := range got {
		if i != 10 {
			assert.Equal(t, []byte{byte(i) + 1, 1}, g)
			continue
		}
		require.Len(t, g, len(large))
		g[0]--
		assert.Equal(t, sum, crc32.ChecksumIEEE(g))
	}
	mapped, err := parallel.Map(context.Background(), [][]byte{large[:8<<20], {1}}, func1, parallel.Prefer(parallel.Processes), parallel.NJobs(2))
	require.NoError(t, err)
	assert.True(t, slices.Equal(mapped[0][1:], large[1:8<<20]))
}

func init() { registered = append(registered, func1) }

// func1 is mirror for Map.
func func1(_ context.Context, b []byte) ([]byte, error) { return mirror(b), nil }
