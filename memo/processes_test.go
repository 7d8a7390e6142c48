package memo_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/gojoblib/parallel"
	"github.com/gojoblib/parallel/internal/testkit"
	"github.com/gojoblib/parallel/memo"
)

// logFile is where logged leaves a line for every call, of any process.
const logFile = "MEMO_TEST_LOG"

// inHand is how many calls one process makes at a time.
const inHand = 8

func init() {
	// want DIR KEYS has eight goroutines ask for all keys: four by Func, four in a run.
	helpers["want"] = func(args []string) error {
		n, err := strconv.Atoi(args[1])
		if err != nil {
			return err
		}
		m, err := memo.New(memo.Options{Dir: args[0]})
		if err != nil {
			return err
		}
		fmt.Println("ready")
		ctx := context.Background()
		f := memo.Func(m, logged)
		errs := make([]error, inHand/2+1)
		var all sync.WaitGroup
		for g := range inHand / 2 {
			all.Go(func() {
				for _, k := range rand.Perm(n) {
					v, err := f.Call(ctx, k)
					errs[g] = errors.Join(errs[g], err, wrong(k, v))
				}
			})
		}
		all.Go(func() {
			ks := rand.Perm(n)
			vs, err := parallel.Collect[string](parallel.Parallel(inHand/2, parallel.Memo(m))(parallel.Each(logged, ks)...))
			for i, k := range ks {
				err = errors.Join(err, wrong(k, vs[i]))
			}
			errs[inHand/2] = err
		})
		all.Wait()
		return errors.Join(errors.Join(errs...), m.Close())
	}
}

// logged returns what belongs to k.
func logged(_ context.Context, k int) (string, error) {
	f, err := os.OpenFile(os.Getenv(logFile), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return "", err
	}
	defer f.Close()
	_, err = fmt.Fprintln(f, k)
	time.Sleep(time.Millisecond)
	return belongs(k), err
}

func belongs(k int) string { return strings.Repeat(fmt.Sprintln(k), 1000) }

func wrong(k int, v string) error {
	if v != belongs(k) {
		return fmt.Errorf("the value of %d is of %d bytes: %.20q", k, len(v), v)
	}
	return nil
}

// computed returns the keys for which logged was called, sorted, and how often it was.
func computed(t *testing.T, log string) (keys []int, times int) {
	t.Helper()
	b, err := os.ReadFile(log)
	require.NoError(t, err)
	for _, line := range strings.Fields(string(b)) {
		k, err := strconv.Atoi(line)
		require.NoError(t, err)
		keys = append(keys, k)
	}
	times = len(keys)
	slices.Sort(keys)
	return slices.Compact(keys), times
}

func TestProcessesThatShareAFolderComputeOnce(t *testing.T) {
	testkit.Clean(t)
	n := 1000
	if testing.Short() {
		n = 100
	}
	dir, log := t.TempDir(), filepath.Join(t.TempDir(), "log")
	t.Setenv(logFile, log)
	var all []*process
	for range 4 {
		all = append(all, startHelper(inTime(t), t, "want", dir, n))
	}
	for _, p := range all {
		out, _ := p.out.ReadString(0)
		assert.NoError(t, p.Wait(), out)
	}
	keys, times := computed(t, log)
	require.Len(t, keys, n)
	require.Equal(t, n, times, "computations")
}

// Processes are killed at random moments and started again, until all have been at work until the end.
func TestKilledProcessesCostWhatTheyHadInHand(t *testing.T) {
	testkit.Clean(t)
	const n, workers, killsEach = 400, 4, 8
	seed := uint64(time.Now().UnixNano())
	if s := os.Getenv("MEMO_TEST_SEED"); s != "" {
		seed, _ = strconv.ParseUint(s, 10, 64)
	}
	t.Logf("MEMO_TEST_SEED=%d", seed)
	dir, log := t.TempDir(), filepath.Join(t.TempDir(), "log")
	t.Setenv(logFile, log)
	ctx := inTime(t)
	var kills atomic.Int64
	var all sync.WaitGroup
	for w := range uint64(workers) {
		all.Go(func() {
			rng := rand.New(rand.NewPCG(seed, w))
			for left := killsEach; ; left-- {
				p := startHelper(ctx, t, "want", dir, n)
				if left > 0 {
					if rng.IntN(4) > 0 { // else while it starts
						p.line()
					}
					time.Sleep(time.Duration(rng.IntN(60)) * time.Millisecond)
					p.Process.Kill()
					kills.Add(1)
				}
				out, _ := p.out.ReadString(0)
				err := p.Wait()
				assert.NotContains(t, out, "error:")
				if left == 0 {
					assert.NoError(t, err, out)
					return
				}
			}
		})
	}
	all.Wait()
	require.NoError(t, context.Cause(ctx))
	keys, times := computed(t, log)
	require.Len(t, keys, n)
	t.Logf("%d kills, %d computations of %d keys", kills.Load(), times, n)
	require.LessOrEqual(t, times, n+int(kills.Load())*inHand)

	// What the killed have left is bounded, and goes when it is old.
	old := time.Now().Add(-time.Hour)
	for _, folder := range []string{"writing", "leases"} { // this may be a file
		left, _ := os.ReadDir(filepath.Join(dir, folder))
		require.LessOrEqual(t, len(left), int(kills.Load())*inHand)
		for _, e := range left {
			require.NoError(t, os.Chtimes(filepath.Join(dir, folder, e.Name()), old, old))
		}
	}
	m := open(t, memo.Options{Dir: dir})
	require.NoError(t, m.Reduce(memo.Limits{Items: n}))
	records, others := 0, 0
	require.NoError(t, filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		switch rel, _ := filepath.Rel(dir, path); {
		case err != nil || e.IsDir():
		case strings.HasPrefix(rel, "groups"):
			records++
		default:
			others++
		}
		return err
	}))
	require.Equal(t, n, records)
	require.LessOrEqual(t, others, 5) // format, .gitignore, ledger, sweep, leases
	f := memo.Func(m, logged)
	for k := range n {
		v, err := f.Call(ctx, k)
		require.NoError(t, errors.Join(err, wrong(k, v)))
	}
	require.EqualValues(t, n, m.Stats().DiskHits)
	require.Zero(t, m.Stats().Errors)
}
