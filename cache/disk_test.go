package cache

import (
	"bytes"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/gojoblib/parallel/internal/testkit"
)

func init() {
	// fill DIR LIMIT FIRST N SIZE puts records, one after the other.
	helpers["fill"] = func(args []string) error {
		d, err := OpenDisk(args[0], DiskOptions{Bytes: int64(number(args[1]))})
		if err != nil {
			return err
		}
		first, size := number(args[2]), number(args[4])
		for n := first; n < first+number(args[3]); n++ {
			if err := d.Put(spread(n), Record{Value: content(n, size)}); err != nil {
				return err
			}
			time.Sleep(time.Millisecond) // let those who read have their turn
		}
		return d.Close()
	}
	// chaos DIR LIMIT puts and gets records of any size until it is killed.
	helpers["chaos"] = func(args []string) error {
		d, err := OpenDisk(args[0], DiskOptions{Bytes: int64(number(args[1])), Compress: rand.IntN(2) == 0})
		if err != nil {
			return err
		}
		for {
			n := rand.IntN(200)
			if err := d.Put(spread(n), Record{Value: content(n, n*n*3)}); err != nil {
				return err
			}
			n = rand.IntN(200)
			if rec, ok := d.Get(spread(n)); ok && !bytes.Equal(rec.Value, content(n, n*n*3)) {
				return fmt.Errorf("key %d is torn", n)
			}
			if d.count.damaged.Load() > 0 {
				return fmt.Errorf("a record was damaged")
			}
		}
	}
}

// weigh returns what the records' files and the unfinished ones take, each rounded up, and how many there are.
func weigh(dir string) (finished, unfinished int64, n int) {
	filepath.WalkDir(dir, func(path string, e fs.DirEntry, _ error) error {
		if e == nil || e.IsDir() {
			return nil
		}
		if info, gone := e.Info(); gone == nil && strings.HasPrefix(path, filepath.Join(dir, "groups")) {
			finished += onDisk(info.Size())
			n++
		} else if gone == nil && strings.HasPrefix(path, filepath.Join(dir, "writing")) {
			unfinished += onDisk(info.Size())
		}
		return nil
	})
	return finished, unfinished, n
}

func TestManyWritersStayBelowTheLimit(t *testing.T) {
	const (
		limit   = 50 << 20
		writers = 4
		size    = 100_000
		each    = 200 << 20 / writers / size
	)
	dir := t.TempDir()
	d := openDisk(t, dir, DiskOptions{Bytes: limit})
	const hot = 20
	for n := range hot {
		require.NoError(t, d.Put(key(n), Record{Value: content(n, size)}))
	}
	var ps []*process
	for w := range writers {
		ps = append(ps, startHelper(t, "fill", dir, limit, 1000*(w+1), each, size))
	}
	done := make(chan struct{})
	var wg sync.WaitGroup
	var most int64
	looks := 0
	wg.Go(func() {
		for {
			finished, unfinished, _ := weigh(dir)
			most = max(most, finished+unfinished)
			looks++
			select {
			case <-done:
				return
			default:
			}
		}
	})
	lost := 0
	wg.Go(func() {
		for {
			for n := range hot {
				if _, ok := d.Get(key(n)); !ok {
					lost++
					d.Put(key(n), Record{Value: content(n, size)})
				}
			}
			select {
			case <-done:
				return
			case <-time.After(2 * time.Millisecond):
			}
		}
	})
	for _, p := range ps {
		out, _ := p.out.ReadString(0)
		assert.NoError(t, p.Wait(), out)
	}
	close(done)
	wg.Wait()
	t.Logf("at most %.1f MB in %d looks; %d of the records in use were lost", float64(most)/(1<<20), looks, lost)
	assert.LessOrEqual(t, most, limit+(writers+1)*onDisk(size+200))
	assert.Greater(t, looks, 10)
	assert.LessOrEqual(t, lost, hot/4, "what was used all the time was removed before what was not")
	finished, _, n := weigh(dir)
	assert.Greater(t, finished, int64(limit/2))
	groups, err := d.Groups()
	require.NoError(t, err)
	require.Len(t, groups, 1)
	assert.Equal(t, n, groups[0].Items)
	assert.Equal(t, finished, groups[0].Bytes)
}

func TestKilledWritersLeaveNothingTorn(t *testing.T) {
	const limit = 8 << 20
	dir := t.TempDir()
	d := openDisk(t, dir, DiskOptions{Bytes: limit})
	for range 15 {
		ps := []*process{startHelper(t, "chaos", dir, limit), startHelper(t, "chaos", dir, limit)}
		for end := time.Now().Add(time.Duration(30+rand.IntN(120)) * time.Millisecond); time.Now().Before(end); {
			n := rand.IntN(200)
			if rec, ok := d.Get(spread(n)); ok {
				require.Equal(t, content(n, n*n*3), rec.Value)
			}
		}
		for _, p := range ps {
			p.kill()
			out, _ := p.out.ReadString(0)
			require.Empty(t, out)
		}
		finished, _, _ := weigh(dir)
		require.LessOrEqual(t, finished, int64(limit))
	}
	assert.Zero(t, d.Stats().Damaged)
	for n := range 200 {
		if rec, ok := d.Get(spread(n)); ok {
			require.Equal(t, content(n, n*n*3), rec.Value)
		}
	}
	live, err := d.create()
	require.NoError(t, err)
	defer live.Close()
	d.clearWriting(0)
	left, err := list(filepath.Join(dir, "writing"))
	require.NoError(t, err)
	if assert.Len(t, left, 1, "what the killed have left") {
		assert.Equal(t, filepath.Base(live.Name()), left[0].Name(), "what has a writer is not removed")
	}
	before := d.ledger.look().used
	require.NoError(t, d.Reduce(Limits{}))
	finished, _, _ := weigh(dir)
	assert.GreaterOrEqual(t, before, finished, "the ledger never says less than there is")
	assert.Equal(t, finished, d.ledger.look().used, "whoever looks puts it right")
}

func TestDamagedFileIsAMissAndRemoved(t *testing.T) {
	for name, damage := range map[string]func([]byte) []byte{
		"cut":      func(b []byte) []byte { return b[:len(b)/2] },
		"empty":    func([]byte) []byte { return nil },
		"flipped":  func(b []byte) []byte { b[len(b)-1] ^= 4; return b },
		"longer":   func(b []byte) []byte { return append(b, 0) },
		"of later": func(b []byte) []byte { b[4]++; return b },
	} {
		t.Run(name, func(t *testing.T) {
			d := openDisk(t, t.TempDir(), DiskOptions{})
			k := key(1)
			require.NoError(t, d.Put(k, Record{Value: content(1, 100)}))
			b, err := os.ReadFile(d.path(&k))
			require.NoError(t, err)
			require.NoError(t, os.WriteFile(d.path(&k), damage(b), 0o666))
			_, ok := d.Get(k)
			assert.False(t, ok)
			assert.NoFileExists(t, d.path(&k))
			assert.Equal(t, DiskStats{Misses: 1, Stores: 1, Damaged: 1}, d.Stats())
			require.NoError(t, d.Put(k, Record{Value: content(1, 100)}))
			_, ok = d.Get(k)
			assert.True(t, ok)
		})
	}
	t.Run("a folder in its place", func(t *testing.T) {
		d := openDisk(t, t.TempDir(), DiskOptions{})
		k := key(1)
		require.NoError(t, os.MkdirAll(filepath.Join(d.path(&k), "in it"), 0o777))
		_, ok := d.Get(k)
		assert.False(t, ok)
		assert.Error(t, d.Put(k, Record{}))
	})
}

func TestFolderGoesAwayAndComesBack(t *testing.T) {
	testkit.Clean(t)
	dir := filepath.Join(t.TempDir(), "cache")
	d := openDisk(t, dir, DiskOptions{Bytes: 1 << 20, Age: time.Hour})
	defer d.Close()
	require.NoError(t, d.Put(key(1), Record{}))
	d.idle.Wait()
	require.NoError(t, os.RemoveAll(dir))
	_, ok := d.Get(key(1))
	assert.False(t, ok)
	assert.ErrorIs(t, d.Put(key(1), Record{}), fs.ErrNotExist)
	assert.NoError(t, d.Delete(key(1)))
	_, _, err := d.TryLease(key(1))
	assert.ErrorIs(t, err, fs.ErrNotExist)
	assert.NoDirExists(t, dir)
	other := openDisk(t, dir, DiskOptions{Bytes: 1 << 20})
	defer other.Close()
	require.NoError(t, d.Put(key(1), Record{}))
	_, ok = other.Get(key(1))
	assert.True(t, ok)
	require.NoError(t, d.Put(key(2), Record{}))
	require.NoError(t, os.RemoveAll(filepath.Join(dir, "groups")))
	_, ok = d.Get(key(2))
	assert.False(t, ok)
	require.NoError(t, d.Put(key(2), Record{}))
	finished, _, _ := weigh(dir)
	assert.GreaterOrEqual(t, other.ledger.look().used, finished, "it counts with the others")
}

func TestOpenRefusesWhatIsNoCacheOfOurs(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, nil, 0o666))
	_, err := OpenDisk(file, DiskOptions{})
	assert.ErrorContains(t, err, "cache: no folder for it: mkdir")

	foreign := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(foreign, "thesis.tex"), nil, 0o666))
	_, err = OpenDisk(foreign, DiskOptions{})
	assert.EqualError(t, err, "cache: "+foreign+" is not empty and no cache: it holds thesis.tex; give a folder of its own")

	newer := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(newer, formatFile), []byte("parallel cache, format 2\n"), 0o666))
	_, err = OpenDisk(newer, DiskOptions{})
	assert.EqualError(t, err, "cache: "+newer+" was written by a newer version of this package (format 2, this is 1); use that, or another folder")

	strange := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(strange, formatFile), []byte("A4"), 0o666))
	_, err = OpenDisk(strange, DiskOptions{})
	assert.ErrorContains(t, err, "is not the file of a cache; give it a folder of its own")

	_, err = OpenDisk(t.TempDir(), DiskOptions{Bytes: -1})
	assert.ErrorContains(t, err, "limits are positive")
}

func TestReduceRemovesWhatWasUsedLeastRecently(t *testing.T) {
	d := openDisk(t, t.TempDir(), DiskOptions{})
	for n := range 20 {
		k := spread(n)
		require.NoError(t, d.Put(k, Record{Value: content(n, 5000)}))
		at := time.Now().Add(time.Duration(n-30) * time.Minute)
		require.NoError(t, os.Chtimes(d.path(&k), at, at))
	}
	there := func() (ns []int) {
		for n := range 20 {
			if k := spread(n); fileExists(d.path(&k)) {
				ns = append(ns, n)
			}
		}
		return ns
	}
	_, ok := d.Get(spread(0)) // used: it is the newest now
	require.True(t, ok)
	require.NoError(t, d.Reduce(Limits{Items: 15}))
	assert.Equal(t, []int{0, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19}, there())
	require.NoError(t, d.Reduce(Limits{Bytes: 10 * 2 * block}))
	assert.Equal(t, []int{0, 11, 12, 13, 14, 15, 16, 17, 18, 19}, there())
	require.NoError(t, d.Reduce(Limits{Age: 15 * time.Minute}))
	assert.Equal(t, []int{0, 16, 17, 18, 19}, there())
	require.NoError(t, d.Reduce(Limits{}))
	assert.Len(t, there(), 5)
	assert.Error(t, d.Reduce(Limits{Items: -1}))
	require.NoError(t, d.Clear())
	assert.Empty(t, there())
	left, err := list(filepath.Join(d.dir, "groups"))
	require.NoError(t, err)
	assert.Empty(t, left, "empty folders are removed, too")
	assert.Equal(t, uint64(20), d.Stats().Removed)
}

func fileExists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

func TestOldRecordsGoByThemselves(t *testing.T) {
	testkit.Clean(t)
	dir := t.TempDir()
	d := openDisk(t, dir, DiskOptions{Age: time.Hour})
	d.idle.Wait()
	k := key(1)
	require.NoError(t, d.Put(k, Record{}))
	at := time.Now().Add(-61 * time.Minute)
	require.NoError(t, os.Chtimes(d.path(&k), at, at))
	require.NoError(t, d.Put(key(2), Record{}))
	require.NoError(t, d.Close())
	assert.FileExists(t, d.path(&k), "somebody has looked a moment ago")

	a := d.ledger.look()
	require.True(t, a.known)
	a.looked = time.Now().Add(-time.Hour).UnixNano()
	other := openDisk(t, t.TempDir(), DiskOptions{})
	other.ledger.path = d.ledger.path
	_, err := other.ledger.enter()
	require.NoError(t, err)
	require.NoError(t, other.ledger.write(a))
	other.ledger.unlock()
	require.NoError(t, other.Close())

	d = openDisk(t, dir, DiskOptions{Age: time.Hour})
	d.idle.Wait()
	assert.NoFileExists(t, d.path(&k))
	_, ok := d.Get(key(2))
	assert.True(t, ok)
	require.NoError(t, d.Close())
}

// Records of a time that is yet to come are those of a clock that was ahead: nobody has used them since.
func TestClockThatWasAheadKeepsNothingForEver(t *testing.T) {
	d := openDisk(t, t.TempDir(), DiskOptions{})
	ahead := time.Now().Add(1000 * time.Hour)
	for n := range 4 {
		k := spread(n)
		require.NoError(t, d.Put(k, Record{}))
		if n < 2 {
			require.NoError(t, os.Chtimes(d.path(&k), ahead, ahead))
		}
	}
	_, ok := d.Get(spread(0))
	require.True(t, ok)
	k := spread(0)
	info, err := os.Stat(d.path(&k))
	require.NoError(t, err)
	assert.WithinDuration(t, time.Now(), info.ModTime(), time.Minute, "it is used now")
	require.NoError(t, d.Reduce(Limits{Items: 3}))
	for n, want := range []bool{true, false, true, true} {
		_, ok := d.Get(spread(n))
		assert.Equal(t, want, ok, n)
	}
	k = spread(2)
	require.NoError(t, os.Chtimes(d.path(&k), ahead, ahead))
	require.NoError(t, d.Reduce(Limits{Age: time.Hour}))
	_, ok = d.Get(k)
	assert.False(t, ok)
}

// What is not of the cache does no harm, and what the killed have left goes.
func TestFolderIsTidied(t *testing.T) {
	dir := t.TempDir()
	d := openDisk(t, dir, DiskOptions{})
	require.NoError(t, d.Put(key(1), Record{}))
	old := time.Now().Add(-time.Minute)
	leave := func(name string, at time.Time) string {
		path := filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(path, nil, 0o666))
		require.NoError(t, os.Chtimes(path, at, at))
		return path
	}
	stray := leave("groups/.DS_Store", old)
	leave(filepath.Join("groups", filepath.Base(d.folder(key(1).Group)), "ab"), old)
	gone := []string{leave("writing/1-abc-1", old), leave("format-1-abc", old), leave("writing/2-abc-1", time.Now().Add(time.Hour))}
	kept := []string{stray, leave("writing/3-abc-1", time.Now()), leave("format-3-abc", time.Now()), filepath.Join(dir, formatFile)}
	require.NoError(t, d.Reduce(Limits{Items: 1}))
	for _, path := range gone {
		assert.NoFileExists(t, path)
	}
	for _, path := range kept {
		assert.FileExists(t, path)
	}
	_, ok := d.Get(key(1))
	assert.True(t, ok)
	require.NoError(t, d.Clear())
	_, err := d.Groups()
	require.NoError(t, err)
}

func TestUseIsNotedFinelyWhereItMatters(t *testing.T) {
	d := openDisk(t, t.TempDir(), DiskOptions{Bytes: 1 << 20})
	grain := func(a account) time.Duration {
		d.seen.Store(&a)
		d.seenAt.Store(sinceStart())
		return d.grain()
	}
	assert.Equal(t, markEvery, grain(account{}))
	assert.Equal(t, finest, grain(account{known: true, looked: time.Now().UnixNano()}))
	assert.InDelta(t, 10*time.Second, grain(account{known: true, looked: time.Now().Add(-80 * time.Second).UnixNano()}), 1e9)
	assert.Equal(t, markEvery, grain(account{known: true, looked: time.Now().Add(-time.Hour).UnixNano()}))
	assert.Equal(t, time.Second, grain(account{known: true, grain: time.Second}))
	assert.Equal(t, 10*time.Second, openDisk(t, t.TempDir(), DiskOptions{Age: 80 * time.Second}).grain())
}

// What a process without limits has put counts for those that have some.
func TestLimitsOfOneProcessCountWhatOthersPut(t *testing.T) {
	dir := t.TempDir()
	limited := openDisk(t, dir, DiskOptions{Bytes: 1 << 20})
	require.NoError(t, limited.Put(key(0), Record{}))
	free := openDisk(t, dir, DiskOptions{})
	for n := range 500 {
		require.NoError(t, free.Put(key(n), Record{}))
	}
	require.NoError(t, limited.Put(key(1000), Record{}))
	finished, _, _ := weigh(dir)
	assert.LessOrEqual(t, finished, int64(1<<20))
}

func TestLostLedgerIsWrittenAnew(t *testing.T) {
	for name, spoil := range map[string]func(string) error{
		"removed": os.Remove,
		"damaged": func(path string) error { return os.WriteFile(path, []byte("what is this"), 0o666) },
		"emptied": func(path string) error { return os.Truncate(path, 0) },
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			d := openDisk(t, dir, DiskOptions{Bytes: 1 << 20})
			for n := range 200 {
				require.NoError(t, d.Put(key(n), Record{}))
			}
			require.NoError(t, spoil(d.ledger.path))
			for n := range 200 {
				require.NoError(t, d.Put(key(1000+n), Record{}))
				if n%10 == 0 {
					finished, _, _ := weigh(dir)
					require.LessOrEqual(t, finished, int64(1<<20))
				}
			}
		})
	}
}

func TestRecordLargerThanTheFolderMayBe(t *testing.T) {
	d := openDisk(t, t.TempDir(), DiskOptions{Bytes: 1 << 20})
	require.NoError(t, d.Put(key(1), Record{}))
	assert.ErrorIs(t, d.Put(key(2), Record{Value: make([]byte, 1<<20)}), ErrTooLarge)
	_, ok := d.Get(key(1))
	assert.True(t, ok, "nothing had to go for it")
	require.NoError(t, d.Put(key(3), Record{Value: make([]byte, 1<<20-block)}), "one as large as the folder")
	require.Error(t, d.Put(Key{Group: strings.Repeat("x", 1<<16)}, Record{}))
}

func TestGroupsAreNamedInFull(t *testing.T) {
	d := openDisk(t, t.TempDir(), DiskOptions{})
	names := []string{"", "../../etc/passwd", "CON", "a/b.F", "a_b.F", strings.Repeat("long", 100), "größe\x00\xff"}
	for i, name := range names {
		for n := range i + 1 {
			k := spread(n)
			k.Group = name
			require.NoError(t, d.Put(k, Record{}))
			_, ok := d.Get(k)
			require.True(t, ok)
		}
	}
	groups, err := d.Groups()
	require.NoError(t, err)
	require.Len(t, groups, len(names))
	for _, g := range groups {
		assert.Contains(t, names, g.Name)
		assert.Equal(t, int64(g.Items)*block, g.Bytes)
		assert.WithinDuration(t, time.Now(), g.Used, time.Minute)
	}
}

// One that is stopped with the lock in its hand must not stop everybody.
func TestLockedLedgerIsAnErrorNotAWait(t *testing.T) {
	t.Parallel() // it waits
	dir := t.TempDir()
	d := openDisk(t, dir, DiskOptions{Bytes: 1 << 20})
	require.NoError(t, d.Put(key(1), Record{}))
	other := openDisk(t, dir, DiskOptions{})
	_, err := other.ledger.enter()
	require.NoError(t, err)
	begin := time.Now()
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() { assert.ErrorIs(t, d.Put(key(2), Record{}), errBusy) })
	}
	wg.Wait()
	assert.Less(t, time.Since(begin), 2*patience)
	_, ok := d.Get(key(1))
	assert.True(t, ok)
	other.ledger.unlock()
	d.ledger.stuck = time.Time{}
	assert.NoError(t, d.Put(key(2), Record{}))
	left, _ := list(filepath.Join(dir, "writing"))
	assert.Empty(t, left)
}

func BenchmarkDiskHit(b *testing.B) {
	for _, size := range []int{1000, 1 << 20} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			d := openDisk(b, b.TempDir(), DiskOptions{Bytes: 1 << 30})
			d.Put(spread(1), Record{Value: content(1, size)})
			b.SetBytes(int64(size))
			b.ReportAllocs()
			for b.Loop() {
				if _, ok := d.Get(spread(1)); !ok {
					b.Fatal("a miss")
				}
			}
		})
	}
}

func BenchmarkDiskMiss(b *testing.B) {
	d := openDisk(b, b.TempDir(), DiskOptions{Bytes: 1 << 30})
	for b.Loop() {
		d.Get(spread(1))
	}
}

func BenchmarkDiskPut(b *testing.B) {
	for name, o := range map[string]DiskOptions{"roomy": {Bytes: 1 << 30}, "full": {Bytes: 4 << 20}} {
		b.Run(name, func(b *testing.B) {
			d := openDisk(b, b.TempDir(), o)
			value := content(1, 1000)
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				i++
				if err := d.Put(spread(i), Record{Value: value}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
