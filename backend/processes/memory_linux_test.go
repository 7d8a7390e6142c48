package processes_test

import (
	"context"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/gojoblib/parallel"
	"github.com/gojoblib/parallel/backend/processes"
	"github.com/gojoblib/parallel/internal/testkit"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

func init() { registered = append(registered, leaks, peaks, initiallyLarge) }

// occupy uses so many MB, outside of Go's heap, which the race detector would multiply.
func occupy(mb int) []byte {
	b, err := unix.Mmap(-1, 0, mb<<20, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil {
		panic(err)
	}
	for i := 0; i < len(b); i += os.Getpagesize() {
		b[i] = 1
	}
	return b
}

// leaks occupies mb for good, and returns the worker's number.
func leaks(_ context.Context, mb int) (int, error) {
	occupy(mb)
	time.Sleep(time.Millisecond)
	return os.Getpid(), nil
}

// peaks occupies mb for a while.
func peaks(_ context.Context, mb int) (int, error) {
	b := occupy(mb)
	time.Sleep(20 * time.Millisecond)
	return os.Getpid(), unix.Munmap(b)
}

func initiallyLarge(mb int) {
	if mb > 0 {
		occupy(mb)
	}
}

func distinct(pids []int) int {
	all := map[int]bool{}
	for _, pid := range pids {
		all[pid] = true
	}
	return len(all)
}

const limitMB = 512

// A worker that leaks is renewed before it costs a task.
func TestALeakCostsNoTask(t *testing.T) {
	testkit.Clean(t)
	b := processes.New(processes.Options{MemoryLimit: limitMB << 20})
	threeMB := slices.Repeat([]int{3}, 300)
	t.Run("Map", func(t *testing.T) {
		defer parallel.CloseIdleWorkers()
		pids, err := parallel.Map(t.Context(), threeMB, leaks, parallel.NJobs(1), parallel.Backend(b))
		require.NoError(t, err)
		assert.Greater(t, distinct(pids), 1)
		assert.Less(t, distinct(pids), 20)
	})
	t.Run("Pool", func(t *testing.T) {
		p, err := parallel.NewPool(2, parallel.Backend(b))
		require.NoError(t, err)
		defer p.Close()
		var fs []*parallel.Future[int]
		for _, mb := range threeMB {
			fs = append(fs, parallel.ApplyAsync[int](t.Context(), p, parallel.Delayed(leaks, mb)))
		}
		var pids []int
		for _, f := range fs {
			pid, err := f.Get(t.Context())
			require.NoError(t, err)
			pids = append(pids, pid)
		}
		assert.Greater(t, distinct(pids), 2)
		assert.Less(t, distinct(pids), 20)
	})
}

// What a worker needs anyway, and what its tasks give back, is no leak.
func TestMemoryThatDoesNotGrowIsNoLeak(t *testing.T) {
	testkit.Clean(t)
	for name, c := range map[string]struct{ initially, mb int }{
		"large from the beginning": {limitMB * 3 / 4, 1},
		"peaks":                    {0, limitMB * 3 / 4},
	} {
		t.Run(name, func(t *testing.T) {
			defer parallel.CloseIdleWorkers()
			b := processes.New(processes.Options{MemoryLimit: limitMB << 20, Init: initiallyLarge, InitArgs: []any{c.initially}})
			pids, err := parallel.Map(t.Context(), slices.Repeat([]int{c.mb}, 8), peaks, parallel.NJobs(1), parallel.Backend(b))
			require.NoError(t, err)
			assert.Equal(t, 1, distinct(pids))
		})
	}
}
