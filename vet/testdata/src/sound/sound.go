// Package sound holds what must not be reported.
package sound

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"math"
	"os"
	"slices"
	"strings"
	"time"
	"unsafe"

	"github.com/gojoblib/parallel"
)

type point struct{ x, y int }

func (p point) add(n int) point                        { return p }
func (p *point) move(ctx context.Context, n int) error { return nil }

type mover interface {
	move(ctx context.Context, n int) error
}

type handler func(int) error

type (
	number = float64
	ctx    = context.Context
	ids    []int
)

type box[T any] struct{ v T }

func (b box[T]) set(v T) box[T] { return b }

// tasks declares calls of its own type parameter, of which nothing is certain.
func (b box[T]) tasks(v T, other box[int]) {
	keep(
		parallel.Delayed(b.set, v),
		parallel.Delayed(b.set, 1),
		parallel.Delayed(box[T].set, b, v),
		parallel.Delayed(box[T].set, other, v),
		parallel.Delayed(func(box[T]) {}, other),
		parallel.Delayed(func(box[int]) {}, b),
	)
}

func cube(n int) int                                 { return n * n * n }
func square(n number) number                         { return n * n }
func sum(first int, rest ...int) int                 { return first }
func all(ns ...int) int                              { return 0 }
func fetch(ctx context.Context, url string) error    { return nil }
func gather(c ctx, urls ...string) ([]string, error) { return nil, nil }
func parent(ctx context.Context, c context.Context)  {}
func late(url string, ctx context.Context) error     { return nil }
func contexts(cs ...context.Context)                 {}
func read(r io.Reader) (string, error)               { return "", nil }
func shift(p *point)                                 {}
func drive(m mover)                                  {}
func list(ns []int)                                  {}
func table(m map[string]int)                         {}
func listen(c <-chan int)                            {}
func call(f func(int) error)                         {}
func handle(h handler)                               {}
func raw(p unsafe.Pointer)                           {}
func anything(v any) any                             { return v }
func wrap(err error) error                           { return err }
func both() (error, error)                           { return nil, nil }
func nothing()                                       {}
func pair() (any, int)                               { return cube, 3 }
func makeAdder(n int) func(int) int                  { return func(m int) int { return n + m } }
func identity[T any](v T) T                          { return v }
func keep(tasks ...parallel.Task)                    {}

const two, typedTwo = 2.0, float64(2)

var stored = cube

func declared(c context.Context, f any, v any, args []any, p *point, m mover, r io.Reader, err error, h handler, fs []func(int)) {
	keep(
		parallel.Delayed(nothing),
		parallel.Delayed(cube, 3),
		parallel.Delayed(cube, 'x'-'a'+int(two)),
		parallel.Delayed(square, 3.0),
		parallel.Delayed(square, two),
		parallel.Delayed(square, typedTwo),
		parallel.Delayed(math.Sqrt, math.Pi),
		parallel.Delayed(math.Abs, number(2)),
		parallel.Delayed(strings.ToUpper, "x").Named("upper"),
		parallel.Delayed(strings.ContainsRune, "x", 'x'),
		parallel.Delayed(strings.Repeat, "x", 1<<3),
		parallel.Delayed(time.Sleep, 2*time.Second),
		parallel.Delayed(os.ReadFile, "name"),
		parallel.Delayed(fmt.Sprint),
		parallel.Delayed(fmt.Sprint, 1, "a", nil, err),
		parallel.Delayed(fmt.Errorf, "%w", err),
		parallel.Delayed(errors.Join, err, nil, io.EOF),
		parallel.Delayed(sum, 1),
		parallel.Delayed(sum, 1, 2, 3),
		parallel.Delayed(all),
		parallel.Delayed(fetch, "a"),
		parallel.Delayed(gather),
		parallel.Delayed(gather, "a", "b"),
		parallel.Delayed(parent, c),
		parallel.Delayed(late, "a", c),
		parallel.Delayed(contexts),
		parallel.Delayed(contexts, c, nil),
		parallel.Delayed(both),
		parallel.Delayed(anything, nil),
		parallel.Delayed(anything, 'x'),
		parallel.Delayed(wrap, nil),
		parallel.Delayed(wrap, io.EOF),
		parallel.Delayed(shift, nil),
		parallel.Delayed(shift, (*point)(nil)),
		parallel.Delayed(list, nil),
		parallel.Delayed(list, ids{1}),
		parallel.Delayed(table, nil),
		parallel.Delayed(listen, make(chan int)),
		parallel.Delayed(raw, nil),
		parallel.Delayed(raw, err),
		parallel.Delayed(call, nil),
		parallel.Delayed(call, h),
		parallel.Delayed(handle, func(int) error { return nil }),
		parallel.Delayed(h, 1),
		parallel.Delayed(handler(h), 1),
		parallel.Delayed(any(cube), any(3)),
		parallel.Delayed(p.add, 1),
		parallel.Delayed(p.move, 1),
		parallel.Delayed(m.move, 1),
		parallel.Delayed(point.add, *p, 1),
		parallel.Delayed((*point).move, p, c, 1),
		parallel.Delayed(mover.move, p, c, 1),
		parallel.Delayed(drive, p),
		parallel.Delayed(read, r),
		parallel.Delayed(read, err), // an error may also read
		parallel.Delayed(read, os.Stdin),
		parallel.Delayed(shift, m),
		parallel.Delayed(handle, err),
		parallel.Delayed(identity[string], "x"),
		parallel.Delayed(identity[any], 1),
		parallel.Delayed(slices.Max[[]int], []int{1}),
		parallel.Delayed(func(s struct{ X int }) {}, struct{ X int }{1}),
		parallel.Delayed(func() {}),
		parallel.Delayed(makeAdder(3), 1),
		parallel.Delayed(stored, 1),
		parallel.Delayed(fs[0], 1),

		// known to the run only
		parallel.Delayed(f, 1, 2),
		parallel.Delayed(cube, v),
		parallel.Delayed(cube, args...),
		parallel.Delayed(sum, args...),
		parallel.Delayed(cube, []any{"x"}...),
		parallel.Delayed(pair()),
	)
	d := parallel.Delayed
	keep(d(cube, "x"))
}

func each(c context.Context, f any, ns []int, list ids, fs []float64, vs []any, rs []*os.File) {
	keep(parallel.Each(cube, ns)...)
	keep(parallel.Each(cube, list)...)
	keep(parallel.Each(all, ns)...)
	keep(parallel.Each(sum, ns)...)
	keep(parallel.Each(math.Sqrt, fs)...)
	keep(parallel.Each(fetch, []string{"a"})...)
	keep(parallel.Each(gather, []string{"a"})...)
	keep(parallel.Each(read, rs)...)
	keep(parallel.Each(f, ns)...)
	keep(parallel.Each(cube, vs)...)
	keep(parallel.Each(cube, nilSlice[int]())...)
	keep(parallel.Each[int](cube, nil)...)
	keep(parallel.Each(identity[int], ns)...)
}

func nilSlice[T any]() []T { return nil }

func generic[F ~func(int) int, E any, N ~int | ~float64, S ~[]E](f F, v E, n N, s S) {
	type local []E
	keep(
		parallel.Delayed(f, "x"),
		parallel.Delayed(v),
		parallel.Delayed(identity[E], v),
		parallel.Delayed(identity[E], 1),
		parallel.Delayed(identity[E], nil),
		parallel.Delayed(identity[N], 1.5),
		parallel.Delayed(cube, v),
		parallel.Delayed(math.Sqrt, n),
		parallel.Delayed(list, s),
		parallel.Delayed(list, []E(s)),
		parallel.Delayed(func(local) {}, []int{1}),
		parallel.Delayed(func(func(E)) {}, func(int) {}),
		parallel.Delayed(func(map[string]E) {}, map[string]int{}),
		parallel.Delayed(func(struct{ v E }) {}, struct{ v int }{}),
		parallel.Delayed(func(interface{ get() E }) {}, getter{}),
		parallel.Delayed(func() (int, E) { return 0, v }),
		parallel.Delayed(any(v)),
	)
	keep(parallel.Each(cube, s)...)
	keep(parallel.Each(identity[E], []int{1})...)
}

type getter struct{}

func (getter) get() int { return 0 }

// Delayed and Each are not package parallel's.
type other struct{}

func (other) Delayed(fn any, args ...any) int { return 0 }

func Each(fn any, in []int) int { return 0 }

func elsewhere(o other) {
	o.Delayed(3)
	Each(3, nil)
	func(tasks ...parallel.Task) ([]any, error) { return nil, nil }()
}

func taken(c context.Context, ns []int, tasks []parallel.Task, lazy iter.Seq[parallel.Task], fn func(context.Context, int) (int, error)) error {
	results, err := parallel.Parallel(4)(tasks...)
	if _, err := parallel.Map(c, ns, fn); err != nil {
		return err
	}
	_, err = parallel.Collect[int](parallel.Parallel(4)(tasks...))
	run := parallel.Parallel(parallel.NJobs(4))
	_, again := run(tasks...)
	var _, third = run(tasks...)
	for r, err := range parallel.Stream(4)(lazy) {
		_, _ = r, err
	}
	for _, err := range parallel.Imap(c, slices.Values(ns), fn) {
		_ = err
	}
	for _, err = range parallel.ImapUnordered(c, slices.Values(ns), fn) {
	}
	for range parallel.Zip(ns, ns) {
	}
	for i := range parallel.NJobs(4).Workers() {
		_ = i
	}
	_ = parallel.Runner(run)
	_ = err.Error()
	<-c.Done()
	_, _ = results, third
	return errors.Join(err, again)
}
