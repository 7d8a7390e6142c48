package declaration

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	html "html/template"
	"io"
	"math"
	"strings"
	text "text/template"
	"time"

	"github.com/gojoblib/parallel"
)

type color string

type point struct{ x, y int }

func (p point) add(n int) point { return p }
func (p *point) move(n int)     {}

type mover interface{ move(n int) }

type failure struct{}

func (*failure) Error() string { return "" }

type handler func(int)

func cube(n int) int                                   { return n * n * n }
func add(a, b int) int                                 { return a + b }
func sum(first int, rest ...int) int                   { return first }
func all(ns ...int) int                                { return 0 }
func fetch(ctx context.Context, url string) error      { return nil }
func gather(ctx context.Context, urls ...string) error { return nil }
func paint(c color)                                    {}
func read(r io.Reader) error                           { return nil }
func drive(m mover)                                    {}
func show(p point)                                     {}
func shift(p *point)                                   {}
func listen(c <-chan int)                              {}
func apply(f func(int) int)                            {}
func divide(a, b int) (int, int)                       { return a / b, a % b }
func triple() (int, string, error)                     { return 0, "", nil }
func concrete() (int, *failure)                        { return 0, nil }
func swapped() (error, int)                            { return nil, 0 }
func identity[T any](v T) T                            { return v }
func pair[A, B any](a A, b B) (A, B)                   { return a, b }
func lost[T any](v T) (T, string)                      { return v, "" }

func notFunctions() {
	n := 3
	var h handler
	_ = parallel.Delayed(nil)                       // want `the function is nil: the run would refuse this task; pass a function`
	_ = parallel.Delayed((func())(nil))             // want `the function is nil`
	_ = parallel.Delayed(handler(nil), 1)           // want `the function is nil`
	_ = parallel.Delayed(any(nil))                  // want `the function is nil`
	_ = parallel.Delayed(3)                         // want `3 is int, not a function: the run would refuse this task; pass a function`
	_ = parallel.Delayed(n, 3)                      // want `n is int, not a function`
	_ = parallel.Delayed(any(n), 3)                 // want `n is int, not a function`
	_ = parallel.Delayed("cube", 3)                 // want `"cube" is string, not a function`
	_ = parallel.Delayed(&h, 3)                     // want `&h is \*handler, not a function`
	_ = parallel.Delayed(cube(3))                   // want `cube\(3\) is int, not a function: it is called here and not by the run; pass the function, then its arguments`
	_ = parallel.Delayed(time.Duration(3))          // want `time.Duration\(3\) is time.Duration, not a function: the run would refuse this task`
	_ = parallel.Delayed(parallel.Delayed(cube, 1)) // want `parallel.Delayed\(cube, 1\) is parallel.Task, not a function`
	_ = parallel.Each(nil, []int{1})                // want `the function is nil`
	_ = parallel.Each(n, []int{1})                  // want `n is int, not a function`
}

func counts(ctx context.Context) {
	_ = parallel.Delayed(cube)                           // want `cube takes 1 argument, not 0: the run would refuse this task; pass as many as it takes`
	_ = parallel.Delayed(cube, 1, 2)                     // want `cube takes 1 argument, not 2`
	_ = parallel.Delayed(add, 1)                         // want `add takes 2 arguments, not 1`
	_ = parallel.Delayed(sum)                            // want `sum takes at least 1 argument, not 0`
	_ = parallel.Delayed(fetch)                          // want `fetch takes 1 argument besides the context of the run, not 0`
	_ = parallel.Delayed(fetch, "a", "b")                // want `fetch takes 1 argument besides the context of the run, not 2`
	_ = parallel.Delayed(fetch, ctx, "a")                // want `the context of fetch comes from the run: a task is not given its own; leave this argument out and hand it to the run with Context`
	_ = parallel.Delayed(fetch, context.TODO(), "a")     // want `the context of fetch comes from the run`
	_ = parallel.Delayed(point{}.add)                    // want `point{}.add takes 1 argument, not 0`
	_ = parallel.Delayed(point.add, 1)                   // want `point.add takes 2 arguments, not 1`
	_ = parallel.Delayed(identity[int])                  // want `identity\[int\] takes 1 argument, not 0`
	_ = parallel.Delayed(func(a, b int) {}, 1)           // want `the function literal takes 2 arguments, not 1`
	_ = parallel.Delayed(strings.ToUpper).Named("upper") // want `strings.ToUpper takes 1 argument, not 0`
	_ = parallel.Delayed(
		add,
		1,
		2,
		3, // want `add takes 2 arguments, not 3`
	)
}

func types(ctx context.Context, f float32, err error, s fmt.Stringer, p point, q *point, ns []int) {
	const typed int = 2
	n := 2
	_ = parallel.Delayed(math.Sqrt, n)                 // want `argument 0 of math.Sqrt is int, its parameter float64: nothing is converted on the way; convert it to float64`
	_ = parallel.Delayed(math.Sqrt, typed)             // want `argument 0 of math.Sqrt is int, its parameter float64: nothing is converted on the way; convert it to float64`
	_ = parallel.Delayed(math.Sqrt, f)                 // want `argument 0 of math.Sqrt is float32, its parameter float64`
	_ = parallel.Delayed(math.Sqrt, any(f))            // want `argument 0 of math.Sqrt is float32, its parameter float64`
	_ = parallel.Delayed(math.Pow, 2.0, f)             // want `argument 1 of math.Pow is float32, its parameter float64`
	_ = parallel.Delayed(strings.ToUpper, 'x')         // want `argument 0 of strings.ToUpper is rune, its parameter string: a constant passed as any has its default type; pass a value of this type`
	_ = parallel.Delayed(strings.ToUpper, n)           // want `argument 0 of strings.ToUpper is int, its parameter string: nothing is converted on the way; pass a value of this type`
	_ = parallel.Delayed(strings.ToUpper, []byte("x")) // want `argument 0 of strings.ToUpper is \[\]byte, its parameter string: nothing is converted on the way; convert it to string`
	_ = parallel.Delayed(paint, "red")                 // want `argument 0 of paint is string, its parameter color: a constant passed as any has its default type; convert it to color`
	_ = parallel.Delayed(cube, "3")                    // want `argument 0 of cube is string, its parameter int`
	_ = parallel.Delayed(cube, 1 < 2)                  // want `argument 0 of cube is bool, its parameter int`
	_ = parallel.Delayed(sum, 1, 2, int64(n), 4, "5")  // want `argument 2 of sum is int64, its parameter int` `argument 4 of sum is string, its parameter int`
	_ = parallel.Delayed(all, ns)                      // want `argument 0 of all is \[\]int, its parameter int`
	_ = parallel.Delayed(gather, ctx, "a")             // want `argument 0 of gather is context.Context, its parameter string`
	_ = parallel.Delayed(fetch, []byte("a"))           // want `argument 0 of fetch is \[\]byte, its parameter string`
	_ = parallel.Delayed(p.add, "1")                   // want `argument 0 of p.add is string, its parameter int`
	_ = parallel.Delayed(point.add, q, 1)              // want `argument 0 of point.add is \*point, its parameter point: nothing is converted on the way; pass what it points to`
	_ = parallel.Delayed((*point).move, p, 1)          // want `argument 0 of \(\*point\).move is point, its parameter \*point: nothing is converted on the way; pass a pointer to it`
	_ = parallel.Delayed(drive, p)                     // want `argument 0 of drive is point, its parameter mover: nothing is converted on the way; pass a pointer to it`
	_ = parallel.Delayed(read, "file")                 // want `argument 0 of read is string, its parameter io.Reader: a constant passed as any has its default type; its method Read is missing or different`
	_ = parallel.Delayed(read, bytes.Buffer{})         // want `argument 0 of read is bytes.Buffer, its parameter io.Reader: nothing is converted on the way; pass a pointer to it`
	_ = parallel.Delayed(listen, make(chan<- int))     // want `argument 0 of listen is chan<- int, its parameter <-chan int`
	_ = parallel.Delayed(apply, func(int) {})          // want `argument 0 of apply is func\(int\), its parameter func\(int\) int`
	_ = parallel.Delayed(identity[string], 1)          // want `argument 0 of identity\[string\] is int, its parameter string`
	_ = parallel.Delayed(cube, err)                    // want `argument 0 of cube is error, its parameter int`
	_ = parallel.Delayed(time.Sleep, err)              // want `argument 0 of time.Sleep is error, its parameter time.Duration`
	_ = parallel.Delayed(cube, s)                      // want `argument 0 of cube is fmt.Stringer, its parameter int`
	_ = parallel.Delayed((cube), ("3"))                // want `argument 0 of cube is string, its parameter int`
	_ = parallel.Delayed(errors.Is, err, 1)            // want `argument 1 of errors.Is is int, its parameter error`
}

func sameNames(t *text.Template) {
	_ = parallel.Delayed(render, t) // want `argument 0 of render is \*text/template.Template, its parameter \*html/template.Template`
}

func render(t *html.Template) {}

func nils() {
	_ = parallel.Delayed(cube, nil)        // want `argument 0 of cube is nil, its parameter int: the type has no nil; pass a value`
	_ = parallel.Delayed(show, nil)        // want `argument 0 of show is nil, its parameter point`
	_ = parallel.Delayed(show, error(nil)) // want `argument 0 of show is nil, its parameter point`
	_ = parallel.Delayed(all, 1, nil)      // want `argument 1 of all is nil, its parameter int`
}

func shapes() {
	_ = parallel.Delayed(divide, 1, 2)             // want `divide returns \(int, int\): a task returns nothing, R, error or \(R, error\); wrap it in a function that does`
	_ = parallel.Delayed(triple)                   // want `triple returns \(int, string, error\)`
	_ = parallel.Delayed(concrete)                 // want `concrete returns \(int, \*failure\)`
	_ = parallel.Delayed(swapped)                  // want `swapped returns \(error, int\)`
	_ = parallel.Delayed(pair[int, string], 1, "") // want `pair\[int, string\] returns \(int, string\)`
	_ = parallel.Delayed(math.Modf, 1.5)           // want `math.Modf returns`
	_ = parallel.Delayed(divide, []any{1, 2}...)   // want `divide returns \(int, int\)`
	_ = parallel.Each(math.Frexp, []float64{1})    // want `math.Frexp returns`
	_ = parallel.Delayed(divide, 1)                // want `divide returns \(int, int\)` `divide takes 2 arguments, not 1`
}

func each(ns []int, urls []string, errs []error) {
	_ = parallel.Each(math.Sqrt, ns)                                 // want `the elements of ns are int, the parameter of math.Sqrt float64: nothing is converted on the way; convert it to float64`
	_ = parallel.Each(fetch, ns)                                     // want `the elements of ns are int, the parameter of fetch string`
	_ = parallel.Each(all, urls)                                     // want `the elements of urls are string, the parameter of all int`
	_ = parallel.Each(cube, []int64{1})                              // want `the elements of \[\]int64{…} are int64, the parameter of cube int`
	_ = parallel.Each(cube, errs)                                    // want `the elements of errs are error, the parameter of cube int`
	_ = parallel.Each[string](cube, nil)                             // want `the elements of nil are string, the parameter of cube int`
	_ = parallel.Each(add, ns)                                       // want `add takes 2 arguments: Each gives it one; pass a function of one argument, or use Delayed`
	_ = parallel.Each(triple, ns)                                    // want `triple returns` `triple takes 0 arguments: Each gives it one`
	_ = parallel.Each(func(a, b int, c ...int) {}, ns)               // want `the function literal takes at least 2 arguments: Each gives it one`
	_, _ = parallel.Parallel(4)(parallel.Each(point{}.add, urls)...) // want `the elements of urls are string, the parameter of point{}.add int` `the error of this run is dropped`
}

func generic[E any](v E, vs []E) {
	_ = parallel.Delayed(identity[E], v, v)  // want `identity\[E\] takes 1 argument, not 2`
	_ = parallel.Delayed(lost[E], v)         // want `lost\[E\] returns \(E, string\)`
	_ = parallel.Delayed(math.Sqrt, len(vs)) // want `argument 0 of math.Sqrt is int, its parameter float64`
}
