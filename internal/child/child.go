// Package child is a worker process from within: the program has started a copy of itself, and parallel.Main makes
// that copy a worker. Its near end is package backend/processes.
//
//	child.go    Main: notices that this process is a worker, becomes one, ends with it
//	link.go     the link to the near end: batches come in over a connection, results go out over the board
//	unix.go, windows.go, ...   what the system has for it
package child

import (
	"context"
	"errors"
	"fmt"
	"os"
	"reflect"
	"runtime"
	"runtime/debug"
	"strings"
	"sync/atomic"

	"github.com/gojoblib/parallel/backend"
	"github.com/gojoblib/parallel/internal/board"
	"github.com/gojoblib/parallel/internal/build"
	"github.com/gojoblib/parallel/internal/registry"
	"github.com/gojoblib/parallel/internal/scope"
	"github.com/gojoblib/parallel/internal/wire"
	"github.com/gojoblib/parallel/internal/worker"
)

// Env is the variable that tells a copy of the program that it is a worker.
const Env = "PARALLEL_WORKER"

// Label is added to a worker's name in listings of processes.
const Label = " [parallel worker]"

// Setup is what a worker is told first.
type Setup struct {
	Build       string // of the parent
	CPUs        int
	MemoryLimit int64  // bytes; 0: none
	Init        []byte // a batch of one call, made before any task; empty: none
	Sandbox     *Rules
}

// Rules say what a worker may do, once Init has returned.
type Rules struct {
	Read, Write           []string
	Network, Exec, Strict bool
}

// Sandbox enforces Rules; package sandbox sets it.
var Sandbox func(Rules) (missing []string, err error)

// spawned is true in a worker from the start.
var spawned = os.Getenv(Env) != ""

var called atomic.Bool

// Inside reports whether this process is a worker, or will be once it gets to Main.
func Inside() bool { return spawned }

// Called reports whether the program has called Main: only then may it start copies of itself.
func Called() bool { return called.Load() }

// Main notes that the program calls it. In a worker it runs tasks and never returns.
func Main() {
	if !spawned {
		if runtime.GOOS != "linux" {
			build.ID() // now, before the file can be replaced
		}
		called.Store(true)
		return
	}
	os.Args[0] = strings.TrimSuffix(os.Args[0], Label)
	conn, life, mem, err := inherit(os.Getenv(Env))
	os.Unsetenv(Env) // the programs that tasks start are no workers
	if err != nil {
		fmt.Fprintf(os.Stderr, "parallel: the environment variable %s is set, but no program has started this one as its worker: %v\n", Env, err)
		os.Exit(2)
	}
	l := &link{conn: conn, life: life, slots: map[uint64]place{}, boards: board.View(mem), frames: wire.NewFrameReader(conn, func(int) bool { return true })}
	locals := new(scope.Locals)
	if err := l.begin(locals); err != nil {
		_ = l.write(wire.Frame{Kind: wire.Refuse, Body: wire.AppendError(nil, err)})
		os.Exit(2)
	}
	err = worker.Serve(context.Background(), l, locals)
	if err != nil {
		fmt.Fprintln(os.Stderr, "parallel: a worker process ended:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

// begin makes the process what the near end wants it to be.
func (l *link) begin(locals *scope.Locals) error {
	watchParent(l.life)
	f, err := l.frames.Next()
	if err != nil {
		return err
	}
	var s Setup
	if f.Kind != wire.Setup {
		return fmt.Errorf("a frame of kind %d came before the first", f.Kind)
	}
	if _, err := wire.Read(f.Body, &s); err != nil {
		return fmt.Errorf("another build of the program started this one: %w", err)
	}
	if own := build.ID(); own != s.Build {
		return fmt.Errorf("the program was replaced while it runs: its workers would be another build (%.12s, not %.12s); restart it", own, s.Build)
	}
	if err := l.write(wire.Frame{Kind: wire.Hello}); err != nil {
		return err
	}
	share(s.CPUs)
	if s.MemoryLimit > 0 {
		debug.SetMemoryLimit(s.MemoryLimit / 10 * 9)
		if err := limitMemory(s.MemoryLimit); err != nil {
			return fmt.Errorf("MemoryLimit: %w", err)
		}
	}
	if len(s.Init) > 0 {
		if err := initialize(s.Init, locals); err != nil {
			return fmt.Errorf("calling Init: %w", err)
		}
	}
	if s.Sandbox != nil {
		if Sandbox == nil {
			return errors.New(`the sandbox is not linked into the program: import _ "github.com/gojoblib/parallel/backend/processes/sandbox"`)
		}
		missing, err := Sandbox(*s.Sandbox)
		if err != nil {
			return fmt.Errorf("sandbox: %w", err)
		}
		return l.write(wire.Frame{Kind: wire.Ready, Body: []byte(strings.Join(missing, ", "))})
	}
	return l.write(wire.Frame{Kind: wire.Ready})
}

// initialize makes the one call in batch, on a goroutine of its own.
func initialize(batch []byte, locals *scope.Locals) error {
	calls, err := wire.ReadBatch(batch, nil)
	if err != nil {
		return err
	}
	c, args, err := calls.Next()
	if err != nil {
		return err
	}
	fn, ok := registry.Func(c.Func)
	if !ok {
		return fmt.Errorf("%s is not registered in the worker; give it to parallel.Main or parallel.Register before main does anything else", c.Func)
	}
	in, err := args.Values(nil, fn.Type())
	if err != nil {
		return err
	}
	if wire.TakesContext(fn.Type()) {
		var ctx context.Context = &scope.Scope{Context: context.Background(), Attempt: 1, Names: funcName(c.Func), Locals: locals}
		in = append([]reflect.Value{reflect.ValueOf(&ctx).Elem()}, in...)
	}
	done := make(chan error, 1)
	go func() {
		err := backend.ErrGoexit
		defer func() {
			if v := recover(); v != nil {
				err = &backend.PanicError{Value: v, Stack: debug.Stack()}
			}
			done <- err
		}()
		outs := fn.Call(in)
		if err = nil; len(outs) > 0 {
			err, _ = outs[0].Interface().(error)
		}
	}()
	return <-done
}

type funcName string

func (n funcName) Name(int) string { return string(n) }

// share makes this process use n CPUs.
func share(n int) {
	if n > 0 && n != runtime.GOMAXPROCS(0) {
		runtime.GOMAXPROCS(n)
	}
}
