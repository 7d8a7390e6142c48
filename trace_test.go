package parallel_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	. "github.com/gojoblib/parallel"
	"github.com/gojoblib/parallel/internal/testkit"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// traced is an event of a trace, as a viewer reads it.
type traced struct {
	Name, Cat, Ph string
	Pid, Tid      int
	Ts, Dur       float64
	Args          struct {
		Name, Outcome, Task, Error string
		Index, Attempt             int
		Done, Failed, Cut, NotRun  int
	}
}

// documents reads a trace.
func documents(t require.TestingT, data []byte) (docs [][]traced) {
	for d := json.NewDecoder(bytes.NewReader(data)); ; {
		var doc []traced
		err := d.Decode(&doc)
		if errors.Is(err, io.EOF) {
			return docs
		}
		require.NoError(t, err, "%s", data)
		docs = append(docs, doc)
	}
}

// verifyTrace says in what a document cannot be true of one run of tasks, and returns how often each outcome is in it.
func verifyTrace(doc []traced, n int) (map[string]int, error) {
	outcomes := map[string]int{}
	ends := make([]int, n)
	tracks := map[[2]int][]traced{}
	named := map[[2]int]bool{}
	runs := 0
	for _, e := range doc {
		at := [2]int{e.Pid, e.Tid}
		switch e.Ph {
		case "M":
			named[at] = true
			continue
		case "i":
			outcomes["mark "+e.Name]++
			continue
		}
		if e.Ph != "X" || !named[at] || e.Dur < 0 || e.Ts < 0 {
			return nil, fmt.Errorf("an event of kind %q, which is %+v", e.Ph, e)
		}
		if e.Cat == "run" {
			runs++
			continue
		}
		if e.Args.Attempt < 1 || e.Args.Index >= n || (e.Args.Error != "") != (e.Args.Outcome != "finished") {
			return nil, fmt.Errorf("a slice is %+v", e)
		}
		outcomes[e.Args.Outcome]++
		if e.Args.Outcome != "retried" {
			ends[e.Args.Index]++
		}
		tracks[at] = append(tracks[at], e)
	}
	if runs != 1 {
		return nil, fmt.Errorf("%d runs", runs)
	}
	for i, n := range ends {
		if n > 1 {
			return nil, fmt.Errorf("task %d ended %d times", i, n)
		}
	}
	for at, slots := range tracks {
		slices.SortFunc(slots, func(a, b traced) int { return int(a.Ts*1000) - int(b.Ts*1000) })
		end := 0.
		for _, e := range slots {
			if e.Ts < end-.0015 {
				return nil, fmt.Errorf("on track %v %+v begins before %v", at, e, end)
			}
			end = e.Ts + e.Dur
		}
	}
	return outcomes, nil
}

func TestTraceHoldsEveryAttempt(t *testing.T) {
	testkit.Clean(t)
	t.Cleanup(CloseIdleWorkers)
	es := make([]errand, 90)
	for i := range es {
		es[i] = errand{N: i, What: []string{"error", "panic", "exit"}[i%3], Fails: max(0, i%10-7)}
	}
	for name, place := range places {
		for _, c := range []struct {
			name string
			run  func(...Option) error
			want map[string]int
		}{
			{"kept going", func(opts ...Option) error {
				_, err := Map(context.Background(), es, run, append(opts, NJobs(3), KeepGoing(), Retry(1))...)
				return err
			}, map[string]int{"finished": 81, "failed": 9, "retried": 18, "mark retried": 18}},
			{"streamed", func(opts ...Option) error {
				for _, err := range Stream(3, append(opts, Unordered())...)(seq(Each(run, es))) {
					if _, ok := err.(*TaskError); err != nil && !ok {
						return err
					}
				}
				return nil
			}, map[string]int{"finished": 72, "failed": 18}},
			{"stopped", func(opts ...Option) error {
				_, err := Parallel(3, opts...)(Each(run, es)...)
				return err
			}, nil},
			{"left", func(opts ...Option) error {
				for range Imap(context.Background(), seq(es), run, append(opts, NJobs(2))...) {
					break
				}
				return errBoom
			}, nil},
			{"empty", func(opts ...Option) error {
				_, err := Map(context.Background(), nil, run, opts...)
				return err
			}, map[string]int{}},
			{"refused", func(opts ...Option) error {
				_, err := Parallel(0, opts...)(Each(run, es)...)
				return err
			}, map[string]int{}},
			{"misused", func(opts ...Option) error {
				_, err := Parallel(2, opts...)(Delayed(run), Delayed(run, es[0]))
				return err
			}, map[string]int{"mark failed": 1}},
		} {
			t.Run(name+"/"+c.name, func(t *testing.T) {
				var b bytes.Buffer
				err := c.run(Trace(&b), place())
				docs := documents(t, b.Bytes())
				require.Len(t, docs, 1)
				got, fault := verifyTrace(docs[0], len(es))
				require.NoError(t, fault)
				if c.want != nil {
					assert.Equal(t, c.want, got)
				} else {
					require.Error(t, err)
				}
			})
		}
	}
}

// slowest waits as long as it is told, and starts a run of its own.
func slowest(ctx context.Context, d time.Duration) (int, error) {
	time.Sleep(d)
	got, err := Map(ctx, ints(3), cube, NJobs(1))
	return len(got), err
}

func TestRunsShareATrace(t *testing.T) {
	testkit.Clean(t)
	pids := func(doc []traced) []int {
		found := map[int]bool{}
		for _, e := range doc {
			found[e.Pid] = true
		}
		return slices.Collect(maps.Keys(found))
	}
	// Nested runs end before the outer one: one document, anywhere.
	var b bytes.Buffer
	ctx := With(context.Background(), Trace(&b))
	_, err := Map(ctx, []time.Duration{1, 2, 3, 4}, slowest, NJobs(2))
	require.NoError(t, err)
	docs := documents(t, b.Bytes())
	require.Len(t, docs, 1)
	assert.Len(t, pids(docs[0]), 5)
	// A later one has a document of its own where there is no way back.
	_, err = Map(ctx, ints(2), cube)
	require.NoError(t, err)
	docs = documents(t, b.Bytes())
	require.Len(t, docs, 2)
	assert.Len(t, pids(docs[1]), 1)

	// In a file it goes on where the last one has ended, also where the file is opened for appending.
	for _, flags := range []int{os.O_CREATE | os.O_RDWR, os.O_CREATE | os.O_WRONLY | os.O_APPEND} {
		name := filepath.Join(t.TempDir(), "trace.json")
		f, err := os.OpenFile(name, flags, 0o666)
		require.NoError(t, err)
		defer f.Close()
		once := Trace(f)
		for n := range 4 {
			trace := once
			if n > 1 {
				trace = Trace(f) // another, of the same file
			}
			_, err := Parallel(2, trace)(Each(cubeOf, ints(10))...)
			require.NoError(t, err)
			data, err := os.ReadFile(name)
			require.NoError(t, err)
			require.True(t, json.Valid(data), "%s", data)
			docs := documents(t, data)
			require.Len(t, docs, 1)
			assert.Len(t, pids(docs[0]), n+1)
		}
		_, err = f.WriteString("somebody else's\n")
		require.NoError(t, err)
		_, err = Parallel(2, once)(Each(cubeOf, ints(10))...)
		require.NoError(t, err)
		data, err := os.ReadFile(name)
		require.NoError(t, err)
		assert.Contains(t, string(data), "\n]\nsomebody else's\n[\n")
	}
}

// full is a writer with little room.
type full struct{ room int }

var errFull = errors.New("no space left on device")

func (f *full) Write(b []byte) (int, error) {
	if f.room -= len(b); f.room < 0 {
		return 0, errFull
	}
	return len(b), nil
}

func TestTraceThatCannotBeWrittenIsAFault(t *testing.T) {
	testkit.Clean(t)
	for _, room := range []int{0, 100, 70_000} {
		got, err := Map(context.Background(), ints(3000), cube, Trace(&full{room}), NJobs(2))
		assert.Equal(t, cubes(3000), got)
		require.ErrorIs(t, err, errFull)
		require.EqualError(t, err, "parallel: writing the trace: no space left on device")
		assert.Empty(t, Failures(err))
	}
	_, err := Map(context.Background(), ints(3000), cube, Trace(&full{1 << 20}), NJobs(2))
	require.NoError(t, err)
}

func TestTraceQuotesWhatItMust(t *testing.T) {
	var b bytes.Buffer
	_, err := Parallel(1, Trace(&b), KeepGoing())(
		Delayed(cubeOf, 1).Named("quote \" slash \\ tab \t bell \a bad \xff ü"),
		Delayed(func() error { return errors.New("line\nline\x00") }).Named("fails"),
	)
	require.Error(t, err)
	doc := documents(t, b.Bytes())[0]
	var names, errs []string
	for _, e := range doc {
		if e.Ph == "X" && e.Cat == "task" {
			names, errs = append(names, e.Name), append(errs, e.Args.Error)
		}
	}
	assert.Equal(t, []string{"quote \" slash \\ tab \t bell \a bad \ufffd ü", "fails"}, names)
	assert.Equal(t, []string{"", "line\nline\x00"}, errs)
}
