package parallel

import "context"

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
	if !ok {
		c.fault("%s was given a nil function", c.caller)
	}
	return lane[A, R]{fn, func(a A) declared { return declared{fn: fn, args: []any{a}} }, ofFunc}
}
