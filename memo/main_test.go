package memo_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gojoblib/parallel"
	"github.com/gojoblib/parallel/internal/testkit"
	"github.com/gojoblib/parallel/memo"
)

// helper names what a copy of the test binary does instead of testing: a function of helpers and its arguments.
const helper = "MEMO_TEST_HELPER"

var (
	helpers    = map[string]func(args []string) error{}
	registered = []any{count, ends, logged, errBoom}
)

func TestMain(m *testing.M) {
	parallel.Main(registered...)
	if words := strings.Fields(os.Getenv(helper)); len(words) > 0 {
		if err := helpers[words[0]](words[1:]); err != nil {
			fmt.Println("error:", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Setenv("GORACE", "atexit_sleep_ms=0") // a second for each process that this one starts
	testkit.Main(m)
}

// process is a copy of the test binary that runs a helper.
type process struct {
	*exec.Cmd
	in  io.WriteCloser
	out *bufio.Reader
}

// startHelper starts one that is killed when ctx ends.
func startHelper(ctx context.Context, t testing.TB, words ...any) *process {
	t.Helper()
	c := exec.CommandContext(ctx, os.Args[0], "-test.run=^$")
	c.Env = append(os.Environ(), helper+"="+fmt.Sprintln(words...))
	in, err := c.StdinPipe()
	require.NoError(t, err)
	out, err := c.StdoutPipe()
	require.NoError(t, err)
	c.Stderr = os.Stderr
	require.NoError(t, c.Start())
	return &process{c, in, bufio.NewReader(out)}
}

// line returns the next line that the process has printed; "": it has ended.
func (p *process) line() string {
	s, _ := p.out.ReadString('\n')
	return strings.TrimSpace(s)
}

// inTime is a guard against deadlocks.
func inTime(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeoutCause(context.Background(), 100*time.Second, fmt.Errorf("%s waits for ever", t.Name()))
	t.Cleanup(func() {
		if ctx.Err() != nil {
			t.Error(context.Cause(ctx))
		}
		cancel()
	})
	return ctx
}

// open returns a Memory that is closed when the test ends.
func open(t testing.TB, o memo.Options) *memo.Memory {
	t.Helper()
	m, err := memo.New(o)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, m.Close()) })
	return m
}

// everywhere runs a test with a Memory in RAM, and with one that has a folder.
func everywhere(t *testing.T, f func(t *testing.T, m *memo.Memory)) {
	t.Run("RAM", func(t *testing.T) {
		testkit.Clean(t)
		f(t, open(t, memo.Options{}))
	})
	t.Run("disk", func(t *testing.T) {
		testkit.Clean(t)
		f(t, open(t, memo.Options{Dir: t.TempDir()}))
	})
}

// listen returns what is said through slog from here on, a line each, as long as the test runs.
func listen(t testing.TB) (said func() []string) {
	var mu sync.Mutex
	var text strings.Builder
	old := slog.Default()
	slog.SetDefault(slog.New(slog.NewTextHandler(writerFunc(func(b []byte) (int, error) {
		mu.Lock()
		defer mu.Unlock()
		return text.Write(b)
	}), nil)))
	t.Cleanup(func() { slog.SetDefault(old) })
	return func() []string {
		mu.Lock()
		defer mu.Unlock()
		return strings.Split(text.String(), "\n")[:strings.Count(text.String(), "\n")]
	}
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(b []byte) (int, error) { return f(b) }
