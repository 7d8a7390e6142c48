package wire

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"reflect"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gojoblib/parallel/backend"
)

var errOurs = errors.New("wire test: ours")

// Registered, by TestMain.
type (
	codeError   struct{ code int }
	valueError  struct{ Code int }
	listError   []string
	isEOF       struct{ n int }
	lockedError struct {
		mu   *sync.Mutex
		text string
	}
	loopError struct{ a, b error }
	lateError struct {
		error
		extra any
	}
)

func (e *codeError) Error() string   { return "code " + strconv.Itoa(e.code) }
func (e valueError) Error() string   { return "value " + strconv.Itoa(e.Code) }
func (e listError) Error() string    { return strings.Join(e, ", ") }
func (e isEOF) Error() string        { return "the end" }
func (e isEOF) Is(target error) bool { return target == io.EOF }
func (e lockedError) Error() string  { return "locked " + e.text }
func (e lateError) Unwrap() error    { return e.error }
func (e *loopError) Error() string   { return "loop" }
func (e *loopError) Unwrap() []error { return []error{e.a, e.b} }

// Not registered.
type (
	oddIs    struct{}
	textual  struct{ text string }
	wrapping struct{ err error }
	stopped  struct{ error }
	nilPanic struct{ p *int }
	endless  struct{ n int }
	forking  struct{ n int }
)

func (e *textual) Error() string     { return e.text }
func (e *wrapping) Error() string    { return "wrapping " + e.err.Error() }
func (e *wrapping) Unwrap() error    { return e.err }
func (e *stopped) Is(err error) bool { return err == context.DeadlineExceeded || err == io.EOF }
func (e nilPanic) Error() string     { return strconv.Itoa(*e.p) }
func (e nilPanic) Unwrap() error     { panic("Unwrap") }
func (e nilPanic) Is(error) bool     { panic("Is") }
func (e *endless) Error() string     { return "endless" }
func (e *endless) Unwrap() error     { return &endless{e.n + 1} }
func (e *forking) Error() string     { return "forking" }
func (e *forking) Unwrap() []error   { return []error{&forking{e.n + 1}, &forking{e.n + 1}} }
func (oddIs) Error() string          { return "odd" }

func throughError(t testing.TB, err error) error {
	got, rest, bad := ReadError(append(AppendError([]byte{9}, err)[1:], 7))
	require.NoError(t, bad)
	require.Equal(t, []byte{7}, rest)
	return got
}

func TestSentinelsCrossAsThemselves(t *testing.T) {
	require.NoError(t, throughError(t, nil))
	for _, err := range []error{
		io.EOF, fs.ErrNotExist, os.ErrDeadlineExceeded, context.Canceled, context.DeadlineExceeded, errOurs,
		backend.ErrTimeout, backend.ErrMemory, backend.ErrGoexit, backend.ErrNotRun, backend.ErrClosed,
	} {
		require.True(t, err == throughError(t, err), "%v", err)
	}
}

func TestErrorsOfRegisteredTypesCrossAsTheirValue(t *testing.T) {
	_, noFile := os.Open("/no/such/file")
	_, noNumber := strconv.Atoi("x")
	for _, err := range []error{
		&codeError{7}, valueError{7}, listError{"a", "b"}, (*codeError)(nil), noFile, noNumber, syscall.ENOENT,
		&os.LinkError{Op: "link", Old: "a", New: "b", Err: syscall.EXDEV}, os.NewSyscallError("read", syscall.EAGAIN),
		errors.New("text"), fmt.Errorf("a: %w", io.EOF), fmt.Errorf("%w and %w", io.EOF, &codeError{1}),
		errors.Join(io.EOF, errOurs, fmt.Errorf("b: %w", valueError{2})),
	} {
		require.Equal(t, err, throughError(t, err))
	}
	require.ErrorIs(t, throughError(t, noFile), fs.ErrNotExist)
	require.ErrorIs(t, throughError(t, noNumber), strconv.ErrSyntax)
	code, ok := errors.AsType[*codeError](throughError(t, fmt.Errorf("1: %w", &wrapping{&codeError{7}})))
	require.True(t, ok)
	require.Equal(t, 7, code.code)
}

func TestOtherErrorsKeepTextAndTree(t *testing.T) {
	require.EqualError(t, throughError(t, &textual{"\xff just text"}), "\xff just text")

	got := throughError(t, &wrapping{&wrapping{fs.ErrClosed}})
	require.EqualError(t, got, "wrapping wrapping file already closed")
	require.ErrorIs(t, got, fs.ErrClosed)
	require.True(t, errors.Unwrap(errors.Unwrap(got)) == fs.ErrClosed)
	require.Equal(t, got, throughError(t, got), "a second crossing changes nothing")

	got = throughError(t, &loopError{&textual{"a"}, &wrapping{io.EOF}})
	tree, ok := errors.AsType[*loopError](got)
	require.True(t, ok)
	require.EqualError(t, tree.b, "wrapping EOF")
	require.ErrorIs(t, got, io.EOF)

	got = throughError(t, &stopped{errors.New("stopped")})
	require.ErrorIs(t, got, context.DeadlineExceeded)
	require.ErrorIs(t, got, io.EOF)
	require.NotErrorIs(t, got, io.ErrUnexpectedEOF)
	require.ErrorIs(t, throughError(t, got), io.EOF)

	_, ok = errors.AsType[runtime.Error](throughError(t, divide()))
	require.True(t, ok)
	require.EqualError(t, throughError(t, divide()), "runtime error: integer divide by zero")

	got = throughError(t, lockedError{&sync.Mutex{}, "up"})
	require.EqualError(t, got, "locked up", "of a registered type that cannot cross")
	require.ErrorIs(t, throughError(t, isEOF{3}), io.EOF)
}

func divide() (err error) {
	defer func() { err = recover().(error) }()
	zero := 0
	return fmt.Errorf("%d", 1/zero)
}

func TestRunErrorsCrossAsThemselves(t *testing.T) {
	crash := &backend.CrashError{PID: 1, ExitCode: -1, Signal: "killed", Reason: "signal: killed", Stderr: "x", Trace: "y", Err: backend.ErrMemory}
	run := &backend.RunError{
		Failed: []*backend.TaskError{
			{Index: 3, Name: "pkg.F", Site: "a.go:1", Args: "1, 2", Attempts: 2, Err: crash},
			{Index: 4, Err: &backend.PanicError{Value: pair{"x", 1}, Stack: []byte("stack")}},
			{Index: 5, Err: backend.ErrTimeout},
		},
		NotRun: 2,
		Cause:  context.Canceled,
	}
	got := throughError(t, run)
	require.Equal(t, run, got)
	require.ErrorIs(t, got, backend.ErrMemory)
	require.ErrorIs(t, got, context.DeadlineExceeded)
	require.ErrorIs(t, got, context.Canceled)
	require.Len(t, backend.Failures(got), 3)
}

func TestPanicValueCrossesAsItselfOrAsText(t *testing.T) {
	for _, c := range []struct{ sent, want any }{
		{"text", "text"}, {7, 7}, {nil, nil}, {&pair{"x", 1}, &pair{"x", 1}}, {io.EOF, io.EOF}, {&codeError{1}, &codeError{1}},
		{struct{ A int }{5}, "{5}"}, {make(chan int), "0x"}, {[]any{1, struct{}{}}, "[1 {}]"},
	} {
		got := throughError(t, &backend.PanicError{Value: c.sent, Stack: []byte("stack")}).(*backend.PanicError)
		require.Equal(t, "stack", string(got.Stack))
		if text, ok := c.want.(string); ok {
			require.Contains(t, got.Value, text)
			continue
		}
		require.Equal(t, c.want, got.Value)
	}
	cyclic := []any{nil}
	cyclic[0] = cyclic
	got := throughError(t, &backend.PanicError{Value: cyclic})
	require.EqualError(t, got, "panic: []interface {}, which contains itself")
	got = throughError(t, &backend.PanicError{Value: &wrapping{io.EOF}})
	require.ErrorIs(t, got, io.EOF)
	require.EqualError(t, got, "panic: wrapping EOF")
	var runtimeError runtime.Error
	require.ErrorAs(t, throughError(t, &backend.PanicError{Value: divide()}), &runtimeError)
}

func TestPanickingErrorMethodsAreContained(t *testing.T) {
	require.ErrorContains(t, throughError(t, nilPanic{}), "an error of type wire.nilPanic, whose Error method panicked")
	require.ErrorContains(t, throughError(t, (*textual)(nil)), "whose Error method panicked")
}

func TestEndlessErrorsAreCut(t *testing.T) {
	self := &loopError{}
	self.a, self.b = self, self
	mutual := &wrapping{}
	mutual.err = &stopped{mutual}
	for _, err := range []error{self, &endless{}, &forking{}, fmt.Errorf("over: %w", self)} {
		b := AppendError(nil, err)
		require.Less(t, len(b), 1<<20)
		got, _, bad := ReadError(b)
		require.NoError(t, bad)
		require.NotErrorIs(t, got, io.EOF)
	}
	late := io.EOF
	for range maxErrorDepth / 2 {
		late = lateError{late, oddIs{}} // the value fails after what it wraps was written
	}
	require.ErrorIs(t, throughError(t, late), io.EOF)
	depth := 0
	for err := throughError(t, &endless{}); err != nil; err = errors.Unwrap(err) {
		depth++
	}
	require.Equal(t, maxErrorDepth+1, depth)
}

func TestManyErrorsAreNotCut(t *testing.T) {
	var errs []error
	for range 3 * maxForeign {
		errs = append(errs, &wrapping{io.EOF})
	}
	got := again(t, errs)
	require.Len(t, got, len(errs))
	require.ErrorIs(t, got[len(got)-1], io.EOF)
	require.False(t, slices.Contains(got, nil))
}

func TestErrorAtTheLastLevelCrosses(t *testing.T) {
	type link struct {
		next *link
		err  error
	}
	for depth := maxDepth - 3; depth <= maxDepth; depth++ {
		var head *link
		for range depth {
			head = &link{head, nil}
		}
		last := head
		for last.next != nil {
			last = last.next
		}
		last.err = &wrapping{&wrapping{&codeError{1}}}
		b, err := Append(nil, &head)
		require.NoError(t, err)
		var got *link
		_, err = Read(b, &got)
		require.NoError(t, err)
		for got.next != nil {
			got = got.next
		}
		require.EqualError(t, got.err, "wrapping wrapping code 1")
	}
}

func TestUnregisteredErrorInAnyIsRefused(t *testing.T) {
	var v any = oddIs{}
	_, err := Append(nil, &v)
	require.EqualError(t, err, "type wire.oddIs is not registered; give a value of it to parallel.Register")
	require.NotEqual(t, reflect.TypeFor[oddIs](), reflect.TypeOf(throughError(t, oddIs{})))
}
