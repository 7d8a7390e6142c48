// Package parallel runs function calls in parallel and returns their results in order: joblib for Go. It never loses a
// result, an error, a panic or a goroutine on the way.
//
//	tasks := parallel.Each(cube, []int{1, 2, 3})
//	cubes, err := parallel.Collect[int](parallel.Parallel(4)(tasks...))
//	if err != nil {
//		log.Fatal(err)
//	}
//	fmt.Println(cubes) // [1 8 27]
//
// # Which function
//
// [Parallel] runs tasks, calls of any function declared by [Delayed] or [Each], and [Stream] does so lazily. [Map] and
// [Starmap], and lazily [Imap] and [ImapUnordered], run one function over many inputs, checked by the compiler; an
// element costs them nanoseconds instead of a hundred. All of them take the same options and keep the same promises.
//
// # Order
//
// Results are in the order of the calls, whatever order they end in; only ImapUnordered, and Stream with [Unordered],
// hand them out as they complete. With one worker calls run one at a time, in order.
//
// # Errors
//
// A run that did not go well returns a [*RunError]; each failed call is a [*TaskError] in it, with its index, its
// name and its arguments, and all that was computed is returned beside it. Without [KeepGoing] the first failure
// stops the run: nothing more is started, the contexts of running calls end, and errors.Is(err, ErrNotRun) tells that
// calls were left out. Calls that fail only because the run was stopped are not reported. In a stream every item
// carries its own error; a fault of the run itself is the last item.
//
// Mistakes in how a call is declared or a run is configured are errors of the run, all of them at once, before
// anything has run. Registration faults panic at start-up. Nothing else panics, and nothing is printed, but
// what package memo warns of through slog.
//
// # Panics and Goexit
//
// A panic in a call is its error: a [*PanicError] with the value and the stack, which %+v prints. runtime.Goexit is
// one, too ([ErrGoexit]). Calls run on goroutines of their own, never on the caller's. What the Go runtime calls
// fatal (concurrent map writes, stack overflow, out of memory) ends the process; only worker processes survive that.
//
// # Cancellation and time
//
// A run ends when its context does: the first argument, or [Context] for Parallel and Stream. It waits for what is
// running, so calls should watch the context they are given, which also ends on the first failure and when the loop
// over a stream is left. [Timeout] bounds each attempt of a call. A goroutine that ignores it is abandoned, the one
// exception to "nothing runs on after the run".
//
// # Nesting
//
// A call may start runs of its own. They work on the slot of the call that waits for them, and on others that are
// free: together they never hold more workers than the widest run among them asks for or the machine has CPUs, and
// never wait for each other. A run knows that it is nested by the context of its call, or, without it, by its
// goroutine; a goroutine that a call has started should pass the context on.
//
// # Pools
//
// A run brings its own workers. A [Pool] keeps some for any number of callers: [Apply] and [ApplyAsync] make single
// calls on them, [On] whole runs. A call that waits for its own pool lends its worker to what it waits for, so that it
// must pass on the context that it was given.
//
// # Tasks that depend on each other
//
// Calls are taken several at a time when they are fast, so one must not wait for another: that needs [BatchSize](1)
// and as many workers as calls that wait.
//
// # Worker processes
//
// With [Prefer]([Processes]) calls run in copies of the program, which [Main] has made workers: with the same results,
// the same order and the same errors, for functions that keep and change nothing they are given. A call that crashes its
// worker, ends it, or has to be killed fails alone, with a [*CrashError] or [ErrTimeout]; whether it has done part of its
// work nobody knows, and without [Retry] it is not started again. Package backend/processes has limits, a sandbox, and
// what a worker has and has not.
//
// # Memory
//
// With [Memo] the result of every call is looked up before the call is made, and kept afterwards: in RAM, or in a folder. A run
// that was interrupted goes on where it stopped, for what it had computed is found. See package memo.
//
// # Other backends
//
// [Backend] runs calls on workers of one's own: package backend says what those are, backend/backendtest checks them.
// Where they share no memory with the program, functions are found by name (see [Main]) and values are copied:
// unexported fields, nil and empty slices, NaN, time zones and concrete types in interfaces arrive as they were, two
// pointers to one thing arrive as pointers to two. Functions, channels and what holds a lock cannot be sent; neither
// can closures, method values and generic functions be found.
package parallel
