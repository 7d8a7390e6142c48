package cache

import (
	"fmt"
	"os"
	"runtime"
	"testing"
	"time"

	"github.com/dgraph-io/ristretto/v2"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// What RAM is there to hide; if this fails, ristretto has changed.
func TestRistrettoAloneForgetsWhatWasJustSet(t *testing.T) {
	c, err := ristretto.NewCache(&ristretto.Config[uint64, int]{NumCounters: 1e5, MaxCost: 1e6, BufferItems: 64, IgnoreInternalCost: true})
	require.NoError(t, err)
	defer c.Close()
	found := 0
	for i := range 1000 {
		c.Set(uint64(i), i, 1)
		if _, ok := c.Get(uint64(i)); ok {
			found++
		}
	}
	assert.Less(t, found, 1000)
}

func TestFullRAMStillShowsWhatWasPutLast(t *testing.T) {
	r := newRAM(t, 1<<20)
	value := make([]byte, 1000)
	for i := range 200 { // asked for often: ristretto prefers them to new ones
		require.NoError(t, r.Put(key(i), Record{Value: value}))
		for range 100 {
			r.Get(key(i))
		}
	}
	for i := range 5000 {
		require.NoError(t, r.Put(key(1000+i), Record{Value: value}))
		_, ok := r.Get(key(1000 + i))
		require.True(t, ok, "put %d", i)
		require.LessOrEqual(t, r.Stats().Bytes, int64(1<<20))
	}
}

func TestRecordLargerThanRAMIsNoError(t *testing.T) {
	r := newRAM(t, 1<<20)
	require.NoError(t, r.Put(key(1), Record{Value: []byte("old")}))
	require.NoError(t, r.Put(key(1), Record{Value: make([]byte, 2<<20)}))
	_, ok := r.Get(key(1))
	assert.False(t, ok, "least of all the old one")
	require.NoError(t, r.Put(key(2), Record{Object: 1, Size: 2 << 20}))
	_, ok = r.Get(key(2))
	assert.False(t, ok, "an object counts")
	assert.Zero(t, r.Stats().Bytes)
}

func TestGrownRecordMakesRoom(t *testing.T) {
	r := newRAM(t, 1<<20)
	for i := range 100 {
		require.NoError(t, r.Put(key(i), Record{}))
	}
	for i := range 100 {
		require.NoError(t, r.Put(key(i), Record{Value: make([]byte, 50<<10)}))
		require.LessOrEqual(t, r.Stats().Bytes, int64(1<<20))
	}
}

func TestObjectIsKept(t *testing.T) {
	r := newRAM(t, 1<<20)
	object := &struct{ n int }{7}
	require.NoError(t, r.Put(key(1), Record{Object: object, Size: 8}))
	rec, ok := r.Get(key(1))
	assert.True(t, ok)
	assert.Same(t, object, rec.Object)
	require.NoError(t, r.Clear())
	_, ok = r.Get(key(1))
	assert.False(t, ok)
}

func TestRAMIsReducedToWhatWasUsedLast(t *testing.T) {
	r := newRAM(t, 1<<20)
	has := func() (n []int) {
		for i := range 10 {
			k := key(i)
			if h, _ := r.hash(&k); r.find(h, &k) != nil {
				n = append(n, i)
			}
		}
		return n
	}
	for i := range 10 {
		require.NoError(t, r.Put(key(i), Record{Value: content(i, 1000)}))
		k := key(i)
		r.entry(&k).used.Store(int64(i+1) - int64(time.Hour))
	}
	r.Get(key(0)) // used now
	require.NoError(t, r.Reduce(Limits{}))
	require.Len(t, has(), 10)
	require.NoError(t, r.Reduce(Limits{Items: 7}))
	require.Equal(t, []int{0, 4, 5, 6, 7, 8, 9}, has())
	each := r.Stats().Bytes / 7
	require.NoError(t, r.Reduce(Limits{Bytes: 4*each + 1}))
	require.Equal(t, []int{0, 7, 8, 9}, has())
	require.Equal(t, 4*each, r.Stats().Bytes)
	require.NoError(t, r.Reduce(Limits{Age: time.Minute}))
	require.Equal(t, []int{0}, has())
	require.ErrorContains(t, r.Reduce(Limits{Age: -1}), "limits are positive")
	require.NoError(t, r.Close())
	require.ErrorIs(t, r.Reduce(Limits{Items: 1}), os.ErrClosed)
	require.ErrorIs(t, r.ClearGroup(""), os.ErrClosed)
}

// What ristretto has refused is reduced, and cleared, too.
func TestRefusedRecordsAreReduced(t *testing.T) {
	r := newRAM(t, 1<<20)
	refuse := func(k Key) {
		require.NoError(t, r.Put(k, Record{}))
		e := r.entry(&k)
		h, _ := r.hash(&k)
		r.c.Del(h)
		r.refused.add(e)
		_, ok := r.Get(k)
		require.True(t, ok)
	}
	other := key(9)
	other.Group = "another"
	for n := range 4 {
		refuse(key(n))
		k := key(n)
		r.entry(&k).used.Store(int64(n) - int64(time.Hour))
	}
	refuse(other)
	require.NoError(t, r.Reduce(Limits{Items: 3}))
	for n, want := range []bool{false, false, true, true} {
		_, ok := r.Get(key(n))
		require.Equal(t, want, ok)
	}
	require.NoError(t, r.ClearGroup(key(0).Group))
	entries, err := r.entries()
	require.NoError(t, err)
	require.Len(t, entries, 1)
	require.Equal(t, other, entries[0].key)
}

func TestAnObjectIsAttachedToItsRecordOnly(t *testing.T) {
	r := newRAM(t, 1<<20)
	k := key(1)
	require.NoError(t, r.Put(k, Record{Value: []byte("value"), Took: 7}))
	old, _ := r.Get(k)
	before := r.Stats().Bytes
	r.Attach(k, old, "object", 100)
	now, ok := r.Get(k)
	require.True(t, ok)
	require.Equal(t, "object", now.Object)
	require.Equal(t, old.Took, now.Took)
	require.Equal(t, before+100, r.Stats().Bytes)
	require.NoError(t, r.Put(k, Record{Value: []byte("value")}))
	r.Attach(k, old, "object", 100)
	now, _ = r.Get(k)
	require.Nil(t, now.Object, "another record has come")
	require.NoError(t, r.Delete(k))
	r.Attach(k, old, "object", 100)
	_, ok = r.Get(k)
	require.False(t, ok)
	require.NoError(t, r.Close())
	r.Attach(k, old, "object", 100)
}

func TestRAMNeedsBytes(t *testing.T) {
	_, err := NewRAM(0)
	assert.EqualError(t, err, "cache: 0 bytes of RAM; give a positive number")
}

func BenchmarkRAMHit(b *testing.B) {
	r := newRAM(b, 64<<20)
	for i := range 1000 {
		r.Put(spread(i), Record{Value: make([]byte, 1000)})
	}
	b.ReportAllocs()
	i := 0
	k := spread(5)
	for b.Loop() {
		i++
		if _, ok := r.Get(k); !ok {
			b.Fatal("a miss")
		}
	}
}

func BenchmarkRAMHitParallel(b *testing.B) {
	r := newRAM(b, 64<<20)
	keys := make([]Key, 1000)
	for i := range keys {
		keys[i] = spread(i)
		r.Put(keys[i], Record{Value: make([]byte, 1000)})
	}
	b.RunParallel(func(p *testing.PB) {
		for i := 0; p.Next(); i++ {
			r.Get(keys[i%len(keys)])
		}
	})
}

func BenchmarkRAMPut(b *testing.B) {
	r := newRAM(b, 64<<20)
	value := make([]byte, 1000)
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		i++
		r.Put(spread(i), Record{Value: value})
	}
}

// What an entry takes beside its value.
func BenchmarkRAMEntry(b *testing.B) {
	const n = 200_000
	for b.Loop() {
		r := newRAM(b, 1<<30)
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		for i := range n {
			r.Put(spread(i), Record{})
		}
		runtime.GC()
		runtime.ReadMemStats(&after)
		b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/n, "B/entry")
		if _, ok := r.Get(spread(n - 1)); !ok {
			b.Fatal(fmt.Sprint(r.Stats()))
		}
		r.Close()
	}
}
