// Package parallel has the signatures of the real one and none of its behaviour.
package parallel

import (
	"context"
	"io"
	"iter"
	"time"
)

type Task struct{ _ *int }

func Delayed(fn any, args ...any) Task  { return Task{} }
func Each[A any](fn any, in []A) []Task { return nil }
func (t Task) Named(name string) Task   { return t }

type Runner func(tasks ...Task) ([]any, error)

func Parallel[N int | NJobs](n N, opts ...Option) Runner { return nil }

func Collect[R any](results []any, err error) ([]R, error) { return nil, err }

type Result struct {
	Index    int
	Value    any
	Attempts int
	Cached   bool
	Elapsed  time.Duration
}

func Stream[N int | NJobs](n N, opts ...Option) func(tasks iter.Seq[Task]) iter.Seq2[Result, error] {
	return nil
}

func Map[A, R any](ctx context.Context, in []A, fn func(context.Context, A) (R, error), opts ...Option) ([]R, error) {
	return nil, nil
}

func Imap[A, R any](ctx context.Context, in iter.Seq[A], fn func(context.Context, A) (R, error), opts ...Option) iter.Seq2[R, error] {
	return nil
}

func ImapUnordered[A, R any](ctx context.Context, in iter.Seq[A], fn func(context.Context, A) (R, error), opts ...Option) iter.Seq2[R, error] {
	return nil
}

func Starmap[A, B, R any](ctx context.Context, in iter.Seq2[A, B], fn func(context.Context, A, B) (R, error), opts ...Option) ([]R, error) {
	return nil, nil
}

func Zip[A, B any](as []A, bs []B) iter.Seq2[A, B] { return nil }

type Option interface{ option() }

type NJobs int

func (n NJobs) option()      {}
func (n NJobs) Workers() int { return 1 }

type Hint int

const (
	Threads Hint = iota
	Processes
)

func Prefer(h Hint) Option               { return nil }
func Context(ctx context.Context) Option { return nil }
func Timeout(d time.Duration) Option     { return nil }
func Retry(n int) Option                 { return nil }
func KeepGoing() Option                  { return nil }
func BatchSize(n int) Option             { return nil }
func Unordered() Option                  { return nil }
func Progress(w io.Writer) Option        { return nil }

func Main(fns ...any)    {}
func Register(vs ...any) {}

func With(ctx context.Context, opts ...Option) context.Context { return ctx }
