//go:build windows

package child

import (
	"errors"
	"fmt"
	"os"
	"runtime/debug"
	"unsafe"

	"golang.org/x/sys/windows"

	"github.com/gojoblib/parallel/internal/board"
)

// EnvValue is the value of Env that this process gives its workers: what they start before Main, and what inherits the
// variable by that, is told apart by its parent.
func EnvValue() string { return fmt.Sprint(os.Getpid()) }

// handlesEnv is the variable that holds the handles which a worker is started with.
const handlesEnv = "PARALLEL_WORKER_HANDLES"

// Handles is what the environment of a worker must have beside Env: the ends of the link that it reads from and writes
// to, and the file of the board, positioned at the place of the runtime's last words. It must inherit all three.
func Handles(in, out, file windows.Handle) string {
	return fmt.Sprintf("%s=%d,%d,%d", handlesEnv, in, out, file)
}

// inherit takes over what the parent has left for its worker. There is no pipe that ends with the parent: its job does.
func inherit(value string) (conn *Pipes, life *os.File, mem []byte, err error) {
	handles := os.Getenv(handlesEnv)
	os.Unsetenv(handlesEnv)
	if parent := fmt.Sprint(os.Getppid()); value != parent {
		return nil, nil, nil, fmt.Errorf("its value is %q, and the parent of this process %s", value, parent)
	}
	var in, out, file windows.Handle
	if _, err := fmt.Sscanf(handles, "%d,%d,%d", &in, &out, &file); err != nil {
		return nil, nil, nil, fmt.Errorf("%s is %q", handlesEnv, handles)
	}
	for _, h := range []windows.Handle{in, out, file} {
		if err := windows.SetHandleInformation(h, windows.HANDLE_FLAG_INHERIT, 0); err != nil {
			return nil, nil, nil, fmt.Errorf("handle %d: %w", h, err)
		}
	}
	if mem, err = Map(file); err != nil {
		return nil, nil, nil, fmt.Errorf("the shared memory: %w", err)
	}
	words := os.NewFile(uintptr(file), "crash")
	if err := debug.SetCrashOutput(words, debug.CrashOptions{}); err != nil {
		return nil, nil, nil, err
	}
	words.Close() // the runtime has a copy
	return &Pipes{os.NewFile(uintptr(in), "link"), os.NewFile(uintptr(out), "link")}, nil, mem, nil
}

// abandoned ends this process, its parent having gone. The job ends what its tasks have started.
func abandoned() { os.Exit(1) }

// watchParent leaves it to the job, which ends with the parent.
func watchParent(*os.File) {}

// limitMemory leaves it to the job.
func limitMemory(int64) error { return nil }

// Pipes are one end of the link: a pipe for each direction. (In one for both, whose far end blocks, a write would wait
// for the read under way.)
type Pipes struct{ In, Out *os.File }

// PipeSize is how much a pipe holds. The system keeps a copy of all that is written at once, in memory that cannot be
// paged out, so that no more than this may be.
const PipeSize = 256 << 10

func (p *Pipes) Read(b []byte) (int, error) { return p.In.Read(b) }

// Write writes in pieces. Nothing written means nothing: an empty piece would be the reader's end of file.
func (p *Pipes) Write(b []byte) (n int, err error) {
	for n < len(b) && err == nil {
		var m int
		m, err = p.Out.Write(b[n:min(n+PipeSize, len(b))])
		n += m
	}
	return n, err
}

// Close closes both pipes.
func (p *Pipes) Close() error { return errors.Join(p.In.Close(), p.Out.Close()) }

// Map maps the board, which is the start of a file. Unlike elsewhere nobody can cut that off while it is mapped.
func Map(file windows.Handle) ([]byte, error) {
	m, err := windows.CreateFileMapping(file, nil, windows.PAGE_READWRITE, 0, board.Size, nil)
	if err != nil {
		return nil, os.NewSyscallError("CreateFileMapping", err)
	}
	at, err := windows.MapViewOfFile(m, windows.FILE_MAP_READ|windows.FILE_MAP_WRITE, 0, 0, board.Size)
	_ = windows.CloseHandle(m) // the view needs it no more
	if err != nil {
		return nil, os.NewSyscallError("MapViewOfFile", err)
	}
	return unsafe.Slice(*(**byte)(unsafe.Pointer(&at)), board.Size), nil
}
