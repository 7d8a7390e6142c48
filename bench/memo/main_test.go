package main

import (
	"context"
	"encoding/binary"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gojoblib/parallel/bench/internal/python"
)

// tiny are the jobs of the table, cut so that they take no time.
func tiny() []job {
	var js []job
	for _, r := range rows() {
		j := r.job.atMost(20)
		if j.Keys = min(j.Keys, 10); j.Kind == kindHashFloats {
			j.N = 3
		}
		js = append(js, j)
	}
	return js
}

// runs has c do every job twice, the first time less of it, as the measurement does.
func runs(t *testing.T, c contender) {
	t.Helper()
	s, err := c.open(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for _, j := range tiny() {
		if slices.Contains(c.skips, j.Kind) {
			continue
		}
		for _, j := range []job{j.before(), j} {
			if got, err := once(t.Context(), s, j); err != nil || got.Took <= 0 {
				t.Errorf("%s: %+v, %v", j.Kind, got, err)
			}
		}
	}
	if err := s.close(); err != nil {
		t.Error(err)
	}
}

func TestContendersInGoRemember(t *testing.T) {
	for _, c := range append(inThisProgram(), floor) {
		t.Run(c.name, func(t *testing.T) { runs(t, c) })
	}
}

// Without joblib: a test installs nothing.
func TestContendersInPythonRemember(t *testing.T) {
	path, err := exec.LookPath("python3")
	if err != nil {
		t.Skip(err)
	}
	p := &python.Python{Path: path, Script: filepath.Join(t.TempDir(), "peers.py")}
	if err := os.WriteFile(p.Script, peersPy, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range inPython(p) {
		t.Run(c.name, func(t *testing.T) { runs(t, c) })
	}
}

// wrong is a contender whose functions return nothing.
func wrong(string) (*cache, error) {
	lazy := func(int) (int, error) { return 0, nil }
	none := func(int) (Record, error) { return Record{}, nil }
	all := func(in []int) ([]int, error) { return in, nil }
	return &cache{
		square: lazy, nap: lazy, describe: none, share: none, page: func(int) (string, error) { return "", nil }, inMap: all, inRun: all,
		fromDisk: func() uint64 { return 0 }, close: func() error { return nil },
	}, nil
}

// forgetful is one that calls every time.
func forgetful(string) (*cache, error) {
	ctx := context.Background()
	f := func(x int) (int, error) { return square(ctx, x) }
	d := func(x int) (Record, error) { return describe(ctx, x) }
	all := func(in []int) ([]int, error) {
		out := make([]int, len(in))
		return out, call(in, out, f)
	}
	return &cache{
		square: f, nap: func(x int) (int, error) { return nap(ctx, x) }, describe: d, share: d, page: func(x int) (string, error) { return page(ctx, x) },
		inMap: all, inRun: all, fromDisk: func() uint64 { return 20 }, close: func() error { return nil },
	}, nil
}

func TestWhoSkipsTheWorkIsFoundOut(t *testing.T) {
	constant := func([]any) func(int) (digest, error) {
		return func(int) (digest, error) { return digest{}, nil }
	}
	for name, start := range map[string]func(string) (*cache, error){"wrong": wrong, "forgetful": forgetful} {
		s, err := inGo(start, constant)(t.Context(), t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		for _, j := range tiny() {
			if name == "forgetful" && slices.Contains([]kind{kindMiss, kindTogether, kindSlow}, j.Kind) {
				continue // calling is what they ask for
			}
			if _, err := once(t.Context(), s, j); err == nil {
				t.Errorf("%s: %s passes", name, j.Kind)
			}
		}
	}
}

func TestDigestThatChangesIsFoundOut(t *testing.T) {
	var n, step uint64
	counting := func([]any) func(int) (digest, error) {
		return func(i int) (d digest, _ error) {
			n += step
			binary.LittleEndian.PutUint64(d[:], n)
			d[8] = byte(i)
			return d, nil
		}
	}
	s, err := inGo(nil, counting)(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	j := job{Kind: kindHashInt, N: 20, Keys: 10}
	if _, err := s.run(j); err != nil {
		t.Error(err)
	}
	n++
	if _, err := s.run(j); err == nil {
		t.Error("from run to run")
	}
	step = 1
	j.Kind = kindHashPair
	if _, err := s.run(j); err == nil {
		t.Error("within a run")
	}
}

// fixed is a contender that takes so long for everything, or cannot.
type fixed struct {
	took  time.Duration
	times int // how often it makes each call
	err   error
}

func (f fixed) run(j job) (sample, error) { return sample{f.took, f.times * j.N}, f.err }
func (f fixed) close() error              { return nil }

func TestTableSaysWhatIsMissing(t *testing.T) {
	opens := func(f fixed) func(context.Context, string) (session, error) {
		return func(context.Context, string) (session, error) { return f, nil }
	}
	chosen := []contender{
		{name: "quick", open: opens(fixed{took: time.Second, times: 1})},
		{name: "twice", open: opens(fixed{took: time.Millisecond, times: 2})},
		{name: "broken", open: opens(fixed{err: errors.New("it is\nbroken")})},
		{name: "idle", open: opens(fixed{took: time.Second})},
		{name: "shut", open: func(context.Context, string) (session, error) { return nil, errors.New("it is shut") }},
		{name: "unfit", skips: []kind{kindSlow}},
	}
	var table strings.Builder
	rows := []row{{name: "naps", job: job{Kind: kindSlow, N: 1000}, whole: true}}
	if err := report(t.Context(), &table, t.TempDir(), chosen, rows, 3, []string{"a note"}); err != nil {
		t.Fatal(err)
	}
	want := `
| naps | 1.00 s (1.00 s), 1,000 calls | 1.00 ms (1.00 ms), 2,000 calls | error | error | error | – |

- a note
- broken, naps: it is
  broken
- idle, naps: 0 calls were made, it should be 100 to 800
- shut, naps: it is shut
`
	if !strings.HasSuffix(table.String(), want) {
		t.Errorf("got\n%s\nwant it to end\n%s", &table, want)
	}
}

func TestFigures(t *testing.T) {
	for want, s := range map[string]float64{
		"0.50 ns": 0.5e-9, "9.99 ns": 9.99e-9, "10.0 ns": 9.996e-9, "99.9 ns": 99.9e-9, "100 ns": 99.96e-9, "999 ns": 999e-9, "1.00 µs": 999.6e-9,
		"12.3 ms": 12.345e-3, "61.0 s": 61,
	} {
		if got := short(s); got != want {
			t.Errorf("%v s is %s, want %s", s, got, want)
		}
	}
	for want, n := range map[string]int{"7": 7, "1,000": 1000, "12,345,678": 12_345_678} {
		if got := thousands(n); got != want {
			t.Errorf("%d is %s, want %s", n, got, want)
		}
	}
	f := &figure{job: job{Kind: kindHit, N: 1000}}
	for _, ms := range []int{9, 1, 3, 2} {
		f.add(sample{time.Duration(ms) * time.Millisecond, ms})
	}
	if got, want := f.cell(row{}), "2.50 µs (1.00 µs)"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if got, want := f.cell(row{whole: true}), "2.50 ms (1.00 ms), 1 to 9 calls"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}
