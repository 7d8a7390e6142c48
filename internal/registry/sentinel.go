package registry

import (
	"fmt"
	"iter"
	"maps"
	"reflect"
)

// SentinelName returns the name of a registered error value.
func SentinelName(err error) (string, bool) {
	if !reflect.ValueOf(err).Comparable() {
		return "", false
	}
	name, ok := current.Load().errNames[err]
	return name, ok
}

// Sentinel returns the error value registered under name.
func Sentinel(name string) (error, bool) {
	err, ok := current.Load().sentinels[name]
	return err, ok
}

// Sentinels returns all registered error values and their names, in no order.
func Sentinels() iter.Seq2[error, string] { return maps.All(current.Load().errNames) }

// addSentinel names an error by its type and text: neither tells which variable holds it, and both are the same in
// every process.
func (b *book) addSentinel(err error) (fault error) {
	defer func() {
		if p := recover(); p != nil {
			fault = fmt.Errorf("cannot register %T: its Error method panics (%v); to register the type alone, give a nil pointer", err, p)
		}
	}()
	name := fmt.Sprintf("%T %q", err, err.Error())
	if old, ok := b.sentinels[name]; ok && old != err {
		return ambiguous("error values", name, "change one text, or register the type alone by a nil pointer to it")
	}
	b.sentinels[name] = err
	b.errNames[err] = name
	return nil
}
