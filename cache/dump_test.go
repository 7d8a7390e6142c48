package cache

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/gojoblib/parallel/internal/registry"
)

type model struct {
	Name    string
	weights [][]float64
	Extra   map[string]any
	Trained time.Time
	next    *model
}

type label struct{ Text string }

func init() {
	if err := registry.Register(label{}, &model{}); err != nil {
		panic(err)
	}
}

func aModel() *model {
	big := make([]float64, 100_000)
	for i := range big {
		big[i] = math.Sqrt(float64(i))
	}
	return &model{
		Name: "m", weights: [][]float64{big, {}, nil, {math.Inf(-1)}}, Extra: map[string]any{"label": label{"x"}, "n": 3},
		Trained: time.Unix(1e9, 5).UTC(), next: &model{},
	}
}

var endings = []string{"", ".bin", ".gz", ".zst", ".s2"}

func TestLoadReturnsWhatWasDumped(t *testing.T) {
	for _, end := range endings {
		t.Run(end, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "value"+end)
			require.NoError(t, Dump(path, aModel()))
			m, err := Load[*model](path)
			require.NoError(t, err)
			assert.Equal(t, aModel(), m)
			held, err := Load[any](path)
			require.NoError(t, err)
			assert.Equal(t, aModel(), held)

			require.NoError(t, Dump(path, []string(nil), Durable()))
			s, err := Load[[]string](path)
			require.NoError(t, err)
			assert.Nil(t, s)
			require.NoError(t, Dump(path, 7))
			n, err := Load[int](path)
			require.NoError(t, err)
			assert.Equal(t, 7, n)
			numbers := make([]int32, 1<<19)
			require.NoError(t, Dump(path, numbers))
			back, err := Load[[]int32](path)
			require.NoError(t, err)
			assert.True(t, slices.Equal(numbers, back))
			info, err := os.Stat(path)
			require.NoError(t, err)
			assert.Equal(t, end != "" && end != ".bin", info.Size() < 1<<19)
			entries, err := os.ReadDir(filepath.Dir(path))
			require.NoError(t, err)
			assert.Len(t, entries, 1)
		})
	}
}

func TestCodecIsToldByTheFileNotItsName(t *testing.T) {
	dir := t.TempDir()
	for _, end := range endings {
		require.NoError(t, Dump(filepath.Join(dir, "value"+end), "text"))
		require.NoError(t, os.Rename(filepath.Join(dir, "value"+end), filepath.Join(dir, "other")))
		s, err := Load[string](filepath.Join(dir, "other"))
		require.NoError(t, err)
		assert.Equal(t, "text", s)
	}
}

func TestLoadSaysWhatIsWrongWithTheType(t *testing.T) {
	path := filepath.Join(t.TempDir(), "value")
	loadError := func(err error) string {
		t.Helper()
		require.ErrorIs(t, err, ErrWrongType)
		return err.Error()[len("cache: load "+path+": wrong type: "):]
	}
	require.NoError(t, Dump(path, []float64{1}))
	_, err := Load[[]float32](path)
	assert.Equal(t, "it holds a []float64, not a []float32", loadError(err))
	_, err = Load[error](path)
	assert.Equal(t, "it holds a []float64, which is no error", loadError(err))

	type old struct{ X, Y int }
	type other struct{ X, Y int }
	require.NoError(t, Dump(path, old{1, 2}))
	_, err = Load[any](path)
	assert.Equal(t, "it holds a cache.old, which is not registered in this program; load it as that, or give a value of it to parallel.Register", loadError(err))
	_, err = Load[other](path)
	assert.Equal(t, "it holds a cache.old, not a cache.other", loadError(err))
	{
		type old struct{ Y, X int } // it has the same name, size, and encoding
		_, err = Load[old](path)
		assert.Contains(t, loadError(err), "cache.old is laid out otherwise than when it was dumped")
	}
}

// What an interface holds is part of the layout, too.
func TestLoadNoticesThatAHeldTypeHasChanged(t *testing.T) {
	path := filepath.Join(t.TempDir(), "value")
	require.NoError(t, Dump(path, []any{1, []any{&model{Extra: map[string]any{"": label{}}}}}))
	h, _, err := encodeDump([]any{1, []any{&model{Extra: map[string]any{"": label{}}}}})
	require.NoError(t, err)
	var names []string
	for _, d := range h.types {
		names = append(names, d.name)
	}
	const here = "github.com/gojoblib/parallel/cache."
	assert.Equal(t, []string{"[]interface {}", "int", "[]interface {}", "*" + here + "model", here + "label"}, names)

	h.types[4].layout[0]++
	_, err = h.check(reflect.TypeFor[[]any]())
	assert.ErrorContains(t, err, "wrong type: "+here+"label is laid out otherwise")
	h.types[4].name = "gone.Type"
	_, err = h.check(reflect.TypeFor[[]any]())
	assert.ErrorContains(t, err, "wrong type: in it is a gone.Type, which is not registered in this program")
}

func TestEveryDamageOfADumpIsNoticed(t *testing.T) {
	dir := t.TempDir()
	value := []any{"text", make([]float64, 5000), label{"x"}}
	for _, end := range endings {
		path := filepath.Join(dir, "value"+end)
		require.NoError(t, Dump(path, value))
		whole, err := os.ReadFile(path)
		require.NoError(t, err)
		try := func(b []byte) error {
			require.NoError(t, os.WriteFile(path, b, 0o666))
			v, err := Load[[]any](path)
			if err == nil {
				assert.Equal(t, value, v)
			}
			return err
		}
		step := 1 + len(whole)/80
		for n := 0; n < len(whole); n += step {
			assert.Error(t, try(whole[:n]), "%s cut off after %d bytes", end, n)
			b := bytes.Clone(whole)
			b[n] ^= 1 << (n % 8)
			if err := try(b); err == nil {
				assert.NotContains(t, []string{"", ".bin"}, end, "byte %d", n) // a codec's own padding and names
			}
		}
		assert.Error(t, try(append(bytes.Clone(whole), 'x')))
		assert.Error(t, try(nil))
	}
	path := filepath.Join(dir, "value")
	require.NoError(t, os.WriteFile(path, []byte("something else altogether"), 0o666))
	_, err := Load[int](path)
	assert.EqualError(t, err, "cache: load "+path+": it was not written by Dump")
	require.NoError(t, Dump(path, 1))
	b, err := os.ReadFile(path)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(path, append(bytes.Clone(b), 0), 0o666))
	_, err = Load[int](path)
	assert.EqualError(t, err, "cache: load "+path+": something follows the value: the file is damaged")
	require.NoError(t, os.WriteFile(path, b[:len(b)-1], 0o666))
	_, err = Load[int](path)
	assert.EqualError(t, err, "cache: load "+path+": the file is cut off")
	b[len(dumpMagic)] = 9
	require.NoError(t, os.WriteFile(path, b, 0o666))
	_, err = Load[int](path)
	assert.EqualError(t, err, "cache: load "+path+": it was written by a newer version of this package (format 9, this is 1)")
	_, err = Load[int](dir)
	assert.EqualError(t, err, "cache: load "+dir+": it is not a file")
	_, err = Load[int](filepath.Join(dir, "none"))
	assert.ErrorIs(t, err, fs.ErrNotExist)
}

func TestDumpRefuses(t *testing.T) {
	path := filepath.Join(t.TempDir(), "value.gz")
	require.NoError(t, Dump(path, "old"))
	assert.ErrorContains(t, Dump(path, nil), "nil has no type")
	assert.ErrorContains(t, Dump(path, make(chan int)), "chan int cannot be")
	assert.ErrorContains(t, Dump(path, []any{struct{ x int }{}}), "is not registered")
	assert.ErrorContains(t, Dump(path, 1, Level(10)), "a level of 10; for .gz it is 1 to 9")
	assert.ErrorContains(t, Dump(path[:len(path)-3], 1, Level(1)), "a level, but no compression")
	assert.Error(t, Dump(filepath.Join(path, "in a file"), 1))
	s, err := Load[string](path)
	require.NoError(t, err)
	assert.Equal(t, "old", s, "after an error the old file is as it was")
	for end, highest := range map[string]int{".gz": 9, ".zst": 22, ".s2": 3} {
		for level := 1; level <= highest; level += 2 {
			require.NoError(t, Dump(path+end, "new", Level(level)))
			s, err := Load[string](path + end)
			require.NoError(t, err)
			assert.Equal(t, "new", s)
		}
	}
}

func TestDumpKeepsPermissionsAndLinks(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("Windows has neither")
	}
	dir := t.TempDir()
	path, link := filepath.Join(dir, "value"), filepath.Join(dir, "link")
	require.NoError(t, Dump(path, 1))
	require.NoError(t, os.Chmod(path, 0o640))
	require.NoError(t, os.Symlink(path, link))
	require.NoError(t, Dump(link, 2))
	n, err := Load[int](path)
	require.NoError(t, err)
	assert.Equal(t, 2, n)
	info, err := os.Stat(path)
	require.NoError(t, err)
	assert.Equal(t, fs.FileMode(0o640), info.Mode())
}

// A large slice is neither copied to be dumped nor more than once to be loaded.
func TestLargeSlicesAreNotCopied(t *testing.T) {
	const size = 64 << 20
	path := filepath.Join(t.TempDir(), "value")
	numbers := make([]float64, size/8)
	var before, between, after runtime.MemStats
	runtime.ReadMemStats(&before)
	require.NoError(t, Dump(path, numbers))
	runtime.ReadMemStats(&between)
	back, err := Load[[]float64](path)
	require.NoError(t, err)
	runtime.ReadMemStats(&after)
	require.Len(t, back, len(numbers))
	assert.Less(t, between.TotalAlloc-before.TotalAlloc, uint64(1<<20))
	assert.Less(t, after.TotalAlloc-between.TotalAlloc, uint64(size+1<<20))
}

// FuzzLoad gives readDump what a damaged disk might, with and without right checksums.
func FuzzLoad(f *testing.F) {
	for _, v := range []any{[]any{1, "a", label{"x"}, []string{"b"}}, []any{}, []any{make([]float64, 5000)}} {
		h, parts, err := encodeDump(v)
		require.NoError(f, err)
		var b bytes.Buffer
		require.NoError(f, writeDump(&b, h, parts))
		f.Add(b.Bytes(), false)
		f.Add(b.Bytes(), true)
	}
	f.Fuzz(func(t *testing.T, b []byte, repair bool) {
		if n := len(dumpMagic) + 5; repair && len(b) > n+8 {
			copy(b, dumpMagic)
			b[len(dumpMagic)] = dumpVersion
			if end := n + int(binary.LittleEndian.Uint32(b[n-4:])); end > n && end+8 <= len(b) {
				binary.LittleEndian.PutUint32(b[end:], crc32.Checksum(b[:end], castagnoli))
				binary.LittleEndian.PutUint32(b[len(b)-4:], crc32.Checksum(b[end+4:len(b)-4], castagnoli))
			}
		}
		v, err := readDump(bytes.NewReader(b), int64(len(b)), reflect.TypeFor[[]any]())
		if err == nil {
			_, _, err = encodeDump(v.Interface())
			require.NoError(t, err)
		}
	})
}

func BenchmarkDump(b *testing.B) {
	numbers := make([]float64, 8<<20)
	for i := range numbers {
		numbers[i] = float64(i) / 3
	}
	for _, end := range endings[1:] {
		path := filepath.Join(b.TempDir(), "value"+end)
		b.Run("dump"+end, func(b *testing.B) {
			b.SetBytes(int64(8 * len(numbers)))
			for b.Loop() {
				if err := Dump(path, numbers); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run("load"+end, func(b *testing.B) {
			b.SetBytes(int64(8 * len(numbers)))
			for b.Loop() {
				if _, err := Load[[]float64](path); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func ExampleDump() {
	dir, err := os.MkdirTemp("", "")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "primes.zst")
	if err := Dump(path, []int{2, 3, 5, 7}); err != nil {
		panic(err)
	}
	fmt.Println(Load[[]int](path))
	_, err = Load[[]string](path)
	fmt.Println(errors.Is(err, ErrWrongType))
	// Output:
	// [2 3 5 7] <nil>
	// true
}
