package cache

import (
	"math/rand/v2"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/gojoblib/parallel/internal/testkit"
)

// stores are all there are, with room for what the tests put.
var stores = map[string]func(testing.TB) Store{
	"RAM":  func(t testing.TB) Store { return newRAM(t, 64<<20) },
	"Disk": func(t testing.TB) Store { return openDisk(t, t.TempDir(), DiskOptions{Bytes: 64 << 20}) },
	"packed": func(t testing.TB) Store {
		return openDisk(t, t.TempDir(), DiskOptions{Compress: true})
	},
	"Tiered": func(t testing.TB) Store {
		return NewTiered(newRAM(t, 64<<20), openDisk(t, t.TempDir(), DiskOptions{Bytes: 64 << 20, Age: time.Hour}))
	},
	"small RAM": func(t testing.TB) Store { // most things are found on disk
		return NewTiered(newRAM(t, 8<<10), openDisk(t, t.TempDir(), DiskOptions{}))
	},
}

func TestGetReturnsWhatWasPut(t *testing.T) {
	for name, open := range stores {
		t.Run(name, func(t *testing.T) {
			testkit.Clean(t)
			s := open(t)
			defer s.Close()
			stored := time.Unix(1e9, 123)
			for n, size := range []int{0, 1, 1000, 100_000} {
				_, ok := s.Get(key(n))
				assert.False(t, ok)
				require.NoError(t, s.Put(key(n), Record{Value: content(n, size), Stored: stored, Took: time.Hour}))
				rec, ok := s.Get(key(n))
				require.True(t, ok)
				assert.Equal(t, content(n, size), append([]byte{}, rec.Value...))
				assert.True(t, stored.Equal(rec.Stored))
				assert.Equal(t, time.Hour, rec.Took)
			}
			other := key(1)
			other.Group = "imaging.resize"
			_, ok := s.Get(other)
			assert.False(t, ok, "a key's group is part of it")
			require.NoError(t, s.Delete(key(1)))
			require.NoError(t, s.Delete(key(1)))
			_, ok = s.Get(key(1))
			assert.False(t, ok)
			before := time.Now()
			require.NoError(t, s.Put(key(2), Record{}))
			rec, _ := s.Get(key(2))
			assert.False(t, rec.Stored.Before(before.Round(0)), "without a time of its own it is stored now")
		})
	}
}

// The store is a map, as long as it has room.
func TestStoreIsAMap(t *testing.T) {
	for _, name := range []string{"Tiered", "small RAM"} {
		open := stores[name]
		t.Run(name, func(t *testing.T) {
			rapid.Check(t, func(rt *rapid.T) {
				s := open(t)
				defer s.Close()
				m := map[Key][]byte{}
				for range rapid.IntRange(1, 30).Draw(rt, "steps") {
					k := key(rapid.IntRange(0, 5).Draw(rt, "key"))
					switch rapid.IntRange(0, 3).Draw(rt, "do") {
					case 0:
						delete(m, k)
						require.NoError(rt, s.Delete(k))
					case 1:
						v := content(rapid.Int().Draw(rt, "value"), rapid.IntRange(0, 6000).Draw(rt, "size"))
						m[k] = v
						require.NoError(rt, s.Put(k, Record{Value: v}))
					default:
						rec, ok := s.Get(k)
						want, has := m[k]
						require.Equal(rt, has, ok)
						if ok {
							require.Equal(rt, want, append([]byte{}, rec.Value...))
						}
					}
				}
			})
		})
	}
}

// ristretto, used as it comes, finds none of them.
func TestPutIsSeenByTheNextGet(t *testing.T) {
	for _, name := range []string{"RAM", "Tiered"} {
		t.Run(name, func(t *testing.T) {
			n := 20_000
			if name == "Tiered" {
				n = 2000
			}
			testkit.Clean(t)
			s := stores[name](t)
			defer s.Close()
			const goroutines = 8
			var wg sync.WaitGroup
			for g := range goroutines {
				wg.Go(func() {
					for i := g; i < n; i += goroutines {
						assert.NoError(t, s.Put(key(i), Record{Value: []byte{byte(i)}}))
						if rec, ok := s.Get(key(i)); !ok || rec.Value[0] != byte(i) {
							t.Errorf("key %d is not there", i)
							return
						}
					}
				})
			}
			wg.Wait()
			for i := range n {
				if _, ok := s.Get(key(i)); !ok {
					t.Fatalf("key %d has gone", i)
				}
			}
		})
	}
}

func TestClosedStoreIsEmptyAndTakesNothing(t *testing.T) {
	for name, open := range stores {
		t.Run(name, func(t *testing.T) {
			testkit.Clean(t)
			s := open(t)
			require.NoError(t, s.Put(key(1), Record{}))
			require.NoError(t, s.Close())
			require.NoError(t, s.Close())
			_, ok := s.Get(key(1))
			assert.False(t, ok)
			assert.ErrorIs(t, s.Put(key(1), Record{}), os.ErrClosed)
			assert.ErrorIs(t, s.Delete(key(1)), os.ErrClosed)
		})
	}
}

func TestCloseAmidUse(t *testing.T) {
	for name, open := range stores {
		t.Run(name, func(t *testing.T) {
			testkit.Clean(t)
			s := open(t)
			var wg sync.WaitGroup
			for range 8 {
				wg.Go(func() {
					for {
						n := rand.IntN(100)
						if err := s.Put(key(n), Record{Value: content(n, 100)}); err != nil {
							assert.ErrorIs(t, err, os.ErrClosed)
							return
						}
						if rec, ok := s.Get(key(n)); ok {
							assert.Equal(t, content(n, 100), rec.Value)
						}
						if n%10 == 0 {
							s.Delete(key(n))
						}
					}
				})
			}
			time.Sleep(20 * time.Millisecond)
			require.NoError(t, s.Close())
			wg.Wait()
		})
	}
}

// A record that was read from disk before it was deleted must not come back by way of the RAM.
func TestDeletedRecordStaysAwayFromRAM(t *testing.T) {
	disk := openDisk(t, t.TempDir(), DiskOptions{})
	s := NewTiered(newRAM(t, 1<<20), disk)
	k := key(1)
	for range 300 {
		require.NoError(t, disk.Put(k, Record{}))
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() { s.Get(k) })
		}
		require.NoError(t, s.Delete(k))
		wg.Wait()
		_, ok := s.Get(k)
		require.False(t, ok)
	}
}

// As with Delete, whatever removes many at once.
func TestClearedRecordsStayAwayFromRAM(t *testing.T) {
	disk := openDisk(t, t.TempDir(), DiskOptions{})
	s := NewTiered(newRAM(t, 1<<20), disk)
	for n := range 300 {
		k := key(1)
		require.NoError(t, disk.Put(k, Record{}))
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				for range 10 {
					s.Get(k)
				}
			})
		}
		if n%2 == 0 {
			require.NoError(t, s.Clear())
		} else {
			require.NoError(t, s.ClearGroup(k.Group))
		}
		wg.Wait()
		_, ok := s.Get(k)
		require.False(t, ok)
	}
}

// One that was read before, and comes to RAM only now, does not.
func TestWhatWasReadBeforeAClearDoesNotComeToRAM(t *testing.T) {
	disk := openDisk(t, t.TempDir(), DiskOptions{})
	s := NewTiered(newRAM(t, 1<<20), disk)
	k := key(1)
	for _, clear := range []func() error{s.Clear, func() error { return s.ClearGroup(k.Group) }, func() error { return s.Reduce(Limits{Items: 1}) }} {
		n := s.of(&k).n
		require.NoError(t, clear())
		require.Greater(t, s.of(&k).n, n, "who looked before learns of it")
	}
}

func TestHitInRAMCountsAsUseOnDisk(t *testing.T) {
	disk := openDisk(t, t.TempDir(), DiskOptions{})
	s := NewTiered(newRAM(t, 1<<20), disk)
	k := key(1)
	require.NoError(t, s.Put(k, Record{}))
	path := disk.path(&k)
	old := time.Now().Add(-time.Hour)
	require.NoError(t, os.Chtimes(path, old, old))
	used := func() time.Time {
		info, err := os.Stat(path)
		require.NoError(t, err)
		return info.ModTime()
	}
	s.Get(k)
	assert.True(t, used().Equal(old), "it was put a moment ago")
	s.ram.entry(&k).touched.Store(sinceStart() - int64(2*markEvery))
	s.Get(k)
	assert.WithinDuration(t, time.Now(), used(), time.Minute)
}

// clearer is a store that can remove many records at once.
type clearer interface {
	Store
	Clear() error
	ClearGroup(group string) error
}

func TestAGroupIsClearedAlone(t *testing.T) {
	for name, open := range stores {
		t.Run(name, func(t *testing.T) {
			testkit.Clean(t)
			s := open(t).(clearer)
			defer s.Close()
			for range 2 {
				for i := range 30 {
					k := spread(i)
					k.Group = []string{"a", "b", ""}[i%3]
					require.NoError(t, s.Put(k, Record{Value: content(i, 10)}))
				}
				require.NoError(t, s.ClearGroup("b"))
				require.NoError(t, s.ClearGroup("nobody's"))
				for i := range 30 {
					k := spread(i)
					k.Group = []string{"a", "b", ""}[i%3]
					_, ok := s.Get(k)
					require.Equal(t, i%3 != 1, ok)
				}
			}
			require.NoError(t, s.Clear())
			for i := range 30 {
				k := spread(i)
				k.Group = []string{"a", "b", ""}[i%3]
				_, ok := s.Get(k)
				require.False(t, ok)
			}
		})
	}
}

func TestAGroupIsClearedWhileOthersPut(t *testing.T) {
	testkit.Clean(t)
	d := openDisk(t, t.TempDir(), DiskOptions{})
	defer d.Close()
	stop := make(chan struct{})
	var all sync.WaitGroup
	for g := range 2 {
		all.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-stop:
					return
				default:
				}
				k := spread(100*g + n%100)
				assert.NoError(t, d.Put(k, Record{Value: content(n%100, 100)}))
				if rec, ok := d.Get(k); ok {
					assert.Equal(t, content(n%100, 100), rec.Value)
				}
			}
		})
	}
	for n := range 100 {
		if n%2 == 0 {
			assert.NoError(t, d.ClearGroup(spread(0).Group))
		} else {
			assert.NoError(t, d.Reduce(Limits{Items: 10}))
		}
	}
	close(stop)
	all.Wait()
	require.NoError(t, d.ClearGroup(spread(0).Group))
	files, _, err := d.walk()
	require.NoError(t, err)
	require.Empty(t, files)
}
