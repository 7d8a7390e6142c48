package memo_test

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// program is a module of its own that uses this one.
type program struct{ dir string }

// newProgram copies testdata/rebuilt.
func newProgram(t *testing.T) program {
	t.Helper()
	if _, err := exec.LookPath("go"); err != nil {
		t.Skip("there is no go tool here")
	}
	if testing.Short() {
		t.Skip("it builds programs")
	}
	p := program{t.TempDir()}
	require.NoError(t, os.CopyFS(p.dir, os.DirFS("testdata/rebuilt")))
	here, err := filepath.Abs("..")
	require.NoError(t, err)
	mod, err := os.ReadFile("../go.mod")
	require.NoError(t, err)
	const module = "github.com/gojoblib/parallel"
	own := strings.Replace(string(mod), "module "+module, "module example.com/rebuilt", 1) +
		fmt.Sprintf("\nrequire %[1]s v0.0.0\n\nreplace %[1]s => %[2]q\n", module, here)
	require.NoError(t, os.WriteFile(filepath.Join(p.dir, "go.mod"), []byte(own), 0o600))
	sums, err := os.ReadFile("../go.sum")
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(p.dir, "go.sum"), sums, 0o600))
	return p
}

// edit replaces a piece of one of the program's files and returns what takes that back.
func (p program) edit(t *testing.T, file, old, piece string) (undo func()) {
	t.Helper()
	file = filepath.Join(p.dir, file)
	source, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Contains(t, string(source), old)
	require.NoError(t, os.WriteFile(file, []byte(strings.Replace(string(source), old, piece, 1)), 0o600))
	return func() { require.NoError(t, os.WriteFile(file, source, 0o600)) }
}

// build returns the path of the program's executable.
func (p program) build(t *testing.T, what ...string) string {
	t.Helper()
	exe := filepath.Join(t.TempDir(), "program")
	c := exec.Command("go", append([]string{"build", "-trimpath", "-ldflags=-s -w", "-mod=mod", "-o", exe}, what...)...)
	c.Dir = p.dir
	c.Env = append(os.Environ(), "GOFLAGS=", "GOPROXY=off", "GOWORK=off")
	out, err := c.CombinedOutput()
	require.NoError(t, err, "%s", out)
	return exe
}

// run returns what the program prints, and what it says through slog.
func run(t *testing.T, exe string, args ...string) (out, said string) {
	t.Helper()
	c := exec.Command(exe, args...)
	var stdout, stderr bytes.Buffer
	c.Stdout, c.Stderr = &stdout, &stderr
	require.NoError(t, c.Run(), "%s%s", &stdout, &stderr)
	return stdout.String(), stderr.String()
}

// results is what the program prints where compute is f.
func results(f func(x int) int, hits, misses int) string {
	var some, all []any
	for x := 1; x <= 5; x++ {
		if all = append(all, f(x)); x <= 3 {
			some = append(some, f(x))
		}
	}
	return fmt.Sprintln(append(some, all)...) + fmt.Sprintln(14) + fmt.Sprintln(hits, misses)
}

func TestARebuiltProgramNeverAnswersWithOldValues(t *testing.T) {
	p := newProgram(t)
	base := func(x int) int { return (x*x + 100) * 10 }
	dir := filepath.Join(t.TempDir(), "with spaces and %d")

	first := p.build(t)
	out, said := run(t, first, dir)
	require.Equal(t, results(base, 0, 6), out)
	require.Empty(t, said)
	out, said = run(t, first, dir)
	require.Equal(t, results(base, 6, 0), out)
	require.Empty(t, said)
	out, _ = run(t, first, dir, "1")
	require.Equal(t, results(base, 0, 6), out, "a Version has keys of its own")

	elsewhere := newProgram(t)
	again := elsewhere.build(t)
	if buildID(t, first) == buildID(t, again) {
		out, said = run(t, again, dir)
		require.Equal(t, results(base, 6, 0), out, "nothing has changed")
		require.Empty(t, said)
	} else {
		t.Log("the compiler does not make the same program of the same sources in another folder")
	}

	old := 5 // values of compute that other builds have left
	for _, c := range []struct {
		what, file, from, to string
		now                  func(x int) int
	}{
		{"the function", "main.go", "* factor, nil", "* factor + 1, nil", func(x int) int { return base(x) + 1 }},
		{"a callee in another package", "lib/lib.go", "a + b", "a - b", func(x int) int { return (x*x - 100) * 10 }},
		{"a constant", "main.go", "factor = 10", "factor = 11", func(x int) int { return (x*x + 100) * 11 }},
		{"an interface's implementation", "main.go", "s.side * s.side", "s.side", func(x int) int { return (x + 100) * 10 }},
		{"a global variable", "main.go", "return 100", "return 200", func(x int) int { return (x*x + 200) * 10 }},
	} {
		undo := p.edit(t, c.file, c.from, c.to)
		exe := p.build(t)
		out, said := run(t, exe, dir)
		require.Equal(t, results(c.now, 0, 6), out, c.what)
		require.Equal(t, 1, strings.Count(said, "rebuilt"), said)
		require.Contains(t, said, "memo.Version")
		require.Contains(t, said, "function=main.compute")
		require.Contains(t, said, fmt.Sprintf("values=%d", old))
		out, said = run(t, exe, dir)
		require.Equal(t, results(c.now, 6, 0), out, c.what)
		require.Empty(t, said, "nothing was missing")
		out, said = run(t, exe, dir, "1")
		require.Equal(t, results(base, 6, 0), out, "with a Version, the user says that nothing has changed")
		require.Empty(t, said)
		undo()
		old += 5
	}
	undo := p.edit(t, "lib/lib.go", "Once, Twice int", "Twice, Once int")
	out, _ = run(t, p.build(t), dir, "1")
	require.Equal(t, results(base, 5, 1), out, "a type of results is in the key, whatever the Version")
	undo()
	out, said = run(t, p.build(t), dir)
	require.Equal(t, results(base, 6, 0), out, "old values lie beside new ones")
	require.Empty(t, said)

	// What comes first has no values of other builds; it is said of what does.
	undo = p.edit(t, "main.go", "for _, x := range in[:3]", "try(memo.Func(m, fresh).Call(ctx, 1))\n\tfor _, x := range in[:3]")
	defer undo()
	defer p.edit(t, "main.go", "func double(", "func fresh(_ context.Context, x int) (int, error) { return x, nil }\n\nfunc double(")()
	_, said = run(t, p.build(t), dir)
	require.Equal(t, 1, strings.Count(said, "rebuilt"), said)
	require.Contains(t, said, fmt.Sprintf("values=%d", old))
}

// Programs that are made of files have no path: main.compute of one is not that of another.
func TestProgramsOfFilesShareNoValues(t *testing.T) {
	p := newProgram(t)
	one := p.build(t, "main.go")
	p.edit(t, "main.go", "factor = 10", "factor = 11")
	two := p.build(t, "main.go")
	dir := t.TempDir()
	for _, version := range [][]string{nil, {"1"}} {
		dir = t.TempDir()
		args := append([]string{dir}, version...)
		out, _ := run(t, one, args...)
		require.Equal(t, results(func(x int) int { return (x*x + 100) * 10 }, 0, 6), out)
		out, _ = run(t, two, args...)
		require.Equal(t, results(func(x int) int { return (x*x + 100) * 11 }, 0, 6), out)
	}
	named := p.build(t)
	out, _ := run(t, named, dir, "1")
	require.Equal(t, results(func(x int) int { return (x*x + 100) * 11 }, 0, 6), out)
}

func buildID(t *testing.T, exe string) string {
	t.Helper()
	out, err := exec.Command("go", "tool", "buildid", exe).Output()
	require.NoError(t, err)
	return string(out[bytes.LastIndexByte(out, '/')+1:])
}
