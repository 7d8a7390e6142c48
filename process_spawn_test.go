package parallel_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	. "github.com/gojoblib/parallel"
	"github.com/gojoblib/parallel/backend/processes"
	"github.com/gojoblib/parallel/backend/threads"
	"github.com/gojoblib/parallel/internal/testkit"
)

// part is what a process of its own does: it tells whoever listens at address that it has begun, and goes on.
func part(ctx context.Context, what, address string) (string, error) {
	caught := make(chan os.Signal, 1)
	if what == "catch" {
		signal.Notify(caught, syscall.SIGTERM)
	}
	if address != "" {
		c, err := net.Dial("tcp", address)
		if err != nil {
			return "", err
		}
		_ = c.Close()
	}
	switch what {
	case "pid":
		return fmt.Sprint(os.Getpid()), nil
	case "error":
		return "in part", fmt.Errorf("played badly: %w", errBoom)
	case "panic":
		panic("stage fright")
	case "goexit":
		runtime.Goexit()
	case "exit":
		os.Exit(3)
	case "print":
		fmt.Println("to be or not to be")
	case "catch":
		return "caught " + (<-caught).String(), nil
	case "heed":
		<-ctx.Done()
		return "", context.Cause(ctx)
	case "deaf":
		time.Sleep(time.Hour)
	case "deadline":
		_, has := ctx.Deadline()
		return fmt.Sprint(has), nil
	case "seed":
		info, _ := TaskFrom(ctx)
		return fmt.Sprint(info.Name, info.Index, info.Seed), nil
	case "environment":
		return os.Getenv("SPAWN_TEST"), nil
	case "spawn":
		_, err := Spawn(ctx, Delayed(cube, 1))
		return "", err
	}
	return what, nil
}

func initially() error { return errBoom }

func onlyThere(int) int { return 0 }

// alone checks that the test leaves nothing. Else the race detector keeps each process for a second at its end.
func alone(t *testing.T) {
	t.Helper()
	testkit.Clean(t)
	t.Setenv("GORACE", strings.TrimSpace(os.Getenv("GORACE")+" atexit_sleep_ms=0"))
}

// stage is where processes tell that their call has begun.
type stage struct{ net.Listener }

func newStage(t *testing.T) stage {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = l.Close() })
	return stage{l}
}

// play starts a process with a part, and returns when its call has begun.
func (s stage) play(ctx context.Context, t *testing.T, what string, opts ...Option) *Process {
	t.Helper()
	p, err := Spawn(ctx, Delayed(part, what, s.Addr().String()), opts...)
	require.NoError(t, err)
	c, err := s.Accept()
	require.NoError(t, err)
	_ = c.Close()
	assert.True(t, p.Alive())
	_, ended := p.ExitCode()
	assert.False(t, ended)
	return p
}

// outcomeOf waits for the end of a process and checks what must hold of any.
func outcomeOf(t *testing.T, p *Process) (value any, err error, code int) { //nolint:staticcheck // as a Process has them
	t.Helper()
	value, err = p.Wait(t.Context())
	assert.False(t, p.Alive())
	select {
	case <-p.Done():
	default:
		t.Error("it has ended, and Done is open")
	}
	code, ended := p.ExitCode()
	assert.True(t, ended)
	again, sameErr := p.Wait(t.Context())
	assert.Equal(t, value, again)
	assert.Equal(t, err, sameErr)
	// When it has ended, nothing is wrong with these, and they change nothing.
	assert.NoError(t, p.Terminate())
	assert.NoError(t, p.Kill())
	same, _ := p.ExitCode()
	assert.Equal(t, code, same)
	if err != nil {
		var failed *TaskError
		require.ErrorAs(t, err, &failed)
		assert.NotZero(t, code)
	}
	return value, err, code
}

func TestSpawnReturnsAProcessWithItsCallsResult(t *testing.T) {
	alone(t)
	p, err := Spawn(t.Context(), Delayed(part, "pid", ""))
	require.NoError(t, err)
	assert.Equal(t, "github.com/gojoblib/parallel_test.part", p.Name())
	assert.NotEqual(t, os.Getpid(), p.PID())
	value, err, code := outcomeOf(t, p)
	require.NoError(t, err)
	assert.Equal(t, fmt.Sprint(p.PID()), value)
	assert.Zero(t, code)

	p, err = Spawn(t.Context(), Delayed(cube, 3).Named("the cube"))
	require.NoError(t, err)
	assert.Equal(t, "the cube", p.Name())
	value, err, _ = outcomeOf(t, p)
	require.NoError(t, err)
	assert.Equal(t, 27, value)
}

func TestSpawnReportsHowItsCallFailed(t *testing.T) {
	for _, c := range []struct {
		what string
		code int
		is   func(t *testing.T, err error)
	}{
		{"error", 1, func(t *testing.T, err error) { assert.ErrorIs(t, err, errBoom) }},
		{"panic", 1, func(t *testing.T, err error) {
			p, ok := errors.AsType[*PanicError](err)
			require.True(t, ok, "%v", err)
			assert.Equal(t, "stage fright", p.Value)
		}},
		{"goexit", 1, func(t *testing.T, err error) { assert.ErrorIs(t, err, ErrGoexit) }},
		{"exit", 3, func(t *testing.T, err error) {
			c, ok := errors.AsType[*CrashError](err)
			require.True(t, ok, "%v", err)
			assert.Equal(t, 3, c.ExitCode)
			assert.NotErrorIs(t, err, ErrNotRun)
		}},
		{"spawn", 1, func(t *testing.T, err error) { assert.ErrorContains(t, err, "a worker process cannot start another") }},
	} {
		t.Run(c.what, func(t *testing.T) {
			alone(t)
			p, err := Spawn(t.Context(), Delayed(part, c.what, "").Named("Hamlet"))
			require.NoError(t, err)
			_, err, code := outcomeOf(t, p)
			assert.Equal(t, c.code, code)
			c.is(t, err)
			failed := err.(*TaskError)
			assert.Equal(t, "Hamlet", failed.Name)
			assert.Equal(t, 1, failed.Attempts)
			if crash, ok := failed.Err.(*CrashError); ok {
				assert.Equal(t, p.PID(), crash.PID)
			}
		})
	}
}

func TestSpawnKillEndsTheProcess(t *testing.T) {
	alone(t)
	p := newStage(t).play(t.Context(), t, "deaf")
	require.NoError(t, p.Kill())
	_, err, code := outcomeOf(t, p)
	crash, ok := errors.AsType[*CrashError](err)
	require.True(t, ok, "%v", err)
	assert.Equal(t, p.PID(), crash.PID)
	assert.Equal(t, "killed", crash.Signal)
	assert.ErrorContains(t, err, "its worker ended with signal: killed: Kill was called")
	assert.Equal(t, killedCode(), code)
}

// killedCode is the exit code of a process that was killed.
func killedCode() int {
	if runtime.GOOS == "windows" {
		return 1
	}
	return -9
}

func TestSpawnKilledBeforeItsCallBegins(t *testing.T) {
	alone(t)
	p, err := Spawn(t.Context(), Delayed(part, "deaf", ""))
	require.NoError(t, err)
	require.NoError(t, p.Kill())
	_, err, code := outcomeOf(t, p)
	require.ErrorIs(t, err, ErrNotRun)
	_, ok := errors.AsType[*CrashError](err)
	assert.True(t, ok, "%v", err)
	assert.ErrorContains(t, err, "not run: its process had ended with signal: killed")
	assert.Equal(t, killedCode(), code)
}

func TestSpawnEndsWithItsContext(t *testing.T) {
	stop := errors.New("curtain")
	for _, c := range []struct {
		what string
		code int
	}{{"heed", 1}, {"deaf", killedCode()}} {
		t.Run(c.what, func(t *testing.T) {
			alone(t)
			ctx, cancel := context.WithCancelCause(t.Context())
			p := newStage(t).play(ctx, t, c.what)
			cancel(stop)
			_, err, code := outcomeOf(t, p)
			require.ErrorIs(t, err, context.Canceled)
			require.ErrorIs(t, err, stop)
			assert.Equal(t, c.code, code)
		})
	}
}

func TestSpawnTellsItsCallTheDeadline(t *testing.T) {
	alone(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
	defer cancel()
	p, err := Spawn(ctx, Delayed(part, "deadline", ""))
	require.NoError(t, err)
	value, err := p.Wait(t.Context())
	require.NoError(t, err)
	assert.Equal(t, "true", value)

	short, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	p, err = Spawn(short, Delayed(part, "heed", ""))
	require.NoError(t, err)
	_, err, _ = outcomeOf(t, p)
	require.ErrorIs(t, err, context.DeadlineExceeded)
}

func TestSpawnCancelledAtOnceLeavesNothing(t *testing.T) {
	alone(t)
	for range 20 {
		ctx, cancel := context.WithCancel(t.Context())
		p, err := Spawn(ctx, Delayed(part, "deaf", ""))
		cancel()
		require.NoError(t, err)
		_, err, _ = outcomeOf(t, p)
		require.ErrorIs(t, err, context.Canceled)
	}
}

func TestSpawnTimeoutEndsTheProcess(t *testing.T) {
	for _, c := range []struct {
		what string
		code int
	}{{"heed", 1}, {"deaf", killedCode()}} {
		t.Run(c.what, func(t *testing.T) {
			alone(t)
			p, err := Spawn(t.Context(), Delayed(part, c.what, ""), Timeout(50*time.Millisecond))
			require.NoError(t, err)
			_, err, code := outcomeOf(t, p)
			require.ErrorIs(t, err, ErrTimeout)
			assert.Equal(t, c.code, code)
		})
	}
}

func TestWaitForAProcessEndsWithItsOwnContext(t *testing.T) {
	alone(t)
	p := newStage(t).play(t.Context(), t, "deaf")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errBoom)
	_, err := p.Wait(ctx)
	require.ErrorIs(t, err, errBoom)
	require.ErrorIs(t, err, context.Canceled)
	assert.True(t, p.Alive())
	require.NoError(t, p.Kill())
	<-p.Done()
	_, err = p.Wait(ctx) // what there is, is returned
	_, ok := errors.AsType[*CrashError](err)
	assert.True(t, ok, "%v", err)
}

func TestWaitForAProcessFromSeveralGoroutines(t *testing.T) {
	alone(t)
	p, err := Spawn(t.Context(), Delayed(cube, 2))
	require.NoError(t, err)
	var waiting sync.WaitGroup
	for range 8 {
		waiting.Go(func() {
			value, err := p.Wait(nil) //nolint:staticcheck // it means no context
			assert.NoError(t, err)
			assert.Equal(t, 8, value)
			_, _, _ = p.Alive(), p.PID(), p.Kill()
		})
	}
	waiting.Wait()
}

func TestSpawnEndsWithoutAWait(t *testing.T) {
	alone(t)
	for range 3 {
		p, err := Spawn(t.Context(), Delayed(cube, 2))
		require.NoError(t, err)
		defer func() { <-p.Done() }()
	}
}

func TestSpawnInsideATask(t *testing.T) {
	alone(t)
	got, err := Parallel(2)(Each(func(ctx context.Context, i int) (any, error) {
		p, err := Spawn(ctx, Delayed(cube, i))
		if err != nil {
			return nil, err
		}
		return p.Wait(ctx)
	}, []int{1, 2, 3})...)
	require.NoError(t, err)
	assert.Equal(t, []any{1, 8, 27}, got)
}

func TestSpawnWritesToTheProgramsStdout(t *testing.T) {
	alone(t)
	r, w, err := os.Pipe()
	require.NoError(t, err)
	defer r.Close()
	was := os.Stdout
	os.Stdout = w
	p, err := Spawn(t.Context(), Delayed(part, "print", ""))
	os.Stdout = was
	require.NoError(t, err)
	_, err = p.Wait(t.Context())
	require.NoError(t, err)
	require.NoError(t, w.Close())
	out, err := io.ReadAll(r)
	require.NoError(t, err)
	assert.Equal(t, "to be or not to be", strings.TrimSpace(string(out)))
}

func TestSpawnHeedsItsOptions(t *testing.T) {
	alone(t)
	b := processes.New(processes.Options{Env: []string{"SPAWN_TEST=there"}, MaxTasks: 1})
	p, err := Spawn(t.Context(), Delayed(part, "environment", ""), Backend(b))
	require.NoError(t, err)
	value, err, _ := outcomeOf(t, p)
	require.NoError(t, err)
	assert.Equal(t, "there", value)

	ask := Delayed(part, "seed", "").Named("Yorick")
	p, err = Spawn(t.Context(), ask, Seed(7))
	require.NoError(t, err)
	value, err = p.Wait(t.Context())
	require.NoError(t, err)
	want, err := Parallel(1, Seed(7))(ask)
	require.NoError(t, err)
	assert.Equal(t, want[0], value)

	dir := t.TempDir()
	p, err = Spawn(t.Context(), Delayed(part, "error", ""), Capsules(dir))
	require.NoError(t, err)
	_, err, _ = outcomeOf(t, p)
	require.FileExists(t, err.(*TaskError).Capsule)
}

func TestSpawnReportsAnInitThatFails(t *testing.T) {
	alone(t)
	p, err := Spawn(t.Context(), Delayed(cube, 1), Backend(processes.New(processes.Options{Init: initially})))
	require.NoError(t, err)
	_, err, code := outcomeOf(t, p)
	require.ErrorIs(t, err, errBoom)
	require.ErrorIs(t, err, ErrNotRun)
	assert.NotContains(t, err.Error(), "\n")
	assert.NotZero(t, code)
}

func TestSpawnFailsWhereAnArgumentCannotBeSent(t *testing.T) {
	alone(t)
	p, err := Spawn(t.Context(), Delayed(takesAny, any(make(chan int))))
	require.NoError(t, err)
	_, err, code := outcomeOf(t, p)
	require.ErrorContains(t, err, "chan int")
	assert.Equal(t, 1, code)
}

func takesAny(v any) string { return fmt.Sprint(v) }

func TestSpawnRefusesMisuse(t *testing.T) {
	alone(t)
	pool, err := NewPool(1)
	require.NoError(t, err)
	defer pool.Close()
	ok := Delayed(cube, 1)
	ended, cancel := context.WithCancelCause(t.Context())
	cancel(errBoom)
	const once = " does not apply to Spawn: it makes one call, once, in a new process"
	for _, c := range []struct {
		name string
		ctx  context.Context
		task Task
		opts []Option
		want string
		is   error
	}{
		{name: "no task", want: "a Task that no Delayed made"},
		{name: "arity", task: Delayed(cube), want: "process_spawn_test.go"},
		{name: "type", task: Delayed(cube, "1"), want: "argument 0 is of type string"},
		{name: "closure", task: Delayed(func() { _ = ok }), want: "closure"},
		{name: "unregistered", task: Delayed(onlyThere, 1), want: "onlyThere is not registered"},
		{name: "method value", task: Delayed(pool.Close), want: "method value"},
		{name: "nil context", ctx: nilContext, task: ok, want: "nil context"},
		{name: "ended context", ctx: ended, task: ok, want: "boom", is: context.Canceled},
		{name: "Prefer(Threads)", task: ok, opts: []Option{Prefer(Threads)}, want: "Prefer" + once},
		{name: "NJobs", task: ok, opts: []Option{NJobs(2)}, want: "NJobs" + once},
		{name: "On", task: ok, opts: []Option{On(pool)}, want: "On" + once},
		{name: "Retry", task: ok, opts: []Option{Retry(1)}, want: "Retry (or RetryIf)" + once},
		{name: "KeepGoing", task: ok, opts: []Option{KeepGoing()}, want: "KeepGoing" + once},
		{name: "Memo", task: ok, opts: []Option{Memo(nil)}, want: "Memo" + once},
		{name: "Progress", task: ok, opts: []Option{Progress(io.Discard)}, want: "Progress" + once},
		{name: "Context", task: ok, opts: []Option{Context(t.Context())}, want: "the context is its first argument"},
		{name: "goroutines", task: ok, opts: []Option{Backend(threads.Backend{})}, want: "none of package processes"},
		{name: "nil Backend", task: ok, opts: []Option{Backend(nil)}, want: "Backend(nil)"},
		{name: "nil Option", task: ok, opts: []Option{nil}, want: "a nil Option"},
		{name: "twice", task: ok, opts: []Option{Seed(1), Seed(1)}, want: "Seed is given twice"},
		{name: "Timeout", task: ok, opts: []Option{Timeout(-1)}, want: "must be positive"},
		{name: "Options", task: ok, opts: []Option{Backend(processes.New(processes.Options{MaxTasks: -1}))}, want: "MaxTasks is -1"},
		{name: "all at once", task: Delayed(cube), opts: []Option{Retry(1), KeepGoing()}, want: "KeepGoing" + once},
	} {
		t.Run(c.name, func(t *testing.T) {
			ctx := c.ctx
			switch ctx {
			case nil:
				ctx = t.Context()
			case nilContext:
				ctx = nil
			}
			p, err := Spawn(ctx, c.task, c.opts...)
			require.Nil(t, p)
			require.ErrorContains(t, err, c.want)
			assert.Equal(t, 1, strings.Count(err.Error(), "parallel: "), "%v", err)
			if c.is != nil {
				assert.ErrorIs(t, err, c.is)
			}
			if failed := Failures(err); c.name == "all at once" {
				require.Len(t, failed, 1)
				assert.ErrorContains(t, err, "Retry (or RetryIf)"+once)
			}
		})
	}
}

// nilContext stands for nil.
var nilContext = context.WithValue(context.Background(), errBoom, "nil")

func TestSpawnIgnoresDefaultsThatDoNotApply(t *testing.T) {
	alone(t)
	ctx := With(t.Context(), Prefer(Threads), Retry(3), KeepGoing(), Seed(math.MaxUint64), BatchSize(7))
	ctx = With(ctx, Backend(threads.Backend{}))
	p, err := Spawn(ctx, Delayed(part, "pid", ""))
	require.NoError(t, err)
	value, err, _ := outcomeOf(t, p)
	require.NoError(t, err)
	assert.Equal(t, fmt.Sprint(p.PID()), value)

	p, err = Spawn(ctx, Delayed(part, "error", ""))
	require.NoError(t, err)
	_, err, _ = outcomeOf(t, p)
	require.ErrorIs(t, err, errBoom)
	assert.Equal(t, 1, err.(*TaskError).Attempts)

	p, err = Spawn(With(t.Context(), Timeout(50*time.Millisecond)), Delayed(part, "deaf", ""))
	require.NoError(t, err)
	_, err, _ = outcomeOf(t, p)
	require.ErrorIs(t, err, ErrTimeout)
}

const tooEarly = "SPAWN_TEST_TOO_EARLY"

func init() { // before TestMain calls Main
	if os.Getenv(tooEarly) != "" {
		Register(cube)
		if os.Getenv(tooEarly) == "benchmark" {
			os.Exit(0)
		}
		_, err := Spawn(context.Background(), Delayed(cube, 1))
		fmt.Println(err)
		os.Exit(0)
	}
}

func TestSpawnNeedsMain(t *testing.T) {
	alone(t)
	early := exec.Command(os.Args[0])
	early.Env = append(os.Environ(), tooEarly+"=1")
	out, err := early.Output()
	require.NoError(t, err)
	assert.Contains(t, string(out), "parallel: Spawn: the program has not called parallel.Main")
}

// BenchmarkSpawn is a process that makes one call, beside one that only starts and ends.
func BenchmarkSpawn(b *testing.B) {
	b.Run("spawn", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			p, err := Spawn(b.Context(), Delayed(cube, 3))
			require.NoError(b, err)
			_, err = p.Wait(b.Context())
			require.NoError(b, err)
		}
	})
	b.Run("exec", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			cmd := exec.Command(os.Args[0])
			cmd.Env = append(os.Environ(), tooEarly+"=benchmark")
			require.NoError(b, cmd.Run())
		}
	})
}
