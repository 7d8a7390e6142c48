// Package threads is the backend whose workers are goroutines: values are shared, nothing is copied, and a call that
// will not return cannot be killed.
package threads

import (
	"context"

	"github.com/gojoblib/parallel/backend"
)

// Backend makes goroutines. The zero value is ready, and any number of runs may use it at once.
type Backend struct{}

// Start returns a worker, which costs nothing until it runs. It never fails.
func (Backend) Start(context.Context) (backend.Worker, error) { return worker{}, nil }

// Traits names the backend.
func (Backend) Traits() backend.Traits { return backend.Traits{Name: "threads"} }

type worker struct{}

var _ backend.InPlacer = worker{}

func (worker) Go(loop func()) { go loop() }
func (worker) Close() error   { return nil }
