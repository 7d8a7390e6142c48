package main

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gojoblib/parallel"
	"github.com/gojoblib/parallel/bench/internal/python"
)

func TestMain(m *testing.M) {
	parallel.Main(registered...)
	serveAsPeer()
	os.Exit(m.Run())
}

// tiny are the jobs of the table, cut so that they take no time.
func tiny() []job {
	var js []job
	for _, r := range rows() {
		j := r.job.atMost(100)
		switch j.Kind {
		case kindCall:
			j.N = 3
		case kindSpin:
			j.Groups = []group{{20, 10}, {3, 500}, {20, 10}}
		case kindSum, kindAgain, kindDouble:
			j.N = 10_000
		}
		js = append(js, j)
	}
	return js
}

// runs has c do every job twice: a pool may be warm for the second.
func runs(t *testing.T, c contender, js []job) {
	t.Helper()
	s, err := c.open()
	if err != nil {
		t.Fatal(err)
	}
	for _, j := range js {
		if slices.Contains(c.skips, j.Kind) {
			continue
		}
		for range 2 {
			took, err := s.run(j)
			if err != nil || took <= 0 {
				t.Errorf("%s: %v, %v", j.Kind, took, err)
			}
		}
	}
	if err := s.close(); err != nil {
		t.Error(err)
	}
}

func TestContendersInGoReturnTheResults(t *testing.T) {
	for _, c := range inThisProgram() {
		t.Run(c.name, func(t *testing.T) { runs(t, c, tiny()) })
	}
}

// Without numpy and joblib: a test installs nothing.
func TestContendersInPythonReturnTheResults(t *testing.T) {
	path, err := exec.LookPath("python3")
	if err != nil {
		t.Skip(err)
	}
	p := &python.Python{Path: path, Script: filepath.Join(t.TempDir(), "peers.py")}
	if err := os.WriteFile(p.Script, peersPy, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range inPython(p) {
		t.Run(c.name, func(t *testing.T) { runs(t, c, tiny()) })
	}
}

func TestWhoSkipsTheWorkIsFoundOut(t *testing.T) {
	same := func(xs []int) ([]int, error) { return xs, nil }
	lazy := &pool{
		cubes: same, dynamic: same, spins: same,
		records: func(xs []string) ([]Record, error) { return make([]Record, len(xs)), nil },
		sums:    func(xs [][]float64) ([]float64, error) { return make([]float64, len(xs)), nil },
		doubles: func(xs [][]float64) ([][]float64, error) { return xs, nil },
		close:   func() error { return nil },
	}
	s := &goSession{start: func() (*pool, error) { return lazy, nil }}
	for _, j := range tiny() {
		j.N = max(j.N, 3) // 0 and 1 are their own cubes
		if _, err := s.run(j); err == nil {
			t.Errorf("%s passes", j.Kind)
		}
	}
}

func TestErrorOfACallIsTheErrorOfTheRun(t *testing.T) {
	p, err := netRPC()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.close(); err != nil {
		t.Fatal(err)
	}
	if _, err := p.cubes(numbers(100)); err == nil {
		t.Error("a pool that is closed calls")
	}
}

// fixed is a contender that takes so long for everything, or cannot.
type fixed struct {
	took time.Duration
	err  error
}

func (f fixed) run(job) (time.Duration, error) { return f.took, f.err }
func (f fixed) close() error                   { return nil }

func TestTableSaysWhatIsMissing(t *testing.T) {
	opens := func(f fixed) func() (session, error) { return func() (session, error) { return f, nil } }
	chosen := []contender{
		{name: "quick", open: opens(fixed{took: time.Second})},
		{name: "few", open: opens(fixed{took: time.Second}), most: 10},
		{name: "broken", open: opens(fixed{err: errors.New("it is\nbroken")})},
		{name: "shut", open: func() (session, error) { return nil, errors.New("it is shut") }},
		{name: "unfit", skips: []kind{kindMap}},
	}
	var table strings.Builder
	rows := []row{{"cubes", job{Kind: kindMap, N: 2000}, perSecond}}
	if err := report(t.Context(), &table, chosen, rows, 3, []string{"a note"}); err != nil {
		t.Fatal(err)
	}
	want := `
| cubes | 2.00 k (2.00 k) | 10.0* (10.0) | error | error | – |

- a note
- broken, cubes: it is
  broken
- shut, cubes: it is shut
- *: over fewer tasks, 100,000 or, by the executor, 10,000: all would take too long.
`
	if !strings.HasSuffix(table.String(), want) {
		t.Errorf("got\n%s\nwant it to end\n%s", &table, want)
	}
}

func TestFigures(t *testing.T) {
	for want, x := range map[string]float64{
		"0.05": 0.05, "9.99": 9.99, "10.0": 9.996, "99.9": 99.9, "100": 99.96, "999": 999, "1.00 k": 999.6, "12.3 k": 12_345, "5.61 M": 5_612_345,
	} {
		if got := short(x); got != want {
			t.Errorf("%v is %s, want %s", x, got, want)
		}
	}
	j := job{Kind: kindSpin, Groups: []group{{2000, 10}, {50, 8000}, {2000, 10}}}
	if got, want := timesIdeal(j, 330*time.Millisecond), "1.50"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	f := figure{job: j, took: []time.Duration{220 * time.Millisecond, 264 * time.Millisecond, 440 * time.Millisecond, 900 * time.Millisecond}}
	if got, want := f.cell(row{job: j, show: timesIdeal}), "1.60 (1.00)"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}
