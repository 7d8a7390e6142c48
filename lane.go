package parallel

import (
	"context"
	"reflect"
	"sync/atomic"
)

// lane is how the calls of a run are made, and how each of them is described where it matters: in an error, or to a
// worker that shares no memory with the run.
type lane[A, R any] struct {
	fn      func(context.Context, A) (R, error)
	declare func(A) declared
	kind    laneKind
}

type laneKind uint8

const (
	ofTasks laneKind = iota // A is Task
	ofFunc                  // fn is what the caller gave: of one argument, A, and with the result R
	ofPairs                 // A is the pair of arguments of the caller's function
)

// taskLane is the lane of tasks made by Delayed.
var taskLane = lane[Task, any]{
	fn:      func(ctx context.Context, t Task) (any, error) { return t.run(ctx) },
	declare: Task.declare,
}

// funcLane is the lane of a typed function.
func funcLane[A, R any](c *config, fn func(context.Context, A) (R, error), ok bool) lane[A, R] {
	c.fn = fn
	if !ok {
		c.fault("%s was given a nil function", c.caller)
	}
	return lane[A, R]{fn, func(a A) declared { return declared{fn: fn, args: []any{a}} }, ofFunc}
}

// name returns the name of the call that is made with *a: the task's own, else the function's.
func (l lane[A, R]) name(a *A) string {
	switch l.kind {
	case ofTasks:
		d := questions.Get().(*declared)
		*d = declared{asks: forFunc}
		_, _ = any(*a).(Task).ask(d)
		name := d.name
		if name == "" && d.fn != nil {
			name = knownName(d.fn)
		}
		questions.Put(d)
		return name
	case ofFunc:
		return knownName(l.fn)
	}
	return knownName(l.declare(*a).fn)
}

// knownNames are names of functions that were asked for before, by their addresses.
var knownNames [64]atomic.Pointer[knownFunc]

type knownFunc struct {
	at   uintptr
	name string
}

// knownName is funcName for who asks again and again.
func knownName(fn any) string {
	v := reflect.ValueOf(fn)
	if v.Kind() != reflect.Func {
		return funcName(fn)
	}
	at := v.Pointer()
	place := &knownNames[at>>4%64]
	if k := place.Load(); k != nil && k.at == at {
		return k.name
	}
	name := funcName(fn)
	place.Store(&knownFunc{at, name})
	return name
}
