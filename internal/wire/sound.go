package wire

import (
	"errors"
	"fmt"

	"github.com/gojoblib/parallel/backend"
)

// Sound returns err, or another in its place when looking into it panics, as it does with many a nil pointer in an
// error: those who look next are the engine and the caller.
func Sound(err error) (safe error) {
	defer func() {
		if recover() == nil {
			return
		}
		if p, ok := err.(*backend.PanicError); ok {
			safe = &backend.PanicError{Value: fmt.Sprintf("%v (%T)", p.Value, p.Value), Stack: p.Stack}
			return
		}
		safe = fmt.Errorf("an error of type %T whose methods panic", err)
	}()
	_ = err.Error()
	errors.Is(err, errSought)
	return err
}

// errSought is in no error: looking for it looks at every part of one.
var errSought = errors.New("sought")
