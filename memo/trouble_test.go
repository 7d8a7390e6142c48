package memo_test

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/gojoblib/parallel"
	"github.com/gojoblib/parallel/cache"
	"github.com/gojoblib/parallel/internal/testkit"
	"github.com/gojoblib/parallel/memo"
)

// everyWay has js made, by Func, in a run and in a stream, each a third of them.
func everyWay(t *testing.T, m *memo.Memory, js []job) {
	t.Helper()
	check := func(j job, o any, err error) {
		require.NoError(t, err)
		require.Equal(t, outcome{j.Key, []int{j.Key, 1}}, o)
	}
	ctx, third := inTime(t), len(js)/3
	f := memo.Func(m, count)
	for _, j := range js[:third] {
		o, err := f.Call(ctx, j)
		check(j, o, err)
	}
	got, err := parallel.Parallel(2, parallel.Memo(m))(parallel.Each(count, js[third:2*third])...)
	for i, o := range got {
		check(js[third+i], o, err)
	}
	i := 2 * third
	for r, err := range parallel.Stream(2, parallel.Memo(m))(slices.Values(parallel.Each(count, js[i:]))) {
		check(js[i], r.Value, err)
		i++
	}
	require.Len(t, js, i)
}

// records returns the files of all values in dir.
func records(t *testing.T, dir string) (files []string) {
	t.Helper()
	require.NoError(t, filepath.WalkDir(filepath.Join(dir, "groups"), func(path string, e fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) { // a folder that was empty
			return nil
		}
		if err == nil && !e.IsDir() {
			files = append(files, path)
		}
		return err
	}))
	return files
}

// rewrite changes the records of all values in dir, whose checksums hold.
func rewrite(t *testing.T, dir string, change func(*cache.Record)) {
	t.Helper()
	d, err := cache.OpenDisk(dir, cache.DiskOptions{})
	require.NoError(t, err)
	defer d.Close()
	groups, err := d.Groups()
	require.NoError(t, err)
	for _, file := range records(t, dir) {
		digest, err := hex.DecodeString(filepath.Base(filepath.Dir(file)) + filepath.Base(file))
		require.NoError(t, err)
		found := false
		for _, g := range groups {
			k := cache.Key{Group: g.Name, Sum: [32]byte(digest)}
			if rec, ok := d.Get(k); ok {
				change(&rec)
				require.NoError(t, d.Put(k, rec))
				found = true
				break
			}
		}
		require.True(t, found)
	}
}

func TestAFolderThatVanishesCostsNoCall(t *testing.T) {
	testkit.Clean(t)
	said := listen(t)
	dir := filepath.Join(t.TempDir(), "cache")
	m := open(t, memo.Options{Dir: dir})
	everyWay(t, m, fresh(6))
	require.NoError(t, os.RemoveAll(dir))
	js := fresh(6)
	for range 2 {
		everyWay(t, m, js)
	}
	require.EqualValues(t, 6, m.Stats().Errors)
	require.EqualValues(t, 6, m.Stats().Stores)
	require.EqualValues(t, 6, m.Stats().RAMHits, "what cannot be written is kept in RAM")
	for _, j := range js {
		require.EqualValues(t, 1, made(j))
	}
	require.Len(t, said(), 1)
	require.Contains(t, said()[0], "level=WARN")
	require.Contains(t, said()[0], "using the folder of a memory has failed; calls are made and return as ever")
	require.Contains(t, said()[0], dir)
	require.NoError(t, os.Mkdir(dir, 0o700))
	everyWay(t, m, fresh(6))
	require.EqualValues(t, 12, m.Stats().Stores, "it is back")
	require.Len(t, said(), 1)
}

func TestAFolderOfANewerVersionIsLeftAlone(t *testing.T) {
	testkit.Clean(t)
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "format"), []byte("parallel cache, format 2\n"), 0o600))
	_, err := memo.New(memo.Options{Dir: dir})
	require.ErrorContains(t, err, "newer version")
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, entries, 1)
}

// odd holds what cannot be encoded, though its type does not tell.
type odd struct {
	Key int
	V   any
}

func oddly(_ context.Context, key int) (odd, error) {
	calls.LoadOrStore("odd", true)
	return odd{key, func() int { return key }}, nil
}

func TestAValueThatCannotBeEncodedIsReturnedAndNotKept(t *testing.T) {
	everywhere(t, func(t *testing.T, m *memo.Memory) {
		said := listen(t)
		check := func(v any, err error) {
			t.Helper()
			require.NoError(t, err)
			require.Equal(t, v.(odd).Key, v.(odd).V.(func() int)())
		}
		f := memo.Func(m, oddly)
		for range 2 {
			v, err := f.Call(inTime(t), 1)
			check(v, err)
			vs, err := parallel.Parallel(2, parallel.Memo(m))(parallel.Delayed(oddly, 1), parallel.Delayed(oddly, 1))
			check(vs[0], err)
			check(vs[1], err)
			for r, err := range parallel.Stream(2, parallel.Memo(m))(slices.Values(parallel.Each(oddly, []int{1, 2}))) {
				check(r.Value, err)
			}
		}
		s := m.Stats()
		require.EqualValues(t, 10, s.Misses)
		require.EqualValues(t, 10, s.Errors)
		require.Zero(t, s.Stores+s.Hits)
		require.Zero(t, m.Flights())
		require.Len(t, said(), 1)
		require.Contains(t, said()[0], "encoding a value of github.com/gojoblib/parallel/memo_test.oddly has failed")
		require.Contains(t, said()[0], "func() int")
	})
}

func TestADamagedValueIsComputedAgainAndRepaired(t *testing.T) {
	testkit.Clean(t)
	dir := t.TempDir()
	js := fresh(6)
	everyWay(t, open(t, memo.Options{Dir: dir}), js)
	for n, damage := range []func(file string, b []byte) error{
		func(file string, b []byte) error { return os.Truncate(file, int64(len(b)/2)) },
		func(file string, b []byte) error { return os.Truncate(file, 0) },
		func(file string, b []byte) error {
			b = bytes.Clone(b)
			b[len(b)-1] ^= 1
			return os.WriteFile(file, b, 0o600)
		},
	} {
		files := records(t, dir)
		require.Len(t, files, 6)
		for _, file := range files {
			b, err := os.ReadFile(file)
			require.NoError(t, err)
			require.NoError(t, damage(file, b))
		}
		m := open(t, memo.Options{Dir: dir})
		everyWay(t, m, js)
		require.EqualValues(t, 6, m.Stats().Errors)
		require.EqualValues(t, 6, m.Stats().Stores)
		for _, j := range js {
			require.EqualValues(t, n+2, made(j))
		}
		m = open(t, memo.Options{Dir: dir})
		everyWay(t, m, js)
		require.EqualValues(t, 6, m.Stats().DiskHits)
		require.Zero(t, m.Stats().Errors)
	}
}

// What its checksum says is whole may still be no value of the type.
func TestAValueThatCannotBeDecodedIsComputedAgainAndRepaired(t *testing.T) {
	testkit.Clean(t)
	said := listen(t)
	dir := t.TempDir()
	js := fresh(6)
	everyWay(t, open(t, memo.Options{Dir: dir}), js)
	for n, value := range []string{"", "\xff\xff\xff\xff", "too long after all, is it not?"} {
		rewrite(t, dir, func(rec *cache.Record) { rec.Value = []byte(value) })
		m := open(t, memo.Options{Dir: dir})
		everyWay(t, m, js)
		require.EqualValues(t, 6, m.Stats().Errors)
		for _, j := range js {
			require.EqualValues(t, n+2, made(j))
		}
		require.Len(t, said(), n+1, "once for each Memory")
		require.Contains(t, said()[n], "reading a value of")
		m = open(t, memo.Options{Dir: dir})
		everyWay(t, m, js)
		require.EqualValues(t, 6, m.Stats().DiskHits)
	}
}

func TestAgeIsThatOfTheValue(t *testing.T) {
	for name, limit := range map[string]func(time.Duration) (memo.Options, []memo.Option){
		"of all": func(d time.Duration) (memo.Options, []memo.Option) { return memo.Options{MaxAge: d}, nil },
		"of one function": func(d time.Duration) (memo.Options, []memo.Option) {
			return memo.Options{}, []memo.Option{memo.MaxAge(d)}
		},
		"the shorter one": func(d time.Duration) (memo.Options, []memo.Option) {
			return memo.Options{MaxAge: d}, []memo.Option{memo.MaxAge(2 * d)}
		},
		"the shorter one, too": func(d time.Duration) (memo.Options, []memo.Option) {
			return memo.Options{MaxAge: 2 * d}, []memo.Option{memo.MaxAge(d)}
		},
	} {
		t.Run(name, func(t *testing.T) {
			testkit.Clean(t)
			dir := t.TempDir()
			j := fresh(1)[0]
			calls := int64(0)
			call := func(dir string, age time.Duration, again int64) {
				t.Helper()
				o, opts := limit(age)
				o.Dir = dir
				m, err := memo.New(o)
				require.NoError(t, err)
				for range 2 {
					_, err := memo.Func(m, count, opts...).Call(inTime(t), j)
					require.NoError(t, err)
				}
				require.NoError(t, m.Close())
				require.Equal(t, calls+again, made(j))
				calls += again
			}
			call(dir, time.Hour, 1)
			call(dir, time.Hour, 0)
			call("", time.Nanosecond, 2) // in RAM
			call("", time.Hour, 1)
			call(t.TempDir(), time.Nanosecond, 2)
			rewrite(t, dir, func(rec *cache.Record) { rec.Stored = rec.Stored.Add(-61 * time.Minute) })
			call(dir, time.Hour, 1)
			rewrite(t, dir, func(rec *cache.Record) { rec.Stored = rec.Stored.Add(time.Minute) })
			call(dir, time.Hour, 0)
			rewrite(t, dir, func(rec *cache.Record) { rec.Stored = rec.Stored.Add(100 * time.Hour) }) // the clock was set back since
			call(dir, time.Hour, 1)
		})
	}
}

func TestValidateThatPanicsHasSaidNo(t *testing.T) {
	for _, end := range []func(){func() { panic("as planned") }, runtime.Goexit} {
		everywhere(t, func(t *testing.T, m *memo.Memory) {
			said := listen(t)
			no := memo.Validate(func(memo.Entry) bool { end(); return true })
			require.NoError(t, m.Declare(count, no))
			j := fresh(1)[0]
			for n := range int64(3) {
				_, err := parallel.Map(inTime(t), []job{j}, count, parallel.Memo(m))
				require.NoError(t, err)
				_, err = memo.Func(m, count, no).Call(inTime(t), j)
				require.NoError(t, err)
				require.Equal(t, 2*n+2, made(j))
			}
			require.Len(t, said(), 1)
			require.Contains(t, said()[0], "validating values of")
			require.Zero(t, m.Flights())
		})
	}
}

// leaver says what identifies it, or leaves.
type leaver struct{ How string }

func (l leaver) MemoKey() (any, error) {
	switch l.How {
	case "panic":
		panic("as planned")
	case "exit":
		runtime.Goexit()
	case "error":
		return nil, errBoom
	}
	return l.How, nil
}

func nameOf(_ context.Context, l leaver) (string, error) { return l.How, nil }

func init() { registered = append(registered, nameOf) }

func TestAKeyThatCannotBeHadIsTheErrorOfItsCallAlone(t *testing.T) {
	testkit.Clean(t)
	t.Cleanup(parallel.CloseIdleWorkers)
	m := open(t, memo.Options{})
	in := []leaver{{"a"}, {"panic"}, {"exit"}, {"b"}, {"error"}, {"a"}}
	for _, where := range []parallel.Hint{parallel.Threads, parallel.Processes} {
		got, err := parallel.Map(inTime(t), in, nameOf, parallel.Memo(m), parallel.Prefer(where), parallel.KeepGoing(), parallel.NJobs(2))
		require.Equal(t, []string{"a", "", "", "b", "", "a"}, got)
		fs := parallel.Failures(err)
		require.Len(t, fs, 3)
		require.ErrorContains(t, fs[0], "MemoKey of memo_test.leaver: it panicked: as planned")
		require.ErrorContains(t, fs[1], "MemoKey of memo_test.leaver: it called runtime.Goexit")
		require.ErrorIs(t, fs[2], errBoom)
		n := 0
		for r, err := range parallel.Stream(2, parallel.Memo(m), parallel.Prefer(where))(slices.Values(parallel.Each(nameOf, in))) {
			require.Equal(t, err != nil, in[n].How == "panic" || in[n].How == "exit" || in[n].How == "error")
			require.Equal(t, n, r.Index)
			n++
		}
		require.Len(t, in, n)
	}
	require.Zero(t, m.Flights())
	require.EqualValues(t, 2, m.Stats().Misses)
}

func TestAClosedMemoryFindsNothingAndSaysNothing(t *testing.T) {
	for _, dir := range []string{"", t.TempDir()} {
		testkit.Clean(t)
		said := listen(t)
		m, err := memo.New(memo.Options{Dir: dir})
		require.NoError(t, err)
		js := fresh(6)
		everyWay(t, m, js)
		require.NoError(t, m.Close())
		require.NoError(t, m.Close())
		before := m.Stats()
		for range 2 {
			everyWay(t, m, js)
		}
		f := memo.Func(m, count)
		require.False(t, f.Has(js[0]))
		require.ErrorIs(t, f.Forget(js[0]), os.ErrClosed)
		require.ErrorIs(t, f.Clear(), os.ErrClosed)
		require.ErrorIs(t, m.Clear(), os.ErrClosed)
		require.ErrorIs(t, m.Reduce(memo.Limits{}), os.ErrClosed)
		for _, j := range js {
			require.EqualValues(t, 3, made(j))
		}
		before.Bytes = 0
		require.Equal(t, before, m.Stats())
		require.Empty(t, said())
	}
}

func TestCloseAmidCalls(t *testing.T) {
	for _, dir := range []string{"", t.TempDir()} {
		testkit.Clean(t)
		said := listen(t)
		for range 20 {
			m, err := memo.New(memo.Options{Dir: dir})
			require.NoError(t, err)
			js := fresh(9)
			done := make(chan bool)
			for range 3 {
				go func() {
					everyWay(t, m, js)
					done <- true
				}()
			}
			runtime.Gosched()
			require.NoError(t, m.Close())
			for range 3 {
				<-done
			}
		}
		assert.Empty(t, said())
	}
}

func TestNoMemoryIsAnError(t *testing.T) {
	var none *memo.Memory
	_, err := parallel.Map(inTime(t), fresh(1), count, parallel.Memo(none))
	require.ErrorContains(t, err, "the Memory is nil, or was not made by New")
	_, err = memo.Func(none, count).Call(inTime(t), job{})
	require.ErrorContains(t, err, "the Memory is nil, or was not made by New")
}

// generic, and the method value below, share their symbols with others that compute something else.
func generic[T any](_ context.Context, v T) (T, error) { return v, nil }

type adder struct{ by int }

func (a adder) add(_ context.Context, x int) (int, error) { return a.by + x, nil }

func (a adder) plus(x int) int { return a.by + x }

func TestFunctionsWithoutANameOfTheirOwnAreRefused(t *testing.T) {
	testkit.Clean(t)
	m := open(t, memo.Options{})
	for what, fn := range map[string]func(context.Context, int) (int, error){
		"a generic function": generic[int], "a method value": adder{1}.add,
		"a closure": func(_ context.Context, x int) (int, error) { return x + int(keys.Load()), nil },
	} {
		_, err := memo.Func(m, fn).Call(inTime(t), 1)
		require.ErrorContains(t, err, what)
		_, err = parallel.Map(inTime(t), []int{1}, fn, parallel.Memo(m))
		require.ErrorContains(t, err, what)
	}
	got, err := parallel.Parallel(1, parallel.Memo(m))(parallel.Delayed(adder.plus, adder{1}, 1), parallel.Delayed(adder.plus, adder{2}, 1), parallel.Delayed(adder.plus, adder{1}, 1))
	require.NoError(t, err, "a method expression has a name")
	require.Equal(t, []any{2, 3, 2}, got)
	require.EqualValues(t, 2, m.Stats().Misses)
}

func TestFoldersWithStrangeNames(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("names are not so strange there")
	}
	testkit.Clean(t)
	parent := t.TempDir()
	js := fresh(3)
	for i, name := range []string{"with spaces", "100%d %s %!", "new\nline", "ünï", strings.Repeat("x", 200)} {
		dir := filepath.Join(parent, name)
		everyWay(t, open(t, memo.Options{Dir: dir}), js)
		link := filepath.Join(parent, "link "+name[:2])
		require.NoError(t, os.Symlink(dir, link))
		m := open(t, memo.Options{Dir: link})
		everyWay(t, m, js)
		require.EqualValues(t, 3, m.Stats().DiskHits)
		require.EqualValues(t, i+1, made(js[0]))
	}
}
