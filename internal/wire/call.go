package wire

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"reflect"
)

// Call is one call on its way to a worker. The arguments follow it, encoded as the types of the function's parameters.
type Call struct {
	Func    string // the registered name
	Name    string // given by Named, or empty
	Index   int
	Attempt int
	Seed    uint64 // the run's
}

// AppendFrame appends what write appends, with its length in front: a reader can skip it unread. After an error b is
// as it was.
func AppendFrame(b []byte, write func([]byte) ([]byte, error)) ([]byte, error) {
	start := len(b)
	grown, err := write(append(b, 0, 0, 0, 0))
	if err != nil {
		return b, err
	}
	n := len(grown) - start - 4
	if n > maxFrame {
		return b, fmt.Errorf("%d bytes are more than the %d that can be sent at once", n, maxFrame)
	}
	binary.LittleEndian.PutUint32(grown[start:], uint32(n))
	return grown, nil
}

const maxFrame = 1<<31 - 1

// CutFrame returns the frame that b begins with and what follows it.
func CutFrame(b []byte) (frame, rest []byte, err error) {
	if len(b) < 4 {
		return nil, nil, errShort
	}
	n := uint64(binary.LittleEndian.Uint32(b))
	if n > uint64(len(b)-4) {
		return nil, nil, errShort
	}
	return b[4 : 4+n], b[4+n:], nil
}

var errShort = errors.New("it ends too early")

// TakesContext reports whether a function gets its run's context, as its first parameter: that one does not travel.
func TakesContext(fn reflect.Type) bool {
	return fn.NumIn() > 0 && fn.In(0) == reflect.TypeFor[context.Context]()
}

// AppendCall appends a call with its arguments. fn is the function's type; a leading context is not among args.
func AppendCall(b []byte, c Call, fn reflect.Type, args []any) ([]byte, error) {
	return AppendFrame(b, func(b []byte) ([]byte, error) {
		b = appendString(appendString(b, c.Func), c.Name)
		b = binary.AppendUvarint(b, uint64(c.Index))
		b = binary.AppendUvarint(b, uint64(c.Attempt))
		b = binary.LittleEndian.AppendUint64(b, c.Seed)
		b = binary.AppendUvarint(b, uint64(len(args)))
		for i, a := range args {
			v := reflect.New(param(fn, i)).Elem()
			if a != nil {
				v.Set(reflect.ValueOf(a))
			}
			var err error
			if b, err = AppendValue(b, v); err != nil {
				return nil, fmt.Errorf("argument %d: %w", i, err)
			}
		}
		return b, nil
	})
}

// param returns the type of argument i of a function, a leading context not counted.
func param(fn reflect.Type, i int) reflect.Type {
	if TakesContext(fn) {
		i++
	}
	if fn.IsVariadic() && i >= fn.NumIn()-1 {
		return fn.In(fn.NumIn() - 1).Elem()
	}
	return fn.In(i)
}

// ReadCall reads what AppendCall has appended, without its frame: the call, how many arguments it has, and their bytes.
func ReadCall(b []byte) (c Call, n int, args []byte, err error) {
	if c.Func, b, err = readString(b); err != nil {
		return c, 0, nil, err
	}
	if c.Name, b, err = readString(b); err != nil {
		return c, 0, nil, err
	}
	var nums [2]uint64
	for i := range nums {
		if nums[i], b, err = readUvarint(b); err != nil {
			return c, 0, nil, err
		}
	}
	c.Index, c.Attempt = int(nums[0]), int(nums[1])
	if len(b) < 8 {
		return c, 0, nil, errShort
	}
	c.Seed = binary.LittleEndian.Uint64(b)
	many, b, err := readUvarint(b[8:])
	if err != nil || many > uint64(len(b)) && many > 1<<16 {
		return c, 0, nil, errShort
	}
	return c, int(many), b, nil
}

// ReadArgs reads n arguments of a function.
func ReadArgs(b []byte, n int, fn reflect.Type) ([]reflect.Value, error) {
	fixed := fn.NumIn()
	if TakesContext(fn) {
		fixed--
	}
	if fn.IsVariadic() && n < fixed-1 || !fn.IsVariadic() && n != fixed {
		return nil, fmt.Errorf("%d arguments came for %v", n, fn)
	}
	args := make([]reflect.Value, 0, n)
	for i := range n {
		v, rest, err := ReadValue(b, param(fn, i))
		if err != nil {
			return nil, fmt.Errorf("argument %d: %w", i, err)
		}
		args, b = append(args, v), rest
	}
	return args, nil
}

func appendString(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

func readString(b []byte) (string, []byte, error) {
	n, b, err := readUvarint(b)
	if err != nil || n > uint64(len(b)) {
		return "", nil, errShort
	}
	return string(b[:n]), b[n:], nil
}

func readUvarint(b []byte) (uint64, []byte, error) {
	n, size := binary.Uvarint(b)
	if size <= 0 {
		return 0, nil, errShort
	}
	return n, b[size:], nil
}

// Verdict says what a failure means for another attempt.
type Verdict byte

const (
	Failed  Verdict = iota // the call was made and failed; it may be tried again
	Final                  // it was made, but what it returned cannot be sent
	Refused                // it was not made and never can be
)

// AppendFailure appends the error of a call.
func AppendFailure(b []byte, err error, v Verdict) []byte {
	return AppendError(append(b, byte(v)), err)
}

// ReadFailure reads what AppendFailure has appended.
func ReadFailure(b []byte) (err error, v Verdict, bad error) {
	if len(b) == 0 {
		return nil, Failed, errShort
	}
	err, _, bad = ReadError(b[1:])
	if bad == nil && err == nil {
		bad = errors.New("a failure without an error")
	}
	return err, Verdict(b[0]), bad
}
