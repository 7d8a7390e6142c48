package cache

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/gojoblib/parallel/internal/testkit"
)

func init() {
	// hold DIR N has the lease of a key until it is killed.
	helpers["hold"] = func(args []string) error {
		d, err := OpenDisk(args[0], DiskOptions{})
		if err != nil {
			return err
		}
		if _, err := d.Lease(context.Background(), key(number(args[1]))); err != nil {
			return err
		}
		fmt.Println("held")
		select {}
	}
	// count DIR FILE N adds one to a number in a file, N times, each under the lease of key 0.
	helpers["count"] = func(args []string) error {
		d, err := OpenDisk(args[0], DiskOptions{})
		if err != nil {
			return err
		}
		for range number(args[2]) {
			release, err := d.Lease(context.Background(), key(0))
			if err != nil {
				return err
			}
			b, err := os.ReadFile(args[1])
			if err != nil {
				return err
			}
			if err := os.WriteFile(args[1], []byte(fmt.Sprint(number(string(b))+1)), 0o666); err != nil {
				return err
			}
			release()
		}
		return nil
	}
}

func TestLeaseIsHadByOneAtATime(t *testing.T) {
	dir := t.TempDir()
	file := dir + "-number"
	require.NoError(t, os.WriteFile(file, []byte("0"), 0o666))
	var ps []*process
	for range 4 {
		ps = append(ps, startHelper(t, "count", dir, file, 100))
	}
	for _, p := range ps {
		out, _ := p.out.ReadString(0)
		require.NoError(t, p.Wait(), out)
	}
	b, err := os.ReadFile(file)
	require.NoError(t, err)
	assert.Equal(t, "400", string(b))
}

func TestLeaseExcludesGoroutinesToo(t *testing.T) {
	testkit.Clean(t)
	d := openDisk(t, t.TempDir(), DiskOptions{})
	defer d.Close()
	var inside, total atomic.Int32
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 20 {
				release, err := d.Lease(inTime(t), key(1))
				if !assert.NoError(t, err) {
					return
				}
				assert.Equal(t, int32(1), inside.Add(1))
				total.Add(1)
				inside.Add(-1)
				release()
				release()
			}
		})
	}
	wg.Wait()
	assert.Equal(t, int32(160), total.Load())
}

func TestLeaseOfTheKilledIsFree(t *testing.T) {
	testkit.Clean(t)
	dir := t.TempDir()
	d := openDisk(t, dir, DiskOptions{})
	defer d.Close()
	p := startHelper(t, "hold", dir, 1)
	require.Equal(t, "held", p.line(t))

	_, ok, err := d.TryLease(key(1))
	require.NoError(t, err)
	require.False(t, ok)
	release, ok, err := d.TryLease(key(2))
	require.NoError(t, err)
	require.True(t, ok, "keys do not get into one another's way")
	release()

	cause := errors.New("enough")
	ctx, cancel := context.WithCancelCause(context.Background())
	time.AfterFunc(20*time.Millisecond, func() { cancel(cause) })
	_, err = d.Lease(ctx, key(1))
	require.ErrorIs(t, err, cause)

	killed := make(chan time.Time, 1)
	time.AfterFunc(100*time.Millisecond, func() { killed <- time.Now(); p.Process.Kill() })
	release, err = d.Lease(inTime(t), key(1))
	require.NoError(t, err)
	after := time.Since(<-killed)
	t.Logf("handed over %v after the kill", after)
	assert.Less(t, after, time.Second)
	release()
	p.kill()
}

func TestCloseEndsWaitingForALease(t *testing.T) {
	testkit.Clean(t)
	dir := t.TempDir()
	d := openDisk(t, dir, DiskOptions{})
	release, err := d.Lease(inTime(t), key(1))
	require.NoError(t, err)
	time.AfterFunc(20*time.Millisecond, func() { d.Close() })
	_, err = d.Lease(inTime(t), key(1))
	require.ErrorIs(t, err, os.ErrClosed)
	other := openDisk(t, dir, DiskOptions{})
	_, ok, err := other.TryLease(key(1))
	require.NoError(t, err)
	require.False(t, ok, "Close does not release what is leased")
	release()
	release, ok, err = other.TryLease(key(1))
	require.NoError(t, err)
	require.True(t, ok)
	release()
	require.NoError(t, other.Close())
}

// Two that compute several keys, each from the other's, in whatever order, wait for one another only where keys do.
func TestNestedLeasesDoNotDeadlock(t *testing.T) {
	a := openDisk(t, t.TempDir(), DiskOptions{})
	b := openDisk(t, a.Dir(), DiskOptions{})
	var wg sync.WaitGroup
	for i, d := range []*Disk{a, b} {
		wg.Go(func() {
			for n := range 50 {
				outer, err := d.Lease(inTime(t), spread(1000*i+n))
				assert.NoError(t, err)
				inner, err := d.Lease(inTime(t), spread(5000+n%3))
				assert.NoError(t, err)
				inner()
				outer()
			}
		})
	}
	wg.Wait()
}

func BenchmarkLease(b *testing.B) {
	d := openDisk(b, b.TempDir(), DiskOptions{})
	for b.Loop() {
		release, ok, _ := d.TryLease(key(1))
		if !ok {
			b.Fatal("it is had by another")
		}
		release()
	}
}
