package worker

import (
	"context"
	"encoding/binary"
	"fmt"
	"reflect"
	"time"

	"github.com/gojoblib/parallel/backend"
	"github.com/gojoblib/parallel/internal/board"
	"github.com/gojoblib/parallel/internal/registry"
	"github.com/gojoblib/parallel/internal/wire"
)

// function is a registered function, ready to be called.
type function struct {
	name    string
	fn      reflect.Value
	context bool         // it takes one
	err     bool         // its last result is an error
	out     reflect.Type // of its value; nil: it has none
	lane    lane         // nil: it is called by reflection

	// Used for call after call: what is passed to a function is copied.
	in     []reflect.Value
	result reflect.Value
}

func (w *worker) function(name string) (*function, error) {
	if f := w.funcs[name]; f != nil {
		return f, nil
	}
	fn, ok := registry.Func(name)
	if !ok {
		return nil, fmt.Errorf("%s is not registered in the worker; give it to parallel.Main or parallel.Register before main does anything else", name)
	}
	t := fn.Type()
	f := &function{name: name, fn: fn, context: wire.TakesContext(t), lane: laneOf(fn.Interface())}
	n := t.NumOut()
	f.err = n > 0 && t.Out(n-1) == reflect.TypeFor[error]()
	if n > 1 || n == 1 && !f.err {
		f.out = t.Out(0)
	}
	w.funcs[name] = f
	return f, nil
}

// perform runs calls of j until none is left. It is called again after a panic.
func (w *worker) perform(j *job) {
	first, values, isColumn, err := j.calls.Column()
	if !isColumn {
		w.rows(j)
		return
	}
	fn, bad := w.function(first.Func)
	if err == nil {
		err = bad
	}
	if err != nil {
		w.refuse(j, err)
		return
	}
	if fn.fn.Type().NumIn() == 0 {
		w.refuse(j, fmt.Errorf("an argument came for %v", fn.fn.Type()))
		return
	}
	j.name, j.fn = first.Name, fn
	if fn.lane != nil {
		if fn.lane.column(w, j, first.Index, values) {
			return
		}
	}
	w.form(j, 0)
	arg := fn.fn.Type().In(fn.fn.Type().NumIn() - 1)
	for {
		k, ok := w.begin(j)
		if !ok {
			return
		}
		j.scope.Index = first.Index + k
		in, err := wire.At(values, k, arg)
		if err != nil {
			w.fail(j, err, wire.Refused)
			continue
		}
		fn.in = append(fn.head(j), in)
		w.call(j)
	}
}

// refuse fails what is left of a batch that cannot be read.
func (w *worker) refuse(j *job, err error) {
	w.form(j, 0)
	for {
		if _, ok := w.begin(j); !ok {
			return
		}
		w.fail(j, err, wire.Refused)
	}
}

// rows runs the calls of a batch that differ from one another.
func (w *worker) rows(j *job) {
	w.form(j, 0)
	for {
		if _, ok := w.begin(j); !ok {
			return
		}
		var c wire.Call
		var args wire.Args
		if j.bad == nil {
			c, args, j.bad = j.calls.Next()
		}
		if j.bad != nil {
			w.fail(j, fmt.Errorf("the batch cannot be read: %w", j.bad), wire.Refused)
			continue
		}
		if j.fn == nil || j.fn.name != c.Func {
			fn, err := w.function(c.Func)
			if err != nil {
				w.fail(j, err, wire.Refused)
				continue
			}
			j.fn = fn
		}
		j.name, j.scope.Index = c.Name, c.Index
		if j.fn.lane != nil {
			j.fn.lane.row(w, j, args)
			continue
		}
		var err error
		if j.fn.in, err = args.Values(j.fn.head(j), j.fn.fn.Type()); err != nil {
			w.fail(j, err, wire.Refused)
			continue
		}
		w.call(j)
	}
}

// form says how the results of j will lie, at its first call: in a column of values of size bytes, where that is
// possible, or in rows.
func (w *worker) form(j *job, size int) {
	if j.seen {
		return
	}
	j.seen = true
	j.start = time.Now()
	if w.desk == nil {
		return
	}
	if size > 0 && !j.calls.Timed && j.Timeout == 0 && board.Column(j.N)+j.N*size <= len(j.slot.Arena) {
		j.column = size
	}
	j.slot.SetForm(wire.FormOf(wire.ResultFlags(j.column > 0, j.calls.Timed, w.split()), j.column))
}

// begin takes the next call of j.
func (w *worker) begin(j *job) (int, bool) {
	k, ok := j.slot.Claim(j.gen)
	if !ok {
		return 0, false
	}
	j.k, j.idle = k, false
	if j.calls.Timed || w.desk == nil || j.Timeout > 0 {
		j.start = time.Now()
	}
	if j.Timeout > 0 {
		own := *j.scope // its task may keep it: it ends with the call, and stays ended
		own.Context = &clock{Context: j.ctx, deadline: j.start.Add(j.Timeout)}
		j.scope, j.self = &own, reflect.Value{}
	}
	return k, true
}

// starts reports the start of the call under way, where the near end cannot see it.
func (w *worker) starts(j *job) {
	if j.Started && w.desk == nil {
		w.tell(backend.Report{Batch: j.ID, Kind: backend.Started, Lo: j.k, Hi: j.k + 1})
	}
}

// took is how long the call under way has run, where someone wants to know.
func (w *worker) took(j *job) time.Duration {
	if j.calls.Timed || w.desk == nil {
		return time.Since(j.start)
	}
	return 0
}

// ended makes known that the call under way has an answer.
func (w *worker) ended(j *job, took time.Duration) {
	j.idle = true
	j.spent += took
	if j.Timeout > 0 {
		j.scope.Context.(*clock).stop()
	}
	if w.desk != nil {
		j.slot.End(j.gen, j.k+1, j.used)
	}
}

// late is err, or ErrTimeout when the call's time is up: what it did after that does not count.
func (j *job) late(err error) error {
	if j.Timeout > 0 && time.Since(j.start) >= j.Timeout {
		return backend.ErrTimeout
	}
	return err
}

// head is the beginning of the arguments of a call of j: the context, if the function takes one.
func (f *function) head(j *job) []reflect.Value {
	if !f.context {
		return f.in[:0]
	}
	if !j.self.IsValid() {
		var ctx context.Context = j.scope
		j.self = reflect.ValueOf(&ctx).Elem()
	}
	return append(f.in[:0], j.self)
}

// call makes the call under way, whose arguments are in its function's in, by reflection.
func (w *worker) call(j *job) {
	f := j.fn
	w.starts(j)
	outs := f.fn.Call(f.in)
	args := f.in
	if f.context {
		args = args[1:]
	}
	for _, a := range args {
		if a.CanSet() {
			a.SetZero() // an idle worker keeps nothing alive
		}
	}
	var err error
	if f.err {
		err, _ = outs[len(outs)-1].Interface().(error)
	}
	if err = j.late(err); err != nil {
		w.fail(j, err, wire.Failed)
		return
	}
	var out reflect.Value
	if f.out != nil {
		if !f.result.IsValid() {
			f.result = reflect.New(f.out).Elem()
		}
		out = f.result
		out.Set(outs[0])
		defer out.SetZero()
	}
	var segs [][]byte
	took := w.took(j)
	b, err := wire.AppendResult(w.room(j), w.segments(&segs), j.calls.Timed, took, out)
	w.keep(j, took, b, segs, err)
}

// split reports whether large slices travel by themselves.
func (w *worker) split() bool { return w.desk != nil }

func (w *worker) segments(segs *[][]byte) *[][]byte {
	if w.split() {
		return segs
	}
	return nil
}

// room is where the result of the call under way should be put.
func (w *worker) room(j *job) []byte {
	if w.desk == nil {
		return nil
	}
	return j.slot.Arena[j.used:j.used:cap(j.slot.Arena)]
}

// keep answers the call under way with the result b, which may lie in the slot's arena.
func (w *worker) keep(j *job, took time.Duration, b []byte, segs [][]byte, err error) {
	switch {
	case err != nil:
		w.fail(j, fmt.Errorf("its result: %w", err), wire.Final)
		return
	case w.desk != nil && len(segs) == 0 && len(b) <= cap(j.slot.Arena)-j.used:
		j.used += len(b)
	default:
		flags := wire.ResultFlags(false, j.calls.Timed, w.split())
		w.tell(backend.Report{Batch: j.ID, Kind: backend.Done, Lo: j.k, Hi: j.k + 1, Took: took, Body: append([]byte{flags}, b...), Segments: segs})
		w.elsewhere(j)
	}
	w.ended(j, took)
}

// fail answers the call under way with its failure.
func (w *worker) fail(j *job, err error, v wire.Verdict) {
	took := w.took(j)
	b := wire.AppendFailure(nil, err, v)
	if w.desk == nil || j.column > 0 || !w.record(j, wire.FailureTag, took, b) {
		w.tell(backend.Report{Batch: j.ID, Kind: backend.Failed, Lo: j.k, Hi: j.k + 1, Took: took, Body: b})
		w.elsewhere(j)
	}
	w.ended(j, took)
}

// elsewhere notes in the arena that the answer of the call under way was reported.
func (w *worker) elsewhere(j *job) {
	switch {
	case w.desk == nil:
	case j.column > 0:
		j.slot.Arena[j.k] = wire.ColumnElsewhere
	default:
		w.record(j, wire.ElsewhereTag, 0, nil)
	}
}

// record puts something that is no result in a result's place; false: there is no room.
func (w *worker) record(j *job, tag uint32, took time.Duration, b []byte) bool {
	room := w.room(j)
	n := len(b)
	if j.calls.Timed {
		n += 8
	}
	if 4+n > cap(room) {
		return false
	}
	room = binary.LittleEndian.AppendUint32(room, uint32(n)|tag)
	if j.calls.Timed {
		room = binary.LittleEndian.AppendUint64(room, uint64(took))
	}
	room = append(room, b...)
	j.used += len(room)
	return true
}
