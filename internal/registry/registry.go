// Package registry gives functions, types and sentinel errors names that another process running the same program
// finds them by. It never sends anything, and it never runs what it holds.
//
// The standard library's sentinels and error types, the basic types, and the errors of package backend are registered
// from the start.
package registry

import (
	"errors"
	"fmt"
	"maps"
	"reflect"
	"sync"
	"sync/atomic"
)

// book is one state of the registry. A published book is never written to.
type book struct {
	names     map[uintptr]string // of functions, by code pointer
	funcs     map[string]reflect.Value
	typeNames map[reflect.Type]string
	types     map[string]reflect.Type
	sentinels map[string]error
	errNames  map[error]string
}

var (
	writing sync.Mutex
	current atomic.Pointer[book]
)

func init() {
	current.Store(&book{
		names:     map[uintptr]string{},
		funcs:     map[string]reflect.Value{},
		typeNames: map[reflect.Type]string{},
		types:     map[string]reflect.Type{},
		sentinels: map[string]error{},
		errNames:  map[error]string{},
	})
	if err := Register(builtin()...); err != nil {
		panic(err)
	}
}

// Register names each of vs: a function by itself; an error as a sentinel, matched by identity, and by its type; any
// other value by its type, which holds for pointers to it, too. A nil pointer registers its type only.
//
// The error joins all faults, and then nothing was registered. Registering a thing twice is no fault; two things of
// one name are. Register may be called at any time and concurrently, and copies the registry: it is meant for start-up.
func Register(vs ...any) error {
	writing.Lock()
	defer writing.Unlock()
	next := current.Load().clone()
	var faults []error
	for _, v := range vs {
		if err := next.add(v); err != nil {
			faults = append(faults, err)
		}
	}
	if faults != nil {
		return errors.Join(faults...)
	}
	current.Store(next)
	return nil
}

func (b *book) clone() *book {
	return &book{
		names:     maps.Clone(b.names),
		funcs:     maps.Clone(b.funcs),
		typeNames: maps.Clone(b.typeNames),
		types:     maps.Clone(b.types),
		sentinels: maps.Clone(b.sentinels),
		errNames:  maps.Clone(b.errNames),
	}
}

func (b *book) add(v any) error {
	if v == nil {
		return errors.New("cannot register nil; to register a type, give a nil pointer to it")
	}
	rv := reflect.ValueOf(v)
	if rv.Kind() == reflect.Func {
		return b.addFunc(rv)
	}
	if err := b.addType(rv.Type()); err != nil {
		return err
	}
	if err, ok := v.(error); ok && rv.Comparable() && (rv.Kind() != reflect.Pointer || !rv.IsNil()) {
		return b.addSentinel(err)
	}
	return nil
}

func ambiguous(what, name, cure string) error {
	return fmt.Errorf("two %s are named %s, and a name can stand for one only; %s", what, name, cure)
}
