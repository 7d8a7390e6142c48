package parallel

import "context"

// Functions of these types are called directly: a Task of theirs costs two small allocations to make and one to run.
// All others go by reflection, which is right for every function and five times slower.

// direct makes the task of a function that it knows how to call; false: leave it to reflection, which also says what
// is wrong with the arguments.
func direct(fn any, args []any) (Task, bool) {
	switch len(args) {
	case 0:
		switch f := fn.(type) {
		case func():
			return of0(f, func(context.Context) (any, error) { f(); return nil, nil }, f != nil)
		case func() error:
			return of0(f, func(context.Context) (any, error) { return nil, f() }, f != nil)
		case func() any:
			return of0(f, func(context.Context) (any, error) { return f(), nil }, f != nil)
		case func() (any, error):
			return of0(f, func(context.Context) (any, error) { return f() }, f != nil)
		case func() int:
			return of0(f, func(context.Context) (any, error) { return f(), nil }, f != nil)
		case func() string:
			return of0(f, func(context.Context) (any, error) { return f(), nil }, f != nil)
		case func(context.Context) error:
			return of0(f, func(ctx context.Context) (any, error) { return nil, f(ctx) }, f != nil)
		case func(context.Context) (any, error):
			return of0(f, f, f != nil)
		}
	case 1:
		switch a := args[0].(type) {
		case int:
			return direct1(fn, a)
		case string:
			return direct1(fn, a)
		case float64:
			return direct1(fn, a)
		case int64:
			return direct1(fn, a)
		case []byte:
			return direct1(fn, a)
		case []float64:
			return direct1(fn, a)
		}
	case 2:
		switch f := fn.(type) {
		case func(int, int) int:
			return of2(f, args)
		case func(int, int) (int, error):
			return of2e(f, args)
		case func(float64, float64) float64:
			return of2(f, args)
		case func(string, string) error:
			return of2x(f, args)
		case func(string, string) (string, error):
			return of2e(f, args)
		case func(string, int) (string, error):
			return of2e(f, args)
		}
	}
	return Task{}, false
}

// direct1 is direct for one argument.
func direct1[A any](fn any, a A) (Task, bool) {
	switch f := fn.(type) {
	case func(A) A:
		return of1(f, a), f != nil
	case func(A) (A, error):
		return of1e(f, a), f != nil
	case func(context.Context, A) (A, error):
		return of1c(f, a), f != nil
	case func(A) error:
		return of1x(f, a), f != nil
	case func(A):
		return of1n(f, a), f != nil
	case func(A) int:
		return of1(f, a), f != nil
	case func(A) string:
		return of1(f, a), f != nil
	case func(A) float64:
		return of1(f, a), f != nil
	case func(A) bool:
		return of1(f, a), f != nil
	case func(A) any:
		return of1(f, a), f != nil
	case func(A) (int, error):
		return of1e(f, a), f != nil
	case func(A) (string, error):
		return of1e(f, a), f != nil
	case func(A) ([]byte, error):
		return of1e(f, a), f != nil
	case func(A) (any, error):
		return of1e(f, a), f != nil
	case func(context.Context, A) (int, error):
		return of1c(f, a), f != nil
	case func(context.Context, A) (string, error):
		return of1c(f, a), f != nil
	case func(context.Context, A) (any, error):
		return of1c(f, a), f != nil
	case func(context.Context, A) error:
		return of1cx(f, a), f != nil
	}
	return Task{}, false
}

func of0(fn any, run func(context.Context) (any, error), ok bool) (Task, bool) {
	return Task{func(ctx context.Context, d *declared) (any, error) {
		if d != nil {
			return d.describe(fn)
		}
		return run(ctx)
	}}, ok
}

func of1[A, R any](f func(A) R, a A) Task {
	return Task{func(ctx context.Context, d *declared) (any, error) {
		if d != nil {
			return describe1(d, f, a, readAs[R])
		}
		return f(a), nil
	}}
}

func of1e[A, R any](f func(A) (R, error), a A) Task {
	return Task{func(ctx context.Context, d *declared) (any, error) {
		if d != nil {
			return describe1(d, f, a, readAs[R])
		}
		return f(a)
	}}
}

func of1x[A any](f func(A) error, a A) Task {
	return Task{func(ctx context.Context, d *declared) (any, error) {
		if d != nil {
			return describe1(d, f, a, readNone)
		}
		return nil, f(a)
	}}
}

func of1n[A any](f func(A), a A) Task {
	return Task{func(ctx context.Context, d *declared) (any, error) {
		if d != nil {
			return describe1(d, f, a, readNone)
		}
		f(a)
		return nil, nil
	}}
}

func of1c[A, R any](f func(context.Context, A) (R, error), a A) Task {
	return Task{func(ctx context.Context, d *declared) (any, error) {
		if d != nil {
			return describe1(d, f, a, readAs[R])
		}
		return f(ctx, a)
	}}
}

func of1cx[A any](f func(context.Context, A) error, a A) Task {
	return Task{func(ctx context.Context, d *declared) (any, error) {
		if d != nil {
			return describe1(d, f, a, readNone)
		}
		return nil, f(ctx, a)
	}}
}

func of2[A, B, R any](f func(A, B) R, args []any) (Task, bool) {
	a, okA := args[0].(A)
	b, okB := args[1].(B)
	return Task{func(_ context.Context, d *declared) (any, error) {
		if d != nil {
			return d.describe(f, a, b)
		}
		return f(a, b), nil
	}}, f != nil && okA && okB
}

func of2e[A, B, R any](f func(A, B) (R, error), args []any) (Task, bool) {
	a, okA := args[0].(A)
	b, okB := args[1].(B)
	return Task{func(_ context.Context, d *declared) (any, error) {
		if d != nil {
			return d.describe(f, a, b)
		}
		return f(a, b)
	}}, f != nil && okA && okB
}

func of2x[A, B any](f func(A, B) error, args []any) (Task, bool) {
	a, okA := args[0].(A)
	b, okB := args[1].(B)
	return Task{func(_ context.Context, d *declared) (any, error) {
		if d != nil {
			return d.describe(f, a, b)
		}
		return nil, f(a, b)
	}}, f != nil && okA && okB
}
