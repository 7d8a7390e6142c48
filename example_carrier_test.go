package parallel_test

import (
	"context"
	"encoding/gob"
	"fmt"
	"io"
	"net"
	"sync"
	"testing"

	"github.com/gojoblib/parallel"
	"github.com/gojoblib/parallel/backend"
	"github.com/gojoblib/parallel/backend/backendtest"
	"github.com/gojoblib/parallel/internal/testkit"
)

// piped is a backend of one's own whose workers share no memory with the run: they are at the other end of a
// connection. Here that is a pipe into this very program; it might be a socket to a copy of it on another machine,
// which answers with parallel.Serve.
type piped struct{}

func (piped) Traits() backend.Traits { return backend.Traits{Name: "piped"} }

func (piped) Start(context.Context) (backend.Worker, error) {
	near, far := net.Pipe()
	w := &pipedWorker{conn: near, enc: gob.NewEncoder(near), dec: gob.NewDecoder(near), batches: map[uint64]*progress{}}
	w.served.Go(func() {
		defer far.Close()
		_ = parallel.Serve(context.Background(), pipedLink{gob.NewEncoder(far), gob.NewDecoder(far)})
	})
	return w, nil
}

// pipedLink is the far end: it moves orders and reports, and parallel.Serve does the rest.
type pipedLink struct {
	enc *gob.Encoder
	dec *gob.Decoder
}

func (l pipedLink) Next() (o backend.Order, err error) { err = l.dec.Decode(&o); return o, err }
func (l pipedLink) Report(news backend.Report) error   { return l.enc.Encode(news) }

// pipedWorker is the near end. It has every start reported to it, and so knows what a lost worker had surely not begun.
type pipedWorker struct {
	conn   net.Conn
	enc    *gob.Encoder
	dec    *gob.Decoder // used by Recv only
	served sync.WaitGroup

	sending sync.Mutex // one order at a time
	mu      sync.Mutex
	batches map[uint64]*progress
	killed  error
	closed  bool
}

type progress struct {
	began int
	asked bool // the run wants to hear of starts, too
}

func (w *pipedWorker) Send(b backend.Batch) error {
	w.mu.Lock()
	w.batches[b.ID] = &progress{asked: b.Started}
	w.mu.Unlock()
	b.Started = true
	return w.order(backend.Order{Batch: b})
}

// A lost order is Recv's to report.
func (w *pipedWorker) Trim(batch uint64, from int) {
	_ = w.order(backend.Order{Trim: &backend.Trim{Batch: batch, From: from}})
}

func (w *pipedWorker) Cancel(batch uint64) {
	_ = w.order(backend.Order{Cancel: &backend.Cancel{Batch: batch}})
}

func (w *pipedWorker) order(o backend.Order) error {
	w.sending.Lock()
	defer w.sending.Unlock()
	return w.enc.Encode(o)
}

func (w *pipedWorker) Recv() (backend.Report, error) {
	for {
		var news backend.Report
		if err := w.dec.Decode(&news); err != nil {
			return backend.Report{}, w.gone(err)
		}
		w.mu.Lock()
		p := w.batches[news.Batch]
		if news.Kind == backend.Started {
			p.began = news.Lo + 1
		}
		quiet := news.Kind == backend.Started && !p.asked
		w.mu.Unlock()
		if !quiet {
			return news, nil
		}
	}
}

func (w *pipedWorker) gone(err error) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case w.killed != nil:
		err = w.killed
	case w.closed:
		return io.EOF
	}
	lost := &backend.Lost{Cause: err}
	for id, p := range w.batches {
		lost.Batches = append(lost.Batches, backend.Fate{Batch: id, Began: p.began})
	}
	return lost
}

func (w *pipedWorker) Kill(cause error) {
	w.mu.Lock()
	if w.killed == nil && !w.closed {
		w.killed = cause
	}
	w.mu.Unlock()
	w.conn.Close() // what runs at the far end has its context ended
}

func (w *pipedWorker) Close() error {
	w.mu.Lock()
	w.closed = true
	killed := w.killed
	w.mu.Unlock()
	err := w.conn.Close()
	if killed == nil {
		w.served.Wait()
	}
	return err
}

func ExampleServe() {
	// Functions are found by name at the far end: main's first line, parallel.Main(cubeOf), has registered this one.
	fmt.Println(parallel.Parallel(2, parallel.Backend(piped{}))(parallel.Each(cubeOf, []int{1, 2, 3})...))
	// Output: [1 8 27] <nil>
}

func TestPipedBackendKeepsTheContract(t *testing.T) {
	testkit.Clean(t)
	backendtest.Exercise(t, piped{})
}
