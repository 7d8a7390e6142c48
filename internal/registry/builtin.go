package registry

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"reflect"
	"strconv"
	"syscall"
	"time"

	"github.com/gojoblib/parallel/backend"
)

// builtin is what every program has registered. Packages that would make a program larger are left out: net, os/exec,
// database/sql.
func builtin() []any {
	return []any{
		false, "",
		int(0), int8(0), int16(0), int32(0), int64(0),
		uint(0), uint8(0), uint16(0), uint32(0), uint64(0),
		float32(0), float64(0), complex64(0), complex128(0),
		(*any)(nil), (*error)(nil),
		time.Time{}, time.Duration(0), time.Month(0), time.Weekday(0), fs.FileMode(0),

		errors.ErrUnsupported,
		io.EOF, io.ErrUnexpectedEOF, io.ErrClosedPipe, io.ErrShortWrite, io.ErrShortBuffer, io.ErrNoProgress,
		bufio.ErrTooLong, bufio.ErrBufferFull,
		fs.ErrInvalid, fs.ErrPermission, fs.ErrExist, fs.ErrNotExist, fs.ErrClosed,
		os.ErrNoDeadline, os.ErrDeadlineExceeded, os.ErrProcessDone,
		context.Canceled, context.DeadlineExceeded,
		strconv.ErrRange, strconv.ErrSyntax,
		backend.ErrTimeout, backend.ErrMemory, backend.ErrGoexit, backend.ErrNotRun, backend.ErrClosed,

		typeOf(syscall.EINVAL), (*fs.PathError)(nil), (*os.SyscallError)(nil), (*os.LinkError)(nil), (*strconv.NumError)(nil), (*time.ParseError)(nil),
		(*backend.RunError)(nil), (*backend.TaskError)(nil), (*backend.PanicError)(nil), (*backend.CrashError)(nil),

		typeOf(errors.New("")), typeOf(errors.Join(io.EOF)),
		typeOf(fmt.Errorf("")), typeOf(fmt.Errorf("%w", io.EOF)), typeOf(fmt.Errorf("%w%w", io.EOF, io.EOF)),
	}
}

// typeOf returns a nil pointer of err's unexported type.
func typeOf(err error) any { return reflect.Zero(reflect.TypeOf(err)).Interface() }
