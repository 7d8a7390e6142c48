package parallel

import (
	"context"
	"errors"
	"fmt"
	"os"
	"reflect"

	"github.com/gojoblib/parallel/backend"
	"github.com/gojoblib/parallel/backend/processes"
	"github.com/gojoblib/parallel/internal/child"
	"github.com/gojoblib/parallel/internal/registry"
	"github.com/gojoblib/parallel/internal/replay"
	"github.com/gojoblib/parallel/internal/scope"
	"github.com/gojoblib/parallel/internal/wire"
	"github.com/gojoblib/parallel/internal/worker"
)

// Main is the first line of main, and of TestMain, in a program whose tasks run in other processes. It registers the
// functions (and what else Register takes) that those tasks use. In a worker process it never returns: there it
// runs tasks instead of the program. What has run before it, as the initialisation of packages, has run in the worker, too.
//
// A program that does not call it cannot start workers, as their main would start workers of its own. With the
// environment variable PARALLEL_REPLAY it makes the one call of that capsule (see Capsules) and ends the program.
//
// It panics, at start-up and with a hint, for what cannot be registered: a closure, a method value, a generic function.
func Main(fns ...any) {
	Register(fns...)
	child.Main()
	if path := os.Getenv(replay.Env); path != "" {
		os.Unsetenv(replay.Env)
		if err := replay.Run(path, os.Stderr); err != nil {
			fmt.Fprintf(os.Stderr, "%+v\n", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
}

// CloseIdleWorkers ends the worker processes that no run has in use, and returns when they have ended, two seconds at most.
// They would end by themselves after five minutes without work (see processes.Options), or with the program.
func CloseIdleWorkers() { processes.CloseIdleWorkers() }

// Register makes values known by name to the other processes of this program: functions that tasks call, error
// values, so that errors.Is finds them after a crossing, and, by any other value, its type, for what travels inside
// an interface. It is for libraries, to be called from init; a program gives its own to Main. It may be called at any
// time and by several goroutines, but what a run uses must be registered in every process before the run.
//
// It panics for what cannot be registered or, of a type, never be sent.
func Register(vs ...any) {
	err := registry.Register(vs...)
	for _, v := range vs {
		if _, isError := v.(error); isError || v == nil || reflect.TypeOf(v).Kind() == reflect.Func {
			continue // an error that cannot be sent crosses as its text; a function need not cross at all
		}
		err = errors.Join(err, wire.Check(reflect.TypeOf(v)))
	}
	if err != nil {
		panic("parallel: " + err.Error())
	}
}

// Serve runs the calls that come over link, one at a time, until link.Next says io.EOF: the far end of a backend of
// one's own, whose near end is a backend.Carrier. Functions are found by their names, as given to Main or Register.
// It returns nil after io.EOF and otherwise the error of link.Next; calls that still run then have their contexts
// ended and are waited for.
func Serve(ctx context.Context, link backend.Link) error {
	return worker.Serve(ctx, link, new(scope.Locals))
}
