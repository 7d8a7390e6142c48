package parallel_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"math"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	. "github.com/gojoblib/parallel"
	"github.com/gojoblib/parallel/internal/testkit"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// errand is a call that means the same in every process.
type errand struct {
	N     int
	What  string // it comes to, in the first Fails attempts
	Fails int
	Large int // so many numbers come along
	Data  []float64
	notes map[string][]int
}

type outcome struct {
	N     int
	Text  string
	Empty []int
	When  time.Time
	Any   any
	Back  []float64
	notes map[string][]int
}

func run(ctx context.Context, e errand) (outcome, error) {
	info, _ := TaskFrom(ctx)
	if info.Attempt <= e.Fails {
		switch e.What {
		case "error":
			return outcome{}, fmt.Errorf("errand %d: %w", e.N, errBoom)
		case "panic":
			panic(e.N)
		case "exit":
			runtime.Goexit()
		}
	}
	o := outcome{N: e.N, Text: fmt.Sprint(info.Name, info.Index, info.Seed), When: time.Unix(int64(e.N), 5).UTC(), Any: math.Copysign(0, -1), Back: e.Data, notes: e.notes}
	if e.N%2 == 0 {
		o.Empty, o.Any = []int{}, e.N
	}
	return o, nil
}

func drawErrands(rt *rapid.T) []errand {
	es := make([]errand, rapid.IntRange(0, 300).Draw(rt, "errands"))
	trouble := rapid.SampledFrom([]int{0, 3, 20}).Draw(rt, "trouble")
	large := rapid.SampledFrom([]int{0, 0, 50}).Draw(rt, "large")
	for i := range es {
		es[i] = errand{N: i, What: rapid.SampledFrom([]string{"error", "panic", "exit"}).Draw(rt, "what")}
		if trouble > 0 && i%trouble == 0 {
			es[i].Fails = rapid.IntRange(0, 3).Draw(rt, "fails")
		}
		if large > 0 && i%large == 0 {
			es[i].Data = slices.Repeat([]float64{float64(i), math.Inf(1)}, rapid.SampledFrom([]int{1, 2047, 2048, 100_000}).Draw(rt, "numbers"))
		}
		if i%3 == 0 {
			es[i].notes = map[string][]int{"": nil, "x": {i}}
		}
	}
	return es
}

// alike says in what two errors of runs differ.
func alike(t require.TestingT, want, got error) {
	if want == nil {
		require.NoError(t, got)
		return
	}
	require.EqualError(t, got, want.Error())
	ws, gs := Failures(want), Failures(got)
	require.Len(t, gs, len(ws))
	for i, w := range ws {
		require.IsType(t, w.Err, gs[i].Err)
		require.Equal(t, errors.Is(w.Err, errBoom), errors.Is(gs[i].Err, errBoom))
		require.Equal(t, errors.Is(w.Err, ErrGoexit), errors.Is(gs[i].Err, ErrGoexit))
		if p, ok := w.Err.(*PanicError); ok {
			require.Equal(t, p.Value, gs[i].Err.(*PanicError).Value)
		}
	}
}

func TestProcessesGiveTheAnswersOfThreads(t *testing.T) {
	testkit.Clean(t)
	t.Cleanup(CloseIdleWorkers)
	rapid.Check(t, func(rt *rapid.T) {
		es := drawErrands(rt)
		opts := []Option{KeepGoing(), Seed(rapid.Uint64().Draw(rt, "seed"))}
		if n := rapid.IntRange(0, 3).Draw(rt, "retries"); n > 0 {
			opts = append(opts, Retry(n))
		}
		if n := rapid.IntRange(0, 40).Draw(rt, "batch"); n > 0 {
			opts = append(opts, BatchSize(n))
		}
		if rapid.IntRange(0, 3).Draw(rt, "timeout") == 0 {
			opts = append(opts, Timeout(time.Hour))
		}
		with := func(h Hint) []Option { return append(slices.Clone(opts), Prefer(h)) }
		n := rapid.IntRange(1, 4).Draw(rt, "n")

		want, wantErr := Map(t.Context(), es, run, append(with(Threads), NJobs(n))...)
		got, err := Map(t.Context(), es, run, append(with(Processes), NJobs(n))...)
		require.Equal(rt, want, got)
		alike(rt, wantErr, err)

		tasks := Each(run, es)
		for i := range tasks {
			switch i % 5 {
			case 1:
				tasks[i] = tasks[i].Named(fmt.Sprint("errand ", i))
			case 2:
				tasks[i] = Delayed(cube, i)
			}
		}
		all, wantErr := Parallel(n, with(Threads)...)(tasks...)
		any, err := Parallel(n, with(Processes)...)(tasks...)
		require.Equal(rt, all, any)
		alike(rt, wantErr, err)
	})
}

func TestStreamsOfProcessesGiveTheAnswersOfThreads(t *testing.T) {
	testkit.Clean(t)
	t.Cleanup(CloseIdleWorkers)
	rapid.Check(t, func(rt *rapid.T) {
		es := drawErrands(rt)
		n := rapid.IntRange(1, 4).Draw(rt, "n")
		most := rapid.IntRange(0, len(es)).Draw(rt, "most")
		collect := func(h Hint) (got []outcome, failed []string) {
			for o, err := range Imap(t.Context(), slices.Values(es), run, NJobs(n), Prefer(h)) {
				if len(got) >= most {
					break
				}
				text := ""
				if err != nil {
					text = err.Error()
				}
				got, failed = append(got, o), append(failed, text)
			}
			return got, failed
		}
		want, wantFailed := collect(Threads)
		got, failed := collect(Processes)
		require.Equal(rt, want, got)
		require.Equal(rt, wantFailed, failed)
	})
}

func TestStarmapCrosses(t *testing.T) {
	testkit.Clean(t)
	t.Cleanup(CloseIdleWorkers)
	got, err := Starmap(t.Context(), Zip([]int{1, 2, 3}, []string{"a", "b", "c"}), repeated, NJobs(2), Prefer(Processes))
	require.NoError(t, err)
	require.Equal(t, []string{"a", "bb", "ccc"}, got)
}

func repeated(_ context.Context, n int, s string) (string, error) { return strings.Repeat(s, n), nil }

// where tells the process and, from a run inside of it, the processes of that one's calls.
func where(ctx context.Context, depth int) ([]int, error) {
	if depth == 0 {
		return []int{os.Getpid()}, nil
	}
	inner, err := Map(ctx, []int{depth - 1, depth - 1}, where, NJobs(2), Prefer(Processes))
	return append([]int{os.Getpid()}, slices.Concat(inner...)...), err
}

func TestRunsInsideOfAWorkerStayThere(t *testing.T) {
	testkit.Clean(t)
	t.Cleanup(CloseIdleWorkers)
	got, err := Map(t.Context(), []int{2, 2, 2}, where, NJobs(2), Prefer(Processes))
	require.NoError(t, err)
	for _, pids := range got {
		require.Len(t, pids, 7)
		require.NotContains(t, pids, os.Getpid())
		require.Len(t, slices.Compact(pids), 1)
	}
}

func TestLeavingAStreamOfProcessesEndsIt(t *testing.T) {
	testkit.Clean(t)
	t.Cleanup(CloseIdleWorkers)
	var in iter.Seq[int] = func(yield func(int) bool) {
		for i := 0; yield(i); i++ {
		}
	}
	n := 0
	for v, err := range Imap(t.Context(), in, cube, NJobs(2), Prefer(Processes)) {
		require.NoError(t, err)
		require.Equal(t, n*n*n, v)
		if n++; n == 1000 {
			break
		}
	}
}

func TestACapsuleIsReplayed(t *testing.T) {
	testkit.Clean(t)
	t.Cleanup(CloseIdleWorkers)
	for _, hint := range []Hint{Threads, Processes} {
		dir := t.TempDir()
		es := []errand{{N: 0}, {N: 1, What: "error", Fails: 9, notes: map[string][]int{"k": {7}}}, {N: 2}}
		_, err := Map(t.Context(), es, run, KeepGoing(), Retry(2), Prefer(hint), Capsules(dir))
		require.Len(t, Failures(err), 1)
		path := Failures(err)[0].Capsule
		require.FileExists(t, path)
		require.ErrorContains(t, err, path)

		again := exec.Command(os.Args[0])
		again.Env = append(os.Environ(), "PARALLEL_REPLAY="+path)
		out, err := again.CombinedOutput()
		require.Equal(t, 1, again.ProcessState.ExitCode(), "%s", out)
		require.Error(t, err)
		require.Contains(t, string(out), "replaying task 1 (github.com/gojoblib/parallel_test.run), attempt 3")
		require.Contains(t, string(out), "errand 1: boom")

		b, err := os.ReadFile(path)
		require.NoError(t, err)
		for _, damage := range []string{"", "no capsule", string(b[:len(b)/2]), string(b) + "x"} {
			require.NoError(t, os.WriteFile(path, []byte(damage), 0o600))
			again := exec.Command(os.Args[0])
			again.Env = append(os.Environ(), "PARALLEL_REPLAY="+path)
			out, err := again.CombinedOutput()
			require.Error(t, err)
			require.Contains(t, string(out), path)
		}
	}
}

func TestCapsulesNeedFunctionsWithNames(t *testing.T) {
	testkit.Clean(t)
	ran := false
	_, err := Parallel(2, Capsules(t.TempDir()))(Delayed(func() { ran = true }), Delayed(cube, 1))
	require.ErrorContains(t, err, "is a closure")
	assert.False(t, ran)
	_, err = Parallel(2, Capsules(""))(Delayed(cube, 1))
	require.ErrorContains(t, err, "the directory has no name")
	file := t.TempDir() + "/file"
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	_, err = Parallel(1, Capsules(file), KeepGoing())(Delayed(run, errand{What: "error", Fails: 1}))
	require.ErrorIs(t, err, errBoom)
	require.ErrorContains(t, err, "writing the capsule of task 0")
}
