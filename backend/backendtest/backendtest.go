// Package backendtest checks that a backend keeps the contract of package backend: Exercise runs one suite over every
// backend, in the manner of testing/slogtest. It looks at behaviour only, never at a backend's insides.
//
// A backend whose calls run in other processes needs nothing special: the functions of the suite are registered when this
// package is initialised, so that a copy of the test binary knows them.
package backendtest

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gojoblib/parallel/backend"
)

// testCase is one sentence of the contract and what checks it.
type testCase struct {
	name  string
	claim string
	check func(t *testing.T, b backend.Backend)
}

// Exercise runs the suite over b, each case as a subtest that prints the sentence it found broken. First come the
// cases of whole runs; for a backend of Carriers those follow in which the suite drives a worker by hand.
//
// b is used by several runs at once. It should be given no other work meanwhile: one case counts goroutines. Within a
// few seconds the suite has ended; its time limits are for workers that hang.
func Exercise(t *testing.T, b backend.Backend) {
	t.Helper()
	cases := runCases
	if isCarrier(t, b) {
		cases = append(cases[:len(cases):len(cases)], linkCases...)
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Cleanup(func() {
				if t.Failed() {
					t.Logf("the contract: %s", c.claim)
				}
			})
			w := &watched{Backend: b}
			c.check(t, w)
			w.verify(t)
		})
	}
}

func isCarrier(t *testing.T, b backend.Backend) bool {
	t.Helper()
	w, err := b.Start(t.Context())
	if err != nil {
		t.Fatalf("backend %s cannot start a worker: %v", b.Traits().Name, err)
	}
	defer func() {
		if err := w.Close(); err != nil {
			t.Errorf("closing a worker that was given nothing: %v", err)
		}
	}()
	switch w.(type) {
	case backend.Carrier:
		return true
	case backend.InPlacer:
		return false
	}
	t.Fatalf("backend %s starts workers of type %T, neither an InPlacer nor a Carrier", b.Traits().Name, w)
	return false
}

// watched counts the workers of a backend, and how often each is closed.
type watched struct {
	backend.Backend
	started, closed, closedTwice atomic.Int64
}

func (w *watched) Start(ctx context.Context) (backend.Worker, error) {
	worker, err := w.Backend.Start(ctx)
	if err != nil {
		return nil, err
	}
	w.started.Add(1)
	switch worker := worker.(type) {
	case backend.Carrier:
		return &watchedCarrier{Carrier: worker, watch: w}, nil
	case backend.InPlacer:
		return &watchedInPlacer{InPlacer: worker, watch: w}, nil
	}
	return worker, nil
}

func (w *watched) ended(before bool) {
	if before {
		w.closedTwice.Add(1)
	} else {
		w.closed.Add(1)
	}
}

// verify checks what holds after every case.
func (w *watched) verify(t *testing.T) {
	t.Helper()
	if started, closed := w.started.Load(), w.closed.Load(); started != closed {
		t.Errorf("%d workers were started, %d of them closed", started, closed)
	}
	if n := w.closedTwice.Load(); n > 0 {
		t.Errorf("workers were closed again %d times", n)
	}
}

type watchedCarrier struct {
	backend.Carrier
	watch  *watched
	closed atomic.Bool
}

func (c *watchedCarrier) Close() error {
	c.watch.ended(c.closed.Swap(true))
	return c.Carrier.Close()
}

type watchedInPlacer struct {
	backend.InPlacer
	watch  *watched
	closed atomic.Bool
}

func (p *watchedInPlacer) Close() error {
	p.watch.ended(p.closed.Swap(true))
	return p.InPlacer.Close()
}

// limit is when a wait is taken for a hang.
const limit = 30 * time.Second
