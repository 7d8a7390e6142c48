package registry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gojoblib/parallel/backend"
)

// The registry lives as long as the process: what tests register must be the same in every run of them.
var (
	errMine  = errors.New("registry test: mine")
	errTwice = errors.New("registry test: twice")
	errSlow  = &timeout{time.Second}
	errMany  [8]error
)

func init() {
	for i := range errMany {
		errMany[i] = fmt.Errorf("registry test: concurrent %d", i)
	}
}

func cube(x int) int { return x * x * x }

func unregistered() {}

func identity[T any](x T) T { return x }

type box[T any] struct{ v T }

func (b box[T]) get() T { return b.v }

type account struct{ balance int }

func (a account) Balance() int { return a.balance }
func (a *account) Deposit(n int) {
	a.balance += n
}

var atPackageLevel = func() {}

func maker(n int) func() int { return func() int { return n } }

func TestRegisteredFunctionIsFoundByItsName(t *testing.T) {
	require.NoError(t, Register(cube, account.Balance, (*account).Deposit, fmt.Stringer.String, strings.ToUpper))
	for _, fn := range []any{cube, account.Balance, (*account).Deposit, fmt.Stringer.String, strings.ToUpper} {
		name, err := FuncName(fn)
		require.NoError(t, err)
		found, ok := Func(name)
		require.True(t, ok, name)
		require.Equal(t, reflect.ValueOf(fn).Pointer(), found.Pointer(), name)
	}
	name, _ := FuncName(cube)
	require.Equal(t, reflect.TypeFor[account]().PkgPath()+".cube", name)
	require.NoError(t, Register(cube), "twice is no fault")
}

func TestFunctionWithoutANameSaysWhatItIs(t *testing.T) {
	type embeds struct{ account }
	var nilFunc func()
	for _, c := range []struct {
		fn   any
		want string
	}{
		{unregistered, "registry.unregistered is not registered; give it to parallel.Main"},
		{embeds.Balance, "is not registered"},
		{maker(1), "is a closure"},
		{func() {}, "is a closure"},
		{atPackageLevel, "is a closure"},
		{account{}.Balance, "registry.account.Balance-fm is a method value"},
		{new(account).Deposit, "is a method value"},
		{reflect.ValueOf(account{}).Method(0).Interface(), "is a method value"},
		{identity[int], "registry.identity[...] is a generic function"},
		{box[int].get, "is a generic function"},
		{reflect.MakeFunc(reflect.TypeFor[func()](), nil).Interface(), "is a function made by package reflect"},
		{nilFunc, "the function is nil"},
		{nil, "<nil> is not a function"},
		{3, "int is not a function"},
	} {
		_, err := FuncName(c.fn)
		require.ErrorContains(t, err, c.want)
	}
	for range func(yield func() bool) {
		_, err := FuncName(yield)
		require.ErrorContains(t, err, "is a closure")
	} {
	}
	require.ErrorContains(t, Register(maker(1)), "declare a function at top level and give it to parallel.Main")
}

func TestSymbolsOfTheCompilerAreNoNames(t *testing.T) {
	for symbol, want := range map[string]string{
		"main.F":                            "",
		"a.b/c%2ed.F":                       "",
		"main.func1":                        "",
		"main.T.M":                          "",
		"main.(*T).M":                       "",
		"main.F.func1":                      "a closure",
		"main.F.func1.2":                    "a closure",
		"main.F.G.func3":                    "a closure",
		"main.glob..func1":                  "a closure",
		"main.init.func1":                   "a closure",
		"main.init.0.func1":                 "a closure",
		"main.F.gowrap1":                    "a closure",
		"main.F.deferwrap2":                 "a closure",
		"main.F-range1":                     "a closure",
		"main.F[...].func1":                 "a closure",
		"main.(*T[...]).M.func1":            "a closure",
		"main.T.M-fm":                       "a method value",
		"main.(*T[...]).M-fm":               "a method value",
		"main.F[...]":                       "a generic function",
		"a/b.(*T[...]).M":                   "a generic function",
		"github.com/x/y.(*Client).Do.func2": "a closure",
	} {
		require.Equal(t, want, nameless(symbol), symbol)
	}
}

type point struct{ x, y int }

type timeout struct{ after time.Duration }

func (e *timeout) Error() string { return "timeout after " + e.after.String() }

type listError []string

func (e listError) Error() string { return strings.Join(e, ", ") }

func TestTypeIsFoundByItsName(t *testing.T) {
	require.NoError(t, Register(point{}, (*timeout)(nil), listError{}, [3]int{}, map[[3]int]box[string]{}, box[string]{}))
	for _, want := range []reflect.Type{
		reflect.TypeFor[int](), reflect.TypeFor[string](), reflect.TypeFor[any](), reflect.TypeFor[error](),
		reflect.TypeFor[point](), reflect.TypeFor[*point](), reflect.TypeFor[**point](),
		reflect.TypeFor[timeout](), reflect.TypeFor[listError](),
		reflect.TypeFor[[]map[string][]*point](), reflect.TypeFor[map[[3]int][]box[string]](), reflect.TypeFor[[3]int](),
		reflect.TypeFor[time.Time](), reflect.TypeFor[*fs.PathError](), reflect.TypeFor[*backend.TaskError](),
	} {
		name, err := TypeName(want)
		require.NoError(t, err)
		got, ok := Type(name)
		require.True(t, ok, name)
		require.Equal(t, want, got)
	}
	name, _ := TypeName(reflect.TypeFor[[]point]())
	require.Equal(t, "[]"+reflect.TypeFor[point]().PkgPath()+".point", name)
}

func TestUnknownTypeIsAnError(t *testing.T) {
	type stranger struct{}
	for _, typ := range []reflect.Type{
		reflect.TypeFor[stranger](), reflect.TypeFor[[]*stranger](), reflect.TypeFor[map[stranger]int](),
		reflect.TypeFor[map[int]stranger](), reflect.TypeFor[chan int](), reflect.TypeFor[[4]int](),
	} {
		_, err := TypeName(typ)
		require.ErrorContains(t, err, "is not registered; give a value of it to parallel.Register")
	}
	for _, name := range []string{
		"", "*", "[]", "map[", "map[int", "map[]", "map[int]", "map[[]int]int", "map[any]int", "x.T", "*x.T",
		strings.Repeat("[]", 17) + "int", strings.Repeat("map[int]", 1000) + "int",
	} {
		_, ok := Type(name)
		require.False(t, ok, name)
	}
}

func TestSentinelIsFoundByTypeAndText(t *testing.T) {
	require.NoError(t, Register(errMine, errSlow))
	for _, want := range []error{
		errMine, errSlow, io.EOF, fs.ErrNotExist, context.Canceled, context.DeadlineExceeded, errors.ErrUnsupported,
		backend.ErrTimeout, backend.ErrNotRun,
	} {
		name, ok := SentinelName(want)
		require.True(t, ok, "%v", want)
		got, ok := Sentinel(name)
		require.True(t, ok)
		require.True(t, want == got)
	}
	_, ok := SentinelName(errors.New("EOF"))
	require.False(t, ok, "an error that looks like a sentinel is none")
	_, ok = SentinelName(listError{"not comparable"})
	require.False(t, ok)
	_, ok = SentinelName(nil)
	require.False(t, ok)
}

func TestAmbiguousNamesAreRefused(t *testing.T) {
	first := func() any { type local struct{ a int }; return local{} }()
	second := func() any { type local struct{ b int }; return local{} }()
	require.NoError(t, Register(first, first))
	require.ErrorContains(t, Register(second), "two types are named")

	require.NoError(t, Register(errTwice))
	err := Register(errors.New("registry test: twice"), nil, maker(1))
	require.ErrorContains(t, err, `two error values are named *errors.errorString "registry test: twice"`)
	require.ErrorContains(t, err, "cannot register nil", "all faults are told at once")
	require.ErrorContains(t, err, "a closure")
}

func TestFaultyRegistrationRegistersNothing(t *testing.T) {
	lonely := errors.New("registry test: lonely")
	require.Error(t, Register(lonely, nil))
	_, ok := SentinelName(lonely)
	require.False(t, ok)
}

type shy struct{ *int }

func (s *shy) Error() string { return fmt.Sprint(*s.int) }

func TestPanickingErrorMethodIsAFault(t *testing.T) {
	require.NoError(t, Register((*shy)(nil)), "a nil pointer registers its type only")
	require.ErrorContains(t, Register(&shy{}), "its Error method panics")
}

func TestRegistryIsSafeForConcurrentUse(t *testing.T) {
	require.NoError(t, Register(cube))
	var wg sync.WaitGroup
	for _, err := range errMany {
		wg.Go(func() {
			if Register(err) != nil {
				t.Error("registration failed")
			}
			if _, ok := SentinelName(err); !ok {
				t.Error("lost a registration")
			}
			if _, err := FuncName(cube); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}

func BenchmarkFuncName(b *testing.B) {
	_ = Register(cube)
	var fn any = cube
	b.ReportAllocs()
	for b.Loop() {
		_, _ = FuncName(fn)
	}
}
