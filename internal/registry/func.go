package registry

import (
	"errors"
	"fmt"
	"reflect"
	"runtime"
	"strings"
	"unicode"
)

// FuncName returns the name under which fn is registered. For a registered function it costs one map lookup.
//
// A closure, a method value or a generic function is an error that says so: such values share their symbol with others
// that compute something else, and what they captured stays behind. A method expression has no captures and is as good
// as a function.
func FuncName(fn any) (string, error) {
	v := reflect.ValueOf(fn)
	if v.Kind() != reflect.Func {
		return "", fmt.Errorf("%T is not a function", fn)
	}
	if name, ok := current.Load().names[v.Pointer()]; ok {
		return name, nil
	}
	name, err := symbol(v)
	if err != nil {
		return "", fmt.Errorf("%w and give it to parallel.Main or parallel.Register (goroutines, Prefer(Threads), need no name)", err)
	}
	return "", fmt.Errorf("%s is not registered; give it to parallel.Main or parallel.Register (goroutines, Prefer(Threads), do without)", name)
}

// Symbol returns the full name of a function, registered or not; what has none is an error that says so.
func Symbol(fn any) (string, error) {
	v := reflect.ValueOf(fn)
	if v.Kind() != reflect.Func {
		return "", fmt.Errorf("%T is not a function", fn)
	}
	if name, ok := current.Load().names[v.Pointer()]; ok {
		return name, nil
	}
	return symbol(v)
}

// Func returns the function registered under name.
func Func(name string) (reflect.Value, bool) {
	fn, ok := current.Load().funcs[name]
	return fn, ok
}

func (b *book) addFunc(fn reflect.Value) error {
	name, err := symbol(fn)
	if err != nil {
		return fmt.Errorf("%w and give it to parallel.Main or parallel.Register", err)
	}
	if old, ok := b.funcs[name]; ok && old.Pointer() != fn.Pointer() {
		return ambiguous("functions", name, "rename one")
	}
	b.names[fn.Pointer()] = name
	b.funcs[name] = fn
	return nil
}

// symbol returns the full name of a function or method expression; for anything else it is an error.
func symbol(fn reflect.Value) (string, error) {
	if fn.IsNil() {
		return "", errors.New("the function is nil")
	}
	name := runtime.FuncForPC(fn.Pointer()).Name()
	if what := nameless(name); what != "" {
		return "", fmt.Errorf("%s is %s, which has no name that it could be known by elsewhere; declare a function at top level", name, what)
	}
	return name, nil
}

// nameless says what kind of function value goes by a symbol that is no name for it, and "" if the symbol is one.
//
//	path/to/pkg.F  path/to/pkg.T.M  path/to/pkg.(*T).M           names
//	pkg.F.func1  pkg.F.func1.2  pkg.init.func1  pkg.glob..func1  closures
//	pkg.T.M-fm  pkg.F[...]  pkg.F-range1  reflect.makeFuncStub
func nameless(symbol string) string {
	local := symbol[strings.LastIndexByte(symbol, '/')+1:]
	_, local, _ = strings.Cut(local, ".") // dots within a package's name are escaped
	parts := strings.Split(local, ".")
	last := parts[len(parts)-1]
	switch {
	case symbol == "reflect.makeFuncStub":
		return "a function made by package reflect"
	case symbol == "reflect.methodValueCall", strings.HasSuffix(last, "-fm"):
		return "a method value"
	case len(parts) > 1 && numbered(last), strings.Contains(last, "-"):
		return "a closure"
	case strings.Contains(local, "["):
		return "a generic function"
	case len(parts) > 2:
		return "a closure"
	}
	return ""
}

// numbered reports whether the compiler made up the name: func1, gowrap2, 3.
func numbered(name string) bool {
	switch strings.TrimRightFunc(name, unicode.IsDigit) {
	case name:
		return false
	case "", "func", "gowrap", "deferwrap":
		return true
	}
	return false
}
