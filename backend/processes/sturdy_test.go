//go:build unix

package processes_test

import (
	"context"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gojoblib/parallel"
	"github.com/gojoblib/parallel/backend/processes"
	"github.com/gojoblib/parallel/internal/testkit"
)

func ownPID(context.Context, int) (int, error) { return os.Getpid(), nil }

func lengthOf(_ context.Context, s string) (int, error) { return len(s), nil }

func lengthsOf(_ context.Context, s [][]byte) (int, error) { return len(s), nil }

func manySlices(_ context.Context, n int) ([][]byte, error) {
	return slices.Repeat([][]byte{make([]byte, 32<<10)}, n), nil
}

func init() { registered = append(registered, ownPID, lengthOf, lengthsOf, manySlices) }

func TestCloseIdleWorkersDoesNotWaitForRuns(t *testing.T) {
	testkit.Clean(t)
	t.Cleanup(parallel.CloseIdleWorkers)
	over := make(chan struct{})
	var runs sync.WaitGroup
	for range 3 {
		runs.Go(func() {
			for {
				select {
				case <-over:
					return
				default:
				}
				if _, err := parallel.Map(context.Background(), []int{1, 2, 3}, ownPID, parallel.Prefer(parallel.Processes), parallel.NJobs(2)); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	for range 50 {
		parallel.CloseIdleWorkers()
	}
	close(over)
	runs.Wait()
}

// A worker that was stopped between two calls has begun none, so that no call's clock runs.
func TestAWorkerThatDoesNotBeginIsReplaced(t *testing.T) {
	testkit.Clean(t)
	t.Cleanup(parallel.CloseIdleWorkers)
	b := parallel.Backend(processes.New(processes.Options{Env: []string{"STURDY=stopped"}}))
	pids, err := parallel.Map(t.Context(), []int{1}, ownPID, b, parallel.NJobs(1))
	require.NoError(t, err)
	require.NoError(t, syscall.Kill(pids[0], syscall.SIGSTOP))
	again, err := parallel.Map(t.Context(), []int{1}, ownPID, b, parallel.NJobs(1), parallel.Timeout(100*time.Millisecond))
	require.NoError(t, err)
	require.NotEqual(t, pids, again)
}

func TestBatchesAreBoundedInBytes(t *testing.T) {
	testkit.Clean(t)
	t.Cleanup(parallel.CloseIdleWorkers)
	in := slices.Repeat([]string{strings.Repeat("x", 1<<20)}, 600)
	got, err := parallel.Map(t.Context(), in, lengthOf, parallel.Backend(processes.New(processes.Options{MemoryLimit: 256 << 20})), parallel.NJobs(1))
	require.NoError(t, err)
	require.Equal(t, slices.Repeat([]int{1 << 20}, 600), got)
}

func TestTooManyLargeSlicesFailTheirCallAlone(t *testing.T) {
	testkit.Clean(t)
	t.Cleanup(parallel.CloseIdleWorkers)
	const many = 1<<20 + 1
	small, large := [][]byte{nil}, slices.Repeat([][]byte{make([]byte, 32<<10)}, many)
	got, err := parallel.Map(t.Context(), [][][]byte{small, large, small}, lengthsOf, parallel.Prefer(parallel.Processes), parallel.NJobs(2), parallel.KeepGoing())
	require.Len(t, parallel.Failures(err), 1)
	require.ErrorContains(t, err, "large slices")
	require.Equal(t, []int{1, 0, 1}, got)

	lists, err := parallel.Map(t.Context(), []int{1, many, 2}, manySlices, parallel.Prefer(parallel.Processes), parallel.NJobs(2), parallel.KeepGoing())
	require.Len(t, parallel.Failures(err), 1)
	require.ErrorContains(t, err, "its result: it has more than")
	require.Len(t, lists[0], 1)
	require.Len(t, lists[2], 2)
}
