package parallel

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gojoblib/parallel/internal/dispatch"
	"github.com/gojoblib/parallel/internal/plan"
	"github.com/gojoblib/parallel/internal/wire"
)

// desk is the work of a pool: single calls, which lie in blocks until they have ended.
type desk struct {
	pool *pool
	memo *recall // nil: every call is made

	mu     sync.Mutex
	next   int
	blocks map[int]*deskBlock
	last   *deskBlock
	closed bool
}

type deskBlock struct {
	id    int
	calls [plan.Block]atomic.Pointer[promise]
	left  atomic.Int32 // calls that have not left it
}

// submit hands a call in; false: too late.
func (d *desk) submit(f *promise) bool {
	d.mu.Lock()
	if d.closed {
		d.mu.Unlock()
		return false
	}
	i := d.next
	f.index = i
	if i%plan.Block == 0 {
		d.last = &deskBlock{id: i / plan.Block}
		d.last.left.Store(plan.Block)
		d.blocks[i/plan.Block] = d.last
	}
	d.last.calls[i%plan.Block].Store(f)
	d.next++
	d.pool.calls.Put(d.next)
	d.mu.Unlock()
	d.pool.calls.Wake()
	return true
}

func (d *desk) close() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.closed = true
}

// sweep ends what the run, which has ended, has not made.
func (d *desk) sweep() {
	left := d.all()
	d.mu.Lock()
	d.blocks, d.last = nil, nil
	d.mu.Unlock()
	why := d.pool.refusal()
	for _, f := range left {
		f.finish(nil, f.failure(notRun(why)))
	}
}

// stop ends the calls that have not begun, and the contexts of those that run.
func (d *desk) stop() {
	why := d.pool.over()
	for _, f := range d.all() {
		f.end(why)
	}
}

// all returns the calls that have not left the desk.
func (d *desk) all() (fs []*promise) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, b := range d.blocks {
		for k := range b.calls {
			if f := b.calls[k].Load(); f != nil {
				fs = append(fs, f)
			}
		}
	}
	return fs
}

// notRun is the error of a call that was not made because of why.
func notRun(why error) error { return fmt.Errorf("%w: %w", ErrNotRun, why) }

func (d *desk) block(i int) *deskBlock {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.blocks[i/plan.Block]
}

// at returns call i; nil: it has left the desk.
func (d *desk) at(i int) *promise {
	if b := d.block(i); b != nil {
		return b.calls[i%plan.Block].Load()
	}
	return nil
}

// drop takes call i, which nobody needs here any more, from the desk.
func (d *desk) drop(i int) {
	if b := d.block(i); b != nil {
		d.dropFrom(b, i)
	}
}

func (d *desk) dropFrom(b *deskBlock, i int) {
	if b.calls[i%plan.Block].Swap(nil) == nil {
		return
	}
	if b.left.Add(-1) == 0 {
		d.mu.Lock()
		delete(d.blocks, i/plan.Block)
		d.mu.Unlock()
	}
}

// recall makes the pool look calls up in m.
func (d *desk) recall(m Memoizer) {
	d.memo = &recall{
		memo: m,
		declare: func(i int) declared {
			return d.at(i).declare()
		},
		put: func(i int, value any) {
			d.at(i).finish(value, nil)
			d.drop(i)
		},
	}
}

// Find leaves calls that have ended already to Run.
func (d *desk) Find(i int, again func()) (dispatch.Found, func(), error) {
	if f := d.at(i); f == nil || f.state.Load() == ended {
		return dispatch.Make, nil, nil
	}
	return d.memo.Find(i, again)
}

func (d *desk) Made(i int, ok bool, took time.Duration) error { return d.memo.Made(i, ok, took) }

func (d *desk) Run(t *dispatch.Thread, lo, hi int) int {
	stop, plain := t.Stop(), t.Plain()
	i := lo
	var under *promise // way, the call that is
	defer func() {     // also when it panics, or ends the goroutine
		if under != nil {
			under.returned()
		}
	}()
	for ; i < hi && !stop.Load(); i++ {
		t.Index = i
		b, _ := t.Cache.(*deskBlock)
		if b == nil || b.id != i/plan.Block {
			b = d.block(i)
			t.Cache = b
		}
		var f *promise
		if b != nil {
			f = b.calls[i%plan.Block].Load()
		}
		if f == nil { // helped, and over
			t.Skip(false)
			continue
		}
		switch f.begin(t.Attempt, t.OnErrand()) {
		case theirs:
			t.Skip(false)
			continue
		case over:
			t.Skip(true)
			d.dropFrom(b, i)
			continue
		}
		task, ctx := f.task, f.enter(t)
		if stop.Load() {
			f.end(d.pool.over()) // it was not seen by desk.stop
		}
		if !plain {
			t.Begun()
		}
		under = f
		v, err := task.run(ctx)
		under = nil
		if err != nil || !plain {
			f.returned()
			if !t.Ended(err) {
				continue
			}
		}
		if d.memo != nil {
			d.memo.note(i, v)
		}
		f.complete(v)
		d.dropFrom(b, i)
	}
	return i
}

func (d *desk) Append(b *wire.Batch, i int) error {
	f := d.at(i)
	if f == nil {
		return dispatch.ErrSkip
	}
	if f.begin(1, false) != mine {
		d.drop(i)
		return dispatch.ErrSkip
	}
	return d.encode(b, i)
}

// encode appends call i, which has begun.
func (d *desk) encode(b *wire.Batch, i int) error { return taskLane.append(b, i, &d.at(i).task) }

func (d *desk) Store(i int, v wire.Value, _ int, _ time.Duration) error {
	f := d.at(i)
	if f == nil {
		return errors.New("it has ended before")
	}
	var r any
	if err := taskLane.read(v, &f.task, &r); err != nil {
		return err
	}
	if d.memo != nil {
		d.memo.note(i, r)
	}
	f.finish(r, nil)
	d.drop(i)
	return nil
}

func (d *desk) Fail(i int, err *TaskError, _ time.Duration) {
	if f := d.at(i); f != nil {
		f.fail(err)
		d.drop(i)
	}
}

func (d *desk) Name(i int) string {
	if f := d.at(i); f != nil {
		return f.declare().label()
	}
	return ""
}

func (d *desk) Args(i int) string {
	if f := d.at(i); f != nil {
		return shorten(f.declare().args)
	}
	return ""
}

// Cancelled returns why call i was cancelled; nil: it was not.
func (d *desk) Cancelled(i int) error {
	if f := d.at(i); f != nil {
		return f.whyCancelled()
	}
	return nil
}

func (d *desk) Strangers() []*TaskError                                          { return nil }
func (d *desk) AppendColumn(*wire.Batch, int, int) bool                          { return false }
func (d *desk) StoreColumn(int, int, wire.ResultReader, int, time.Duration) bool { return false }
