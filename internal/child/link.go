package child

import (
	"io"
	"os"
	"runtime/debug"
	"sync"
	"time"

	"github.com/gojoblib/parallel/backend"
	"github.com/gojoblib/parallel/internal/board"
	"github.com/gojoblib/parallel/internal/wire"
	"github.com/gojoblib/parallel/internal/worker"
)

// link is the far end of a worker process's link.
type link struct {
	conn   io.Writer
	frames *wire.FrameReader
	boards [board.Slots]board.Slot

	life *os.File // a pipe that ends with the parent; open as long as this process lives

	mu    sync.Mutex // of slots
	slots map[uint64]place

	writing sync.Mutex
	buf     []byte
}

// place is where a batch's results go.
type place struct {
	slot int
	gen  uint16
}

var _ worker.Desk = (*link)(nil)

// Next returns the next order. When the near end is gone, so is this process.
func (l *link) Next() (backend.Order, error) {
	for {
		f, err := l.frames.Next()
		if err != nil {
			abandoned()
		}
		switch f.Kind {
		case wire.Run:
			if int(f.Slot) >= len(l.boards) {
				continue
			}
			l.mu.Lock()
			l.slots[f.Batch] = place{int(f.Slot), f.Gen}
			l.mu.Unlock()
			b := backend.Batch{ID: f.Batch, N: f.Hi, Timeout: time.Duration(f.Took), Started: f.Flag, Body: f.Body, Segments: f.Segments}
			if f.Deadline != 0 {
				b.Deadline = time.Unix(0, f.Deadline)
			}
			return backend.Order{Batch: b}, nil
		case wire.Cancel:
			return backend.Order{Cancel: &backend.Cancel{Batch: f.Batch}}, nil
		case wire.Share:
			share(f.Lo)
		case wire.Tidy:
			debug.FreeOSMemory()
			_ = l.write(wire.Frame{Kind: wire.Tidied})
		case wire.Bye:
			return backend.Order{}, io.EOF
		}
	}
}

// Slot returns the place of a batch on the board.
func (l *link) Slot(batch uint64) (board.Slot, uint16) {
	l.mu.Lock()
	defer l.mu.Unlock()
	p := l.slots[batch]
	return l.boards[p.slot], p.gen
}

// Bell tells the near end that a batch is over.
func (l *link) Bell(batch uint64) {
	l.mu.Lock()
	delete(l.slots, batch)
	l.mu.Unlock()
	_ = l.write(wire.Frame{Kind: wire.Bell, Batch: batch})
}

// Report sends what does not fit on the board.
func (l *link) Report(r backend.Report) error {
	return l.write(wire.Frame{Kind: wire.News, Slot: byte(r.Kind), Batch: r.Batch, Lo: r.Lo, Hi: r.Hi, Took: int64(r.Took), Body: r.Body, Segments: r.Segments})
}

func (l *link) write(f wire.Frame) (err error) {
	l.writing.Lock()
	defer l.writing.Unlock()
	l.buf, err = f.Write(l.conn, l.buf)
	if cap(l.buf) > 1<<20 {
		l.buf = nil
	}
	return err
}
