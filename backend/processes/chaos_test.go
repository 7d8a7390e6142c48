//go:build linux

package processes_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/gojoblib/parallel"
	"github.com/gojoblib/parallel/backend/processes"
)

func init() { registered = append(registered, spin) }

// spinLog is where spin notes what it was called with; it stays open.
var spinLog = sync.OnceValue(func() *os.File {
	f, err := os.OpenFile(os.Getenv("CHAOS_TEST_LOG"), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		panic(err)
	}
	return f
})

// spin works for up to 200 µs.
func spin(_ context.Context, i int) (int, error) {
	pid := os.Getpid()
	if _, err := spinLog().Write([]byte{byte(i), byte(i >> 8), byte(i >> 16), byte(i >> 24), byte(pid), byte(pid >> 8), byte(pid >> 16), byte(pid >> 24)}); err != nil {
		return 0, err
	}
	rng := rand.New(rand.NewPCG(uint64(i), 0))
	for end := time.Now().Add(time.Duration(rng.IntN(200)) * time.Microsecond); time.Now().Before(end); {
	}
	return i*i + 1, nil
}

// hunter kills a worker every 10 ms or so. One that nobody has heard of yet is spared, but for one now and then: that several in a row
// end before they do anything means that they never will, and ends a run.
type hunter struct {
	log    string
	seen   int64 // bytes of the log
	heard  map[int]bool
	killed map[int]bool
	young  bool // the last one had done nothing
	stop   chan struct{}
	done   chan struct{}
}

func hunt(log string) *hunter {
	h := &hunter{log: log, heard: map[int]bool{}, killed: map[int]bool{}, stop: make(chan struct{}), done: make(chan struct{})}
	go func() {
		defer close(h.done)
		for {
			select {
			case <-h.stop:
				return
			case <-time.After(time.Duration(5+rand.IntN(10)) * time.Millisecond):
			}
			h.listen()
			var prey []int
			for _, pid := range children() {
				if !h.killed[pid] && (h.heard[pid] || !h.young && rand.IntN(20) == 0) {
					prey = append(prey, pid)
				}
			}
			if len(prey) == 0 {
				continue
			}
			pid := prey[rand.IntN(len(prey))]
			if syscall.Kill(pid, syscall.SIGKILL) == nil {
				h.killed[pid], h.young = true, !h.heard[pid]
			}
		}
	}()
	return h
}

// listen learns from the log which workers are at work.
func (h *hunter) listen() {
	f, err := os.Open(h.log)
	if err != nil {
		return
	}
	defer f.Close()
	b := make([]byte, 64<<10)
	n, _ := f.ReadAt(b, h.seen)
	for b = b[:n-n%8]; len(b) > 0; b = b[8:] {
		h.seen += 8
		h.heard[int(b[4])|int(b[5])<<8|int(b[6])<<16|int(b[7])<<24] = true
	}
}

func (h *hunter) end() (kills int) {
	close(h.stop)
	<-h.done
	return len(h.killed)
}

// TestNothingIsLostWhileWorkersAreKilled runs for PARALLEL_CHAOS, 2 s by default, in all.
func TestNothingIsLostWhileWorkersAreKilled(t *testing.T) {
	lasts := 2 * time.Second
	if s := os.Getenv("PARALLEL_CHAOS"); s != "" {
		d, err := time.ParseDuration(s)
		require.NoError(t, err, "PARALLEL_CHAOS")
		lasts = d
	}
	lanes := map[string]func(n int, opts ...parallel.Option) ([]int, error){
		"Map": func(n int, opts ...parallel.Option) ([]int, error) {
			return parallel.Map(context.Background(), numbers(n), spin, append(opts, parallel.NJobs(3), parallel.KeepGoing())...)
		},
		"Parallel": func(n int, opts ...parallel.Option) ([]int, error) {
			return parallel.Collect[int](parallel.Parallel(3, append(opts, parallel.KeepGoing())...)(parallel.Each(spin, numbers(n))...))
		},
		"Stream": func(n int, opts ...parallel.Option) (got []int, failed error) {
			var failures []*parallel.TaskError
			for r, err := range parallel.Stream(3, opts...)(slices.Values(parallel.Each(spin, numbers(n)))) {
				if r.Index != len(got) {
					return got, fmt.Errorf("item %d came as number %d: %w", r.Index, len(got), err)
				}
				if err != nil {
					failures = append(failures, parallel.Failures(err)...)
				}
				v, _ := r.Value.(int)
				got = append(got, v)
			}
			if failures != nil {
				failed = &parallel.RunError{Failed: failures}
			}
			return got, failed
		},
	}
	for name, run := range lanes {
		for _, retries := range []int{0, 3} {
			t.Run(fmt.Sprintf("%s/Retry(%d)", name, retries), func(t *testing.T) {
				tidy(t)
				const n = 500
				rounds, tasks, killed, failures, repeated, most := 0, 0, 0, 0, 0, 0
				for end := time.Now().Add(lasts / time.Duration(2*len(lanes))); rounds == 0 || time.Now().Before(end) && !t.Failed(); rounds++ {
					log := filepath.Join(t.TempDir(), "log")
					opts := []parallel.Option{
						parallel.Retry(retries),
						parallel.Backend(processes.New(processes.Options{Env: []string{"CHAOS_TEST_LOG=" + log}})),
					}
					h := hunt(log)
					got, err := run(n, opts...)
					kills := h.end()
					times, _ := executions(t, log)
					failed := map[int]*parallel.TaskError{}
					if err != nil {
						e, ok := err.(*parallel.RunError)
						require.True(t, ok, "%T: %v", err, err)
						require.NoError(t, e.Cause)
						require.Zero(t, e.NotRun+e.Cut)
						for _, f := range e.Failed {
							require.Nil(t, failed[f.Index], "call %d failed twice", f.Index)
							failed[f.Index] = f
						}
					}
					require.Len(t, got, n, "lost")
					extra := 0
					for i, v := range got {
						switch f := failed[i]; {
						case f != nil:
							c, ok := f.Err.(*parallel.CrashError)
							require.True(t, ok, "call %d: %T: %v", i, f.Err, f.Err)
							assert.Equal(t, "signal: killed", c.Reason)
							assert.True(t, h.killed[c.PID], "process %d was not killed by this test", c.PID)
							assert.Equal(t, 1+retries, f.Attempts, "call %d failed only when nothing was left to try", i)
							assert.Zero(t, v)
							assert.LessOrEqual(t, times[i], 1+retries)
						default:
							assert.Equal(t, i*i+1, v, "wrong")
							assert.Positive(t, times[i], "call %d has a result and was not started", i)
							assert.LessOrEqual(t, times[i], 1+retries)
						}
						extra += max(0, times[i]-1)
						most = max(most, times[i])
					}
					if retries == 0 {
						assert.Zero(t, extra, "started twice")
						assert.LessOrEqual(t, len(failed), kills)
					} else {
						assert.LessOrEqual(t, extra+len(failed), kills, "each further attempt is owed to a kill")
						assert.LessOrEqual(t, len(failed)*(1+retries), kills, "each failure is owed to %d kills", 1+retries)
					}
					tasks, killed, failures, repeated = tasks+n, killed+kills, failures+len(failed), repeated+extra
					parallel.CloseIdleWorkers()
				}
				t.Logf("%d runs, %d tasks, %d workers killed: %d tasks failed, %d starts repeated (one task at most %d times), 0 lost, 0 wrong",
					rounds, tasks, killed, failures, repeated, most)
			})
		}
	}
}
