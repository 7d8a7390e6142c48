package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// asTool is set in the environment of a test binary that is to be parallelvet itself.
const asTool = "PARALLELVET_AS_TOOL"

func TestMain(m *testing.M) {
	if os.Getenv(asTool) != "" {
		main()
	}
	os.Exit(m.Run())
}

const goMod = `module example.com/program

go 1.26

require github.com/gojoblib/parallel v0.0.0

replace github.com/gojoblib/parallel => ./parallel
`

const faulty = `package main

import (
	"math"

	"github.com/gojoblib/parallel"
)

func main() {
	parallel.Parallel(4)(
		parallel.Delayed(math.Sqrt, 2),
		parallel.Delayed(math.Sqrt, "2"),
	)
}
`

const fixed = `package main

import (
	"math"

	"github.com/gojoblib/parallel"
)

func main() {
	parallel.Parallel(4)(
		parallel.Delayed(math.Sqrt, float64(2)),
		parallel.Delayed(math.Sqrt, "2"),
	)
}
`

const sound = `package main

import (
	"fmt"
	"math"

	"github.com/gojoblib/parallel"
)

func main() {
	fmt.Println(parallel.Parallel(4)(parallel.Delayed(math.Sqrt, 2.0)))
}
`

// testFile makes go vet check main.go within the package's test variant too.
const testFile = `package main

import "testing"

func TestNothing(*testing.T) {}
`

// inside and outside are tests of package parallel itself, which the go command then builds as a variant of its own.
const (
	inside = `package parallel

func dropped() { Parallel(4)() }
`
	outside = `package parallel_test

import "github.com/gojoblib/parallel"

func dropped() { parallel.Parallel(4)() }
`
)

func TestGoVetRunsTheTool(t *testing.T) {
	dir := program(t, faulty)
	out, err := goVet(t, dir, "./...")
	require.Error(t, err)
	require.Contains(t, out, "main.go:10:2: the error of this run is dropped")
	require.Contains(t, out, "main.go:11:31: argument 0 of math.Sqrt is int, its parameter float64")
	require.Contains(t, out, "main.go:12:31: argument 0 of math.Sqrt is string, its parameter float64")
}

func TestGoVetFixesConstantsOnly(t *testing.T) {
	dir := program(t, faulty)
	out, _ := goVet(t, dir, "-fix", "./...")
	got, err := os.ReadFile(filepath.Join(dir, "main.go"))
	require.NoError(t, err)
	require.Equal(t, fixed, string(got), out)
}

func TestGoVetAcceptsASoundProgram(t *testing.T) {
	out, err := goVet(t, program(t, sound), "./...")
	require.NoError(t, err, out)
	require.Empty(t, out)
}

func TestGoVetChecksTheTestsOfPackageParallel(t *testing.T) {
	dir := filepath.Join(program(t, sound), "parallel")
	write(t, dir, "inside_test.go", inside)
	write(t, dir, "outside_test.go", outside)
	out, err := goVet(t, dir, "./...")
	require.Error(t, err)
	require.Contains(t, out, "inside_test.go:3:18: the error of this run is dropped")
	require.Contains(t, out, "outside_test.go:5:18: the error of this run is dropped")
}

// program writes a module with the given main, whose package parallel is the stub of the golden files.
func program(t *testing.T, main string) string {
	dir := t.TempDir()
	stub := filepath.Join(dir, "parallel")
	require.NoError(t, os.CopyFS(stub, os.DirFS("../../testdata/src/github.com/gojoblib/parallel")))
	write(t, stub, "go.mod", "module github.com/gojoblib/parallel\n\ngo 1.26\n")
	write(t, dir, "go.mod", goMod)
	write(t, dir, "main.go", main)
	write(t, dir, "main_test.go", testFile)
	return dir
}

func write(t *testing.T, dir, name, text string) {
	require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644))
}

// goVet returns what go vet prints in dir with this test binary as its tool.
func goVet(t *testing.T, dir string, args ...string) (string, error) {
	self, err := os.Executable()
	require.NoError(t, err)
	cmd := exec.CommandContext(t.Context(), "go", append([]string{"vet", "-vettool=" + self}, args...)...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), asTool+"=1", "GOPROXY=off", "GOFLAGS=-mod=mod", "GOWORK=off",
		"GORACE=atexit_sleep_ms=0") // else a tool built with -race sleeps a second for every package
	out, err := cmd.CombinedOutput()
	return string(out), err
}
